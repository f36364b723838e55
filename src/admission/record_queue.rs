//! Records that are wanted: what admission misses, until somebody makes it.
//!
//! Bounded, without duplicates, and fair: namespaces take turns, so that one that asks for many does not make others
//! wait. Holds wishes only; making the records is the business of an adapter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::metrics::{AdmissionMetrics, RecordOutcome};
use crate::api::v1alpha1::{MAX_INLINE_BYTES, ModelVerificationSpec};

/// How many wishes one namespace may have in the queue. A Pod that uses more models at once asks again when its controller
/// tries it again.
const MAX_PER_NAMESPACE: usize = 64;

/// How many wishes the queue holds: sixteen namespaces with all they may have. A wish has at most 2 KiB (a claim's name,
/// a path), so this is 2 MiB.
const MAX_WISHES: usize = 16 * MAX_PER_NAMESPACE;

/// How many bytes of bundles the wishes in the queue may carry, which annotations bring: 32 of the largest.
const MAX_BUNDLE_BYTES: usize = 32 * MAX_INLINE_BYTES;

/// A record that does not exist and would help to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedRecord {
    /// Its namespace.
    pub namespace: String,
    /// The claim that owns it, by uid.
    pub claim_uid: String,
    /// What it is about.
    pub spec: ModelVerificationSpec,
}

/// Somebody who has records made, later. Asking never waits and never fails.
pub trait RecordRequests: fmt::Debug + Send + Sync {
    /// Asks for a record.
    fn request(&self, wanted: WantedRecord);
}

/// The queue between admission and whoever makes records.
#[derive(Debug)]
pub struct RecordQueue {
    state: Mutex<State>,
    arrived: Notify,
    metrics: AdmissionMetrics,
}

#[derive(Debug, Default)]
struct State {
    /// Wishes by namespace; no list is empty.
    waiting: BTreeMap<String, VecDeque<WantedRecord>>,
    /// Whose turn it is: each namespace with wishes, once.
    turns: VecDeque<String>,
    /// Namespace and name of each record that is waited for or being made.
    known: BTreeSet<(String, String)>,
}

impl RecordQueue {
    /// An empty queue.
    pub fn new(metrics: AdmissionMetrics) -> Self {
        RecordQueue { state: Mutex::default(), arrived: Notify::new(), metrics }
    }

    /// Waits for the next wish. It counts as known until [`RecordQueue::done`].
    pub async fn next(&self) -> WantedRecord {
        loop {
            // Registered before looking, so that a wish in between is not missed.
            let arrived = self.arrived.notified();
            if let Some(wanted) = self.state().take() {
                return wanted;
            }
            arrived.await;
        }
    }

    /// The record was made, or will not be: it may be asked for again.
    pub fn done(&self, wanted: &WantedRecord, created: bool) {
        self.state().known.remove(&key(wanted));
        self.metrics.record(if created { RecordOutcome::Created } else { RecordOutcome::Failed });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordRequests for RecordQueue {
    fn request(&self, wanted: WantedRecord) {
        let outcome = self.state().put(wanted);
        self.metrics.record(outcome);
        if outcome == RecordOutcome::Queued {
            self.arrived.notify_one();
        }
    }
}

impl State {
    fn put(&mut self, wanted: WantedRecord) -> RecordOutcome {
        let key = key(&wanted);
        if self.known.contains(&key) {
            return RecordOutcome::Known;
        }
        let of_namespace = self.waiting.get(&wanted.namespace).map_or(0, VecDeque::len);
        let carried: usize = self.waiting.values().flatten().map(bundle_bytes).sum();
        let too_heavy = bundle_bytes(&wanted) > 0 && carried + bundle_bytes(&wanted) > MAX_BUNDLE_BYTES;
        if self.known.len() >= MAX_WISHES || of_namespace >= MAX_PER_NAMESPACE || too_heavy {
            return RecordOutcome::Dropped;
        }
        if of_namespace == 0 {
            self.turns.push_back(wanted.namespace.clone());
        }
        self.known.insert(key);
        self.waiting.entry(wanted.namespace.clone()).or_default().push_back(wanted);
        RecordOutcome::Queued
    }

    fn take(&mut self) -> Option<WantedRecord> {
        let namespace = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&namespace)?;
        let wanted = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        wanted
    }
}

fn bundle_bytes(wanted: &WantedRecord) -> usize {
    wanted.spec.bundle.as_ref().map_or(0, String::len)
}

fn key(wanted: &WantedRecord) -> (String, String) {
    (wanted.namespace.clone(), wanted.spec.record_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    fn wish(namespace: &str, path: usize) -> WantedRecord {
        let spec = ModelVerificationSpec::of_claim("models", path.to_string());
        WantedRecord { namespace: namespace.into(), claim_uid: "u".into(), spec }
    }

    fn put(state: &mut State, namespace: &str, path: usize) -> RecordOutcome {
        state.put(wish(namespace, path))
    }

    #[test]
    fn namespaces_take_turns() {
        let mut state = State::default();
        for (namespace, path) in [("a", 1), ("a", 2), ("a", 3), ("b", 1)] {
            put(&mut state, namespace, path);
        }
        let order: Vec<WantedRecord> = std::iter::from_fn(|| state.take()).collect();
        assert_eq!(order, [wish("a", 1), wish("b", 1), wish("a", 2), wish("a", 3)]);
    }

    #[test]
    fn what_is_known_is_not_asked_for_again_until_it_is_done() {
        let queue = RecordQueue::new(AdmissionMetrics::register(&Registry::new()));
        queue.request(wish("a", 1));
        assert_eq!(queue.state().put(wish("a", 1)), RecordOutcome::Known);
        let taken = queue.state().take().unwrap();
        assert_eq!(queue.state().put(wish("a", 1)), RecordOutcome::Known, "it is being made");
        queue.done(&taken, true);
        assert_eq!(queue.state().put(wish("a", 1)), RecordOutcome::Queued);
    }

    #[test]
    fn a_namespace_that_asks_for_many_leaves_room() {
        let mut state = State::default();
        for path in 0..MAX_PER_NAMESPACE {
            assert_eq!(put(&mut state, "a", path), RecordOutcome::Queued);
        }
        assert_eq!(put(&mut state, "a", MAX_PER_NAMESPACE), RecordOutcome::Dropped);
        for number in 0..MAX_WISHES - MAX_PER_NAMESPACE {
            assert_eq!(put(&mut state, &format!("b{number}"), 0), RecordOutcome::Queued);
        }
        assert_eq!(put(&mut state, "c", 0), RecordOutcome::Dropped, "the queue is full");
    }

    #[test]
    fn bundles_that_annotations_bring_leave_room() {
        let mut state = State::default();
        let heavy = |namespace: usize| {
            let mut wanted = wish(&namespace.to_string(), 0);
            wanted.spec.bundle = Some("A".repeat(MAX_INLINE_BYTES));
            wanted
        };
        for namespace in 0..MAX_BUNDLE_BYTES / MAX_INLINE_BYTES {
            assert_eq!(state.put(heavy(namespace)), RecordOutcome::Queued);
        }
        assert_eq!(state.put(heavy(MAX_WISHES)), RecordOutcome::Dropped);
        assert_eq!(put(&mut state, "light", 0), RecordOutcome::Queued, "one without a bundle still fits");
    }

    #[tokio::test]
    async fn a_wish_wakes_whoever_waits() {
        let queue = RecordQueue::new(AdmissionMetrics::register(&Registry::new()));
        let (taken, ()) = tokio::join!(queue.next(), async { queue.request(wish("a", 1)) });
        assert_eq!(taken, wish("a", 1));
    }
}
