//! SHA-256 with the SHA extensions of x86 processors, two hashes at a time.
//!
//! Each round of SHA-256 needs the result of the one before, so that one hash leaves the processor's SHA unit idle half
//! of the time. Two independent hashes in one loop fill it: together they take hardly longer than one of them alone.
//!
//! This is the one file with `unsafe`, and it has it for one reason only: a function that was compiled for the SHA
//! extensions must not be called on a processor without them. [`ShaNi`] is the proof that it has them; there is no
//! other way to call the function. Everything else here is safe code, the loads and stores included.

#![expect(
    unsafe_code,
    reason = "calling a function that needs the SHA extensions, after asking the processor for them"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};
use std::mem;

/// What SHA-256 takes in at once, in bytes (FIPS 180-4, section 5.2.1).
const BLOCK_BYTES: usize = 64;

/// Where the last block's padding ends and the message's length in bits begins (FIPS 180-4, section 5.1.1).
const LENGTH_AT: usize = BLOCK_BYTES - size_of::<u64>();

/// The initial hash value (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The round constants (FIPS 180-4, section 4.2.2), four rounds a line.
const ROUND_CONSTANTS: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

type Block = [u8; BLOCK_BYTES];

/// The proof that this processor has the SHA extensions and what belongs to them. [`ShaNi::detect`] alone makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaNi(());

impl ShaNi {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        let here = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse2");
        here.then_some(ShaNi(()))
    }

    /// Takes the same number of blocks into each of the states.
    fn compress<const N: usize>(self, states: [&mut [u32; 8]; N], blocks: [&[Block]; N]) {
        // SAFETY: `compress` is a safe function but for its target features `sha`, `sse4.1`, `ssse3` and `sse2`, which
        // the caller has to guarantee. `self` exists, its field is private, and only `detect` makes one, after it saw
        // each of the four; a processor does not lose them.
        unsafe { compress(states, blocks) }
    }
}

/// A SHA-256 hash that is being computed.
#[derive(Clone)]
pub(super) struct Stream {
    sha_ni: ShaNi,
    state: [u32; 8],
    /// The bytes taken in that do not make a block yet are the first `taken % BLOCK_BYTES` of it.
    block: Block,
    /// How many bytes were taken in.
    taken: u64,
}

impl Stream {
    /// Begins with no bytes.
    pub(super) fn new(sha_ni: ShaNi) -> Self {
        Stream { sha_ni, state: INITIAL, block: [0; BLOCK_BYTES], taken: 0 }
    }

