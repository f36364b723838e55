//! `BackingStore`: who may be writing to the storage behind models, and how often that may have happened.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Hasher;

/// The storage behind one or more claims that hold models, and when it may have been written to.
///
/// One object per backing store, in the namespace of weighbridge, whatever claims and namespaces lead to it. Made and
/// written by the operator alone. It outlives records and claims: a deleted record does not forget a writer.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "BackingStore",
    namespaced,
    category = "weighbridge",
    status = "BackingStoreStatus",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Store", type_ = "string", json_path = ".spec.identity"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.writeEpoch"),
    printcolumn(name = "Writers", type_ = "string", json_path = ".status.writers[*].pod"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a backing store is what it is: spec is immutable"))]
pub struct BackingStoreSpec {
    /// The store: `csi:<driver>/<handle>`, `nfs:<server>/<path>`, `node:<node>/<path>`, or `claim:<uid>` while unbound.
    #[schemars(length(min = 1, max = 2048))]
    pub identity: String,
}

/// When the store may have been written to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackingStoreStatus {
    /// Goes up each time that something may have begun or ended writing. A read counts only for the epoch in which it
    /// began.
    #[serde(default)]
    pub write_epoch: i64,
    /// Pods that may be writing now, or that vanished without a word from their kubelet that they have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub writers: Vec<WriterStatus>,
    /// Pods that are still there, or went a moment ago, and whose writing was seen to have ended, as
    /// `<uid>/<starts of its writing containers>` or `<uid>/cleared`: they are counted already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub ended: Vec<String>,
    /// The value of the annotation `weighbridge.dev/clear-writers` that was served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared: Option<String>,
}

/// Annotation of a backing store: anything new in it says that the writers that vanished no longer write.
pub const CLEAR_WRITERS: &str = "weighbridge.dev/clear-writers";

/// Hex digits of the hash in a store's name: 80 bits leave no room for two stores of one name, made on purpose or not.
const NAME_HASH_CHARS: usize = 20;

impl BackingStoreSpec {
    /// The one name of the object of this store: `store-<first 20 hex digits of SHA-256 over the identity>`.
    pub fn store_name(&self) -> String {
        format!("store-{}", &Hasher::sha256(self.identity.as_bytes()).to_hex()[..NAME_HASH_CHARS])
    }
}

/// A Pod that may be writing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriterStatus {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// Uid of the Pod.
    pub uid: String,
    /// Its node, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// It vanished and nobody said that it had ended.
    #[serde(default)]
    pub vanished: bool,
}
