//! Events about weighbridge itself: they regard the operator's own Pod, the one object of ours that is sure to be there.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};
use tracing::debug;

/// Longest note that the API server takes in an Event.
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    regarding: ObjectReference,
}

impl Events {
    /// Events that regard this Pod.
    pub fn new(client: Client, namespace: &str, pod: &str) -> Events {
        let reporter = Reporter { controller: "weighbridge.dev/operator".to_owned(), instance: Some(pod.to_owned()) };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(pod.to_owned()),
            ..ObjectReference::default()
        };
        Events { recorder: Recorder::new(client, reporter), regarding }
    }

    /// Publishes one. An Event that cannot be written is no reason to stop.
    pub async fn publish(&self, mut event: Event) {
        event.note = event.note.map(|note| cut(note, MAX_NOTE_BYTES));
        if let Err(error) = self.recorder.publish(&event, &self.regarding).await {
            debug!(%error, reason = event.reason, "an event cannot be written");
        }
    }
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}
