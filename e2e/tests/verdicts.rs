//! What users see of the verdict on a model: the text of a refusal, the status of record and workload, Events, metrics.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Said, Tenant, eventually, record_name};

/// A tenant whose policy trusts the key.
fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// The one sentence of ours in what kubectl printed, and that it is one: policy, path, code, at most 200 characters.
#[track_caller]
fn sentence(said: &Said, tenant: &Tenant, path: &str, code: &str) -> String {
    assert!(!said.success, "not refused: {said}");
    let start = format!("{}: {path}: ", tenant.namespace);
    let from = said.stderr.find(&start).unwrap_or_else(|| panic!("no «{start}» in: {said}"));
    let line = said.stderr[from..].lines().next().unwrap_or_default().to_owned();
    assert!(line.ends_with(&format!("[{code}]")), "{line}");
    assert!(line.contains(" — "), "no remedy in: {line}");
    assert!(line.chars().count() <= 200, "{} characters: {line}", line.chars().count());
    line
}

const POD_PATH: &str = "spec.containers[0].volumeMounts[0]";
const TEMPLATE_PATH: &str = "spec.template.spec.containers[0].volumeMounts[0]";

fn events_on(tenant: &Tenant, deployment: &str) -> Vec<Value> {
    let ours = |event: &Value| {
        event["regarding"]["name"] == deployment
            && event["regarding"]["kind"] == "Deployment"
            && event["reportingController"].as_str().is_some_and(|name| name.starts_with("weighbridge"))
    };
    tenant.kubectl().list("events.events.k8s.io").into_iter().filter(ours).collect()
}

/// Waits until an Event of ours with this reason stands on the Deployment.
fn event_on(tenant: &Tenant, deployment: &str, reason: &str, deadline: Deadline) -> Value {
    eventually("an Event on the Deployment", deadline, || {
        let events = events_on(tenant, deployment);
        let found = events.iter().find(|event| event["reason"] == reason).cloned();
        found.ok_or_else(|| format!("{reason} not in {events:?}"))
    })
}

fn workload_status(tenant: &Tenant, name: &str, verdict: &str, deadline: Deadline) -> Value {
    eventually("the status of the workload", deadline, || {
        let status = tenant.kubectl().get("workloadverification", name)["status"].clone();
        if status["verdict"] == verdict { Ok(status) } else { Err(status.to_string()) }
    })
}

