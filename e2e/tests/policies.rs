//! What people see of policies: policies of namespaces, what becomes of workloads under each, trying one out.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Tenant, eventually};

const POD_PATH: &str = "spec.containers[0].volumeMounts[0]";

/// A policy of the tenant's namespace that denies and trusts a key.
fn model_policy(name: &str, key: &Key) -> Value {
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelPolicy", "metadata": { "name": name },
        "spec": { "validationActions": ["Deny"], "authorities": [{ "name": "ours", "key": { "data": key.pem() } }] },
    })
}

fn enforce(tenant: &Tenant, policy: &Value) {
    tenant.kubectl().apply(policy).expect_success();
    let name = policy["metadata"]["name"].as_str().expect("a name");
    let wait = ["wait", "--for=condition=Programmed", "--timeout=60s", "modelpolicy", name];
    tenant.kubectl().run(&wait).expect_success();
}

/// Asks until the answer is as wanted: the index of a replica may be behind by a moment.
fn eventually_created(tenant: &Tenant, pod: &Value) {
    eventually("the Pod is let in", Deadline::seconds(60), || {
        let said = tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &pod.to_string());
        if said.success { Ok(()) } else { Err(said.to_string()) }
    });
}

#[test]
fn a_namespace_demands_more_and_never_less() {
    let tenant = Cluster::from_environment().tenant("demands", &[]);
    let (key, stranger) = (Key::generate(), Key::generate());
    let model = tenant.claim("model");
    model.sign(&key);
    tenant.enforce(&tenant.policy(&key));
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let pod = tenant.pod("server", "model");
    eventually_created(&tenant, &pod);

    enforce(&tenant, &model_policy("mine", &stranger));
    let refused = tenant.kubectl().create(&pod);
    let ours = format!("{}/mine: {POD_PATH}: ", tenant.namespace);
    refused.expect_refusal(&[&ours, "[UntrustedSigner]"]);
    tenant.kubectl().run(&["delete", "modelpolicy", "mine"]).expect_success();
    eventually_created(&tenant, &pod);

    // What the namespace trusts changes nothing about what the cluster refuses.
    model.sign(&stranger);
    let again = json!({ "metadata": { "annotations": { "weighbridge.dev/reverify": "signed by somebody else" } } });
    let name = weighbridge_e2e::record_name("model", "");
    tenant.kubectl().run(&["patch", "mv", &name, "--type=merge", "--patch", &again.to_string()]).expect_success();
    enforce(&tenant, &model_policy("mine", &stranger));
    eventually("the cluster's policy refuses", Deadline::seconds(60), || {
        let said = tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &pod.to_string());
        let by_cluster = said.stderr.contains(&format!("{}: {POD_PATH}: ", tenant.namespace));
        if !said.success && by_cluster && said.stderr.contains("[UntrustedSigner]") {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });
}

#[test]
fn a_namespace_without_any_other_policy_is_covered() {
    let tenant = Cluster::from_environment().tenant("alone", &[]);
    tenant.claim("bare");
    enforce(&tenant, &model_policy("mine", &Key::generate()));
    tenant.kubectl().create(&tenant.pod("server", "bare")).expect_refusal(&[&format!("{}/mine: ", tenant.namespace)]);
    eventually("a verdict", Deadline::seconds(60), || {
        let said = tenant.kubectl().create(&tenant.pod("server", "bare"));
        if said.stderr.contains("[Unsigned]") { Ok(()) } else { Err(said.to_string()) }
    });
}

#[test]
fn the_seventeenth_policy_of_a_namespace_is_not_in_force() {
    let tenant = Cluster::from_environment().tenant("many", &[]);
    let key = Key::generate();
    for number in 0..16 {
        tenant.kubectl().create(&model_policy(&format!("p{number:02}"), &key)).expect_success();
    }
    // Ages have seconds: the last one is not as old as the first.
    eventually("a later second", Deadline::seconds(10), || {
        let said = tenant.kubectl().create(&model_policy("a-late", &key));
        let made = |name: &str| tenant.kubectl().get("modelpolicy", name)["metadata"]["creationTimestamp"].to_string();
        if made("a-late") > made("p15") {
            return Ok(());
        }
        tenant.kubectl().run(&["delete", "modelpolicy", "a-late"]);
        Err(said.to_string())
    });
    eventually("its condition", Deadline::seconds(60), || {
        let found = tenant.condition("modelpolicy", "a-late", "Accepted");
        if found == ("False".into(), "NotInForce".into()) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(tenant.condition("modelpolicy", "p00", "Accepted").0, "True");
}

#[test]
fn a_policy_can_be_tried_on_what_runs() {
    let tenant = Cluster::from_environment().tenant("trial", &[]);
    let key = Key::generate();
    tenant.claim("good").sign(&key);
    tenant.claim("bare");
    for (name, claim) in [("fine", "good"), ("odd", "bare"), ("odder", "bare")] {
        tenant.kubectl().apply(&tenant.deployment(name, claim)).expect_success();
        let available = ["wait", "--for=condition=Available", "--timeout=90s", &format!("deployment/{name}")];
        tenant.kubectl().run(&available).expect_success();
    }
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!(["Audit"]);
    tenant.enforce(&policy);
    let status = || tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace)["status"].clone();
    let counts = json!({ "matched": 3, "compliant": 1, "refused": 2, "unknown": 0 });
    let found = eventually("what becomes of workloads", Deadline::seconds(90), || {
        let found = status();
        if found["workloads"] == counts { Ok(found) } else { Err(found.to_string()) }
    });
    let failing: Vec<&str> =
        found["failing"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(failing, ["odd", "odder"], "{found}");
    assert_eq!(found["failing"][0]["reason"], "Unsigned");
    let table = tenant.cluster().kubectl().run(&["get", "clustermodelpolicy", &tenant.namespace]);
    for column in ["MATCHED", "COMPLIANT", "REFUSED", "UNKNOWN"] {
        assert!(table.stdout.contains(column), "no {column} in {table}");
    }
    let effective = || tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace);
    assert!(effective().to_string().contains("\"type\":\"Effective\""), "{}", effective());

    // Under Audit everything passes, without a word; once it denies, what runs goes on.
    let made = tenant.kubectl().create(&tenant.pod("another", "bare"));
    made.expect_success();
    assert_eq!(made.stderr, "");
    let uids = || {
        tenant.kubectl().run(&["get", "pods", "--selector=app", "--output=jsonpath={.items[*].metadata.uid}"]).stdout
    };
    let before = uids();
    policy["spec"]["validationActions"] = json!(["Deny"]);
    tenant.enforce(&policy);
    eventually("the policy denies", Deadline::seconds(60), || {
        let said = tenant
            .kubectl()
            .feed(&["create", "--dry-run=server", "--filename", "-"], &tenant.pod("late", "bare").to_string());
        if said.success { Err(said.to_string()) } else { Ok(()) }
    });
    assert_eq!(uids(), before, "what ran goes on");
}

#[test]
fn a_policy_that_is_about_nothing_says_so() {
    let tenant = Cluster::from_environment().tenant("nothing", &[]);
    let mut policy = tenant.policy(&Key::generate());
    policy["spec"]["match"]["namespaceSelector"]["matchLabels"] =
        json!({ "e2e.weighbridge.dev/test": "no-such-tenant" });
    tenant.enforce(&policy);
    eventually("its condition", Deadline::seconds(60), || {
        let policy = tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace);
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let effective = conditions.iter().find(|it| it["type"] == "Effective").cloned().unwrap_or_default();
        if effective["reason"] == "NoNamespace" { Ok(()) } else { Err(effective.to_string()) }
    });
}
