//! Slowing a read down, so that a verifier leaves bandwidth to those who serve.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much lost time is made up for: what a sleep takes too long, not what a disk stood still.
const MADE_UP: Duration = Duration::from_millis(100);

/// A common speed limit for all threads of a read.
///
/// It holds at any time, not on the average: what was not read for a while is not read all the faster later.
pub(super) struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    /// When all bytes that were taken so far are due.
    due: Mutex<Instant>,
}

impl Pace {
    /// Begins now. No limit, no sleep.
    pub(super) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Pace { bytes_per_second, due: Mutex::new(Instant::now()) }
    }

    /// Counts bytes that were read, and sleeps until they were due.
    pub(super) fn take(&self, bytes: u64) {
        let Some(limit) = self.bytes_per_second else { return };
        let now = Instant::now();
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = (*due).max(now.checked_sub(MADE_UP).unwrap_or(now))
                + Duration::from_secs_f64(bytes as f64 / limit.get() as f64);
            *due
        };
        thread::sleep(due.saturating_duration_since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_for_all_threads_together() {
        let (started, pace) = (Instant::now(), Pace::new(NonZeroU64::new(1000)));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pace.take(50));
            }
        });
        assert!(started.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn time_in_which_nothing_was_read_is_not_made_up_for() {
        let pace = Pace::new(NonZeroU64::new(1000));
        thread::sleep(4 * MADE_UP);
        let started = Instant::now();
        pace.take(200);
        assert!(started.elapsed() >= MADE_UP);
    }
}
