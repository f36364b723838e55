//! What is known of the cluster, as plain data: the index publishes it, [`super::decide`] reads it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::v1alpha1::{ModelVerificationSpec, ModelVerificationStatus};
use crate::policy::SourceFacts;
use crate::workload::BackingStore;

/// Namespace and name of a claim.
pub type ClaimKey = (String, String);

/// An immutable view of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Namespaces by name.
    pub namespaces: Arc<HashMap<String, Arc<NamespaceFacts>>>,
    /// Claims by namespace and name.
    pub claims: Arc<HashMap<ClaimKey, Arc<ClaimFacts>>>,
    /// PersistentVolumes by name.
    pub volumes: Arc<HashMap<String, Arc<VolumeFacts>>>,
    /// Records by namespace and claim.
    pub records: Arc<HashMap<ClaimKey, Records>>,
    /// Backing stores that something has written to, or may be writing to, by identity.
    pub stores: Arc<BTreeMap<String, Arc<StoreFacts>>>,
    /// When the slowest of the watches last showed a sign of life; `None` before the first.
    pub observed_at: Option<Timestamp>,
}

impl Evidence {
    /// A claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&ClaimFacts> {
        self.claims.get(&(namespace.to_owned(), name.to_owned())).map(Arc::as_ref)
    }

    /// The volume that a claim names, whether or not it is really bound to it.
    pub fn volume_of(&self, claim: &ClaimFacts) -> Option<&VolumeFacts> {
        self.volumes.get(claim.volume_name.as_ref()?).map(Arc::as_ref)
    }

    /// The volume that a claim is bound to, and that says so itself.
    pub fn bound_volume(&self, claim: &ClaimFacts) -> Option<&VolumeFacts> {
        self.volume_of(claim).filter(|volume| volume.claim_uid.as_deref() == Some(&claim.uid))
    }

    /// What policies select a claim by; nothing is known of one that was not seen.
    pub fn source_facts(&self, namespace: &str, claim: &str) -> SourceFacts<'_> {
        let Some(facts) = self.claim(namespace, claim) else { return SourceFacts::default() };
        let volume = self.bound_volume(facts);
        let same_class = volume.is_none_or(|volume| volume.storage_class == facts.storage_class);
        SourceFacts {
            labels: Some(&facts.labels),
            storage_class: facts.storage_class.as_deref().filter(|_| same_class),
            csi_driver: volume.and_then(VolumeFacts::csi_driver),
            recorded: !self.records_of(namespace, claim).is_empty(),
        }
    }

    /// The records of a claim.
    pub fn records_of(&self, namespace: &str, claim: &str) -> &[Arc<Record>] {
        self.records.get(&(namespace.to_owned(), claim.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }

    /// The write epoch of a store; 0 while nothing is known to have written to it.
    pub fn write_epoch(&self, store: &BackingStore) -> i64 {
        self.stores.get(&store.to_string()).map_or(0, |facts| facts.epoch)
    }

    /// A Pod that may be writing to a store, or to one that overlaps it, as `namespace/name`.
    pub fn writer_of(&self, store: &BackingStore) -> Option<&str> {
        let written = self.stores.values().filter(|facts| !facts.writers.is_empty());
        let mut near = written.filter(|facts| facts.identity.parse().is_ok_and(|it| store.overlaps(&it)));
        near.find_map(|facts| facts.writers.first().map(String::as_str))
    }
}

/// The records of one claim.
pub type Records = Vec<Arc<Record>>;

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The volume that it is bound to.
    pub volume_name: Option<String>,
    /// Whether its phase is `Bound`.
    pub bound: bool,
    /// Its StorageClass.
    pub storage_class: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is filled from a data source or by a populator.
    pub has_data_source: bool,
    /// Its access modes.
    pub access_modes: Vec<String>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its uid.
    pub uid: String,
    /// The uid of the claim that it is bound to.
    pub claim_uid: Option<String>,
    /// What lies behind it.
    pub backing: Backing,
    /// The provisioner that made it (`pv.kubernetes.io/provisioned-by`).
    pub provisioner: Option<String>,
    /// Its StorageClass.
    pub storage_class: Option<String>,
}

/// What lies behind a PersistentVolume, and whether a read of it holds for every Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// hostPath or `local`.
    Node {
        /// The path on the node.
        path: String,
        /// The one node that its required node affinity pins it to, if it pins exactly one.
        node: Option<String>,
    },
    /// A CSI volume.
    Csi {
        /// Name of the driver.
        driver: String,
        /// The volume's handle.
        handle: String,
    },
    /// NFS.
    Nfs {
        /// The server.
        server: String,
        /// The exported path.
        path: String,
    },
    /// Anything else, by the name of its kind.
    Other(String),
}

impl VolumeFacts {
    /// The CSI driver behind it.
    pub fn csi_driver(&self) -> Option<&str> {
        match &self.backing {
            Backing::Csi { driver, .. } => Some(driver),
            Backing::Node { .. } | Backing::Nfs { .. } | Backing::Other(_) => None,
        }
    }

    /// The store that a claim bound to this volume writes to.
    pub fn store(&self, claim_uid: &str) -> BackingStore {
        match &self.backing {
            Backing::Node { path, node: Some(node) } => BackingStore::Node { node: node.clone(), path: path.clone() },
            Backing::Csi { driver, handle } => BackingStore::Csi { driver: driver.clone(), handle: handle.clone() },
            Backing::Nfs { server, path } => BackingStore::Nfs { server: server.clone(), path: path.clone() },
            Backing::Node { node: None, .. } | Backing::Other(_) => BackingStore::Claim { uid: claim_uid.to_owned() },
        }
    }
}

/// A record that may be used: its name is the one that its spec demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// What it is about.
    pub spec: ModelVerificationSpec,
    /// What was found. Only the operator can have written it.
    pub status: ModelVerificationStatus,
}

/// What is known about writes to a backing store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// The store's identity, as [`BackingStore`] prints it.
    pub identity: String,
    /// Its write epoch.
    pub epoch: i64,
    /// Pods that may be writing, as `namespace/name`.
    pub writers: Vec<String>,
}
