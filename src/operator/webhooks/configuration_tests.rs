use super::*;
use serde_json::{Value, json};

fn settings() -> Settings {
    Settings {
        namespace: "weighbridge".to_owned(),
        service: "weighbridge-webhook".to_owned(),
        operator_account: "system:serviceaccount:weighbridge:weighbridge-operator".to_owned(),
        owner_cluster_role: "weighbridge-operator".to_owned(),
    }
}

fn policy(name: &str, denies: bool, selector: Value) -> PolicyScope {
    PolicyScope { name: name.to_owned(), selector: serde_json::from_value(selector).unwrap(), denies }
}

fn covering(policies: &[PolicyScope]) -> Covered {
    Covered { policies: policies.to_vec(), ..Covered::default() }
}

fn custom() -> Vec<CustomResource> {
    let resource = |resource: &str, namespaced, loads| CustomResource {
        group: "serving.example.com".to_owned(),
        resource: resource.to_owned(),
        namespaced,
        loads,
    };
    vec![resource("adapters", true, true), resource("caches", false, false), resource("services", true, false)]
}

fn entries(policies: &[PolicyScope], armed: bool) -> Vec<(String, String)> {
    let configuration = desired(&covering(policies), "PEM", armed, &settings(), None);
    let entry = |entry: ValidatingWebhook| (entry.name, entry.failure_policy.unwrap());
    configuration.webhooks.unwrap().into_iter().map(entry).collect()
}

fn names(policies: &[PolicyScope]) -> Vec<String> {
    entries(policies, true).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn the_whole_configuration() {
    let policies = [
        policy("production", true, json!({ "matchLabels": { "tier": "production" } })),
        policy(
            "trial",
            false,
            json!({ "matchExpressions": [{ "key": "team", "operator": "In", "values": ["b", "a"] }] }),
        ),
    ];
    let owner = OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: "weighbridge-operator".to_owned(),
        uid: "1234".to_owned(),
        ..OwnerReference::default()
    };
    let covered = Covered { custom: custom(), ..covering(&policies) };
    insta::assert_yaml_snapshot!(desired(&covered, "PEM", true, &settings(), Some(owner)));
}

#[test]
fn without_policies_only_the_probe_is_there() {
    assert_eq!(names(&[]), ["probe.weighbridge.dev"]);
}

#[test]
fn nothing_fails_closed_before_it_is_armed() {
    let policies = [policy("a", true, json!({ "matchLabels": { "a": "b" } })), policy("b", false, json!({}))];
    let of = |armed| entries(&policies, armed).into_iter().filter(|(_, it)| it == "Fail").map(|(name, _)| name);
    assert_eq!(of(false).collect::<Vec<_>>(), ["probe.weighbridge.dev"]);
    assert_eq!(of(true).collect::<Vec<_>>(), ["pods.a.weighbridge.dev", "probe.weighbridge.dev"]);
}

