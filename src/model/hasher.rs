//! The one place that chooses how bytes are hashed.
//!
//! Receives bytes, gives a digest. Everything else in the crate hashes through [`Hasher`], so a faster kernel is a
//! change to this file alone.

use sha2::{Digest as _, Sha256};

use super::{Digest, HashAlgorithm};

/// A hash that is being computed.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
}

impl Hasher {
    /// Begins with no bytes.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Hasher(State::Sha256(Sha256::new())),
        }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::sha256(state.finalize().into()),
        }
    }

    /// The SHA-256 digest of bytes at hand.
    pub fn sha256(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_has_its_known_digest() {
        assert_eq!(Hasher::sha256(b"").to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
