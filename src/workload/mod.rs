//! A Kubernetes object as the list of models that it uses.
//!
//! Receives typed objects; promises that nothing that brings data into a container is left out without being said; never
//! looks anything up: what lies behind a claim is the business of [`crate::decision`].

mod store;

pub use store::BackingStore;

use std::fmt;

/// Who asks for a model: the Pod, or the template that Pods will be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Namespace of the object.
    pub namespace: String,
    /// Kind of the object, such as `Pod` or `Deployment`.
    pub kind: String,
    /// Name of the object; empty while it is generated.
    pub name: String,
    /// Whether this is a Pod or what Pods will be made from.
    pub stage: Stage,
    /// The service account under which its containers run.
    pub service_account: String,
    /// The ids with which its containers read.
    pub ids: Ids,
}

/// Whether the answer is authoritative (a Pod) or early (a template, whose volumes may not exist yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A Pod.
    Pod,
    /// A template of Pods: an Unknown only warns.
    Template,
}

/// The explicit ids of a workload: with these a verifier reads what the workload can read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ids {
    /// `runAsUser`, when set and not 0.
    pub user: Option<i64>,
    /// `runAsGroup`, when set and not 0.
    pub group: Option<i64>,
    /// `supplementalGroups` and `fsGroup`, without 0, sorted.
    pub groups: Vec<i64>,
    /// `seLinuxOptions` as user, role, type and level.
    pub selinux: Option<[String; 4]>,
}

/// One way in which one container gets at data from outside the Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUse {
    /// The container.
    pub container: ContainerRef,
    /// Where in the object the use is declared, as a user would write it: `spec.containers[0].volumeMounts[1]`.
    pub at: FieldPath,
    /// Name of the volume.
    pub volume: String,
    /// Where in the container it appears, normalised.
    pub mount_path: String,
    /// Where the data comes from.
    pub source: Source,
    /// Whether the container may write to it.
    pub access: Access,
    /// What hides or could hide a part of it, as a field path.
    pub shadowed_by: Option<FieldPath>,
    /// Every mount path of the same volume in this Pod: an exclusion by path must cover them all.
    pub volume_mount_paths: Vec<String>,
    /// What the annotations say of this volume. Claims, never trust.
    pub annotations: Claims,
}

/// A container of a Pod, of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerRef {
    /// In which of the Pod's lists it stands.
    pub kind: ContainerKind,
    /// Its name.
    pub name: String,
}

/// The three lists of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerKind {
    /// `initContainers`.
    Init,
    /// `containers`.
    Main,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// A path in an object, as users write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub String);

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a container may write to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// It cannot.
    ReadOnly,
    /// It can: the mount is not read-only, or the container is privileged enough to change that.
    ReadWrite,
}

/// Where a Pod gets data from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path in a PersistentVolumeClaim of the Pod's namespace.
    Claim {
        /// Name of the claim.
        name: String,
        /// Relative, normalised path in it; empty is the root.
        path: String,
    },
    /// Any other source, which this version cannot vouch for.
    Opaque(OpaqueSource),
}

/// A source that nobody can vouch for, with what a policy can select it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueSource {
    /// Its kind in words: `image volume`, `hostPath`, `nfs`, `csi`, `generic ephemeral volume`, `unknown volume kind`.
    pub kind: &'static str,
    /// What it points at, for messages; escaped and cut when shown.
    pub target: String,
    /// The CSI driver, for inline CSI volumes.
    pub csi_driver: Option<String>,
    /// The StorageClass, for generic ephemeral volumes.
    pub storage_class: Option<String>,
    /// Why it cannot be vouched for and what to use instead, as half a sentence.
    pub remedy: &'static str,
}

/// What annotations say of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `digest.weighbridge.dev/<volume>`, unparsed.
    pub digest: Option<String>,
    /// `signature.weighbridge.dev/<volume>`, unparsed.
    pub signature: Option<String>,
}
