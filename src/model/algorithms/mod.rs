//! The hash algorithms, and the one place that chooses how bytes are hashed.
//!
//! Receives bytes, gives a digest. Everything else in the crate hashes through [`Hasher`], so that a faster kernel is a
//! change to this folder alone. It reads no file and starts no thread: the module [`hash_files`](mod@super::hash_files) does.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod processor;
#[cfg(target_arch = "x86_64")]
mod sha256;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
pub(super) mod subtree;

use sha2::{Digest as _, Sha256};

use super::{Digest, HashAlgorithm};

/// A hash that is being computed.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    /// With kernels of ours.
    #[cfg(target_arch = "x86_64")]
    Stream(sha256::Stream),
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
            State::Stream(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Blake2b(state) => drop(state.update(bytes)),
            State::Blake3(state) => drop(state.update(bytes)),
        }
    }

    /// Takes more bytes into each of several hashes, at once where that is faster. It is, if all of them get about as
    /// many bytes and there are as many as [`Hasher::at_once`] says.
    pub fn update_all<'a>(work: impl IntoIterator<Item = (&'a mut Hasher, &'a [u8])>) {
        #[cfg(target_arch = "x86_64")]
        let mut streams = Vec::new();
        let mut blake2b = Vec::new();
        for (hasher, bytes) in work {
            match &mut hasher.0 {
                #[cfg(target_arch = "x86_64")]
                State::Stream(stream) => streams.push((stream, bytes)),
                State::Blake2b(state) => blake2b.push((state, bytes)),
                State::Sha256(state) => state.update(bytes),
                State::Blake3(state) => drop(state.update(bytes)),
            }
        }
        #[cfg(target_arch = "x86_64")]
        sha256::Stream::update_all(&mut streams);
        blake2b_simd::many::update_many(blake2b);
    }

    /// How many hashes it is best to compute at a time, of as many as there are.
    pub fn at_once(algorithm: HashAlgorithm, there: usize) -> usize {
        match algorithm {
            HashAlgorithm::Sha256 => sha256_at_once(there),
            HashAlgorithm::Blake2b => there.min(blake2b_simd::many::degree()),
            // One hash alone uses all that the processor has.
            HashAlgorithm::Blake3 => 1,
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            State::Stream(state) => Digest::sha256(state.finish()),
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

/// Unoptimised kernels are a hundred times slower than the optimised crate, so that only optimised builds use them; their
/// own tests compare the two.
#[cfg(target_arch = "x86_64")]
fn kernels() -> Option<sha256::Kernels> {
    if cfg!(debug_assertions) { None } else { sha256::Kernels::detect() }
}

#[cfg(target_arch = "x86_64")]
fn sha256() -> State {
    kernels().map_or_else(|| State::Sha256(Sha256::new()), |kernels| State::Stream(sha256::Stream::new(kernels)))
}

#[cfg(not(target_arch = "x86_64"))]
fn sha256() -> State {
    State::Sha256(Sha256::new())
}

#[cfg(target_arch = "x86_64")]
fn sha256_at_once(there: usize) -> usize {
    kernels().map_or(1, |kernels| kernels.at_once(there))
}

#[cfg(not(target_arch = "x86_64"))]
fn sha256_at_once(_: usize) -> usize {
    1
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
    fn several_hashes_at_a_time_are_those_of_one_at_a_time() {
        let hash = |algorithm, bytes: &[u8]| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(bytes);
            hasher.finish()
        };
        let pieces: Vec<Vec<u8>> = (0..9).map(|at| vec![at; 1000 + 100 * usize::from(at)]).collect();
        for algorithm in HashAlgorithm::ALL {
            let mut hashers = vec![Hasher::new(algorithm); pieces.len()];
            for _ in 0..2 {
                Hasher::update_all(hashers.iter_mut().zip(pieces.iter().map(Vec::as_slice)));
            }
            for (hasher, piece) in hashers.into_iter().zip(&pieces) {
                assert_eq!(hasher.finish(), hash(algorithm, &piece.repeat(2)), "{algorithm} of {}", piece.len());
            }
        }
    }
}
