//! A Kubernetes object as the list of models that it uses.
//!
//! Receives typed objects; promises that nothing that brings data into a container is left out without being said; never
//! looks anything up: what lies behind a claim is the business of [`crate::decision`].

mod custom;
mod engines;
mod ids;
mod kinds;
mod mounts;
mod named;
mod naming;
mod new_pod;
mod object;
mod paths;
mod pod;
mod source;
mod store;
mod writing;

pub use custom::{CustomKinds, CustomResource, NamespacedKind, known as known_kinds};
pub use kinds::{Extract, HasModels, template};
pub use naming::{Hazard, ModelUri, Naming, Role, Unresolved};
pub use new_pod::NewPod;
pub use object::Kind;
pub use paths::{is_at_or_below, mount_path};
pub use pod::{DIGEST_ANNOTATION, MIRROR_ANNOTATION, SIGNATURE_ANNOTATION, model_uses};
pub use store::BackingStore;
pub use writing::{Target, Writing, ended, is_held, is_held_by_others, is_over, never_starts, revived, writings};

use std::fmt::{self, Write as _};

use crate::model::shown;

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
    /// The ids that the Pod sets for its containers. A container may set its own: see [`ModelUse::ids`].
    pub ids: Ids,
    /// Annotations of ours that name no volume of the Pod.
    pub stray_annotations: Vec<String>,
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
    /// How the container gets at it.
    pub way: Way,
    /// Where the data comes from.
    pub source: Source,
    /// Whether the container may write to it.
    pub access: Access,
    /// The field that lets the container write whatever its mounts say (privileged, `SYS_ADMIN`), in any container of
    /// the Pod; set for claims only.
    pub privileged_by: Option<FieldPath>,
    /// What hides or could hide a part of it. A [`Shadow`] that is itself a use may turn out to be harmless: whether it
    /// does is decided, not extracted.
    pub shadows: Vec<Shadow>,
    /// The ids with which this container reads.
    pub ids: Ids,
    /// What the annotations say of this volume. Claims, never trust.
    pub annotations: Claims,
    /// What is dangerous in itself about the container, whatever it uses: the same for each use of a container.
    pub hazards: Vec<Hazard>,
}

/// How a container gets at data from outside the Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A volume is mounted, or attached as a device.
    Mounted(Mount),
    /// An argument or a variable names it.
    Named(Naming),
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Where in the container it appears, normalised.
    pub path: String,
    /// Every path at which any container of the Pod mounts the same data, sorted: the same claim, by whatever volume it
    /// comes; else the same volume. An exclusion by path must cover them all.
    pub paths: Vec<String>,
}

impl ModelUse {
    /// The claim behind it, if there is one, whether or not it can be vouched for.
    pub fn claim(&self) -> Option<&str> {
        self.source.claim()
    }

    /// The mount, where it is one.
    pub fn mount(&self) -> Option<&Mount> {
        match &self.way {
            Way::Mounted(mount) => Some(mount),
            Way::Named(_) => None,
        }
    }
}

/// Something that hides, or could hide, a part of a model mount from within the same container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The field that does it.
    pub at: FieldPath,
    /// What it is.
    pub by: ShadowedBy,
}

/// The ways to hide a part of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowedBy {
    /// A mount at or below it of data that is a use itself, by its index in the list of uses.
    Use(usize),
    /// A mount at or below it of anything else, or a file that the kubelet puts there.
    Mount,
    /// Its own name: one file of a claim, at another path than the one by which it was signed.
    OtherName,
    /// Mount propagation: what is mounted there later, by the node or by the container, shows up as well.
    Propagation,
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

impl ContainerKind {
    /// The list's name in a PodSpec.
    pub const fn field(self) -> &'static str {
        match self {
            ContainerKind::Init => "initContainers",
            ContainerKind::Main => "containers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        }
    }
}

/// A path in an object, as users write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub String);

impl FieldPath {
    /// A field of this one.
    pub fn field(&self, name: &str) -> Self {
        self.with(name, 0)
    }

    /// An item of a list that is a field of this one.
    pub fn item(&self, list: &str, index: usize) -> Self {
        // Room for `[999]`. A Pod has dozens of these, so each is one allocation.
        let mut path = self.with(list, 5);
        // Writing to a string does not fail.
        let _ = write!(path.0, "[{index}]");
        path
    }

    fn with(&self, name: &str, room: usize) -> Self {
        let mut path = String::with_capacity(self.0.len() + 1 + name.len() + room);
        path.push_str(&self.0);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        FieldPath(path)
    }
}

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
    /// What the container fetches by itself.
    Uri(ModelUri),
    /// A model that nobody can tell, because what names it cannot be read here.
    Unresolved(Unresolved),
    /// Any other source, which this version cannot vouch for.
    Opaque(OpaqueSource),
}

impl Source {
    /// The claim behind it, if there is one, whether or not it can be vouched for.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Source::Claim { name, .. } => Some(name),
            Source::Opaque(opaque) => opaque.claim.as_deref(),
            Source::Uri(_) | Source::Unresolved(_) => None,
        }
    }

    /// The reference, where it can point to something else tomorrow.
    pub fn mutable_reference(&self) -> Option<String> {
        match self {
            Source::Uri(uri) => (!uri.is_pinned()).then(|| uri.to_string()),
            Source::Opaque(OpaqueSource { image: Some(image), .. }) => {
                (!naming::is_pinned_reference(image)).then(|| image.clone())
            }
            Source::Opaque(_) | Source::Claim { .. } | Source::Unresolved(_) => None,
        }
    }

    /// The reference of the image, of an image volume.
    pub fn image(&self) -> Option<&str> {
        match self {
            Source::Opaque(opaque) => opaque.image.as_deref(),
            Source::Claim { .. } | Source::Uri(_) | Source::Unresolved(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Claim { name, path } if path.is_empty() => write!(f, "claim/{}", shown(name)),
            Source::Claim { name, path } => write!(f, "claim/{}/{}", shown(name), shown(path)),
            Source::Uri(uri) => f.write_str(&shown(&uri.to_string())),
            Source::Unresolved(_) => f.write_str("unresolved"),
            Source::Opaque(opaque) if opaque.target.is_empty() => f.write_str(opaque.kind),
            Source::Opaque(opaque) => write!(f, "{} {}", opaque.kind, shown(&opaque.target)),
        }
    }
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
    /// The reference, for image volumes.
    pub image: Option<String>,
    /// The StorageClass, for generic ephemeral volumes.
    pub storage_class: Option<String>,
    /// The claim, where there is one and only the way in which it is used cannot be vouched for.
    pub claim: Option<String>,
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
