use std::sync::Arc;

use super::super::situation::Part;
use super::super::situation::fixture::{at, unread};
use super::*;
use crate::policy::IgnoredPaths;

fn report(json: serde_json::Value) -> Report {
    let mut whole = serde_json::json!({ "version": 1, "extent": "Full", "durationMs": 1500 });
    whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// A digest as a report writes it.
fn short(digit: &str) -> String {
    let digest: crate::model::Digest = digest(digit).parse().unwrap();
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest.as_bytes())
}

fn verified(signer: &str) -> Report {
    report(serde_json::json!({
        "outcome": { "verdict": "Verified" }, "signatureVerified": true, "contentVerified": true, "modelRoot": "llama",
        "bundle": "model.sig", "modelDigest": digest("a"), "manifestDigest": digest("b"), "files": 3, "bytes": 30,
        "signers": { "who": [{ "kind": "Key", "fingerprint": short(signer) }] } }))
}

fn refused() -> Report {
    let outcome = serde_json::json!({ "verdict": "Refused", "code": "ContentMismatch", "message": "weights differ" });
    report(serde_json::json!({
        "outcome": outcome, "signatureVerified": true, "contentVerified": false, "modelRoot": ".",
        "modelDigest": digest("a"), "manifestDigest": digest("b"), "files": 3, "bytes": 30,
        "signers": { "who": [{ "kind": "Key", "fingerprint": short("c") }] } }))
}

fn unsigned() -> Report {
    let outcome = serde_json::json!({ "verdict": "Refused", "code": "UnsignedFiles", "message": "not signed" });
    let mut report = refused();
    report.outcome = serde_json::from_value(outcome).unwrap();
    report.unsigned = serde_json::from_value(serde_json::json!({ "paths": [".git/"], "more": false })).unwrap();
    report.symlinks = Some(0);
    report
}

fn unreadable() -> Report {
    Report::failed(None, Extent::Full, UnknownCode::Unreadable, "weights cannot be read")
}

/// A run that began at 100.
fn running(mut situation: Situation, signature_only: bool) -> Situation {
    let run = Run {
        pod: Some("p".into()),
        started_at: Some(Time(at(100))),
        source: situation.source(),
        trust_digest: Some(situation.trust.digest.clone()),
        signature_only,
        ..Run::default()
    };
    begin(&mut situation.status, run, None);
    situation
}

fn take(mut situation: Situation, report: &Report) -> (Situation, Told) {
    let before = situation.clone();
    let told = reported(&before, &mut situation.status, report, at(120));
    situation.status = settled(&situation, at(120));
    (situation, told)
}

fn read(report: &Report) -> Situation {
    take(running(unread(), false), report).0
}

