//! What the status of a workload says.
//!
//! Receives the decision about a workload; promises the same words that admission would use, and the worst first. Pure.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::api::v1alpha1::{UnknownCode, VerdictKind, WorkloadModel, WorkloadVerificationStatus};
use crate::decision::{Decision, JudgedUse, Violation};
use crate::operator::conditions::{Wanted, merge};

/// Most models in one status (the schema's limit).
const MAX_MODELS: usize = 64;
/// The reason of the condition `Verified` where a workload writes models and reads none.
const WRITER: &str = "Writer";

/// The status of a workload, given the one that it has.
pub fn status(
    before: &WorkloadVerificationStatus,
    decision: &Decision,
    generation: Option<i64>,
    held: i32,
    now: Timestamp,
) -> WorkloadVerificationStatus {
    let readers = || decision.models.iter().filter(|judged| !judged.writer);
    let verdict = verdict(decision);
    let worst = readers().max_by_key(|judged| severity(judged.verdict.kind()));
    let wanted = [verified(verdict, worst), compliant(decision.violations.first())];
    let mut models: Vec<&JudgedUse> = decision.models.iter().collect();
    // Stable: among equals, the order of the object.
    models.sort_by_key(|judged| std::cmp::Reverse((severity(judged.verdict.kind()), !judged.findings.is_empty())));
    WorkloadVerificationStatus {
        observed_generation: generation,
        verdict,
        conditions: merge(&before.conditions, wanted, generation, now),
        held_pods: (held > 0).then_some(held),
        models: distinct(models.into_iter().flat_map(JudgedUse::statuses)).take(MAX_MODELS).collect(),
    }
}

/// Each model once: what a custom resource says of its Pods, what it makes says again.
fn distinct(models: impl Iterator<Item = WorkloadModel>) -> impl Iterator<Item = WorkloadModel> {
    let mut seen = HashSet::new();
    models.filter(move |model| {
        let WorkloadModel { container, volume, source, reason, .. } = model;
        seen.insert((container.clone(), volume.clone(), source.clone(), reason.clone()))
    })
}

/// The worst verdict of what a workload reads; nothing where it reads no model and only writes.
pub fn verdict(decision: &Decision) -> Option<VerdictKind> {
    let readers = decision.models.iter().filter(|judged| !judged.writer);
    readers.map(|judged| judged.verdict.kind()).max_by_key(|kind| severity(*kind))
}

fn verified(verdict: Option<VerdictKind>, worst: Option<&JudgedUse>) -> Wanted {
    let said = worst.and_then(|worst| worst.statuses().into_iter().next());
    let message = said.and_then(|said| said.message).unwrap_or_default();
    match (verdict, worst.map(|judged| &judged.verdict)) {
        (None, _) | (_, None) => {
            Wanted::unknown("Verified", WRITER, "it writes models and reads none: nothing is said of what it writes")
        }
        (_, Some(crate::decision::Verdict::Verified(_))) => {
            Wanted::yes("Verified", "Verified", "every model is what a listed signer signed")
        }
        (_, Some(crate::decision::Verdict::Refused(code, finding))) => {
            Wanted::no("Verified", code.as_str(), sentence(message, &finding.what, &finding.fix))
        }
        (_, Some(crate::decision::Verdict::Unknown(code, finding))) => {
            Wanted::unknown("Verified", code.as_str(), sentence(message, &finding.what, &finding.fix))
        }
    }
}

/// The sentence of the verdict; not that of another finding about the same use.
fn sentence(said: String, what: &str, fix: &str) -> String {
    if said.starts_with(what) { said } else { format!("{what} — {fix}") }
}

fn compliant(violation: Option<&Violation>) -> Wanted {
    match violation {
        None => Wanted::yes("Compliant", "Compliant", "a Pod of this workload would be admitted now"),
        Some(Violation { policy, at, code, finding, .. }) => {
            let message = format!("{policy}: {at}: {} — {}", finding.what, finding.fix);
            Wanted::no("Compliant", code.as_str(), message)
        }
    }
}

fn severity(kind: VerdictKind) -> u8 {
    match kind {
        VerdictKind::Verified => 0,
        VerdictKind::Unknown => 1,
        VerdictKind::Refused => 2,
    }
}

/// What is said in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether it is a warning.
    pub warning: bool,
    /// The code, or `Verified`.
    pub reason: String,
    /// The sentence.
    pub note: String,
}

/// What is new in a status: nothing unless its verdict, or the reason of one of its conditions, is another one. A
/// workload that is verified and complies when it is first seen is no news.
pub fn news(before: Option<&WorkloadVerificationStatus>, after: &WorkloadVerificationStatus) -> Option<News> {
    let reasons = |status: &WorkloadVerificationStatus| {
        let reasons = status.conditions.iter().map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone()));
        (status.verdict, reasons.collect::<Vec<_>>())
    };
    if before.map(reasons) == Some(reasons(after)) {
        return None;
    }
    let condition = |kind: &str| after.conditions.iter().find(|one| one.type_ == kind);
    let broken = ["Compliant", "Verified"].iter().find_map(|kind| condition(kind).filter(|one| one.status != "True"));
    // That it is being read now says nothing new of a model that is unknown already.
    let waits = before.and_then(|before| before.verdict) == Some(VerdictKind::Unknown);
    if waits && broken.is_some_and(|one| one.reason == UnknownCode::Verifying.as_str()) {
        return None;
    }
    match broken.filter(|one| one.reason != WRITER) {
        Some(broken) => Some(News { warning: true, reason: broken.reason.clone(), note: broken.message.clone() }),
        None => {
            let verified = condition("Verified").filter(|one| one.status == "True")?;
            let first = before.is_none_or(|before| before.conditions.is_empty());
            let (reason, note) = (verified.reason.clone(), verified.message.clone());
            (!first).then_some(News { warning: false, reason, note })
        }
    }
}

#[cfg(test)]
mod tests;
