//! The mounts of one container: which of them are uses, and which hide a part of another.

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EphemeralContainer, ExecAction, Lifecycle, LifecycleHandler, Probe,
    SecurityContext, VolumeDevice, VolumeMount,
};

use super::engines::Environment;
use super::paths::{claim_path, is_at_or_below, mount_path};
use super::source::{Brought, Holds, UNKNOWN_KIND, opaque};
use super::{ContainerKind, FieldPath, ModelUse, OpaqueSource, Shadow, ShadowedBy, Source};

/// Where the kubelet mounts a writable file of its own, unless a container says otherwise (the API's default).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What the three kinds of container have in common.
pub(super) struct AnyContainer<'a> {
    pub(super) kind: ContainerKind,
    pub(super) name: &'a str,
    pub(super) at: FieldPath,
    pub(super) image: &'a str,
    pub(super) command: &'a [String],
    pub(super) args: &'a [String],
    pub(super) env: &'a [EnvVar],
    pub(super) env_from: &'a [EnvFromSource],
    pub(super) working_dir: &'a str,
    pub(super) mounts: &'a [VolumeMount],
    pub(super) devices: &'a [VolumeDevice],
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) termination_log: &'a str,
    lifecycle: Option<&'a Lifecycle>,
    /// Liveness, readiness, start-up.
    probes: [Option<&'a Probe>; 3],
}

/// Both types of the API have these fields, under the same names.
macro_rules! any_container {
    ($kind:expr, $container:expr, $at:expr) => {
        AnyContainer {
            kind: $kind,
            name: &$container.name,
            at: $at,
            image: $container.image.as_deref().unwrap_or_default(),
            command: $container.command.as_deref().unwrap_or_default(),
            args: $container.args.as_deref().unwrap_or_default(),
            env: $container.env.as_deref().unwrap_or_default(),
            env_from: $container.env_from.as_deref().unwrap_or_default(),
            working_dir: $container.working_dir.as_deref().unwrap_or_default(),
            mounts: $container.volume_mounts.as_deref().unwrap_or_default(),
            devices: $container.volume_devices.as_deref().unwrap_or_default(),
            security: $container.security_context.as_ref(),
            termination_log: $container.termination_message_path.as_deref().unwrap_or_default(),
            lifecycle: $container.lifecycle.as_ref(),
            probes: [
                $container.liveness_probe.as_ref(),
                $container.readiness_probe.as_ref(),
                $container.startup_probe.as_ref(),
            ],
        }
    };
}

impl<'a> AnyContainer<'a> {
    pub(super) fn of(kind: ContainerKind, container: &'a Container, at: FieldPath) -> Self {
        any_container!(kind, container, at)
    }

    pub(super) fn of_ephemeral(container: &'a EphemeralContainer, at: FieldPath) -> Self {
        any_container!(ContainerKind::Ephemeral, container, at)
    }

    /// What is run in the container besides its own command, each with its place in the object.
    pub(super) fn hooks(&self) -> Vec<(FieldPath, &'a [String])> {
        let [liveness, readiness, startup] = self.probes.map(|probe| probe.and_then(|probe| probe.exec.as_ref()));
        let hook = |handler: Option<&'a LifecycleHandler>| handler.and_then(|handler| handler.exec.as_ref());
        let start = hook(self.lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()));
        let stop = hook(self.lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()));
        let all = [
            ("lifecycle.postStart.exec", start),
            ("lifecycle.preStop.exec", stop),
            ("livenessProbe.exec", liveness),
            ("readinessProbe.exec", readiness),
            ("startupProbe.exec", startup),
        ];
        let run = |(field, action): (&str, Option<&'a ExecAction>)| {
            Some((self.at.field(field), action?.command.as_deref().unwrap_or_default()))
        };
        all.into_iter().filter_map(run).collect()
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
    /// What it holds, where it brings in nothing.
    pub(super) holds: Option<Holds>,
    propagates: bool,
}

