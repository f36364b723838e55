//! What a workload and what it makes are, together.

use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::{VerdictKind, WorkloadReference, WorkloadVerificationStatus};
use crate::decision::fixture::{World, compile, now};
use crate::operator::workloads::status;
use crate::workload::CustomKinds;

fn service(uri: &str) -> Extract {
    let spec = json!({ "predictor": { "model": { "storageUri": uri } } });
    let object = json!({ "metadata": { "name": "chat", "namespace": "team" }, "spec": spec });
    CustomKinds::default().extract("serving.kserve.io", "v1beta1", "InferenceService", &object).unwrap()
}

fn judged(uri: &str, made: &[World]) -> Decision {
    let world = World::new();
    let snapshot = Snapshot { policies: compile(&world.policies), evidence: world.evidence(), ..Snapshot::default() };
    let workload = Workload {
        namespace: "team".into(),
        reference: WorkloadReference::default(),
        generation: None,
        extract: service(uri),
        made: made.iter().map(World::extract).collect(),
        held: 0,
    };
    judge(&snapshot, &workload, now())
}

/// Each violation as `<where> <code>`.
fn violations(decision: &Decision) -> Vec<String> {
    decision.violations.iter().map(|it| format!("{} {}", it.at, it.code)).collect()
}

#[test]
fn a_custom_resource_complies_when_all_that_it_makes_does() {
    let decision = judged("pvc://models", &[World::new()]);
    assert_eq!(violations(&decision), [""; 0]);
    assert_eq!((decision.models.len(), decision.policies.len()), (2, 1));
    let status = status::status(&WorkloadVerificationStatus::default(), &decision, None, 0, now());
    assert_eq!(status.verdict, Some(VerdictKind::Verified));
    assert!(status.models.iter().all(|model| model.signer.as_deref() == Some("production/release-key")), "{status:?}");
}

#[test]
fn what_it_makes_is_named_where_that_is_at_fault() {
    let writable = |world: &mut World| world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    let decision = judged("pvc://models", &[World::new().with(writable)]);
    assert_eq!(violations(&decision), ["Pod llama: spec.containers[0].volumeMounts[0] Writable"]);
    let decision = judged("hf://acme/llama", &[World::new()]);
    assert_eq!(violations(&decision), ["spec.predictor.model.storageUri NotVerifiable"]);
}

#[test]
fn what_a_template_says_again_stands_once_in_the_status() {
    let decision = judged("pvc://models", &[World::new(), World::new(), World::new()]);
    let status = status::status(&WorkloadVerificationStatus::default(), &decision, None, 0, now());
    let named: Vec<(&str, Value)> =
        status.models.iter().map(|model| (model.container.as_str(), json!(model.volume))).collect();
    assert_eq!(named, [("", json!(null)), ("server", json!("models"))]);
}
