//! A PodSpec as the list of models that it uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::PodSpec;

use super::engines::{self, Declared, Environment, Named, PodFields};
use super::mounts::{AnyContainer, placed, shadows};
use super::source::{Brought, brought};
use super::{Access, Claims, ContainerKind, ContainerRef, FieldPath, ModelUse, Mount, Way, ids, named};

/// Where the bundle of a volume is, by the volume's name.
pub const SIGNATURE_ANNOTATION: &str = "signature.weighbridge.dev/";
/// Which model a rollout expects in a volume, by the volume's name.
pub const DIGEST_ANNOTATION: &str = "digest.weighbridge.dev/";
/// The annotation of a mirror: what a node shows of a Pod that it runs from a file of its own. No kubelet starts such a Pod,
/// and none can become one later.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// How many models that arguments name an object may have; each is judged under every policy.
const MAX_NAMED: usize = 512;

/// What surrounds a PodSpec in its object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The annotations of the Pod.
    pub(super) annotations: &'a BTreeMap<String, String>,
    /// Where the spec lies in the object, `spec` or `spec.template.spec`.
    pub(super) at: &'a FieldPath,
    /// Volumes that are claims and do not stand in the spec (StatefulSets), by the volume's name.
    pub(super) claims: &'a HashMap<String, String>,
    /// Name and namespace of the Pod, where they are known.
    pub(super) pod: PodFields<'a>,
}

/// The uses of a Pod, in the order of its fields: containers as init, main, ephemeral; mounts before devices, and last
/// what arguments and variables name.
///
/// `at` is where the spec lies in the object, `spec` or `spec.template.spec`. A volume that no container mounts is not a
/// use; every mount of a volume that brings in data from outside the Pod is one, also where nobody can say what.
pub fn model_uses(spec: &PodSpec, annotations: &BTreeMap<String, String>, at: &FieldPath) -> Vec<ModelUse> {
    model_uses_in(spec, Around { annotations, at, claims: &HashMap::new(), pod: PodFields::default() })
}

/// The same, where more is known.
pub(super) fn model_uses_in(spec: &PodSpec, around: Around<'_>) -> Vec<ModelUse> {
    let containers = containers(spec, around.at);
    let volumes: HashMap<&str, Brought> =
        spec.volumes.iter().flatten().map(|volume| (volume.name.as_str(), brought(volume))).collect();
    let volume = |name: &str| match around.claims.get(name) {
        Some(claim) => Some(Brought::Claim { name: claim.clone(), read_only: false }),
        None => volumes.get(name).cloned(),
    };
    // Of several the last: what comes later, as an ephemeral container does, is looked at for itself.
    let overpowering = containers
        .iter()
        .rev()
        .find_map(|container| ids::overpowers_mounts(container.security).map(|field| container.at.field(field)));
    let pod_ids = ids::of_pod(spec.security_context.as_ref());
    let mut uses = Vec::new();
    let mut left = MAX_NAMED;
    for container in &containers {
        let environment = Environment::of(container.env, container.env_from, around.pod, &container.at);
        let placed = placed(container, &environment, volume);
        let mut index = vec![None; placed.len()];
        let ids = ids::of_container(&pod_ids, container.security);
        let first = uses.len();
        for (mount, index) in placed.iter().zip(&mut index) {
            let (Some((source, writable)), Some(volume)) = (&mount.brings, mount.volume) else { continue };
            *index = Some(uses.len());
            let privileged_by = overpowering.clone().filter(|_| source.claim().is_some());
            let writable = *writable || privileged_by.is_some();
            uses.push(ModelUse {
                container: ContainerRef { kind: container.kind, name: container.name.to_owned() },
                at: mount.at.clone(),
                way: Way::Mounted(Mount { volume: volume.to_owned(), path: mount.path.clone(), paths: Vec::new() }),
                source: source.clone(),
                access: if writable { Access::ReadWrite } else { Access::ReadOnly },
                privileged_by,
                shadows: Vec::new(),
                ids: ids.clone(),
                annotations: claims_of(volume, around.annotations),
                hazards: Vec::new(),
            });
        }
        shadows(&mut uses, &placed, &index);
        let Declared { named, hazards } = engines::declared(container, &environment);
        for named in within_bound(named, &mut left, &container.at) {
            uses.extend(named::as_use(container, &named, &placed, &index, &uses, &ids));
        }
        uses[first..].iter_mut().for_each(|model_use| model_use.hazards.clone_from(&hazards));
    }
    gather_mount_paths(&mut uses);
    uses
}

/// As many as the object may still name; the first one over that stands for all others.
fn within_bound(mut named: Vec<Named>, left: &mut usize, at: &FieldPath) -> Vec<Named> {
    if named.len() > *left {
        named.truncate(*left);
        named.push(engines::too_large(at.clone(), "the object names more models than can be looked at"));
    }
    *left = left.saturating_sub(named.len());
    named
}

/// All containers of a Pod, of every kind.
fn containers<'a>(spec: &'a PodSpec, at: &FieldPath) -> Vec<AnyContainer<'a>> {
    let place = |kind: ContainerKind, index| at.item(kind.field(), index);
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(|(i, it)| AnyContainer::of(ContainerKind::Init, it, place(ContainerKind::Init, i)));
    let main = spec.containers.iter().enumerate();
    let main = main.map(|(i, it)| AnyContainer::of(ContainerKind::Main, it, place(ContainerKind::Main, i)));
    let ephemeral = spec.ephemeral_containers.iter().flatten().enumerate();
    let ephemeral = ephemeral.map(|(i, it)| AnyContainer::of_ephemeral(it, place(ContainerKind::Ephemeral, i)));
    init.chain(main).chain(ephemeral).collect()
}

fn claims_of(volume: &str, annotations: &BTreeMap<String, String>) -> Claims {
    let of = |prefix: &str| annotations.get(&format!("{prefix}{volume}")).cloned();
    Claims { digest: of(DIGEST_ANNOTATION), signature: of(SIGNATURE_ANNOTATION) }
}

/// Annotations that speak of volumes which the Pod does not have.
pub(super) fn stray_annotations(
    spec: &PodSpec,
    annotations: &BTreeMap<String, String>,
    claims: &HashMap<String, String>,
) -> Vec<String> {
    let exists = |name: &str| claims.contains_key(name) || spec.volumes.iter().flatten().any(|it| it.name == name);
    let volume = |key: &'_ String| {
        let name = key.strip_prefix(SIGNATURE_ANNOTATION).or_else(|| key.strip_prefix(DIGEST_ANNOTATION));
        name.is_some_and(|name| !exists(name))
    };
    annotations.keys().filter(|key| volume(key)).cloned().collect()
}

/// See [`Mount::paths`].
fn gather_mount_paths(uses: &mut [ModelUse]) {
    // A claim and a volume may have the same name; they are told apart by which of the two it is.
    let key = |claim: Option<&str>, mount: &Mount| match claim {
        Some(claim) => (true, claim.to_owned()),
        None => (false, mount.volume.clone()),
    };
    let mut paths: HashMap<(bool, String), BTreeSet<String>> = HashMap::new();
    for model_use in uses.iter() {
        let Some(mount) = model_use.mount() else { continue };
        paths.entry(key(model_use.claim(), mount)).or_default().insert(mount.path.clone());
    }
    for ModelUse { way, source, .. } in uses {
        let Way::Mounted(mount) = way else { continue };
        mount.paths = paths.get(&key(source.claim(), mount)).into_iter().flatten().cloned().collect();
    }
}

#[cfg(test)]
mod tests;
