//! What is done about one Pod: pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::release::gates;
use crate::api::v1alpha1::{Code, UnknownCode};
use crate::decision::{Action, Decision, Gates, Violation};
use crate::workload::{Access, MIRROR_ANNOTATION};

/// What is done about a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it has nothing of ours and may go on, or is none of our business any more.
    Leave,
    /// It waits behind our gate, because of its models.
    Hold,
    /// It waits behind gates of others; ours goes last.
    HoldBehindOthers,
    /// Our gate is taken off.
    Lift,
    /// Our finalizer is taken off, and our gate with it: the Pod has ended.
    Free,
    /// It is deleted: it stopped complying, and none of its containers has started.
    Delete,
}

/// What is done about a Pod of which this is decided. `may_go` says whether all is known of how its writing ended, or ever
/// will be.
pub fn plan(pod: &Pod, decision: &Decision, may_go: bool) -> Step {
    let carried = carried(pod);
    if carried.finalizer && may_go {
        return Step::Free;
    }
    if is_over(pod) {
        return Step::Leave;
    }
    let enforced = decision.enforced_by.is_some();
    match (carried.ours, runs(decision)) {
        (true, _) if !enforced => Step::Lift,
        (true, false) => Step::Hold,
        (true, true) if carried.others => Step::HoldBehindOthers,
        (true, true) => Step::Lift,
        // A mirror is what its node makes of it: gone, it would be there again.
        (false, false) if enforced && !has_started(pod) && !is_mirror(pod) => Step::Delete,
        (false, _) => Step::Leave,
    }
}

/// Whether there can be anything to do about a Pod: it carries something of ours, or has not started yet.
pub fn is_live(pod: &Pod) -> bool {
    let carried = carried(pod);
    carried.finalizer || !is_over(pod) && (carried.ours || !has_started(pod))
}

/// What a Pod carries.
pub fn carried(pod: &Pod) -> Gates {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    Gates::of(gates(pod), pod.finalizers().iter().map(String::as_str), node)
}

/// Whether any of its containers has ever started. The guard of the operator's account asks the same.
fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let started = |container: &ContainerStatus| {
        let (state, last) = (container.state.as_ref(), container.last_state.as_ref());
        container.restart_count > 0
            || container.started == Some(true)
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || last.is_some_and(|state| state.terminated.is_some())
    };
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    all.into_iter().flatten().flatten().any(started)
}

fn is_mirror(pod: &Pod) -> bool {
    pod.annotations().contains_key(MIRROR_ANNOTATION)
}

