//! What the index publishes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::custom::CustomObjects;
use crate::api::v1alpha1::{BackingStore, ClusterModelPolicy, ModelPolicy, ModelVerification, WorkloadVerification};
use crate::decision::Evidence;
use crate::policy::CompiledPolicies;
use crate::workload::CustomKinds;

/// An immutable view of the cluster, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every snapshot that is published.
    pub version: u64,
    /// What [`crate::decision::decide`] reads.
    pub evidence: Evidence,
    /// The policies, compiled.
    pub policies: CompiledPolicies,
    /// SHA-256 over names, uids and generations of the policies and the trust sources that they refer to, in hex: two
    /// replicas that publish the same hash decide by the same policies.
    pub policy_hash: String,
    /// The custom resources that are judged.
    pub kinds: CustomKinds,
    /// The objects themselves, as far as this process watches them.
    pub objects: Objects,
}

/// Objects by namespace and name, or by name alone where they are cluster-scoped or all in our namespace.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Policies of the cluster.
    pub policies: Arc<BTreeMap<String, Arc<ClusterModelPolicy>>>,
    /// Policies of namespaces, also those that are too many to be in force.
    pub model_policies: Arc<BTreeMap<(String, String), Arc<ModelPolicy>>>,
    /// Records, also those whose name is not the one that their spec demands.
    pub records: Arc<HashMap<(String, String), Arc<ModelVerification>>>,
    /// Backing stores, in our namespace.
    pub stores: Arc<BTreeMap<String, Arc<BackingStore>>>,
    /// The highest resource version among them, or 0.
    pub stores_version: u64,
    /// Pods. Operator only.
    pub pods: Arc<HashMap<(String, String), Arc<Pod>>>,
    /// Pods that were deleted within the last minutes, by uid, as they were last seen. Operator only.
    pub gone_pods: Arc<HashMap<String, Arc<Pod>>>,
    /// Since when no Pod can have come and gone unseen. Operator only.
    pub pods_since: Option<Timestamp>,
    /// Workloads that carry a Pod template. Operator only.
    pub workloads: Arc<HashMap<WorkloadKey, Arc<Workload>>>,
    /// Custom resources that name models. Operator only.
    pub custom: CustomObjects,
    /// Statuses of workloads. Operator only.
    pub workload_verifications: Arc<HashMap<(String, String), Arc<WorkloadVerification>>>,
    /// Leases in our namespace. Operator only.
    pub leases: Arc<BTreeMap<String, Arc<Lease>>>,
    /// ConfigMaps in our namespace that carry the trust label.
    pub trust_config_maps: Arc<BTreeMap<String, Arc<ConfigMap>>>,
    /// Secrets in our namespace that carry the trust label.
    pub trust_secrets: Arc<BTreeMap<String, Arc<Secret>>>,
}

/// Names a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// Its namespace.
    pub namespace: String,
    /// Its kind, such as `Deployment`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// A workload of one of the built-in kinds: Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its API version, such as `apps/v1`.
    pub api_version: &'static str,
    /// Its metadata, without managed fields.
    pub metadata: ObjectMeta,
    /// The template that its Pods are made from.
    pub template: PodTemplateSpec,
}
