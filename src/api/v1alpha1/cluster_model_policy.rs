//! `ClusterModelPolicy`: which volumes of which namespaces hold models, who may have signed them, and what happens
//! otherwise.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::policy_status::PolicyStatus;
use super::{Forbidden, schema};

/// Says which volumes of which namespaces hold models, who may have signed them, and what happens otherwise.
///
/// All policies that match a model use MUST be satisfied; inside a policy, authorities are alternatives unless
/// `required` asks for several.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "ClusterModelPolicy",
    shortname = "cmp",
    category = "weighbridge",
    status = "PolicyStatus",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Actions", type_ = "string", json_path = ".spec.validationActions"),
    printcolumn(name = "If Unknown", type_ = "string", json_path = ".spec.unknown", priority = 1),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Programmed')].status"
    ),
    printcolumn(name = "Enforcing", type_ = "string", json_path = ".status.conditions[?(@.type=='Enforcing')].status"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.workloads.matched"),
    printcolumn(name = "Compliant", type_ = "integer", json_path = ".status.workloads.compliant"),
    printcolumn(name = "Refused", type_ = "integer", json_path = ".status.workloads.refused"),
    printcolumn(name = "Unknown", type_ = "integer", json_path = ".status.workloads.unknown"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!('Deny' in self.validationActions && 'Warn' in self.validationActions)")
        .message("Deny and Warn exclude each other: a denial already tells the user; keep one of them"),
    validation = Rule::new("!has(self.unknown) || self.unknown == 'Audit' || 'Deny' in self.validationActions || ('Warn' in self.validationActions && self.unknown == 'Warn')")
        .message("unknown may not be stronger than validationActions: use Deny there, or weaken unknown"),
    validation = Rule::new("self.required <= size(self.authorities)")
        .message("required asks for more authorities than are listed: list more, or lower it"),
    validation = Rule::new("!has(self.content.whileServing) || self.content.whileServing == 'Report' || 'Deny' in self.validationActions")
        .message("whileServing: Exclusive holds writers back, which only Deny does: use Deny, or write Report")
)]
pub struct ClusterModelPolicySpec {
    /// Which namespaces and which volumes in them this policy is about.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What happens when a model or its use does not comply. `Deny` refuses the request, `Warn` sends a warning to the
    /// client, `Audit` writes an audit annotation. Deny and Warn exclude each other.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub validation_actions: Vec<ValidationAction>,
    /// What a verdict of Unknown leads to. Absent means the action itself. `Hold` lets the Pod be made and holds it by the
    /// scheduling gate `weighbridge.dev/verification` until its models are verified; what waiting cannot cure is denied all
    /// the same. `Warn` and `Audit` under a `Deny` policy set the condition `Enforcing=False(UnknownAdmits)`: a tenant can
    /// bring about Unknown at will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownAction>,
    /// Whom this policy trusts to sign models. Alternatives, unless `required` asks for several.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub authorities: Vec<Authority>,
    /// How many distinct authorities MUST have signed, each with a signer of its own. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16), extend("format" = "int32"))]
    pub required: u32,
    /// Rules about the content of the model and the way in which it is mounted.
    #[serde(default)]
    pub content: Content,
    /// Whether each Pod MUST say which models it expects, by the annotation `digest.weighbridge.dev/<volume>`:
    /// `sha256:…`, or `<path>=sha256:…` for each model of the volume, separated by commas. One that does not is refused
    /// (`DigestAnnotationMissing`). An annotation that is there binds whatever this says. Default false.
    #[serde(default)]
    pub require_digest_annotation: bool,
    /// From where verifiers may fetch a bundle that a Pod names by the annotation `signature.weighbridge.dev/<volume>:
    /// oci://<host>/<repository>@sha256:…`. Globs over `<host>/<repository>`: the host is written out, with its port if
    /// it has one; in the repository `*` does not match `/`, `**` does: `registry.example.com/acme/**`. Default: from
    /// nowhere. A Pod that names another place is refused (`RegistryUnauthorized`), and nothing is fetched. Each policy
    /// of the cluster that matches the model MUST list the place; policies of namespaces list none, and count what the
    /// cluster's list. Whom to trust does not depend on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 512), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?/[a-z0-9*?{][a-z0-9._/*?{},-]*$")), extend("x-kubernetes-list-type" = "set"))]
    pub bundle_registries: Vec<String>,
}

pub(super) fn one() -> u32 {
    1
}

