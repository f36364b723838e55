//! `ModelPolicy`: what a namespace demands of its own models, on top of what the cluster demands.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::cluster_model_policy::{
    ClusterModelPolicySpec, Content, Exclusion, Match, ModelSelector, UnknownAction, ValidationAction, one,
};
use super::policy_status::PolicyStatus;

/// How many policies of one namespace are in force: the oldest. Each costs something for every Pod of the namespace, and
/// those who may write them are not those who pay for it.
pub const MAX_MODEL_POLICIES: usize = 16;

/// Says what a namespace demands of its own models, on top of what the cluster demands: it can refuse what the cluster's
/// policies would let in, and never lets in what they refuse.
///
/// All policies that match a model use MUST be satisfied; inside a policy, authorities are alternatives unless
/// `required` asks for several. At most 16 in a namespace are in force, the oldest; every further one has the condition
/// `Accepted=False`. Those of `kube-system`, `kube-public`, `kube-node-lease` and the namespace of weighbridge itself never
/// match anything.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelPolicy",
    plural = "modelpolicies",
    namespaced,
    shortname = "mp",
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
        .message("whileServing: Exclusive holds writers back, which only Deny does: use Deny, or write Report"),
    validation = Rule::new("self.authorities.all(a, !has(a.key) || !has(a.key.secretRef))")
        .message("a ModelPolicy refers to no Secret of weighbridge: write the public key into data, or use configMapRef"),
    validation = Rule::new("self.authorities.all(a, !has(a.certificate) || !has(a.certificate.roots.data))")
        .message("a ModelPolicy brings no roots of its own: use roots.configMapRef, with a ConfigMap that the cluster's administrator marked for namespaces"),
    validation = Rule::new("self.authorities.all(a, !has(a.keyless) || !has(a.keyless.trustedRoot) || !has(a.keyless.trustedRoot.data))")
        .message("a ModelPolicy brings no trusted root of its own: use trustedRoot.configMapRef, with a ConfigMap that the cluster's administrator marked for namespaces, or leave it out for the public good")
)]
pub struct ModelPolicySpec {
    /// Which volumes of the namespace this policy is about. Absent: every volume that brings data in from outside the Pod.
    #[serde(default, rename = "match")]
    pub matches: VolumeMatch,
    /// What happens when a model or its use does not comply. `Deny` refuses the request, `Warn` sends a warning to the
    /// client, `Audit` writes an audit annotation. Deny and Warn exclude each other.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub validation_actions: Vec<ValidationAction>,
    /// What a verdict of Unknown leads to, as in a policy of the cluster. Absent means the action itself. `Warn` and `Audit`
    /// under a `Deny` policy set the condition `Enforcing=False(UnknownAdmits)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownAction>,
    /// Whom this policy trusts to sign models. Alternatives, unless `required` asks for several. Public keys stand in
    /// the policy. Keys, roots and trusted roots may also stand in a ConfigMap in the namespace of weighbridge, if it
    /// carries the label `weighbridge.dev/model-policies: "true"` beside `weighbridge.dev/trust: "true"`.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub authorities: Vec<Authority>,
    /// How many distinct authorities MUST have signed, each with a signer of its own. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16), extend("format" = "int32"))]
    pub required: u32,
    /// Rules about the content of the model and the way in which it is mounted.
    #[serde(default)]
    pub content: Content,
    /// Whether each Pod MUST say which models it expects, as in a policy of the cluster. Default false.
    #[serde(default)]
    pub require_digest_annotation: bool,
}

/// Which volumes of the namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMatch {
    /// Which volumes hold models; items are alternatives. Absent: every volume that brings data in from outside the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub models: Option<Vec<ModelSelector>>,
    /// Volumes that are left out, such as caches and logs; items are alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exclude: Vec<Exclusion>,
}

impl ModelPolicySpec {
    /// The same as a policy of the cluster, for every namespace that its owner may hold it against.
    pub fn widened(&self) -> ClusterModelPolicySpec {
        let ModelPolicySpec {
            matches,
            validation_actions,
            unknown,
            authorities,
            required,
            content,
            require_digest_annotation,
        } = self.clone();
        let VolumeMatch { models, exclude } = matches;
        ClusterModelPolicySpec {
            matches: Match { models, exclude, ..Match::default() },
            validation_actions,
            unknown,
            authorities,
            required,
            content,
            require_digest_annotation,
            bundle_registries: Vec::new(),
        }
    }
}
