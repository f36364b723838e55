//! The guards, by themselves: they hold while neither webhook nor operator runs, against accounts that have every right
//! by RBAC, and they do not get into the way of the cluster's own controllers. (`forging` tries them on a live system.)

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Kubectl, OWN_NAMESPACE, Said, Tenant, eventually, record, record_name};

/// A namespace, an attacker with every right in it, and the operator's account with the same rights.
struct Stage {
    tenant: Tenant,
    attacker: Kubectl,
    operator: Kubectl,
}

fn operator_account() -> String {
    format!("system:serviceaccount:{OWN_NAMESPACE}:weighbridge-operator")
}

fn stage(purpose: &str) -> Stage {
    // Pod security must not speak first: every refusal is to be our guards'.
    let tenant = Cluster::from_environment().tenant(purpose, &[("pod-security.kubernetes.io/enforce", "privileged")]);
    let attacker = format!("{}:attacker", tenant.namespace);
    let operator = format!("{OWN_NAMESPACE}:weighbridge-operator");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" },
        "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }],
    });
    tenant.kubectl().apply(&role).expect_success();
    for (name, account) in [("attacker", &attacker), ("operator", &operator)] {
        let account = format!("--serviceaccount={account}");
        tenant.kubectl().run(&["create", "rolebinding", name, "--role=all", &account]).expect_success();
        let admin = format!("{name}-admin");
        tenant.kubectl().run(&["create", "rolebinding", &admin, "--clusterrole=admin", &account]).expect_success();
    }
    Stage {
        attacker: tenant.kubectl_as(&format!("system:serviceaccount:{attacker}")),
        operator: tenant.kubectl_as(&operator_account()),
        tenant,
    }
}

/// That guard said no, with these words.
#[track_caller]
fn guarded(said: &Said, guard: &str, words: &str) {
    said.expect_refusal(&["ValidatingAdmissionPolicy", guard, words]);
}

/// The image that verifier Pods of this installation run.
fn image(cluster: &Cluster) -> String {
    let operator = cluster.own().get("deployment", "weighbridge-operator");
    operator["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

impl Stage {
    /// A Pod as the operator makes them; it waits for a node that does not exist.
    fn verifier(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "automountServiceAccountToken": false, "restartPolicy": "Never",
                "nodeSelector": { "no.such/node": "exists" },
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "verifier", "image": image(self.tenant.cluster()), "args": ["verifier"],
                    "env": [{ "name": "WEIGHBRIDGE_NONCE", "value": "x" }],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                        "readOnlyRootFilesystem": true,
                    },
                    "volumeMounts": [{ "name": "claim", "mountPath": "/claim", "readOnly": true }],
                }],
                "volumes": [{ "name": "claim", "persistentVolumeClaim": { "claimName": "model", "readOnly": true } }],
            },
        })
    }

    /// A Pod without claims, running.
    fn run(&self, name: &str) {
        let mut pod = self.tenant.pod(name, "");
        pod["spec"]["volumes"] = json!([]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
        self.tenant.kubectl().apply(&pod).expect_success();
        let pod = format!("pod/{name}");
        self.tenant.kubectl().run(&["wait", "--for=condition=Ready", "--timeout=60s", &pod]).expect_success();
    }

    /// What the API server says if the operator's account creates that.
    fn made_by_operator(&self, pod: &Value) -> Said {
        self.operator.feed(&["create", "--dry-run=server", "--filename", "-"], &pod.to_string())
    }
}

/// Sets what a JSON pointer names, whose parent exists.
fn set(pod: &Value, pointer: &str, value: Value) -> Value {
    let mut pod = pod.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = pod.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {pointer}"));
    match parent {
        Value::Array(items) => items.push(value),
        other => other[key] = value,
    }
    pod
}

