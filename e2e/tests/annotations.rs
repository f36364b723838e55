//! Annotations on Pods: they say where to look and what is expected, and admit nothing.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Key, Model, Tenant, record_name};

const SIGNATURE: &str = "signature.weighbridge.dev/model";
const DIGEST: &str = "digest.weighbridge.dev/model";

fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

fn annotated(tenant: &Tenant, name: &str, key: &str, value: &str) -> Value {
    let mut pod = tenant.pod(name, "model");
    pod["metadata"]["annotations"] = json!({ key: value });
    pod
}

fn base64(bytes: &[u8], through: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bundle");
    std::fs::write(&file, bytes).expect("a file");
    let script = format!("{through} < {} | base64 --wrap=0", file.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
    String::from_utf8(output.stdout).expect("base64")
}

fn digest_of(tenant: &Tenant) -> String {
    let record = tenant.kubectl().get("modelverification", &record_name("model", ""));
    record["status"]["models"][0]["modelDigest"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_bundle_may_lie_in_the_volume_in_a_config_map_or_in_the_annotation() {
    let (tenant, key) = tenant("bundles");
    let model = tenant.claim("model");
    model.sign_into("release.sig", &key).write("unrelated.sig", b"no bundle");
    std::fs::remove_file(model.root().join("unrelated.sig")).expect("to remove it");
    tenant.served(&annotated(&tenant, "in-volume", SIGNATURE, "volume:release.sig"));
    std::fs::rename(model.root().join("release.sig"), model.root().join("model.sig")).expect("to rename it");
    let bundle = model.take_bundle();

    let text = String::from_utf8(bundle.clone()).expect("text");
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "bundles" }, "data": { "model.sig": text } });
    let in_map = annotated(&tenant, "in-map", SIGNATURE, "configmap:bundles/model.sig");
    tenant.refused(&in_map, &["[SourceMissing]", "ConfigMap bundles"]);
    tenant.kubectl().apply(&map).expect_success();
    tenant.served(&in_map);

    tenant.served(&annotated(&tenant, "inline", SIGNATURE, &format!("inline:{}", base64(&bundle, "cat"))));
    tenant.served(&annotated(&tenant, "zipped", SIGNATURE, &format!("inline:{}", base64(&bundle, "gzip"))));
    let stranger = Model::small(tempfile::tempdir().expect("a folder").keep());
    let foreign = stranger.sign(&Key::generate()).take_bundle();
    let hostile = annotated(&tenant, "foreign", SIGNATURE, &format!("inline:{}", base64(&foreign, "cat")));
    tenant.refused(&hostile, &["[UntrustedSigner]"]);
}

#[test]
fn a_digest_that_does_not_fit_is_refused_with_both_named() {
    let (tenant, key) = tenant("digests");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let (found, other) = (digest_of(&tenant), format!("sha256:{}", "0".repeat(64)));
    tenant.kubectl().apply(&annotated(&tenant, "fits", DIGEST, &found)).expect_success();
    tenant.kubectl().apply(&annotated(&tenant, "by-path", DIGEST, &format!(".={found}"))).expect_success();
    let said = tenant.kubectl().apply(&annotated(&tenant, "other", DIGEST, &other));
    said.expect_refusal(&["[DigestMismatch]", &found, &other]);

    let mut policy = tenant.policy(&key);
    policy["spec"]["requireDigestAnnotation"] = json!(true);
    tenant.enforce(&policy);
    tenant.kubectl().apply(&tenant.pod("silent", "model")).expect_refusal(&["[DigestAnnotationMissing]", DIGEST]);
    tenant.kubectl().apply(&annotated(&tenant, "told", DIGEST, &found)).expect_success();
    let mut deployment = tenant.deployment("told", "model");
    tenant.kubectl().apply(&deployment).expect_refusal(&["[DigestAnnotationMissing]"]);
    deployment["spec"]["template"]["metadata"]["annotations"] = json!({ DIGEST: found });
    tenant.kubectl().apply(&deployment).expect_success();
}

