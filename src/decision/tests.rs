use super::fixture::*;
use super::*;
use crate::api::v1alpha1::{FindingCode, Run, SignerKind, UseCode};
use crate::policy::fixtures;
use crate::workload::Stage;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

mod annotations;
mod arguments;
mod beside;
mod goldens;
mod kserve;
mod properties;
mod signers;
mod uses;

#[test]
fn a_verified_model_is_let_through() {
    let decision = World::new().decide();
    assert_eq!(decision.violations, []);
    assert!(decision.allowed() && decision.complies());
    assert_eq!(decision.worst(), Some(VerdictKind::Verified));
    assert_eq!(decision.policies.len(), 1);
    assert_eq!(decision.missing_records, []);
    assert_eq!(decision.models[0].signer.as_deref(), Some("production/release-key"));
}

/// What a change does to the codes.
fn check(name: &str, world: World, expected: &[&str]) {
    assert_eq!(world.codes(), expected, "{name}");
}

#[test]
fn the_index_must_be_fresh() {
    let at = |seconds| World::new().with(|world| world.observed_at = Some(now() - SignedDuration::from_secs(seconds)));
    check("young", at(120), &[]);
    check("old", at(121), &["IndexStale"]);
    check("of the future", at(-60), &[]);
    check("never", World::new().with(|world| world.observed_at = None), &["IndexStale"]);
}

#[test]
fn a_namespace_that_was_not_seen_is_judged_by_all_policies() {
    check("not seen", World::new().with(|world| world.namespace = None), &["IndexStale"]);
}

#[test]
fn a_policy_that_cannot_be_read_admits_nothing() {
    let broken = json!({ "authorities": [{ "name": "a", "key": { "configMapRef": { "name": "nowhere" } } }] });
    check("missing key", World::new().under(broken), &["PolicyInvalid"]);
    let both = World::new().with(|world| {
        world
            .policies
            .push(named_policy("other", json!({ "authorities": [{ "name": "a", "key": { "data": "no" } }] })));
    });
    check("of two", both, &["PolicyInvalid"]);
}

#[test]
fn the_claim_must_be_there_and_bound() {
    let claim = |change: fn(&mut ClaimFacts)| World::new().with(|world| change(world.claim.as_mut().unwrap()));
    let volume = |change: fn(&mut VolumeFacts)| World::new().with(|world| change(world.volume.as_mut().unwrap()));
    check("no claim", World::new().with(|world| world.claim = None), &["SourceMissing"]);
    check("deleting", claim(|claim| claim.deleting = true), &["SourceMissing"]);
    check("unbound", claim(|claim| claim.bound = false), &["SourceMissing"]);
    check("no volume", World::new().with(|world| world.volume = None), &["SourceMissing"]);
    check("no volume name", claim(|claim| claim.volume_name = None), &["SourceMissing"]);
    check("another's volume", volume(|volume| volume.claim_uid = Some("claim-2".into())), &["SourceMissing"]);
    check("nobody's volume", volume(|volume| volume.claim_uid = None), &["SourceMissing"]);
}

#[test]
fn an_unbound_claim_is_read_only_if_that_fills_it() {
    let unbound = |data_source| {
        let world = World::new().with(|world| {
            world.records.clear();
            let claim = world.claim.as_mut().unwrap();
            (claim.bound, claim.has_data_source, claim.volume_name) = (false, data_source, None);
        });
        world.decide().missing_records.len()
    };
    assert_eq!((unbound(true), unbound(false)), (1, 0));
}

#[test]
fn a_record_counts_only_for_what_was_read() {
    let source = |change: fn(&mut crate::api::v1alpha1::ReadSource)| {
        World::new().status(|status| change(status.source.as_mut().unwrap()))
    };
    check("other claim", source(|it| it.claim_uid = "x".into()), &["NotVerifiedYet"]);
    check("other volume", source(|it| it.volume_uid = "x".into()), &["NotVerifiedYet"]);
    check("other namespace", source(|it| it.namespace = "x".into()), &["NotVerifiedYet"]);
    check("other path", source(|it| it.path = "x".into()), &["NotVerifiedYet"]);
    check("other store", source(|it| it.store = "x".into()), &["NotVerifiedYet"]);
    check("other epoch", source(|it| it.write_epoch = 1), &["NotVerifiedYet"]);
    check("no source", World::new().status(|status| status.source = None), &["NotVerifiedYet"]);
    check("other generation", World::new().status(|status| status.observed_generation = Some(0)), &["NotVerifiedYet"]);
    check("no generation", World::new().status(|status| status.observed_generation = None), &["NotVerifiedYet"]);
    check("no time", World::new().status(|status| status.verified_at = None), &["NotVerifiedYet"]);
    check("no model", World::new().status(|status| status.models.clear()), &["NotVerifiedYet"]);
}

