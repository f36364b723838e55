//! The engine from outside: bundles of other tools, attacks on bundles, models on a disk, the command line.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attacks;
mod blobs;
mod bundles;
mod certificates;
mod check;
mod cli;
mod facts;
mod folders;
mod fuzzing;
mod inspect;
mod keyless;
mod pki;
mod sign;
mod support;
#[path = "../../fuzz/targets.rs"]
mod targets;
mod trust;
mod unsigned;
mod vectors;
