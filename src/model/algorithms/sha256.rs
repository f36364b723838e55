//! SHA-256 of several messages at once, with what this processor has for it.
//!
//! Receives bytes of each message in pieces, gives digests. Blocks, padding and the choice of a kernel are here; the
//! kernels know of blocks alone.

use std::mem;

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use super::avx512;
use super::processor::{Avx512, ShaNi};

/// What SHA-256 takes in at once, in bytes (FIPS 180-4, section 5.2.1).
const BLOCK_BYTES: usize = 64;

/// Where the last block's padding ends and the message's length in bits begins (FIPS 180-4, section 5.1.1).
const LENGTH_AT: usize = BLOCK_BYTES - size_of::<u64>();

/// From how many hashes on AVX-512 is worth it where there are SHA extensions too. Eight together measured 3.2 GB/s, two
/// by two with the SHA extensions 2.5, so that seven of eight lanes are faster and six are not.
const WIDE_FROM: usize = 7;

/// The same, where there are none: portable code measured 0.4 GB/s, as much as one lane of eight.
const WIDE_FROM_WITHOUT_SHA_NI: usize = 2;

/// The initial hash value (FIPS 180-4, section 5.3.3).
const INITIAL: Words = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The round constants (FIPS 180-4, section 4.2.2).
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

/// The state between two blocks (FIPS 180-4, section 6.2).
pub(super) type Words = [u32; 8];

/// What is taken in at once.
pub(super) type Block = [u8; BLOCK_BYTES];

/// What this processor has for SHA-256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    sha_ni: Option<ShaNi>,
    avx512: Option<Avx512>,
}

impl Kernels {
    /// Asks the processor; nothing if it has nothing that we have code for.
    pub(super) fn detect() -> Option<Self> {
        let kernels = Kernels { sha_ni: ShaNi::detect(), avx512: Avx512::detect() };
        (kernels.sha_ni.is_some() || kernels.avx512.is_some()).then_some(kernels)
    }

    /// How many hashes it is best to compute at a time, of as many as there are.
    pub(super) fn at_once(self, there: usize) -> usize {
        match (self.wide(there), self.sha_ni) {
            (Some(_), _) => there.min(avx512::LANES),
            (None, Some(_)) => there.min(2),
            (None, None) => 1,
        }
    }

    /// AVX-512, if it is worth it for so many hashes.
    fn wide(self, hashes: usize) -> Option<Avx512> {
        let from = if self.sha_ni.is_some() { WIDE_FROM } else { WIDE_FROM_WITHOUT_SHA_NI };
        self.avx512.filter(|_| hashes >= from)
    }

    fn compress(self, state: &mut Words, blocks: &[Block]) {
        match self.sha_ni {
            Some(sha_ni) => sha_ni.compress(std::array::from_mut(state), [blocks]),
            None => blocks.iter().for_each(|block| compress256(state, &[GenericArray::from(*block)])),
        }
    }
}

/// A SHA-256 hash that is being computed.
#[derive(Clone)]
pub(super) struct Stream {
    kernels: Kernels,
    state: Words,
    /// The bytes taken in that do not make a block yet are the first `taken % BLOCK_BYTES` of it.
    block: Block,
    /// How many bytes were taken in.
    taken: u64,
}

/// A hash, and the bytes that it is to take in.
pub(super) type Work<'a, 'b> = (&'a mut Stream, &'b [u8]);

impl Stream {
    /// Begins with no bytes.
    pub(super) fn new(kernels: Kernels) -> Self {
        Stream { kernels, state: INITIAL, block: [0; BLOCK_BYTES], taken: 0 }
    }

    /// Takes in more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill_block(bytes);
        let (blocks, rest) = bytes.as_chunks();
        self.kernels.compress(&mut self.state, blocks);
        self.taken += bytes.len() as u64;
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// Takes more bytes into each of several hashes, at once as far as all of them have some.
    pub(super) fn update_all(mut work: &mut [Work<'_, '_>]) {
        while let Some((stream, _)) = work.first() {
            let kernels = stream.kernels;
            let (now, later) = work.split_at_mut(kernels.at_once(work.len()));
            match (kernels.wide(now.len()), kernels.sha_ni) {
                (Some(avx512), _) => lockstep(now, |states, blocks| avx512.compress(states, blocks)),
                (None, Some(sha_ni)) if now.len() == 2 => {
                    lockstep(now, |states: &mut [Words; 2], blocks| sha_ni.compress(states, blocks));
                }
                _ => {}
            }
            now.iter_mut().for_each(|(stream, bytes)| stream.update(bytes));
            work = later;
        }
    }

    /// The digest of all bytes taken in.
    pub(super) fn finish(mut self) -> [u8; 32] {
        let bits = self.taken.wrapping_mul(8);
        let filled = self.filled();
        // One bit, zeros up to the last eight bytes of a block, the length.
        let zeros = (LENGTH_AT + BLOCK_BYTES - filled - 1) % BLOCK_BYTES;
        let mut padding = [0; BLOCK_BYTES + size_of::<u64>() + 1];
        padding[0] = 0x80;
        padding[1 + zeros..][..size_of::<u64>()].copy_from_slice(&bits.to_be_bytes());
        self.update(&padding[..1 + zeros + size_of::<u64>()]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }

    fn filled(&self) -> usize {
        (self.taken % BLOCK_BYTES as u64) as usize
    }

    /// Completes the block that was begun, as far as the bytes suffice; gives those that are left.
    fn fill_block<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let filled = self.filled();
        if filled == 0 {
            return bytes;
        }
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - filled));
        self.block[filled..filled + now.len()].copy_from_slice(now);
        self.taken += now.len() as u64;
        if filled + now.len() == BLOCK_BYTES {
            let block = mem::replace(&mut self.block, [0; BLOCK_BYTES]);
            self.kernels.compress(&mut self.state, &[block]);
        }
        later
    }
}

