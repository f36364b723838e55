//! Digests: which algorithm, and the bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A hash algorithm that files of a model may be hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256, the one that every implementation of the format must have.
    Sha256,
}

impl HashAlgorithm {
    /// The length of a digest, in bytes.
    pub const fn digest_bytes(self) -> usize {
        match self {
            HashAlgorithm::Sha256 => 32,
        }
    }

    /// The name as OMS and in-toto write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            HashAlgorithm::Sha256 => "sha256",
        }
    }

    /// The algorithm of that name, if this version has it.
    pub fn from_name(name: &str) -> Option<Self> {
        (name == "sha256").then_some(HashAlgorithm::Sha256)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A digest together with its algorithm. Written as `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: [u8; 32],
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
        Digest { algorithm: HashAlgorithm::Sha256, bytes }
    }

    /// The digest that these hexadecimal digits of either case spell.
    pub fn from_hex(algorithm: HashAlgorithm, hex: &str) -> Result<Self, DigestError> {
        let expected = algorithm.digest_bytes();
        if hex.len() != expected * 2 {
            return Err(DigestError::Length { algorithm, expected });
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest { algorithm, bytes })
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
        let mut hex = String::with_capacity(self.as_bytes().len() * 2);
        for byte in self.as_bytes() {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
            }
        }
        hex
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DigestError::Hex),
    }
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
    fn what_is_no_digest_is_refused() {
        for (text, error) in [
            ("", DigestError::Algorithm),
            ("sha1:00", DigestError::Algorithm),
            ("sha256:00", DigestError::Length { algorithm: HashAlgorithm::Sha256, expected: 32 }),
            (&format!("sha256:{}", "g".repeat(64)), DigestError::Hex),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }
}