/// Whether it is being deleted, or none of its containers runs any more.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a Pod may run. That a model may be written to does not keep from running who may write to it himself: before he
/// was noted, nothing else stood in his way, and writers do not wait for each other.
fn runs(decision: &Decision) -> bool {
    let writes = |violation: &Violation| {
        let mut uses = decision.models.iter().map(|judged| &judged.model_use);
        uses.any(|it| it.at == violation.at && it.access == Access::ReadWrite && it.claim().is_some())
    };
    let noted = |violation: &Violation| violation.code == Code::Unknown(UnknownCode::BeingWritten) && writes(violation);
    decision.violations.iter().all(|violation| violation.action < Action::Hold || noted(violation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gate::{GATE, WRITER_FINALIZER};
    use crate::decision::Finding;
    use crate::policy::PolicyName;
    use crate::workload::FieldPath;
    use serde_json::{Value, json};

    fn pod(gates: &[&str], finalizers: &[&str], more: Value) -> Pod {
        let gates: Vec<Value> = gates.iter().map(|name| json!({ "name": name })).collect();
        let mut object = json!({
            "metadata": { "name": "p", "finalizers": finalizers },
            "spec": { "containers": [], "schedulingGates": gates },
        });
        for part in ["metadata", "spec", "status"] {
            for (key, value) in more[part].as_object().into_iter().flatten() {
                object[part][key] = value.clone();
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn decision(enforced: bool, action: Option<Action>) -> Decision {
        let violation = |action| Violation {
            policy: PolicyName::Cluster("production".into()),
            at: FieldPath("spec".into()),
            code: UnknownCode::NotVerifiedYet.into(),
            finding: Finding::default(),
            action,
            audit: false,
        };
        Decision {
            violations: action.map(violation).into_iter().collect(),
            enforced_by: enforced.then(|| PolicyName::Cluster("production".into())),
            ..Decision::default()
        }
    }

    #[test]
    fn what_is_done() {
        use Step::{Delete, Free, Hold, HoldBehindOthers, Leave, Lift};
        let nothing = || json!({});
        let with = |state: Value| {
            json!({ "status": { "containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state }] } })
        };
        let waiting = || with(json!({ "waiting": {} }));
        let running = || with(json!({ "running": {} }));
        let failed = || json!({ "status": { "phase": "Failed" } });
        let mirror = || json!({ "metadata": { "annotations": { MIRROR_ANNOTATION: "4a8f" } } });
        let deleting = |grace: i64, node: &str| {
            json!({ "spec": { "nodeName": node }, "metadata": {
                "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace } })
        };
        let verified = || decision(true, None);
        let (held, denied) = (|| decision(true, Some(Action::Hold)), || decision(true, Some(Action::Deny)));
        let tried = || decision(false, Some(Action::Warn));
        let (ours, both) = (&[GATE][..], &["example.com/quota", GATE][..]);
        let writer = &[WRITER_FINALIZER][..];
        for (what, pod, decision, step) in [
            ("verified", pod(ours, &[], nothing()), verified(), Lift),
            ("still unknown", pod(ours, &[], nothing()), held(), Hold),
            ("refused", pod(ours, &[], nothing()), denied(), Hold),
            ("verified, behind others", pod(both, &[], nothing()), verified(), HoldBehindOthers),
            ("refused, behind others", pod(both, &[], nothing()), denied(), Hold),
            ("no policy holds it", pod(both, &[], nothing()), decision(false, None), Lift),
            ("tried out", pod(ours, &[], nothing()), tried(), Lift),
            (
                "warned of, under a policy that denies",
                pod(ours, &[], nothing()),
                decision(true, Some(Action::Warn)),
                Lift,
            ),
            ("gated, and going", pod(ours, &[], deleting(0, "")), verified(), Leave),
            ("let go, still fine", pod(&[], &[], nothing()), verified(), Leave),
            ("let go, and then unknown", pod(&[], &[], waiting()), held(), Delete),
            ("let go, and then refused", pod(&[], &[], nothing()), denied(), Delete),
            ("a node shows what it runs", pod(&[], &[], mirror()), denied(), Leave),
            ("tried out, never deleted", pod(&[], &[], nothing()), tried(), Leave),
            ("it runs", pod(&[], &[], running()), denied(), Leave),
            ("it ran", pod(&[], &[], failed()), denied(), Leave),
            ("a writer runs", pod(&[], writer, running()), verified(), Leave),
            ("a writer has ended", pod(&[], writer, failed()), verified(), Free),
            ("a writer that never ran goes", pod(ours, writer, deleting(30, "")), verified(), Free),
            ("a writer is asked to end", pod(&[], writer, deleting(30, "node-1")), verified(), Leave),
            ("a writer is deleted by force", pod(&[], writer, deleting(0, "node-1")), verified(), Free),
        ] {
            assert_eq!(plan(&pod, &decision, step == Free), step, "{what}");
            assert!(step == Leave || is_live(&pod), "{what}");
        }
        assert!(!is_live(&pod(&[], &[], running())) && !is_live(&pod(&[], &[], failed())));
    }

    #[test]
    fn what_has_started_once_has_started() {
        let with = |list: &str, field: &str, value: Value| {
            let mut status = json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0 });
            status[field] = value;
            has_started(&pod(&[], &[], json!({ "status": { list: [status] } })))
        };
        assert!(!with("containerStatuses", "started", json!(false)));
        assert!(!with("containerStatuses", "state", json!({ "waiting": { "reason": "ImagePullBackOff" } })));
        assert!(with("containerStatuses", "restartCount", json!(1)));
        assert!(with("containerStatuses", "started", json!(true)));
        assert!(with("initContainerStatuses", "state", json!({ "terminated": { "exitCode": 0 } })));
        assert!(with("ephemeralContainerStatuses", "lastState", json!({ "terminated": { "exitCode": 0 } })));
    }
}
