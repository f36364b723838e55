//! Decides once more about a Pod, from reads that began now: what a watch has not brought yet must not let a Pod go, nor
//! have one deleted.
//!
//! Read are the Pod, its namespace, its claims and their volumes, the records of the namespace, the backing stores of
//! the claims, and all policies. Trust material that policies refer to, and how old the view of the cluster is, are those
//! of the snapshot.

use std::collections::BTreeSet;
use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, ObjectList, Request};
use kube::core::DynamicObject;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::v1alpha1::{BackingStore, BackingStoreSpec, ClusterModelPolicy, ModelPolicy, ModelVerification};
use crate::decision::{Decision, decide};
use crate::index::{Snapshot, Unmanaged, with_store};
use crate::operator::stores::gather::store_of;
use crate::workload::{Extract, HasModels, ModelUse};

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// A Pod as it is now, and what is decided of it.
#[derive(Debug)]
pub struct Fresh {
    /// The Pod.
    pub pod: Pod,
    /// The decision.
    pub decision: Decision,
}

/// Looks at a Pod once more; nothing where it is gone, or another one has its name.
pub async fn look(
    client: &Client,
    own_namespace: &str,
    snapshot: &Snapshot,
    known: &Pod,
    now: Timestamp,
) -> kube::Result<Option<Fresh>> {
    let namespace = known.namespace().unwrap_or_default();
    let pod: Option<Pod> = get(client, Some(&namespace), &known.name_any()).await?;
    let Some(pod) = pod.filter(|pod| pod.uid() == known.uid()) else { return Ok(None) };
    let Extract { subject, uses } = pod.extract();
    let names: BTreeSet<&str> = uses.iter().filter_map(ModelUse::claim).collect();
    let mut claims = Vec::new();
    let mut volumes = Vec::new();
    for name in names {
        let Some(claim) = get::<PersistentVolumeClaim>(client, Some(&namespace), name).await? else { continue };
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
        if let Some(volume) = volume {
            volumes.extend(get::<PersistentVolume>(client, None, &volume).await?);
        }
        claims.push(claim);
    }
    let records = list::<ModelVerification>(client, Some(&namespace)).await?;
    let mut evidence =
        snapshot.evidence_of(get::<Namespace>(client, None, &namespace).await?, claims, volumes, records);
    for claim in evidence.claims.values().cloned().collect::<Vec<_>>() {
        let identity = store_of(&evidence, &claim).to_string();
        let name = BackingStoreSpec { identity: identity.clone() }.store_name();
        let store = get::<BackingStore>(client, Some(own_namespace), &name).await?;
        evidence = with_store(evidence, &identity, store.as_ref());
    }
    let policies = snapshot.policies_of(
        list::<ClusterModelPolicy>(client, None).await?,
        &namespace,
        list::<ModelPolicy>(client, Some(&namespace)).await?,
        own_namespace,
    );
    let decision = decide(&policies, &subject, &uses, &evidence, now);
    Ok(Some(Fresh { pod, decision }))
}

async fn get<K>(client: &Client, namespace: Option<&str>, name: &str) -> kube::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let request = Request::new(K::url_path(&(), namespace)).get(name, &kube::api::GetParams::default());
    match client.request::<Unmanaged<K>>(request.map_err(kube::Error::BuildRequest)?).await {
        Ok(Unmanaged(object)) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// All objects of one of our kinds, unparsed: one that does not parse must not hide the others.
async fn list<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
) -> kube::Result<Vec<DynamicObject>> {
    let list = Request::new(K::url_path(&(), namespace));
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let request = list.list(&params).map_err(kube::Error::BuildRequest)?;
        let page = client.request::<ObjectList<Unmanaged<DynamicObject>>>(request).await?;
        found.extend(page.items.into_iter().map(|Unmanaged(object)| object));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}