fn with_run(code: Option<UnknownCode>) -> impl FnOnce(&mut crate::api::v1alpha1::ModelVerificationStatus) {
    move |status| status.run = Some(Run { code, ..Default::default() })
}

#[test]
fn a_run_speaks_only_while_there_are_no_facts() {
    let unread = || World::new().status(|status| status.source = None);
    check("on", unread().status(with_run(None)), &["Verifying"]);
    check("blocked", unread().status(with_run(Some(UnknownCode::VerifierBlocked))), &["VerifierBlocked"]);
    check("facts, on", World::new().status(with_run(None)), &[]);
    check("facts, failed", World::new().status(with_run(Some(UnknownCode::VerifierFailed))), &[]);
    let written = World::new().with(|world| {
        world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers: vec![] });
    });
    check("written", written.clone(), &["NotVerifiedYet"]);
    check("written, on", written.clone().status(with_run(None)), &["Verifying"]);
    check("written, failed", written.status(with_run(Some(UnknownCode::Unreadable))), &["Unreadable"]);
}

#[test]
fn what_was_refused_stays_so_until_it_is_read_again() {
    let refused = World::new().found(VerdictKind::Refused, FindingCode::Refused(RefusedCode::Unsigned), "no bundle");
    let written = |world: World| {
        world.with(|world| {
            world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers: vec![] });
        })
    };
    check("refused", refused.clone(), &["Unsigned"]);
    check("refused, written since", written(refused), &["Unsigned"]);
    let stranger = World::new().model(|model| model.signers = vec![signed_by(fixtures::KEY_B)]);
    check("untrusted, written since", written(stranger), &["UntrustedSigner"]);
    let unknown = World::new().found(VerdictKind::Unknown, FindingCode::Unknown(UnknownCode::Unreadable), "a");
    check("unreadable", unknown.clone(), &["Unreadable"]);
    check("unreadable, written since", written(unknown), &["NotVerifiedYet"]);
}

#[test]
fn an_absent_or_odd_finding_is_never_a_pass() {
    check("content", World::new().model(|model| model.content_verified = false), &["VerifierFailed"]);
    check("signature", World::new().model(|model| model.signature_verified = false), &["VerifierFailed"]);
    check("signers", World::new().model(|model| model.signers.clear()), &["UntrustedSigner"]);
    let nameless = || SignerStatus::of(SignerKind::Key);
    check("nameless signer", World::new().model(|model| model.signers = vec![nameless()]), &["UntrustedSigner"]);
    check("no reason", World::new().model(|model| model.verdict = VerdictKind::Refused), &["VerifierFailed"]);
    check("unknown, no reason", World::new().model(|model| model.verdict = VerdictKind::Unknown), &["VerifierFailed"]);
    let crossed = FindingCode::Unknown(UnknownCode::Unreadable);
    check("crossed", World::new().found(VerdictKind::Refused, crossed, ""), &["VerifierFailed"]);
}

#[test]
fn stores_that_overlap_count() {
    let node = |path: &str| BackingStoreAt::node(path);
    let with_writer = |path: &str| {
        World::new().with(|world| {
            world.volume.as_mut().unwrap().backing =
                Backing::Node { path: "/data/models".into(), node: Some("n".into()) };
            let facts = StoreFacts { identity: node(path), epoch: 0, writers: vec!["team/loader".into()] };
            world.stores.push(facts);
        })
    };
    for (path, expected) in
        [("/data/models", "BeingWritten"), ("/data", "BeingWritten"), ("/data/models/a", "BeingWritten")]
    {
        check(path, with_writer(path), &[expected]);
    }
    // The record in the fixture is of another store; nobody is writing to this one.
    check("elsewhere", with_writer("/data/models2"), &["NotVerifiedYet"]);
}

/// Identities of stores, as they are printed.
struct BackingStoreAt;

impl BackingStoreAt {
    fn node(path: &str) -> String {
        crate::workload::BackingStore::Node { node: "n".into(), path: path.into() }.to_string()
    }
}

