//! What people see of policies: policies of namespaces, what becomes of workloads under each, trying one out.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Pki, Tenant, eventually};

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
        tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &pod.to_string()).succeeded()
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

/// Status, reason and message of a condition of the tenant's policy.
fn condition(tenant: &Tenant, kind: &str) -> (String, String, String) {
    let policy = tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace);
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let current = |it: &Value| it["observedGeneration"] == policy["metadata"]["generation"];
    let found = conditions.into_iter().find(|it| it["type"] == kind && current(it)).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or("absent").to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Puts the fields of a patch into an object, and leaves what it does not name.
fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(fields), Value::Object(patches)) => {
            for (name, patch) in patches {
                merge(fields.entry(name.as_str()).or_insert(Value::Null), patch);
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}

#[test]
fn conditions_say_what_a_policy_is_worth() {
    let tenant = Cluster::from_environment().tenant("conditions", &[]);
    let key = Key::generate();
    let labels = json!({ "claims": { "selector": { "matchLabels": { "a": "b" } } } });
    let chosen = "claim labels or mount paths";
    let of_config_map = json!({ "name": "release", "key": { "configMapRef": { "name": tenant.namespace } } });
    let ended = json!({ "roots": { "data": Pki::ended().root() }, "subjects": [{ "uri": "spiffe://acme/release" }] });
    let ended =
        json!([{ "name": "release", "key": { "data": key.pem() } }, { "name": "old-pki", "certificate": ended }]);
    for (patch, kind, status, reason, words) in [
        (json!({}), "Accepted", "True", "Accepted", "understood"),
        (json!({}), "Programmed", "True", "Programmed", "all 2 ready replicas serve it"),
        (json!({}), "Enforcing", "True", "Enforcing", "nothing that violates it"),
        (json!({}), "Hardened", "True", "PodSecurityEnforced", "baseline or restricted"),
        (json!({}), "SelectionByTenant", "False", "ClusterChooses", "tenants cannot change"),
        (json!({}), "Effective", "False", "NoModel", "no workload in the 1 namespaces"),
        (json!({ "validationActions": ["Audit"] }), "Enforcing", "False", "NothingDenied", "violations get in"),
        (json!({ "validationActions": ["Audit"] }), "Hardened", "True", "NothingDenied", "refuses nothing"),
        (json!({ "validationActions": ["Warn"] }), "Enforcing", "False", "NothingDenied", "violations get in"),
        (json!({ "unknown": "Warn" }), "Enforcing", "False", "UnknownAdmits", "remove it"),
        (json!({ "match": { "models": [labels] } }), "SelectionByTenant", "True", "TenantChooses", chosen),
        (
            json!({ "match": { "models": [{ "mountPaths": ["/models/**"] }] } }),
            "SelectionByTenant",
            "True",
            "TenantChooses",
            chosen,
        ),
        (json!({ "match": { "exclude": [labels] } }), "SelectionByTenant", "True", "TenantChooses", chosen),
        (
            json!({ "match": { "exclude": [{ "storageClasses": ["scratch"] }] } }),
            "SelectionByTenant",
            "False",
            "ClusterChooses",
            "tenants cannot change",
        ),
        (json!({ "authorities": [of_config_map] }), "Accepted", "False", "PolicyInvalid", "release"),
        (json!({ "authorities": ended }), "Effective", "False", "AuthorityEnded", "old-pki"),
    ] {
        let mut policy = tenant.policy(&key);
        merge(&mut policy["spec"], &patch);
        tenant.enforce(&policy);
        eventually("a condition", Deadline::seconds(60), || {
            let found = condition(&tenant, kind);
            let as_wanted = (found.0.as_str(), found.1.as_str()) == (status, reason) && found.2.contains(words);
            if as_wanted { Ok(()) } else { Err(format!("{patch} {kind}: {found:?}")) }
        });
    }
    // Who may run privileged Pods gets around whatever is refused.
    let label = "pod-security.kubernetes.io/enforce=privileged";
    tenant.cluster().kubectl().run(&["label", "--overwrite", "namespace", &tenant.namespace, label]).expect_success();
    eventually("PodSecurityWeak", Deadline::seconds(60), || {
        let found = condition(&tenant, "Hardened");
        let named = found.2.contains(&tenant.namespace);
        if found.0 == "False" && found.1 == "PodSecurityWeak" && named { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn a_status_names_the_worst_few_and_counts_all() {
    let tenant = Cluster::from_environment().tenant("crowd", &[]);
    let key = Key::generate();
    tenant.claim("good").sign(&key);
    tenant.claim("bare");
    let of = |name: String, claim: &str| {
        let mut deployment = tenant.deployment(&name, claim);
        deployment["spec"]["replicas"] = json!(0);
        deployment
    };
    let mut items: Vec<Value> = (0..22).map(|number| of(format!("m-{number:02}"), "missing")).collect();
    items.extend((0..3).map(|number| of(format!("z-{number}"), "bare")));
    items.push(of("fine".to_owned(), "good"));
    tenant.kubectl().apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items })).expect_success();
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!(["Audit"]);
    tenant.enforce(&policy);
    let counts = json!({ "matched": 26, "compliant": 1, "refused": 3, "unknown": 22 });
    let status = eventually("what becomes of workloads", Deadline::seconds(90), || {
        let status = tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace)["status"].clone();
        if status["workloads"] == counts { Ok(status) } else { Err(status.to_string()) }
    });
    let failing = status["failing"].as_array().cloned().unwrap_or_default();
    let named: Vec<(&str, &str)> = (failing.iter())
        .map(|it| (it["name"].as_str().unwrap_or_default(), it["reason"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(named.len(), 20, "{named:?}");
    assert_eq!(named[..4], [("z-0", "Unsigned"), ("z-1", "Unsigned"), ("z-2", "Unsigned"), ("m-00", "SourceMissing")]);
    let table = tenant.cluster().kubectl().run(&["get", "clustermodelpolicy", &tenant.namespace]).stdout;
    let row = table.lines().nth(1).unwrap_or_default();
    let numbers: Vec<&str> = row.split_whitespace().filter(|it| it.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["26", "1", "3", "22"], "{table}");
}

/// Pods that a policy would refuse, or hold, or gate.
fn troublesome(tenant: &Tenant) -> Vec<Value> {
    let changed = |name: &str, claim: &str, change: &dyn Fn(&mut Value)| {
        let mut pod = tenant.pod(name, claim);
        change(&mut pod);
        pod
    };
    let annotated = |key: &'static str, value: &'static str| {
        move |pod: &mut Value| pod["metadata"]["annotations"] = json!({ key: value })
    };
    vec![
        changed("refused", "bare", &|_| {}),
        changed("missing", "missing", &|_| {}),
        changed("unread", "unread", &|_| {}),
        changed("picture", "bare", &|pod| {
            pod["spec"]["volumes"][0] =
                json!({ "name": "model", "image": { "reference": tenant.cluster().busybox() } });
        }),
        changed("intruder", "bare", &|pod| {
            pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
        }),
        changed("fetches", "bare", &|pod| {
            pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 1000000; vllm serve acme/llama"]);
        }),
        changed("elsewhere", "bare", &annotated("signature.weighbridge.dev/model", "oci://example.com/x@sha256:00")),
        changed("other", "bare", &annotated("digest.weighbridge.dev/model", "sha256:00")),
        changed("behind-others", "bare", &|pod| {
            pod["spec"]["schedulingGates"] = json!([{ "name": "example.com/quota" }]);
        }),
        changed("on-its-node", "bare", &|pod| pod["spec"]["nodeName"] = json!("node-1")),
        tenant.writer("writer", "written", "sleep 1000000"),
    ]
}

#[test]
fn under_audit_nothing_is_gated_changed_or_refused_whatever_fails() {
    let tenant = Cluster::from_environment().tenant("harmless", &[]);
    let key = Key::generate();
    for claim in ["bare", "unread", "written"] {
        tenant.claim(claim);
    }
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!(["Audit"]);
    let mut broken = policy.clone();
    broken["spec"]["authorities"][0]["key"] = json!({ "configMapRef": { "name": tenant.namespace } });
    for (round, policy) in [("fine", &policy), ("broken", &broken)] {
        tenant.enforce(policy);
        for pod in troublesome(&tenant) {
            let said = tenant.kubectl().create(&pod);
            assert!(said.success && said.stderr.is_empty(), "{round} {pod}: {said}");
            let name = pod["metadata"]["name"].as_str().expect("a name");
            let made = tenant.kubectl().get("pod", name);
            assert_eq!(made["spec"]["schedulingGates"], pod["spec"]["schedulingGates"], "{made}");
            assert!(made["metadata"]["finalizers"].is_null(), "{made}");
            assert_eq!(made["metadata"]["annotations"], pod["metadata"]["annotations"], "{made}");
        }
        let deployment = tenant.kubectl().create(&tenant.deployment(&format!("deployment-{round}"), "bare"));
        assert!(deployment.success && deployment.stderr.is_empty(), "{deployment}");
        // They are counted, so the operator has looked at them; and it has let them be.
        eventually("what becomes of workloads", Deadline::seconds(60), || {
            let status = tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace)["status"].clone();
            let noted = status["failing"].to_string().contains(&format!("deployment-{round}"));
            if noted { Ok(()) } else { Err(status.to_string()) }
        });
        let kept = tenant.kubectl().list("pods");
        for pod in troublesome(&tenant) {
            let found = kept.iter().find(|it| it["metadata"]["name"] == pod["metadata"]["name"]);
            assert!(found.is_some_and(|it| it["metadata"]["deletionTimestamp"].is_null()), "{pod}: {found:?}");
        }
        let all = ["delete", "pods", "--all", "--grace-period=0", "--force", "--wait=true", "--timeout=60s"];
        tenant.kubectl().run(&all);
    }
}
