//! The way out: what would stand in the way of requests or of deletions is removed, in an order that keeps it removed.
//!
//! Receives a client; promises that each step may be repeated, that a step is done only when the cluster says so, and
//! that it tells what it does. Never deletes policies, records or their definitions: those belong to people.
//!
//! ```text
//! operator stopped ─▶ lease free ─▶ registration deleted ─▶ verifier Pods deleted ─▶ gates and finalizers lifted
//! ```

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, ObjectList, Patch, PatchParams, Preconditions, Request};
use kube::{Api, Client, Resource as _, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::LEASE;
use super::call::CallFailed;
use super::pods::release::{Release, release};
use super::webhooks::CONFIGURATION;
use crate::index::Unmanaged;
use crate::lease::LEASE_DURATION;

/// Pause between two looks at something that takes its time.
const POLL: Duration = Duration::from_secs(1);
/// Pods in one page of a list.
const PAGE: u32 = 500;
/// How names of verifier Pods begin; a guard keeps everybody else from using such names.
const VERIFIER_PREFIX: &str = "weighbridge-verifier-";

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// The operator's Deployment.
    pub operator_deployment: String,
}

/// Why it is not done.
#[derive(Debug, Error)]
pub enum UninstallError {
    /// The API server did not do it.
    #[error(transparent)]
    Call(#[from] CallFailed),
    /// Some Pods could not be freed.
    #[error("{0} Pods still carry a gate, a finalizer or the name of a verifier: run this again, or free them by hand")]
    Left(usize),
}

/// Does it all; `say` is told what happens.
pub async fn run(client: &Client, settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<(), UninstallError> {
    stop_operator(client, settings, say).await?;
    wait_for_lease(client, settings, say).await?;
    delete_configurations(client, say).await?;
    free_pods(client, say).await?;
    say("done: requests pass without weighbridge");
    Ok(())
}

/// Scales the Deployment to nothing, and waits until none of its Pods is left.
async fn stop_operator(client: &Client, settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<(), CallFailed> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &settings.namespace);
    let name = &settings.operator_deployment;
    let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    let scale = match deployments.patch_scale(name, &PatchParams::default(), &patch).await {
        Ok(scale) => scale,
        Err(error) if is_gone(&error) => {
            say(&format!("the operator's Deployment {name} does not exist"));
            return Ok(());
        }
        Err(error) => return Err(CallFailed::when("stop the operator")(error)),
    };
    say(&format!("stopping the operator: {name} has no replicas any more"));
    let selector = scale.status.and_then(|status| status.selector).unwrap_or_default();
    if selector.is_empty() {
        return Ok(());
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &settings.namespace);
    let params = ListParams::default().labels(&selector);
    loop {
        let left = pods.list(&params).await.map_err(CallFailed::when("list the operator's Pods"))?.items;
        if left.iter().all(has_ended) {
            say("the operator has stopped");
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Waits until nobody can be acting as the leader: an operator that was cut off from its kubelet, or that runs outside.
async fn wait_for_lease(client: &Client, settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<(), CallFailed> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let lease = leases.get_opt(LEASE).await.map_err(CallFailed::when("read the operator's lease"))?;
        let Some(lease) = lease else { return Ok(()) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        if holder.is_empty() {
            say("the operator's lease is free");
            return Ok(());
        }
        let version = lease.resource_version().unwrap_or_default();
        match &seen {
            Some((before, since)) if *before == version => {
                if since.elapsed() >= LEASE_DURATION {
                    say(&format!("the operator's lease was not given up by {holder}, and has expired"));
                    return Ok(());
                }
            }
            _ => {
                if seen.is_none() {
                    say(&format!("waiting for the operator's lease, held by {holder}"));
                }
                seen = Some((version, Instant::now()));
            }
        }
        sleep(POLL).await;
    }
}

/// Both configurations: first the one that refuses Pods which the other did not gate.
async fn delete_configurations(client: &Client, say: &mut dyn FnMut(&str)) -> Result<(), CallFailed> {
    delete_configuration(&Api::<ValidatingWebhookConfiguration>::all(client.clone()), "validating", say).await?;
    delete_configuration(&Api::<MutatingWebhookConfiguration>::all(client.clone()), "mutating", say).await
}

async fn delete_configuration<K>(api: &Api<K>, kind: &str, say: &mut dyn FnMut(&str)) -> Result<(), CallFailed>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(CONFIGURATION, &DeleteParams::default()).await {
        Ok(_) => say(&format!("deleted the {kind} webhook configuration {CONFIGURATION}")),
        Err(error) if is_gone(&error) => {
            say(&format!("the {kind} webhook configuration {CONFIGURATION} does not exist"));
        }
        Err(error) => return Err(CallFailed::when("delete a webhook configuration")(error)),
    }
    Ok(())
}

/// Deletes verifier Pods, and lifts our gate and our finalizer from all others. What fails for one Pod does not keep the
/// others from being freed.
async fn free_pods(client: &Client, say: &mut dyn FnMut(&str)) -> Result<(), UninstallError> {
    let pods = Request::new(Pod::url_path(&(), None));
    let mut params = ListParams::default().limit(PAGE);
    let mut left = 0;
    loop {
        let page = pods.list(&params).map_err(kube::Error::BuildRequest).map_err(CallFailed::when("list Pods"))?;
        let page = client.request::<ObjectList<Unmanaged<Pod>>>(page).await.map_err(CallFailed::when("list Pods"))?;
        for Unmanaged(pod) in &page.items {
            let Some(namespace) = pod.namespace() else { continue };
            let name = format!("{namespace}/{}", pod.name_any());
            if let Err(error) = free(client, pod, &namespace, &name, say).await {
                say(&format!("error: {name}: {error}"));
                left += 1;
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    if left == 0 { Ok(()) } else { Err(UninstallError::Left(left)) }
}

async fn free(
    client: &Client,
    pod: &Pod,
    namespace: &str,
    name: &str,
    say: &mut dyn FnMut(&str),
) -> Result<(), CallFailed> {
    match release(client, pod, Release::ALL).await {
        Ok(true) => say(&format!("lifted our gate and finalizer from {name}")),
        Ok(false) => {}
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(CallFailed::when("lift our gate and finalizer")(error)),
    }
    if pod.name_any().starts_with(VERIFIER_PREFIX) {
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        match api.delete(&pod.name_any(), &params).await {
            Ok(_) => say(&format!("deleted {name}")),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(CallFailed::when("delete a verifier Pod")(error)),
        }
    }
    Ok(())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gate::GATE;

    fn pod(gates: &[&str], finalizers: &[&str]) -> Pod {
        let gates: Vec<serde_json::Value> = gates.iter().map(|name| json!({ "name": name })).collect();
        let object = json!({
            "metadata": { "name": "p", "resourceVersion": "7", "finalizers": finalizers },
            "spec": { "containers": [], "schedulingGates": gates },
        });
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_freed_is_said_and_does_not_stop_the_rest() {
        use axum::http::{Method, Request, Response};
        use kube::client::Body;
        let server = tower::service_fn(|request: Request<Body>| async move {
            let managed = json!([{ "manager": "m", "operation": "Update", "time": "9999-12-31T23:59:59Z" }]);
            let named = |name: &str, gates: &[&str], finalizers: &[&str]| {
                let mut pod = json!(pod(gates, finalizers));
                pod["metadata"]["name"] = name.into();
                pod["metadata"]["namespace"] = "tenant".into();
                pod["metadata"]["managedFields"] = managed.clone();
                pod
            };
            let (code, answer) = match (request.method(), request.uri().path()) {
                (&Method::GET, _) => {
                    let pods = [
                        named("theirs", &["example.com/gate"], &["weighbridge.dev/mine"]),
                        named("stuck", &[GATE], &[]),
                        named("held", &[GATE], &[]),
                    ];
                    (200, json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods }))
                }
                (_, "/api/v1/namespaces/tenant/pods/held") => (200, named("held", &[], &[])),
                _ => (403, json!({ "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no" })),
            };
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        });
        let client = Client::new(tower::buffer::Buffer::new(server, 1), "weighbridge");
        let mut said = Vec::new();
        let outcome = free_pods(&client, &mut |text| said.push(text.to_owned())).await;
        assert!(matches!(outcome, Err(UninstallError::Left(1))), "{outcome:?}");
        assert!(said[0].starts_with("error: tenant/stuck: cannot lift our gate and finalizer"), "{said:?}");
        assert_eq!(said[1..], ["lifted our gate and finalizer from tenant/held"]);
    }
}
