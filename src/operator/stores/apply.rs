//! Writes what was planned.
//!
//! Receives actions; promises that each is conditional on the version that it was planned from: one that is out of date
//! changes nothing, and is planned again from the next snapshot.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::WATCH_LEASE;
use super::plan::Action;
use crate::api::v1alpha1::{BackingStore, BackingStoreSpec};
use crate::operator::call::{CallFailed, FIELD_MANAGER, outdated};
use crate::workload;

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

/// A store from which a writer vanished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Vanished {
    /// The identity of the store.
    pub(super) store: String,
    /// The node of the writer.
    pub(super) node: String,
    /// The volumes that lead to the store.
    pub(super) volumes: BTreeSet<String>,
}

/// From which nodes of vanished writers their stores are detached. A driver detaches a volume when its node says that it is
/// unmounted, or by force; then nobody there can write to it.
pub(super) async fn detached(client: &Client, vanished: Vec<Vanished>) -> Result<BTreeSet<Vanished>, CallFailed> {
    let driver = |it: &Vanished| match it.store.parse() {
        Ok(workload::BackingStore::Csi { driver, .. }) => Some(driver),
        _ => None,
    };
    let candidates = vanished.into_iter().filter(|it| !it.volumes.is_empty());
    let candidates: Vec<(String, Vanished)> = candidates.filter_map(|it| Some((driver(&it)?, it))).collect();
    let mut detached = BTreeSet::new();
    if candidates.is_empty() {
        return Ok(detached);
    }
    let api: Api<VolumeAttachment> = Api::all(client.clone());
    let attachments = api.list(&ListParams::default()).await.map_err(CallFailed::when("list what is attached"))?.items;
    for (driver, candidate) in candidates {
        let attached = attachments.iter().any(|it| may_be(it, &driver, &candidate.volumes, &candidate.node));
        if !attached && attaches(client, &driver).await? {
            detached.insert(candidate);
        }
    }
    Ok(detached)
}

/// Whether an attachment may be that of one of these volumes to this node. One that names no volume may be any.
fn may_be(attachment: &VolumeAttachment, driver: &str, volumes: &BTreeSet<String>, node: &str) -> bool {
    let spec = &attachment.spec;
    let volume = spec.source.persistent_volume_name.as_ref();
    spec.attacher == driver && spec.node_name == node && volume.is_none_or(|volume| volumes.contains(volume))
}

/// Whether what is not attached cannot be written: a driver may do without attaching, and then nothing follows.
async fn attaches(client: &Client, driver: &str) -> Result<bool, CallFailed> {
    let api: Api<CSIDriver> = Api::all(client.clone());
    let driver = api.get_opt(driver).await.map_err(CallFailed::when("look up the driver of a volume"))?;
    Ok(driver.is_some_and(|driver| driver.spec.attach_required != Some(false)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_that_may_be_the_volumes_is() {
        let attachment = |driver: &str, volume: serde_json::Value, node: &str| {
            let source = json!({ "persistentVolumeName": volume });
            let spec = json!({ "attacher": driver, "source": source, "nodeName": node });
            serde_json::from_value::<VolumeAttachment>(json!({ "metadata": {}, "spec": spec })).unwrap()
        };
        let volumes = BTreeSet::from(["pv-1".to_owned()]);
        for (what, attachment, expected) in [
            ("its own", attachment("d", json!("pv-1"), "n"), true),
            ("of another volume", attachment("d", json!("pv-2"), "n"), false),
            ("to another node", attachment("d", json!("pv-1"), "m"), false),
            ("by another driver", attachment("e", json!("pv-1"), "n"), false),
            ("of nobody knows what", attachment("d", serde_json::Value::Null, "n"), true),
        ] {
            assert_eq!(may_be(&attachment, "d", &volumes, "n"), expected, "{what}");
        }
    }
}