#[test]
fn equal_selectors_share_an_entry_and_the_strictest_counts() {
    let spelt = json!({ "matchExpressions": [
        { "key": "b", "operator": "Exists", "values": [] }, { "key": "a", "operator": "In", "values": ["x", "y"] } ] });
    let otherwise = json!({ "matchLabels": {}, "matchExpressions": [
        { "key": "a", "operator": "In", "values": ["y", "x", "x"] }, { "key": "b", "operator": "Exists" } ] });
    let found = entries(&[policy("one", false, spelt), policy("two", true, otherwise)], true);
    assert_eq!(found[0], ("pods.one.weighbridge.dev".to_owned(), "Fail".to_owned()));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_selector_of_everything_covers_what_is_no_stricter() {
    let some = json!({ "matchLabels": { "a": "b" } });
    let strict = names(&[policy("all", true, json!({})), policy("some", true, some.clone())]);
    assert_eq!(strict, ["pods.all.weighbridge.dev", "templates.all.weighbridge.dev", "probe.weighbridge.dev"]);
    let lax = names(&[policy("all", false, json!({})), policy("some", true, some)]);
    let wanted = [
        "pods.all.weighbridge.dev",
        "pods.some.weighbridge.dev",
        "templates.all.weighbridge.dev",
        "probe.weighbridge.dev",
    ];
    assert_eq!(lax, wanted);
}

#[test]
fn too_many_selectors_become_one_that_fails_closed() {
    let policies: Vec<_> = (0..=MAX_SCOPES)
        .map(|n| policy(&format!("p{n}"), n == 7, json!({ "matchLabels": { "n": n.to_string() } })))
        .collect();
    assert_eq!(names(&policies[1..]).len(), 2 * MAX_SCOPES + 1);
    let found = entries(&policies, true);
    assert_eq!(found[0], ("pods.all.weighbridge.dev".to_owned(), "Fail".to_owned()));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_selector_that_the_api_server_would_refuse_selects_everything() {
    for bad in [
        json!({ "matchLabels": { "a b": "c" } }),
        json!({ "matchLabels": { "a": "-c" } }),
        json!({ "matchLabels": { "UPPER.example.com/a": "c" } }),
        json!({ "matchLabels": { "": "c" } }),
        json!({ "matchExpressions": [{ "key": "a", "operator": "in", "values": ["b"] }] }),
        json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] }),
        json!({ "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] }),
    ] {
        let covered = covering(&[policy("bad", true, bad.clone())]);
        let configuration = desired(&covered, "PEM", true, &settings(), None);
        let selector = configuration.webhooks.unwrap()[0].namespace_selector.clone().unwrap();
        assert_eq!(selector.match_labels, None, "{bad}");
        assert_eq!(selector.match_expressions.unwrap().len(), 1, "{bad}");
    }
}

#[test]
fn entry_names_are_names_of_at_most_253_characters() {
    let long = format!("{}.{}", "a".repeat(188), "b".repeat(64));
    let twin = format!("{long}c");
    let found = names(&[
        policy(&long, true, json!({ "matchLabels": { "a": "1" } })),
        policy(&twin, true, json!({ "matchLabels": { "a": "2" } })),
    ]);
    assert_ne!(found[0], found[1]);
    for name in found {
        assert!(is_subdomain(&name) && name.len() <= 253, "{name}");
        assert!(name.split('.').all(|part| part.len() <= 200));
    }
}

#[test]
fn exempt_namespaces_are_left_out_of_every_entry_but_the_probe() {
    let policies = [policy(
        "all",
        true,
        json!({ "matchExpressions": [
        { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["kube-system", "weighbridge"] } ] }),
    )];
    let configuration = desired(&covering(&policies), "PEM", true, &settings(), None);
    for entry in configuration.webhooks.unwrap() {
        let last = entry.namespace_selector.unwrap().match_expressions.unwrap().pop().unwrap();
        match entry.name.as_str() {
            "probe.weighbridge.dev" => assert_eq!((last.operator.as_str(), last.values.unwrap().len()), ("In", 1)),
            _ => assert_eq!((last.operator.as_str(), last.values.unwrap().len()), ("NotIn", 4)),
        }
    }
}

/// The entries with their failure policy and the namespaces that they name.
fn by_namespaces(policies: &[PolicyScope], namespaces: &BTreeMap<String, bool>) -> Vec<(String, String, usize)> {
    let covered = Covered { namespaces: namespaces.clone(), ..covering(policies) };
    let configuration = desired(&covered, "PEM", true, &settings(), None);
    let named = |entry: &ValidatingWebhook| {
        let selector = entry.namespace_selector.clone().unwrap().match_expressions.unwrap();
        selector.into_iter().filter(|it| it.operator == "In").flat_map(|it| it.values.unwrap()).count()
    };
    let entries = configuration.webhooks.unwrap().into_iter().filter(|entry| entry.name != "probe.weighbridge.dev");
    entries.map(|entry| (entry.name.clone(), entry.failure_policy.clone().unwrap(), named(&entry))).collect()
}

fn entry(name: &str, failure_policy: &str, named: usize) -> (String, String, usize) {
    (name.to_owned(), failure_policy.to_owned(), named)
}

#[test]
fn namespaces_with_policies_of_their_own_are_named() {
    let namespaces = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false), ("c".to_owned(), true)]);
    let wanted = [
        entry("pods.weighbridge.dev", "Fail", 2),
        entry("pods-lax.weighbridge.dev", "Ignore", 1),
        entry("templates.weighbridge.dev", "Ignore", 2),
        entry("templates-lax.weighbridge.dev", "Ignore", 1),
    ];
    assert_eq!(by_namespaces(&[], &namespaces), wanted);
}

