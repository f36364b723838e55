//! Custom resources of serving stacks: what they name is judged when they are applied, by a table, and by what platform
//! engineers add to it; and what became of it stands in a status of their own.

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
    defined(kubectl, &definition);
}

fn defined(kubectl: &Kubectl, definition: &Value) {
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    kubectl.feed(&apply, &definition.to_string()).expect_success();
    let name = definition["metadata"]["name"].as_str().expect("a name");
    // It has no conditions at first, and then kubectl does not wait.
    eventually("a definition is established", Deadline::seconds(60), || {
        kubectl.run(&["wait", "--for=condition=Established", "--timeout=5s", "crd", name]).succeeded()
    });
}

/// Has the API server know InferenceServices by KServe's own definition, and by a version that nobody knows yet.
fn define_inference_services(kubectl: &Kubectl) {
    let file = std::env::var("WEIGHBRIDGE_E2E_KSERVE").expect("WEIGHBRIDGE_E2E_KSERVE: e2e/test sets it");
    let said = kubectl.run(&["create", "--dry-run=client", "--output=json", "--filename", &file]);
    let mut definition: Value = serde_json::from_str(&said.expect_success().stdout).expect("a definition");
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let versions = definition["spec"]["versions"].as_array_mut().expect("versions");
    assert!(versions.iter().all(|version| version["name"] != "v2"), "v2 is not what nobody knows any more");
    versions.push(json!({ "name": "v2", "served": true, "storage": false, "schema": schema }));
    defined(kubectl, &definition);
}

/// An InferenceService with one predictor that loads from a URI.
fn inference_service(version: &str, name: &str, uri: &str) -> Value {
    let model = json!({ "modelFormat": { "name": "huggingface" }, "storageUri": uri });
    let spec = json!({ "predictor": { "model": model } });
    let mut service = object(&format!("serving.kserve.io/{version}"), "InferenceService", &spec);
    service["metadata"]["name"] = json!(name);
    service
}

/// The status of a workload, once it is as wanted.
fn status_of(tenant: &Tenant, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, Deadline::seconds(60), || {
        let status = tenant.kubectl().get("workloadverification", name);
        if is(&status) { Ok(status) } else { Err(status.to_string()) }
    })
}

