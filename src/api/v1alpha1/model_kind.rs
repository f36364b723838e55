//! `ModelKind`: where custom resources of a serving stack name the models that they load.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Says where objects of one kind name models, so that they are judged when they are applied.
///
/// weighbridge knows the common kinds of the serving stacks; this adds one, or adds paths to one that is known. It can
/// only add. Pods are judged whatever it says: a kind tells its authors early, except for one that loads models into
/// Pods that run already, where its own objects are the only gate. Its objects have a `WorkloadVerification` as soon as the
/// operator may list and watch them: grant that in a ClusterRole with the label `weighbridge.dev/aggregate-to-operator:
/// "true"`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelKind",
    shortname = "mk",
    category = "weighbridge",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Loads", type_ = "boolean", json_path = ".spec.loadsIntoRunningPods"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.group.contains('.') && !self.group.endsWith('.k8s.io') && !self.group.endsWith('weighbridge.dev')")
        .message("group is one of a serving stack, such as serving.kserve.io: those of Kubernetes itself and of weighbridge are not added this way"),
    validation = Rule::new("self.scope == 'Namespaced' || !self.loadsIntoRunningPods")
        .message("only a namespaced kind can load into running Pods: policies select namespaces, so set scope: Namespaced")
)]
pub struct ModelKindSpec {
    /// API group of the kind, such as `serving.kserve.io`. Groups of Kubernetes itself are refused, as is `*`.
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub group: String,
    /// The kind, such as `InferenceService`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// The plural name by which the API server knows it, such as `inferenceservices`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub resource: String,
    /// Whether its objects lie in namespaces. A cluster-scoped object is judged under the policies that select namespaces
    /// without any label, and answered early only. Default `Namespaced`.
    #[serde(default)]
    pub scope: KindScope,
    /// The versions that the paths were written for. An object of another version is read by the same paths; if none of
    /// them leads anywhere, that is reported as `NotVerifiable` instead of taken for an object without models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub versions: Vec<String>,
    /// Whether its controller loads what it names into Pods that run already. Then a request about it fails closed and
    /// Unknown is refused, as for a Pod. Default false: Unknown warns, as on a template, and the Pods are judged.
    #[serde(default)]
    pub loads_into_running_pods: bool,
    /// Where its objects name models.
    pub paths: KindPaths,
}

/// Whether objects of a kind lie in namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum KindScope {
    /// They do.
    #[default]
    Namespaced,
    /// They do not.
    Cluster,
}

/// Where objects of a kind name models.
///
/// A path is fields with dots between them, such as `spec.predictor.model.storageUri`. `name[*]` stands for all items of a
/// list, `*` for all values of a map, `{a,b}` for either field, and `name|yaml` for what a string holds as YAML. A path
/// that leads nowhere in an object names nothing; one that finds something of another form there is reported as
/// `NotVerifiable`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.podTemplates) || has(self.podSpecs) || has(self.containers) || has(self.claims) || has(self.images) || has(self.uris) || has(self.references)")
    .message("name at least one path: podTemplates, podSpecs, containers, claims, images, uris or references"))]
pub struct KindPaths {
    /// Templates of Pods: `metadata` and `spec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub pod_templates: Vec<String>,
    /// Specs of Pods. Fields that a Pod does not have are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub pod_specs: Vec<String>,
    /// Single containers outside of any list. One that lies in a spec of a Pod mounts that Pod's volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub containers: Vec<String>,
    /// Names of PersistentVolumeClaims in the namespace of the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub claims: Vec<String>,
    /// References of images that hold models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub images: Vec<String>,
    /// URIs of models, and names of models at a hub. `pvc://<claim>/<path>` is a path in a claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub uris: Vec<String>,
    /// What stands for a model and is resolved by the controller, such as the name of a preset or a key in a Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "schema::ModelPaths")]
    pub references: Vec<String>,
}
