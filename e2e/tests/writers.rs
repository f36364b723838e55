//! Writers: gated until everybody knows, never while somebody serves, and never forgotten before their end was seen.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Kubectl, Tenant, eventually, record_name};

/// Time in which what the operator does at once has happened on a busy machine.
const SOON: Deadline = Deadline::seconds(60);
/// A script that makes one file another one.
const ALTER: &str = "printf X | dd of=/models/weights/model-00001.safetensors bs=1 seek=7 conv=notrunc";

/// A tenant whose policy trusts the key.
fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    (tenant, key)
}

/// A tenant with a Deployment `chat` that serves the signed model on the claim `model`.
fn serving(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = tenant(purpose);
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    tenant.kubectl().apply(&tenant.deployment("chat", "model")).expect_success();
    tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"]).expect_success();
    (tenant, key)
}

/// Whether our gate holds a Pod.
fn is_held(pod: &Value) -> bool {
    pod["spec"]["schedulingGates"].to_string().contains("weighbridge.dev/verification")
}

/// An Event of ours on a Pod, with this in its note.
fn event_on(tenant: &Tenant, pod: &str, note: &str) -> Value {
    eventually("an Event on the Pod", SOON, || {
        let ours = |event: &Value| {
            event["regarding"]["name"] == pod
                && event["reportingController"].as_str().is_some_and(|name| name.starts_with("weighbridge"))
        };
        let events: Vec<Value> = tenant.kubectl().list("events.events.k8s.io").into_iter().filter(ours).collect();
        let found = events.iter().find(|event| event["note"].as_str().is_some_and(|it| it.contains(note)));
        found.cloned().ok_or_else(|| format!("«{note}» not in {events:?}"))
    })
}

/// Mounts another claim into a Pod, read-only, at a path of its name.
fn read_also(pod: &mut Value, claim: &str) {
    let volume = json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } });
    pod["spec"]["volumes"].as_array_mut().expect("volumes").push(volume);
    let mount = json!({ "name": claim, "mountPath": format!("/{claim}"), "readOnly": true });
    pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().expect("mounts").push(mount);
}

/// Waits until a Pod is refused with this code.
fn refused(kubectl: &Kubectl, pod: &Value, code: &str) {
    eventually(code, SOON, || {
        let said = kubectl.create(pod);
        if !said.success && said.stderr.contains(&format!("[{code}]")) { Ok(()) } else { Err(said.to_string()) }
    });
}

#[test]
fn nobody_alters_a_model_and_then_restarts_its_server() {
    let (tenant, _) = serving("exclusive");
    tenant.kubectl().apply(&tenant.writer("alter", "model", ALTER)).expect_success();
    assert!(is_held(&tenant.kubectl().get("pod", "alter")));
    let event = event_on(&tenant, "alter", "Pods serve: chat-");
    assert!(event["note"].as_str().is_some_and(|note| note.contains("stop them")), "{event}");

    // A container that restarts asks nobody, and finds what was verified; and so does a Pod that takes its place.
    let pod = tenant.kubectl().run(&["get", "pods", "--selector=app=chat", "--output=name"]).stdout;
    let pod = pod.trim().trim_start_matches("pod/").to_owned();
    tenant.kubectl().run(&["exec", &pod, "--", "kill", "1"]);
    tenant.kubectl().run(&["rollout", "restart", "deployment/chat"]).expect_success();
    tenant.kubectl().run(&["rollout", "status", "deployment/chat", "--timeout=60s"]).expect_success();
    assert!(is_held(&tenant.kubectl().get("pod", "alter")));
    assert!(tenant.writers("model").is_empty(), "it is not its turn");

    tenant.kubectl().run(&["scale", "deployment/chat", "--replicas=0"]).expect_success();
    tenant.phase("alter", "Succeeded");
    eventually("what it wrote is found", SOON, || {
        let (status, reason) = tenant.condition("modelverification", &record_name("model", ""), "Verified");
        if reason == "ContentMismatch" { Ok(()) } else { Err(format!("{status} {reason}")) }
    });
    tenant.kubectl().run(&["scale", "deployment/chat", "--replicas=1"]).expect_success();
    refused(&tenant.kubectl(), &tenant.pod("late", "model"), "ContentMismatch");
}

