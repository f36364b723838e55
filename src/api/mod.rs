//! The Kubernetes API of weighbridge, group `weighbridge.dev`.
//!
//! Receives nothing and decides nothing: types, their schemas and the closed sets of words that conditions,
//! metrics and messages share. One file per kind.

pub mod gate;
pub mod names;
pub mod probe;
pub mod remedy;
pub mod v1alpha1;
