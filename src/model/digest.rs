//! Digests: which algorithm, and the bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of the longest digest, in bytes.
const MAX_DIGEST_BYTES: usize = 64;

/// A hash algorithm that files of a model may be hashed with. Those of the OMS specification, section "Hashing".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256 (FIPS 180-4), the one that every implementation of the format must have.
    Sha256,
    /// BLAKE2b (RFC 7693) with digests of 64 bytes.
    Blake2b,
    /// BLAKE3 with digests of 32 bytes.
    Blake3,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Blake2b, HashAlgorithm::Blake3];

    /// The length of a digest, in bytes.
    pub const fn digest_bytes(self) -> usize {
        match self {
            HashAlgorithm::Sha256 | HashAlgorithm::Blake3 => 32,
            HashAlgorithm::Blake2b => 64,
        }
    }

    /// The name as OMS and in-toto write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            HashAlgorithm::Sha256 => "sha256",
            HashAlgorithm::Blake2b => "blake2b",
            HashAlgorithm::Blake3 => "blake3",
        }
    }

    /// The algorithm of that name, if this version has it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The largest value of one hexadecimal digit.
const MAX_NIBBLE: u8 = 15;

/// What each byte is worth as a hexadecimal digit; more than [`MAX_NIBBLE`] if it is none. A million digests are read
/// from a large statement, and their digits are random: a processor cannot foresee which way each of them would branch.
const NIBBLES: [u8; 256] = {
    let (mut nibbles, mut value) = ([u8::MAX; 256], 0);
    while value <= MAX_NIBBLE {
        let digit = b"0123456789abcdef"[value as usize];
        nibbles[digit as usize] = value;
        nibbles[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    nibbles
};

/// A digest together with its algorithm. Written as `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    /// Those beyond the algorithm's length are zero, so that comparing all of them compares the digests.
    bytes: [u8; MAX_DIGEST_BYTES],
}

/// Why text or bytes are not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm before the colon is none that this version has.
    #[error("unknown hash algorithm")]
    Algorithm,
    /// Too short or too long for the algorithm.
    #[error("a {algorithm} digest has {expected} bytes, this one has another length")]
    Length {
        /// The algorithm that was named.
        algorithm: HashAlgorithm,
        /// What its digests measure, in bytes.
        expected: usize,
    },
    /// Something other than hexadecimal digits.
    #[error("a digest is written in hexadecimal digits")]
    Hex,
}

impl Digest {
    /// A SHA-256 digest from its 32 bytes.
    pub const fn sha256(bytes: [u8; 32]) -> Self {
        Digest::padded(HashAlgorithm::Sha256, &bytes)
    }

    /// A BLAKE2b digest from its 64 bytes.
    pub const fn blake2b(bytes: [u8; 64]) -> Self {
        Digest::padded(HashAlgorithm::Blake2b, &bytes)
    }

    /// A BLAKE3 digest from its 32 bytes.
    pub const fn blake3(bytes: [u8; 32]) -> Self {
        Digest::padded(HashAlgorithm::Blake3, &bytes)
    }

    /// `raw` has the algorithm's length.
    const fn padded(algorithm: HashAlgorithm, raw: &[u8]) -> Self {
        let mut bytes = [0; MAX_DIGEST_BYTES];
        bytes.split_at_mut(raw.len()).0.copy_from_slice(raw);
        Digest { algorithm, bytes }
    }

    /// The digest that these hexadecimal digits of either case spell.
    pub fn from_hex(algorithm: HashAlgorithm, hex: &str) -> Result<Self, DigestError> {
        let expected = algorithm.digest_bytes();
        if hex.len() != expected * 2 {
            return Err(DigestError::Length { algorithm, expected });
        }
        let mut bytes = [0; MAX_DIGEST_BYTES];
        let mut all = 0;
        for (byte, [high, low]) in bytes.iter_mut().zip(hex.as_bytes().as_chunks().0) {
            let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
            *byte = high << 4 | low;
            all |= high | low;
        }
        if all > MAX_NIBBLE { Err(DigestError::Hex) } else { Ok(Digest { algorithm, bytes }) }
    }

    /// Which algorithm made it.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The raw bytes, as many as the algorithm has.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_bytes()]
    }

    /// The bytes in lower-case hexadecimal digits, without the algorithm.
    pub fn to_hex(&self) -> String {
        hex(self.as_bytes())
    }
}

/// Bytes in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
        }
    }
    hex
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Algorithm)?;
        Digest::from_hex(HashAlgorithm::from_name(algorithm).ok_or(DigestError::Algorithm)?, hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let text = format!("sha256:{}", "0a".repeat(32));
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.as_bytes(), [10; 32]);
        assert_eq!(text.to_uppercase().replace("SHA256", "sha256").parse(), Ok(digest));
    }

    #[test]
    fn each_algorithm_is_read_by_its_name_and_length() {
        for algorithm in HashAlgorithm::ALL {
            let hex = "5c".repeat(algorithm.digest_bytes());
            let digest: Digest = format!("{algorithm}:{hex}").parse().unwrap();
            assert_eq!((digest.algorithm(), digest.to_hex()), (algorithm, hex));
        }
        assert_eq!(Digest::blake2b([92; 64]).to_string(), format!("blake2b:{}", "5c".repeat(64)));
        assert_ne!(Digest::sha256([92; 32]), Digest::blake3([92; 32]));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for (text, error) in [
            ("", DigestError::Algorithm),
            ("sha1:00", DigestError::Algorithm),
            ("sha256:00", DigestError::Length { algorithm: HashAlgorithm::Sha256, expected: 32 }),
            (
                &format!("sha256:{}", "0".repeat(128)),
                DigestError::Length { algorithm: HashAlgorithm::Sha256, expected: 32 },
            ),
            (
                &format!("blake2b:{}", "0".repeat(64)),
                DigestError::Length { algorithm: HashAlgorithm::Blake2b, expected: 64 },
            ),
            (&format!("sha256:{}", "g".repeat(64)), DigestError::Hex),
            (&format!("sha256:{}/", "0".repeat(63)), DigestError::Hex),
            (&format!("sha256::{}", "0".repeat(63)), DigestError::Hex),
            (&format!("sha256:{}é", "0".repeat(62)), DigestError::Hex),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }
}
