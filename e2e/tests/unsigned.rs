//! What lies in a model and is not signed, and symbolic links: one read, and each policy says whether they may be there.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Model, Tenant, eventually, record_name};

fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// The policy of a tenant with more to say of the content.
fn enforce(tenant: &Tenant, key: &Key, content: &Value) {
    let mut policy = tenant.policy(key);
    policy["spec"]["content"] = content.clone();
    tenant.enforce(&policy);
    let name = &tenant.namespace;
    let kubectl = tenant.cluster().kubectl();
    eventually("the policy as it is now is in force", Deadline::seconds(60), || {
        let policy = kubectl.get("clustermodelpolicy", name);
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let current = |it: &Value| it["observedGeneration"] == policy["metadata"]["generation"];
        let programmed = conditions.iter().find(|it| it["type"] == "Programmed");
        match programmed {
            Some(condition) if current(condition) && condition["status"] == "True" => Ok(()),
            _ => Err(policy["status"].to_string()),
        }
    });
}

fn found(tenant: &Tenant) -> Value {
    tenant.kubectl().get("modelverification", &record_name("model", ""))["status"].clone()
}

/// Has the model read again.
fn reread(tenant: &Tenant) {
    let before = found(tenant)["verifiedAt"].clone();
    let again = format!("weighbridge.dev/reverify={}", before.as_str().unwrap_or("now"));
    let name = record_name("model", "");
    tenant.kubectl().run(&["annotate", "--overwrite", "modelverification", &name, &again]).expect_success();
    eventually("another read", Deadline::seconds(60), || {
        let status = found(tenant);
        if status["verifiedAt"] == before || !status["run"].is_null() { Err(status.to_string()) } else { Ok(()) }
    });
}

fn pod_at(tenant: &Tenant, name: &str, path: &str) -> Value {
    let mut pod = tenant.pod(name, "model");
    pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!(path);
    pod
}

/// What `git clone` leaves in a model's folder, with thousands of files.
fn cloned(model: &Model) {
    model.write(".git/HEAD", b"ref: refs/heads/main");
    (0..3000).for_each(|at| model.write(&format!(".git/objects/{:02x}/{at}", at % 256), b"x"));
    model.write(".gitattributes", b"*.safetensors filter=lfs");
    model.link(".git/latest", "/etc/passwd");
}

#[test]
fn a_model_that_was_cloned_serves_where_policies_ignore_git() {
    let (tenant, key) = tenant("cloned");
    let model = tenant.claim("model");
    cloned(model.sign(&key));
    assert_eq!(tenant.record("model"), ("False".into(), "UnsignedFiles".into()));
    let status = found(&tenant);
    let told = json!({ "paths": [".git/", ".gitattributes"], "more": false });
    assert_eq!(status["models"][0]["unsigned"], told, "{status}");
    tenant.refused(&tenant.pod("server", "model"), &["[UnsignedFiles]", ".git"]);

    enforce(&tenant, &key, &json!({ "ignorePaths": [".git/**"] }));
    tenant.refused(&tenant.pod("server", "model"), &["[UnsignedFiles]", "content.ignorePaths: .gitattributes"]);
    enforce(&tenant, &key, &json!({ "ignorePaths": [".git/**", ".gitattributes"] }));
    tenant.served(&tenant.pod("server", "model"));
    eventually("the record takes it for verified", Deadline::seconds(30), || {
        let condition = tenant.condition("modelverification", &record_name("model", ""), "Verified");
        if condition.0 == "True" { Ok(()) } else { Err(format!("{condition:?}")) }
    });
    assert_eq!(found(&tenant)["verifiedAt"], status["verifiedAt"], "nothing was read again");
    tenant.served(&pod_at(&tenant, "part", "weights"));
    // What is let lie there is no model.
    tenant.refused(&pod_at(&tenant, "git", ".git"), &["[UnsignedFiles]", "nobody signed it"]);
    let mut named = tenant.pod("named", "model");
    named["spec"]["containers"][0]["command"] = json!(["vllm", "serve", "/models/.git/objects"]);
    tenant.refused(&named, &["[UnsignedFiles]", "spec.containers[0].command[2]", "nobody signed it"]);
    named["spec"]["containers"][0]["command"] = json!(["vllm", "serve", "/models/weights"]);
    tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &named.to_string()).expect_success();

    // A signed file is what was signed, and what no glob means is not let be.
    model.write("evil.py", b"import os");
    reread(&tenant);
    tenant.refused(&tenant.pod("again", "model"), &["[UnsignedFiles]", "evil.py"]);
    std::fs::remove_file(model.root().join("evil.py")).expect("to remove it");
    enforce(&tenant, &key, &json!({ "ignorePaths": [".git/**", ".gitattributes", "config.*"] }));
    model.write("config.json", b"{}");
    reread(&tenant);
    tenant.refused(&tenant.pod("again", "model"), &["[ContentMismatch]", "config.json"]);
}

