use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::super::situation::fixture::{at, unread};
use super::super::verifier_pod::{CONTAINER, Order, build, tests::settings};
use super::*;
use crate::workload::Ids;

const NONCE: &str = "n0nce";

/// The situation of a run that began at 100, with its Pod in some state.
fn running(state: Value) -> Situation {
    let mut situation = unread();
    situation.image = settings().image;
    let pod = ended(&situation, state);
    situation.status.run = Some(Run {
        pod: Some(pod.name_any()),
        pod_uid: Some("pod-uid".into()),
        nonce: Some(NONCE.into()),
        started_at: Some(Time(at(100))),
        source: situation.source(),
        trust_digest: Some("sha256:t".into()),
        pod_digest: Some(Essence::of(&pod, "models").unwrap().digest()),
        ..Run::default()
    });
    situation.verifier = Some(Arc::new(pod));
    situation
}

fn ended(situation: &Situation, state: Value) -> Pod {
    let order = Order {
        namespace: &situation.namespace,
        record: &situation.name,
        record_uid: &situation.uid,
        claim: "models",
        path: "llama",
        signature: "volume:",
        bundle: None,
        fetch: &situation.fetch,
        signature_only: false,
        nonce: NONCE,
        trust: &[],
        ids: &Ids::default(),
        placement: &Default::default(),
    };
    let mut pod = serde_json::to_value(build(&order, &settings())).unwrap();
    pod["metadata"]["uid"] = "pod-uid".into();
    pod["status"] = json!({ "phase": "Running", "containerStatuses": [{
        "name": CONTAINER, "restartCount": 0, "ready": false, "image": "", "imageID": settings().image, "state": state }] });
    serde_json::from_value(pod).unwrap()
}

fn read() -> Value {
    json!({ "running": {} })
}

fn message(text: &str) -> Value {
    json!({ "terminated": { "exitCode": 0, "message": text } })
}

fn of(situation: &Situation, second: i64) -> Progress {
    progress(situation, situation.active_run().unwrap(), at(second))
}

#[test]
fn a_run_goes_its_way() {
    assert_eq!(of(&running(read()), 110), Progress::Wait(None, None));
    assert_eq!(of(&running(message("{}")), 110), Progress::Take);
    let out_of_memory = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    assert!(matches!(of(&running(out_of_memory), 110), Progress::Fail(UnknownCode::VerifierFailed, _)));
}

type Change = fn(&mut Situation);

#[test]
fn whatever_changes_the_source_ends_a_run_without_blame() {
    let table: [(&str, Change); 10] = [
        ("claim replaced", |s| Arc::make_mut(s.claim.as_mut().unwrap()).uid = "x".into()),
        ("claim gone", |s| s.claim = None),
        ("claim goes", |s| Arc::make_mut(s.claim.as_mut().unwrap()).deleting = true),
        ("volume replaced", |s| Arc::make_mut(&mut s.volume.as_mut().unwrap().1).uid = "x".into()),
        ("epoch", |s| s.store.epoch += 1),
        ("writer", |s| s.store.writers.push("ns/loader".into())),
        ("another store", |s| s.store.name = "store-y".into()),
        ("a Pod waits", |s| s.waits_elsewhere = Some("server".into())),
        ("registry", |s| s.fetch = Fetch::Unlisted("registry.example.com/a".into())),
        ("new image", |s| s.image = "repo@sha256:11".into()),
    ];
    for (name, change) in table {
        let mut situation = running(message("{}"));
        change(&mut situation);
        assert!(matches!(of(&situation, 110), Progress::Abort(_)), "{name}");
    }
}

#[test]
fn nothing_is_concluded_while_the_stores_are_unsettled() {
    let mut situation = running(message("{}"));
    situation.store.unsettled = true;
    assert_eq!(of(&situation, 110), Progress::Wait(None, None));
}

#[test]
fn a_claim_that_was_bound_for_the_run_is_the_same_claim() {
    let mut situation = running(message("{}"));
    let source = situation.status.run.as_mut().unwrap().source.as_mut().unwrap();
    (source.volume_name, source.volume_uid, source.store) = (String::new(), String::new(), "store-unbound".into());
    assert_eq!(of(&situation, 110), Progress::Take);
    situation.store.epoch = 1;
    assert!(matches!(of(&situation, 110), Progress::Abort(_)));
}

#[test]
fn a_pod_that_is_held_up_is_told_and_then_taken_away() {
    let held = running(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } }));
    let Progress::Wait(Some(until), Some(words)) = of(&held, 110) else { panic!("not told") };
    assert!(words.contains("ImagePullBackOff: not found"), "{words}");
    assert_eq!(of(&held, until.as_second()), Progress::Fail(UnknownCode::VerifierBlocked, words));
    let starting = running(json!({ "waiting": { "reason": "ContainerCreating" } }));
    assert_eq!(of(&starting, 399), Progress::Wait(Some(at(400)), None));
    assert!(matches!(of(&starting, 400), Progress::Fail(UnknownCode::VerifierBlocked, _)));
}

#[test]
fn a_pod_that_is_gone_is_a_failure_and_one_that_was_never_noted_is_none() {
    let mut gone = running(read());
    gone.verifier = None;
    assert_eq!(of(&gone, 110), Progress::Wait(Some(at(115)), None), "it may be on its way");
    assert!(matches!(of(&gone, 115), Progress::Fail(UnknownCode::VerifierFailed, _)));

    let mut another = running(read());
    another.status.run.as_mut().unwrap().pod_uid = Some("x".into());
    assert!(matches!(of(&another, 110), Progress::Fail(UnknownCode::VerifierFailed, _)));

    let mut never_noted = running(message("{}"));
    never_noted.status.run.as_mut().unwrap().pod_uid = None;
    assert_eq!(of(&never_noted, 110), Progress::Wait(Some(at(115)), None));
    assert!(matches!(of(&never_noted, 115), Progress::Abort(_)), "what it says never counts");
}

fn report(nonce: &str) -> String {
    Report::failed(Some(nonce.into()), Extent::Full, UnknownCode::Unreadable, "no").to_json()
}

fn taken(situation: &Situation) -> Result<Report, Discarded> {
    let pod = situation.verifier.as_ref().unwrap();
    take(situation, situation.active_run().unwrap(), pod)
}

#[test]
fn a_report_counts_if_it_is_whole_and_of_this_run() {
    assert!(taken(&running(message(&report(NONCE)))).is_ok());
    for text in ["", "rubbish", &report(NONCE)[..40], &report("another")] {
        let discarded = taken(&running(message(text))).unwrap_err();
        assert_eq!(discarded.code, UnknownCode::VerifierFailed, "{text}");
    }
    let mut other_extent = running(message(&report(NONCE)));
    other_extent.status.run.as_mut().unwrap().signature_only = true;
    assert_eq!(taken(&other_extent).unwrap_err().code, UnknownCode::VerifierFailed);
}

#[test]
fn a_report_of_a_pod_that_is_not_what_was_sent_counts_for_nothing() {
    let table: [(&str, Change); 3] = [
        ("spec", |s| s.status.run.as_mut().unwrap().pod_digest = Some("sha256:x".into())),
        ("uid", |s| s.status.run.as_mut().unwrap().pod_uid = Some("x".into())),
        ("image", |s| s.image = "repo@sha256:11".into()),
    ];
    for (name, change) in table {
        let mut situation = running(message(&report(NONCE)));
        change(&mut situation);
        assert_eq!(taken(&situation).unwrap_err().code, UnknownCode::VerifierBlocked, "{name}");
    }
}
