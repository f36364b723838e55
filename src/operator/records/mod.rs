//! Records: what was found when a claim was last read, and the Pods that read.
//!
//! Receives snapshots; promises that a record's facts come from a verifier Pod that was what we sent, over a source that
//! stayed what it was, and that a run without facts takes none away; never says who may sign, which is decided from the
//! policies each time.
//!
//! ```text
//! snapshot ──stores──▶ View ─┐
//!     └──────usage──▶ Usage ─┴─gather──▶ Situation ──plan (due, run, schedule)──▶ Step ──apply──▶ status, Pods
//! ```
//!
//! The stores come first, in the same round and over the same snapshot: no run starts, and no result is taken, before
//! every writer that the snapshot shows is marked.

mod apply;
pub mod collect;
pub mod due;
pub mod gather;
pub mod keep;
mod metrics;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod situation;
pub mod status;
pub mod usage;
pub mod verifier_pod;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use tracing::warn;

pub use metrics::Metrics;
pub use schedule::Limits;
pub use verifier_pod::VerifierSettings;

use crate::index::Snapshot;
use crate::operator::call::CallFailed;
use crate::operator::runner::Controller;
use crate::operator::stores::Stores;
use apply::Hands;
use gather::Memory;
use keep::Fate;
use situation::Situation;
use usage::{RecordKey, Usage};
use verifier_pod::{COMPONENT, NAME_PREFIX};

/// How old a Pod that no record knows must be before it is taken away: until then the record that knows it may be on its
/// way through the watch.
const STRAY: SignedDuration = SignedDuration::from_secs(60);
/// How long a record is left alone after a step about it failed: as long as between two rounds of a quiet cluster.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// For how long a failure is remembered after its pause is over.
const FORGET: SignedDuration = SignedDuration::from_hours(1);

/// What the records need to know of an installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The namespace of weighbridge itself.
    pub namespace: String,
    /// What verifier Pods look like.
    pub verifier: VerifierSettings,
    /// How many of them there may be.
    pub limits: Limits,
}

/// Keeps the records, and the backing stores under them.
pub struct Records {
    client: Client,
    settings: Settings,
    metrics: Metrics,
    stores: Stores,
    memory: Memory,
    /// Records about which a step failed, and until when they are left alone.
    failing: HashMap<RecordKey, Timestamp>,
}

impl Records {
    /// Keeps those of one installation.
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        let stores = Stores::new(client.clone(), settings.namespace.as_str());
        Records { client, settings, metrics, stores, memory: Memory::new(), failing: HashMap::new() }
    }

    /// Does all steps. One record that cannot be written does not hold up the others.
    async fn run_steps(
        &mut self,
        snapshot: &Snapshot,
        usage: &Usage,
        situations: &[Situation],
        steps: Vec<plan::Step>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut wake: Option<Timestamp> = None;
        for (situation, step) in situations.iter().zip(steps) {
            let key = (situation.namespace.clone(), situation.name.clone());
            let Some(record) = snapshot.objects.records.get(&key) else { continue };
            if let Some(until) = self.failing.get(&key) {
                wake = wake.into_iter().chain([*until]).min();
                continue;
            }
            let unused_since = match keep::fate(record, &usage.used, now) {
                Fate::Stays => None,
                Fate::Unused { since, until } => {
                    wake = wake.into_iter().chain([until]).min();
                    Some(since)
                }
                Fate::Goes => {
                    let removed = apply::remove(&self.client, record).await;
                    wake = wake.into_iter().chain(self.note(key, removed, now)).min();
                    continue;
                }
            };
            let mut hands = Hands {
                client: &self.client,
                settings: &self.settings.verifier,
                metrics: &self.metrics,
                memory: &mut self.memory,
                now,
            };
            let step = hands.apply(record, situation, unused_since, step).await;
            let done = step.and(apply::adopt(&self.client, record, situation).await);
            wake = wake.into_iter().chain(self.note(key, done, now)).min();
        }
        wake
    }

    /// Notes a step that failed. A tenant can bring that about (a status that grows too large, an answer that does not
    /// parse), so that it must not slow down the round, in which writers are marked for all.
    fn note(&mut self, key: RecordKey, done: Result<(), CallFailed>, now: Timestamp) -> Option<Timestamp> {
        let error = done.err()?;
        warn!(namespace = key.0, record = key.1, %error, retry_after = %RETRY, "a step about a record failed");
        let until = now.checked_add(RETRY).ok()?;
        self.failing.insert(key, until);
        Some(until)
    }

    /// Takes away verifier Pods that no record knows.
    async fn sweep(&self, snapshot: &Snapshot, situations: &[Situation], now: Timestamp) {
        let runs = situations.iter().filter_map(|situation| Some((situation, situation.active_run()?.pod.as_deref()?)));
        let known: BTreeSet<(&str, &str)> = runs.map(|(situation, pod)| (situation.namespace.as_str(), pod)).collect();
        for ((namespace, name), pod) in snapshot.objects.pods.iter() {
            let ours =
                name.starts_with(NAME_PREFIX) && pod.labels().get(COMPONENT.0).is_some_and(|it| it == COMPONENT.1);
            let age = pod.creation_timestamp().map(|made| now.duration_since(made.0)).unwrap_or_default();
            let going = pod.metadata.deletion_timestamp.is_some();
            if ours && !going && age > STRAY && !known.contains(&(namespace.as_str(), name.as_str())) {
                // Those of one namespace do not keep those of others.
                if let Err(error) = apply::delete_pod(&self.client, namespace, name, pod.uid()).await {
                    warn!(namespace, pod = name, %error, "a verifier Pod that no record knows cannot be deleted");
                }
            }
        }
    }
}

impl Controller for Records {
    const NAME: &'static str = "records";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        let (view, stores) = self.stores.round(&snapshot, now).await?;
        let usage = usage::of(&snapshot, now);
        self.memory.retain(|_, (_, until)| now.duration_since(*until) < FORGET);
        let situations = gather::situations(&snapshot, &view, &usage, &self.settings.verifier, &self.memory);
        let (steps, wake) = plan::plan(&situations, self.settings.limits, now);
        self.metrics.observe(&situations, now);
        self.failing.retain(|_, until| *until > now);
        let later = self.run_steps(&snapshot, &usage, &situations, steps, now).await;
        for create in keep::create(&snapshot, &usage) {
            // A quota of the namespace, or a webhook of somebody else, is no reason to stop here.
            if let Err(error) = apply::create(&self.client, &create).await {
                warn!(namespace = create.namespace, claim = create.claim, %error, "a record cannot be made");
            }
        }
        self.sweep(&snapshot, &situations, now).await;
        stores?;
        let regular = self.stores.next_round(now);
        Ok(wake.into_iter().chain(later).chain(regular).min())
    }
}