#[test]
fn a_model_that_the_policy_trusts_serves() {
    let (tenant, key) = tenant("signed");
    tenant.claim("good").sign(&key);
    assert_eq!(tenant.record("good"), ("True".into(), "Verified".into()));

    tenant.kubectl().apply(&tenant.deployment("chat", "good")).expect_success();
    tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"]).expect_success();

    let status = workload_status(&tenant, "deployment-chat", "Verified", Deadline::seconds(30));
    let model = &status["models"][0];
    let record = tenant.kubectl().get("modelverification", &record_name("good", ""));
    assert_eq!(model["modelDigest"], record["status"]["models"][0]["modelDigest"]);
    assert!(model["modelDigest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{model}");
    assert_eq!(model["signer"], format!("{}/release", tenant.namespace));
    assert_eq!(tenant.condition("workloadverification", "deployment-chat", "Compliant").0, "True");

    let table = tenant.kubectl().run(&["get", "wv"]);
    for word in ["chat", "Verified", "sha256:", "release"] {
        assert!(table.stdout.contains(word), "no {word} in: {table}");
    }
}

#[test]
fn an_unsigned_model_is_refused_where_its_user_looks() {
    let (tenant, _) = tenant("unsigned");
    tenant.claim("bare");
    assert_eq!(tenant.record("bare"), ("False".into(), "Unsigned".into()));
    let deployment = tenant.kubectl().apply(&tenant.deployment("chat", "bare"));
    sentence(&deployment, &tenant, TEMPLATE_PATH, "Unsigned");
    let pod = tenant.kubectl().apply(&tenant.pod("chat", "bare"));
    sentence(&pod, &tenant, POD_PATH, "Unsigned");
}

#[test]
fn a_deployment_made_too_early_says_why_its_pods_do_not_come() {
    let (tenant, _) = tenant("early");
    tenant.claim("bare");
    let applied = tenant.kubectl().apply(&tenant.deployment("chat", "bare"));
    applied.expect_success();
    assert!(applied.stderr.contains("Warning: ") && applied.stderr.contains("[NotVerifiedYet]"), "{applied}");
    eventually("ReplicaFailure", Deadline::seconds(30), || {
        let sets = tenant.kubectl().list("replicasets");
        let conditions = sets.first().map(|set| set["status"]["conditions"].to_string()).unwrap_or_default();
        let ours = conditions.contains("ReplicaFailure")
            && conditions.contains(&format!("{}: {POD_PATH}: ", tenant.namespace));
        if ours { Ok(()) } else { Err(conditions) }
    });
    // Nobody made a record: the webhook asked for one, so that somebody looks at the model.
    event_on(&tenant, "chat", "Unsigned", Deadline::seconds(60));
}

#[test]
fn a_deployment_made_too_early_comes_up_once_its_model_is_verified() {
    let (tenant, key) = tenant("late");
    tenant.claim("good").sign(&key);
    tenant.kubectl().apply(&tenant.deployment("chat", "good")).expect_success();
    workload_status(&tenant, "deployment-chat", "Verified", Deadline::seconds(60));
    // Its controller tries again by itself, at growing intervals; a restart is immediate.
    tenant.kubectl().run(&["rollout", "restart", "deployment/chat"]).expect_success();
    tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"]).expect_success();
}

#[test]
fn one_altered_byte_is_found_and_its_file_named() {
    let (tenant, key) = tenant("altered");
    let model = tenant.claim("model");
    model.sign(&key);
    let mut weights = vec![7; 70_000];
    weights[41_000] = 8;
    model.write("weights/model-00001.safetensors", &weights);
    assert_eq!(tenant.record("model"), ("False".into(), "ContentMismatch".into()));
    let said = tenant.kubectl().apply(&tenant.pod("chat", "model"));
    sentence(&said, &tenant, POD_PATH, "ContentMismatch");
    assert!(said.stderr.contains("weights/model-00001.safetensors"), "{said}");
}

#[test]
fn a_file_that_nobody_signed_is_found_and_named() {
    let (tenant, key) = tenant("added");
    let model = tenant.claim("model");
    model.sign(&key).write("evil.py", b"import os");
    assert_eq!(tenant.record("model"), ("False".into(), "UnsignedFiles".into()));
    let said = tenant.kubectl().apply(&tenant.pod("chat", "model"));
    assert!(sentence(&said, &tenant, POD_PATH, "UnsignedFiles").contains("evil.py"), "{said}");
}

#[test]
fn a_signer_whom_the_policy_does_not_list_is_named_with_those_that_it_lists() {
    let (tenant, _) = tenant("stranger");
    tenant.claim("model").sign(&Key::generate());
    assert_eq!(tenant.record("model"), ("False".into(), "UntrustedSigner".into()));
    let said = tenant.kubectl().apply(&tenant.pod("chat", "model"));
    let sentence = sentence(&said, &tenant, POD_PATH, "UntrustedSigner");
    assert!(sentence.contains("release"), "the listed authority is not named in: {sentence}");
}

#[test]
fn a_key_that_is_added_later_counts_from_then_on() {
    let (tenant, _) = tenant("rotated");
    let newcomer = Key::generate();
    tenant.claim("model").sign(&newcomer);
    assert_eq!(tenant.record("model"), ("False".into(), "UntrustedSigner".into()));
    let mut policy = tenant.policy(&newcomer);
    policy["spec"]["authorities"][0]["name"] = json!("newcomer");
    tenant.enforce(&policy);
    eventually("the new key counts", Deadline::seconds(60), || {
        tenant.kubectl().apply(&tenant.pod("chat", "model")).succeeded()
    });
}

#[test]
fn a_model_altered_while_it_serves_shows_within_ten_seconds_where_that_is_let_happen() {
    let (tenant, key) = (Cluster::from_environment().tenant("served", &[]), Key::generate());
    let mut policy = tenant.policy(&key);
    policy["spec"]["content"]["whileServing"] = json!("Report");
    tenant.enforce(&policy);
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    tenant.kubectl().apply(&tenant.deployment("chat", "model")).expect_success();
    tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"]).expect_success();
    workload_status(&tenant, "deployment-chat", "Verified", Deadline::seconds(30));

    let script = "printf X | dd of=/models/weights/model-00001.safetensors bs=1 seek=7 conv=notrunc";
    tenant.kubectl().apply(&tenant.writer("alter", "model", script)).expect_success();
    let phase = "--for=jsonpath={.status.phase}=Succeeded";
    tenant.kubectl().run(&["wait", phase, "--timeout=60s", "pod/alter"]).expect_success();

    let soon = Deadline::seconds(10);
    workload_status(&tenant, "deployment-chat", "Refused", soon);
    event_on(&tenant, "chat", "ContentMismatch", soon);
    assert_eq!(tenant.settled("model"), ("False".into(), "ContentMismatch".into()));
    let said = tenant.kubectl().apply(&tenant.pod("another", "model"));
    sentence(&said, &tenant, POD_PATH, "ContentMismatch");
    // What runs is reported and goes on.
    let available = tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=1s", "deployment/chat"]);
    available.expect_success();
}

#[test]
fn a_model_mounted_writable_is_refused_to_all_but_the_writers() {
    let (tenant, key) = tenant("writable");
    tenant.claim("model").sign(&key);
    tenant.record("model");
    let mut pod = tenant.pod("chat", "model");
    pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    sentence(&tenant.kubectl().apply(&pod), &tenant, POD_PATH, "WriterNotAllowed");

    let mut policy = tenant.policy(&key);
    policy["spec"]["content"] = json!({});
    tenant.enforce(&policy);
    sentence(&tenant.kubectl().apply(&pod), &tenant, POD_PATH, "Writable");
}

#[test]
fn a_volume_that_nobody_can_vouch_for_is_refused() {
    let (tenant, key) = tenant("opaque");
    let mut pod = tenant.pod("chat", "model");
    pod["spec"]["volumes"][0] = json!({ "name": "model", "image": { "reference": tenant.cluster().busybox() } });
    sentence(&tenant.kubectl().apply(&pod), &tenant, POD_PATH, "NotVerifiable");
    pod["spec"]["volumes"][0] = json!({ "name": "model", "emptyDir": {} });
    tenant.kubectl().apply(&pod).expect_success();
    drop(key);
}

#[test]
fn an_ephemeral_container_cannot_bring_in_what_admission_refused() {
    let (tenant, _) = tenant("debugged");
    tenant.claim("bare");
    assert_eq!(tenant.record("bare").1, "Unsigned");
    let mut pod = tenant.pod("host", "bare");
    pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
    tenant.kubectl().apply(&pod).expect_success();
    let ephemeral = json!({ "spec": { "ephemeralContainers": [{
        "name": "late", "image": tenant.cluster().busybox(), "command": ["sleep", "1000"],
        "volumeMounts": [{ "name": "model", "mountPath": "/models", "readOnly": true }],
    }] } });
    let patch = ["patch", "pod", "host", "--subresource=ephemeralcontainers", "--type=strategic", "--patch"];
    let said = tenant.kubectl().run(&[&patch[..], &[&ephemeral.to_string()]].concat());
    sentence(&said, &tenant, "spec.ephemeralContainers[0].volumeMounts[0]", "Unsigned");
}
