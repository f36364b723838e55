//! SHA-256 with AVX-512, eight hashes at a time.
//!
//! One register holds the same word of eight independent hashes. What plain code computes for one of them, with the same
//! number of instructions, this does for all eight. AVX-512 has what SHA-256 is made of as one instruction each: rotating,
//! and any function of three words bit by bit. The registers are of 256 bits, of which a core takes in three at a time;
//! of 512 bits it takes two, but sixteen large files for each thread are rare.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi64x, _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_castsi128_si256,
    _mm256_extract_epi32, _mm256_inserti128_si256, _mm256_ror_epi32, _mm256_set_epi32, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi32, _mm256_ternarylogic_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::sha256::{Block, ROUND_CONSTANTS, Words};

/// How many hashes.
pub(super) const LANES: usize = 8;

/// Functions of three bits, as the instruction wants them: bit `4x + 2y + z` is the result for x, y and z.
const XOR: i32 = 0b1001_0110;
const CHOICE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;

/// Sixteen bytes as they lie in memory. The compiler makes one load of it.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    let bytes = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
}

/// The words at one place of all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn gather(words: [u32; LANES]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
    _mm256_set_epi32(h, g, f, e, d, c, b, a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn scatter(words: __m256i) -> [u32; LANES] {
    [
        _mm256_extract_epi32::<0>(words),
        _mm256_extract_epi32::<1>(words),
        _mm256_extract_epi32::<2>(words),
        _mm256_extract_epi32::<3>(words),
        _mm256_extract_epi32::<4>(words),
        _mm256_extract_epi32::<5>(words),
        _mm256_extract_epi32::<6>(words),
        _mm256_extract_epi32::<7>(words),
    ]
    .map(i32::cast_unsigned)
}

/// Four words of the message, from the same place of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn message(blocks: [&Block; LANES], four: usize) -> [__m256i; 4] {
    // Words are big-endian in the message: this reverses the bytes of each.
    let big_endian = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    // Two times four lanes, each half a table of four by four words that is turned over.
    let mut rows = [_mm256_setzero_si256(); 4];
    for (lane, row) in rows.iter_mut().enumerate() {
        let (low, high) = (&blocks[lane].as_chunks().0[four], &blocks[lane + LANES / 2].as_chunks().0[four]);
        *row = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(low)), load(high));
    }
    let [one, two, three, four] = rows;
    let (low, high) = (_mm256_unpacklo_epi32(one, two), _mm256_unpackhi_epi32(one, two));
    let (other_low, other_high) = (_mm256_unpacklo_epi32(three, four), _mm256_unpackhi_epi32(three, four));
    [
        _mm256_shuffle_epi8(_mm256_unpacklo_epi64(low, other_low), big_endian),
        _mm256_shuffle_epi8(_mm256_unpackhi_epi64(low, other_low), big_endian),
        _mm256_shuffle_epi8(_mm256_unpacklo_epi64(high, other_high), big_endian),
        _mm256_shuffle_epi8(_mm256_unpackhi_epi64(high, other_high), big_endian),
    ]
}

/// The functions that FIPS 180-4, section 4.1.2, names Σ: three rotations.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn upper_sigma<const A: i32, const B: i32, const C: i32>(x: __m256i) -> __m256i {
    _mm256_ternarylogic_epi32::<XOR>(_mm256_ror_epi32::<A>(x), _mm256_ror_epi32::<B>(x), _mm256_ror_epi32::<C>(x))
}

/// Those that it names σ: two rotations and a shift.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn lower_sigma<const A: i32, const B: i32, const SHIFT: i32>(x: __m256i) -> __m256i {
    let shifted = _mm256_srli_epi32::<SHIFT>(x);
    _mm256_ternarylogic_epi32::<XOR>(_mm256_ror_epi32::<A>(x), _mm256_ror_epi32::<B>(x), shifted)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn sum<const N: usize>(words: [__m256i; N]) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for words in words {
        sum = _mm256_add_epi32(sum, words);
    }
    sum
}

/// The compression function (FIPS 180-4, section 6.2.2) over eight independent states, in lockstep.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
pub(super) fn compress(states: &mut [Words; LANES], blocks: [&[Block]; LANES]) {
    let mut state = [_mm256_setzero_si256(); 8];
    for (word, lanes) in state.iter_mut().enumerate() {
        *lanes = gather(states.map(|state| state[word]));
    }
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    // Of one length, as the compiler sees: it need not look at each block whether there is one.
    let blocks = blocks.map(|blocks| &blocks[..count]);
    for at in 0..count {
        let block = blocks.map(|blocks| &blocks[at]);
        // The last sixteen words of the message schedule.
        let mut schedule = [_mm256_setzero_si256(); 16];
        for (four, words) in schedule.as_chunks_mut().0.iter_mut().enumerate() {
            *words = message(block, four);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        // Unrolled, so that nothing is moved: what is called `a` in a round is called `b` in the next one.
        macro_rules! round {
            ($at:expr, $then:ident, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
                let constant = _mm256_set1_epi32(ROUND_CONSTANTS[$at].cast_signed());
                let choice = _mm256_ternarylogic_epi32::<CHOICE>($e, $f, $g);
                let majority = _mm256_ternarylogic_epi32::<MAJORITY>($a, $b, $c);
                let first = sum([schedule[$at % 16], constant, $h, choice, upper_sigma::<6, 11, 25>($e)]);
                $d = _mm256_add_epi32($d, first);
                $h = sum([first, majority, upper_sigma::<2, 13, 22>($a)]);
                $then!($at);
            };
        }
        macro_rules! extend_schedule {
            ($at:expr) => {
                let early = lower_sigma::<7, 18, 3>(schedule[($at + 1) % 16]);
                let late = lower_sigma::<17, 19, 10>(schedule[($at + 14) % 16]);
                schedule[$at % 16] = sum([schedule[$at % 16], schedule[($at + 9) % 16], early, late]);
            };
        }
        macro_rules! keep_schedule {
            ($at:expr) => {};
        }
        macro_rules! eight_rounds {
            ($from:expr, $then:ident) => {
                round!($from, $then, a b c d e f g h);
                round!($from + 1, $then, h a b c d e f g);
                round!($from + 2, $then, g h a b c d e f);
                round!($from + 3, $then, f g h a b c d e);
                round!($from + 4, $then, e f g h a b c d);
                round!($from + 5, $then, d e f g h a b c);
                round!($from + 6, $then, c d e f g h a b);
                round!($from + 7, $then, b c d e f g h a);
            };
        }
        for sixteen in 0..3 {
            eight_rounds!(16 * sixteen, extend_schedule);
            eight_rounds!(16 * sixteen + 8, extend_schedule);
        }
        // The last sixteen rounds use words that are there already.
        eight_rounds!(48, keep_schedule);
        eight_rounds!(56, keep_schedule);
        for (before, after) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *before = _mm256_add_epi32(*before, after);
        }
    }
    for (word, lanes) in state.into_iter().enumerate() {
        for (state, of_lane) in states.iter_mut().zip(scatter(lanes)) {
            state[word] = of_lane;
        }
    }
}