#[test]
fn what_the_signer_ignored_is_for_policies_to_ignore() {
    let (tenant, key) = tenant("ignored");
    let model = tenant.claim("model");
    model.write("logs/train.log", b"loss");
    model.sign_without(&["logs"], &key);
    assert_eq!(tenant.record("model"), ("False".into(), "UnsignedFiles".into()));
    tenant.refused(&tenant.pod("server", "model"), &["[UnsignedFiles]", "logs/train.log"]);
    enforce(&tenant, &key, &json!({ "ignorePaths": ["**/*.log"] }));
    tenant.served(&tenant.pod("server", "model"));
    // A policy of the namespace ignores for itself alone, and so does that of the cluster.
    let mut own = tenant.policy(&key);
    (own["kind"], own["metadata"]["name"]) = (json!("ModelPolicy"), json!("own"));
    own["spec"].as_object_mut().expect("a spec").remove("match");
    tenant.kubectl().apply(&own).expect_success();
    let waited = ["wait", "--for=condition=Programmed", "--timeout=60s", "modelpolicy", "own"];
    tenant.kubectl().run(&waited).expect_success();
    tenant.refused(&tenant.pod("another", "model"), &["[UnsignedFiles]", "logs/train.log"]);
    own["spec"]["content"]["ignorePaths"] = json!(["logs/**"]);
    tenant.kubectl().apply(&own).expect_success();
    tenant.served(&tenant.pod("another", "model"));
    enforce(&tenant, &key, &json!({}));
    tenant.refused(&tenant.pod("a-third", "model"), &["[UnsignedFiles]", "logs/train.log"]);
}

#[test]
fn links_are_followed_in_the_model_where_signer_and_policy_allow_it() {
    let (tenant, key) = tenant("linked");
    let model = tenant.claim("model");
    model.link("tokenizer.json", "config.json");
    model.sign_links(&key);
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let status = found(&tenant);
    assert_eq!((&status["models"][0]["symlinks"], &status["models"][0]["allowSymlinks"]), (&json!(1), &json!(true)));
    tenant.refused(&tenant.pod("server", "model"), &["[SymlinkNotAllowed]"]);
    enforce(&tenant, &key, &json!({ "allowSymlinks": true }));
    tenant.served(&tenant.pod("server", "model"));
    assert_eq!(found(&tenant)["verifiedAt"], status["verifiedAt"], "nothing was read again");
    tenant.refused(&pod_at(&tenant, "part", "weights"), &["[SymlinkNotAllowed]", "use the model as a whole"]);

    // The same bytes, from outside of the model.
    let outside = tenant.claim("outside");
    model.link("tokenizer.json", &format!("{}/config.json", outside.root().display()));
    reread(&tenant);
    tenant.refused(&tenant.pod("outside", "model"), &["[SymlinkNotAllowed]"]);
    assert_eq!(found(&tenant)["models"][0]["detail"], "PathEscapes");

    // Who signed no links allows none.
    model.write("tokenizer.json", b"{}");
    std::fs::remove_file(model.root().join("tokenizer.json")).expect("to remove it");
    model.sign(&key);
    model.link("weights/latest", "model-00001.safetensors");
    reread(&tenant);
    tenant.refused(&tenant.pod("unsigned-link", "model"), &["[SymlinkNotAllowed]", "weights/latest"]);
}
