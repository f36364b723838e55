//! The clock: the one place where the time of day is read.
//!
//! Everything that decides takes the time as an argument; whoever calls it at the edge asks here.

use jiff::Timestamp;

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
