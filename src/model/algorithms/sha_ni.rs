//! SHA-256 with the SHA extensions of x86 processors, one or two hashes at a time.
//!
//! Each round of SHA-256 needs the result of the one before, so that one hash leaves the processor's SHA unit idle for
//! part of the time. Two independent hashes in one loop fill it.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::sha256::{Block, ROUND_CONSTANTS, Words};

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn words([a, b, c, d]: [u32; 4]) -> __m128i {
    let [a, b, c, d] = [a, b, c, d].map(u32::cast_signed);
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
pub(super) fn compress<const N: usize>(states: &mut [Words; N], blocks: [&[Block]; N]) {
    // Words are big-endian in the message: this reverses the bytes of each.
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (mut abef, mut cdgh) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
    for (lane, &[a, b, c, d, e, f, g, h]) in states.iter().enumerate() {
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
                    let w = _mm_add_epi32(schedule[$four % 4], words(ROUND_CONSTANTS.as_chunks().0[$four]));
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
    for (state, (x, y)) in states.iter_mut().zip(abef.into_iter().zip(cdgh)) {
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
