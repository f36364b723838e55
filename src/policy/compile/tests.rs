use std::collections::{BTreeMap, BTreeSet};

use super::super::fixtures::{KEY_A, KEY_B, KEY_C};
use super::super::{CompiledPolicies, EXEMPT_NAMESPACES, TrustSources};
use super::*;
use crate::api::v1alpha1::MAX_MODEL_POLICIES;
use crate::policy::TrustSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

const ROOT: &str = include_str!("../../../tests/vectors/oms/keys/ca-cert.pem");

fn spec(over: Value) -> ClusterModelPolicy {
    let mut spec = json!({
        "match": { "namespaceSelector": {} },
        "validationActions": ["Deny"],
        "authorities": [{ "name": "a", "key": { "data": KEY_A } }],
    });
    spec.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    ClusterModelPolicy::new("p", serde_json::from_value(spec).unwrap())
}

fn trust() -> TrustSources {
    let map = |name: &str, key: &str, text: &str| {
        BTreeMap::from([(name.to_owned(), BTreeMap::from([(key.to_owned(), text.to_owned())]))])
    };
    let for_namespaces = BTreeSet::new();
    TrustSources {
        for_namespaces,
        config_maps: map("keys", "key.pem", KEY_B),
        secrets: map("sealed", "release", KEY_C),
    }
}

fn compiled(over: Value) -> CompiledPolicy {
    policy(&spec(over), &trust())
}

/// A policy of namespace `team`, made at that second.
fn model_policy(name: &str, second: i64, over: Value) -> ModelPolicy {
    let mut spec = json!({
        "validationActions": ["Deny"], "authorities": [{ "name": "b", "key": { "data": KEY_B } }],
    });
    spec.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    let mut policy = ModelPolicy::new(name, serde_json::from_value(spec).unwrap());
    policy.metadata.namespace = Some("team".into());
    policy.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
    policy
}

fn with_namespaced(policies: &[ModelPolicy], trust: &TrustSources) -> CompiledPolicies {
    CompiledPolicies::compile([&spec(json!({}))], trust, "weighbridge").and_namespaced(policies, trust)
}

#[test]
fn keys_are_read_from_wherever_they_stand() {
    let authorities = json!([
        { "name": "inline", "key": { "data": KEY_A } },
        { "name": "map", "key": { "configMapRef": { "name": "keys" } } },
        { "name": "secret", "key": { "secretRef": { "name": "sealed", "key": "release" } } },
    ]);
    let policy = compiled(json!({ "authorities": authorities, "required": 3 }));
    assert_eq!(policy.accepted(), Ok(()));
    assert_eq!(policy.authorities.len(), 3);
}

#[test]
fn what_cannot_be_understood_is_said_and_kept() {
    let key = |key: Value| json!({ "authorities": [{ "name": "a", "key": key }] });
    let certificate = |certificate: Value| json!({ "authorities": [{ "name": "a", "certificate": certificate }] });
    let identity = |one: Value| json!({ "authorities": [{ "name": "a", "keyless": { "identities": [one] } }] });
    let anybody = json!({ "identities": [{ "issuerRegExp": ".*", "subjectRegExp": ".*" }] });
    let matches = |key: &str, item: Value| json!({ "match": { "namespaceSelector": {}, key: [item] } });
    let selector = json!({ "matchExpressions": [{ "key": "k", "operator": "Is" }] });
    let cases = [
        ("no ConfigMap", key(json!({ "configMapRef": { "name": "nowhere" } }))),
        ("no key in it", key(json!({ "configMapRef": { "name": "keys", "key": "other" } }))),
        ("no Secret", key(json!({ "secretRef": { "name": "keys" } }))),
        ("no PEM", key(json!({ "data": "key" }))),
        ("no source", key(json!({}))),
        ("two sources", key(json!({ "data": KEY_A, "secretRef": { "name": "sealed", "key": "release" } }))),
        ("no kind", json!({ "authorities": [{ "name": "a" }] })),
        ("two kinds", json!({ "authorities": [{ "name": "a", "key": { "data": KEY_A }, "keyless": anybody }] })),
        ("no roots", certificate(json!({ "roots": {} }))),
        ("no ConfigMap of roots", certificate(json!({ "roots": { "configMapRef": { "name": "nowhere" } } }))),
        ("a subject that names nothing", certificate(json!({ "roots": { "data": "" }, "subjects": [{}] }))),
        ("an empty subject", certificate(json!({ "roots": { "data": "" }, "subjects": [{ "issuer": "" }] }))),
        ("two names in one", certificate(json!({ "roots": { "data": "" }, "subjects": [{ "uri": "a", "dns": "b" }] }))),
        ("no fingerprint", certificate(json!({ "roots": { "data": "" }, "subjects": [{ "fingerprint": "ab:cd" }] }))),
        ("no identity", json!({ "authorities": [{ "name": "a", "keyless": { "identities": [] } }] })),
        ("no issuer", identity(json!({ "subject": "a" }))),
        ("no subject", identity(json!({ "issuer": "a" }))),
        ("two subjects", identity(json!({ "issuer": "a", "subject": "a", "subjectRegExp": "a" }))),
        ("an empty subject", identity(json!({ "issuer": "a", "subject": "" }))),
        ("no expression", identity(json!({ "issuer": "a", "subjectRegExp": "a)|(b" }))),
        ("too long an expression", identity(json!({ "issuerRegExp": "a".repeat(1025), "subject": "a" }))),
        ("no authorities", json!({ "authorities": [] })),
        ("too many required", json!({ "required": 2 })),
        ("namespaces", json!({ "match": { "namespaceSelector": selector } })),
        ("models by claim", matches("models", json!({ "claims": { "selector": selector } }))),
        ("models by path", matches("models", json!({ "mountPaths": ["/[a"] }))),
        ("models by nothing", matches("models", json!({}))),
        ("exclude by claim", matches("exclude", json!({ "claims": { "selector": selector } }))),
        ("exclude by path", matches("exclude", json!({ "mountPaths": ["/[a"] }))),
        ("exclude by nothing", matches("exclude", json!({}))),
    ];
    let said = cases.map(|(name, over)| format!("{name}: {}", compiled(over).accepted().unwrap_err()));
    insta::assert_snapshot!("problems", said.join("\n"));
}