/// Status and reason of a condition.
fn condition(situation: &Situation, kind: &str) -> (String, String) {
    let status = settled(situation, at(120));
    let found = status.conditions.into_iter().find(|one| one.type_ == kind);
    let found = found.unwrap_or_else(|| panic!("no condition {kind}"));
    (found.status, found.reason)
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn conditions_are_there_from_the_first_sight() {
    let situation = unread();
    assert_eq!(condition(&situation, "Accepted"), is("True", "Accepted"));
    for kind in ["ContentVerified", "SignatureVerified", "Verified"] {
        assert_eq!(condition(&situation, kind), is("Unknown", "NotVerifiedYet"), "{kind}");
    }
    assert_eq!(condition(&situation, "LastRunFailed"), is("False", "NoFailure"));
    assert_eq!(condition(&running(unread(), false), "Verified"), is("Unknown", "Verifying"));
}

#[test]
fn facts_date_from_the_start_of_the_read() {
    let situation = read(&verified("c"));
    let status = &situation.status;
    assert_eq!(status.verified_at, Some(Time(at(100))));
    assert_eq!(status.source, situation.source());
    assert_eq!((status.observed_generation, status.run.clone()), (Some(1), None));
    assert_eq!(status.models[0].path, "llama");
    assert_eq!(status.last_duration_seconds, Some(2));
    for kind in ["ContentVerified", "SignatureVerified", "Verified"] {
        assert_eq!(condition(&situation, kind), is("True", kind));
    }
}

#[test]
fn a_refusal_names_its_code_and_the_root_is_empty() {
    let situation = read(&refused());
    assert_eq!(situation.status.models[0].path, "");
    assert_eq!(condition(&situation, "Verified"), is("False", "ContentMismatch"));
    assert_eq!(condition(&situation, "SignatureVerified"), is("True", "SignatureVerified"));
}

#[test]
fn a_run_without_facts_takes_none_away() {
    let before = read(&verified("c"));
    let (after, told) = take(running(before.clone(), false), &unreadable());
    assert_eq!(told, Told::Nothing(UnknownCode::Unreadable));
    assert_eq!((&after.status.models, &after.status.verified_at), (&before.status.models, &before.status.verified_at));
    assert_eq!(condition(&after, "Verified"), is("True", "Verified"));
    assert_eq!(condition(&after, "LastRunFailed"), is("True", "Unreadable"));
}

#[test]
fn a_first_run_without_facts_says_why() {
    let (situation, _) = take(running(unread(), false), &unreadable());
    assert_eq!(condition(&situation, "Verified"), is("Unknown", "Unreadable"));
}

#[test]
fn a_write_ends_what_was_verified_and_not_what_was_refused() {
    let mut written = read(&verified("c"));
    written.store.epoch = 1;
    assert_eq!(condition(&written, "Verified"), is("Unknown", "NotVerifiedYet"));
    let mut refused = read(&refused());
    refused.store.epoch = 1;
    assert_eq!(condition(&refused, "Verified"), is("False", "ContentMismatch"));
    written.store.writers.push("ns/loader".into());
    assert_eq!(condition(&written, "Verified"), is("Unknown", "BeingWritten"));
}

#[test]
fn age_and_obstacles_end_what_was_verified() {
    let mut stale = read(&verified("c"));
    stale.schedule.max_age = Some(SignedDuration::from_secs(10));
    assert_eq!(condition(&stale, "Verified"), is("Unknown", "Stale"));
    let mut storage = read(&verified("c"));
    storage.not_verifiable = Some("NFS".into());
    assert_eq!(condition(&storage, "Verified"), is("Unknown", "NotVerifiable"));
    let mut no_keys = read(&verified("c"));
    no_keys.trust.pieces.clear();
    assert_eq!(condition(&no_keys, "Verified"), is("True", "Verified"), "who may sign is not decided here");
}

/// Signed with a certificate that ends at 1000, by both profiles if it is `lax`.
fn certified(lax: bool) -> Report {
    let way = |profile: &str| serde_json::json!({ "chain": [short("1")], "root": short("2"), "trust": short("3"), "profile": profile });
    let proof = |way: usize| serde_json::json!({ "notAfter": at(1000), "way": way });
    let count = 1 + usize::from(lax);
    let who = serde_json::json!([{ "kind": "Certificate", "fingerprint": short("c"), "subject": "CN=ml",
        "issuer": "CN=ca", "names": ["uri:spiffe://acme/ml"], "proofs": (0..count).map(proof).collect::<Vec<_>>() }]);
    let ways: Vec<_> = ["Strict", "Reference"].into_iter().take(count).map(way).collect();
    let mut report = verified("c");
    report.signers = serde_json::from_value(serde_json::json!({ "who": who, "ways": ways })).unwrap();
    report
}

#[test]
fn what_proved_a_signer_is_in_the_record() {
    let situation = read(&certified(false));
    let model = &situation.status.models[0];
    insta::assert_json_snapshot!("certificate_signer", model.signers);
    assert_eq!(model.signer_expires_at, Some(Time(at(1000))));
    assert_eq!(read(&verified("c")).status.models[0].signer_expires_at, None, "a key does not end");
}

#[test]
fn a_certificate_ends_without_another_read() {
    let verified_at = |situation: &Situation, second: i64| {
        let conditions = settled(situation, at(second)).conditions;
        let of = |kind: &str| conditions.iter().find(|one| one.type_ == kind).map(|one| one.reason.clone()).unwrap();
        [of("ContentVerified"), of("SignatureVerified"), of("Verified")]
    };
    let situation = read(&certified(false));
    assert_eq!(verified_at(&situation, 1000), ["ContentVerified", "SignatureVerified", "Verified"]);
    assert_eq!(verified_at(&situation, 1001), ["ContentVerified", "SignerExpired", "SignerExpired"]);
    assert_eq!(situation.signer_ends_after(at(999)), Some(at(1001)), "that is when to look again");
    assert_eq!(situation.signer_ends_after(at(1001)), None);
    let lax = read(&certified(true));
    assert_eq!(verified_at(&lax, 1001), ["ContentVerified", "SignatureVerified", "Verified"]);
}

#[test]
fn a_look_at_the_bundle_replaces_the_signers_alone() {
    let mut before = read(&verified("c"));
    before.trust.digest = "sha256:u".into();
    let mut look = verified("d");
    (look.extent, look.content_verified) = (Extent::SignatureOnly, None);
    let (after, told) = take(running(before.clone(), true), &look);
    assert_eq!(told, Told::Signers);
    assert_eq!(after.status.verified_at, before.status.verified_at);
    assert_eq!(after.status.models[0].signers[0].fingerprint, Some(digest("d")));
    assert!(after.status.models[0].content_verified);
    assert_eq!(after.status.trust_digest.as_deref(), Some("sha256:u"));

    let mut links = look.clone();
    links.allow_symlinks = true;
    assert_eq!(take(running(before.clone(), true), &links).1, Told::TooLittle, "links were not followed then");

    look.manifest_digest = digest("e").parse().ok();
    let (other, told) = take(running(before.clone(), true), &look);
    assert_eq!(told, Told::TooLittle);
    assert_eq!(other.status.models, before.status.models);
    assert_eq!(other.status.trust_digest, before.status.trust_digest);
}

fn ignoring(globs: &[&str]) -> Arc<IgnoredPaths> {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    Arc::new(IgnoredPaths::compile(&globs).0)
}

/// The read that brings the unsigned files is the first: what was known before it says nothing of them.
#[test]
fn unsigned_files_count_as_soon_as_they_are_found() {
    let before = Situation { ignored: vec![ignoring(&[])], ..unread() };
    let (after, _) = take(running(before, true), &unsigned());
    assert_eq!(condition(&after, "Verified"), is("False", "UnsignedFiles"));
}

#[test]
fn unsigned_files_count_for_nothing_where_every_policy_ignores_them() {
    let mut situation = read(&unsigned());
    let model = &situation.status.models[0];
    assert_eq!((model.verdict, model.content_verified, model.symlinks), (VerdictKind::Refused, false, Some(0)));
    assert_eq!(model.unsigned.as_ref().map(|unsigned| unsigned.paths.clone()), Some(vec![".git/".to_owned()]));
    assert_eq!(condition(&situation, "ContentVerified"), is("False", "UnsignedFiles"));
    assert_eq!(condition(&situation, "SignatureVerified"), is("True", "SignatureVerified"));
    situation.ignored = vec![ignoring(&[".git/**"]), ignoring(&[])];
    assert_eq!(condition(&situation, "Verified"), is("False", "UnsignedFiles"), "one of two policies says so");
    situation.ignored = vec![ignoring(&[".git/**"])];
    for kind in ["ContentVerified", "SignatureVerified", "Verified"] {
        assert_eq!(condition(&situation, kind), is("True", kind), "policies say so");
    }
    assert_eq!(models_now(&situation, at(120))[0].verdict, VerdictKind::Verified);
    assert_eq!(settled(&situation, at(120)).models[0].verdict, VerdictKind::Refused, "the facts stay what they are");
    let mut written = situation.clone();
    written.store.epoch = 1;
    assert_eq!(condition(&written, "Verified"), is("Unknown", "NotVerifiedYet"));
    let mut other = read(&refused());
    other.ignored = vec![ignoring(&["**/*.md"])];
    assert_eq!(condition(&other, "Verified"), is("False", "ContentMismatch"));

    situation.trust.digest = "sha256:u".into();
    let mut look = verified("d");
    (look.extent, look.content_verified) = (Extent::SignatureOnly, None);
    let (after, told) = take(running(situation, true), &look);
    assert_eq!((told, after.status.models[0].verdict), (Told::Signers, VerdictKind::Refused));
    assert_eq!(after.status.models[0].signers[0].fingerprint, Some(digest("d")));
}

#[test]
fn failures_pause_longer_and_longer() {
    let mut situation = unread();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        situation = running(situation, false);
        failed(&mut situation.status, UnknownCode::VerifierFailed, "x", at(1000));
        pauses.push(situation.status.run.as_ref().unwrap().retry_at.as_ref().unwrap().0.as_second() - 1000);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    assert_eq!(take(running(situation, false), &verified("c")).0.status.run, None);
}

#[test]
fn a_record_of_another_name_says_the_right_one_and_nothing_else() {
    let mut situation = read(&verified("c"));
    situation.name = "mine".into();
    assert_eq!(condition(&situation, "Accepted"), is("False", "WrongName"));
    let status = settled(&situation, at(120));
    assert!(status.models.is_empty() && status.verified_at.is_none());
    assert!(status.conditions[0].message.contains(&situation.spec.record_name()));
}

#[test]
fn what_is_settled_stays_the_same() {
    let situation = read(&verified("c"));
    let read_back: ModelVerificationStatus =
        serde_json::from_value(serde_json::to_value(&situation.status).unwrap()).unwrap();
    assert_eq!(settled(&Situation { status: read_back, ..situation.clone() }, at(500)), situation.status);
}

#[test]
fn what_a_read_was_given_is_known_by_name() {
    let situation = read(&verified("c"));
    assert_eq!(situation.status.trust, situation.trust.names);
    let mut changed = running(unread(), false);
    (changed.trust.digest, changed.trust.names) = ("sha256:u".into(), vec!["key sha256:u".into()]);
    let (changed, _) = take(changed, &verified("c"));
    assert_eq!(changed.status.trust, Vec::<String>::new(), "other pieces than the run was given");
    assert_eq!(changed.status.trust_digest.as_deref(), Some("sha256:t"));
}

#[test]
fn what_does_not_count_yet_is_read_again_when_its_time_has_come() {
    let waiting = |second: i64| {
        let mut report = report(serde_json::json!({
            "outcome": { "verdict": "Refused", "code": "SignerExpired", "message": "not valid yet" },
            "signatureVerified": false, "modelRoot": "llama" }));
        report.not_before = Some(at(second));
        read(&report).status
    };
    assert_eq!(waiting(1000).models[0].not_before, Some(Time(at(1000))));
    assert_eq!(waiting(1000).next_run, Some(Time(at(1000))));
    assert_eq!(waiting(121).models[0].not_before, Some(Time(at(180))), "a clock that is behind says so for ever");
}

fn divided(models: &[&str]) -> Report {
    report(serde_json::json!({ "outcome": { "verdict": "Divided", "models": models } }))
}

#[test]
fn a_folder_of_models_is_as_good_as_the_worst_of_them() {
    let mut situation = read(&divided(&["llama/a", "llama/b"]));
    assert_eq!(
        (situation.status.models.len(), situation.status.parts.clone()),
        (0, vec!["llama/a".into(), "llama/b".into()])
    );
    assert!(situation.parts.is_empty(), "the read has just found them");
    for kind in KINDS {
        assert_eq!(condition(&situation, kind), is("Unknown", "NotVerifiedYet"), "{kind}");
    }
    let said = |status: &str, reason: &str| Some([status, reason, "because"].map(str::to_owned));
    let table = [
        (said("True", "Verified"), said("True", "Verified"), is("True", "Verified")),
        (said("True", "Verified"), None, is("Unknown", "NotVerifiedYet")),
        (said("Unknown", "BeingWritten"), said("True", "Verified"), is("Unknown", "BeingWritten")),
        (said("Unknown", "Verifying"), said("False", "Unsigned"), is("False", "Unsigned")),
        (said("Unknown", "WrongName"), said("True", "Verified"), is("Unknown", "VerifierFailed")),
    ];
    for (a, b, expected) in table {
        situation.parts =
            [("llama/a", a), ("llama/b", b)].map(|(path, verified)| Part { path: path.into(), verified }).into();
        assert_eq!(condition(&situation, "Verified"), expected);
    }
    situation.store.epoch = 1;
    assert_eq!(
        condition(&situation, "Verified"),
        is("Unknown", "NotVerifiedYet"),
        "something may have been put beside"
    );
    assert_eq!(read(&verified("c")).status.parts, Vec::<String>::new());
}

#[test]
fn models_that_lie_elsewhere_are_no_parts() {
    for models in [&["llama"][..], &["llama/a", "other/b"], &["llama2/a"]] {
        let (situation, told) = take(running(unread(), false), &divided(models));
        assert_eq!(told, Told::Nothing(UnknownCode::VerifierFailed), "{models:?}");
        assert_eq!(situation.status.parts, Vec::<String>::new());
    }
}