    /// Takes in more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill_block(bytes);
        let (blocks, rest) = bytes.as_chunks();
        self.sha_ni.compress([&mut self.state], [blocks]);
        self.taken += bytes.len() as u64;
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// Takes more bytes into each of two hashes. For as many blocks as both have, this takes hardly longer than one.
    pub(super) fn update_two(streams: [&mut Stream; 2], bytes: [&[u8]; 2]) {
        let [one, other] = streams;
        let (bytes, others) = (one.fill_block(bytes[0]), other.fill_block(bytes[1]));
        let (blocks, other_blocks) = (bytes.as_chunks().0, others.as_chunks().0);
        let both = blocks.len().min(other_blocks.len());
        one.sha_ni.compress([&mut one.state, &mut other.state], [&blocks[..both], &other_blocks[..both]]);
        let hashed = both * BLOCK_BYTES;
        (one.taken, other.taken) = (one.taken + hashed as u64, other.taken + hashed as u64);
        one.update(&bytes[hashed..]);
        other.update(&others[hashed..]);
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
            self.sha_ni.compress([&mut self.state], [&[block]]);
        }
        later
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn words(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

/// Sixteen bytes as they lie in memory. The compiler makes one load of it.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    let bytes = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
}

/// The compression function (FIPS 180-4, section 6.2.2) over `N` independent states, in lockstep.
///
/// The instructions want the eight words of a state as two registers, A B E F and C D G H, highest word first.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn compress<const N: usize>(states: [&mut [u32; 8]; N], blocks: [&[Block]; N]) {
    // Words are big-endian in the message: this reverses the bytes of each.
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (mut abef, mut cdgh) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
    for (lane, state) in states.iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = **state;
        (abef[lane], cdgh[lane]) = (words([f, e, b, a]), words([h, g, d, c]));
    }
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for at in 0..count {
        let block = blocks.map(|blocks| &blocks[at]);
        let before = (abef, cdgh);
        // The last sixteen words of the message schedule, four in each.
        let mut schedule = [[_mm_setzero_si128(); 4]; N];
        for lane in 0..N {
            for (words, bytes) in schedule[lane].iter_mut().zip(block[lane].as_chunks().0) {
                *words = _mm_shuffle_epi8(load(bytes), big_endian);
            }
        }
        // Unrolled, so that the schedule stays in registers: a loop would index it in memory.
        macro_rules! four_rounds {
            ($($four:literal)*) => {$(
                for lane in 0..N {
                    let schedule = &mut schedule[lane];
                    let w = _mm_add_epi32(schedule[$four % 4], words(ROUND_CONSTANTS[$four]));
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], w);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(w, 0b1110));
                    // The last sixteen rounds use words that are there already.
                    if $four < 12 {
                        let (first, last) = (schedule[$four % 4], schedule[($four + 3) % 4]);
                        let seven_back = _mm_alignr_epi8(last, schedule[($four + 2) % 4], 4);
                        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(first, schedule[($four + 1) % 4]), seven_back);
                        schedule[$four % 4] = _mm_sha256msg2_epu32(sum, last);
                    }
                }
            )*};
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
        }
    }
    for (lane, state) in states.into_iter().enumerate() {
        let (x, y) = (abef[lane], cdgh[lane]);
        *state = [
            _mm_extract_epi32::<3>(x),
            _mm_extract_epi32::<2>(x),
            _mm_extract_epi32::<3>(y),
            _mm_extract_epi32::<2>(y),
            _mm_extract_epi32::<1>(x),
            _mm_extract_epi32::<0>(x),
            _mm_extract_epi32::<1>(y),
            _mm_extract_epi32::<0>(y),
        ]
        .map(i32::cast_unsigned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    /// What the portable code gives for pseudo-random bytes, and these bytes.
    fn bytes_and_digest(length: usize, seed: u64) -> (Vec<u8>, [u8; 32]) {
        let mut x = seed | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            // Knuth's multiplicative generator; the high bits are the random ones.
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .take(length)
        .collect();
        let digest = Sha256::digest(&bytes).into();
        (bytes, digest)
    }

    #[test]
    fn every_short_length_is_padded_rightly() {
        let Some(sha_ni) = ShaNi::detect() else { return };
        for length in 0..=4 * BLOCK_BYTES {
            let (bytes, digest) = bytes_and_digest(length, 1);
            let mut stream = Stream::new(sha_ni);
            stream.update(&bytes);
            assert_eq!(stream.finish(), digest, "{length}");
        }
    }

    proptest! {
        /// Lengths and cuts are drawn around block boundaries as well as far from them.
        #[test]
        fn two_streams_agree_with_the_portable_code(
            lengths in prop::array::uniform2(prop_oneof![0usize..300, 0usize..5000]),
            cuts in prop::array::uniform2(prop::collection::vec(prop_oneof![0usize..3, 60usize..70, 0usize..2000], 1..20)),
            seed: u64,
        ) {
            let Some(sha_ni) = ShaNi::detect() else { return Ok(()) };
            let expected = [bytes_and_digest(lengths[0], seed), bytes_and_digest(lengths[1], !seed)];
            let (mut one, mut other) = (Stream::new(sha_ni), Stream::new(sha_ni));
            let (mut left, mut other_left) = (&expected[0].0[..], &expected[1].0[..]);
            for (cut, other_cut) in cuts[0].iter().zip(&cuts[1]) {
                let (now, later) = left.split_at(left.len().min(*cut));
                let (other_now, other_later) = other_left.split_at(other_left.len().min(*other_cut));
                Stream::update_two([&mut one, &mut other], [now, other_now]);
                (left, other_left) = (later, other_later);
            }
            Stream::update_two([&mut one, &mut other], [left, other_left]);
            prop_assert_eq!([one.finish(), other.finish()], [expected[0].1, expected[1].1]);
        }

        #[test]
        fn one_stream_agrees_with_the_portable_code(length in 0usize..5000, cut in 1usize..1000, seed: u64) {
            let Some(sha_ni) = ShaNi::detect() else { return Ok(()) };
            let (bytes, digest) = bytes_and_digest(length, seed);
            let mut stream = Stream::new(sha_ni);
            bytes.chunks(cut).for_each(|part| stream.update(part));
            prop_assert_eq!(stream.finish(), digest);
        }
    }
}