/// Waits until a workload has no status.
fn no_status(tenant: &Tenant, name: &str) {
    status_of(tenant, name, "no status any more", Value::is_null);
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
    define_inference_services(&tenant.cluster().kubectl());
    let service = |version: &str, uri: &str| inference_service(version, "chat", uri);
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
fn an_inference_service_has_a_status_together_with_what_it_makes() {
    let tenant = tenant("kserve-status");
    let kubectl = tenant.kubectl();
    define_inference_services(&tenant.cluster().kubectl());
    kubectl.apply(&inference_service("v1beta1", "chat", "pvc://good")).expect_success();
    let verified = |status: &Value| status["status"]["verdict"] == "Verified";
    let status = status_of(&tenant, "inferenceservice-chat", "a status that says Verified", verified);
    let service = kubectl.get("inferenceservice.v1beta1.serving.kserve.io", "chat");
    let owner = &status["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["uid"], &owner["kind"]), (&service["metadata"]["uid"], &json!("InferenceService")));
    assert_eq!(status["spec"]["workload"]["apiVersion"], "serving.kserve.io/v1beta1");
    assert_eq!(status["status"]["models"][0]["signer"], format!("{}/release", tenant.namespace));
    assert_eq!(tenant.condition("wv", "inferenceservice-chat", "Compliant").0, "True");

    // What a controller makes of it has no status of its own, and is not lost either.
    let mut made = tenant.deployment("chat-predictor", "good");
    made["spec"]["replicas"] = json!(0);
    made["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "chat",
        "uid": service["metadata"]["uid"], "controller": true,
    }]);
    kubectl.apply(&made).expect_success();
    let both = |status: &Value| status["status"]["models"].as_array().is_some_and(|models| models.len() == 2);
    let status = status_of(&tenant, "inferenceservice-chat", "a status with both", |it| verified(it) && both(it));
    assert_eq!(status["status"]["models"][1]["container"], "server");
    assert!(kubectl.get("wv", "deployment-chat-predictor").is_null());

    // The policy counts it, and names it where it would fail.
    kubectl.apply(&inference_service("v1beta1", "fetched", "hf://acme/llama")).expect_success();
    let unknown = |status: &Value| status["status"]["verdict"] == "Unknown";
    status_of(&tenant, "inferenceservice-fetched", "a status that says Unknown", unknown);
    eventually("the policy names it", Deadline::seconds(60), || {
        let policy = tenant.cluster().kubectl().get("clustermodelpolicy", &tenant.namespace);
        let (workloads, failing) = (&policy["status"]["workloads"], &policy["status"]["failing"]);
        let counted = (workloads["matched"] == 2) && (workloads["compliant"] == 1) && (workloads["unknown"] == 1);
        let named = (failing[0]["kind"] == "InferenceService") && (failing[0]["name"] == "fetched");
        if counted && named { Ok(()) } else { Err(policy["status"].to_string()) }
    });
    let metrics = tenant.cluster().metrics("operator");
    assert!(metrics.contains("weighbridge_workloads{kind=\"InferenceService\",verdict=\"Verified\"}"), "{metrics}");

    // It follows what is changed, and goes with its object.
    kubectl.apply(&inference_service("v1beta1", "chat", "hf://acme/llama")).expect_success();
    status_of(&tenant, "inferenceservice-chat", "a status that says Unknown", unknown);
    kubectl.run(&["delete", "inferenceservices.v1beta1.serving.kserve.io", "--all"]).expect_success();
    no_status(&tenant, "inferenceservice-chat");
    no_status(&tenant, "inferenceservice-fetched");
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
    let verified = |status: &Value| status["status"]["verdict"] == "Verified";
    status_of(&tenant, "modeladapter-chat", "a status that says Verified", verified);
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

    // Nobody has granted the operator to read it, which it says, and asks for nothing.
    let forbidden = || {
        let metrics = tenant.cluster().metrics("operator");
        let line = metrics.lines().find(|line| line.starts_with("weighbridge_custom_kinds{state=\"Forbidden\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap_or_default()
    };
    eventually("a kind that may not be read", Deadline::seconds(60), || match forbidden() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    assert!(tenant.kubectl().get("wv", "server-chat").is_null());
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": tenant.namespace, "labels": { "weighbridge.dev/aggregate-to-operator": "true" } },
        "rules": [{ "apiGroups": [group], "resources": ["servers"], "verbs": ["list", "watch"] }],
    });
    kubectl.apply(&role).expect_success();
    let verified = |status: &Value| status["status"]["verdict"] == "Verified";
    status_of(&tenant, "server-chat", "a status that says Verified", verified);

    kubectl.run(&["delete", "modelkind", &format!("servers.{group}")]).expect_success();
    let mut again = server("bare");
    again["metadata"]["name"] = json!("again");
    apply_until(&tenant, &again, "nobody judging it any more", |said| said.success);
    no_status(&tenant, "server-chat");
    kubectl.run(&["delete", "clusterrole", &tenant.namespace]).expect_success();
}

#[test]
fn a_kind_that_goes_takes_nothing_else_along() {
    let tenant = tenant("gone");
    let kubectl = tenant.cluster().kubectl();
    define(&kubectl, "mlops.seldon.io", "Model", "models", &["v1alpha1"]);
    let model = object("mlops.seldon.io/v1alpha1", "Model", &json!({ "storageUri": "pvc://good" }));
    tenant.kubectl().apply(&model).expect_success();
    tenant.kubectl().apply(&tenant.deployment("server", "good")).expect_success();
    let verified = |status: &Value| status["status"]["verdict"] == "Verified";
    // Kinds of several groups have this name.
    status_of(&tenant, "model.mlops.seldon.io-chat", "a status that says Verified", verified);
    kubectl.run(&["delete", "crd", "models.mlops.seldon.io"]).expect_success();
    no_status(&tenant, "model.mlops.seldon.io-chat");
    status_of(&tenant, "deployment-server", "a status that says Verified", verified);

    define(&kubectl, "mlops.seldon.io", "Model", "models", &["v1alpha1"]);
    tenant.kubectl().apply(&model).expect_success();
    status_of(&tenant, "model.mlops.seldon.io-chat", "a status that says Verified", verified);
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