#[test]
fn a_writer_runs_once_everybody_refuses_readers() {
    let (tenant, key) = tenant("gated");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    tenant.kubectl().apply(&tenant.writer("loader", "model", "sleep 1000000")).expect_success();
    assert!(!tenant.kubectl().get("pod", "loader")["metadata"]["finalizers"].is_null());
    tenant.phase("loader", "Running");
    // It runs, so every replica knows: whichever is asked refuses.
    for attempt in 0..8 {
        let said = tenant.kubectl().create(&tenant.pod(&format!("early-{attempt}"), "model"));
        said.expect_refusal(&["[BeingWritten]"]);
    }
    assert_eq!(tenant.writers("model").len(), 1);
    // A record that is deleted forgets nobody.
    tenant.kubectl().run(&["delete", "modelverification", "--all"]).expect_success();
    refused(&tenant.kubectl(), &tenant.pod("forgotten", "model"), "BeingWritten");

    tenant.kubectl().run(&["delete", "pod", "loader", "--timeout=60s"]).expect_success();
    eventually("the model serves again", SOON, || tenant.kubectl().create(&tenant.pod("late", "model")).succeeded());
    assert!(tenant.writers("model").is_empty());
}

#[test]
fn what_loads_and_what_serves_a_model_can_be_applied_at_once() {
    let (tenant, key) = tenant("at-once");
    let (staged, _) = (tenant.claim("staged"), tenant.empty_claim("model"));
    staged.sign(&key);
    assert_eq!(tenant.record("staged").0, "True");
    // It reads one claim and writes the other, and is judged for both.
    let mut loader = tenant.writer("loader", "model", "cp -r /staged/. /models/");
    read_also(&mut loader, "staged");
    let both = json!({ "apiVersion": "v1", "kind": "List", "items": [loader, tenant.deployment("chat", "model")] });
    tenant.kubectl().apply(&both).expect_success();
    tenant.phase("loader", "Succeeded");
    eventually("what was loaded is verified", SOON, || {
        let (status, reason) = tenant.condition("modelverification", &record_name("model", ""), "Verified");
        if status == "True" { Ok(()) } else { Err(format!("{status} {reason}")) }
    });
    tenant.kubectl().run(&["rollout", "restart", "deployment/chat"]).expect_success();
    tenant.kubectl().run(&["rollout", "status", "deployment/chat", "--timeout=60s"]).expect_success();
}

#[test]
fn a_pod_that_writes_one_claim_is_judged_for_the_other_that_it_reads() {
    let (tenant, _) = tenant("both");
    tenant.claim("bare");
    tenant.empty_claim("model");
    assert_eq!(tenant.record("bare").1, "Unsigned");
    let mut loader = tenant.writer("loader", "model", "true");
    read_also(&mut loader, "bare");
    let said = tenant.kubectl().create(&loader);
    said.expect_refusal(&["spec.containers[0].volumeMounts[1]", "[Unsigned]"]);
}

#[test]
fn the_way_by_another_claim_in_another_namespace_is_the_same() {
    let (tenant, _) = serving("theirs");
    let (other, _) = self::tenant("ours");
    other.mirror("mirror", &tenant, "model");

    other.kubectl().apply(&other.writer("alter", "mirror", "sleep 1000000")).expect_success();
    let event = event_on(&other, "alter", "of other namespaces");
    assert!(!event.to_string().contains("chat"), "whose Pods these are is not its business: {event}");
    tenant.kubectl().run(&["scale", "deployment/chat", "--replicas=0"]).expect_success();
    other.phase("alter", "Running");
    let said = tenant.kubectl().create(&tenant.pod("late", "model"));
    said.expect_refusal(&["[BeingWritten]", "a Pod of another namespace"]);
}

