//! Workloads: the status that a person looks up, and Events when it changes.
//!
//! Receives snapshots; promises one `WorkloadVerification` for each workload that uses a model which a policy selects,
//! with what [`crate::decision::decide`] says of it now, and an Event on the workload whenever that is something else than
//! before; never evidence for any decision. A custom resource is a workload together with all that it makes.
//!
//! ```text
//! snapshot ──gather──▶ workloads ──judge──▶ Decision ──status──▶ WorkloadVerification, Event
//! ```

mod apply;
pub mod gather;
mod judge;
pub mod status;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use prometheus::{IntGauge, IntGaugeVec};
use tokio::sync::watch;
use tracing::warn;

use crate::api::names::with_hash;
use crate::api::v1alpha1::WorkloadReference;
use crate::decision::MAX_EVIDENCE_AGE;
use crate::index::{CustomObjects, Following, Snapshot};
use crate::model::Hasher;
use crate::operator::call::CallFailed;
use crate::operator::events::Events;
use crate::operator::runner::Controller;
use crate::workload::{CustomKinds, Kind};
pub use tally::{Tallies, Tally};

/// Longest name of an object.
const MAX_NAME_CHARS: usize = 253;
/// Hex digits of the hash in a name that had to be cut.
const NAME_HASH_CHARS: usize = 10;
/// The kind of all workloads, in metrics, whose kinds have names that users chose.
const OTHER: &str = "other";
/// How often everything is judged again although nothing has changed: a verdict also changes with age alone.
const REGULARLY: SignedDuration = SignedDuration::from_secs(30);

crate::metrics! {
    /// Metrics of the workloads.
    pub struct Metrics {
        /// Workloads that use models which a policy selects, by kind (`other` for kinds that a ModelKind adds) and verdict; `Writer` for those that read none.
        workloads: IntGaugeVec = "weighbridge_workloads" ["kind", "verdict"],
        /// Kinds of custom resources that the cluster has, by how far they are followed: Listing, Live, Forbidden, Failed. Those of which nothing is known have no status.
        custom_kinds: IntGaugeVec = "weighbridge_custom_kinds" ["state"],
        /// Custom resources, about how many, that have no status because there are too many of their kind.
        custom_left_out: IntGauge = "weighbridge_custom_resources_left_out",
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

impl Workloads {
    fn measure_kinds(&self, custom: &CustomObjects) {
        let kinds = || custom.kinds.values();
        for state in Following::ALL {
            let count = kinds().filter(|kind| kind.state == state).count();
            self.metrics.custom_kinds.with_label_values(&[state.as_str()]).set(saturated(count));
        }
        self.metrics.custom_left_out.set(saturated(kinds().map(|kind| kind.left_out).sum()));
    }
}

fn saturated(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
            let decision = judge::judge(&snapshot, workload, now);
            if decision.models.is_empty() {
                continue;
            }
            tally::add(&mut tallies, workload, &decision);
            let name = name(&workload.reference, &snapshot.kinds);
            let key = (workload.namespace.clone(), name);
            let object = snapshot.objects.workload_verifications.get(&key);
            let verdict = status::verdict(&decision).map_or("Writer", |verdict| verdict.as_str());
            *counts.entry((label(&workload.reference).to_owned(), verdict)).or_default() += 1;
            let hands = apply::Hands { client: &self.client, events: &self.events };
            let written = hands.write(workload, &key.1, object.map(AsRef::as_ref), &decision, now).await;
            outcome = outcome.and(written);
            wanted.insert(key);
        }
        self.measure(&counts);
        self.measure_kinds(&snapshot.objects.custom);
        self.tallies.send_replace(Some(Arc::new(tallies)));
        let unwanted = snapshot.objects.workload_verifications.iter().filter(|(key, _)| !wanted.contains(key));
        // Before all custom resources are there, some statuses seem to be nobody's.
        for (key, object) in unwanted.filter(|_| snapshot.objects.custom.settled) {
            outcome = outcome.and(apply::remove(&self.client, &key.0, object).await);
        }
        outcome?;
        let regularly = now.checked_add(REGULARLY).ok();
        Ok(wake.into_iter().chain(regularly).min())
    }
}

/// The group of a workload's kind.
fn group(workload: &WorkloadReference) -> &str {
    workload.api_version.split_once('/').map_or("", |(group, _)| group)
}

fn is_built_in(workload: &WorkloadReference) -> bool {
    let version = workload.api_version.rsplit('/').next().unwrap_or_default();
    Kind::of(group(workload), version, &workload.kind).is_some()
}

/// A workload's kind in metrics, where only names of ours stand.
fn label(workload: &WorkloadReference) -> &str {
    let known = is_built_in(workload) || CustomKinds::is_known(group(workload), &workload.kind);
    if known { &workload.kind } else { OTHER }
}

/// The name of a workload's status: `<kind>-<name>`; cut, with a hash of the whole, where that is too long. Where kinds of
/// several groups have one name, all but the one that is meant by it are told apart by `<kind>.<group>-<name>`.
///
/// A kind has neither dot nor dash, and a group with a dash stands as a hash, so no two workloads have the same name.
pub fn name(workload: &WorkloadReference, kinds: &CustomKinds) -> String {
    let (kind, group) = (workload.kind.to_lowercase(), group(workload));
    let kind = match group {
        _ if is_built_in(workload) || kinds.means(group, &workload.kind) => kind,
        group if group.contains('-') => {
            format!("{kind}.{}", &Hasher::sha256(group.as_bytes()).to_hex()[..NAME_HASH_CHARS])
        }
        group => format!("{kind}.{group}"),
    };
    let whole = format!("{kind}-{}", workload.name);
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
        let reference = |name: String| WorkloadReference {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            name,
            uid: String::new(),
        };
        let name = |workload| name(&workload, &CustomKinds::default());
        assert_eq!(name(reference("chat".into())), "statefulset-chat");
        let long = [name(reference("x".repeat(253))), name(reference(format!("{}y", "x".repeat(252))))];
        assert!(long.iter().all(|name| name.len() <= 253));
        assert_ne!(long[0], long[1]);
    }

    #[test]
    fn kinds_of_several_groups_with_one_name_are_told_apart() {
        let named = |api_version: &str, kind: &str| {
            let reference = WorkloadReference {
                api_version: api_version.into(),
                kind: kind.into(),
                name: "chat".into(),
                uid: String::new(),
            };
            (name(&reference, &CustomKinds::default()), label(&reference).to_owned())
        };
        let expected = |name: &str, label: &str| (name.to_owned(), label.to_owned());
        let kserve = named("serving.kserve.io/v1beta1", "InferenceService");
        assert_eq!(kserve, expected("inferenceservice-chat", "InferenceService"));
        assert_eq!(named("serving.kserve.io/v2", "InferenceService"), kserve, "whatever version it is written in");
        assert_eq!(named("kubeai.org/v1", "Model"), expected("model.kubeai.org-chat", "Model"));
        assert_eq!(named("example.com/v1", "Deployment"), expected("deployment.example.com-chat", "other"));
        let (dashed, _) = named("a-b.example.com/v1", "Deployment");
        assert_eq!(dashed.len(), "deployment.-chat".len() + NAME_HASH_CHARS, "{dashed}");
    }
}
