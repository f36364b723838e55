//! How the threads of a run know of each other: who has begun, who has nothing to hash, who failed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::handover::Rest;
use super::reading::Feeder;

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
    asked: Vec<Task>,
}

/// What a thread that has nothing to hash does for another one.
pub(super) enum Task {
    /// Reads for it.
    Feed(Feeder),
    /// Goes on with a stretch in its place.
    Finish(Rest),
}

/// A thread that waits, kept for a task.
#[must_use]
pub(super) struct Idler<'a>(&'a Crew);

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

    /// Keeps a thread that waits, if there is one, for the task that it is given next.
    pub(super) fn keep_idler(&self) -> Option<Idler<'_>> {
        // Asked by every thread before every piece: mostly nobody waits.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut idle = self.lock();
        if idle.waiting == 0 {
            return None;
        }
        self.set_waiting(&mut idle, |waiting| waiting - 1);
        Some(Idler(self))
    }

    /// Waits for tasks and does them, until nobody hashes any more.
    pub(super) fn help(&self, does: &mut dyn FnMut(Task)) {
        let mut idle = self.lock();
        self.set_waiting(&mut idle, |waiting| waiting + 1);
        loop {
            if let Some(task) = idle.asked.pop() {
                drop(idle);
                does(task);
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

impl Idler<'_> {
    /// Has it do this.
    pub(super) fn give(self, task: Task) {
        self.0.lock().asked.push(task);
        self.0.wake.notify_one();
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
