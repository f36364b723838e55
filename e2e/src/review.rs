//! Reviews as the API server sends them, straight to one replica of the webhook.

use serde_json::{Value, json};

use crate::cluster::https_post;

/// What is to be reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// A Pod that somebody makes.
    Create,
    /// A Pod that somebody changes.
    Update,
    /// A Pod that gets an ephemeral container.
    Debug,
}

/// The review of a Pod in a namespace, made by nobody in particular. What is changed was `old`.
pub fn review(change: Reviewed, namespace: &str, pod: &Value, old: Option<&Value>) -> String {
    let within = |pod: &Value| {
        let mut object = pod.clone();
        object["metadata"]["namespace"] = json!(namespace);
        object
    };
    let (operation, sub_resource) = match change {
        Reviewed::Create => ("CREATE", ""),
        Reviewed::Update => ("UPDATE", ""),
        Reviewed::Debug => ("UPDATE", "ephemeralcontainers"),
    };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "7f0b2891-916f-4ed6-b7cd-27bff1815a8c", "dryRun": true, "operation": operation,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "subResource": sub_resource, "requestSubResource": sub_resource,
            "name": pod["metadata"]["name"], "namespace": namespace, "options": null,
            "userInfo": { "username": "somebody", "groups": ["system:authenticated"] },
            "object": within(pod), "oldObject": old.map(within),
        },
    })
    .to_string()
}

/// The response to a review from the replica at an address.
pub fn ask(address: &str, review: &str) -> Value {
    try_ask(address, review).unwrap_or_else(|said| panic!("{said}"))
}

/// The same, of a replica that may be about to go; or what it said instead.
pub fn try_ask(address: &str, review: &str) -> Result<Value, String> {
    let (status, body) = https_post(&format!("https://{address}:8443/validate?timeout=10s"), review);
    if status != 200 {
        return Err(format!("{status}: {body}"));
    }
    Ok(serde_json::from_str::<Value>(&body).expect("JSON")["response"].clone())
}

/// The address of a Pod that runs.
pub fn address(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().expect("an address").to_owned()
}
