//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a condition may take to come true.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Duration);

impl Deadline {
    /// Seconds from now.
    pub const fn seconds(seconds: u64) -> Self {
        Deadline(Duration::from_secs(seconds))
    }
}

/// Looks until `condition` gives a value. Panics at the deadline with what it said last: a condition that does not hold
/// says why.
pub fn eventually<T>(what: &str, deadline: Deadline, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + deadline.0;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) if Instant::now() >= end => panic!("{what}: not within {:?}: {why}", deadline.0),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
