//! Pods that wait: the mutating webhook puts a gate on them, and the validating one wants to see it.

use super::*;
use crate::policy::PolicyName;

/// Nothing is known of any model, and the policy holds what uses one.
fn hold(snapshot: &Snapshot, extract: &Extract, now: Timestamp) -> Decision {
    let mut decision = refuse(snapshot, extract, now);
    decision.enforced_by = Some(PolicyName::Cluster("production".into()));
    for violation in &mut decision.violations {
        violation.code = UnknownCode::NotVerifiedYet.into();
        violation.action = if extract.subject.stage == Stage::Pod { Action::Hold } else { Action::Warn };
    }
    decision
}

fn scene() -> Scene {
    Scene::deciding(snapshot(&["serving"], &["models"]), hold)
}

/// The review that the API server sends next: of the Pod with what the patch made of it.
fn patched(review: &Value, response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch");
    // Bytes as an array of numbers: what Go reads into bytes beside base64.
    let bytes: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&bytes).unwrap();
    let mut review = review.clone();
    json_patch::patch(&mut review["request"]["object"], &patch).unwrap();
    review
}

#[tokio::test]
async fn a_pod_that_must_wait_is_gated_and_let_in() {
    let (scene, review) = (scene(), recorded!("pod-create"));
    let response = scene.review_at("/mutate?timeout=5s", &review).await;
    assert_eq!(response["allowed"], true);
    assert!(scene.asked.0.lock().unwrap().is_empty(), "the same Pod is about to be judged again");
    let gated = patched(&review, &response);
    assert_eq!(
        gated["request"]["object"]["spec"]["schedulingGates"],
        json!([{ "name": "weighbridge.dev/verification" }])
    );
    let again = scene.review_at("/mutate?timeout=5s", &gated).await;
    assert_eq!((&again["allowed"], &again["patch"]), (&json!(true), &Value::Null));

    let response = scene.review(&gated).await;
    assert_eq!(response["allowed"], true);
    assert!(response["warnings"][0].as_str().unwrap().ends_with("[NotVerifiedYet]"), "{response}");
    assert_eq!(scene.reviews(["Pod", "CREATE", "hold"]), 1);
    assert_eq!(scene.asked.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pod_that_must_wait_and_is_not_gated_is_refused() {
    let (scene, review) = (scene(), recorded!("pod-create"));
    let message = async |review: &Value| {
        let response = scene.review(review).await;
        assert_eq!(response["allowed"], false);
        response["status"]["message"].as_str().unwrap().to_owned()
    };
    assert!(message(&review).await.contains("our scheduling gate is missing"));
    let named = with(review.clone(), "/request/object/spec/nodeName", "node-1".into());
    let response = scene.review_at("/mutate?timeout=5s", &named).await;
    assert_eq!(response["patch"], Value::Null, "the API takes no gate on a Pod that names its node");
    assert!(message(&named).await.contains("leave spec.nodeName to the scheduler"));
    let changed = with(update(review), "/request/object/spec/containers/0/image", "other".into());
    assert!(message(&changed).await.contains("let go"));
    let gate = json!([{ "name": "weighbridge.dev/verification" }]);
    assert!(scene.allows(&with(changed, "/request/object/spec/schedulingGates", gate)).await, "it waits already");
}

#[tokio::test]
async fn nothing_else_is_ever_changed() {
    let refused = Scene::new();
    for review in [
        recorded!("pod-create"),
        recorded!("deployment-create"),
        recorded!("pod-delete"),
        recorded!("pod-ephemeral"),
        update(recorded!("pod-create")),
        with(recorded!("pod-create"), "/request/namespace", "kube-system".into()),
    ] {
        let response = refused.review_at("/mutate?timeout=5s", &review).await;
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{review}");
    }
    assert_eq!(refused.post("/mutate", "no JSON").await.status(), StatusCode::BAD_REQUEST);
    let elsewhere = with(recorded!("pod-create"), "/request/namespace", "unseen".into());
    let response = scene().review_at("/mutate?timeout=5s", &elsewhere).await;
    assert!(response["status"]["message"].as_str().unwrap().ends_with("[NotObservedYet]"), "{response}");
}