/// Everything that a container has mounted, in the order of its fields.
pub(super) fn placed<'a>(
    container: &AnyContainer<'a>,
    environment: &Environment,
    volume: impl Fn(&str) -> Option<Brought>,
) -> Vec<Placed<'a>> {
    let mut all = Vec::with_capacity(container.mounts.len() + container.devices.len() + 1);
    for (index, mount) in container.mounts.iter().enumerate() {
        let brought = volume(&mount.name);
        all.push(Placed {
            at: container.at.item("volumeMounts", index),
            path: mount_path(&mount.mount_path),
            volume: Some(&mount.name),
            holds: brought.as_ref().and_then(Brought::holds),
            brings: mounted(mount, environment, brought),
            propagates: !matches!(mount.mount_propagation.as_deref(), None | Some("" | "None")),
        });
    }
    for (index, device) in container.devices.iter().enumerate() {
        all.push(Placed {
            at: container.at.item("volumeDevices", index),
            path: mount_path(&device.device_path),
            volume: Some(&device.name),
            holds: None,
            brings: attached(volume(&device.name)),
            propagates: false,
        });
    }
    let log = Some(container.termination_log).filter(|path| !path.is_empty()).unwrap_or(TERMINATION_LOG);
    all.push(Placed {
        at: container.at.field("terminationMessagePath"),
        path: mount_path(log),
        volume: None,
        holds: None,
        brings: None,
        propagates: false,
    });
    all
}

/// What a mount brings in, and whether it can be written.
fn mounted(mount: &VolumeMount, environment: &Environment, volume: Option<Brought>) -> Option<(Source, bool)> {
    let writable = |volume_read_only: bool| !volume_read_only && mount.read_only != Some(true);
    match volume {
        Some(Brought::Nothing(_)) => None,
        Some(Brought::Claim { name, read_only }) => Some((in_claim(name, mount, environment), writable(read_only))),
        Some(Brought::Opaque { source, read_only }) => Some((Source::Opaque(source), writable(read_only))),
        // The API server refuses such a Pod; should one come by all the same, nobody knows what it mounts.
        None => Some((Source::Opaque(undeclared()), writable(false))),
    }
}

/// The part of a claim that a mount shows. An expression is expanded from what is fixed once the Pod is admitted: literal
/// values, the Pod's name and its namespace. Whoever can change labels, annotations, ConfigMaps or Secrets could turn
/// the mount elsewhere until the container starts.
fn in_claim(name: String, mount: &VolumeMount, environment: &Environment) -> Source {
    let expression = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty());
    let path = match expression {
        None => mount.sub_path.clone().unwrap_or_default(),
        Some(expression) => match environment.expand_path(expression) {
            Some(path) => path,
            None => {
                let remedy = "write the folder as subPath, or use only values that stand in the Pod";
                return Source::Opaque(of_claim("subPathExpr in claim", name, remedy));
            }
        },
    };
    match claim_path(&path) {
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
        Some(Brought::Nothing(_)) => None,
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
        let renamed = is_renamed(own, mount, uses, placed, index);
        let renamed = renamed.then(|| Shadow { at: mount.at.clone(), by: ShadowedBy::OtherName });
        uses[own].shadows = propagation.into_iter().chain(renamed).chain(nested).collect();
    }
}

/// Whether a mount shows one file under another name than it has in its claim, or in the place of another file of the
/// same claim that is mounted around it. Which of a claim's paths are files the Pod does not say: what a server reads by
/// its name has an ending.
fn is_renamed(
    own: usize,
    mount: &Placed<'_>,
    uses: &[ModelUse],
    placed: &[Placed<'_>],
    index: &[Option<usize>],
) -> bool {
    let Source::Claim { name, path } = &uses[own].source else { return false };
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if path.is_empty() || !looks_like_a_file(&base(&mount.path)) {
        return false;
    }
    let elsewhere = |(outer, outer_use): (&Placed<'_>, &Option<usize>)| {
        let Some(around) = outer_use.and_then(|at| uses.get(at)) else { return false };
        let Source::Claim { name: outer_name, path: root } = &around.source else { return false };
        let Some(below) = mount.path.strip_prefix(outer.path.trim_end_matches('/')) else { return false };
        let same_place =
            if root.is_empty() { below.trim_matches('/') == path } else { *path == format!("{root}{below}") };
        *outer_use != Some(own) && below.starts_with('/') && outer_name == name && !same_place
    };
    base(path) != base(&mount.path) || placed.iter().zip(index).any(elsewhere)
}

/// Whether a name ends as those of files do: with letters behind a dot. Versions, in names of folders, have digits there.
fn looks_like_a_file(name: &str) -> bool {
    let ending = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, ending)| ending);
    ending.is_some_and(|ending| !ending.is_empty() && ending.bytes().any(|byte| byte.is_ascii_alphabetic()))
}
