//! A PodSpec as the list of models that it uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::PodSpec;

use super::mounts::{AnyContainer, placed, shadows};
use super::source::{Brought, brought};
use super::{Access, Claims, ContainerKind, ContainerRef, FieldPath, ModelUse, Mount, Way, ids};

/// Where the bundle of a volume is, by the volume's name.
const SIGNATURE_PREFIX: &str = "signature.weighbridge.dev/";
/// Which model a rollout expects in a volume, by the volume's name.
const DIGEST_PREFIX: &str = "digest.weighbridge.dev/";

/// The uses of a Pod, in the order of its fields: containers as init, main, ephemeral; mounts before devices.
///
/// `at` is where the spec lies in the object, `spec` or `spec.template.spec`. A volume that no container mounts is not a
/// use; every mount of a volume that brings in data from outside the Pod is one, also where nobody can say what.
pub fn model_uses(spec: &PodSpec, annotations: &BTreeMap<String, String>, at: &FieldPath) -> Vec<ModelUse> {
    model_uses_with(spec, annotations, at, &HashMap::new())
}

/// The same, where some volumes are claims that do not stand in the spec (StatefulSets), by the volume's name.
pub(super) fn model_uses_with(
    spec: &PodSpec,
    annotations: &BTreeMap<String, String>,
    at: &FieldPath,
    claims: &HashMap<String, String>,
) -> Vec<ModelUse> {
    let containers = containers(spec, at);
    let volumes: HashMap<&str, Brought> =
        spec.volumes.iter().flatten().map(|volume| (volume.name.as_str(), brought(volume))).collect();
    let volume = |name: &str| match claims.get(name) {
        Some(claim) => Some(Brought::Claim { name: claim.clone(), read_only: false }),
        None => volumes.get(name).cloned(),
    };
    let overpowering = containers
        .iter()
        .find_map(|container| ids::overpowers_mounts(container.security).map(|field| container.at.field(field)));
    let pod_ids = ids::of_pod(spec.security_context.as_ref());
    let mut uses = Vec::new();
    for container in &containers {
        let placed = placed(container, volume);
        let mut index = vec![None; placed.len()];
        let ids = ids::of_container(&pod_ids, container.security);
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
                annotations: claims_of(volume, annotations),
                hazards: Vec::new(),
            });
        }
        shadows(&mut uses, &placed, &index);
    }
    gather_mount_paths(&mut uses);
    uses
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
    Claims { digest: of(DIGEST_PREFIX), signature: of(SIGNATURE_PREFIX) }
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
