//! What this processor can do beyond what every x86-64 processor can, and the two calls that depend on it.
//!
//! This is the one file with `unsafe`, and it has it for one reason only: a function that was compiled for certain
//! instructions must not be called on a processor without them. [`ShaNi`] and [`Avx512`] are the proofs that it has
//! them; there is no other way to call the functions, which are safe code themselves, loads and stores included.

#![expect(
    unsafe_code,
    reason = "calling functions that need certain instructions, after asking the processor for them"
)]

use super::sha256::{Block, Words};
use super::{avx512, sha_ni};

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
    pub(super) fn compress<const N: usize>(self, states: &mut [Words; N], blocks: [&[Block]; N]) {
        // SAFETY: `compress` is a safe function but for its target features `sha`, `sse4.1`, `ssse3` and `sse2`, which
        // the caller has to guarantee. `self` exists, its field is private, and only `detect` makes one, after it saw
        // each of the four; a processor does not lose them.
        unsafe { sha_ni::compress(states, blocks) }
    }
}

/// The proof that this processor has AVX-512 with what our code needs of it, and that the operating system keeps its
/// registers. [`Avx512::detect`] alone makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// Asks the processor and the operating system.
    pub(super) fn detect() -> Option<Self> {
        let here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2");
        here.then_some(Avx512(()))
    }

    /// Takes the same number of blocks into each of the states.
    pub(super) fn compress(self, states: &mut [Words; avx512::LANES], blocks: [&[Block]; avx512::LANES]) {
        // SAFETY: `compress` is a safe function but for its target features `avx512f`, `avx512vl` and `avx2`, which the
        // caller has to guarantee. `self` exists, its field is private, and only `detect` makes one, after it saw each
        // of the three; a processor does not lose them.
        unsafe { avx512::compress(states, blocks) }
    }
}
