//! Bad input of every kind ends in a clear answer with a code, and in a condition on the object at fault.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Tenant, eventually, https_post, record, record_name};

fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// Posts a body straight to a replica of the webhook.
fn post(body: &str) -> (u16, String) {
    let pods = Cluster::from_environment().pods_of("webhook");
    let address = pods[0]["status"]["podIP"].as_str().expect("an address");
    https_post(&format!("https://{address}:8443/validate?timeout=10s"), body)
}

/// A body that is no review that can be answered with «allowed» gets a code, by status or in the answer.
#[track_caller]
fn rejected(body: &str, code: &str) {
    let (status, said) = post(body);
    let allowed = serde_json::from_str::<Value>(&said).map(|review| review["response"]["allowed"].clone());
    assert_ne!(allowed.unwrap_or_default(), json!(true), "{said}");
    assert!(status >= 400 || status == 200, "{status} {said}");
    assert!(said.contains(code), "no {code} in: {status} {said}");
}

fn review(kind: &str, version: &str, object: Value) -> String {
    let kind = json!({ "group": "", "version": "v1", "kind": kind });
    json!({
        "apiVersion": version, "kind": "AdmissionReview",
        "request": {
            "uid": "e2b1a9f2-0000-4000-8000-000000000000", "operation": "CREATE", "kind": kind, "requestKind": kind,
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "default", "userInfo": {}, "object": object,
        },
    })
    .to_string()
}

#[test]
fn reviews_that_cannot_be_understood() {
    rejected(r#"{"apiVersion":"admission.k8s.io/v1","kind":"Admis"#, "MalformedRequest");
    rejected("", "MalformedRequest");
    rejected(&review("Pod", "admission.k8s.io/v9", json!({})), "MalformedRequest");
    rejected(&review("Pod", "admission.k8s.io/v1", json!({ "spec": { "containers": 3 } })), "MalformedRequest");
    rejected(&review("Rabbit", "admission.k8s.io/v1", json!({})), "UnsupportedKind");
    // The webhook does not read on, and closes: whether its answer arrives before the reset is up to TCP.
    let large = "[".repeat(8 << 20);
    eventually("RequestTooLarge", Deadline::seconds(30), || {
        let (status, said) = post(&large);
        assert!(status != 200 || said.contains("RequestTooLarge"), "{status} {said}");
        if said.contains("RequestTooLarge") { Ok(()) } else { Err(format!("{status} {said}")) }
    });
}

#[test]
fn a_policy_with_a_broken_key_says_so_and_lets_nothing_in() {
    let (tenant, key) = tenant("broken");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    let mut policy = tenant.policy(&key);
    policy["spec"]["authorities"][0]["key"]["data"] =
        json!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    tenant.cluster().kubectl().apply(&policy).expect_success();
    let name = tenant.namespace.clone();
    eventually("Accepted=False", Deadline::seconds(30), || {
        let accepted = tenant.condition("clustermodelpolicy", &name, "Accepted");
        if accepted.0 == "False" { Ok(()) } else { Err(format!("{accepted:?}")) }
    });
    eventually("nothing gets in", Deadline::seconds(30), || {
        let said =
            tenant.kubectl().run(&["run", "free", "--image=x", "--dry-run=server", "--overrides", &overrides(&tenant)]);
        if said.stderr.contains("[PolicyInvalid]") { Ok(()) } else { Err(said.to_string()) }
    });
    // Put right, it works again.
    tenant.enforce(&tenant.policy(&key));
    tenant.kubectl().apply(&tenant.pod("chat", "model")).expect_success();
}

fn overrides(tenant: &Tenant) -> String {
    json!({ "apiVersion": "v1", "spec": tenant.pod("x", "model")["spec"] }).to_string()
}

#[test]
fn a_key_in_a_config_map_counts_while_it_is_there() {
    let (tenant, key) = tenant("referred");
    tenant.claim("model").sign(&key);
    let mut map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": tenant.namespace, "labels": { "weighbridge.dev/trust": "true" } },
        "data": { "key.pem": key.pem() },
    });
    tenant.cluster().own().apply(&map).expect_success();
    let mut policy = tenant.policy(&key);
    policy["spec"]["authorities"][0]["key"] = json!({ "configMapRef": { "name": tenant.namespace } });
    tenant.enforce(&policy);
    assert_eq!(tenant.record("model").0, "True");
    tenant.kubectl().apply(&tenant.pod("chat", "model")).expect_success();

    map["data"] = json!({ "key.pem": "no longer a key" });
    tenant.cluster().own().apply(&map).expect_success();
    eventually("the key is gone", Deadline::seconds(30), || {
        let said = tenant.kubectl().create(&tenant.pod("second", "model"));
        if said.stderr.contains("[PolicyInvalid]") { Ok(()) } else { Err(said.to_string()) }
    });
    tenant.cluster().own().run(&["delete", "configmap", &tenant.namespace]).expect_success();
}

