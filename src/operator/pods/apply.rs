//! Acts upon one Pod, after looking at it once more.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client, ResourceExt};
use tracing::info;

use super::Metrics;
use super::fresh::{Fresh, look};
use super::plan::{Step, plan};
use super::release::{Release, outdated, release};
use crate::decision::{Decision, Violation};
use crate::index::Snapshot;
use crate::operator::call::CallFailed;
use crate::operator::events::Events;
use crate::operator::stores::Gate;
use crate::operator::stores::gate::may_go;

/// What the operator was doing when it had something to say.
const ACTION: &str = "Hold";

/// What is needed to act.
pub(super) struct Hands<'a> {
    pub(super) client: &'a Client,
    pub(super) own_namespace: &'a str,
    pub(super) events: &'a Events,
    pub(super) metrics: &'a Metrics,
    pub(super) gate: &'a Gate,
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Timestamp,
}

impl Hands<'_> {
    /// Does what was planned, if that is still what is to be done. False where it was not, or could not be: the next
    /// round sees why.
    pub(super) async fn act(&self, known: &Pod, step: Step) -> Result<bool, CallFailed> {
        let fresh = look(self.client, self.own_namespace, self.snapshot, known, self.now).await;
        let fresh = fresh.map_err(CallFailed::when("look at a Pod that waits"))?;
        let Some(Fresh { pod, decision }) = fresh else { return Ok(true) };
        if plan(&pod, &decision, may_go(&pod, self.snapshot, self.now)) != step {
            return Ok(false);
        }
        let enforced = decision.enforced_by.is_some();
        if step == Step::Lift && enforced && self.gate.may_start(&pod, self.snapshot).await?.is_err() {
            return Ok(false);
        }
        let acted = match step {
            Step::Lift => release(self.client, &pod, Release { gate: true, finalizer: false }).await.map(drop),
            // The gate stays: that a Pod writes no more says nothing of what it reads.
            Step::Free => release(self.client, &pod, Release { gate: false, finalizer: true }).await.map(drop),
            Step::Delete => self.delete(&pod, &decision).await,
            Step::Leave | Step::Hold | Step::HoldBehindOthers => Ok(()),
        };
        match acted {
            Ok(()) => {
                self.done(&pod, step);
                Ok(true)
            }
            Err(error) if outdated(&error) => Ok(false),
            Err(error) => Err(CallFailed::when("let a Pod go")(error)),
        }
    }

    /// By uid, and only while none of its containers has started: a guard sees to the latter.
    async fn delete(&self, pod: &Pod, decision: &Decision) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let preconditions = Some(Preconditions { uid: pod.uid(), resource_version: None });
        api.delete(&pod.name_any(), &DeleteParams { preconditions, ..DeleteParams::default() }).await?;
        if let Some(violation) = decision.violations.first() {
            publish(self.events, pod, violation.code.as_str(), &note("deleted before it started", violation)).await;
        }
        Ok(())
    }

    fn done(&self, pod: &Pod, step: Step) {
        let (outcome, what) = match step {
            Step::Lift => ("lifted", "a Pod is let go"),
            Step::Free => ("freed", "a Pod is free to go"),
            Step::Delete => ("deleted", "a Pod that stopped complying is deleted before it starts"),
            Step::Leave | Step::Hold | Step::HoldBehindOthers => return,
        };
        info!(namespace = pod.namespace(), name = pod.name_any(), what);
        self.metrics.acted.with_label_values(&[outcome]).inc();
    }
}

/// What is said of a Pod: what happens to it, who asks for that, and what is wrong.
pub(super) fn note(what_happens: &str, violation: &Violation) -> String {
    let Violation { policy, at, finding, .. } = violation;
    format!("{what_happens}: {policy}: {at}: {} — {}", finding.what, finding.fix)
}

/// Publishes an Event on a Pod and on what made it.
pub(super) async fn publish(events: &Events, pod: &Pod, reason: &str, note: &str) {
    let namespace = pod.namespace();
    let own = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name_any()),
        namespace: namespace.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    };
    let controller = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = pod.owner_references().iter().find(controller).map(|owner| ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        namespace,
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    });
    for regarding in [Some(own), owner].into_iter().flatten() {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: ACTION.to_owned(),
            secondary: None,
        };
        events.publish_about(&regarding, event).await;
    }
}
