//! The mounts of one container: which of them are uses, and which hide a part of another.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, SecurityContext, VolumeDevice, VolumeMount};

use super::paths::{claim_path, is_at_or_below, mount_path};
use super::source::{Brought, UNKNOWN_KIND, opaque};
use super::{ContainerKind, FieldPath, ModelUse, OpaqueSource, Shadow, ShadowedBy, Source};

/// Where the kubelet mounts a writable file of its own, unless a container says otherwise (the API's default).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What the three kinds of container have in common.
pub(super) struct AnyContainer<'a> {
    pub(super) kind: ContainerKind,
    pub(super) name: &'a str,
    pub(super) at: FieldPath,
    pub(super) mounts: &'a [VolumeMount],
    pub(super) devices: &'a [VolumeDevice],
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) termination_log: &'a str,
}

impl<'a> AnyContainer<'a> {
    pub(super) fn of(kind: ContainerKind, container: &'a Container, at: FieldPath) -> Self {
        AnyContainer {
            kind,
            name: &container.name,
            at,
            mounts: container.volume_mounts.as_deref().unwrap_or_default(),
            devices: container.volume_devices.as_deref().unwrap_or_default(),
            security: container.security_context.as_ref(),
            termination_log: container.termination_message_path.as_deref().unwrap_or_default(),
        }
    }

    pub(super) fn of_ephemeral(container: &'a EphemeralContainer, at: FieldPath) -> Self {
        AnyContainer {
            kind: ContainerKind::Ephemeral,
            name: &container.name,
            at,
            mounts: container.volume_mounts.as_deref().unwrap_or_default(),
            devices: container.volume_devices.as_deref().unwrap_or_default(),
            security: container.security_context.as_ref(),
            termination_log: container.termination_message_path.as_deref().unwrap_or_default(),
        }
    }
}

/// One thing at one path in one container.
pub(super) struct Placed<'a> {
    pub(super) at: FieldPath,
    pub(super) path: String,
    /// The volume; `None` for what the kubelet itself puts there.
    pub(super) volume: Option<&'a str>,
    /// What it brings in, if it brings in anything, and whether it can be written through this mount.
    pub(super) brings: Option<(Source, bool)>,
    propagates: bool,
}

/// Everything that a container has mounted, in the order of its fields.
pub(super) fn placed<'a>(container: &AnyContainer<'a>, volume: impl Fn(&str) -> Option<Brought>) -> Vec<Placed<'a>> {
    let mut all = Vec::with_capacity(container.mounts.len() + container.devices.len() + 1);
    for (index, mount) in container.mounts.iter().enumerate() {
        all.push(Placed {
            at: container.at.item("volumeMounts", index),
            path: mount_path(&mount.mount_path),
            volume: Some(&mount.name),
            brings: mounted(mount, volume(&mount.name)),
            propagates: !matches!(mount.mount_propagation.as_deref(), None | Some("" | "None")),
        });
    }
    for (index, device) in container.devices.iter().enumerate() {
        all.push(Placed {
            at: container.at.item("volumeDevices", index),
            path: mount_path(&device.device_path),
            volume: Some(&device.name),
            brings: attached(volume(&device.name)),
            propagates: false,
        });
    }
    let log = Some(container.termination_log).filter(|path| !path.is_empty()).unwrap_or(TERMINATION_LOG);
    all.push(Placed {
        at: container.at.field("terminationMessagePath"),
        path: mount_path(log),
        volume: None,
        brings: None,
        propagates: false,
    });
    all
}

/// What a mount brings in, and whether it can be written.
fn mounted(mount: &VolumeMount, volume: Option<Brought>) -> Option<(Source, bool)> {
    let writable = |volume_read_only: bool| !volume_read_only && mount.read_only != Some(true);
    match volume {
        Some(Brought::Nothing) => None,
        Some(Brought::Claim { name, read_only }) => Some((in_claim(name, mount), writable(read_only))),
        Some(Brought::Opaque { source, read_only }) => Some((Source::Opaque(source), writable(read_only))),
        // The API server refuses such a Pod; should one come by all the same, nobody knows what it mounts.
        None => Some((Source::Opaque(undeclared()), writable(false))),
    }
}

/// The part of a claim that a mount shows.
fn in_claim(name: String, mount: &VolumeMount) -> Source {
    if mount.sub_path_expr.as_deref().is_some_and(|expression| !expression.is_empty()) {
        let remedy = "write the folder as subPath";
        return Source::Opaque(of_claim("subPathExpr in claim", name, remedy));
    }
    match claim_path(mount.sub_path.as_deref().unwrap_or_default()) {
        Some(path) => Source::Claim { name, path },
        None => {
            let remedy = "write it without .. and in at most 1024 characters";
            Source::Opaque(of_claim("unusable subPath in claim", name, remedy))
        }
    }
}

/// A block device: its bytes are no files, and a manifest speaks of files.
fn attached(volume: Option<Brought>) -> Option<(Source, bool)> {
    let remedy = "mount a claim with volumeMode Filesystem";
    match volume {
        Some(Brought::Nothing) => None,
        Some(Brought::Claim { name, read_only }) => {
            Some((Source::Opaque(of_claim("block device", name, remedy)), !read_only))
        }
        Some(Brought::Opaque { source, read_only }) => {
            Some((Source::Opaque(OpaqueSource { kind: "block device", remedy, ..source }), !read_only))
        }
        None => Some((Source::Opaque(undeclared()), true)),
    }
}

fn of_claim(kind: &'static str, claim: String, remedy: &'static str) -> OpaqueSource {
    OpaqueSource { claim: Some(claim.clone()), ..opaque(kind, &claim, remedy) }
}

fn undeclared() -> OpaqueSource {
    opaque(UNKNOWN_KIND, "", "declare the volume under volumes")
}

/// What hides a part of each use. `placed` are all mounts of a container, `index` says which use each of them is.
pub(super) fn shadows(uses: &mut [ModelUse], placed: &[Placed<'_>], index: &[Option<usize>]) {
    for (mount, own) in placed.iter().zip(index) {
        let Some(own) = *own else { continue };
        let propagation =
            mount.propagates.then(|| Shadow { at: mount.at.field("mountPropagation"), by: ShadowedBy::Propagation });
        let nested = placed
            .iter()
            .zip(index)
            .filter(|(other, other_use)| **other_use != Some(own) && is_at_or_below(&other.path, &mount.path));
        let nested = nested.map(|(other, other_use)| Shadow {
            at: other.at.clone(),
            by: other_use.map_or(ShadowedBy::Mount, ShadowedBy::Use),
        });
        uses[own].shadows = propagation.into_iter().chain(nested).collect();
    }
}
