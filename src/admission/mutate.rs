//! `POST /mutate`: puts our scheduling gate on a new Pod that must wait, before the Pod is judged as it will be stored.
//!
//! Receives reviews of new Pods; promises to judge them as [`super`] does, to change nothing but our gate and our
//! finalizer, and to leave every refusal of a Pod to the judgement that follows, which sees what later webhooks made of
//! it. Never asks for records: the same Pod is about to be judged again.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request as HttpRequest;
use axum::response::{IntoResponse as _, Response};
use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::Rejection;
use super::review::{Deadline, Object, Request};
use super::triage::Pass;
use super::{Looked, Webhook, answer, review};
use crate::api::gate::{GATE, WRITER_FINALIZER};
use crate::decision::{Gates, Gating, gate_due};

/// Where the scheduling gates of a Pod are.
const SCHEDULING_GATES: &str = "/spec/schedulingGates";
/// Where the finalizers of an object are.
const FINALIZERS: &str = "/metadata/finalizers";

/// Answers a review of a new Pod.
pub(super) async fn mutate(State(webhook): State<Webhook>, http: HttpRequest<Body>) -> Response {
    let metrics = &webhook.0.metrics;
    let deadline = Deadline::of(&http, Instant::now());
    let request = match review::read(http, deadline).await {
        Ok(request) => request,
        Err(unreadable) => {
            metrics.gating("rejected");
            return answer::unreadable(unreadable);
        }
    };
    let response = match webhook.due(&request, deadline).await {
        Err(rejection) => {
            metrics.gating("rejected");
            answer::rejected(&request.uid, &rejection)
        }
        Ok(None) => {
            metrics.gating("passed");
            answer::allowed(&request.uid)
        }
        Ok(Some(gating)) => {
            let patch = patch(&request.object, gating);
            metrics.gating(if patch.is_empty() { "passed" } else { "gated" });
            answer::patched(&request.uid, patch)
        }
    };
    Json(response.into_review()).into_response()
}

impl Webhook {
    /// What a new Pod must carry. One that names its node cannot: it is refused when it is judged.
    async fn due(&self, request: &Request, deadline: Deadline) -> Result<Option<Gating>, Rejection> {
        if !request.is_new_pod() {
            return Ok(None);
        }
        let gates = gates(&request.object);
        Ok(match self.look(request, deadline).await? {
            Looked::Passed(
                Pass::Exempt | Pass::Deleting | Pass::SubResource | Pass::Unchanged | Pass::Owned | Pass::Mirror,
            ) => None,
            Looked::Judged(judged) => gate_due(&judged.decision, gates).filter(|_| !gates.node),
        })
    }
}

/// What a Pod carries.
pub(super) fn gates(pod: &Object) -> Gates {
    let pod = match pod {
        Object::NewPod(pod) => {
            let spec = pod.spec.as_ref();
            return Gates::of(
                spec.and_then(|spec| spec.scheduling_gates.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|gate| gate.name.as_str()),
                pod.metadata.finalizers.iter().flatten().map(String::as_str),
                spec.and_then(|spec| spec.node_name.as_deref()),
            );
        }
        Object::Json(pod) => pod,
    };
    let list = |at: &str| pod.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Gates::of(
        list(SCHEDULING_GATES).iter().filter_map(|gate| gate["name"].as_str()),
        list(FINALIZERS).iter().filter_map(Value::as_str),
        pod.pointer("/spec/nodeName").and_then(Value::as_str),
    )
}

/// What is missing, added; also where there is no list to add it to.
fn patch(pod: &Object, gating: Gating) -> Patch {
    let carried = gates(pod);
    let gate = (!carried.ours).then(|| added(pod, SCHEDULING_GATES, json!({ "name": GATE })));
    let finalizer = gating.finalizer && !carried.finalizer;
    let finalizer = finalizer.then(|| added(pod, FINALIZERS, json!(WRITER_FINALIZER)));
    Patch(gate.into_iter().chain(finalizer).collect())
}

fn added(pod: &Object, list: &'static str, item: Value) -> PatchOperation {
    let exists = match pod {
        Object::NewPod(pod) if list == FINALIZERS => pod.metadata.finalizers.is_some(),
        Object::NewPod(pod) => pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.is_some()),
        Object::Json(pod) => pod.pointer(list).is_some_and(Value::is_array),
    };
    let mut path = PointerBuf::parse(list).unwrap_or_default();
    let value = if exists {
        path.push_back("-");
        item
    } else {
        json!([item])
    };
    PatchOperation::Add(AddOperation { path, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added_whether_or_not_there_is_a_list() {
        let (gate, both) = (Gating { finalizer: false }, Gating { finalizer: true });
        let ours = json!({ "name": GATE });
        let other = json!({ "name": "example.com/quota" });
        for (pod, gating, wanted) in [
            (json!({ "metadata": {}, "spec": {} }), gate, json!({ "gates": [ours], "finalizers": null })),
            (
                json!({ "metadata": { "finalizers": [] }, "spec": { "schedulingGates": null } }),
                both,
                json!({ "gates": [ours], "finalizers": [WRITER_FINALIZER] }),
            ),
            (
                json!({ "metadata": { "finalizers": ["a/b"] }, "spec": { "schedulingGates": [other] } }),
                both,
                json!({ "gates": [other, ours], "finalizers": ["a/b", WRITER_FINALIZER] }),
            ),
            (
                json!({ "metadata": {}, "spec": { "schedulingGates": [ours, other] } }),
                both,
                json!({ "gates": [ours, other], "finalizers": [WRITER_FINALIZER] }),
            ),
        ] {
            let typed = |pod: &Value| Object::NewPod(serde_json::from_value(pod.clone()).unwrap());
            let json = |pod: &Value| Object::Json(pod.clone());
            let mut patched = pod.clone();
            json_patch::patch(&mut patched, &patch(&json(&pod), gating)).unwrap();
            assert_eq!(patch(&json(&pod), gating), patch(&typed(&pod), gating), "however it was read: {pod}");
            let found =
                json!({ "gates": patched["spec"]["schedulingGates"], "finalizers": patched["metadata"]["finalizers"] });
            assert_eq!(found, wanted, "{pod}");
            for pod in [json(&patched), typed(&patched)] {
                assert!(patch(&pod, gating).is_empty(), "asked again, it adds nothing: {patched}");
            }
        }
    }
}