#[test]
fn the_nearest_record_speaks_of_a_path() {
    let sub =
        |path: &str| World::new().with(|world| world.pod["containers"][0]["volumeMounts"][0]["subPath"] = json!(path));
    check("below a model", sub("llama/7b"), &[]);
    for left_out in ["lost+found", "lost+found/7b", ".snapshot/7b"] {
        check("what no comparison of a whole claim meets", sub(left_out), &["NotVerifiedYet"]);
    }
    check("a folder of such a name elsewhere", sub("llama/lost+found"), &[]);
    assert_eq!(sub("llama").decide().missing_records, []);

    let refused_root = sub("llama").found(VerdictKind::Refused, FindingCode::Refused(RefusedCode::Unsigned), "");
    check("only intact models cover", refused_root.clone(), &["NotVerifiedYet"]);
    assert_eq!(refused_root.decide().missing_records, [ModelVerificationSpec::of_claim("models", "llama")]);

    let exact = sub("llama").with(|world| {
        let mut record = verified_record("llama");
        record.status.models[0].signers = vec![signed_by(fixtures::KEY_B)];
        world.records.push(record);
    });
    check("the exact one wins", exact, &["UntrustedSigner"]);
    let near = sub("a/b/c").with(|world| {
        let mut record = verified_record("a/b");
        record.status.models[0].signers = vec![signed_by(fixtures::KEY_B)];
        world.records.insert(0, record);
    });
    check("the nearest one wins", near, &["UntrustedSigner"]);
    let sibling = sub("llama2").with(|world| world.records = vec![verified_record("llama")]);
    check("components, not letters", sibling, &["NotVerifiedYet"]);
}

#[test]
fn a_missing_record_is_asked_for_once() {
    let world = World::new().with(|world| {
        world.records.clear();
        world.policies.push(named_policy("second", json!({})));
    });
    assert_eq!(world.codes(), ["NotVerifiedYet", "NotVerifiedYet"]);
    assert_eq!(world.decide().missing_records, [ModelVerificationSpec::of_claim("models", "")]);
}

#[test]
fn age_is_a_matter_of_the_policy() {
    let content = |content: serde_json::Value| World::new().under(json!({ "content": content }));
    check("no limit", content(json!({})), &[]);
    check("within", content(json!({ "maxAge": "1h" })), &[]);
    check("beyond", content(json!({ "maxAge": "59m" })), &["Stale"]);
    check("by default", content(json!({ "reverifyAfter": "8m" })), &["Stale"]);
    check("by default, within", content(json!({ "reverifyAfter": "9m" })), &[]);
    let old = content(json!({ "maxAge": "1m" })).model(|model| model.signers = vec![signed_by(fixtures::KEY_B)]);
    check("refused is not stale", old, &["UntrustedSigner"]);
}

#[test]
fn who_was_listed_since_may_have_signed() {
    let stored = || {
        let code = FindingCode::Refused(RefusedCode::UntrustedSigner);
        World::new().found(VerdictKind::Refused, code, "signed by a key that nobody listed")
    };
    let decided = || World::new().model(|model| model.signers = vec![signed_by(fixtures::KEY_B)]);
    for (what, untrusted) in [("stored", stored as fn() -> World), ("decided", decided)] {
        let given = |pem: &str| vec![format!("key {}", fingerprint(pem))];
        let of = |trust: Vec<String>| untrusted().status(|status| status.trust = trust);
        check(&format!("{what}: all that is listed"), of(given(fixtures::KEY_A)), &["UntrustedSigner"]);
        check(&format!("{what}: another key"), of(given(fixtures::KEY_B)), &["NotVerifiedYet"]);
        check(&format!("{what}: unknown what"), of(Vec::new()), &["NotVerifiedYet"]);
        let trust = compile(&[policy(json!({}))]);
        let labels = World::new().namespace.unwrap().labels;
        let digest = trust.trust_for("team", &labels).digest();
        let same = of(Vec::new()).status(|status| status.trust_digest = Some(digest));
        check(&format!("{what}: the same set of keys"), same, &["UntrustedSigner"]);
        let elsewhere = json!({ "authorities": [{ "name": "c", "key": { "data": fixtures::KEY_C } }] });
        let other = of(given(fixtures::KEY_A)).with(|world| world.policies.push(named_policy("other", elsewhere)));
        check(&format!("{what}: another policy lists another"), other.clone(), &["NotVerifiedYet", "UntrustedSigner"]);
        let says = |name: &str| {
            other.decide().violations.iter().find(|it| it.policy.to_string() == name).map(|it| it.code.as_str())
        };
        assert_eq!((says("production"), says("other")), (Some("UntrustedSigner"), Some("NotVerifiedYet")), "{what}");
    }
}

