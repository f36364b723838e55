//! How the status of a record changes.
//!
//! Receives the status as it is and what happened; promises that facts change only with a read that brought facts, that
//! a run without facts leaves them as they are, and that the conditions say no more than what is known.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::due::{Obstacle, next_time, obstacle};
use super::situation::Situation;
use crate::api::v1alpha1::{
    FindingCode, ModelStatus, ModelVerificationStatus, ReadSource, RefusedCode, Run, SignerStatus, UnknownCode,
    VerdictKind,
};
use crate::decision::{ends, has_expired, is_intact};
use crate::facts::{Extent, Outcome, Report, whole};
use crate::model::shown;
use crate::operator::conditions::{Wanted, merge};
use crate::workload::is_at_or_below;

/// Pause after the first run that brought nothing, doubled up to the second value. A cause that passes by itself (a
/// quota, a node that is drained) passes within seconds or minutes; one that does not costs one Pod in ten minutes.
const BACKOFF: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(5), SignedDuration::from_mins(10));
/// The generation of an object that nobody has changed.
pub const FIRST_GENERATION: i64 = 1;
/// The least time until a record is read again that waits for a time to come: a verifier whose clock is behind says of
/// each time that it has not come.
const CLOCK_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// The conditions that speak of the model.
const KINDS: [&str; 3] = ["ContentVerified", "SignatureVerified", "Verified"];
/// Longest message that is kept, in bytes: that of a report, with room for the words around it.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What is known of a record, for its conditions and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What its models say.
    Facts,
    /// What the records of the models below say.
    Divided(Below),
    /// Nothing, and why.
    Unknown(UnknownCode, String),
    /// It can never be used: its name is not the one that its spec demands.
    Misnamed(String),
}

/// What the records of several models below a path come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// Each of so many is what a listed signer signed.
    Verified(usize),
    /// One is not.
    Refused(RefusedCode, String),
    /// Of one nothing is known.
    Unknown(UnknownCode, String),
}

/// What is known of a record.
pub fn standing(situation: &Situation, now: Timestamp) -> Standing {
    let right_name = situation.spec.record_name();
    if situation.name != right_name {
        return Standing::Misnamed(right_name);
    }
    let status = &situation.status;
    let obstacle = obstacle(situation);
    let other_keys = status.trust_digest.as_ref() != Some(&situation.trust.digest);
    let refused = |model: &ModelStatus| {
        let ignored = situation.ignores_unsigned(model);
        let by_keys = model.reason == Some(FindingCode::Refused(RefusedCode::UntrustedSigner));
        model.verdict == VerdictKind::Refused && !ignored && !(by_keys && other_keys)
    };
    let stays_refused = status.models.iter().any(refused)
        && status.source.as_ref().map(|source| &source.claim_uid) == situation.claim.as_ref().map(|claim| &claim.uid);
    match obstacle {
        Some(Obstacle { code, message, ends_facts: true }) => return Standing::Unknown(code, message),
        _ if stays_refused => return Standing::Facts,
        _ if situation.facts_hold() && situation.is_stale(now) => {
            let message = "its last read is older than the policies allow; it is read again".to_owned();
            return Standing::Unknown(UnknownCode::Stale, message);
        }
        _ if situation.facts_hold() && !status.parts.is_empty() => return Standing::Divided(below(situation)),
        _ if situation.facts_hold() && !status.models.is_empty() => return Standing::Facts,
        _ => {}
    }
    if let Some(run) = situation.active_run() {
        let message = run.message.clone().unwrap_or_else(|| "it is being read".to_owned());
        return Standing::Unknown(UnknownCode::Verifying, message);
    }
    if let Some(Obstacle { code, message, .. }) = obstacle {
        return Standing::Unknown(code, message);
    }
    match situation.failed_run() {
        Some(run) if about(run, situation) => {
            let code = run.code.unwrap_or(UnknownCode::VerifierFailed);
            Standing::Unknown(code, run.message.clone().unwrap_or_default())
        }
        _ => Standing::Unknown(UnknownCode::NotVerifiedYet, "it waits to be read".to_owned()),
    }
}

