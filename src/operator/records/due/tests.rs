use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::situation::fixture::{at, unread};
use super::*;
use crate::api::v1alpha1::{
    FindingCode, ModelStatus, ModelVerificationStatus, RefusedCode, Run, UnsignedFiles, VerdictKind,
};
use crate::workload::Ids;

fn read(why: Why) -> Next {
    Next::Read { why, signature_only: false }
}

/// One that was read at 100 and found intact.
fn verified() -> Situation {
    let mut situation = unread();
    let model = ModelStatus {
        path: "llama".into(),
        verdict: VerdictKind::Verified,
        reason: None,
        detail: None,
        message: None,
        model_digest: Some("sha256:m".into()),
        manifest_digest: Some("sha256:n".into()),
        files: 1,
        bytes: 1,
        bundle: None,
        content_verified: true,
        unsigned: None,
        signature_verified: true,
        other_bundles: vec![],
        allow_symlinks: false,
        symlinks: Some(0),
        signers: vec![],
        not_before: None,
        signer_expires_at: None,
    };
    situation.status = ModelVerificationStatus {
        observed_generation: Some(1),
        source: situation.source(),
        verified_at: Some(Time(at(100))),
        trust_digest: Some("sha256:t".into()),
        models: vec![model],
        ..ModelVerificationStatus::default()
    };
    situation
}

fn failed(mut situation: Situation, code: UnknownCode) -> Situation {
    situation.status.run = Some(Run {
        code: Some(code),
        source: situation.source(),
        trust_digest: Some("sha256:t".into()),
        failures: 1,
        retry_at: Some(Time(at(200))),
        tried_ids: vec![super::super::situation::words(&Ids::default())],
        ..Run::default()
    });
    situation
}

type Change = fn(&mut Situation);

#[test]
fn when_a_record_is_read() {
    let table: [(&str, Change, Next); 14] = [
        ("nothing changed", |_| {}, Next::Wait(None)),
        ("a person asks", |s| s.asked = Some("1".into()), read(Why::Asked)),
        ("served already", |s| (s.asked, s.status.reverify) = (Some("1".into()), Some("1".into())), Next::Wait(None)),
        ("another claim", |s| s.status.source.as_mut().unwrap().claim_uid = "x".into(), read(Why::Moved)),
        ("another volume", |s| s.status.source.as_mut().unwrap().volume_uid = "x".into(), read(Why::Moved)),
        ("another store", |s| s.store.name = "store-y".into(), read(Why::Written)),
        ("written to", |s| s.store.epoch = 1, read(Why::Written)),
        ("another generation", |s| s.generation = Some(2), read(Why::Unread)),
        (
            "other keys",
            |s| s.trust.digest = "sha256:u".into(),
            Next::Read { why: Why::TrustChanged, signature_only: true },
        ),
        (
            "other keys and content not intact",
            |s| {
                s.trust.digest = "sha256:u".into();
                s.status.models[0].verdict = VerdictKind::Refused;
            },
            read(Why::TrustChanged),
        ),
        (
            "other keys, and only unsigned files are wrong",
            |s| {
                s.trust.digest = "sha256:u".into();
                let model = &mut s.status.models[0];
                model.verdict = VerdictKind::Refused;
                model.reason = Some(FindingCode::Refused(RefusedCode::UnsignedFiles));
                model.unsigned = Some(UnsignedFiles { paths: vec![".git/".into()], more: false });
            },
            Next::Read { why: Why::TrustChanged, signature_only: true },
        ),
        ("not valid yet", |s| s.status.models[0].not_before = Some(Time(at(151))), Next::Wait(Some(at(151)))),
        (
            "valid now",
            |s| s.status.models[0].not_before = Some(Time(at(150))),
            Next::Read { why: Why::Begins, signature_only: true },
        ),
        (
            "valid now, and nothing was read",
            |s| {
                s.status.models[0].not_before = Some(Time(at(150)));
                s.status.models[0].verdict = VerdictKind::Refused;
            },
            read(Why::Begins),
        ),
    ];
    for (name, change, expected) in table {
        let mut situation = verified();
        change(&mut situation);
        assert_eq!(next(&situation, at(150)), expected, "{name}");
    }
    assert_eq!(next(&unread(), at(150)), read(Why::Unread));
}

#[test]
fn a_bundle_that_did_not_suffice_once_is_not_asked_twice() {
    let mut situation = verified();
    situation.trust.digest = "sha256:u".into();
    situation.status.run = Some(Run { signature_only: true, trust_digest: Some("sha256:u".into()), ..Run::default() });
    assert_eq!(next(&situation, at(150)), read(Why::TrustChanged));
}

