use super::*;
use crate::workload::FieldPath;
use crate::workload::model_uses;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

fn matching(models: Value, exclude: Value) -> Matching {
    let models: Option<Vec<ModelSelector>> = serde_json::from_value(models).unwrap();
    let exclude: Vec<Exclusion> = serde_json::from_value(exclude).unwrap();
    let (matching, problems) = Matching::compile(models.as_deref(), &exclude);
    assert_eq!(problems, [""; 0]);
    matching
}

/// The one use of a Pod that mounts a volume of this source at `/models/llama`.
fn mounted(source: Value) -> ModelUse {
    let mut volume = source;
    volume["name"] = json!("v");
    let mounts = json!([{ "name": "v", "mountPath": "/models/llama" }]);
    let spec = json!({ "containers": [{ "name": "c", "volumeMounts": mounts }], "volumes": [volume] });
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    model_uses(&spec, &Labels::new(), &FieldPath("spec".into())).remove(0)
}

fn claim() -> ModelUse {
    mounted(json!({ "persistentVolumeClaim": { "claimName": "models" } }))
}

fn labels(text: &str) -> Labels {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
}

const SELECTOR: &str = "kind=model";

fn by_label() -> Value {
    json!({ "claims": { "selector": { "matchLabels": { "kind": "model" } } } })
}

#[test]
fn items_of_models_are_alternatives() {
    let labelled = labels(SELECTOR);
    let other = labels("kind=cache");
    let facts = |labels| SourceFacts { labels, ..Default::default() };
    for (models, labels, expected) in [
        (json!(null), Some(&other), true),
        (json!([by_label()]), Some(&labelled), true),
        (json!([by_label()]), Some(&other), false),
        (json!([by_label()]), None, true),
        (json!([{ "mountPaths": ["/models/**"] }]), Some(&other), true),
        (json!([{ "mountPaths": ["/models/llama/7b"] }]), Some(&other), true),
        (json!([{ "mountPaths": ["/weights/**"] }]), Some(&other), false),
        (json!([by_label(), { "mountPaths": ["/models/*"] }]), Some(&other), true),
    ] {
        assert_eq!(matching(models.clone(), json!([])).selects(&claim(), &facts(labels)), expected, "{models}");
    }
}

#[test]
fn only_claims_have_labels() {
    let host_path = mounted(json!({ "hostPath": { "path": "/m" } }));
    assert!(!matching(json!([by_label()]), json!([])).selects(&host_path, &SourceFacts::default()));
}

#[test]
fn inline_volumes_are_excluded_by_what_they_say_themselves() {
    let csi = mounted(json!({ "csi": { "driver": "secrets-store.csi.k8s.io" } }));
    let by_driver = matching(json!(null), json!([{ "csiDrivers": ["secrets-store.csi.k8s.io"] }]));
    assert!(!by_driver.selects(&csi, &SourceFacts::default()));
    assert!(by_driver.selects(&claim(), &SourceFacts::default()));
    let spec = json!({ "storageClassName": "scratch", "dataSource": { "kind": "VolumeSnapshot", "name": "s" } });
    let ephemeral = mounted(json!({ "ephemeral": { "volumeClaimTemplate": { "spec": spec } } }));
    let by_class = matching(json!(null), json!([{ "storageClasses": ["scratch"] }]));
    assert!(!by_class.selects(&ephemeral, &SourceFacts::default()));
}

#[test]
fn exclusions_win_over_records_and_records_over_models() {
    let recorded = SourceFacts { recorded: true, storage_class: Some("scratch"), ..Default::default() };
    let elsewhere = json!([{ "mountPaths": ["/weights/**"] }]);
    assert!(matching(elsewhere.clone(), json!([])).selects(&claim(), &recorded));
    assert!(!matching(elsewhere, json!([{ "storageClasses": ["scratch"] }])).selects(&claim(), &recorded));
}

#[test]
fn claims_are_read_ahead_only_where_their_labels_select_them() {
    let labelled = labels(SELECTOR);
    let facts = SourceFacts { labels: Some(&labelled), storage_class: Some("fast"), ..Default::default() };
    for (models, exclude, expected) in [
        (json!(null), json!([]), false),
        (json!([{ "mountPaths": ["/**"] }]), json!([]), false),
        (json!([by_label()]), json!([]), true),
        (json!([by_label()]), json!([{ "storageClasses": ["fast"] }]), false),
        (json!([by_label()]), json!([{ "mountPaths": ["/**"] }]), true),
    ] {
        assert_eq!(matching(models.clone(), exclude).selects_claim_ahead(&facts), expected, "{models}");
    }
}