#[test]
fn the_operator_makes_verifier_pods_and_no_others() {
    let stage = stage("making");
    let good = stage.verifier("weighbridge-verifier-x");
    stage.made_by_operator(&good).expect_success();
    let container = |name: &str, image: &str| {
        let mut container = good["spec"]["containers"][0].clone();
        (container["name"], container["image"]) = (json!(name), json!(image));
        container
    };
    let security = "/spec/containers/0/securityContext";
    let secret = json!({ "name": "S", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } });
    for (pointer, value, words) in [
        ("/metadata/name", json!("other"), "makes Pods of the name weighbridge-verifier-* alone"),
        ("/spec/containers/0/image", json!("busybox:1"), "the image of this release by its digest"),
        ("/spec/containers/-", container("other", "busybox:1"), "the image of this release by its digest"),
        ("/spec/initContainers", json!([container("other", "busybox:1")]), "the image of this release by its digest"),
        ("/spec/automountServiceAccountToken", json!(true), "no service account token"),
        ("/spec/volumes/0/persistentVolumeClaim/readOnly", json!(false), "no volumes but claims, these read-only"),
        ("/spec/volumes/-", json!({ "name": "s", "secret": { "secretName": "s" } }), "no volumes but claims"),
        ("/spec/volumes/-", json!({ "name": "s", "hostPath": { "path": "/" } }), "no volumes but claims"),
        ("/spec/volumes/-", json!({ "name": "s", "configMap": { "name": "s" } }), "no volumes but claims"),
        ("/spec/volumes/-", json!({ "name": "s", "projected": { "sources": [] } }), "no volumes but claims"),
        ("/spec/containers/0/env/-", secret, "read no Secret"),
        ("/spec/containers/0/envFrom", json!([{ "secretRef": { "name": "s" } }]), "read no Secret"),
        ("/spec/hostNetwork", json!(true), "share no namespace"),
        ("/spec/hostPID", json!(true), "share no namespace"),
        ("/spec/hostIPC", json!(true), "share no namespace"),
        ("/spec/shareProcessNamespace", json!(true), "share no namespace"),
        ("/spec/containers/0/ports", json!([{ "containerPort": 80, "hostPort": 80 }]), "share no namespace"),
        ("/spec/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/spec/securityContext/runAsUser", json!(0), "runAsNonRoot"),
        ("/spec/securityContext/seccompProfile", json!({ "type": "Unconfined" }), "seccomp RuntimeDefault"),
        ("/spec/securityContext/sysctls", json!([{ "name": "net.core.somaxconn", "value": "1" }]), "no sysctls"),
        (security, json!({ "privileged": true }), "no privilege escalation"),
        (&format!("{security}/allowPrivilegeEscalation"), json!(true), "no privilege escalation"),
        (&format!("{security}/runAsNonRoot"), json!(false), "no privilege escalation"),
        (&format!("{security}/runAsUser"), json!(0), "no privilege escalation"),
        (&format!("{security}/capabilities"), json!({ "drop": ["NET_RAW"] }), "drop ALL"),
        (&format!("{security}/capabilities/add"), json!(["NET_BIND_SERVICE"]), "drop ALL"),
        (&format!("{security}/seccompProfile"), json!({ "type": "Unconfined" }), "drop ALL"),
        (&format!("{security}/readOnlyRootFilesystem"), json!(false), "read-only root file system"),
    ] {
        let said = stage.made_by_operator(&set(&good, pointer, value));
        assert!(said.stderr.contains("weighbridge-guard-operator") && said.stderr.contains(words), "{pointer}: {said}");
    }
}

#[test]
fn the_operator_changes_no_pod_and_enters_none() {
    let stage = stage("changing");
    stage.run("chat");
    let operator = &stage.operator;
    for arguments in [
        &["label", "pod", "chat", "a=b"][..],
        &["annotate", "pod", "chat", "a=b"],
        &["exec", "chat", "--", "true"],
        &["port-forward", "chat", "0:80"],
        &["patch", "pod", "chat", "--subresource=status", "--type=merge", "--patch", r#"{"status":{"message":"x"}}"#],
        &["create", "--raw", &format!("/api/v1/namespaces/{}/pods/chat/eviction", stage.tenant.namespace), "-f", "-"],
    ] {
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "chat" } });
        guarded(
            &operator.feed(arguments, &eviction.to_string()),
            "guard-operator",
            "the weighbridge operator changes no Pod",
        );
    }
}

