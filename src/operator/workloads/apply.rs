//! Writes statuses and Events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::gather::Workload;
use super::status::{self, News};
use crate::api::v1alpha1::WorkloadVerification;
use crate::decision::Decision;
use crate::operator::call::{CallFailed, FIELD_MANAGER, outdated};
use crate::operator::events::Events;

/// What the operator was doing when it had something to say.
const ACTION: &str = "Verify";

/// What is needed to act.
pub(super) struct Hands<'a> {
    pub(super) client: &'a Client,
    pub(super) events: &'a Events,
}

impl Hands<'_> {
    /// Makes the object where there is none, writes its status where it differs, and says what is new.
    ///
    /// What is new is measured against the very object that is written to: from a snapshot that is a moment behind, the
    /// same news would be told twice.
    pub(super) async fn write(
        &self,
        workload: &Workload,
        name: &str,
        known: Option<&WorkloadVerification>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), CallFailed> {
        let api: Api<WorkloadVerification> = Api::namespaced(self.client.clone(), &workload.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let object = match known.filter(|object| object.spec.workload == workload.reference) {
            Some(object) => object.clone(),
            None => {
                let made = api.patch(name, &params, &Patch::Apply(body(workload, name))).await;
                made.map_err(CallFailed::when("make the status of a workload"))?
            }
        };
        let before = object.status.as_ref();
        let status =
            status::status(&before.cloned().unwrap_or_default(), decision, workload.generation, workload.held, now);
        if before == Some(&status) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": "weighbridge.dev/v1alpha1",
            "kind": "WorkloadVerification",
            "metadata": { "name": name, "uid": object.uid(), "resourceVersion": object.resource_version() },
            "status": status,
        });
        match api.patch_status(name, &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            // It has changed since, or went with its workload: the next snapshot says so.
            Err(error) if outdated(&error) => return Ok(()),
            Err(error) => return Err(CallFailed::when("write the status of a workload")(error)),
        }
        if let Some(news) = status::news(before, &status) {
            self.publish(workload, news).await;
        }
        Ok(())
    }

    async fn publish(&self, workload: &Workload, news: News) {
        let reference = &workload.reference;
        let regarding = ObjectReference {
            api_version: Some(reference.api_version.clone()),
            kind: Some(reference.kind.clone()),
            name: Some(reference.name.clone()),
            namespace: Some(workload.namespace.clone()),
            uid: Some(reference.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason,
            note: Some(news.note),
            action: ACTION.to_owned(),
            secondary: None,
        };
        self.events.publish_about(&regarding, event).await;
    }
}

fn body(workload: &Workload, name: &str) -> serde_json::Value {
    let reference = &workload.reference;
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1",
        "kind": "WorkloadVerification",
        "metadata": { "name": name, "ownerReferences": [{
            "apiVersion": reference.api_version,
            "kind": reference.kind,
            "name": reference.name,
            "uid": reference.uid,
        }] },
        "spec": { "workload": reference },
    })
}

/// Removes the status of a workload that uses no model which a policy selects any more.
pub(super) async fn remove(client: &Client, namespace: &str, object: &WorkloadVerification) -> Result<(), CallFailed> {
    let api: Api<WorkloadVerification> = Api::namespaced(client.clone(), namespace);
    let preconditions = Some(Preconditions { uid: object.uid(), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(error) if outdated(&error) => Ok(()),
        Err(error) => Err(CallFailed::when("remove the status of a workload")(error)),
    }
}
