//! Ways to mount a verified model: what hides a part of it, what says which folder it is, and what is made for one Pod.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Model, Said, Tenant, eventually};

fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// A Pod that mounts a claim at `/models`, with more of these in its container or its spec.
fn pod(tenant: &Tenant, name: &str, claim: &str, mounts: &[Value], volumes: &[Value]) -> Value {
    let mut pod = tenant.pod(name, claim);
    let spec = &mut pod["spec"];
    spec["containers"][0]["volumeMounts"].as_array_mut().expect("mounts").extend(mounts.iter().cloned());
    spec["volumes"].as_array_mut().expect("volumes").extend(volumes.iter().cloned());
    pod
}

fn dry_run(tenant: &Tenant, pod: &Value) -> Said {
    tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &pod.to_string())
}

#[test]
fn what_hides_a_part_of_a_model_is_refused() {
    let (tenant, key) = tenant("hidden");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let own = |path: &str, sub_path: &str| json!({ "name": "model", "mountPath": path, "subPath": sub_path, "readOnly": true });
    let empty = |path: &str| json!({ "name": "tmp", "mountPath": path });
    for (what, mount, shadowed) in [
        ("an emptyDir below", empty("/models/weights"), true),
        ("an emptyDir at a path with ..", empty("/srv/../models/weights"), true),
        ("an emptyDir elsewhere", empty("/srv"), false),
        ("the model itself, below", own("/models/weights", "weights"), false),
        ("a file under its own name", own("/etc/config.json", "config.json"), false),
        ("a file under another name", own("/etc/other.json", "config.json"), true),
        ("a file in its own place", own("/models/config.json", "config.json"), false),
        ("a file in another's place", own("/models/weights/config.json", "config.json"), true),
    ] {
        let said =
            dry_run(&tenant, &pod(&tenant, "server", "model", &[mount], &[json!({ "name": "tmp", "emptyDir": {} })]));
        assert_eq!(said.success, !shadowed, "{what}: {said}");
        assert!(said.success || said.stderr.contains("[Shadowed]"), "{what}: {said}");
    }
    let mut around = pod(&tenant, "server", "model", &[empty("/srv")], &[json!({ "name": "tmp", "emptyDir": {} })]);
    around["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] = json!("/srv/models");
    dry_run(&tenant, &around).expect_success();
    let mut propagated = tenant.pod("server", "model");
    propagated["spec"]["containers"][0]["volumeMounts"][0]["mountPropagation"] = json!("HostToContainer");
    dry_run(&tenant, &propagated).expect_refusal(&["[Shadowed]", "mountPropagation"]);
    let mut log = tenant.pod("server", "model");
    log["spec"]["containers"][0]["terminationMessagePath"] = json!("/models/log");
    dry_run(&tenant, &log).expect_refusal(&["[Shadowed]", "terminationMessagePath"]);
}

#[test]
fn only_what_stays_as_it_is_says_which_folder_is_mounted() {
    let (tenant, key) = tenant("expressions");
    let volume = tenant.empty_claim("shelf");
    for folder in ["llama", "team/phi", &tenant.namespace] {
        Model::small(volume.root().join(folder)).sign(&key);
    }
    assert_eq!(tenant.record("shelf"), ("True".into(), "Verified".into()));
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let of = |kind: &str| json!({ kind: { "name": "settings", "key": "folder", "optional": true } });
    let env = json!([
        { "name": "ORG", "value": "team" },
        { "name": "UP", "value": ".." },
        { "name": "MODEL", "value": "$(ORG)/phi" },
        { "name": "NAME", "valueFrom": field("metadata.name") },
        { "name": "NAMESPACE", "valueFrom": field("metadata.namespace") },
        { "name": "LABEL", "valueFrom": field("metadata.labels['folder']") },
        { "name": "ANNOTATION", "valueFrom": field("metadata.annotations['folder']") },
        { "name": "NODE", "valueFrom": field("spec.nodeName") },
        { "name": "MAP", "valueFrom": of("configMapKeyRef") },
        { "name": "SECRET", "valueFrom": of("secretKeyRef") },
    ]);
    let mounts = |expression: &str| {
        let mut pod = tenant.pod("llama", "shelf");
        pod["metadata"]["labels"] = json!({ "folder": "llama" });
        pod["metadata"]["annotations"] = json!({ "folder": "llama" });
        let container = &mut pod["spec"]["containers"][0];
        container["env"] = env.clone();
        container["envFrom"] = json!([{ "configMapRef": { "name": "settings", "optional": true } }]);
        container["volumeMounts"][0]["subPathExpr"] = json!(expression);
        dry_run(&tenant, &pod)
    };
    for expression in ["llama", "$(NAME)", "$(NAME)/weights", "$(ORG)/phi", "$(MODEL)", "$(NAMESPACE)"] {
        // The record has its verdict; the watches of each replica of the webhook may be a moment behind.
        eventually("the folder is let in", Deadline::seconds(10), || {
            mounts(expression).succeeded().map_err(|said| format!("{expression}: {said}"))
        });
    }
    for variable in ["LABEL", "ANNOTATION", "NODE", "MAP", "SECRET", "FROM_THE_MAP"] {
        let said = mounts(&format!("$({variable})"));
        assert!(said.stderr.contains("[NotVerifiable]") && said.stderr.contains("subPathExpr"), "{variable}: {said}");
    }
    // Written out, the API server refuses it; behind a variable it does not see it.
    mounts("$(ORG)/$(UP)/llama").expect_refusal(&["[NotVerifiable]"]);
    mounts("$(ORG)/missing").expect_refusal(&["[NotVerifiedYet]"]);
}

#[test]
fn a_volume_that_is_made_for_one_pod_is_no_model_that_was_verified() {
    let (tenant, key) = tenant("ephemeral");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let mut volume = json!({ "name": "made", "ephemeral": { "volumeClaimTemplate": { "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
    } } } });
    let mount = [json!({ "name": "made", "mountPath": "/made", "readOnly": true })];
    let empty = pod(&tenant, "server", "model", &mount, std::slice::from_ref(&volume));
    dry_run(&tenant, &empty).expect_success();
    let mut named = empty.clone();
    named["spec"]["containers"][0]["command"] = json!(["vllm", "serve", "/made/llama"]);
    dry_run(&tenant, &named).expect_refusal(&["[NotVerifiable]", "model in a generic ephemeral volume"]);
    volume["ephemeral"]["volumeClaimTemplate"]["spec"]["dataSource"] =
        json!({ "kind": "PersistentVolumeClaim", "name": "model" });
    let cloned = pod(&tenant, "server", "model", &mount, &[volume]);
    dry_run(&tenant, &cloned).expect_refusal(&["[NotVerifiable]", "generic ephemeral volume"]);
}