/// What the worst of the models below comes to: what is refused before what is not known. Those that a read has just found
/// were not looked up yet, and count like those that have no record.
fn below(situation: &Situation) -> Below {
    let of = |path: &String| {
        let part = situation.parts.iter().find(|part| part.path == *path);
        let Some([status, reason, message]) = part.and_then(|part| part.verified.as_ref()) else {
            return Below::Unknown(UnknownCode::NotVerifiedYet, format!("model {} waits to be read", shown(path)));
        };
        let message = format!("model {}: {message}", shown(path));
        let refused = RefusedCode::ALL.iter().copied().find(|code| code.as_str() == reason);
        let unknown = UnknownCode::ALL.iter().copied().find(|code| code.as_str() == reason);
        match (status.as_str(), refused, unknown) {
            ("True", ..) => Below::Verified(1),
            ("False", Some(code), _) => Below::Refused(code, message),
            (_, _, Some(code)) => Below::Unknown(code, message),
            _ => Below::Unknown(UnknownCode::VerifierFailed, message),
        }
    };
    let all = situation.status.parts.iter().map(of);
    let worst = all.max_by_key(|part| match part {
        Below::Verified(_) => 0,
        Below::Unknown(..) => 1,
        Below::Refused(..) => 2,
    });
    match worst {
        None | Some(Below::Verified(_)) => Below::Verified(situation.status.parts.len()),
        Some(worst) => worst,
    }
}

fn about(run: &Run, situation: &Situation) -> bool {
    let key = |source: &ReadSource| (source.claim_uid.clone(), source.volume_uid.clone());
    run.source.as_ref().map(key) == situation.source().as_ref().map(key)
}

/// The conditions of a record as it stands.
pub fn conditions(situation: &Situation, standing: &Standing, now: Timestamp) -> Vec<Wanted> {
    if let Standing::Misnamed(right) = standing {
        let message = format!("the name of a record binds its source: this one must be called {right}");
        return vec![
            Wanted::no("Accepted", "WrongName", message.clone()),
            Wanted::unknown("Verified", "WrongName", message),
        ];
    }
    let accepted = Wanted::yes("Accepted", "Accepted", "the record can be used");
    let run = situation.failed_run();
    let last_run = match run.and_then(|run| run.code) {
        Some(code) => {
            let message = run.and_then(|run| run.message.clone()).unwrap_or_default();
            Wanted::yes("LastRunFailed", code.as_str(), message)
        }
        None => Wanted::no("LastRunFailed", "NoFailure", "the last run brought facts, or none has ended yet"),
    };
    let three = match standing {
        Standing::Divided(below) => KINDS.map(|kind| match below {
            Below::Verified(count) => {
                Wanted::yes(kind, kind, format!("each of the {count} models below has a record that says so"))
            }
            Below::Refused(code, message) => Wanted::no(kind, code.as_str(), message.clone()),
            Below::Unknown(code, message) => Wanted::unknown(kind, code.as_str(), message.clone()),
        }),
        Standing::Unknown(code, message) => KINDS.map(|kind| Wanted::unknown(kind, code.as_str(), message.clone())),
        _ => found(&models_now(situation, now)),
    };
    std::iter::once(accepted).chain(three).chain([last_run]).collect()
}

/// Models as they are found to be today, without another read: unsigned files count for nothing where every policy lets
/// them lie there, and a certificate that counts while it is valid ends.
pub fn models_now(situation: &Situation, now: Timestamp) -> Vec<ModelStatus> {
    let today = |model: &ModelStatus| {
        let mut model = model.clone();
        if situation.ignores_unsigned(&model) {
            (model.verdict, model.reason, model.message) = (VerdictKind::Verified, None, None);
            model.content_verified = true;
        }
        let ended = !model.signers.is_empty() && model.signers.iter().all(|signer| has_expired(signer, now));
        if ended && model.verdict == VerdictKind::Verified {
            model.verdict = VerdictKind::Refused;
            model.reason = Some(FindingCode::Refused(RefusedCode::SignerExpired));
            model.message =
                Some("the certificates that signed it have ended; sign it again with a valid one".to_owned());
            model.signature_verified = false;
        }
        model
    };
    situation.status.models.iter().map(today).collect()
}

fn found(models: &[ModelStatus]) -> [Wanted; 3] {
    let bad = |holds: fn(&ModelStatus) -> bool| models.iter().find(|model| !holds(model));
    let condition = |kind, holds: fn(&ModelStatus) -> bool, message: &str| match bad(holds) {
        None => Wanted::yes(kind, kind, message),
        Some(model) => Wanted::no(kind, reason(model), model.message.clone().unwrap_or_default()),
    };
    let content = if models.iter().any(|model| model.unsigned.is_some()) {
        "the files are what the manifest says, and policies ignore those that are not signed"
    } else {
        "the files are what the manifest says"
    };
    [
        condition("ContentVerified", |model| model.content_verified, content),
        condition("SignatureVerified", |model| model.signature_verified, "a listed signer signed the manifest"),
        condition(
            "Verified",
            |model| model.verdict == VerdictKind::Verified,
            "the files are what a listed signer signed",
        ),
    ]
}

