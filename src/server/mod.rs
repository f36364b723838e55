//! The listener: TLS, limits and the end in order, around any router.
//!
//! Receives a bound socket, a router and a place where the serving pair appears; promises that no handshake begins
//! without a pair, that a new pair counts from the next handshake on and costs no call, that what one peer can hold is
//! bounded, and that a process which ends in order loses no call; never knows what a request is about.
//!
//! ```text
//! TCP ──caps──▶ TLS ──▶ HTTP/1.1 head (time-out) ──caps, bytes──▶ router ──▶ answer (`Connection: close` at the end)
//! ```

mod connection;
mod guarded;
mod limits;
mod listen;
mod metrics;
mod pair;
mod peers;
#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use listen::{TlsError, TlsSettings, serve_plain, serve_tls};
pub use metrics::ServerMetrics;
pub use pair::files::{PairFiles, follow_files};
pub use pair::secret::follow_secret;
pub use pair::{PairError, PairSlot, ServingPair};