/// Which namespaces, and which volumes in them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Selects namespaces by their labels; empty selects every namespace. `kube-system`, `kube-public`,
    /// `kube-node-lease` and the namespace of weighbridge itself are never matched.
    pub namespace_selector: LabelSelector,
    /// What counts as a model; items are alternatives. Absent: every volume that brings data in from outside the
    /// Pod, and every model that the arguments or variables of a container name. Selecting by claim label, image, mount path or URI can be undone by whoever makes the claim or the Pod: the policy
    /// then carries the condition `SelectionByTenant=True`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub models: Option<Vec<ModelSelector>>,
    /// Volumes that are left out, such as caches and logs; items are alternatives. A model that an argument of a server
    /// names in one counts all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exclude: Vec<Exclusion>,
}

/// Selects volumes that hold models. Exactly one key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.claims) ? 1 : 0) + (has(self.images) ? 1 : 0) + (has(self.mountPaths) ? 1 : 0) + (has(self.uris) ? 1 : 0) == 1")
    .message("an item of match.models has exactly one key, claims, images, mountPaths or uris: write two items for alternatives"))]
pub struct ModelSelector {
    /// PersistentVolumeClaims by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimSelector>,
    /// Globs over the reference of an image volume, as it is written and in full (`docker.io/library/…`), with or without
    /// tag and digest. `*` does not match `/`, `**` does: `registry.example.com/models/**`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024)))]
    pub images: Option<Vec<String>>,
    /// Globs over the path at which a container mounts the volume. `*` does not match `/`, `**` does;
    /// `/models/**` also matches `/models`, and a mount above the glob's literal prefix. A path that an argument of a
    /// server names counts as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024), regex(pattern = "^/")))]
    pub mount_paths: Option<Vec<String>>,
    /// Globs over what the arguments and variables of a server name: `hf://acme/**`, `s3://models/**`; a path that no
    /// mounted model covers counts as `file:///path`. `*` does not match `/`, `**` does, and alone matches everything. A
    /// model that cannot be told from the Pod is matched by any glob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024)))]
    pub uris: Option<Vec<String>>,
}

/// PersistentVolumeClaims by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimSelector {
    /// Selects claims by their labels; empty selects every claim.
    pub selector: LabelSelector,
}

/// Leaves volumes out. Exactly one key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.storageClasses) ? 1 : 0) + (has(self.csiDrivers) ? 1 : 0) + (has(self.claims) ? 1 : 0) + (has(self.mountPaths) ? 1 : 0) == 1")
    .message("an item of match.exclude has exactly one key, storageClasses, csiDrivers, claims or mountPaths: write two items for alternatives"))]
pub struct Exclusion {
    /// Names of StorageClasses of claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    pub storage_classes: Option<Vec<String>>,
    /// Names of CSI drivers, of inline volumes and of the volumes behind claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    pub csi_drivers: Option<Vec<String>>,
    /// PersistentVolumeClaims by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimSelector>,
    /// Globs over mount paths. Holds only where every mount of the claim in the Pod lies under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024), regex(pattern = "^/")))]
    pub mount_paths: Option<Vec<String>>,
}

/// What happens when a model or its use does not comply, as in `ValidatingAdmissionPolicyBinding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ValidationAction {
    /// Write an audit annotation.
    Audit,
    /// Send a warning to the client.
    Warn,
    /// Refuse the request.
    Deny,
}

/// What a verdict of Unknown leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UnknownAction {
    /// Write an audit annotation.
    Audit,
    /// Send a warning to the client.
    Warn,
    /// Let the Pod be made, and hold it by a scheduling gate until its models are verified. Under `Deny` alone.
    Hold,
    /// Refuse the request.
    Deny,
}

