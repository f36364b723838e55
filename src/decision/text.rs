//! Sentences about a decision: what a user reads where the request was refused.
//!
//! Every line says who asks, where, what is wrong, how to put it right, and ends with the code in brackets. What goes
//! wrong inside is never in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Decision, Finding, Verdict, Violation};
use crate::api::remedy::{OF_MISMATCH, OF_UNSIGNED};
use crate::api::v1alpha1::{Code, RefusedCode, RequestCode, UnknownCode, UseCode};

/// How long a line of a denial may be, in characters: clients print it after a prefix of their own, and Events cut it.
const MAX_LINE_CHARS: usize = 200;
/// How much of a finding stands below a line in which it was cut, in characters: names in it are short already.
const MAX_STATEMENT_CHARS: usize = 600;
/// How long a warning may be, in characters. The API server cuts at 256.
const MAX_WARNING_CHARS: usize = 249;
/// How many lines a denial may have before the rest is counted. Each is a violation; a Pod with more has one mistake many times.
const MAX_LINES: usize = 64;
/// How much of a policy's name a line shows, in characters. Names of policies are known where they are read.
const MAX_POLICY_CHARS: usize = 40;
/// How many values an audit annotation lists.
const MAX_AUDIT_VALUES: usize = 32;

/// What a denial adds where waiting helps.
const AFTERWARDS: &str = "The controller tries again by itself, up to 17 minutes after the verification; \
                          `kubectl rollout restart` is immediate.";