#[test]
fn who_is_taken_off_the_list_counts_no_longer_at_once() {
    let only_b = || World::new().under(json!({ "authorities": [{ "name": "b", "key": { "data": fixtures::KEY_B } }] }));
    check("read when both were listed", only_b(), &["UntrustedSigner"]);
    let admits = only_b().with(|world| {
        let spec = json!({ "unknown": "Warn", "authorities": [{ "name": "b", "key": { "data": fixtures::KEY_B } }] });
        world.policies = vec![policy(spec)];
    });
    assert!(!admits.decide().allowed(), "no moment in which what is unknown passes");
}

#[test]
fn several_authorities_need_several_signers() {
    let two = |required: u32, second: &str| {
        World::new().under(json!({ "required": required, "authorities": [
            { "name": "a", "key": { "data": fixtures::KEY_A } }, { "name": "b", "key": { "data": second } },
        ]}))
    };
    check("one of two", two(1, fixtures::KEY_B), &[]);
    check("two of two, one signed", two(2, fixtures::KEY_B), &["UntrustedSigner"]);
    check("the same key twice", two(2, fixtures::KEY_A), &["PolicyInvalid"]);
    let both = two(2, fixtures::KEY_B).model(|model| model.signers.push(signed_by(fixtures::KEY_B)));
    check("two of two", both, &[]);
    let twice = two(2, fixtures::KEY_B).model(|model| model.signers.push(signed_by(fixtures::KEY_A)));
    check("one signer twice", twice, &["UntrustedSigner"]);
}

#[test]
fn all_policies_must_be_satisfied() {
    let other = json!({ "authorities": [{ "name": "b", "key": { "data": fixtures::KEY_B } }] });
    let world = World::new().with(|world| world.policies.push(named_policy("second", other)));
    let decision = world.decide();
    assert_eq!(decision.violations[0].policy.to_string(), "second");
    assert_eq!((decision.violations.len(), decision.policies.len()), (1, 2));
    assert_eq!(decision.worst(), Some(VerdictKind::Refused));
}

#[test]
fn a_message_names_each_policy_that_is_not_satisfied() {
    let other = json!({ "authorities": [{ "name": "b", "key": { "data": fixtures::KEY_B } }] });
    let world = World::new()
        .with(|world| world.model_policies = vec![model_policy("mine", other)])
        .model(|model| model.signers.clear());
    let text = deny_text(&world.decide());
    let who: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(who, ["production", "team/mine"], "{text}");
}

#[test]
fn namespaces_that_no_policy_selects_are_not_judged() {
    let world = World::new().with(|world| world.namespace = Some(NamespaceFacts::default()));
    let decision = world.decide();
    assert_eq!((decision.models.len(), decision.policies.len()), (0, 0));
    assert!(decision.complies());
}

#[test]
fn a_template_is_only_warned_of_what_is_unknown() {
    let template = |world: World| world.with(|world| world.stage = Stage::Template).decide();
    let unknown = template(World::new().with(|world| world.claim = None));
    assert!(unknown.allowed());
    assert_eq!((unknown.violations[0].action, warnings(&unknown).len()), (Action::Warn, 1));
    let code = FindingCode::Refused(RefusedCode::Unsigned);
    assert!(!template(World::new().found(VerdictKind::Refused, code, "no bundle")).allowed());
}

#[test]
fn the_strongest_comes_first() {
    let world = World::new().with(|world| {
        world.policies.insert(0, named_policy("a-warns", json!({ "validationActions": ["Warn"] })));
        world.records.clear();
    });
    let policies: Vec<String> = world.decide().violations.into_iter().map(|it| it.policy.to_string()).collect();
    assert_eq!(policies, ["production", "a-warns"]);
}

#[test]
fn the_status_of_a_workload_can_be_made_of_it() {
    let world = World::new().with(|world| {
        world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
        world.pod["containers"][0]["volumeMounts"][0]["subPath"] = json!("llama");
        world.records[0].status.verified_at = Some(Time(now()));
    });
    let decision = world.decide();
    insta::assert_json_snapshot!("workload_status", decision.models[0].statuses()[0]);
    assert_eq!(decision.models[0].findings[0].0, Code::Use(UseCode::Writable));
}