fn reason(model: &ModelStatus) -> &'static str {
    match model.reason {
        Some(FindingCode::Refused(code)) => code.as_str(),
        Some(FindingCode::Unknown(code)) => code.as_str(),
        None => "NotVerified",
    }
}

/// The status with conditions that say how the record stands.
pub fn settled(situation: &Situation, now: Timestamp) -> ModelVerificationStatus {
    let standing = standing(situation, now);
    let wanted = conditions(situation, &standing, now);
    let mut status = situation.status.clone();
    status.conditions = merge(&status.conditions, wanted, situation.generation, now);
    status.next_run = next_time(situation).map(whole);
    if matches!(standing, Standing::Misnamed(_)) {
        let conditions = status.conditions;
        return ModelVerificationStatus { conditions, ..ModelVerificationStatus::default() };
    }
    status
}

/// A run begins.
pub fn begin(status: &mut ModelVerificationStatus, run: Run, asked: Option<String>) {
    let failures = status.run.as_ref().map_or(0, |run| run.failures).max(run.failures);
    status.run = Some(Run { failures, ..run });
    status.reverify = asked;
}

/// The Pod of the run was made, and is what was sent.
pub fn made(status: &mut ModelVerificationStatus, uid: Option<String>, digest: String) {
    if let Some(run) = &mut status.run {
        run.pod_uid = uid;
        run.pod_digest = Some(digest);
    }
}

/// The run brought nothing.
pub fn failed(status: &mut ModelVerificationStatus, code: UnknownCode, message: &str, now: Timestamp) {
    let run = status.run.get_or_insert_default();
    run.failures = run.failures.saturating_add(1);
    let doublings = u32::try_from(run.failures - 1).unwrap_or_default().min(16);
    let pause = BACKOFF.0.saturating_mul(1 << doublings).min(BACKOFF.1);
    run.retry_at = now.checked_add(pause).ok().map(whole);
    run.code = Some(code);
    run.message = Some(cut(message));
    (run.pod, run.pod_uid, run.nonce, run.pod_digest) = (None, None, None, None);
}

/// What the run would say no longer counts. Not a failure: nobody did anything wrong.
pub fn aborted(status: &mut ModelVerificationStatus) {
    status.run = None;
}

/// What a report made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Facts, in place of those before.
    Facts,
    /// The same facts, with the signers that the new trust material proves.
    Signers,
    /// The bundle alone did not suffice: everything has to be read.
    TooLittle,
    /// Nothing, and why.
    Nothing(UnknownCode),
}

/// A run has ended, and its report counts.
pub fn reported(situation: &Situation, status: &mut ModelVerificationStatus, report: &Report, now: Timestamp) -> Told {
    let run = status.run.clone().unwrap_or_default();
    if let Outcome::Unknown { code, message, .. } = &report.outcome {
        if report.extent == Extent::SignatureOnly {
            return too_little(status, run);
        }
        failed(status, *code, message, now);
        return Told::Nothing(*code);
    }
    if report.extent == Extent::SignatureOnly {
        return signers(situation, status, run, report, now);
    }
    let parts = match &report.outcome {
        Outcome::Divided { models } => Some(models.clone()),
        Outcome::Verified {} | Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
    };
    if parts.iter().flatten().any(|part| !lies_below(part, situation.claim_path().1)) {
        let message = "the verifier reports a model that does not lie below the path";
        failed(status, UnknownCode::VerifierFailed, message, now);
        return Told::Nothing(UnknownCode::VerifierFailed);
    }
    let models = if parts.is_some() { Vec::new() } else { vec![model(situation.claim_path().1, report, now)] };
    status.observed_generation = situation.generation;
    status.source = situation.source();
    status.verified_at = run.started_at.clone();
    trusting(situation, status, &run);
    status.last_duration_seconds = i64::try_from(report.duration_ms.div_ceil(1000)).ok();
    status.run = None;
    (status.models, status.parts) = (models, parts.unwrap_or_default());
    Told::Facts
}

fn lies_below(path: &str, root: &str) -> bool {
    path != root && is_at_or_below(path, root)
}

