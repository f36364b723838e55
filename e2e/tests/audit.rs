//! What the API server's audit log says of our own accounts, after the other tests: no request was forbidden by RBAC, and
//! no rule was granted that nobody needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use weighbridge_e2e::{Cluster, OWN_NAMESPACE};

/// The requests of our accounts.
fn ours() -> Vec<Value> {
    let run = std::env::var("WEIGHBRIDGE_E2E_CLUSTER_RUN").expect("WEIGHBRIDGE_E2E_CLUSTER_RUN: e2e/test sets it");
    let log = fs::read_to_string(PathBuf::from(run).join("log/audit.log")).expect("the audit log");
    let account = format!("system:serviceaccount:{OWN_NAMESPACE}:weighbridge-");
    let parsed = log.lines().filter(|line| line.contains(&account)).filter_map(|line| serde_json::from_str(line).ok());
    let own = |event: &Value| {
        // What the tests asked for in the operator's name says nothing of the operator.
        event["impersonatedUser"].is_null()
            && event["user"]["username"].as_str().is_some_and(|it| it.starts_with(&account))
    };
    parsed.filter(own).collect()
}

#[test]
fn nothing_that_we_ask_for_is_forbidden() {
    let requests = ours();
    assert!(requests.len() > 100, "{} requests in the audit log", requests.len());
    // A denial by an admission webhook (our own probe) or a policy is no lack of rights.
    let forbidden = |event: &&Value| event["annotations"]["authorization.k8s.io/decision"] == "forbid";
    let found: BTreeSet<String> = requests.iter().filter(forbidden).map(describe).collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn describe(event: &Value) -> String {
    let object = &event["objectRef"];
    format!("{} {} {}/{}", event["user"]["username"], event["verb"], object["apiGroup"], object["resource"])
}

/// Rules that these tests do not bring about, each with what does.
const USED_ELSEWHERE: &[(&str, &str)] = &[
    ("weighbridge-operator delete admissionregistration.k8s.io/validatingwebhookconfigurations", "uninstalling"),
    ("weighbridge-operator delete admissionregistration.k8s.io/mutatingwebhookconfigurations", "uninstalling"),
    ("weighbridge-operator patch apps/deployments/scale", "uninstalling"),
    ("weighbridge-operator update admissionregistration.k8s.io/validatingwebhookconfigurations", "edits by others"),
    ("weighbridge-operator update admissionregistration.k8s.io/mutatingwebhookconfigurations", "edits by others"),
    ("weighbridge-operator delete weighbridge.dev/modelverifications", "a record that nothing used for a day"),
    ("weighbridge-operator delete weighbridge.dev/backingstores", "a volume that is gone"),
    ("weighbridge-operator patch events.k8s.io/events", "an Event that repeats within minutes"),
    ("weighbridge-operator get /nodes", "a writer that vanished with its node"),
    ("weighbridge-operator get storage.k8s.io/csidrivers", "a writer that vanished from a volume that is attached"),
    (
        "weighbridge-operator list storage.k8s.io/volumeattachments",
        "a writer that vanished from a volume that is attached",
    ),
];

#[test]
fn nothing_is_granted_that_nobody_uses() {
    let cluster = Cluster::from_environment();
    let used: BTreeSet<String> = ours().iter().flat_map(uses_of).collect();
    let mut unused = BTreeSet::new();
    for (account, kind, role) in bindings(&cluster).into_iter().filter(|(_, _, role)| role != CUSTOM_KINDS) {
        let rules = cluster.own().get(kind, &role)["rules"].as_array().cloned().unwrap_or_default();
        for grant in rules.iter().flat_map(|rule| grants(&account, rule)) {
            let elsewhere = USED_ELSEWHERE.iter().any(|(known, _)| *known == grant);
            if !used.contains(&grant) && !elsewhere {
                unused.insert(grant);
            }
        }
    }
    assert!(unused.is_empty(), "{unused:#?}");
}

/// The cluster role for custom resources, of which a cluster has some kinds and not others.
const CUSTOM_KINDS: &str = "weighbridge-operator-kinds";

#[test]
fn each_kind_of_custom_resource_that_is_there_and_granted_is_read() {
    let cluster = Cluster::from_environment();
    let used: BTreeSet<String> = ours().iter().flat_map(uses_of).collect();
    let there = cluster.kubectl().run(&["api-resources", "--output=name"]);
    let there: BTreeSet<&str> = there.expect_success().stdout.lines().collect();
    let rules = cluster.own().get("clusterrole", CUSTOM_KINDS)["rules"].as_array().cloned().unwrap_or_default();
    let grants: BTreeSet<String> = rules.iter().flat_map(|rule| grants("weighbridge-operator", rule)).collect();
    let is_there = |grant: &&String| {
        let (group, resource) = grant.rsplit(' ').next().and_then(|it| it.split_once('/')).unwrap_or_default();
        there.contains(format!("{resource}.{group}").as_str())
    };
    let expected: BTreeSet<&String> = grants.iter().filter(is_there).collect();
    assert!(expected.len() >= 4, "of {grants:#?} there is only {expected:#?}");
    let unused: Vec<&&String> = expected.iter().filter(|grant| !used.contains(**grant)).collect();
    assert!(unused.is_empty(), "{unused:#?}");
    let asked = used.iter().filter(|it| it.starts_with("weighbridge-operator list "));
    let unasked: Vec<&String> = asked.filter(|it| grants.contains(*it) && !expected.contains(it)).collect();
    assert!(unasked.is_empty(), "what is not there was asked for: {unasked:#?}");
}

/// A request as the rules that it needs: account, verb, group and resource.
fn uses_of(event: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let account = text(&event["user"]["username"]).rsplit(':').next().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let sub = match object["subresource"].as_str() {
        Some(sub) => format!("/{sub}"),
        None => String::new(),
    };
    let verb = text(&event["verb"]);
    // Server-side apply is logged as a patch and needs the right to create, for what does not exist yet.
    // And a list that comes as the beginning of a watch needs the right to list, for servers that do not stream it.
    let streamed = text(&event["requestURI"]).contains("sendInitialEvents=true");
    let also = match verb.as_str() {
        "patch" => Some("create".to_owned()),
        "watch" if streamed => Some("list".to_owned()),
        _ => None,
    };
    let rule =
        |verb: String| format!("{account} {verb} {}/{}{sub}", text(&object["apiGroup"]), text(&object["resource"]));
    [Some(verb), also].into_iter().flatten().map(rule).collect()
}

/// What a rule grants, one verb and resource each.
fn grants(account: &str, rule: &Value) -> Vec<String> {
    let list = |key: &str| {
        let items = rule[key].as_array().cloned().unwrap_or_default();
        items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut grants = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            grants.extend(list("verbs").iter().map(|verb| format!("{account} {verb} {group}/{resource}")));
        }
    }
    grants
}

/// The roles that our accounts are bound to: account, kind of role, name of role.
fn bindings(cluster: &Cluster) -> Vec<(String, &'static str, String)> {
    let mut found = Vec::new();
    for (kind, role_kind) in [("clusterrolebindings", "clusterrole"), ("rolebindings", "role")] {
        for binding in cluster.own().list(kind) {
            let role = binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned();
            for subject in binding["subjects"].as_array().cloned().unwrap_or_default() {
                if subject["namespace"] == OWN_NAMESPACE && subject["kind"] == "ServiceAccount" {
                    found.push((subject["name"].as_str().unwrap_or_default().to_owned(), role_kind, role.clone()));
                }
            }
        }
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}
