use super::*;
use crate::api::v1alpha1::ModelKindSpec;
use serde_json::json;

fn extract(kinds: &CustomKinds, group: &str, version: &str, kind: &str, mut object: Value) -> Extract {
    object["metadata"] = json!({ "name": "m", "namespace": "ns" });
    kinds.extract(group, version, kind, &object).unwrap()
}

/// Each use as `<field> <source>`.
fn uses(extract: &Extract) -> Vec<String> {
    let source = |source: &Source| match source {
        Source::Claim { name, path } => format!("claim/{name}/{path}"),
        Source::Uri(uri) => uri.to_string(),
        Source::Unresolved(unresolved) => format!("?{}", unresolved.what),
        Source::Opaque(opaque) => format!("{} {}", opaque.kind, opaque.target),
    };
    extract.uses.iter().map(|it| format!("{} {}", it.at, source(&it.source))).collect()
}

fn known(group: &str, version: &str, kind: &str, object: Value) -> Vec<String> {
    uses(&extract(&CustomKinds::default(), group, version, kind, object))
}

#[test]
fn models_are_found_where_each_stack_names_them() {
    let mounted = json!({ "containers": [{ "name": "c", "volumeMounts": [{ "name": "v", "mountPath": "/m" }] }],
        "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "models" } }] });
    let template = json!({ "spec": mounted });
    let serve =
        "applications: [{args: {llm_configs: [{model_loading_config: {model_id: a, model_source: s3://b/c}}]}}]";
    for (group, version, kind, object, expected) in [
        (
            "serving.kserve.io",
            "v1beta1",
            "InferenceService",
            json!({ "spec": { "predictor": { "model": { "storageUri": "pvc://models/llama" } } } }),
            vec!["spec.predictor.model.storageUri claim/models/llama"],
        ),
        (
            "serving.kserve.io",
            "v1beta1",
            "InferenceService",
            json!({ "spec": { "predictor": { "storageUris": [{ "uri": "hf://a/b" }] },
                "canary": [{ "predictor": { "sklearn": { "storageUri": "gs://b/c" } } }] } }),
            vec!["spec.canary[0].predictor.sklearn.storageUri gs://b/c", "spec.predictor.storageUris[0].uri hf://a/b"],
        ),
        (
            "serving.kserve.io",
            "v1beta1",
            "InferenceService",
            json!({ "spec": { "predictor": { "model": { "storage": { "key": "s3", "path": "m" } } } } }),
            vec!["spec.predictor.model.storage ?which model stands for is known to its controller alone"],
        ),
        (
            "serving.kserve.io",
            "v1alpha1",
            "LLMInferenceService",
            json!({ "spec": { "model": { "uri": "oci://r/m", "lora": { "adapters": [{ "uri": "hf://a/l" }] } }, "template": mounted } }),
            vec![
                "spec.model.uri oci://r/m",
                "spec.model.lora.adapters[0].uri hf://a/l",
                "spec.template.containers[0].volumeMounts[0] claim/models/",
            ],
        ),
        (
            "serving.kserve.io",
            "v1alpha1",
            "TrainedModel",
            json!({ "spec": { "model": { "storageUri": "s3://b/m" } } }),
            vec!["spec.model.storageUri s3://b/m"],
        ),
        (
            "ray.io",
            "v1",
            "RayService",
            json!({ "spec": { "serveConfigV2": serve, "rayClusterConfig": { "headGroupSpec": { "template": template } } } }),
            vec![
                "spec.serveConfigV2.applications[0].args.llm_configs[0].model_loading_config.model_id a",
                "spec.serveConfigV2.applications[0].args.llm_configs[0].model_loading_config.model_source s3://b/c",
                "spec.rayClusterConfig.headGroupSpec.template.spec.containers[0].volumeMounts[0] claim/models/",
            ],
        ),
        (
            "leaderworkerset.x-k8s.io",
            "v1",
            "LeaderWorkerSet",
            json!({ "spec": { "leaderWorkerTemplate": { "workerTemplate": template } } }),
            vec!["spec.leaderWorkerTemplate.workerTemplate.spec.containers[0].volumeMounts[0] claim/models/"],
        ),
        (
            "kaito.sh",
            "v1beta1",
            "Workspace",
            json!({ "inference": { "preset": { "name": "phi-3" }, "adapters": [{ "source": { "image": "r/a:1" } }] } }),
            vec![
                "inference.adapters[0].source.image image volume r/a:1",
                "inference.preset.name ?which model \"phi-3\" stands for is known to its controller alone",
            ],
        ),
        (
            "apps.nvidia.com",
            "v1alpha1",
            "NIMService",
            json!({ "spec": { "image": { "repository": "r" }, "storage": { "pvc": { "name": "nim" } } } }),
            vec!["spec.storage.pvc.name claim/nim/"],
        ),
        (
            "ome.io",
            "v1beta1",
            "BaseModel",
            json!({ "spec": { "storage": { "storageUri": "pvc://other:models/x" } } }),
            vec!["spec.storage.storageUri pvc://other:models/x"],
        ),
    ] {
        assert_eq!(known(group, version, kind, object), expected, "{kind}");
    }
}

#[test]
fn a_container_beside_the_list_mounts_the_volumes_of_its_pod() {
    let object = json!({ "spec": { "predictor": {
        "model": { "volumeMounts": [{ "name": "v", "mountPath": "/m" }], "securityContext": { "privileged": true } },
        "containers": [{ "name": "own", "volumeMounts": [{ "name": "v", "mountPath": "/o", "readOnly": true }] }],
        "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "models" } }],
        "serviceAccountName": "server",
    }}});
    let found = extract(&CustomKinds::default(), "serving.kserve.io", "v1beta1", "InferenceService", object);
    assert_eq!(
        uses(&found),
        [
            "spec.predictor.containers[0].volumeMounts[0] claim/models/",
            "spec.predictor.model.volumeMounts[0] claim/models/",
        ]
    );
    assert_eq!(found.uses[1].container.name, "model");
    let by = found.uses[0].privileged_by.as_ref().map(|at| at.0.as_str());
    assert_eq!(by, Some("spec.predictor.model.securityContext.privileged"));
    assert_eq!((found.subject.service_account.as_str(), found.subject.stage), ("server", Stage::Template));
}

#[test]
fn shadows_keep_to_their_own_pod() {
    let pod = json!({ "containers": [{ "name": "c", "volumeMounts": [
            { "name": "v", "mountPath": "/m" }, { "name": "w", "mountPath": "/m/w" }] }],
        "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "v" } },
            { "name": "w", "persistentVolumeClaim": { "claimName": "w" } }] });
    let object = json!({ "spec": { "template": pod, "worker": pod } });
    let found = extract(&CustomKinds::default(), "serving.kserve.io", "v1alpha1", "LLMInferenceService", object);
    let shadows: Vec<_> = found.uses.iter().map(|it| it.shadows.first().map(|shadow| shadow.by)).collect();
    assert_eq!(shadows, [Some(ShadowedBy::Use(1)), None, Some(ShadowedBy::Use(3)), None]);
}

#[test]
fn what_loads_into_running_pods_is_judged_as_a_pod_is() {
    let object = json!({ "spec": { "artifactURL": "hf://a/b" } });
    let found = extract(&CustomKinds::default(), "model.aibrix.ai", "v1alpha1", "ModelAdapter", object);
    assert_eq!((found.subject.stage, found.subject.kind.as_str()), (Stage::Pod, "ModelAdapter"));
}

#[test]
fn what_does_not_fit_is_said_never_passed_over() {
    let form = "so nobody can tell which model it names";
    for (version, spec, expected) in [
        (
            "v1beta1",
            json!({ "predictor": { "model": { "storageUri": { "new": "form" } } } }),
            vec![format!("spec.predictor.model.storageUri ?this is not a string, {form}")],
        ),
        (
            "v1beta1",
            json!({ "predictor": { "storageUris": "hf://a/b" } }),
            vec![format!("spec.predictor.storageUris ?this is not a list, {form}")],
        ),
        (
            "v1beta1",
            json!({ "predictor": { "containers": "none" } }),
            vec![format!("spec.predictor ?this is not a spec of Pods, {form}")],
        ),
        ("v1beta1", json!({ "predictor": {} }), vec![]),
        (
            "v1",
            json!({ "model": "hf://a/b" }),
            vec![
                "apiVersion ?InferenceService v1 is not known, and no model was found where others name theirs"
                    .to_owned(),
            ],
        ),
        (
            "v1",
            json!({ "predictor": { "model": { "storageUri": "hf://a/b" } } }),
            vec!["spec.predictor.model.storageUri hf://a/b".to_owned()],
        ),
    ] {
        let found = known("serving.kserve.io", version, "InferenceService", json!({ "spec": spec }));
        assert_eq!(found, expected, "{version} {spec}");
    }
}

#[test]
fn a_path_that_nobody_understands_condemns_what_it_was_written_for() {
    let spec: ModelKindSpec = serde_json::from_value(json!({ "group": "example.com", "kind": "Server",
        "resource": "servers", "paths": { "uris": ["spec[0]"] } }))
    .unwrap();
    let found = extract(&CustomKinds::with([&spec]), "example.com", "v1", "Server", json!({ "spec": [] }));
    assert_eq!(uses(&found), ["spec ?the path \"spec[0]\" in its ModelKind is not understood"]);
}

#[test]
fn kinds_that_are_not_known_are_not_judged() {
    assert_eq!(CustomKinds::default().extract("example.com", "v1", "Server", &json!({})), None);
}