/// A look at the bundle alone replaces the signers alone, and only where it is the bundle of the manifest that the files
/// were compared with.
fn signers(
    situation: &Situation,
    status: &mut ModelVerificationStatus,
    run: Run,
    report: &Report,
    now: Timestamp,
) -> Told {
    let manifest = report.manifest_digest.as_ref().map(ToString::to_string);
    let [model] = status.models.as_mut_slice() else { return too_little(status, run) };
    let same = manifest.is_some() && manifest == model.manifest_digest && report.signature_verified == Some(true);
    // The same files are others where links are not followed: that has to be seen.
    let same = same && model.allow_symlinks == report.allow_symlinks;
    if !same || !matches!(report.outcome, Outcome::Verified {}) || !is_intact(model) {
        return too_little(status, run);
    }
    (model.signers, model.signer_expires_at) = signers_of(report);
    (model.bundle, model.other_bundles) = (report.bundle.clone(), report.other_bundles.clone());
    model.not_before = not_before(report, now);
    trusting(situation, status, &run);
    status.run = None;
    Told::Signers
}

/// Notes what a run was given. The names are known of what is trusted now: of anything else it is due to be read again.
fn trusting(situation: &Situation, status: &mut ModelVerificationStatus, run: &Run) {
    let still = run.trust_digest.as_ref() == Some(&situation.trust.digest);
    status.trust = if still { situation.trust.names.clone() } else { Vec::new() };
    status.trust_digest.clone_from(&run.trust_digest);
}

fn too_little(status: &mut ModelVerificationStatus, run: Run) -> Told {
    let Run { trust_digest, source, .. } = run;
    status.run = Some(Run { trust_digest, source, signature_only: true, ..Run::default() });
    Told::TooLittle
}

/// The status of a record of which nothing was known, after a single run: what a read outside of a cluster comes to.
pub fn of_one_run(
    source: ReadSource,
    trust_digest: String,
    report: &Report,
    now: Timestamp,
) -> ModelVerificationStatus {
    let mut status = ModelVerificationStatus { trust_digest: Some(trust_digest), ..Default::default() };
    match &report.outcome {
        Outcome::Unknown { code, message, .. } => {
            status.run = Some(Run { source: Some(source), ..Run::default() });
            failed(&mut status, *code, message, now);
        }
        Outcome::Verified {} | Outcome::Divided { .. } | Outcome::Refused { .. } => {
            status.observed_generation = Some(FIRST_GENERATION);
            status.verified_at = Some(whole(now));
            match &report.outcome {
                Outcome::Divided { models } => status.parts.clone_from(models),
                _ => status.models = vec![model(&source.path, report, now)],
            }
            status.source = Some(source);
        }
    }
    status
}

fn model(path: &str, report: &Report, now: Timestamp) -> ModelStatus {
    let refused: Option<RefusedCode> = match &report.outcome {
        Outcome::Refused { code, .. } => Some(*code),
        Outcome::Verified {} | Outcome::Divided { .. } | Outcome::Unknown { .. } => None,
    };
    let root = report.model_root.as_deref().map(|root| if root == "." { "" } else { root });
    let (signers, signer_expires_at) = signers_of(report);
    let count = |count: Option<u64>| i64::try_from(count.unwrap_or_default()).unwrap_or(i64::MAX);
    ModelStatus {
        path: root.unwrap_or(path).to_owned(),
        verdict: if refused.is_none() { VerdictKind::Verified } else { VerdictKind::Refused },
        reason: refused.map(FindingCode::Refused),
        detail: report.outcome.detail(),
        message: report.outcome.message().map(cut),
        model_digest: report.model_digest.as_ref().map(ToString::to_string),
        manifest_digest: report.manifest_digest.as_ref().map(ToString::to_string),
        files: count(report.files),
        bytes: count(report.bytes),
        bundle: report.bundle.clone(),
        other_bundles: report.other_bundles.clone(),
        content_verified: report.content_verified == Some(true),
        unsigned: report.unsigned.clone(),
        signature_verified: report.signature_verified == Some(true),
        allow_symlinks: report.allow_symlinks,
        symlinks: report.symlinks.and_then(|count| i64::try_from(count).ok()),
        signers,
        not_before: not_before(report, now),
        signer_expires_at,
    }
}

/// When to look again at what did not count yet.
fn not_before(report: &Report, now: Timestamp) -> Option<Time> {
    let soonest = now.checked_add(CLOCK_PAUSE).unwrap_or(now);
    report.not_before.map(|at| whole(at.max(soonest)))
}

/// The signers of a report, and when the first of them stops to count.
fn signers_of(report: &Report) -> (Vec<SignerStatus>, Option<Time>) {
    let signers = report.signers.statuses();
    let expires_at = signers.iter().flat_map(ends).min().map(whole);
    (signers, expires_at)
}

fn cut(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let end = (0..=MAX_MESSAGE_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
