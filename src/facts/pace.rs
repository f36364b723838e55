//! Slowing a read down, so that a verifier leaves bandwidth to those who serve.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A common speed limit for all threads of a read.
pub(super) struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    started: Instant,
    taken: AtomicU64,
}

impl Pace {
    /// Begins now. No limit, no sleep.
    pub(super) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Pace { bytes_per_second, started: Instant::now(), taken: AtomicU64::new(0) }
    }

    /// Counts bytes that were read, and sleeps until they were due.
    pub(super) fn take(&self, bytes: u64) {
        let Some(limit) = self.bytes_per_second else { return };
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let due = Duration::from_secs_f64(taken as f64 / limit.get() as f64);
        thread::sleep(due.saturating_sub(self.started.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_for_all_threads_together() {
        let pace = Pace::new(NonZeroU64::new(1000));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pace.take(50));
            }
        });
        assert!(pace.started.elapsed() >= Duration::from_millis(100));
    }
}
