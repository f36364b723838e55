//! Where the paths lead that arguments and variables name: into a mount, or into something that nobody vouches for.
//!
//! A path below a mount that is a use itself is a part of that use: it is judged for itself only where a policy leaves the
//! mount out. Whatever lies elsewhere is a use of its own: in an emptyDir and the like, in another process's files, or
//! in the image.

use super::engines::{Named, Target};
use super::mounts::{AnyContainer, Placed};
use super::paths::{is_at_or_below, mount_path};
use super::source::{Holds, USE_A_CLAIM, opaque};
use super::{Access, Claims, ContainerRef, Ids, ModelUse, Naming, OpaqueSource, Role, Source, Unresolved, Way};
use crate::api::v1alpha1::UnknownCode;
use crate::model::shown;

/// Where the kernel shows the files of other processes.
const PROCESSES: &str = "/proc";

/// What a container names, as a use; `None` for what is no use: a file of configuration that comes with the image.
///
/// `placed` is what it has mounted, `index` says which use each of these is, among `uses`.
pub(super) fn as_use(
    container: &AnyContainer<'_>,
    named: &Named,
    placed: &[Placed<'_>],
    index: &[Option<usize>],
    uses: &[ModelUse],
    ids: &Ids,
) -> Option<ModelUse> {
    let (naming, source) = place(container, named, placed, index, uses)?;
    let mount = naming.within.and_then(|index| uses.get(index));
    Some(ModelUse {
        container: ContainerRef { kind: container.kind, name: container.name.to_owned() },
        at: named.at.clone(),
        source,
        access: mount.map_or(Access::ReadOnly, |mount| mount.access),
        privileged_by: mount.and_then(|mount| mount.privileged_by.clone()),
        shadows: mount.map(|mount| mount.shadows.clone()).unwrap_or_default(),
        way: Way::Named(naming),
        ids: ids.clone(),
        annotations: Claims::default(),
        hazards: Vec::new(),
    })
}

fn place(
    container: &AnyContainer<'_>,
    named: &Named,
    placed: &[Placed<'_>],
    index: &[Option<usize>],
    uses: &[ModelUse],
) -> Option<(Naming, Source)> {
    let naming = |path, within| Naming { role: Role::Weights, path, within };
    let (written, fetches) = match &named.target {
        Target::Uri(uri) => return Some((naming(None, None), Source::Uri(uri.clone()))),
        Target::Unresolved(unresolved) => return Some((naming(None, None), Source::Unresolved(unresolved.clone()))),
        Target::Path(path) => (path, false),
        Target::Store(path) => (path, true),
    };
    if written.split('/').any(|part| part == "..") {
        let what = format!("where \"{}\" leads cannot be told: a folder on the way may be a link", shown(written));
        return Some((naming(None, None), unresolved(what, "write the path without ..")));
    }
    let from_image = named.role == Role::Config;
    let Some(path) = absolute(written, container.working_dir) else {
        return (!from_image).then(|| (naming(None, None), in_image(written)));
    };
    let around = placed.iter().zip(index).filter(|(mount, _)| is_at_or_below(&path, &mount.path));
    match around.max_by_key(|(mount, _)| mount.path.len()) {
        Some((mount, Some(found))) => {
            let source = inside(&uses.get(*found)?.source, &path, &mount.path);
            Some((naming(Some(path), Some(*found)), source))
        }
        Some((Placed { holds: Some(holds), .. }, None)) => {
            let role = if holds.api_objects() { named.role } else { Role::Weights };
            let source = Source::Opaque(opaque(holds.words(role), &path, USE_A_CLAIM));
            Some((Naming { role, path: Some(path), within: None }, source))
        }
        _ if is_at_or_below(&path, PROCESSES) => {
            let source = Source::Opaque(opaque("model in another process's files", &path, USE_A_CLAIM));
            Some((naming(Some(path), None), source))
        }
        _ if fetches => {
            let what = format!("the server fetches models by itself, into \"{}\"", shown(&path));
            let remedy = "mount a claim there that holds the models, read-only";
            Some((naming(Some(path), None), unresolved(what, remedy)))
        }
        _ => (!from_image).then(|| (naming(Some(path.clone()), None), in_image(&path))),
    }
}

fn in_image(path: &str) -> Source {
    Source::Opaque(opaque("model in the container's image", path, USE_A_CLAIM))
}

fn unresolved(what: String, remedy: &'static str) -> Source {
    Source::Unresolved(Unresolved { code: UnknownCode::NotVerifiable, what, remedy })
}

/// The path from the root of the container, if the Pod says it: without a working directory the image has one.
fn absolute(path: &str, working_dir: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(mount_path(path));
    }
    working_dir.starts_with('/').then(|| mount_path(&format!("{working_dir}/{path}")))
}

/// The part of a source that lies at a path below its mount.
fn inside(source: &Source, path: &str, mount: &str) -> Source {
    let below = path.strip_prefix(mount.trim_end_matches('/')).unwrap_or_default().trim_matches('/');
    match source {
        Source::Claim { name, path: root } => {
            let parts = [root.as_str(), below].into_iter().filter(|part| !part.is_empty());
            Source::Claim { name: name.clone(), path: parts.collect::<Vec<&str>>().join("/") }
        }
        Source::Opaque(opaque) => Source::Opaque(OpaqueSource { target: path.to_owned(), ..opaque.clone() }),
        Source::Uri(_) | Source::Unresolved(_) => source.clone(),
    }
}

impl Holds {
    /// Whether Kubernetes makes its files of API objects.
    fn api_objects(self) -> bool {
        !matches!(self, Holds::EmptyDir | Holds::Ephemeral)
    }

    /// What lies in it, as a kind of source.
    fn words(self, role: Role) -> &'static str {
        match (self, role) {
            (Holds::EmptyDir, _) => "model in an emptyDir",
            (Holds::Ephemeral, _) => "model in a generic ephemeral volume",
            (Holds::ConfigMap, Role::Weights) => "model in a ConfigMap",
            (Holds::ConfigMap, Role::Config) => "configuration in a ConfigMap",
            (Holds::Secret, Role::Weights) => "model in a Secret",
            (Holds::Secret, Role::Config) => "configuration in a Secret",
            (Holds::DownwardApi, Role::Weights) => "model in a downwardAPI volume",
            (Holds::DownwardApi, Role::Config) => "configuration in a downwardAPI volume",
            (Holds::Projected, Role::Weights) => "model in a projected volume",
            (Holds::Projected, Role::Config) => "configuration in a projected volume",
        }
    }
}

#[cfg(test)]
mod tests;
