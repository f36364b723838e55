//! Who acts: leader election, and which replicas of the webhook are alive.
//!
//! Receives Leases and the local monotonic clock; promises that at most one process believes that it leads, as long as
//! clocks run at about the same speed, and that a leader stops before another may begin; never compares a time that
//! another machine wrote with the local clock: a Lease is alive while it was *seen* to change recently.
//!
//! ```text
//!   renewal sent          must stop (RENEW_DEADLINE)   may be taken (LEASE_DURATION)
//!   ──┼──────┼──────┼──────────────┼───────────────────────────┼──▶
//!      RETRY_PERIOD
//! ```

mod adapter;
mod election;
mod presence;
mod replicas;

pub use adapter::{Elector, Metrics, Settings};
pub use election::{Attempt, Election, Record};
pub use presence::{PRESENCE_DURATION, Presence, PresenceSettings, Serving, Standing};
pub use replicas::{Replica, Replicas, WEBHOOK_SELECTOR};

use std::time::Duration;

/// How long a Lease protects its holder after its last sign of life, as others see it. The value of client-go: a leader
/// that dies is replaced within about 17 seconds.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader acts after it *sent* the last renewal that succeeded. Others see that renewal later than it was
/// sent, and count from there: they take over 5 seconds after this at the earliest, which is time for requests in flight
/// to end and for clocks that run at different speeds.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two attempts: five of them fit into the deadline, so four may fail.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