#[test]
fn what_stands_in_the_way_of_a_read() {
    use UnknownCode::*;
    let table: [(&str, Change, UnknownCode, bool); 10] = [
        ("no claim", |s| s.claim = None, SourceMissing, true),
        ("claim goes", |s| claim(s).deleting = true, SourceMissing, true),
        ("not bound", |s| s.volume = None, SourceMissing, true),
        ("storage", |s| s.not_verifiable = Some("nfs".into()), NotVerifiable, true),
        ("registry", |s| s.fetch = Fetch::Unlisted("evil.example/a".into()), RegistryUnauthorized, true),
        ("writer", |s| s.store.writers = vec!["ns/loader".into()], BeingWritten, true),
        ("no authority", |s| s.trust.pieces.clear(), TrustUnavailable, false),
        ("large roots", |s| s.trust.pieces[0] = "x".repeat(MAX_TRUST_PIECE_BYTES + 1), TrustUnavailable, false),
        ("many roots", |s| s.trust.pieces = vec!["x".repeat(100 << 10); 11], TrustUnavailable, false),
        ("taken", |s| s.exclusive_user = Some("server".into()), VerifierBlocked, false),
    ];
    for (name, change, code, ends_facts) in table {
        let mut situation = unread();
        change(&mut situation);
        let obstacle = obstacle(&situation).unwrap_or_else(|| panic!("{name}: nothing in the way"));
        assert_eq!((obstacle.code, obstacle.ends_facts), (code, ends_facts), "{name}");
        assert_eq!(next(&situation, at(150)), Next::Wait(None), "{name}");
    }
}

fn claim(situation: &mut Situation) -> &mut crate::decision::ClaimFacts {
    std::sync::Arc::make_mut(situation.claim.as_mut().unwrap())
}

#[test]
fn a_claim_that_something_fills_is_read_before_it_is_bound() {
    let mut situation = unread();
    situation.volume = None;
    claim(&mut situation).has_data_source = true;
    assert_eq!(next(&situation, at(1)), read(Why::Unread));
}

#[test]
fn nothing_starts_while_the_stores_are_unsettled() {
    let mut situation = unread();
    situation.store.unsettled = true;
    assert_eq!(next(&situation, at(1)), Next::Wait(None));
}

#[test]
fn a_failure_is_tried_again_in_time() {
    let failed = || failed(unread(), UnknownCode::VerifierFailed);
    assert_eq!(next(&failed(), at(150)), Next::Wait(Some(at(200))));
    assert_eq!(next(&failed(), at(200)), read(Why::Unread));

    let table: [(&str, Change); 4] = [
        ("a person asks", |s| s.asked = Some("1".into())),
        ("written to", |s| s.store.epoch = 1),
        ("another volume", |s| s.volume.as_mut().unwrap().0 = "other".into()),
        ("other keys", |s| s.trust.digest = "sha256:u".into()),
    ];
    for (name, change) in table {
        let mut situation = failed();
        change(&mut situation);
        assert!(matches!(next(&situation, at(150)), Next::Read { .. }), "{name} is worth a run at once");
    }
}

#[test]
fn ids_that_cannot_read_give_way_to_others() {
    let mut situation = failed(unread(), UnknownCode::Unreadable);
    assert_eq!(next(&situation, at(150)), Next::Wait(Some(at(200))), "there are no others");
    situation.ids.push(Ids { user: Some(1000), ..Ids::default() });
    assert_eq!(next(&situation, at(150)), read(Why::Unread));
    assert_eq!(situation.next_ids().0.user, Some(1000));
}

#[test]
fn a_record_made_anew_does_not_forget_its_failures() {
    let mut situation = unread();
    situation.remembered = Some((3, at(200)));
    assert_eq!(next(&situation, at(150)), Next::Wait(Some(at(200))));
    assert_eq!(next(&situation, at(201)), read(Why::Unread));
}

#[test]
fn the_schedule_is_spread_and_age_is_a_schedule_of_its_own() {
    let mut situation = verified();
    let hour = SignedDuration::from_hours(1);
    situation.schedule.reverify_after = Some(hour);
    let Next::Wait(Some(due)) = next(&situation, at(150)) else { panic!("not scheduled") };
    assert!(due <= at(100 + 3600) && due > at(100 + 3200), "{due}");
    assert_eq!(next(&situation, due), read(Why::Scheduled));

    let mut aging = verified();
    aging.schedule.max_age = Some(hour);
    assert_eq!(next(&aging, at(150)), Next::Wait(Some(at(3700))));
    assert!(!aging.is_stale(at(3700)) && aging.is_stale(at(3701)));
}