/// Takes as many blocks as each has into at most `N` hashes, with a kernel for `N`, and leaves the rest of the bytes.
fn lockstep<const N: usize>(work: &mut [Work<'_, '_>], compress: impl FnOnce(&mut [Words; N], [&[Block]; N])) {
    for (stream, bytes) in &mut *work {
        *bytes = stream.fill_block(bytes);
    }
    let blocks_of = |bytes| -> &[Block] { <[u8]>::as_chunks(bytes).0 };
    let Some(shortest) = work.iter().map(|(_, bytes)| blocks_of(bytes)).min_by_key(|blocks| blocks.len()) else {
        return;
    };
    // What no hash uses computes on something, for nobody.
    let (mut states, mut blocks) = ([INITIAL; N], [shortest; N]);
    for ((stream, bytes), (state, blocks)) in work.iter().zip(states.iter_mut().zip(&mut blocks)) {
        (*state, *blocks) = (stream.state, &blocks_of(bytes)[..shortest.len()]);
    }
    let hashed = shortest.len() * BLOCK_BYTES;
    compress(&mut states, blocks);
    for ((stream, bytes), state) in work.iter_mut().zip(states) {
        stream.state = state;
        stream.taken += hashed as u64;
        *bytes = &bytes[hashed..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    /// Each set of kernels that this processor, or another one, may have.
    fn each() -> Vec<Kernels> {
        let (sha_ni, avx512) = (ShaNi::detect(), Avx512::detect());
        let mut each = vec![Kernels { sha_ni: None, avx512: None }];
        each.extend(sha_ni.map(|_| Kernels { sha_ni, avx512: None }));
        each.extend(avx512.map(|_| Kernels { sha_ni: None, avx512 }));
        each.extend(sha_ni.and(avx512).map(|_| Kernels { sha_ni, avx512 }));
        each
    }

    /// Pseudo-random bytes.
    fn bytes(length: usize, seed: u64) -> Vec<u8> {
        let mut x = seed | 1;
        std::iter::repeat_with(|| {
            // Knuth's multiplicative generator; the high bits are the random ones.
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .take(length)
        .collect()
    }

    fn portable(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn every_short_length_is_padded_rightly() {
        for (kernels, length) in each().into_iter().flat_map(|kernels| (0..=4 * BLOCK_BYTES).map(move |n| (kernels, n)))
        {
            let bytes = bytes(length, 1);
            let mut stream = Stream::new(kernels);
            stream.update(&bytes);
            assert_eq!(stream.finish(), portable(&bytes), "{length} with {kernels:?}");
        }
    }

    #[test]
    fn as_many_are_computed_at_once_as_is_worth_it() {
        let (sha_ni, avx512) = (ShaNi::detect(), Avx512::detect());
        let at_once = |kernels: Kernels| [1, 2, 6, 7, 8, 100].map(|there| kernels.at_once(there));
        assert_eq!(at_once(Kernels { sha_ni: None, avx512: None }), [1; 6]);
        if sha_ni.is_some() {
            assert_eq!(at_once(Kernels { sha_ni, avx512: None }), [1, 2, 2, 2, 2, 2]);
        }
        if avx512.is_some() {
            assert_eq!(at_once(Kernels { sha_ni: None, avx512 }), [1, 2, 6, 7, 8, 8]);
        }
        if sha_ni.is_some() && avx512.is_some() {
            assert_eq!(at_once(Kernels { sha_ni, avx512 }), [1, 2, 2, 7, 8, 8]);
        }
    }

    proptest! {
        /// Lengths and cuts are drawn around block boundaries as well as far from them.
        #[test]
        fn streams_agree_with_the_portable_code(
            messages in prop::collection::vec(
                (
                    prop_oneof![0usize..300, 0usize..5000],
                    prop::collection::vec(prop_oneof![0usize..3, 60usize..70, 0usize..2000], 12),
                ),
                1..20,
            ),
            seed: u64,
        ) {
            let contents: Vec<Vec<u8>> =
                messages.iter().zip(0..).map(|((length, _), at)| bytes(*length, seed ^ at << 1)).collect();
            for kernels in each() {
                let mut streams = vec![Stream::new(kernels); messages.len()];
                let mut left: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
                for at in 0..=12 {
                    let mut work = Vec::new();
                    for ((stream, left), (_, cuts)) in streams.iter_mut().zip(&mut left).zip(&messages) {
                        let (now, later) = left.split_at(cuts.get(at).map_or(left.len(), |cut| left.len().min(*cut)));
                        work.push((stream, now));
                        *left = later;
                    }
                    Stream::update_all(&mut work);
                }
                for (stream, content) in streams.into_iter().zip(&contents) {
                    prop_assert_eq!(stream.finish(), portable(content), "{:?}", kernels);
                }
            }
        }
    }
}