#[test]
fn roots_are_read_from_wherever_they_stand() {
    let trust = TrustSources {
        config_maps: BTreeMap::from([("pki".to_owned(), BTreeMap::from([("ca.crt".to_owned(), ROOT.to_owned())]))]),
        ..TrustSources::default()
    };
    let policy = |profile: &str, roots: Value| {
        let certificate = json!({ "roots": roots, "profile": profile, "subjects": [{ "dns": "a.example.com" }] });
        policy(&spec(json!({ "authorities": [{ "name": "pki", "certificate": certificate }] })), &trust)
    };
    let inline = policy("Strict", json!({ "data": format!("The root:\n{ROOT}") }));
    let referred = policy("Strict", json!({ "configMapRef": { "name": "pki" } }));
    assert_eq!((inline.accepted(), referred.accepted()), (Ok(()), Ok(())));
    assert_eq!(inline.trust().digest(), referred.trust().digest(), "the same roots, whatever stands around them");
    assert_ne!(inline.trust().digest(), policy("Reference", json!({ "data": ROOT })).trust().digest());
    assert_eq!(inline.trust().material().unwrap().certificates.len(), 1);
    assert!(matches!(inline.authorities[0].authority, crate::signature::Authority::Certificate { .. }));
}

#[test]
fn the_public_good_instance_is_a_word() {
    let identities = json!([{ "issuerRegExp": "https://.+", "subject": "ml@acme.example.com" }]);
    let keyless = |name: &str| json!({ "name": name, "keyless": { "identities": identities } });
    let policy = compiled(json!({ "authorities": [keyless("a"), keyless("b")], "required": 2 }));
    assert_eq!(policy.accepted(), Ok(()), "each may have a signer of its own");
    let trust = policy.trust();
    assert_eq!(trust.pieces().collect::<Vec<_>>(), [&crate::policy::TrustPiece::PublicGood {}], "not its 7 KB, twice");
    assert_eq!(trust.material().unwrap().keyless.len(), 1);
}

#[test]
fn a_root_that_cannot_be_read_is_a_problem_of_the_policy() {
    let problem = |authority: Value| {
        let policy = compiled(json!({ "authorities": [{ "name": "good", "key": { "data": KEY_A } }, authority] }));
        assert_eq!(policy.authorities.len(), 1);
        policy.accepted().unwrap_err()
    };
    let roots = problem(json!({ "name": "pki", "certificate": { "roots": { "data": KEY_A } } }));
    assert!(roots.starts_with("authority pki: its roots cannot be used: "), "{roots}");
    let root = json!({ "identities": [{ "issuer": "i", "subject": "s" }], "trustedRoot": { "data": "[]" } });
    let root = problem(json!({ "name": "ci", "keyless": root }));
    assert!(root.starts_with("authority ci: its trusted root cannot be used: "), "{root}");
}

