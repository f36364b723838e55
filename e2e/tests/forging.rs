//! Nobody in a namespace, whatever its Roles give, can make weighbridge believe what it has not seen itself.
//!
//! Every attempt is made by an account that *has* the right by RBAC (`admin`, and a Role with `*` on everything), so that
//! it is one of our guards that answers.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Kubectl, Said, Tenant, eventually, record_name};

/// A tenant with a signed claim `model`, and an attacker with every right in its namespace.
struct Stage {
    tenant: Tenant,
    attacker: Kubectl,
    key: Key,
}

fn stage(purpose: &str) -> Stage {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("model").sign(&key);
    let attacker = tenant.attacker();
    Stage { tenant, attacker, key }
}

/// One of our guards said no.
#[track_caller]
fn guarded(said: &Said, guard: &str) {
    said.expect_refusal(&["ValidatingAdmissionPolicy", guard]);
}

impl Stage {
    /// A verifier Pod that stays: the workload that it follows asks for a node that does not exist.
    fn waiting_verifier(&self) -> String {
        let mut deployment = self.tenant.deployment("chat", "model");
        deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({ "no.such/node": "exists" });
        self.tenant.kubectl().apply(&deployment).expect_success();
        self.tenant.verifier()
    }

    fn patch(&self, pod: &str, patch: &Value) -> Said {
        self.attacker.run(&["patch", "pod", pod, "--type=strategic", "--patch", &patch.to_string()])
    }
}

#[test]
fn nobody_makes_a_pod_of_the_reserved_name() {
    let stage = stage("named");
    let mut pod = stage.tenant.pod("weighbridge-verifier-mine", "model");
    guarded(&stage.attacker.create(&pod), "guard-verifier");
    guarded(&stage.attacker.feed(&["apply", "--server-side", "--filename", "-"], &pod.to_string()), "guard-verifier");
    guarded(&stage.tenant.kubectl().create(&pod), "guard-verifier");
    pod["metadata"] = json!({ "generateName": "weighbridge-verifier-" });
    guarded(&stage.attacker.create(&pod), "guard-verifier");
}

#[test]
fn nobody_gets_into_a_verifier_pod() {
    let stage = stage("entered");
    let pod = stage.waiting_verifier();
    guarded(&stage.attacker.run(&["exec", &pod, "--", "true"]), "guard-verifier");
    guarded(&stage.attacker.run(&["attach", &pod]), "guard-verifier");
    // kubectl itself refuses to forward to a Pod that does not run yet; the API server is asked directly.
    let forward = format!("/api/v1/namespaces/{}/pods/{pod}/portforward?ports=80", stage.tenant.namespace);
    guarded(&stage.attacker.run(&["get", "--raw", &forward]), "guard-verifier");
    let image = format!("--image={}", stage.tenant.cluster().busybox());
    // The profile that Pod security lets through, so that it is the guard that answers.
    guarded(&stage.attacker.run(&["debug", &pod, &image, "--profile=restricted"]), "guard-verifier");
}

#[test]
fn nobody_changes_a_verifier_pod() {
    let stage = stage("changed");
    let pod = stage.waiting_verifier();
    let owner =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "00000000-0000-0000-0000-000000000000" });
    let toleration = json!({ "key": "x", "operator": "Exists", "effect": "NoExecute" });
    for patch in [
        json!({ "spec": { "containers": [{ "name": "verifier", "image": stage.tenant.cluster().busybox() }] } }),
        json!({ "spec": { "tolerations": [toleration] } }),
        json!({ "spec": { "activeDeadlineSeconds": 1 } }),
        json!({ "metadata": { "labels": { "app": "other" } } }),
        json!({ "metadata": { "annotations": { "weighbridge.dev/anything": "x" } } }),
        json!({ "metadata": { "ownerReferences": [owner] } }),
    ] {
        guarded(&stage.patch(&pod, &patch), "guard-verifier");
    }
    let resources =
        json!({ "spec": { "containers": [{ "name": "verifier", "resources": { "requests": { "cpu": "1m" } } }] } });
    let resize = ["patch", "pod", &pod, "--subresource=resize", "--patch", &resources.to_string()];
    guarded(&stage.attacker.run(&resize), "guard-verifier");
    let status = json!({ "status": { "phase": "Succeeded" } });
    let patch = ["patch", "pod", &pod, "--subresource=status", "--patch", &status.to_string()];
    guarded(&stage.attacker.run(&patch), "guard-verifier");
    // What others rightly do stays possible: a network plugin notes an address.
    stage.patch(&pod, &json!({ "metadata": { "annotations": { "cni.example.com/address": "x" } } })).expect_success();
}

