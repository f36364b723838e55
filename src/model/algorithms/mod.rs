//! The hash algorithms, and the one place that chooses how bytes are hashed.
//!
//! Receives bytes, gives a digest. Everything else in the crate hashes through [`Hasher`], so that a faster kernel is a
//! change to this folder alone. It reads no file and starts no thread: that is [`super::hash_files`].

#[cfg(target_arch = "x86_64")]
mod sha_ni;
pub(super) mod subtree;

use sha2::{Digest as _, Sha256};

#[cfg(target_arch = "x86_64")]
use self::sha_ni::{ShaNi, Stream};
use super::{Digest, HashAlgorithm};

/// A hash that is being computed.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    #[cfg(target_arch = "x86_64")]
    ShaNi(Stream),
    /// With whatever else this processor has; the crate finds out itself.
    Sha256(Sha256),
    Blake2b(blake2b_simd::State),
    /// Its state has fifty times the size of the others.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Begins with no bytes.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Hasher(match algorithm {
            HashAlgorithm::Sha256 => sha256(),
            HashAlgorithm::Blake2b => State::Blake2b(blake2b_simd::State::new()),
            HashAlgorithm::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        })
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            #[cfg(target_arch = "x86_64")]
            State::ShaNi(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Blake2b(state) => drop(state.update(bytes)),
            State::Blake3(state) => drop(state.update(bytes)),
        }
    }

    /// Takes more bytes into each of two hashes, at once where that is faster.
    pub fn update_two(hashers: [&mut Hasher; 2], bytes: [&[u8]; 2]) {
        match hashers {
            #[cfg(target_arch = "x86_64")]
            [Hasher(State::ShaNi(one)), Hasher(State::ShaNi(other))] => Stream::update_two([one, other], bytes),
            [one, other] => {
                one.update(bytes[0]);
                other.update(bytes[1]);
            }
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            State::ShaNi(state) => Digest::sha256(state.finish()),
            State::Sha256(state) => Digest::sha256(state.finalize().into()),
            State::Blake2b(state) => Digest::blake2b(*state.finalize().as_array()),
            State::Blake3(state) => Digest::blake3(*state.finalize().as_bytes()),
        }
    }

    /// The SHA-256 digest of bytes at hand.
    pub fn sha256(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// An unoptimised kernel is a hundred times slower than the optimised crate, so that only optimised builds use it; its
/// own tests compare the two.
#[cfg(target_arch = "x86_64")]
fn sha256() -> State {
    let sha_ni = if cfg!(debug_assertions) { None } else { ShaNi::detect() };
    sha_ni.map_or_else(|| State::Sha256(Sha256::new()), |sha_ni| State::ShaNi(Stream::new(sha_ni)))
}

#[cfg(not(target_arch = "x86_64"))]
fn sha256() -> State {
    State::Sha256(Sha256::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of the empty string and of `abc` that FIPS 180-4's examples, RFC 7693 appendix A and the BLAKE3
    /// test vectors give, or `hashlib` and the `blake3` package where those give none.
    #[test]
    fn known_strings_have_their_known_digests() {
        for (algorithm, text, digest) in [
            (HashAlgorithm::Sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (HashAlgorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                HashAlgorithm::Blake2b,
                "",
                "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce",
            ),
            (
                HashAlgorithm::Blake2b,
                "abc",
                "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
            ),
            (HashAlgorithm::Blake3, "", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (HashAlgorithm::Blake3, "abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            text.bytes().for_each(|byte| hasher.update(&[byte]));
            assert_eq!(hasher.finish().to_hex(), digest, "{algorithm} {text:?}");
        }
    }

    #[test]
    fn two_hashes_at_a_time_are_those_of_one_at_a_time() {
        for algorithm in HashAlgorithm::ALL {
            let hash = |bytes: &[u8]| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(bytes);
                hasher.finish()
            };
            let (mut one, mut other) = (Hasher::new(algorithm), Hasher::new(algorithm));
            Hasher::update_two([&mut one, &mut other], [&[1; 1000], &[2; 3000]]);
            Hasher::update_two([&mut one, &mut other], [&[1; 1000], &[2; 10]]);
            assert_eq!([one.finish(), other.finish()], [hash(&[1; 2000]), hash(&[2; 3010])], "{algorithm}");
        }
    }
}