#[test]
fn half_a_namespace_selector_selects_more_not_less() {
    let selector = json!({
        "matchLabels": { "tier": "production" },
        "matchExpressions": [{ "key": "team", "operator": "is", "values": ["x"] }],
    });
    let policy = compiled(json!({ "match": { "namespaceSelector": selector } }));
    assert!(policy.selects_namespace("n", &BTreeMap::from([("tier".into(), "production".into())])));
    assert!(!policy.selects_namespace("n", &BTreeMap::new()));
    assert_eq!(policy.namespace_selector.match_expressions, None);
}

#[test]
fn ages_have_their_defaults() {
    let ages = |content: Value| {
        let content = compiled(json!({ "content": content })).content;
        (content.reverify_after.map(|it| it.as_secs()), content.max_age.map(|it| it.as_secs()))
    };
    assert_eq!(ages(json!({})), (None, None));
    assert_eq!(ages(json!({ "reverifyAfter": "1h" })), (Some(3600), Some(7 * 3600)));
    assert_eq!(ages(json!({ "reverifyAfter": "1h", "maxAge": "2h" })), (Some(3600), Some(7200)));
    assert_eq!(ages(json!({ "maxAge": "1h30m" })), (None, Some(5400)));
}

#[test]
fn writers_and_servers_exclude_each_other_where_a_policy_denies() {
    let rule = |actions: Value, content: Value| {
        compiled(json!({ "validationActions": actions, "content": content })).content.while_serving
    };
    assert_eq!(rule(json!(["Deny"]), json!({})), WhileServing::Exclusive);
    assert_eq!(rule(json!(["Deny", "Audit"]), json!({ "whileServing": "Report" })), WhileServing::Report);
    assert_eq!(rule(json!(["Warn"]), json!({})), WhileServing::Report);
    assert_eq!(rule(json!(["Audit"]), json!({})), WhileServing::Report);
}

#[test]
fn what_the_conditions_of_a_policy_say() {
    let matches = |over: Value| {
        let mut matches = json!({ "namespaceSelector": {} });
        matches.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        compiled(json!({ "match": matches })).selection_by_tenant()
    };
    assert!(!matches(json!({})));
    assert!(!matches(json!({ "exclude": [{ "storageClasses": ["s"] }, { "csiDrivers": ["d"] }] })));
    assert!(matches(json!({ "exclude": [{ "mountPaths": ["/cache/**"] }] })));
    assert!(matches(json!({ "exclude": [{ "claims": { "selector": {} } }] })));
    assert!(matches(json!({ "models": [{ "mountPaths": ["/models/**"] }] })));
    assert!(matches(json!({ "models": [{ "claims": { "selector": {} } }] })));

    let admits = |actions: Value, unknown: Value| {
        compiled(json!({ "validationActions": actions, "unknown": unknown })).unknown_admits()
    };
    assert!(!admits(json!(["Deny"]), json!(null)));
    assert!(!admits(json!(["Deny"]), json!("Deny")));
    assert!(admits(json!(["Deny", "Audit"]), json!("Warn")));
    assert!(admits(json!(["Deny"]), json!("Audit")));
    assert!(!admits(json!(["Warn"]), json!("Audit")), "nothing is enforced there anyway");
}

#[test]
fn the_namespaces_of_the_cluster_and_our_own_are_never_matched() {
    let policies = CompiledPolicies::compile([&spec(json!({}))], &TrustSources::default(), "weighbridge");
    for namespace in EXEMPT_NAMESPACES.into_iter().chain(["weighbridge"]) {
        assert!(!policies.match_namespace(namespace, &BTreeMap::new()), "{namespace}");
        assert!(policies.trust_for(namespace, &BTreeMap::new()).is_empty());
    }
    assert!(policies.match_namespace("default", &BTreeMap::new()));
}

#[test]
fn a_namespace_is_given_the_keys_of_all_policies_that_match_it() {
    let mut other = spec(json!({
        "authorities": [{ "name": "b", "key": { "data": KEY_B } }, { "name": "a", "key": { "data": KEY_A } }],
        "match": { "namespaceSelector": { "matchLabels": { "tier": "production" } } },
    }));
    other.metadata.name = Some("a-first".into());
    let policies = CompiledPolicies::compile([&spec(json!({})), &other], &TrustSources::default(), "weighbridge");
    let production = BTreeMap::from([("tier".to_owned(), "production".to_owned())]);
    assert_eq!(policies.trust_for("n", &production).pieces().count(), 2);
    assert_eq!(policies.trust_for("n", &BTreeMap::new()).pieces().count(), 1);
    let names: Vec<String> = policies.iter().map(|policy| policy.name.to_string()).collect();
    assert_eq!(names, ["a-first", "p"]);
    assert!(policies.namespace_selectors().all(|selection| selection.denies));
}

