//! Custom resources of serving stacks: what they name is judged when they are applied, by a table, and by what platform
//! engineers add to it.

use serde_json::{Value, json};
use weighbridge::workload::known_kinds;
use weighbridge_e2e::{Cluster, Deadline, Key, Kubectl, Said, Tenant, eventually};

/// A tenant whose policy trusts the key that signed the model on `good`, not that on `bare`; both were read.
fn tenant(purpose: &str) -> Tenant {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("good").sign(&key);
    tenant.claim("bare");
    assert_eq!(tenant.record("good").1, "Verified");
    assert_eq!(tenant.record("bare").1, "Unsigned");
    tenant
}

/// Has the API server know a kind, whatever stands in its objects.
fn define(kubectl: &Kubectl, group: &str, kind: &str, resource: &str, versions: &[&str]) {
    let version = |name: &&str| {
        json!({ "name": name, "served": true, "storage": name == versions.first().expect("a version"),
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } })
    };
    let name = format!("{resource}.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name },
        "spec": { "group": group, "scope": "Namespaced", "versions": versions.iter().map(version).collect::<Vec<_>>(),
            "names": { "kind": kind, "plural": resource, "singular": kind.to_lowercase() } },
    });
    kubectl.apply(&definition).expect_success();
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", "crd", &name]).expect_success();
}

fn object(version: &str, kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "chat" }, "spec": spec })
}

/// Applies until the answer is the one that is waited for: a new kind is known a moment after it was defined.
fn apply_until(tenant: &Tenant, object: &Value, what: &str, is: impl Fn(&Said) -> bool) -> Said {
    eventually(what, Deadline::seconds(30), || {
        let said = tenant.kubectl().feed(&["apply", "--dry-run=server", "--filename", "-"], &object.to_string());
        if is(&said) { Ok(said) } else { Err(said.to_string()) }
    })
}

#[test]
fn an_inference_service_is_answered_where_its_author_looks() {
    let tenant = tenant("kserve");
    define(
        &tenant.cluster().kubectl(),
        "serving.kserve.io",
        "InferenceService",
        "inferenceservices",
        &["v1beta1", "v2"],
    );
    let service = |version: &str, uri: &str| {
        let spec = json!({ "predictor": { "model": { "storageUri": uri } } });
        object(&format!("serving.kserve.io/{version}"), "InferenceService", &spec)
    };
    let at = format!("{}: spec.predictor.model.storageUri: ", tenant.namespace);

    let refused = apply_until(&tenant, &service("v1beta1", "pvc://bare"), "a refusal", |said| !said.success);
    refused.expect_refusal(&[&at, "[Unsigned]"]);
    let good = tenant.kubectl().apply(&service("v1beta1", "pvc://good"));
    good.expect_success();
    assert!(!good.stderr.contains("Warning"), "{good}");
    let fetched = tenant.kubectl().apply(&service("v1beta1", "hf://acme/llama"));
    fetched.expect_success();
    assert!(
        fetched.stderr.contains(&format!("Warning: {at}")) && fetched.stderr.contains("[NotVerifiable]"),
        "{fetched}"
    );

    // A version that nobody here has seen is read by the same paths, and never taken for one without models.
    tenant.kubectl().apply(&service("v2", "pvc://bare")).expect_refusal(&[&at, "[Unsigned]"]);
    let moved = object("serving.kserve.io/v2", "InferenceService", &json!({ "models": ["pvc://bare"] }));
    let said = tenant.kubectl().apply(&moved);
    said.expect_success();
    assert!(
        said.stderr.contains("InferenceService v2 is not known") && said.stderr.contains("[NotVerifiable]"),
        "{said}"
    );

    // What changes no model is nobody's business here, whatever the object names.
    let label = ["label", "inferenceservice.v2.serving.kserve.io", "chat", "team=a"];
    let said = tenant.kubectl().run(&label);
    said.expect_success();
    assert!(!said.stderr.contains("Warning"), "{said}");
    tenant.kubectl().run(&["delete", "inferenceservice.v2.serving.kserve.io", "chat"]).expect_success();
}

#[test]
fn what_loads_into_running_pods_is_gated_where_it_is_asked_for() {
    let tenant = tenant("loads");
    define(&tenant.cluster().kubectl(), "model.aibrix.ai", "ModelAdapter", "modeladapters", &["v1alpha1"]);
    let adapter = |uri: &str| object("model.aibrix.ai/v1alpha1", "ModelAdapter", &json!({ "artifactURL": uri }));
    let at = format!("{}: spec.artifactURL: ", tenant.namespace);
    let refused = apply_until(&tenant, &adapter("huggingface://acme/lora"), "a refusal", |said| !said.success);
    refused.expect_refusal(&[&at, "[NotVerifiable]"]);
    tenant.kubectl().apply(&adapter("pvc://bare")).expect_refusal(&[&at, "[Unsigned]"]);
    tenant.kubectl().apply(&adapter("pvc://good")).expect_success();
}

#[test]
fn a_kind_that_is_added_is_judged_without_a_release() {
    let tenant = tenant("added");
    let (group, kubectl) = (format!("{}.example.com", tenant.namespace), tenant.cluster().kubectl());
    define(&kubectl, &group, "Server", "servers", &["v1"]);
    let server = |claim: &str| {
        let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": claim } }]);
        let run = json!({ "image": "server", "volumeMounts": [{ "name": "v", "mountPath": "/m", "readOnly": true }] });
        object(&format!("{group}/v1"), "Server", &json!({ "pod": { "volumes": volumes, "run": run } }))
    };
    tenant.kubectl().apply(&server("bare")).expect_success();

    let kind = json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelKind", "metadata": { "name": format!("servers.{group}") },
        "spec": { "group": group, "kind": "Server", "resource": "servers", "versions": ["v1"],
            "paths": { "podSpecs": ["spec.pod"], "containers": ["spec.pod.run"] } },
    });
    kubectl.apply(&kind).expect_success();
    let refused = {
        let mut other = server("bare");
        other["metadata"]["name"] = json!("other");
        apply_until(&tenant, &other, "a refusal", |said| !said.success)
    };
    let at = format!("{}: spec.pod.run.volumeMounts[0]: ", tenant.namespace);
    refused.expect_refusal(&[&at, "[Unsigned]"]);
    tenant.kubectl().apply(&server("good")).expect_success();

    kubectl.run(&["delete", "modelkind", &format!("servers.{group}")]).expect_success();
    let mut again = server("bare");
    again["metadata"]["name"] = json!("again");
    apply_until(&tenant, &again, "nobody judging it any more", |said| said.success);
}

#[test]
fn what_is_known_could_be_added_by_anybody() {
    let own = Cluster::from_environment().own();
    for spec in known_kinds() {
        let name = format!("{}.{}", spec.resource, spec.group);
        let kind = json!({ "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelKind",
            "metadata": { "name": name }, "spec": spec });
        let said = own.feed(&["create", "--dry-run=server", "--filename", "-"], &kind.to_string());
        assert!(said.success, "{name}: {said}");
    }
}
