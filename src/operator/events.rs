//! Events: what users and platform engineers see with `kubectl describe` and `kubectl get events`.
//!
//! Those about weighbridge itself regard the operator's own Pod, the one object of ours that is sure to be there.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};
use tracing::debug;

use super::conditions::cut;

/// Longest note that the API server takes in an Event.
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    own_pod: ObjectReference,
}

impl Events {
    /// Events by this Pod, the operator's own.
    pub fn new(client: Client, namespace: &str, pod: &str) -> Events {
        let reporter = Reporter { controller: "weighbridge.dev/operator".to_owned(), instance: Some(pod.to_owned()) };
        let own_pod = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(pod.to_owned()),
            ..ObjectReference::default()
        };
        Events { recorder: Recorder::new(client, reporter), own_pod }
    }

    /// Publishes one about weighbridge itself.
    pub async fn publish(&self, event: Event) {
        self.publish_about(&self.own_pod, event).await;
    }

    /// Publishes one about an object. An Event that cannot be written is no reason to stop: the status says the same.
    pub async fn publish_about(&self, regarding: &ObjectReference, mut event: Event) {
        event.note = event.note.map(|note| cut(&note, MAX_NOTE_BYTES).to_owned());
        if let Err(error) = self.recorder.publish(&event, regarding).await {
            debug!(%error, reason = event.reason, "an event cannot be written");
        }
    }
}