#[test]
fn a_policy_of_a_namespace_matches_there_alone() {
    let policies = with_namespaced(&[model_policy("mine", 1, json!({}))], &trust());
    let matching = |namespace: &str| -> Vec<String> {
        policies.matching(namespace, &BTreeMap::new()).map(|policy| policy.name.to_string()).collect()
    };
    assert_eq!(matching("team"), ["p", "team/mine"]);
    assert_eq!(matching("other"), ["p"]);
    assert_eq!(policies.namespaces().collect::<Vec<_>>(), [("team", true)]);
    assert_eq!(policies.trust_for("team", &BTreeMap::new()).pieces().count(), 2);
    assert_eq!(policies.trust_for("other", &BTreeMap::new()).pieces().count(), 1);
    let mut exempt = model_policy("mine", 1, json!({}));
    exempt.metadata.namespace = Some("kube-system".into());
    assert_eq!(with_namespaced(&[exempt], &trust()).namespaces().count(), 0);
}

#[test]
fn the_oldest_policies_of_a_namespace_are_in_force() {
    let made = (0..20).map(|n| model_policy(&format!("p{n:02}"), 100 - n, json!({}))).collect::<Vec<_>>();
    let policies = with_namespaced(&made, &trust());
    let named = |n: i64| PolicyName::Namespaced { namespace: "team".into(), name: format!("p{n:02}") };
    assert_eq!(policies.iter().count(), 1 + MAX_MODEL_POLICIES);
    assert!((0..4).all(|n| policies.get(&named(n)).is_none()), "the newest are too many");
    assert!((4..20).all(|n| policies.get(&named(n)).is_some()));
}

#[test]
fn a_namespace_reaches_keys_of_its_own_and_what_was_marked_for_it() {
    let mut trust = trust();
    let problem = |trust: &TrustSources, authority: Value| {
        let policies = with_namespaced(&[model_policy("mine", 1, json!({ "authorities": [authority] }))], trust);
        let name = PolicyName::Namespaced { namespace: "team".into(), name: "mine".into() };
        policies.get(&name).unwrap().accepted().err()
    };
    let referred = json!({ "name": "a", "key": { "configMapRef": { "name": "keys" } } });
    let said = problem(&trust, referred.clone()).unwrap();
    assert!(said.contains("weighbridge.dev/model-policies"), "{said}");
    let nowhere = json!({ "name": "a", "key": { "configMapRef": { "name": "nowhere" } } });
    assert_eq!(problem(&trust, nowhere).unwrap().replace("nowhere", "keys"), said, "it cannot be told what exists");
    trust.for_namespaces.insert("keys".into());
    assert_eq!(problem(&trust, referred), None);
    let secret = json!({ "name": "a", "key": { "secretRef": { "name": "sealed", "key": "release" } } });
    assert!(problem(&trust, secret).is_some());
    let identities = json!([{ "issuer": "i", "subject": "s" }]);
    let root = include_str!("../../../tests/vectors/oms/keys/ca-cert.pem");
    for brought in [
        json!({ "name": "a", "certificate": { "roots": { "data": root } } }),
        json!({ "name": "a", "keyless": { "identities": identities, "trustedRoot": { "data": "{}" } } }),
    ] {
        let said = problem(&trust, brought).unwrap();
        assert!(said.contains("brings no roots of its own"), "{said}");
    }
    assert_eq!(problem(&trust, json!({ "name": "a", "keyless": { "identities": identities } })), None);
}

#[test]
fn what_a_namespace_trusts_stands_apart_in_the_digest() {
    let digest = |policies: &CompiledPolicies| policies.trust_for("team", &BTreeMap::new()).digest();
    let alone = digest(&with_namespaced(&[], &trust()));
    let more = digest(&with_namespaced(&[model_policy("mine", 1, json!({}))], &trust()));
    assert_ne!(alone, more);
    assert_eq!(TrustSet::cluster_half(&more), alone);
    let same = json!({ "authorities": [{ "name": "a", "key": { "data": KEY_A } }] });
    assert_eq!(digest(&with_namespaced(&[model_policy("mine", 1, same)], &trust())), alone, "nothing new");
}