#[test]
fn the_operator_takes_nothing_off_a_pod_but_its_own() {
    let stage = stage("taking");
    let mut pod = stage.tenant.pod("waiting", "no-such-claim");
    pod["metadata"]["finalizers"] = json!(["weighbridge.dev/writer", "example.com/other"]);
    // Behind another's gate, so that it waits; a policy matches, so that ours stays.
    pod["spec"]["schedulingGates"] =
        json!([{ "name": "example.com/quota" }, { "name": "weighbridge.dev/verification" }]);
    let key = Key::generate();
    let mut policy = stage.tenant.policy(&key);
    policy["spec"]["unknown"] = json!("Hold");
    stage.tenant.enforce(&policy);
    stage.tenant.kubectl().apply(&pod).expect_success();
    let patch = |patch: Value| {
        let patch = patch.to_string();
        stage.operator.run(&["patch", "pod", "waiting", "--type=strategic", "--dry-run=server", "--patch", &patch])
    };
    let gone = |gate: &str| json!({ "schedulingGates": [{ "name": gate, "$patch": "delete" }] });
    let without = |finalizer: &str| json!({ "$deleteFromPrimitiveList/finalizers": [finalizer] });
    for (change, words) in [
        (json!({ "spec": gone("example.com/quota") }), "takes nothing off a Pod but its own"),
        (json!({ "metadata": without("example.com/other") }), "takes nothing off a Pod but its own"),
        (json!({ "metadata": { "finalizers": ["example.com/more"] } }), "takes nothing off a Pod but its own"),
        (json!({ "metadata": { "labels": { "a": "b" } } }), "changes no Pod but for"),
        (json!({ "metadata": { "annotations": { "a": "b" } } }), "changes no Pod but for"),
        (json!({ "spec": { "nodeSelector": { "no.such/node": "exists" } } }), "changes no Pod but for"),
        (json!({ "spec": { "activeDeadlineSeconds": 60 } }), "changes no Pod but for"),
        (json!({ "spec": { "containers": [{ "name": "server", "image": "other" }] } }), "changes no Pod but for"),
    ] {
        guarded(&patch(change), "guard-operator", words);
    }
    patch(json!({ "spec": gone("weighbridge.dev/verification") })).expect_success();
    patch(json!({ "metadata": without("weighbridge.dev/writer") })).expect_success();
    let free = json!({ "metadata": { "finalizers": null } }).to_string();
    let deleted = ["delete", "pod", "waiting", "--wait=false"];
    stage.tenant.kubectl().run(&deleted).expect_success();
    // The operator frees it of ours; the other finalizer is for its author to take off.
    eventually("our finalizer is gone", Deadline::seconds(60), || {
        let pod = stage.tenant.kubectl().get("pod", "waiting");
        if pod["metadata"]["finalizers"] == json!(["example.com/other"]) { Ok(()) } else { Err(pod.to_string()) }
    });
    stage.tenant.kubectl().run(&["patch", "pod", "waiting", "--type=merge", "--patch", &free]).expect_success();
}

/// A client in the name of the operator.
async fn as_operator() -> Client {
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info.impersonate = Some(operator_account());
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn the_operator_deletes_verifiers_and_what_never_began() {
    let stage = stage("deleting");
    let mut waiting = stage.tenant.pod("waiting", "no-such-claim");
    waiting["spec"]["nodeSelector"] = json!({ "no.such/node": "exists" });
    stage.tenant.kubectl().apply(&waiting).expect_success();
    stage.run("running");
    stage.operator.create(&stage.verifier("weighbridge-verifier-x")).expect_success();

    let pods: Api<Pod> = Api::namespaced(as_operator().await, &stage.tenant.namespace);
    let by_uid = async |name: &str| {
        let uid = pods.get(name).await.expect("a Pod").metadata.uid;
        let preconditions = Some(Preconditions { uid, resource_version: None });
        pods.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await.map(drop)
    };
    let refused = |outcome: Result<(), kube::Error>| {
        let error = outcome.expect_err("a refusal").to_string();
        assert!(error.contains("guard-operator") && error.contains("before any of their containers has"), "{error}");
    };
    refused(by_uid("running").await);
    refused(pods.delete("running", &DeleteParams::default()).await.map(drop));
    refused(pods.delete("waiting", &DeleteParams::default()).await.map(drop));
    by_uid("waiting").await.expect("deleted");
    pods.delete("weighbridge-verifier-x", &DeleteParams::default()).await.expect("deleted");
}

#[test]
fn a_verifier_is_reached_by_no_other_way() {
    let stage = stage("reached");
    let name = "weighbridge-verifier-x";
    stage.operator.create(&stage.verifier(name)).expect_success();
    let url = |rest: &str| format!("/api/v1/namespaces/{}/{rest}", stage.tenant.namespace);
    for spelling in [name.to_owned(), format!("{name}:8080"), format!("https:{name}:8080")] {
        let said = stage.attacker.run(&["get", "--raw", &url(&format!("pods/{spelling}/proxy/metrics"))]);
        guarded(&said, "guard-verifier", "is reserved");
    }
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
        "target": { "apiVersion": "v1", "kind": "Node", "name": "node-1" },
    });
    for way in ["bindings", &format!("pods/{name}/binding")] {
        let said = stage.attacker.feed(&["create", "--raw", &url(way), "--filename", "-"], &binding.to_string());
        guarded(&said, "guard-verifier", "bound to nodes by the scheduler alone");
    }
    let ended = json!({
        "name": "verifier", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0, "message": "{}" } },
    });
    // Labels, annotations and, of another's word, container statuses: by way of the status.
    for (patch, words) in [
        (json!({ "metadata": { "labels": { "app": "x" } } }), "spec, labels and ownerReferences"),
        (json!({ "metadata": { "annotations": { "weighbridge.dev/x": "x" } } }), "weighbridge.dev annotations"),
        (json!({ "metadata": { "annotations": { "a.weighbridge.dev/x": "x" } } }), "weighbridge.dev annotations"),
        (json!({ "status": { "phase": "Succeeded" } }), "the kubelet alone"),
        (json!({ "status": { "containerStatuses": [ended] } }), "the kubelet alone"),
    ] {
        let patch = patch.to_string();
        let said =
            stage.attacker.run(&["patch", "pod", name, "--subresource=status", "--type=merge", "--patch", &patch]);
        guarded(&said, "guard-verifier", words);
    }
    // Whoever may delete Pods may delete it: that only costs a run.
    stage.attacker.run(&["delete", "pod", name, "--wait=false"]).expect_success();
}

