//! What takes our gate and our finalizer off a Pod.
//!
//! Receives a Pod as it was read; promises a patch that does so for that very Pod in that very version, and touches
//! nothing else, or that does nothing. Never decides whether it is time.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, RemoveOperation, TestOperation};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch as ApiPatch, PatchParams, Request};
use kube::{Client, Resource as _, ResourceExt};
use serde_json::{Value, json};

use crate::api::gate::{GATE, WRITER_FINALIZER};
use crate::index::Unmanaged;

/// What is taken off, where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Our scheduling gate.
    pub gate: bool,
    /// Our finalizer.
    pub finalizer: bool,
}

impl Release {
    /// All that is ours.
    pub const ALL: Release = Release { gate: true, finalizer: true };
}

/// Takes ours off a Pod. False where there was nothing to take off.
pub async fn release(client: &Client, pod: &Pod, release: Release) -> kube::Result<bool> {
    let Some(patch) = patch(pod, release) else { return Ok(false) };
    let namespace = pod.namespace().unwrap_or_default();
    let request = Request::new(Pod::url_path(&(), Some(&namespace)));
    let request = request.patch(&pod.name_any(), &PatchParams::default(), &ApiPatch::Json::<()>(patch));
    client.request::<Unmanaged<Pod>>(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(true)
}

/// Whether a write was refused because the Pod is no longer what it was planned from. A patch of which a test fails is
/// answered with 422.
pub fn outdated(error: &kube::Error) -> bool {
    crate::operator::call::outdated(error) || matches!(error, kube::Error::Api(status) if status.code == 422)
}

/// The names of a Pod's scheduling gates.
pub fn gates(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).map(|gate| gate.name.as_str())
}

fn patch(pod: &Pod, release: Release) -> Option<Patch> {
    let mut taken = Vec::new();
    if release.gate {
        taken.extend(without("/spec/schedulingGates", gates(pod).map(|name| name == GATE), &json!({ "name": GATE })));
    }
    if release.finalizer {
        let ours = pod.finalizers().iter().map(|name| name == WRITER_FINALIZER);
        taken.extend(without("/metadata/finalizers", ours, &json!(WRITER_FINALIZER)));
    }
    if taken.is_empty() {
        return None;
    }
    let mut operations =
        vec![test("/metadata/uid", json!(pod.uid())), test("/metadata/resourceVersion", json!(pod.resource_version()))];
    operations.append(&mut taken);
    Some(Patch(operations))
}

/// Removes the items of a list that are ours: from the end, so that no index moves.
fn without(list: &str, ours: impl Iterator<Item = bool>, item: &Value) -> Vec<PatchOperation> {
    let mut places: Vec<usize> = ours.enumerate().filter_map(|(index, ours)| ours.then_some(index)).collect();
    places.reverse();
    let remove = |index: usize| {
        let at = format!("{list}/{index}");
        [test(&at, item.clone()), PatchOperation::Remove(RemoveOperation { path: path(&at) })]
    };
    places.into_iter().flat_map(remove).collect()
}

fn test(at: &str, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: path(at), value })
}

fn path(text: &str) -> PointerBuf {
    PointerBuf::parse(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(gates: &[&str], finalizers: &[&str]) -> Pod {
        let gates: Vec<Value> = gates.iter().map(|name| json!({ "name": name })).collect();
        let object = json!({
            "metadata": { "name": "p", "uid": "u", "resourceVersion": "7", "finalizers": finalizers },
            "spec": { "containers": [], "schedulingGates": gates },
        });
        serde_json::from_value(object).unwrap()
    }

    /// Gates and finalizers after the patch.
    fn left(pod: &Pod, release: Release) -> Option<(Value, Value)> {
        let mut object = serde_json::to_value(pod).unwrap();
        json_patch::patch(&mut object, &patch(pod, release)?).unwrap();
        Some((object["spec"]["schedulingGates"].clone(), object["metadata"]["finalizers"].clone()))
    }

    #[test]
    fn only_what_is_ours_is_taken_off() {
        let foreign = ["kueue.x-k8s.io/admission", "batch.kubernetes.io/job-tracking", "weighbridge.dev/mine"];
        assert_eq!(patch(&pod(&[], &[]), Release::ALL), None);
        assert_eq!(patch(&pod(&foreign[..1], &foreign[1..]), Release::ALL), None);
        let both = pod(&[foreign[0], GATE], &[WRITER_FINALIZER, foreign[1], WRITER_FINALIZER]);
        let (gate, job) = (json!([{ "name": foreign[0] }]), json!([foreign[1]]));
        assert_eq!(left(&both, Release::ALL), Some((gate.clone(), job)));
        let finalizers = json!([WRITER_FINALIZER, foreign[1], WRITER_FINALIZER]);
        assert_eq!(left(&both, Release { gate: true, finalizer: false }), Some((gate, finalizers)));
    }

    #[test]
    fn another_pod_or_another_version_is_left_alone() {
        let seen = pod(&[GATE], &[]);
        let patch = patch(&seen, Release::ALL).unwrap();
        for (field, value) in [("uid", "v"), ("resourceVersion", "8")] {
            let mut other = serde_json::to_value(&seen).unwrap();
            other["metadata"][field] = json!(value);
            assert!(json_patch::patch(&mut other, &patch).is_err(), "{field}");
        }
    }
}