#[test]
fn nobody_writes_what_was_found() {
    let stage = stage("written");
    assert_eq!(stage.tenant.record("model").0, "True");
    let name = record_name("model", "");
    let status = json!({ "status": { "models": [] } }).to_string();
    let patch = |kind: &str, name: &str| {
        stage.attacker.run(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &status])
    };
    guarded(&patch("modelverification", &name), "guard-record");
    let elsewhere = json!({ "spec": { "source": { "claim": { "name": "other", "path": "" } } } }).to_string();
    let repointed = stage.attacker.run(&["patch", "modelverification", &name, "--type=merge", "--patch", &elsewhere]);
    repointed.expect_refusal(&["spec is immutable"]);

    stage.tenant.kubectl().apply(&stage.tenant.deployment("chat", "model")).expect_success();
    eventually("the workload's status", Deadline::seconds(30), || {
        let status = stage.tenant.kubectl().get("workloadverification", "deployment-chat");
        if status.is_null() { Err("none".to_owned()) } else { Ok(()) }
    });
    guarded(&patch("workloadverification", "deployment-chat"), "guard-record");
    let label = ["label", "workloadverification", "deployment-chat", "a=b"];
    guarded(&stage.attacker.run(&label), "guard-record");
    let made = json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "WorkloadVerification", "metadata": { "name": "mine" },
        "spec": { "workload": { "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x" } },
    });
    guarded(&stage.attacker.create(&made), "guard-record");
}

#[test]
fn a_claim_made_anew_under_the_same_name_is_another_claim() {
    let stage = stage("swapped");
    assert_eq!(stage.tenant.record("model").0, "True");
    stage.tenant.kubectl().run(&["delete", "persistentvolumeclaim", "model", "--timeout=60s"]).expect_success();
    // A volume of the attacker's, prepared elsewhere, comes in under the trusted name.
    stage.tenant.claim("prepared").write("evil.py", b"import os");
    stage.tenant.swap_in("prepared", "model");
    // Whatever has been seen of the new claim by now, it is not what was verified.
    let said = stage.tenant.kubectl().apply(&stage.tenant.pod("chat", "model"));
    said.expect_refusal(&[&stage.tenant.namespace, "["]);
    assert_eq!(stage.tenant.record("model").0, "False");
    stage.tenant.kubectl().apply(&stage.tenant.pod("chat", "model")).expect_refusal(&["[Unsigned]"]);
}

/// A mutating admission policy, as tenants of some policy engines can make one, that changes verifier Pods.
fn mutator(tenant: &Tenant, expression: &str) -> [Value; 2] {
    let name = &tenant.namespace;
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] });
    let chosen = "object.metadata.name == 'canary' || object.metadata.name.startsWith('weighbridge-verifier-')";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } }, "resourceRules": [rule],
            },
            "matchConditions": [{ "name": "chosen", "expression": chosen }],
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": name }, "spec": { "policyName": name },
    });
    [policy, binding]
}

/// Whatever the mutator does to verifier Pods, a bad model never becomes Verified, and the record says what is wrong.
/// `effect` is found in any Pod that it has changed.
fn mutated(purpose: &str, expression: &str, effect: &str) {
    let stage = stage(purpose);
    stage.tenant.claim("bad").write("evil.py", b"import os");
    let objects = mutator(&stage.tenant, expression);
    for object in &objects {
        stage.tenant.cluster().kubectl().apply(object).expect_success();
    }
    // The API server takes a while to heed a new policy; a Pod that mounts nothing shows when it does.
    let mut canary = stage.tenant.pod("canary", "bad");
    canary["spec"]["containers"][0]["volumeMounts"] = json!([]);
    eventually("the mutator works", Deadline::seconds(60), || {
        let create = ["create", "--dry-run=server", "--output=jsonpath={.spec}", "--filename", "-"];
        let said = stage.tenant.kubectl().feed(&create, &canary.to_string());
        if said.stdout.contains(effect) { Ok(()) } else { Err(said.to_string()) }
    });
    stage.tenant.kubectl().apply(&weighbridge_e2e::record("bad", "")).expect_success();
    let name = record_name("bad", "");
    let record = eventually("VerifierBlocked", Deadline::seconds(60), || {
        let record = stage.tenant.kubectl().get("modelverification", &name);
        assert_ne!(stage.tenant.condition("modelverification", &name, "Verified").0, "True", "{record}");
        if record.to_string().contains("VerifierBlocked") { Ok(record) } else { Err(record["status"].to_string()) }
    });
    for object in &objects {
        let kind = object["kind"].as_str().expect("a kind");
        stage
            .tenant
            .cluster()
            .kubectl()
            .run(&["delete", kind, &stage.tenant.namespace, "--wait=false"])
            .expect_success();
    }
    let said = stage.tenant.kubectl().apply(&stage.tenant.pod("chat", "bad"));
    assert!(!said.success, "{said} with {record}");
    drop(stage.key);
}

#[test]
fn a_verifier_with_another_image_is_not_believed() {
    let image = Cluster::from_environment().busybox();
    let other = format!("{image}-other");
    mutated(
        "image",
        &format!("[JSONPatch{{op: 'replace', path: '/spec/containers/0/image', value: '{other}'}}]"),
        &other,
    );
}

#[test]
fn a_verifier_with_other_arguments_is_not_believed() {
    mutated("arguments", "[JSONPatch{op: 'add', path: '/spec/containers/0/args', value: ['--version']}]", "--version");
}

#[test]
fn a_verifier_with_another_claim_is_not_believed() {
    let path = "/spec/volumes/0/persistentVolumeClaim/claimName";
    mutated(
        "claims",
        &format!("[JSONPatch{{op: 'replace', path: '{path}', value: 'model'}}]"),
        "\"claimName\":\"model\"",
    );
}
