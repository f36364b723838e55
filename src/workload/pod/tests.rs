use super::*;
use crate::workload::new_pod::read_both_ways;
use crate::workload::{Shadow, ShadowedBy, Source};
use serde_json::{Value, json};

fn uses_of(spec: Value) -> Vec<ModelUse> {
    let spec = read_both_ways(spec);
    model_uses(&spec, &BTreeMap::new(), &FieldPath("spec".into()))
}

/// A Pod with one container that has these mounts, and the volumes `models` (a claim), `image`, `tmp` (an emptyDir).
fn with_mounts(mounts: Value) -> Value {
    json!({ "containers": [{ "name": "c", "volumeMounts": mounts }], "volumes": [
        { "name": "models", "persistentVolumeClaim": { "claimName": "claim" } },
        { "name": "image", "image": { "reference": "r/m:1" } },
        { "name": "tmp", "emptyDir": {} },
    ]})
}

fn claim(path: &str) -> Source {
    Source::Claim { name: "claim".into(), path: path.into() }
}

#[test]
fn a_volume_that_nobody_mounts_is_no_use() {
    assert_eq!(uses_of(with_mounts(json!([]))), []);
    assert_eq!(uses_of(with_mounts(json!([{ "name": "tmp", "mountPath": "/tmp" }]))), []);
}

#[test]
fn containers_of_every_kind_use_models() {
    let container = json!([{ "name": "c", "volumeMounts": [{ "name": "models", "mountPath": "/m" }] }]);
    let mut spec = with_mounts(json!([{ "name": "models", "mountPath": "/m" }]));
    spec["initContainers"] = container.clone();
    spec["ephemeralContainers"] = container;
    let at: Vec<String> = uses_of(spec).iter().map(|model_use| model_use.at.to_string()).collect();
    assert_eq!(
        at,
        [
            "spec.initContainers[0].volumeMounts[0]",
            "spec.containers[0].volumeMounts[0]",
            "spec.ephemeralContainers[0].volumeMounts[0]",
        ]
    );
}

#[test]
fn sub_paths_are_normalised_or_refused() {
    for (sub_path, expected) in [("a//b/.", Some("a/b")), ("", Some("")), ("../a", None), ("a/../b", None)] {
        let uses = uses_of(with_mounts(json!([{ "name": "models", "mountPath": "/m", "subPath": sub_path }])));
        match expected {
            Some(path) => assert_eq!(uses[0].source, claim(path)),
            None => assert!(matches!(&uses[0].source, Source::Opaque(opaque) if opaque.claim.is_some())),
        }
    }
    let uses = uses_of(with_mounts(json!([{ "name": "models", "mountPath": "/m", "subPathExpr": "$(POD)" }])));
    assert!(matches!(&uses[0].source, Source::Opaque(opaque) if opaque.kind == "subPathExpr in claim"));
}

#[test]
fn access_is_what_mount_volume_and_privileges_say() {
    let access = |mount: Value, volume: bool, security: Value| {
        let mut spec = with_mounts(json!([mount]));
        spec["volumes"][0]["persistentVolumeClaim"]["readOnly"] = json!(volume);
        spec["initContainers"] = json!([{ "name": "i", "securityContext": security }]);
        uses_of(spec).remove(0).access
    };
    let writable = json!({ "name": "models", "mountPath": "/m" });
    let read_only = json!({ "name": "models", "mountPath": "/m", "readOnly": true });
    let image = json!({ "name": "image", "mountPath": "/m" });
    let privileged = json!({ "privileged": true });
    assert_eq!(access(writable.clone(), false, json!({})), Access::ReadWrite);
    assert_eq!(access(read_only.clone(), false, json!({})), Access::ReadOnly);
    assert_eq!(access(writable, true, json!({})), Access::ReadOnly);
    assert_eq!(access(read_only, false, privileged.clone()), Access::ReadWrite, "of every claim that the Pod mounts");
    assert_eq!(access(image, false, privileged), Access::ReadOnly);
}