#[test]
fn a_writer_cannot_be_deleted_unseen() {
    let (tenant, key) = tenant("unseen");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    // It does not go when it is told to.
    let mut writer = tenant.writer("stubborn", "model", "trap '' TERM; while true; do sleep 1; done");
    writer["spec"]["terminationGracePeriodSeconds"] = json!(600);
    tenant.kubectl().apply(&writer).expect_success();
    tenant.phase("stubborn", "Running");
    tenant
        .attacker()
        .run(&["delete", "pod", "stubborn", "--grace-period=0", "--force", "--wait=false"])
        .expect_success();
    eventually("it is gone when its kubelet said so", SOON, || {
        let pod = tenant.kubectl().get("pod", "stubborn");
        assert!(!tenant.writers("model").iter().any(|writer| writer["vanished"] == true), "{pod}");
        if pod.is_null() { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    eventually("nobody writes", SOON, || {
        let writers = tenant.writers("model");
        if writers.is_empty() { Ok(()) } else { Err(format!("{writers:?}")) }
    });
    // One that never ran leaves nothing behind either.
    let mut nowhere = tenant.writer("nowhere", "model", "true");
    nowhere["spec"]["nodeSelector"] = json!({ "e2e.weighbridge.dev/none": "such" });
    tenant.kubectl().apply(&nowhere).expect_success();
    eventually("it is let go", SOON, || {
        let pod = tenant.kubectl().get("pod", "nowhere");
        if is_held(&pod) { Err(pod["spec"].to_string()) } else { Ok(()) }
    });
    tenant.kubectl().run(&["delete", "pod", "nowhere", "--timeout=60s"]).expect_success();
    eventually("the model serves again", SOON, || tenant.kubectl().create(&tenant.pod("late", "model")).succeeded());
}

#[test]
fn a_writer_from_before_that_vanishes_counts_until_a_person_says_otherwise() {
    let (tenant, key) = (Cluster::from_environment().tenant("before", &[]), Key::generate());
    tenant.claim("model").sign(&key);
    tenant.kubectl().apply(&tenant.writer("old", "model", "sleep 1000000")).expect_success();
    tenant.phase("old", "Running");
    tenant.enforce(&tenant.policy(&key));
    refused(&tenant.kubectl(), &tenant.pod("early", "model"), "BeingWritten");
    // It has no finalizer of ours, so nobody sees how it ends.
    tenant.kubectl().run(&["delete", "pod", "old", "--grace-period=0", "--force"]).expect_success();
    eventually("it has vanished", SOON, || {
        let writers = tenant.writers("model");
        if writers.iter().any(|writer| writer["vanished"] == true) { Ok(()) } else { Err(format!("{writers:?}")) }
    });
    tenant.kubectl().create(&tenant.pod("still", "model")).expect_refusal(&["[BeingWritten]"]);
    let name = tenant.store("model")["metadata"]["name"].as_str().expect("a name").to_owned();
    let annotation = "weighbridge.dev/clear-writers=1";
    tenant.cluster().own().run(&["annotate", "backingstore", &name, annotation]).expect_success();
    eventually("the model serves", SOON, || tenant.kubectl().create(&tenant.pod("late", "model")).succeeded());
}

#[test]
fn a_writer_that_runs_when_a_policy_comes_to_deny_counts_from_then_on() {
    let (tenant, key) = (Cluster::from_environment().tenant("arming", &[]), Key::generate());
    let model = tenant.claim("model");
    model.sign(&key);
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!(["Audit"]);
    tenant.enforce(&policy);
    assert_eq!(tenant.record("model").0, "True");
    // Nobody gates it, for nothing is refused here yet.
    let when_told = format!("until [ -e /models/go ]; do sleep 0.2; done; rm /models/go; {ALTER}");
    tenant.kubectl().apply(&tenant.writer("old", "model", &when_told)).expect_success();
    tenant.phase("old", "Running");
    let old = tenant.kubectl().get("pod", "old");
    assert!(!is_held(&old) && old["metadata"]["finalizers"].is_null(), "{old}");
    policy["spec"]["validationActions"] = json!(["Deny"]);
    tenant.enforce(&policy);
    refused(&tenant.kubectl(), &tenant.pod("early", "model"), "BeingWritten");
    assert_eq!(tenant.writers("model").len(), 1);

    let before = tenant.epoch("model");
    model.write("go", b"");
    tenant.phase("old", "Succeeded");
    eventually("what it wrote is found", SOON, || {
        let said = tenant.kubectl().create(&tenant.pod("late", "model"));
        assert!(!said.success, "a reader of what was altered is let in");
        if said.stderr.contains("[ContentMismatch]") { Ok(()) } else { Err(said.to_string()) }
    });
    assert!(tenant.epoch("model") > before && tenant.writers("model").is_empty());
}

#[test]
fn a_writer_that_vanished_counts_until_its_volume_is_detached() {
    let (tenant, key) = (Cluster::from_environment().tenant("detached", &[]), Key::generate());
    let (volume, driver) = (format!("{}-disk", tenant.namespace), format!("{}.csi.example.com", tenant.namespace));
    // A node and a driver that nobody runs: nothing but the API server says what is attached to it.
    let node = format!("{}-node", tenant.namespace);
    let attachment = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": volume },
        "spec": { "attacher": driver, "nodeName": node, "source": { "persistentVolumeName": volume } },
    });
    for object in [
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node }, "spec": { "unschedulable": true } }),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": driver },
            "spec": { "attachRequired": true },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain", "csi": { "driver": driver, "volumeHandle": volume },
                "claimRef": { "namespace": tenant.namespace, "name": "disk" },
            },
        }),
        attachment,
    ] {
        tenant.cluster().kubectl().apply(&object).expect_success();
    }
    tenant.bind("disk", &volume);
    let mut writer = tenant.writer("old", "disk", "sleep 1000000");
    writer["spec"]["nodeName"] = json!(node);
    tenant.kubectl().apply(&writer).expect_success();
    tenant.enforce(&tenant.policy(&key));
    let vanished = || {
        let stores = tenant.cluster().own().list("backingstores");
        let identity = format!("csi:{driver}/{volume}");
        let ours = stores.into_iter().find(|store| store["spec"]["identity"] == identity).unwrap_or_default();
        ours["status"]["writers"].as_array().map(|all| all.iter().filter(|it| it["vanished"] == true).count())
    };
    eventually("it is a writer", SOON, || vanished().map(drop).ok_or_else(String::new));
    tenant.kubectl().run(&["delete", "pod", "old", "--grace-period=0", "--force"]).expect_success();
    eventually("it has vanished", SOON, || (vanished() == Some(1)).then_some(()).ok_or_else(String::new));
    // Each renewal of this Lease ends a round, and the first round after the loss asks what is attached.
    for _ in 0..2 {
        let renewed = || tenant.cluster().own().get("lease", "weighbridge-writers")["spec"]["renewTime"].clone();
        let before = renewed();
        eventually("another round", SOON, || (renewed() != before).then_some(()).ok_or_else(|| before.to_string()));
    }
    assert_eq!(vanished(), Some(1), "it is attached");
    tenant.cluster().kubectl().run(&["delete", "volumeattachment", &volume, "--timeout=30s"]).expect_success();
    eventually("it is cut off", Deadline::seconds(90), || {
        let now = vanished();
        if now.is_none_or(|count| count == 0) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    for kind in ["node", "csidriver", "persistentvolume"] {
        let name = match kind {
            "node" => &node,
            "csidriver" => &driver,
            _ => &volume,
        };
        tenant.cluster().kubectl().run(&["delete", kind, name, "--wait=false"]).expect_success();
    }
}

#[test]
fn a_container_that_has_written_is_not_started_again_by_another_image() {
    let (tenant, key) = tenant("patched");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    let mut pod = tenant.writer("loader", "model", "true");
    let sidecar = json!({
        "name": "log-shipper", "image": tenant.cluster().busybox(), "command": ["sleep", "1000000"],
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    pod["spec"]["containers"].as_array_mut().expect("containers").push(sidecar);
    tenant.kubectl().apply(&pod).expect_success();
    eventually("its writing has ended", SOON, || {
        let pod = tenant.kubectl().get("pod", "loader");
        if pod["metadata"]["finalizers"].is_null() { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    eventually("the model serves while the sidecar runs on", SOON, || {
        tenant.kubectl().create(&tenant.pod("chat", "model")).succeeded()
    });
    let image = |container: &str| format!("{container}={}", tenant.cluster().busybox().replace("busybox", "other"));
    let set = |container: &str| tenant.kubectl().run(&["set", "image", "pod/loader", &image(container)]);
    set("server").expect_refusal(&["spec.containers[0].volumeMounts[0]", "[WriterNotAllowed]"]);
    set("log-shipper").expect_success();
}

/// How many claims the race is run on at a time, and how often on each: a hundred rounds in all.
const LANES: u32 = 5;
const ROUNDS: u32 = 20;

#[test]
fn a_hundred_races_of_a_loader_with_a_server() {
    let (tenant, key) = tenant("race");
    let served = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (tenant, key, served) = (&tenant, &key, &served);
            scope.spawn(move || race(tenant, key, &format!("model-{lane}"), served));
        }
    });
    let served = served.into_inner();
    println!("{served} of {} servers were let in", 2 * LANES * ROUNDS);
    assert!(served > 0, "nobody was let in, so nothing was shown");
}

/// Alters a model and puts it right, by turns, while servers start; what these read is what was signed.
fn race(tenant: &Tenant, key: &Key, claim: &str, served: &AtomicU32) {
    let model = tenant.claim(claim);
    model.sign(key);
    let file = "/models/weights/model-00001.safetensors";
    let signed = std::fs::read(model.root().join("weights/model-00001.safetensors")).expect("the weights");
    let original = signed[7];
    assert_eq!(tenant.record(claim).0, "True");
    for round in 0..ROUNDS {
        let byte = if round % 2 == 0 { original.wrapping_add(1) } else { original };
        let script = format!("printf '\\{byte:03o}' | dd of={file} bs=1 seek=7 conv=notrunc");
        let loader = tenant.writer(&format!("{claim}-loader-{round}"), claim, &script);
        let names: Vec<String> = (0..2).map(|which| format!("{claim}-server-{round}-{which}")).collect();
        let server = |name: &String| {
            let mut pod = tenant.pod(name, claim);
            pod["spec"]["restartPolicy"] = json!("Never");
            let read = format!("dd if={file} bs=1 skip=7 count=1 2>/dev/null | od -An -tu1 > /dev/termination-log");
            pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", read]);
            pod
        };
        let let_in: Vec<&String> = std::thread::scope(|scope| {
            let loading = scope.spawn(|| tenant.kubectl().create(&loader));
            let asked = names.iter().filter(|name| tenant.kubectl().create(&server(name)).success).collect();
            loading.join().expect("the loader's creation").expect_success();
            asked
        });
        for name in let_in {
            // One that was let in on the very point of the loader's start is deleted before it starts itself.
            let pod = eventually("the server has read, or is gone", Deadline::seconds(90), || {
                let pod = tenant.kubectl().get("pod", name);
                if pod.is_null() || pod["status"]["phase"] == "Succeeded" { Ok(pod) } else { Err(pod.to_string()) }
            });
            if pod.is_null() {
                continue;
            }
            let read = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].to_string();
            assert_eq!(read.trim_matches(['"', ' ', '\\', 'n']), original.to_string(), "round {round}: {pod}");
            served.fetch_add(1, Ordering::Relaxed);
        }
        let loader = loader["metadata"]["name"].as_str().expect("a name");
        tenant.phase(loader, "Succeeded");
        let expected = if byte == original { "Verified" } else { "ContentMismatch" };
        eventually("what the loader left is known", SOON, || {
            let (_, reason) = tenant.condition("modelverification", &record_name(claim, ""), "Verified");
            if reason == expected { Ok(()) } else { Err(reason) }
        });
        let mut pods: Vec<&str> = names.iter().map(String::as_str).collect();
        pods.push(loader);
        let delete = [&["delete", "pods", "--ignore-not-found", "--wait=false"], &pods[..]].concat();
        tenant.kubectl().run(&delete).expect_success();
    }
}
