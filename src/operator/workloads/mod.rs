//! Workloads: the status that a person looks up, and Events when it changes.
//!
//! Receives snapshots; promises one `WorkloadVerification` for each workload that uses a model which a policy selects,
//! with what [`decide`] says of it now, and an Event on the workload whenever that is something else than before; never
//! evidence for any decision.
//!
//! ```text
//! snapshot ──gather──▶ workloads ──decide──▶ Decision ──status──▶ WorkloadVerification, Event
//! ```

mod apply;
pub mod gather;
pub mod status;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use prometheus::IntGaugeVec;
use tokio::sync::watch;
use tracing::warn;

use crate::api::names::with_hash;
use crate::api::v1alpha1::WorkloadReference;
use crate::decision::{MAX_EVIDENCE_AGE, decide};
use crate::index::Snapshot;
use crate::operator::call::CallFailed;
use crate::operator::events::Events;
use crate::operator::runner::Controller;
use crate::workload::{Stage, Subject};
pub use tally::{Tallies, Tally};

/// Longest name of an object.
const MAX_NAME_CHARS: usize = 253;
/// Hex digits of the hash in a name that had to be cut.
const NAME_HASH_CHARS: usize = 10;
/// How often everything is judged again although nothing has changed: a verdict also changes with age alone.
const REGULARLY: SignedDuration = SignedDuration::from_secs(30);

crate::metrics! {
    /// Metrics of the workloads.
    pub struct Metrics {
        /// Workloads that use models which a policy selects, by kind and verdict; `Writer` for those that read none.
        workloads: IntGaugeVec = "weighbridge_workloads" ["kind", "verdict"],
    }
}

/// Keeps the statuses of workloads.
pub struct Workloads {
    client: Client,
    events: Events,
    metrics: Metrics,
    tallies: watch::Sender<Option<Arc<Tallies>>>,
}

impl Workloads {
    /// The controller of statuses, and what becomes of workloads under each policy, once that is known.
    pub fn new(client: Client, events: Events, metrics: Metrics) -> (Workloads, watch::Receiver<Option<Arc<Tallies>>>) {
        let (tallies, receiver) = watch::channel(None);
        (Workloads { client, events, metrics, tallies }, receiver)
    }

    fn measure(&self, counts: &BTreeMap<(String, &'static str), i64>) {
        self.metrics.workloads.reset();
        for ((kind, verdict), count) in counts {
            self.metrics.workloads.with_label_values(&[kind.as_str(), verdict]).set(*count);
        }
    }
}

impl Controller for Workloads {
    const NAME: &'static str = "workloads";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        let seen = snapshot.evidence.observed_at;
        if seen.is_none_or(|seen| now.duration_since(seen) > MAX_EVIDENCE_AGE) {
            // Nothing that could be said of any workload would be about the workload.
            warn!(?seen, "the view of the cluster is too old to say anything of workloads");
            return Ok(now.checked_add(REGULARLY).ok());
        }
        let (workloads, wake) = gather::workloads(&snapshot, now);
        let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
        let mut counts: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
        let mut tallies = Tallies::new();
        let mut outcome = Ok(());
        for workload in &workloads {
            // What its Pods would be told counts, not what is said early of a template.
            let subject = Subject { stage: Stage::Pod, ..workload.extract.subject.clone() };
            let decision = decide(&snapshot.policies, &subject, &workload.extract.uses, &snapshot.evidence, now);
            if decision.models.is_empty() {
                continue;
            }
            tally::add(&mut tallies, workload, &decision);
            let name = name(&workload.reference);
            let key = (workload.namespace.clone(), name);
            let object = snapshot.objects.workload_verifications.get(&key);
            let verdict = status::verdict(&decision).map_or("Writer", |verdict| verdict.as_str());
            *counts.entry((workload.reference.kind.clone(), verdict)).or_default() += 1;
            let hands = apply::Hands { client: &self.client, events: &self.events };
            let written = hands.write(workload, &key.1, object.map(AsRef::as_ref), &decision, now).await;
            outcome = outcome.and(written);
            wanted.insert(key);
        }
        self.measure(&counts);
        self.tallies.send_replace(Some(Arc::new(tallies)));
        for (key, object) in snapshot.objects.workload_verifications.iter().filter(|(key, _)| !wanted.contains(key)) {
            outcome = outcome.and(apply::remove(&self.client, &key.0, object).await);
        }
        outcome?;
        let regularly = now.checked_add(REGULARLY).ok();
        Ok(wake.into_iter().chain(regularly).min())
    }
}

/// The name of a workload's status: `<kind>-<name>`; cut, with a hash of the whole, where that is too long.
pub fn name(workload: &WorkloadReference) -> String {
    let whole = format!("{}-{}", workload.kind.to_lowercase(), workload.name);
    if whole.len() <= MAX_NAME_CHARS {
        return whole;
    }
    with_hash(&whole, MAX_NAME_CHARS - 1 - NAME_HASH_CHARS, &whole, NAME_HASH_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_whatever_the_workload_is_called() {
        let reference = |name: String| WorkloadReference { kind: "StatefulSet".into(), name, ..Default::default() };
        assert_eq!(name(&reference("chat".into())), "statefulset-chat");
        let long = [name(&reference("x".repeat(253))), name(&reference(format!("{}y", "x".repeat(252))))];
        assert!(long.iter().all(|name| name.len() <= 253));
        assert_ne!(long[0], long[1]);
    }
}