#[test]
fn a_claim_that_does_not_exist() {
    let (tenant, _) = tenant("missing");
    tenant.kubectl().apply(&tenant.pod("chat", "nowhere")).expect_refusal(&["nowhere", "[SourceMissing]"]);
    let template = tenant.kubectl().apply(&tenant.deployment("chat", "nowhere"));
    template.expect_success();
    assert!(template.stderr.contains("Warning: ") && template.stderr.contains("[SourceMissing]"), "{template}");
}

#[test]
fn bundles_that_are_not_what_they_should_be() {
    let (tenant, key) = tenant("bundles");
    let text = tenant.claim("text");
    text.write("model.sig", b"not a bundle");
    assert_eq!(tenant.record("text").1, "MalformedBundle");

    let other = tenant.claim("other");
    other.sign(&key);
    let bundle = std::fs::read_to_string(other.root().join("model.sig")).expect("a bundle");
    let changed = bundle.replace("application/vnd.in-toto+json", "text/plain");
    assert_ne!(bundle, changed);
    other.write("model.sig", changed.as_bytes());
    let reason = tenant.record("other").1;
    assert!(["UnsupportedBundle", "MalformedBundle"].contains(&reason.as_str()), "{reason}");
}

#[test]
fn an_empty_claim_is_not_an_unsigned_model() {
    let (tenant, _) = tenant("empty");
    let model = tenant.claim("nothing");
    std::fs::remove_dir_all(model.root()).expect("the folder");
    std::fs::create_dir(model.root()).expect("the folder");
    unknown(&tenant, "nothing", "SourceMissing");
}

#[test]
fn a_device_in_the_tree_hangs_nobody() {
    let (tenant, key) = tenant("fifo");
    let model = tenant.claim("model");
    model.sign(&key);
    let status = std::process::Command::new("mkfifo").arg(model.root().join("pipe")).status().expect("mkfifo");
    assert!(status.success());
    assert_eq!(tenant.record("model"), ("False".into(), "MalformedContent".into()));
}

#[test]
fn a_file_that_the_verifier_may_not_read_is_not_a_bad_model() {
    let (tenant, key) = tenant("unreadable");
    let model = tenant.claim("model");
    model.sign(&key);
    let secret = model.root().join("config.json");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, permissions).expect("a file that only root may read");
    unknown(&tenant, "model", "Unreadable");
}

#[test]
fn a_verifier_that_the_cluster_does_not_admit_is_blocked_in_the_cluster_s_own_words() {
    let (tenant, key) = tenant("quota");
    tenant.claim("model").sign(&key);
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" }, "spec": { "hard": { "pods": "0" } },
    });
    tenant.kubectl().apply(&quota).expect_success();
    eventually("the quota is counted", Deadline::seconds(30), || {
        let status = tenant.kubectl().get("resourcequota", "full")["status"]["used"].clone();
        if status.is_null() { Err("not yet".to_owned()) } else { Ok(()) }
    });
    tenant.kubectl().apply(&record("model", "")).expect_success();
    let object = unknown(&tenant, "model", "VerifierBlocked");
    assert!(object.to_string().contains("exceeded quota"), "{object}");
    // Room again: it is tried again by itself.
    tenant.kubectl().run(&["delete", "resourcequota", "full"]).expect_success();
    assert_eq!(tenant.settled("model").0, "True");
}

#[test]
fn a_verifier_that_is_deleted_in_mid_run_is_made_again() {
    let (tenant, key) = tenant("evicted");
    tenant.claim("model").sign(&key);
    let mut deployment = tenant.deployment("chat", "model");
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({ "e2e.weighbridge.dev/evicted": "yes" });
    tenant.kubectl().apply(&deployment).expect_success();
    let verifier = eventually("a verifier Pod that waits", Deadline::seconds(60), || {
        let names = tenant.kubectl().run(&["get", "pods", "--output=name"]).stdout;
        let found = names.lines().find(|line| line.contains("weighbridge-verifier-")).map(str::to_owned);
        found.ok_or(names)
    });
    tenant.kubectl().run(&["delete", &verifier]).expect_success();
    tenant
        .cluster()
        .kubectl()
        .run(&["label", "node", "node-1", "e2e.weighbridge.dev/evicted=yes", "--overwrite"])
        .expect_success();
    assert_eq!(tenant.settled("model").0, "True");
}

/// Asks for a record and waits until it says Unknown with this reason; gives the record.
fn unknown(tenant: &Tenant, claim: &str, reason: &str) -> Value {
    tenant.kubectl().apply(&record(claim, "")).expect_success();
    let name = record_name(claim, "");
    eventually(reason, Deadline::seconds(60), || {
        let verified = tenant.condition("modelverification", &name, "Verified");
        let object = tenant.kubectl().get("modelverification", &name);
        if verified == ("Unknown".into(), reason.into()) { Ok(object) } else { Err(object["status"].to_string()) }
    })
}