/// Text of at most so many characters; what was cut ends with an ellipsis.
fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(limit.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// What is wrong and how to put it right.
pub(super) fn statement(finding: &Finding) -> String {
    format!("{} — {}", finding.what, finding.fix)
}

/// The text of a denial: one line for each violation that denies, and below a line that had to be cut what it was.
pub fn deny_text(decision: &Decision) -> String {
    let denied: Vec<&Violation> = decision.violations.iter().filter(|it| it.action == Action::Deny).collect();
    let mut lines = Vec::new();
    for violation in denied.iter().take(MAX_LINES) {
        let line = line(violation, MAX_LINE_CHARS);
        let whole = statement(&violation.finding);
        let was_cut = !line.contains(&whole);
        lines.push(line);
        lines.extend(was_cut.then(|| format!("    {}", cut(&whole, MAX_STATEMENT_CHARS))));
    }
    if denied.len() > MAX_LINES {
        lines.push(format!("… and {} more", denied.len() - MAX_LINES));
    }
    if denied.iter().any(|it| waiting_cures(it.code)) {
        lines.push(AFTERWARDS.to_owned());
    }
    lines.join("\n")
}

/// A warning for each violation that warns, for each that holds (what is made will not run yet), and for each note.
pub fn warnings(decision: &Decision) -> Vec<String> {
    let warned = decision.violations.iter().filter(|it| matches!(it.action, Action::Warn | Action::Hold));
    let mut lines: Vec<String> = warned.map(|it| line(it, MAX_WARNING_CHARS)).collect();
    lines.dedup();
    lines.extend(decision.notes.iter().map(|note| cut(&format!("weighbridge: {note}"), MAX_WARNING_CHARS)));
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// Audit annotations: the policies that want violations there with the codes of these, and the digests of the models.
pub fn audit_annotations(decision: &Decision) -> BTreeMap<String, String> {
    let audited = || decision.violations.iter().filter(|it| it.audit);
    let digests = decision.models.iter().flat_map(|judged| match &judged.verdict {
        Verdict::Verified(facts) => facts.models.iter().map(|model| model.model_digest.clone()).collect(),
        Verdict::Refused(..) | Verdict::Unknown(..) => Vec::new(),
    });
    [
        ("policy", audited().map(|it| it.policy.to_string()).collect::<BTreeSet<String>>()),
        ("code", audited().map(|it| it.code.to_string()).collect()),
        ("model-digest", digests.collect()),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(key, values)| (key.to_owned(), values.into_iter().take(MAX_AUDIT_VALUES).collect::<Vec<String>>().join(",")))
    .collect()
}

/// A violation in one line: `<policy>: <path>: <what is wrong> — <how to fix it> [<Code>]`.
///
/// Where that is too long, what is wrong gives way first, but keeps a third of the room, then how to fix it; who, where
/// and the code always stay.
fn line(violation: &Violation, limit: usize) -> String {
    let head = format!("{}: {}: ", violation.policy.shown(MAX_POLICY_CHARS), violation.at);
    let tail = format!(" [{}]", violation.code);
    let dash = " — ";
    let room = limit.saturating_sub(head.chars().count() + tail.chars().count() + dash.chars().count());
    let Finding { what, fix, detail: _ } = &violation.finding;
    let least = (room / 3).min(what.chars().count());
    let fix = cut(fix, room.saturating_sub(least));
    let what = cut(what, room.saturating_sub(fix.chars().count()));
    cut(&format!("{head}{what}{dash}{fix}"), limit.saturating_sub(tail.chars().count())) + &tail
}

/// Whether the same request can succeed later although nobody changes it.
pub fn waiting_cures(code: Code) -> bool {
    let Code::Unknown(code) = code else { return false };
    match code {
        UnknownCode::NotVerifiedYet
        | UnknownCode::Verifying
        | UnknownCode::Stale
        | UnknownCode::SourceMissing
        | UnknownCode::BeingWritten
        | UnknownCode::RegistryUnavailable
        | UnknownCode::TrustUnavailable
        | UnknownCode::VerifierBlocked
        | UnknownCode::VerifierFailed
        | UnknownCode::IndexStale => true,
        UnknownCode::Unreadable
        | UnknownCode::RegistryUnauthorized
        | UnknownCode::TooLarge
        | UnknownCode::NotVerifiable
        | UnknownCode::PolicyInvalid => false,
    }
}

/// How to put a finding right, where the finding itself knows no better.
pub(super) fn remedy(code: Code) -> &'static str {
    match code {
        Code::Refused(code) => match code {
            RefusedCode::Unsigned => "sign it by OpenSSF model-signing, and put model.sig into its folder",
            RefusedCode::MalformedBundle => "sign the model again",
            RefusedCode::UnsupportedBundle => "sign the model again, with a key, by OpenSSF model-signing 1.0 or later",
            RefusedCode::SignatureInvalid => "put the original signature back, or sign the model again",
            RefusedCode::UntrustedSigner => "have it signed by a signer whom the policy lists",
            RefusedCode::ContentMismatch => OF_MISMATCH,
            RefusedCode::UnsignedFiles => OF_UNSIGNED,
            RefusedCode::DigestMismatch => "put the expected model there, or correct the digest annotation",
            RefusedCode::SymlinkNotAllowed => "put the file in place of the link, and sign the model again",
            RefusedCode::SignerExpired => "sign the model again, with a certificate that is valid",
            RefusedCode::Revoked => "sign the model again, with a signer that is not revoked",
            RefusedCode::MalformedContent => "remove or rename what no model can hold",
        },
        Code::Unknown(code) => match code {
            UnknownCode::NotVerifiedYet => "wait: it will be read",
            UnknownCode::Verifying => "wait until it was read",
            UnknownCode::Stale => "wait: it will be read again",
            UnknownCode::SourceMissing => "put the model there",
            UnknownCode::BeingWritten => "wait until nothing writes to it any more",
            UnknownCode::Unreadable => "make it readable for the workload's ids, or set the policy's content.readAs",
            UnknownCode::RegistryUnavailable => "wait until the registry answers",
            UnknownCode::RegistryUnauthorized => "let everybody read the bundle there, or keep it elsewhere",
            UnknownCode::TrustUnavailable => "wait, or ask the platform team to look at the trust material",
            UnknownCode::TooLarge => "make the model smaller, or split it",
            UnknownCode::NotVerifiable => "put the model into a PersistentVolumeClaim and mount that",
            UnknownCode::VerifierBlocked => "let a Pod run in this namespace that mounts the claim read-only",
            UnknownCode::VerifierFailed => "wait: it will be tried again",
            UnknownCode::PolicyInvalid => "ask the platform team; its condition Accepted says why",
            UnknownCode::IndexStale => "try again in a minute",
        },
        Code::Use(code) => match code {
            UseCode::Writable => "set readOnly: true on this mount",
            UseCode::MutableReference => "name it by its commit or its digest",
            UseCode::WriterNotAllowed => "set readOnly: true on this mount",
            UseCode::DigestAnnotationMissing => "add the annotation digest.weighbridge.dev/<volume>",
            UseCode::Shadowed => "mount the other volume outside of the model's path",
            UseCode::UnsignedConfig => "put the configuration into the signed model",
            UseCode::RemoteCode => "remove it, or have the code signed with a model on a claim",
            UseCode::RuntimeAdapters => "switch that off, and name all adapters at the start",
            UseCode::DeveloperMode => "switch that off",
            UseCode::HubRedirect => "remove it",
        },
        Code::Request(code) => match code {
            RequestCode::MalformedRequest => "send an AdmissionReview of admission.k8s.io/v1",
            RequestCode::RequestTooLarge => "make the object smaller",
            RequestCode::UnsupportedKind => "register only kinds that are judged here",
            RequestCode::NotObservedYet | RequestCode::DeadlineExceeded => "try again",
        },
    }
}