#[test]
fn too_many_namespaces_become_all_and_those_of_a_strict_policy_need_no_names() {
    let many = (0..=MAX_NAMED_NAMESPACES).map(|n| (format!("n{n}"), true)).collect();
    let wanted = [entry("pods.weighbridge.dev", "Fail", 0), entry("templates.weighbridge.dev", "Ignore", 0)];
    assert_eq!(by_namespaces(&[], &many), wanted);
    let some = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]);
    let wanted = [entry("pods.all.weighbridge.dev", "Fail", 0), entry("templates.all.weighbridge.dev", "Ignore", 0)];
    assert_eq!(by_namespaces(&[policy("all", true, json!({}))], &some), wanted);
}

#[test]
fn a_tenant_brings_nobody_over_the_limit_of_selectors() {
    let policies: Vec<_> = (0..MAX_SCOPES)
        .map(|n| policy(&format!("p{n}"), false, json!({ "matchLabels": { "n": n.to_string() } })))
        .collect();
    let found = by_namespaces(&policies, &BTreeMap::from([("a".to_owned(), true)]));
    assert_eq!(found.len(), 2 * (MAX_SCOPES + 1));
    assert_eq!(found.iter().filter(|(_, failure_policy, _)| failure_policy == "Fail").count(), 1);
}

#[test]
fn custom_resources_are_asked_about_as_strictly_as_they_need() {
    let deny = policy("production", true, json!({ "matchLabels": { "tier": "production" } }));
    let of = |policies: &[PolicyScope], armed| {
        let covered = Covered { custom: custom(), ..covering(policies) };
        let configuration = desired(&covered, "PEM", armed, &settings(), None);
        let resources = |entry: &ValidatingWebhook| -> Vec<String> {
            let rules = entry.rules.iter().flatten().filter(|rule| rule.api_versions == Some(vec!["*".to_owned()]));
            rules.flat_map(|rule| rule.resources.clone().unwrap_or_default()).collect()
        };
        let entries = configuration.webhooks.into_iter().flatten();
        let entries =
            entries.map(|entry| (entry.name.clone(), entry.failure_policy.clone().unwrap(), resources(&entry)));
        entries.filter(|(_, _, resources)| !resources.is_empty()).collect::<Vec<_>>()
    };
    let entry =
        |name: &str, failure: &str, resource: &str| (name.to_owned(), failure.to_owned(), vec![resource.to_owned()]);
    assert_eq!(
        of(std::slice::from_ref(&deny), true),
        [
            entry("loaders.production.weighbridge.dev", "Fail", "adapters"),
            entry("templates.production.weighbridge.dev", "Ignore", "services"),
            entry("cluster.weighbridge.dev", "Ignore", "caches"),
        ]
    );
    assert_eq!(of(&[deny], false)[0], entry("loaders.production.weighbridge.dev", "Ignore", "adapters"));
    let warn = policy("trial", false, json!({ "matchLabels": { "tier": "trial" } }));
    assert_eq!(of(&[warn], true)[0], entry("loaders.trial.weighbridge.dev", "Ignore", "adapters"));
    assert_eq!(of(&[], true), [], "nothing is asked where no policy is");
}

#[test]
fn gates_are_where_a_policy_denies_and_nowhere_else() {
    let policies = [
        policy("production", true, json!({ "matchLabels": { "tier": "production" } })),
        policy("trial", false, json!({})),
    ];
    insta::assert_yaml_snapshot!(desired_gates(&covering(&policies), "PEM", true, &settings(), None));
    let entries = |policies: &[PolicyScope], armed| {
        let entries = desired_gates(&covering(policies), "PEM", armed, &settings(), None).webhooks.unwrap().into_iter();
        entries.map(|entry| (entry.name, entry.failure_policy.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(entries(&policies, false), [("gates.production.weighbridge.dev".to_owned(), "Ignore".to_owned())]);
    assert_eq!(entries(&policies[1..], true), []);
    let all = [policies[0].clone(), policy("all", true, json!({}))];
    assert_eq!(entries(&all, true), [("gates.all.weighbridge.dev".to_owned(), "Fail".to_owned())]);
}
