//! `WorkloadVerification`: the status that a person looks up for an inference workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes::VerdictKind;

/// What is known of the models that one workload uses. Made and written by the operator alone; never evidence. A custom
/// resource is one workload together with all that it makes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "WorkloadVerification",
    namespaced,
    shortname = "wv",
    category = "weighbridge",
    status = "WorkloadVerificationStatus",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.workload.kind"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Verified')].reason"),
    printcolumn(name = "Compliant", type_ = "string", json_path = ".status.conditions[?(@.type=='Compliant')].status"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.heldPods"),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.models[0].modelDigest"),
    printcolumn(name = "Signer", type_ = "string", json_path = ".status.models[0].signer"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadVerificationSpec {
    /// The workload that this status is about.
    pub workload: WorkloadReference,
}

/// A workload in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadReference {
    /// Its API version, such as `apps/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What is known of the workload's models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadVerificationStatus {
    /// The generation of the workload that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The worst verdict of its models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictKind>,
    /// `Verified`: every model is what a signer whom the policies list has signed. `Compliant`: a Pod of this workload
    /// would be admitted now under every policy that matches, whatever the policies' actions are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many of its Pods wait behind the scheduling gate `weighbridge.dev/verification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_pods: Option<i32>,
    /// Its models, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub models: Vec<WorkloadModel>,
}

/// One use of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadModel {
    /// Name of the container; empty where a field of a custom resource names it.
    pub container: String,
    /// Name of the volume; absent where an argument or a variable names what the container fetches by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The source, such as `claim/models/llama` or `hf://acme/llama`.
    pub source: String,
    /// The verdict under the policies that match.
    pub verdict: VerdictKind,
    /// The code, when it is not Verified or the use does not comply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong and how to put it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The OMS root digest, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// The signer, as `<policy>/<authority>`, or the signer in words where no policy lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// When the read started on which this rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
}