/// Rules about the content of the model and the way in which it is mounted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.reverifyAfter) || duration(self.reverifyAfter) >= duration('1m')")
        .message("reverifyAfter is at least 1m: every run reads the whole model"),
    validation = Rule::new("!has(self.reverifyAfter) || !has(self.maxAge) || duration(self.maxAge) > duration(self.reverifyAfter)")
        .message("maxAge must be longer than reverifyAfter, else every record goes stale before its next run"),
    validation = Rule::new("!has(self.ignorePaths) || self.ignorePaths.all(p, !p.matches('(^|/)[.]?[.]?(/|$)'))")
        .message("a glob in ignorePaths is relative to the model's root, without . or .. in it and without a / at its end: write .git/** for a folder"),
    validation = Rule::new("!has(self.ignorePaths) || self.ignorePaths.all(p, p.matches('[^*?/]'))")
        .message("a glob in ignorePaths names something: write .git/** or *.md; a model in which anything may lie unsigned is not verified")
)]
pub struct Content {
    /// Whether the model must be mounted read-only. Default true; accounts in `writers` are exempt.
    #[serde(default = "yes")]
    pub read_only: bool,
    /// Who may mount a model so that it can be written. Judged as writers alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub writers: Vec<Writer>,
    /// Whether a writer may run while Pods serve from the same storage. Default `Exclusive` where `validationActions`
    /// has `Deny`, else `Report`; `Exclusive` without `Deny` is refused, for nothing is held back there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_serving: Option<WhileServing>,
    /// How long after its last read a model is read again. Absent: only when something could have written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::GoDuration>")]
    pub reverify_after: Option<Duration>,
    /// How old a record may be before it is `Stale`. Default seven times `reverifyAfter`; without that, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::GoDuration>")]
    pub max_age: Option<Duration>,
    /// Storage that can be written from outside the cluster, or that answers differently to different clients, and that
    /// this policy trusts all the same. Without an entry such a volume is `NotVerifiable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub trusted_storage: Vec<TrustedStorage>,
    /// The ids with which a verifier reads, where the ids of the workload cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<ReadAs>,
    /// What follows from a chat template, or other configuration that an argument names, in a ConfigMap, a Secret or
    /// another volume that Kubernetes makes of API objects. `Refuse`, the default, gives it the code `UnsignedConfig`;
    /// `Allow` lets it pass.
    #[serde(default)]
    pub unsigned_config: UnsignedConfig,
    /// Globs over what may lie in a model without being signed, relative to the model's root: `.git/**`, `*.md`. `*` does
    /// not match `/`, `**` does. Default: nothing but the bundles, whatever the signer ignored. A file that was signed
    /// MUST be what was signed all the same; what lies under a glob is no model, and cannot be used as one. Records name
    /// what is unsigned: where that is too much, a folder in which nothing is signed counts as a whole, and is only let be
    /// by a glob that ends in `/**`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub ignore_paths: Vec<String>,
    /// Whether symbolic links may lie in a model whose signer followed them: to files and folders of the model, never out
    /// of it. Only the model as a whole can be used then. Default false.
    #[serde(default)]
    pub allow_symlinks: bool,
    /// What is dangerous in itself and may not be, whatever model is used: each has the code of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub forbid: Vec<Forbidden>,
}

/// What follows from configuration that nobody signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UnsignedConfig {
    /// It does not comply.
    #[default]
    Refuse,
    /// It passes.
    Allow,
}

impl Default for Content {
    fn default() -> Self {
        Content {
            read_only: true,
            writers: Vec::new(),
            while_serving: None,
            reverify_after: None,
            max_age: None,
            trusted_storage: Vec::new(),
            read_as: None,
            unsigned_config: UnsignedConfig::Refuse,
            ignore_paths: Vec::new(),
            allow_symlinks: false,
            forbid: Vec::new(),
        }
    }
}

fn yes() -> bool {
    true
}

/// An account that may write models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Writer {
    /// Name of the service account, in the namespace of the Pod.
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
}

/// Whether a writer may run while Pods serve from the same storage, whatever claim or namespace they come by. What a
/// `ModelPolicy` says is about the writers of its own namespace alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WhileServing {
    /// It may not: a writer is not scheduled while a Pod that can still start a container reads from the storage, and
    /// such Pods are refused while a writer runs. Nobody alters a model and then restarts the container that serves it.
    Exclusive,
    /// It may: that the model may be changing shows in record, status, Events and metrics, and new Pods are refused.
    Report,
}

/// Storage that the policy trusts. Exactly one key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.csiDriver) ? 1 : 0) + (has(self.storageClass) ? 1 : 0) + (has(self.nfs) ? 1 : 0) == 1")
    .message("an item of trustedStorage has exactly one key, csiDriver, storageClass or nfs: write two items for alternatives"))]
pub struct TrustedStorage {
    /// Name of the CSI driver of the PersistentVolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub csi_driver: Option<String>,
    /// Name of a StorageClass whose provisioner is the PersistentVolume's driver as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// An NFS export and what lies below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NfsExport>,
}

/// An NFS export and what lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NfsExport {
    /// The server, spelt as in the PersistentVolume.
    #[schemars(length(min = 1, max = 253))]
    pub server: String,
    /// Exported path at or above the volume's, by components.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path_prefix: String,
}

/// The ids with which a verifier reads. Never root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadAs {
    /// The user id.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: i64,
    /// The group id. Default: the user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Further group ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 2_147_483_647)))]
    pub supplemental_groups: Vec<i64>,
}
