//! The targets for libFuzzer: `fuzz/run` runs them, `fuzz/targets.rs` says what they do.

#![expect(dead_code, reason = "the tests use all of these modules, the targets a part")]

#[path = "../tests/engine/pki.rs"]
mod pki;
#[path = "../tests/engine/support.rs"]
mod support;
pub mod targets;
