//! Pods before they start: held by our gate, let go, or deleted.
//!
//! Receives snapshots; promises that our gate goes from a Pod only when nothing holds it any more, last of all gates, and
//! after deciding once more on reads that began after that was so; that it goes from every Pod that no policy holds; and
//! that a Pod which was let go, stopped complying and has not started is deleted. Keeps nothing that a restart could lose.
//!
//! ```text
//! snapshot ──gather──▶ Pods ──decide, plan──▶ Step ─┬─▶ held: Event
//!                                                   └─▶ fresh reads ──decide, plan──▶ the same Step? ──▶ patch, delete
//! ```

mod apply;
pub mod fresh;
pub mod plan;
pub mod release;

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use tracing::warn;

use super::call::CallFailed;
use super::events::Events;
use super::records::usage::is_matched;
use super::records::verifier_pod::NAME_PREFIX;
use super::runner::Controller;
use super::stores::Gate;
use super::stores::gate::{WaitsFor, may_go};
use crate::decision::{Decision, MAX_EVIDENCE_AGE, decide};
use crate::index::Snapshot;
use crate::workload::{Extract, HasModels};
use plan::{Step, plan};

/// The reason of an Event on a Pod that waits because it may write to a model.
const WAITS_TO_WRITE: &str = "WaitsToWrite";
/// How often every Pod is looked at again although nothing has changed: a verdict also changes with age alone.
const REGULARLY: SignedDuration = SignedDuration::from_secs(30);
/// When a Pod is looked at again that could not be acted upon, because what was read differs from what was watched: by
/// then the watch has caught up.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// How many Pods are acted upon at the same time: each takes some eight calls one after another, and a rollout of
/// hundreds of replicas should not take minutes, nor fill the API server's queue.
const PARALLEL: usize = 8;

crate::metrics! {
    /// Metrics of the Pods that wait.
    pub struct Metrics {
        /// Pods that wait behind our scheduling gate.
        held: IntGauge = "weighbridge_pods_held",
        /// Pods that may write to a model and wait behind our scheduling gate, by what for: Serving, Mark, Replicas.
        held_writers: IntGaugeVec = "weighbridge_held_writers" ["waits_for"],
        /// Pods of which our gate or finalizer was taken off, or that were deleted before they started: lifted, freed,
        /// deleted.
        acted: IntCounterVec = "weighbridge_pods_released_total" ["outcome"],
    }
}

/// Holds Pods, and lets them go.
pub struct Pods {
    client: Client,
    own_namespace: String,
    events: Events,
    metrics: Metrics,
    gate: Gate,
    /// What was last said of each Pod that waits, by uid: said again only when it is something else.
    told: HashMap<String, String>,
}

/// A Pod, and what is done about it as far as the snapshot tells.
struct Candidate {
    pod: Arc<Pod>,
    decision: Decision,
    step: Step,
    /// What keeps it waiting beside the decision: it may write to a model.
    waits: Option<WaitsFor>,
}

impl Pods {
    /// The controller of Pods that have not started.
    pub fn new(client: Client, own_namespace: impl Into<String>, events: Events, metrics: Metrics) -> Self {
        let own_namespace = own_namespace.into();
        let gate = Gate::new(client.clone(), own_namespace.as_str());
        Pods { client, own_namespace, events, metrics, gate, told: HashMap::new() }
    }

    /// The Pods about which there can be anything to do, each with what that is.
    fn gather(&self, snapshot: &Snapshot, now: Timestamp) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for ((namespace, name), pod) in snapshot.objects.pods.iter() {
            let carried = plan::carried(pod);
            let ours = carried.ours || carried.finalizer;
            if name.starts_with(NAME_PREFIX) || !plan::is_live(pod) || !(ours || is_matched(snapshot, namespace)) {
                continue;
            }
            let Extract { subject, uses } = pod.extract();
            let decision = decide(&snapshot.policies, &subject, &uses, &snapshot.evidence, now);
            let mut step = plan(pod, &decision, may_go(pod, snapshot, now));
            let asked = step == Step::Lift && decision.enforced_by.is_some();
            let waits = asked.then(|| self.gate.seems_to(pod, snapshot).err()).flatten();
            if waits.is_some() {
                step = Step::Hold;
            }
            candidates.push(Candidate { pod: Arc::clone(pod), decision, step, waits });
        }
        candidates
    }

    /// Says of each Pod that waits why it does, once.
    async fn tell(&mut self, candidates: &[Candidate]) {
        let mut told = HashMap::new();
        for Candidate { pod, decision, waits, .. } in candidates.iter().filter(|it| it.step == Step::Hold) {
            let (reason, note) = match (waits, decision.violations.first()) {
                (Some(waits), _) => (WAITS_TO_WRITE, waits.sentence(&pod.namespace().unwrap_or_default())),
                (None, Some(violation)) => {
                    (violation.code.as_str(), apply::note("held until this is put right", violation))
                }
                (None, None) => continue,
            };
            let uid = pod.uid().unwrap_or_default();
            if self.told.get(&uid) != Some(&note) {
                apply::publish(&self.events, pod, reason, &note).await;
            }
            told.insert(uid, note);
        }
        self.told = told;
    }
}

impl Controller for Pods {
    const NAME: &'static str = "pods";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        let seen = snapshot.evidence.observed_at;
        if seen.is_none_or(|seen| now.duration_since(seen) > MAX_EVIDENCE_AGE) {
            warn!(?seen, "the view of the cluster is too old to let any Pod go");
            return Ok(now.checked_add(REGULARLY).ok());
        }
        let candidates = self.gather(&snapshot, now);
        let held = candidates.iter().filter(|it| plan::carried(&it.pod).ours).count();
        self.metrics.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        self.metrics.held_writers.reset();
        for waits in candidates.iter().filter_map(|it| it.waits.as_ref()) {
            self.metrics.held_writers.with_label_values(&[waits.as_str()]).inc();
        }
        self.tell(&candidates).await;
        let hands = apply::Hands {
            client: &self.client,
            own_namespace: &self.own_namespace,
            events: &self.events,
            metrics: &self.metrics,
            gate: &self.gate,
            snapshot: &snapshot,
            now,
        };
        let due = candidates.into_iter().filter(|it| matches!(it.step, Step::Lift | Step::Free | Step::Delete));
        let outcomes: Vec<Result<bool, CallFailed>> = futures::stream::iter(due)
            .map(|it| {
                let hands = &hands;
                async move { hands.act(&it.pod, it.step).await }
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut pause = REGULARLY;
        let mut outcome = Ok(());
        for done in outcomes {
            match done {
                Ok(true) => {}
                Ok(false) => pause = SOON,
                Err(error) => outcome = Err(error),
            }
        }
        outcome?;
        Ok(now.checked_add(pause).ok())
    }
}
