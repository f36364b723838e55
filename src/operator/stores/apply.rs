//! Writes what was planned.
//!
//! Receives actions; promises that each is conditional on the version that it was planned from: one that is out of date
//! changes nothing, and is planned again from the next snapshot.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::WATCH_LEASE;
use super::plan::Action;
use crate::api::v1alpha1::{BackingStore, BackingStoreSpec};
use crate::operator::call::{CallFailed, FIELD_MANAGER, outdated};

/// Does it; false where the object is no longer what the plan was made from.
pub(super) async fn apply(
    client: &Client,
    namespace: &str,
    identity: &str,
    object: Option<&BackingStore>,
    action: &Action,
) -> Result<bool, CallFailed> {
    let api: Api<BackingStore> = Api::namespaced(client.clone(), namespace);
    let spec = BackingStoreSpec { identity: identity.to_owned() };
    let name = spec.store_name();
    let outcome = match (action, object) {
        (Action::Keep, _) | (Action::Remove, None) => Ok(()),
        (Action::Remove, Some(object)) => remove(&api, object).await,
        (Action::Write(status), Some(object)) => write(&api, object, status).await,
        (Action::Write(status), None) => {
            let mut object = BackingStore::new(&name, spec);
            // `new` puts the definition's own annotations on every object; they are for Helm, about the definition.
            object.metadata.annotations = None;
            match api.create(&PostParams::default(), &object).await {
                Ok(object) => write(&api, &object, status).await,
                Err(error) => Err(error),
            }
        }
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if outdated(&error) => Ok(false),
        Err(error) => Err(CallFailed::when("write a backing store")(error)),
    }
}

async fn write(
    api: &Api<BackingStore>,
    object: &BackingStore,
    status: &crate::api::v1alpha1::BackingStoreStatus,
) -> kube::Result<()> {
    let patch = json!({
        "apiVersion": "weighbridge.dev/v1alpha1",
        "kind": "BackingStore",
        "metadata": { "name": object.name_any(), "uid": object.uid(), "resourceVersion": object.resource_version() },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await.map(drop)
}

async fn remove(api: &Api<BackingStore>, object: &BackingStore) -> kube::Result<()> {
    let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    api.delete(&object.name_any(), &params).await.map(drop)
}

/// Which of these nodes no longer exist.
pub(super) async fn lost_nodes(client: &Client, nodes: BTreeSet<String>) -> Result<BTreeSet<String>, CallFailed> {
    let api: Api<Node> = Api::all(client.clone());
    let mut lost = BTreeSet::new();
    for name in nodes {
        let node = api.get_metadata_opt(&name).await.map_err(CallFailed::when("look for the node of a writer"))?;
        if node.is_none() {
            lost.insert(name);
        }
    }
    Ok(lost)
}

/// Renews the Lease of the watch.
pub(super) async fn renew(api: &Api<Lease>, now: Timestamp) -> Result<(), CallFailed> {
    let patch = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": WATCH_LEASE },
        "spec": { "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now) },
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(WATCH_LEASE, &params, &Patch::Apply(patch))
        .await
        .map(drop)
        .map_err(CallFailed::when("renew the Lease of the watch"))
}