#[test]
fn a_job_does_not_make_a_verifier_either() {
    let stage = stage("indirect");
    let job = ["create", "job", "weighbridge-verifier-x", "--image=busybox:1"];
    stage.attacker.run(&job).expect_success();
    eventually("the refusal", Deadline::seconds(30), || {
        let events = stage.tenant.kubectl().run(&["get", "events", "--output=jsonpath={.items[*].message}"]).stdout;
        if events.contains("weighbridge-guard-verifier") { Ok(()) } else { Err(events) }
    });
    assert!(stage.tenant.kubectl().list("pods").is_empty());
}

#[test]
fn a_record_is_made_without_a_status() {
    let stage = stage("status");
    let mut made = record("model", "");
    made["status"] = json!({ "models": [{ "path": "", "verdict": "Verified" }] });
    stage.attacker.create(&made).expect_success();
    let name = record_name("model", "");
    assert_eq!(stage.tenant.kubectl().get("modelverification", &name)["status"]["models"], Value::Null);
    stage.attacker.run(&["delete", "modelverification", &name]).expect_success();
}

#[test]
fn the_garbage_collector_goes_about_its_work() {
    let stage = stage("garbage");
    let key = Key::generate();
    stage.tenant.enforce(&stage.tenant.policy(&key));
    let mut deployment = stage.tenant.deployment("chat", "model");
    deployment["spec"]["replicas"] = json!(0);
    stage.tenant.kubectl().apply(&deployment).expect_success();
    let exists = |wanted: bool| {
        eventually("the workload's status", Deadline::seconds(30), || {
            let found = !stage.tenant.kubectl().get("wv", "deployment-chat").is_null();
            if found == wanted { Ok(()) } else { Err(format!("there: {found}")) }
        });
    };
    exists(true);
    let label = ["label", "wv", "deployment-chat", "a=b"];
    guarded(&stage.attacker.run(&label), "guard-record", "makes and writes WorkloadVerifications");
    let annotate = ["annotate", "wv", "deployment-chat", "weighbridge.dev/clear-writers=1"];
    guarded(&stage.attacker.run(&annotate), "guard-record", "makes and writes WorkloadVerifications");
    // It takes the owner from what is to outlive it; a Deployment whose dependents cannot be released never goes.
    let orphan = ["delete", "deployment", "chat", "--cascade=orphan", "--timeout=30s"];
    stage.attacker.run(&orphan).expect_success();
    exists(false);
}

#[test]
fn a_store_forgets_nothing_at_anybodys_request() {
    let cluster = Cluster::from_environment();
    let (tenant, key) = (cluster.tenant("stores", &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    let folder = tenant.claim("model").root().to_string_lossy().into_owned();
    tenant.kubectl().apply(&tenant.writer("loader", "model", "true")).expect_success();
    let store = eventually("the store of a claim that somebody writes", Deadline::seconds(60), || {
        let stores = cluster.own().list("backingstores");
        let found = stores.into_iter().find(|store| store["spec"]["identity"].to_string().contains(&folder));
        found.ok_or_else(|| format!("none for {folder}"))
    });
    let name = store["metadata"]["name"].as_str().expect("a name").to_owned();
    let refused = |said: &Said| guarded(said, "guard-record", "they remember who may have written to a model");
    refused(&cluster.own().create(&json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "BackingStore", "metadata": { "name": "mine" },
        "spec": { "identity": "csi:test.example.com/mine" },
    })));
    // The administrator's own account: no right is missing.
    refused(&cluster.own().run(&["delete", "backingstore", &name]));
    let owner =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "00000000-0000-0000-0000-000000000000" });
    let patch = json!({ "metadata": { "ownerReferences": [owner] } }).to_string();
    refused(&cluster.own().run(&["patch", "backingstore", &name, "--type=merge", "--patch", &patch]));
    refused(&cluster.own().run(&["annotate", "backingstore", &name, "weighbridge.dev/other=x"]));
    // A person says that no writer is left.
    cluster.own().run(&["annotate", "backingstore", &name, "weighbridge.dev/clear-writers=1"]).expect_success();
    cluster.own().run(&["annotate", "backingstore", &name, "weighbridge.dev/clear-writers-"]).expect_success();
    let status = r#"{"status":{"writeEpoch":0}}"#;
    let said =
        cluster.own().run(&["patch", "backingstore", &name, "--subresource=status", "--type=merge", "--patch", status]);
    guarded(&said, "guard-record", "the weighbridge operator alone writes status");
}
