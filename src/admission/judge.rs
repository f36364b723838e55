//! The decision about one object, from the index: waits a moment for what the index has not seen, and for nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::answer::Rejection;
use super::record_queue::WantedRecord;
use super::review::Request;
use super::triage;
use crate::api::v1alpha1::{Code, RequestCode, UnknownCode};
use crate::decision::{Decision, Evidence, decide};
use crate::index::Snapshot;
use crate::workload::{CustomKinds, Extract, ModelUse, Source};

/// How long a request waits for the watches to bring a namespace or claim that was made just before it, or for a replica
/// that has just started to be sure of what it knows; for one that has read nothing yet it waits longer. Watches are behind
/// by a few milliseconds, as a rule; half a second is what a person who applies a folder of files does not notice.
const INDEX_WAIT: Duration = Duration::from_millis(500);

/// How many records a namespace may have before the webhook asks for no more of them. A person who has 256 model folders
/// in a namespace makes the further records by hand; a Pod that names a new path each time fills nobody's etcd.
const MAX_RECORDS_PER_NAMESPACE: usize = 256;

/// The function that decides: a field, so that tests of what surrounds it need no policies.
pub(super) type Decide = fn(&Snapshot, &Extract, Timestamp) -> Decision;

/// Decides from the index.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    clock: fn() -> Timestamp,
    decide: Decide,
}

/// A decision, and what would be needed to know more.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) decision: Decision,
    pub(super) wanted: Vec<WantedRecord>,
}

impl Judge {
    pub(super) fn new(snapshots: watch::Receiver<Arc<Snapshot>>, clock: fn() -> Timestamp) -> Self {
        let decide: Decide = |snapshot, extract, now| {
            decide(&snapshot.policies, &extract.subject, &extract.uses, &snapshot.evidence, now)
        };
        Judge { snapshots, clock, decide }
    }

    #[cfg(test)]
    pub(super) fn deciding(self, decide: Decide) -> Self {
        Judge { decide, ..self }
    }

    /// The custom resources that are judged, if the request may be about one. Waits a moment for a kind that was just
    /// added: the API server may have been told to ask about it before the watches bring it.
    pub(super) async fn kinds_with(&self, request: &Request, deadline: Instant) -> Result<CustomKinds, Rejection> {
        if request.known_kind().is_none() {
            self.index(request.namespace(), deadline).await?;
        }
        let patience = deadline.min(Instant::now() + INDEX_WAIT);
        let knows = |snapshot: &Snapshot| triage::is_judged(request, &snapshot.kinds);
        let snapshot = self.wait(patience, knows).await;
        Ok(snapshot.unwrap_or_else(|| self.now()).kinds.clone())
    }

    /// Decides about an object, before `deadline`.
    pub(super) async fn judge(&self, extract: &Extract, deadline: Instant) -> Result<Judged, Rejection> {
        let namespace = &extract.subject.namespace;
        self.index(namespace, deadline).await?;
        let patience = deadline.min(Instant::now() + INDEX_WAIT);
        // A cluster-scoped object lies in none.
        let knows = |snapshot: &Snapshot| namespace.is_empty() || snapshot.evidence.namespaces.contains_key(namespace);
        // A replica that has just started takes its Lease in a moment. One that has lost it says what it does not know.
        let vouched = |snapshot: &Snapshot| knows(snapshot) && snapshot.evidence.observed_at.is_some();
        let snapshot = match self.wait(patience, vouched).await {
            Some(snapshot) => snapshot,
            None => Some(self.now()).filter(|snapshot| knows(snapshot)).ok_or_else(|| not_observed(namespace))?,
        };
        let decision = (self.decide)(&snapshot, extract, (self.clock)());
        if !misses_a_claim(&decision) || knows_claims(&snapshot.evidence, extract) {
            return Ok(judged(decision, extract, &snapshot));
        }
        // Decided again in any case: whatever else has come meanwhile counts too.
        let snapshot = match self.wait(patience, |snapshot| knows_claims(&snapshot.evidence, extract)).await {
            Some(snapshot) => snapshot,
            None => self.now(),
        };
        Ok(judged((self.decide)(&snapshot, extract, (self.clock)()), extract, &snapshot))
    }

    /// Waits for the first snapshot, and leaves time for what comes after. Whoever asks a replica that is not ready yet gets
    /// no wrong answer for it, only a late one.
    async fn index(&self, namespace: &str, deadline: Instant) -> Result<(), Rejection> {
        let left = deadline.saturating_duration_since(Instant::now());
        let due = deadline.checked_sub(INDEX_WAIT.min(left / 2)).unwrap_or(deadline);
        let begun = self.wait(due, |snapshot| snapshot.version > 0).await;
        begun.map(drop).ok_or_else(|| not_observed(namespace))
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The first snapshot that will do, or none until then.
    async fn wait(&self, until: Instant, will_do: impl Fn(&Snapshot) -> bool) -> Option<Arc<Snapshot>> {
        let mut snapshots = self.snapshots.clone();
        let found = timeout_at(until, snapshots.wait_for(|snapshot| will_do(snapshot))).await;
        // The inner error means that the index has ended, and the process with it.
        found.ok()?.ok().map(|snapshot| Arc::clone(&snapshot))
    }
}

fn not_observed(namespace: &str) -> Rejection {
    let what = if namespace.is_empty() { "the cluster".to_owned() } else { format!("namespace {namespace}") };
    let text = format!("{what} has not reached this replica of the webhook yet — try again");
    Rejection::new(RequestCode::NotObservedYet, text)
}

fn misses_a_claim(decision: &Decision) -> bool {
    decision.violations.iter().any(|violation| violation.code == Code::Unknown(UnknownCode::SourceMissing))
}

fn knows_claims(evidence: &Evidence, extract: &Extract) -> bool {
    let known = |claim: &str| evidence.claims.contains_key(&(extract.subject.namespace.clone(), claim.to_owned()));
    claims(&extract.uses).all(known)
}

fn claims(uses: &[ModelUse]) -> impl Iterator<Item = &str> {
    uses.iter().filter_map(|it| match &it.source {
        Source::Claim { name, .. } => Some(name.as_str()),
        _ => None,
    })
}

fn judged(decision: Decision, extract: &Extract, snapshot: &Snapshot) -> Judged {
    let wanted = wanted(&decision, &extract.subject.namespace, &snapshot.evidence);
    Judged { decision, wanted }
}

/// The records that are missing, each with the claim that owns it. A claim that does not exist owns nothing.
fn wanted(decision: &Decision, namespace: &str, evidence: &Evidence) -> Vec<WantedRecord> {
    if decision.missing_records.is_empty() {
        return Vec::new();
    }
    let of_namespace = evidence.records.iter().filter(|((other, _), _)| other == namespace);
    if of_namespace.map(|(_, records)| records.len()).sum::<usize>() >= MAX_RECORDS_PER_NAMESPACE {
        tracing::warn!(namespace, MAX_RECORDS_PER_NAMESPACE, "no record is asked for: the namespace has too many");
        return Vec::new();
    }
    let owned = |spec: &crate::api::v1alpha1::ModelVerificationSpec| {
        let claim = spec.source.claim.as_ref()?.name.clone();
        let facts = evidence.claims.get(&(namespace.to_owned(), claim))?;
        Some(WantedRecord { namespace: namespace.to_owned(), claim_uid: facts.uid.clone(), spec: spec.clone() })
    };
    decision.missing_records.iter().filter_map(owned).collect()
}
