//! Bundles in registries, over the distribution API of OCI.
//!
//! Receives the name of a manifest, by its digest, that somebody has decided may be fetched; promises that what it gives
//! has the digests that were asked for, and that a registry which does not answer, answers slowly, or sends too much costs
//! bounded time and memory. Whether what it gives is a bundle, and who signed it, is for others to say. It asks as
//! anybody: without credentials, with a token where a registry hands one to everybody.
//!
//! It speaks to the registry over TLS, and otherwise only where an administrator says so. A manifest comes from the host
//! that was named. A blob may come from another host, for most registries keep them in object stores: a redirect is
//! followed a few times, to TLS alone, and takes no token along.
//!
//! ```text
//! fetch ──▶ Session (token, redirects) ──▶ exchange (one request: TCP, TLS, HTTP/1.1, limits)
//!   └──▶ manifest (which layer is the bundle)
//! ```

mod challenge;
mod exchange;
mod fetch;
mod manifest;
mod session;
#[cfg(test)]
mod tests;

pub use fetch::{FetchError, Limits, Part, Settings, fetch};
pub use manifest::NoBundle;
