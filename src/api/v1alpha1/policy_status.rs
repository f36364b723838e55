//! The status of policies, of the cluster and of namespaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many workloads a status names that would fail: what fits on a screen. The counts are of all.
pub const MAX_FAILING: usize = 20;

/// What became of a policy, of the cluster or of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: understood, with all that it refers to. `Programmed`: every ready replica of the webhook has it.
    /// `Enforcing`: nothing that does not comply, or is unknown, gets in. `Hardened`: the namespaces that it enforces
    /// do not let Pods take over nodes. `SelectionByTenant`: what it selects by can be changed by tenants. `Effective`: it
    /// matches something, and each of its authorities may still have signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many workloads use a model that it selects, and how these would fare under it. Says the same whatever its
    /// `validationActions` are, so that a policy can be tried with `Audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,
    /// What would fail at its next restart if the policy denied: the worst first, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub failing: Vec<FailingWorkload>,
}

/// How the workloads of a policy would fare under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCounts {
    /// All that use a model which it selects.
    pub matched: i64,
    /// Those that comply.
    pub compliant: i64,
    /// Those with a model that is refused, or that use one in a way that is.
    pub refused: i64,
    /// Those with a model of which nobody can say anything.
    pub unknown: i64,
}

/// A workload that does not comply with a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The worst code.
    pub reason: String,
    /// What is wrong and how to put it right.
    pub message: String,
}