#[test]
fn two_containers_may_use_one_claim_and_each_is_judged() {
    let (tenant, key) = tenant("shared");
    let volume = tenant.empty_claim("shelf");
    Model::small(volume.root().join("good")).sign(&key);
    Model::small(volume.root().join("bad")).sign(&Key::generate());
    assert_eq!(tenant.record("shelf"), ("False".into(), "UntrustedSigner".into()));
    let both = |paths: [&str; 2]| {
        let mut pod = tenant.pod("server", "shelf");
        let mut second = pod["spec"]["containers"][0].clone();
        second["name"] = json!("sidecar");
        pod["spec"]["containers"].as_array_mut().expect("containers").push(second);
        for (at, path) in paths.into_iter().enumerate() {
            pod["spec"]["containers"][at]["volumeMounts"][0]["subPath"] = json!(path);
        }
        dry_run(&tenant, &pod)
    };
    // The record is refused as soon as one of its models is; the other may be read after that.
    eventually("the good one is let in", Deadline::seconds(60), || both(["good", "good/weights"]).succeeded());
    both(["good", "bad"]).expect_refusal(&["spec.containers[1].volumeMounts[0]", "[UntrustedSigner]"]);
    both(["bad", "good"]).expect_refusal(&["spec.containers[0].volumeMounts[0]", "[UntrustedSigner]"]);
}
