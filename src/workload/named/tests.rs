use crate::workload::new_pod::read_both_ways;
use crate::workload::{FieldPath, ModelUse, Role, Source, Way, model_uses};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The uses that arguments of vLLM with this model name, beside mounts of a claim, a CSI volume and what Kubernetes makes.
fn named(arguments: &[&str], change: impl FnOnce(&mut Value)) -> Vec<ModelUse> {
    let mut container = json!({
        "name": "c", "image": "vllm", "args": arguments,
        "volumeMounts": [
            { "name": "claim", "mountPath": "/models", "subPath": "llms", "readOnly": true },
            { "name": "csi", "mountPath": "/csi" },
            { "name": "tmp", "mountPath": "/tmp" },
            { "name": "config", "mountPath": "/config" },
            { "name": "secret", "mountPath": "/secret" },
            { "name": "projected", "mountPath": "/projected" },
            { "name": "nested", "mountPath": "/models/cache" },
        ],
        "volumeDevices": [{ "name": "claim", "devicePath": "/dev/model" }],
    });
    change(&mut container);
    let spec = json!({ "containers": [container], "volumes": [
        { "name": "claim", "persistentVolumeClaim": { "claimName": "models" } },
        { "name": "csi", "csi": { "driver": "d" } },
        { "name": "tmp", "emptyDir": {} },
        { "name": "config", "configMap": { "name": "c" } },
        { "name": "secret", "secret": { "secretName": "s" } },
        { "name": "projected", "projected": { "sources": [] } },
        { "name": "nested", "emptyDir": {} },
    ]});
    let uses = model_uses(&read_both_ways(spec), &BTreeMap::new(), &FieldPath("spec".into()));
    uses.into_iter().filter(|it| it.mount().is_none()).collect()
}

/// Where it leads, in short.
fn place(model_use: &ModelUse) -> String {
    let Way::Named(naming) = &model_use.way else { panic!("{model_use:?}") };
    let source = match &model_use.source {
        Source::Claim { name, path } => format!("{name}/{path}"),
        Source::Uri(uri) => uri.to_string(),
        Source::Unresolved(_) => "?".to_owned(),
        Source::Opaque(opaque) => opaque.kind.to_owned(),
    };
    match naming.within {
        Some(index) => format!("{source} in {index}"),
        None => source,
    }
}

#[test]
fn a_path_is_a_part_of_its_mount_or_a_use_of_what_lies_there() {
    for (path, expected) in [
        ("/models/llama", "models/llms/llama in 0"),
        ("/models", "models/llms in 0"),
        ("/models//x/./y/", "models/llms/x/y in 0"),
        ("/csi/llama", "csi in 1"),
        ("/dev/model", "block device in 2"),
        ("/tmp/llama", "model in an emptyDir"),
        ("/models/cache/llama", "model in an emptyDir"),
        ("/config/llama", "model in a ConfigMap"),
        ("/secret/llama", "model in a Secret"),
        ("/projected/llama", "model in a projected volume"),
        ("/modelsx", "model in the container's image"),
        ("/", "model in the container's image"),
        ("./llama", "model in the container's image"),
        ("/proc/1/root/models", "model in another process's files"),
        ("/models/../tmp/llama", "?"),
    ] {
        let found = named(&["--model", path], |_| {});
        assert_eq!(found.iter().map(place).collect::<Vec<_>>(), [expected], "{path}");
    }
}

#[test]
fn a_working_directory_makes_a_relative_path_absolute() {
    let found = named(&["--model", "./llama"], |container| container["workingDir"] = json!("/models"));
    assert_eq!(place(&found[0]), "models/llms/llama in 0");
}

#[test]
fn configuration_counts_where_nobody_signs_it() {
    for (path, expected, role) in [
        ("/config/t.jinja", Some("configuration in a ConfigMap"), Role::Config),
        ("/secret/t.jinja", Some("configuration in a Secret"), Role::Config),
        ("/models/t.jinja", Some("models/llms/t.jinja in 0"), Role::Weights),
        ("/tmp/t.jinja", Some("model in an emptyDir"), Role::Weights),
        ("/opt/t.jinja", None, Role::Weights),
    ] {
        let found = named(&["--model", "/models/m", "--chat-template", path], |_| {});
        let template = found.get(1);
        assert_eq!(template.map(place).as_deref(), expected, "{path}");
        let is_role = |it: &ModelUse| matches!(&it.way, Way::Named(naming) if naming.role == role);
        assert!(template.is_none_or(is_role), "{path}");
    }
}

#[test]
fn a_use_says_where_it_is_declared() {
    let found = named(&["--port", "80", "--model", "acme/llama"], |container| container["env"] = json!([]));
    assert_eq!(found[0].at.0, "spec.containers[0].args[3]");
    let default = named(&[], |_| {});
    assert_eq!(
        (default[0].at.0.as_str(), place(&default[0]).as_str()),
        ("spec.containers[0].image", "hf://Qwen/Qwen3-0.6B")
    );
}

#[test]
fn a_danger_is_one_of_every_use_of_its_container() {
    let found = named(&["--model", "/models/m", "--trust-remote-code"], |_| {});
    assert_eq!(found[0].hazards.len(), 1);
    assert_eq!(found[0].hazards[0].at.0, "spec.containers[0].args[2]");
}

#[test]
fn an_object_that_names_too_much_says_so_once() {
    let arguments: Vec<String> = (0..120).map(|index| format!("a{index}=acme/a{index}")).collect();
    let container = |index: usize| {
        let mut args = vec!["--lora-modules".to_owned()];
        args.extend(arguments.iter().map(|it| it.replace("acme", &format!("acme{index}"))));
        json!({ "name": format!("c{index}"), "image": "vllm", "args": args })
    };
    let spec = json!({ "containers": (0..8).map(container).collect::<Vec<_>>() });
    let uses = model_uses(&read_both_ways(spec), &BTreeMap::new(), &FieldPath("spec".into()));
    assert!(uses.len() > 512 && uses.len() < 540, "{}", uses.len());
    let too_large = |it: &&ModelUse| matches!(&it.source, Source::Unresolved(it) if it.code.as_str() == "TooLarge");
    assert!(uses.iter().any(|it| too_large(&it)));
}
