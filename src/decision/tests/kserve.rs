//! Pods as KServe makes them are Pods like any other: whatever way its webhook and controllers bring the model in by.

use serde_json::Value;

use super::*;

const SERVER: &str = "kserve/huggingfaceserver:v0.15.0";
const INITIALIZER: &str = "kserve/storage-initializer:v0.15.0";

/// The Pod of an InferenceService: its server with these arguments and mounts, and what else the Pod has.
fn pod(arguments: &[&str], mounts: Value, rest: Value) -> World {
    World::new().with(|world| {
        let server = json!({ "name": "kserve-container", "image": SERVER, "args": arguments, "volumeMounts": mounts });
        world.pod = rest;
        let containers = world.pod["containers"].as_array().cloned().unwrap_or_default();
        world.pod["containers"] = [server].into_iter().chain(containers).collect();
    })
}

const MOUNT: &str = "spec.containers[0].volumeMounts[0]";
const DIR: &str = "--model_dir=/mnt/models";

/// Where a storage initializer puts what it fetched.
fn provisioned(uris: &[&str]) -> World {
    let mount = |read_only: bool| json!([{ "name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": read_only }]);
    let initializer =
        json!({ "name": "storage-initializer", "image": INITIALIZER, "args": uris, "volumeMounts": mount(false) });
    let volumes = json!([{ "name": "kserve-provision-location", "emptyDir": {} }]);
    pod(&["--model_name=chat", DIR], mount(true), json!({ "initContainers": [initializer], "volumes": volumes }))
}

/// A claim that is mounted straight into the server.
fn claim(sub_path: &str) -> World {
    let mount =
        json!({ "name": "kserve-pvc-source", "mountPath": "/mnt/models", "subPath": sub_path, "readOnly": true });
    let volumes = json!([{ "name": "kserve-pvc-source", "persistentVolumeClaim": { "claimName": "models" } }]);
    pod(&["--model_name=chat", DIR], json!([mount]), json!({ "volumes": volumes }))
}

/// Each violation as `<where> <code>`.
fn violations(world: &World) -> Vec<String> {
    world.decide().violations.iter().map(|it| format!("{} {}", it.at, it.code)).collect()
}

#[test]
fn a_claim_is_mounted_straight_into_the_server() {
    let world = claim("").with(|world| world.records = vec![verified_record("")]);
    let decision = world.decide();
    assert_eq!(decision.violations, []);
    let judged: Vec<String> = decision.models.iter().map(|it| format!("{} {}", it.model_use.at, it.source())).collect();
    assert_eq!(judged, ["spec.containers[0].volumeMounts[0] claim/models"]);
    let world = claim("llama").with(|world| world.records = vec![verified_record("llama")]);
    assert_eq!(violations(&world), [""; 0]);
    let world = claim("other").with(|world| world.records = vec![verified_record("llama")]);
    assert_eq!(violations(&world), [format!("{MOUNT} NotVerifiedYet")]);
    let writable = |world: &mut World| world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    assert_eq!(violations(&claim("").with(writable)), [format!("{MOUNT} Writable")]);
}

#[test]
fn what_a_storage_initializer_fetches_is_seen_there_and_where_it_is_served() {
    let fetched = |arguments: &[usize]| -> Vec<String> {
        let initializer = arguments.iter().map(|index| format!("spec.initContainers[0].args[{index}] NotVerifiable"));
        initializer.chain(["spec.containers[0].args[1] NotVerifiable".to_owned()]).collect()
    };
    assert_eq!(violations(&provisioned(&["hf://acme/llama:main", "/mnt/models"])), fetched(&[0]));
    let two = ["s3://b/a", "/mnt/models/a", "hf://acme/b", "/mnt/models/b"];
    assert_eq!(violations(&provisioned(&two)), fetched(&[0, 2]));
    assert_eq!(violations(&provisioned(&["pvc://models/llama", "/mnt/models"])), fetched(&[0]));
    // Annotations of KServe are nobody's word.
    let forged = provisioned(&["hf://acme/llama", "/mnt/models"]).with(|world| {
        world.annotations = json!({ "internal.serving.kserve.io/storage-initializer-sourceuri": "pvc://models" });
    });
    assert_eq!(violations(&forged), fetched(&[0]));
}

#[test]
fn what_an_initializer_copies_out_of_a_claim_is_not_what_was_verified() {
    let world = provisioned(&["/mnt/pvc/llama", "/mnt/models"]).with(|world| {
        let mount = json!({ "name": "kserve-pvc-source", "mountPath": "/mnt/pvc", "readOnly": true });
        world.pod["initContainers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
        let volume = json!({ "name": "kserve-pvc-source", "persistentVolumeClaim": { "claimName": "models" } });
        world.pod["volumes"].as_array_mut().unwrap().push(volume);
    });
    assert_eq!(violations(&world), ["spec.containers[0].args[1] NotVerifiable"]);
}

#[test]
fn a_modelcar_is_another_containers_file_system() {
    let mount = json!([{ "name": "modelcar", "mountPath": "/mnt" }]);
    let modelcar = json!({ "name": "modelcar", "image": "registry.example/llama:8b", "volumeMounts": mount,
        "command": ["sh", "-c", "ln -sf /proc/$$$$/root/models /mnt/models && sleep infinity"] });
    let init = json!({ "name": "modelcar-init", "image": "registry.example/llama:8b",
        "command": ["sh", "-c", "echo 'Pre-fetching modelcar' && test -d /models"] });
    let rest = json!({ "shareProcessNamespace": true, "initContainers": [init], "containers": [modelcar],
        "volumes": [{ "name": "modelcar", "emptyDir": {} }] });
    let world = pod(&[DIR], mount, rest).with(|world| {
        world.pod["containers"][0]["env"] = json!([{ "name": "MODEL_INIT_MODE", "value": "async" }]);
    });
    assert_eq!(violations(&world), ["spec.containers[0].args[0] NotVerifiable"]);
}

#[test]
fn an_image_volume_is_a_source_of_its_own() {
    let mount = json!([{ "name": "mnt-models", "mountPath": "/mnt/models", "subPath": "models", "readOnly": true }]);
    let image = json!({ "reference": "registry.example/llama:8b", "pullPolicy": "IfNotPresent" });
    let world = pod(&[DIR], mount, json!({ "volumes": [{ "name": "mnt-models", "image": image }] }));
    assert_eq!(violations(&world), [format!("{MOUNT} NotVerifiable")]);
}
