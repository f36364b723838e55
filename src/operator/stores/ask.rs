//! Asks whether a writer may start, with what only the API server knows for certain.
//!
//! What the watches show is behind by some milliseconds: a Pod that was let in a moment ago, or a replica that has just begun
//! to answer, may not be among it. So both are listed before the answer is yes. A no needs no such care.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use super::gate::{WaitsFor, exposed_namespaces, may_start};
use crate::index::Snapshot;
use crate::lease::{Replicas, WEBHOOK_SELECTOR};
use crate::operator::call::CallFailed;

/// Knows which replicas of the webhook may be answering.
pub struct Gate {
    client: Client,
    namespace: String,
    replicas: Mutex<Replicas>,
}

impl Gate {
    /// Of one installation, whose Leases are in its namespace.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Gate { client, namespace: namespace.into(), replicas: Mutex::default() }
    }

    /// Whether a Pod that we hold may start, as far as what it may write to is concerned: see [`may_start`].
    pub async fn may_start(&self, pod: &Pod, snapshot: &Snapshot) -> Result<Result<(), WaitsFor>, CallFailed> {
        if let Err(waits) = self.seems_to(pod, snapshot) {
            return Ok(Err(waits));
        }
        let mut fresh = snapshot.clone();
        let mut pods = HashMap::clone(&fresh.objects.pods);
        let namespaces = exposed_namespaces(snapshot, pod);
        if namespaces.is_empty() {
            return Ok(Ok(()));
        }
        pods.retain(|(namespace, _), _| !namespaces.contains(namespace));
        for namespace in namespaces {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let list = api.list(&ListParams::default()).await.map_err(CallFailed::when("list who serves a model"))?;
            pods.extend(list.items.into_iter().map(|pod| ((namespace.clone(), pod.name_any()), Arc::new(pod))));
        }
        fresh.objects.pods = Arc::new(pods);
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_webhooks = ListParams::default().labels(WEBHOOK_SELECTOR);
        let list = leases.list(&of_webhooks).await.map_err(CallFailed::when("list the replicas of the webhook"))?;
        let leases: BTreeMap<_, _> = list.items.into_iter().map(|lease| (lease.name_any(), Arc::new(lease))).collect();
        fresh.objects.leases = Arc::new(leases);
        Ok(self.seems_to(pod, &fresh))
    }

    /// The same, as far as a snapshot tells.
    pub fn seems_to(&self, pod: &Pod, snapshot: &Snapshot) -> Result<(), WaitsFor> {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        let replicas = replicas.live(&snapshot.objects.leases, Instant::now().into_std());
        may_start(pod, snapshot, &replicas)
    }
}