#[test]
fn the_privilege_that_makes_a_mount_writable_is_named() {
    let mut spec = with_mounts(json!([{ "name": "models", "mountPath": "/m", "readOnly": true }]));
    spec["containers"][0]["securityContext"] = json!({ "capabilities": { "add": ["SYS_ADMIN"] } });
    let field = "spec.containers[0].securityContext.capabilities.add";
    assert_eq!(uses_of(spec)[0].privileged_by, Some(FieldPath(field.into())));
}

fn shadows_of(mounts: Value) -> Vec<(String, ShadowedBy)> {
    let shadows = uses_of(with_mounts(mounts)).remove(0).shadows;
    shadows.into_iter().map(|Shadow { at, by }| (at.0.replace("spec.containers[0].", ""), by)).collect()
}

#[test]
fn a_mount_at_or_below_hides_a_part() {
    let model = json!({ "name": "models", "mountPath": "/models/llama" });
    for (name, path, expected) in [
        ("tmp", "/models/llama/config", Some(ShadowedBy::Mount)),
        ("tmp", "/models/x/../llama/", Some(ShadowedBy::Mount)),
        ("image", "/models/llama/adapter", Some(ShadowedBy::Use(1))),
        ("tmp", "/models", None),
        ("tmp", "/models/llama2", None),
    ] {
        let found = shadows_of(json!([model, { "name": name, "mountPath": path }]));
        let expected: Vec<_> = expected.into_iter().map(|by| ("volumeMounts[1]".to_owned(), by)).collect();
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn one_file_keeps_its_name_and_its_place() {
    for (sub_path, path, renamed) in [
        ("llama/config.json", "/m/config.json", false),
        ("llama/config.json", "/m/tokenizer.json", true),
        ("llama/weights", "/m/model.gguf", true),
        ("llama.gguf", "/model.gguf", true),
        ("llama", "/models", false),
        ("llama/8b", "/models/llama-3.1", false),
        ("llama", "/root/.cache", false),
        ("", "/models/llama.d", false),
    ] {
        let found = shadows_of(json!([{ "name": "models", "mountPath": path, "subPath": sub_path }]));
        assert_eq!(found.iter().any(|(_, by)| *by == ShadowedBy::OtherName), renamed, "{sub_path} {path}");
    }
    for (sub_path, renamed) in [("llama/config.json", false), ("llama/x/config.json", true), ("config.json", true)] {
        let uses = uses_of(with_mounts(json!([
            { "name": "models", "mountPath": "/m", "subPath": "llama" },
            { "name": "models", "mountPath": "/m/config.json", "subPath": sub_path },
        ])));
        let found = uses[1].shadows.iter().any(|shadow| shadow.by == ShadowedBy::OtherName);
        assert_eq!(found, renamed, "{sub_path}");
    }
}

#[test]
fn sub_path_expressions_are_expanded_from_what_stands_in_the_pod() {
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let mut spec = with_mounts(json!([{ "name": "models", "mountPath": "/m", "subPathExpr": "$(ORG)/$(NS)" }]));
    spec["containers"][0]["env"] = json!([
        { "name": "ORG", "value": "acme" }, { "name": "NS", "valueFrom": field("metadata.namespace") },
        { "name": "LABEL", "valueFrom": field("metadata.labels['a']") },
        { "name": "POD", "valueFrom": field("metadata.name") },
    ]);
    let source = |spec: &Value, named: bool| {
        let spec = read_both_ways(spec.clone());
        let at = FieldPath("spec".into());
        let (annotations, claims) = (BTreeMap::new(), HashMap::new());
        let pod = PodFields { name: Some("chat-0").filter(|_| named), namespace: Some("team") };
        let around = Around { annotations: &annotations, at: &at, claims: &claims, pod };
        model_uses_in(&spec, around).remove(0).source
    };
    assert_eq!(source(&spec, true), claim("acme/team"));
    for (expression, named, expected) in [
        ("$(POD)", true, Some("chat-0")),
        ("$(POD)", false, None),
        ("$(LABEL)", true, None),
        ("$(UNSET)", true, None),
        ("$(ORG)/../x", true, None),
    ] {
        spec["containers"][0]["volumeMounts"][0]["subPathExpr"] = json!(expression);
        match expected {
            Some(path) => assert_eq!(source(&spec, named), claim(path), "{expression}"),
            None => assert!(matches!(source(&spec, named), Source::Opaque(_)), "{expression}"),
        }
    }
}

#[test]
fn mount_propagation_could_hide_a_part() {
    for (mode, expected) in [("None", 0), ("HostToContainer", 1), ("Bidirectional", 1)] {
        let found = shadows_of(json!([{ "name": "models", "mountPath": "/m", "mountPropagation": mode }]));
        assert_eq!(found.len(), expected, "{mode}");
        assert!(found.iter().all(|(_, by)| *by == ShadowedBy::Propagation));
    }
}

#[test]
fn the_file_that_the_kubelet_mounts_hides_a_part() {
    let mut spec = with_mounts(json!([{ "name": "models", "mountPath": "/m" }]));
    assert_eq!(uses_of(spec.clone())[0].shadows, []);
    spec["containers"][0]["terminationMessagePath"] = json!("/m/config.json");
    let at = FieldPath("spec.containers[0].terminationMessagePath".into());
    assert_eq!(uses_of(spec)[0].shadows, [Shadow { at, by: ShadowedBy::Mount }]);
}

#[test]
fn other_containers_hide_nothing() {
    let mut spec = with_mounts(json!([{ "name": "models", "mountPath": "/m" }]));
    spec["initContainers"] = json!([{ "name": "i", "volumeMounts": [{ "name": "tmp", "mountPath": "/m/x" }] }]);
    assert_eq!(uses_of(spec)[0].shadows, []);
}

#[test]
fn mount_paths_are_those_of_the_claim_by_whatever_volume() {
    let mut spec = with_mounts(json!([
        { "name": "models", "mountPath": "/cache/a" },
        { "name": "again", "mountPath": "/models" },
        { "name": "image", "mountPath": "/image" },
    ]));
    let again = json!({ "name": "again", "persistentVolumeClaim": { "claimName": "claim" } });
    spec["volumes"].as_array_mut().unwrap().push(again);
    let uses = uses_of(spec);
    let paths = |index: usize| uses[index].mount().unwrap().paths.clone();
    assert_eq!(paths(0), ["/cache/a", "/models"]);
    assert_eq!(paths(1), paths(0));
    assert_eq!(paths(2), ["/image"]);
}

#[test]
fn a_block_device_is_opaque() {
    let mut spec = with_mounts(json!([]));
    spec["containers"][0]["volumeDevices"] = json!([{ "name": "models", "devicePath": "/dev/x" }]);
    let uses = uses_of(spec);
    assert_eq!(uses[0].at.to_string(), "spec.containers[0].volumeDevices[0]");
    assert!(matches!(&uses[0].source, Source::Opaque(it) if it.kind == "block device" && it.target == "claim"));
}

#[test]
fn a_mount_of_an_undeclared_volume_is_opaque() {
    let uses = uses_of(with_mounts(json!([{ "name": "ghost", "mountPath": "/m" }])));
    assert!(matches!(&uses[0].source, Source::Opaque(_)));
}

#[test]
fn annotations_are_taken_by_volume() {
    let spec = read_both_ways(with_mounts(json!([{ "name": "models", "mountPath": "/m" }])));
    let annotations = BTreeMap::from([("digest.weighbridge.dev/models".to_owned(), "sha256:1".to_owned())]);
    let uses = model_uses(&spec, &annotations, &FieldPath("spec".into()));
    assert_eq!(uses[0].annotations, Claims { digest: Some("sha256:1".into()), signature: None });
}