#[test]
fn each_of_several_models_has_a_digest() {
    let (tenant, key) = tenant("several-digests");
    let volume = tenant.empty_claim("model");
    for folder in ["a", "b"] {
        let model = Model::small(volume.root().join(folder));
        model.write("name", folder.as_bytes());
        model.sign(&key);
    }
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let digest = |path: &str| {
        let record = tenant.kubectl().get("modelverification", &record_name("model", path));
        record["status"]["models"][0]["modelDigest"].as_str().expect("a digest").to_owned()
    };
    let (a, b) = (digest("a"), digest("b"));
    tenant.kubectl().apply(&annotated(&tenant, "both", DIGEST, &format!("a={a},b={b}"))).expect_success();
    let crossed = tenant.kubectl().apply(&annotated(&tenant, "crossed", DIGEST, &format!("a={b},b={a}")));
    crossed.expect_refusal(&["[DigestMismatch]", &a, &b]);
    let one = tenant.kubectl().apply(&annotated(&tenant, "one", DIGEST, &a));
    one.expect_refusal(&["[DigestMismatch]", "2 lie there"]);
}

#[test]
fn an_annotation_that_changes_is_judged() {
    let (tenant, key) = tenant("changed");
    tenant.claim("model").sign(&key);
    tenant.record("model");
    tenant.kubectl().apply(&tenant.pod("server", "model")).expect_success();
    let wrong = format!("{DIGEST}=sha256:{}", "0".repeat(64));
    tenant.kubectl().run(&["annotate", "pod", "server", &wrong]).expect_refusal(&["[DigestMismatch]"]);
    tenant.kubectl().run(&["annotate", "pod", "server", &format!("{DIGEST}={}", digest_of(&tenant))]).expect_success();
    tenant.kubectl().run(&["annotate", "pod", "server", "example.com/note=x"]).expect_success();
}

#[test]
fn an_annotation_for_a_volume_that_does_not_exist_warns() {
    let (tenant, key) = tenant("stray");
    tenant.claim("model").sign(&key);
    tenant.record("model");
    let said = tenant.kubectl().apply(&annotated(&tenant, "server", "digest.weighbridge.dev/modle", "sha256:0"));
    said.expect_success();
    assert!(said.stderr.contains("Warning") && said.stderr.contains("digest.weighbridge.dev/modle"), "{said}");
}

#[test]
fn a_hostile_annotation_changes_nothing_but_a_refusal() {
    let (tenant, key) = tenant("hostile");
    let model = tenant.claim("model");
    model.sign(&key);
    tenant.record("model");
    let other = Cluster::from_environment().tenant("hostile-other", &[]);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "bundles" }, "data": { "model.sig": "{}" } });
    other.kubectl().apply(&map).expect_success();
    for (name, value, code) in [
        ("anchor", format!("inline:{}", Key::generate().pem()), "[UnsupportedBundle]"),
        ("outside", "volume:../../other/model.sig".to_owned(), "[UnsupportedBundle]"),
        ("tenant", format!("configmap:{}/bundles/model.sig", other.namespace), "[UnsupportedBundle]"),
        ("registry", format!("oci://evil.example/model@sha256:{}", "0".repeat(64)), "[RegistryUnauthorized]"),
        ("garbage", "latest".to_owned(), "[UnsupportedBundle]"),
    ] {
        let said = tenant.kubectl().apply(&annotated(&tenant, name, SIGNATURE, &value));
        said.expect_refusal(&[code, SIGNATURE]);
    }
    // The same name in this namespace is not there.
    tenant.refused(&annotated(&tenant, "own", SIGNATURE, "configmap:bundles/model.sig"), &["[SourceMissing]"]);
    tenant.refused(&annotated(&tenant, "noise", SIGNATURE, "inline:AAAA"), &["[MalformedBundle]"]);
    tenant.kubectl().apply(&tenant.pod("plain", "model")).expect_success();
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()), "the record is what it was");
}
