//! What becomes of a run that is on.
//!
//! Receives a [`Situation`] with an active run, and the time; promises that a result is asked for only while the source
//! is what it was when the run began. Whether the result counts is for [`super::collect`].

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::collect::{Difference, Essence, Stage, stage, untouched};
use super::situation::{Fetch, Situation};
use crate::api::v1alpha1::{ReadSource, Run, UnknownCode};
use crate::facts::{Extent, Report};

/// How long a write of ours, or a Pod of ours, may take to come back through the watch.
const ECHO: SignedDuration = SignedDuration::from_secs(15);
/// How long a Pod may be held up by something that the cluster names before it is taken away and tried again: it
/// takes one of few places for runs. A node that is started for it is there by the time of a later try.
const HELD: SignedDuration = SignedDuration::from_secs(60);
/// How long a Pod may take to start while nothing is named: to attach a volume takes minutes on some clouds.
const STARTING: SignedDuration = SignedDuration::from_secs(300);

/// What to do about the run that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing, until something changes or this time comes; meanwhile these words of the cluster are shown.
    Wait(Option<Timestamp>, Option<String>),
    /// Our container has left a result: check it.
    Take,
    /// What it would say no longer counts: take the Pod away, and decide anew.
    Abort(&'static str),
    /// It brought nothing.
    Fail(UnknownCode, String),
}

/// What to do about a run.
pub fn progress(situation: &Situation, run: &Run, now: Timestamp) -> Progress {
    if situation.store.unsettled {
        return Progress::Wait(None, None);
    }
    if let Some(why) = outdated(situation, run) {
        return Progress::Abort(why);
    }
    let started = run.started_at.as_ref().map_or(now, |at| at.0);
    let after = |limit: SignedDuration| started.checked_add(limit).unwrap_or(now);
    let Some(pod) = &situation.verifier else {
        return match (after(ECHO), &run.pod_uid) {
            (until, _) if now < until => Progress::Wait(Some(until), None),
            // The process that asked for it ended before it could note the Pod.
            (_, None) => Progress::Abort("its Pod was never noted"),
            (_, Some(_)) => Progress::Fail(UnknownCode::VerifierFailed, "the verifier Pod was deleted".to_owned()),
        };
    };
    match &run.pod_uid {
        None if now < after(ECHO) => return Progress::Wait(Some(after(ECHO)), None),
        None => return Progress::Abort("its Pod was never noted"),
        Some(uid) if pod.uid().as_ref() != Some(uid) || pod.metadata.deletion_timestamp.is_some() => {
            return Progress::Fail(UnknownCode::VerifierFailed, "the verifier Pod was deleted".to_owned());
        }
        Some(_) => {}
    }
    match stage(pod) {
        Stage::Reported(_) => Progress::Take,
        Stage::Failed(why) => Progress::Fail(UnknownCode::VerifierFailed, why),
        Stage::Running => Progress::Wait(None, None),
        Stage::Held(words) if now >= after(HELD) => Progress::Fail(UnknownCode::VerifierBlocked, held(&words)),
        Stage::Held(words) => Progress::Wait(Some(after(HELD)), Some(held(&words))),
        Stage::Pending if now >= after(STARTING) => {
            let minutes = STARTING.as_mins();
            Progress::Fail(
                UnknownCode::VerifierBlocked,
                format!("the verifier Pod did not start within {minutes} minutes"),
            )
        }
        Stage::Pending => Progress::Wait(Some(after(STARTING)), None),
    }
}

fn held(words: &str) -> String {
    format!("the verifier Pod cannot start: {words}")
}

/// Why what a run finds no longer counts.
fn outdated(situation: &Situation, run: &Run) -> Option<&'static str> {
    let Some(now) = situation.source() else { return Some("the claim is gone") };
    if !run.source.as_ref().is_some_and(|then| same(then, &now)) {
        return Some("the source is another one, or something may have written to it");
    }
    if !situation.store.writers.is_empty() {
        return Some("something may be writing to the source");
    }
    if situation.claim.as_ref().is_none_or(|claim| claim.deleting) {
        return Some("the claim is being deleted");
    }
    if matches!(situation.fetch, Fetch::Unlisted(_)) {
        return Some("the registry of its bundle is no longer listed");
    }
    if situation.waits_elsewhere.is_some() {
        return Some("a Pod waits for the claim on another node");
    }
    let containers = situation.verifier.iter().flat_map(|pod| &pod.spec).flat_map(|spec| &spec.containers);
    let image = containers
        .filter(|container| container.name == super::verifier_pod::CONTAINER)
        .find_map(|it| it.image.as_ref());
    image
        .filter(|image| **image != situation.image && run.pod_digest.is_some())
        .map(|_| "verifiers have another image now")
}

/// Whether a source is the one that a run was asked for. One that was not bound may be by now: its volume was made for it.
fn same(then: &ReadSource, now: &ReadSource) -> bool {
    if then.volume_uid.is_empty() && then.volume_name.is_empty() {
        let ReadSource { namespace, claim_uid, path, write_epoch, volume_name: _, volume_uid: _, store: _ } = then;
        return (namespace, claim_uid, path, write_epoch)
            == (&now.namespace, &now.claim_uid, &now.path, &now.write_epoch);
    }
    then == now
}

/// Why a result does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// What it is called.
    pub code: UnknownCode,
    /// What is wrong.
    pub message: String,
}

/// The report of a run, if it counts: the Pod, as it was just read, is what was sent, and the report is whole.
pub fn take(situation: &Situation, run: &Run, pod: &Pod) -> Result<Report, Discarded> {
    let blocked =
        |difference: Difference| Discarded { code: UnknownCode::VerifierBlocked, message: difference.to_string() };
    let failed = |message: String| Discarded { code: UnknownCode::VerifierFailed, message };
    let essence = Essence::of(pod, situation.claim_path().0).map_err(blocked)?;
    if run.pod_digest.as_ref() != Some(&essence.digest()) {
        return Err(blocked(Difference("a part of it that matters was changed".to_owned())));
    }
    untouched(pod, run.pod_uid.as_deref().unwrap_or_default(), &situation.image).map_err(blocked)?;
    let Stage::Reported(message) = stage(pod) else {
        return Err(failed("the verifier's result is gone".to_owned()));
    };
    let nonce = run.nonce.as_deref().filter(|nonce| !nonce.is_empty());
    let nonce = nonce.ok_or_else(|| failed("the run has no nonce".to_owned()))?;
    let report = Report::parse(&message, nonce).map_err(|error| failed(format!("the verifier's result: {error}")))?;
    let extent = if run.signature_only { Extent::SignatureOnly } else { Extent::Full };
    if report.extent != extent {
        return Err(failed("the verifier read something else than it was asked to".to_owned()));
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
