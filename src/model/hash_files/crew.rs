//! How the threads of a run know of each other: who has begun, who has nothing to hash, who failed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::reading::{Buffer, Feeder};

/// The threads of a run.
pub(super) struct Crew {
    threads: usize,
    begun: AtomicUsize,
    failed: AtomicBool,
    /// What [`Idle::waiting`] is, to be asked without the lock.
    waiting: AtomicUsize,
    idle: Mutex<Idle>,
    wake: Condvar,
}

struct Idle {
    /// How many threads hash, or have not begun.
    hashing: usize,
    /// How many wait for something to do and were not asked yet.
    waiting: usize,
    /// What was asked of those who wait; never more than there are.
    asked: Vec<Feeder>,
}

/// A thread that hashes. When it goes, by whatever way, those who wait learn of it.
pub(super) struct AtWork<'a>(&'a Crew);

impl Crew {
    pub(super) fn new(threads: usize) -> Self {
        let idle = Idle { hashing: threads, waiting: 0, asked: Vec::new() };
        Crew {
            threads,
            begun: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(idle),
            wake: Condvar::new(),
        }
    }

    /// This thread begins to hash.
    pub(super) fn begin(&self) -> AtWork<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        AtWork(self)
    }

    /// Whether every thread has begun.
    pub(super) fn all_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == self.threads
    }

    /// Everybody shall stop.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether somebody failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for something to do.
    pub(super) fn is_anyone_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Has a thread that waits read; whether there is one.
    pub(super) fn ask(&self, feeder: Feeder) -> bool {
        let mut idle = self.lock();
        if idle.waiting == 0 {
            return false;
        }
        idle.asked.push(feeder);
        self.set_waiting(&mut idle, |waiting| waiting - 1);
        self.wake.notify_one();
        true
    }

    /// Waits for something to read, and reads it into these buffers, until nobody hashes any more.
    pub(super) fn help(&self, buffers: &mut Vec<Buffer>) {
        let mut idle = self.lock();
        self.set_waiting(&mut idle, |waiting| waiting + 1);
        loop {
            if let Some(feeder) = idle.asked.pop() {
                drop(idle);
                feeder.run(buffers, || self.has_failed());
                idle = self.lock();
                self.set_waiting(&mut idle, |waiting| waiting + 1);
            } else if idle.hashing == 0 {
                return self.set_waiting(&mut idle, |waiting| waiting - 1);
            } else {
                idle = self.wake.wait(idle).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn set_waiting(&self, idle: &mut Idle, change: impl Fn(usize) -> usize) {
        idle.waiting = change(idle.waiting);
        self.waiting.store(idle.waiting, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
        let mut idle = self.0.lock();
        idle.hashing -= 1;
        if idle.hashing == 0 {
            self.0.wake.notify_all();
        }
    }
}
