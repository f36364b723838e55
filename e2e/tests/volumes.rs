//! Volumes that hold several models: each with a bundle of its own, and nothing beside them.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Model, Tenant, eventually, record_name};

fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// A claim with a signed model in each of these folders.
fn models(tenant: &Tenant, claim: &str, key: &Key, folders: &[&str]) -> Model {
    let volume = tenant.empty_claim(claim);
    for folder in folders {
        Model::small(volume.root().join(folder)).sign(key);
    }
    volume
}

/// A Pod that mounts a folder of a claim at `/models`.
fn pod_at(tenant: &Tenant, name: &str, claim: &str, path: &str) -> Value {
    let mut pod = tenant.pod(name, claim);
    pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!(path);
    pod
}

#[test]
fn each_model_has_its_own_bundle_and_record() {
    let (tenant, key) = tenant("several");
    models(&tenant, "shelf", &key, &["llama", "team/phi"]);
    assert_eq!(tenant.record("shelf"), ("True".into(), "Verified".into()));
    let status = tenant.kubectl().get("modelverification", &record_name("shelf", ""))["status"].clone();
    assert_eq!(status["parts"], json!(["llama", "team/phi"]));
    for path in ["llama", "team/phi"] {
        let record = tenant.kubectl().get("modelverification", &record_name("shelf", path));
        assert_eq!(record["status"]["models"][0]["path"], path, "{record}");
        assert_eq!(record["status"]["models"][0]["verdict"], "Verified");
    }
    tenant.kubectl().apply(&tenant.pod("above", "shelf")).expect_success();
    tenant.kubectl().apply(&pod_at(&tenant, "at", "shelf", "llama")).expect_success();
    tenant.kubectl().apply(&pod_at(&tenant, "below", "shelf", "llama/weights")).expect_success();
    tenant.served(&pod_at(&tenant, "between", "shelf", "team"));
    tenant.served(&tenant.deployment("both", "shelf"));
    eventually("the status of the workload names both models", Deadline::seconds(60), || {
        let status = tenant.kubectl().get("workloadverification", "deployment-both")["status"].clone();
        let sources: Vec<&str> = (status["models"].as_array().into_iter().flatten())
            .filter_map(|model| model["modelDigest"].as_str().and(model["source"].as_str()))
            .collect();
        if sources == ["claim/shelf/llama", "claim/shelf/team/phi"] { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn the_first_pod_has_all_of_them_read() {
    let (tenant, key) = tenant("asked-for");
    models(&tenant, "shelf", &key, &["llama", "phi"]);
    let mut pod = tenant.pod("server", "shelf");
    let mut second = pod["spec"]["containers"][0].clone();
    second["name"] = json!("sidecar");
    second["volumeMounts"][0]["subPath"] = json!("phi");
    pod["spec"]["containers"].as_array_mut().expect("containers").push(second);
    tenant.kubectl().apply(&pod).expect_refusal(&["NotVerifiedYet"]);
    tenant.served(&pod);
}

#[test]
fn what_belongs_to_no_model_is_unsigned() {
    let (tenant, key) = tenant("stray");
    let volume = models(&tenant, "shelf", &key, &["llama", "phi"]);
    volume.write(".git/config", b"[core]");
    assert_eq!(tenant.record("shelf"), ("False".into(), "UnsignedFiles".into()));
    tenant.kubectl().apply(&tenant.pod("above", "shelf")).expect_refusal(&["[UnsignedFiles]", ".git/config"]);
    tenant.served(&pod_at(&tenant, "at", "shelf", "llama"));

    let other = models(&tenant, "within", &key, &["llama", "phi"]);
    other.write("phi/.git/config", b"[core]");
    other.write("phi/extra.bin", b"x");
    tenant.refused(&tenant.pod("whole", "within"), &["[UnsignedFiles]", "model phi"]);
    tenant.refused(&pod_at(&tenant, "phi", "within", "phi"), &["[UnsignedFiles]"]);
    tenant.served(&pod_at(&tenant, "llama", "within", "llama"));
}

#[test]
fn one_model_that_is_refused_refuses_the_folder_and_no_other() {
    let (tenant, key) = tenant("one-bad");
    let volume = models(&tenant, "shelf", &key, &["llama", "phi"]);
    Model::small(volume.root().join("foreign")).sign(&Key::generate());
    tenant.refused(&tenant.pod("above", "shelf"), &["[UntrustedSigner]", "model foreign"]);
    tenant.served(&pod_at(&tenant, "llama", "shelf", "llama"));
    tenant.refused(&pod_at(&tenant, "foreign", "shelf", "foreign"), &["[UntrustedSigner]"]);
}

#[test]
fn two_claims_over_one_store_are_read_each_and_written_together() {
    let (tenant, key) = tenant("one-store");
    let volume = models(&tenant, "first", &key, &["llama"]);
    let second = tenant.cluster().kubectl().get("persistentvolume", &format!("{}-first", tenant.namespace));
    let name = format!("{}-second", tenant.namespace);
    let mut spec = second["spec"].clone();
    spec["claimRef"] = json!({ "namespace": tenant.namespace, "name": "second" });
    let twin = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name }, "spec": spec });
    tenant.kubectl().apply(&twin).expect_success();
    tenant.bind("second", &name);
    tenant.served(&tenant.pod("one", "first"));
    tenant.served(&tenant.pod("two", "second"));
    volume.write("llama/config.json", b"{}");
    let writer = tenant.writer("loader", "second", "echo x > /models/llama/extra");
    tenant.kubectl().run(&["delete", "pod", "one", "two", "--timeout=60s"]).expect_success();
    tenant.kubectl().apply(&writer).expect_success();
    tenant.refused(&tenant.pod("one", "first"), &["[ContentMismatch]"]);
}
