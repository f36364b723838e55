//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// The pause before a condition is looked at again: it grows from the first to the second. A look is mostly a run of
/// kubectl, which takes a tenth of a second of a processor, and many tests look at the same time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

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
    let (end, mut pause) = (Instant::now() + deadline.0, PAUSES.0);
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) if Instant::now() >= end => panic!("{what}: not within {:?}: {why}", deadline.0),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(PAUSES.1);
    }
}
