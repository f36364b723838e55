//! What admission measures.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::Answer;
use super::review::{Operation, Request};
use crate::decision::{Action, Decision};
use crate::index::Snapshot;
use crate::policy::PolicyName;
use crate::telemetry::{BoundedNames, Registry, Spec};
use crate::workload::Kind;

crate::metrics! {
    /// The metrics themselves.
    struct Series {
        /// Reviews that were answered, by kind of object, operation and decision: allow, audit, warn, hold, deny, pass
        /// (nothing in it could change a model), reject (the review itself was refused).
        reviews: IntCounterVec = "weighbridge_admission_reviews_total" ["kind", "operation", "decision"],
        /// Seconds from the head of a request to its answer, by kind of object.
        duration: HistogramVec = "weighbridge_admission_duration_seconds" ["kind"]
            buckets [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.6, 1.0, 2.5, 5.0, 10.0],
        /// Violations that were found, by policy of the cluster (the first 100, then `other`; those of namespaces are
        /// all `ModelPolicy`), code and what followed.
        violations: IntCounterVec = "weighbridge_admission_violations_total" ["policy", "code", "action"],
        /// Always 1: the policies that this replica decides by (those of the cluster by name, the first 100, then `other`;
        /// `ModelPolicy` where any namespace has one).
        policies: IntGaugeVec = "weighbridge_policy_info" ["policy"],
        /// New Pods that the mutating webhook was asked about, by what became of that: gated, passed, rejected (the review
        /// itself was refused).
        gates: IntCounterVec = "weighbridge_admission_gates_total" ["outcome"],
        /// Records that were asked for, by what became of that: queued, known (it was queued already), dropped (the queue
        /// is full), created, failed.
        records: IntCounterVec = "weighbridge_record_requests_total" ["outcome"],
    }
}

/// What admission measures. Clones count together.
#[derive(Clone, Debug)]
pub struct AdmissionMetrics {
    series: Series,
    policies: Arc<BoundedNames>,
}

/// The label of all policies of namespaces together: tenants choose their names, and no policy of the cluster can be
/// called so.
const NAMESPACED: &str = "ModelPolicy";

/// What became of the wish for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordOutcome {
    Queued,
    Known,
    Dropped,
    Created,
    Failed,
}

impl AdmissionMetrics {
    /// What the metrics are made from.
    pub const SPECS: &'static [Spec] = Series::SPECS;

    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> Self {
        AdmissionMetrics { series: Series::register(registry), policies: Arc::default() }
    }

    pub(super) fn violated(&self, decision: &Decision) {
        for violation in &decision.violations {
            let policy = match &violation.policy {
                PolicyName::Cluster(name) => self.policies.label(name),
                PolicyName::Namespaced { .. } => NAMESPACED,
            };
            let action = match violation.action {
                Action::Audit => "Audit",
                Action::Warn => "Warn",
                Action::Hold => "Hold",
                Action::Deny => "Deny",
            };
            self.series.violations.with_label_values(&[policy, violation.code.as_str(), action]).inc();
        }
    }

    /// Counts a new Pod that the mutating webhook was asked about.
    pub(super) fn gating(&self, outcome: &'static str) {
        self.series.gates.with_label_values(&[outcome]).inc();
    }

    pub(super) fn record(&self, outcome: RecordOutcome) {
        let outcome = match outcome {
            RecordOutcome::Queued => "queued",
            RecordOutcome::Known => "known",
            RecordOutcome::Dropped => "dropped",
            RecordOutcome::Created => "created",
            RecordOutcome::Failed => "failed",
        };
        self.series.records.with_label_values(&[outcome]).inc();
    }
}

/// Keeps `weighbridge_policy_info` at the policies of the snapshots.
pub async fn follow_policies(metrics: AdmissionMetrics, mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Infallible {
    let mut shown = BTreeSet::new();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let cluster = snapshot.objects.policies.keys().map(|name| metrics.policies.label(name));
        let namespaced = snapshot.policies.namespaces().next().map(|_| NAMESPACED);
        let names: BTreeSet<String> = cluster.chain(namespaced).map(str::to_owned).collect();
        for gone in shown.difference(&names) {
            // It can only fail where there is none.
            let _ = metrics.series.policies.remove_label_values(&[gone]);
        }
        for name in &names {
            metrics.series.policies.with_label_values(&[name]).set(1);
        }
        shown = names;
        if snapshots.changed().await.is_err() {
            // The index has ended, and the process with it.
            std::future::pending::<()>().await;
        }
    }
}

/// Measures one review until it is dropped.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    metrics: &'a AdmissionMetrics,
    began: Instant,
    kind: &'static str,
}

/// The label of every kind that is not judged.
const OTHER_KIND: &str = "other";

impl<'a> Measured<'a> {
    pub(super) fn start(metrics: &'a AdmissionMetrics) -> Self {
        Measured { metrics, began: Instant::now(), kind: OTHER_KIND }
    }

    pub(super) fn answered(&mut self, request: &Request, answer: &Answer) {
        self.kind = request.known_kind().map_or(OTHER_KIND, Kind::as_str);
        let labels = [self.kind, request.operation().as_str(), answer.label()];
        self.metrics.series.reviews.with_label_values(&labels).inc();
    }

    pub(super) fn unreadable(&mut self) {
        let labels = [OTHER_KIND, Operation::Other.as_str(), "reject"];
        self.metrics.series.reviews.with_label_values(&labels).inc();
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.metrics.series.duration.with_label_values(&[self.kind]).observe(self.began.elapsed().as_secs_f64());
    }
}
