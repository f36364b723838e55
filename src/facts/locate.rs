//! Finding a model's root and its bundle.
//!
//! Receives a request, gives the open folder of the model and the bundle's bytes. Neither is ever reached through a
//! symbolic link.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::finding::Finding;
use super::request::{Place, Request, SignatureLocation};
use super::survey::survey;
use crate::api::v1alpha1::{RefusedCode, UnknownCode};
use crate::model::{
    Folder, FolderError, Kind, Links, Names, ResourceName, SYSTEM_FOLDERS, is_in_system_folder, shown, walk,
};
use crate::signature::{BundleError, MAX_BUNDLE_BYTES, Rejection};

/// A model that was found, with its bundle.
pub(super) struct Located {
    /// The model's root; for a single-file model, the folder that the file lies in.
    pub(super) folder: Folder,
    /// Where the model's root is beneath the request's root.
    pub(super) root: ResourceName,
    /// The name of the file, if the model is a single file.
    pub(super) single: Option<ResourceName>,
    /// Where the bundle is beneath the request's root, or on this machine, fit to be shown.
    pub(super) bundle_at: String,
    /// Where the bundle is in the model, if it is there.
    pub(super) bundle_name: Option<ResourceName>,
    /// The bundle.
    pub(super) bundle: Arc<Vec<u8>>,
    /// Files at the model's root that could be further bundles, by their names.
    pub(super) other_names: Vec<ResourceName>,
}

/// What lies at a path.
pub(super) enum Found {
    /// A model, or a part of one.
    Model(Box<Located>),
    /// No model, but models below it and nothing else: their paths beneath the request's root.
    Models(Vec<ResourceName>),
}

/// How many files at a model's root are looked at as bundles: a policy requires at most 16 signers.
pub(super) const MAX_BUNDLES: usize = 16;
/// How many files named like bundles a folder may have so that the first of them are known: some sign every file of a
/// model for itself.
const MAX_CANDIDATES: usize = 4096;

/// Finds model and bundle, or in a cluster the models below.
pub(super) fn locate(request: &Request) -> Result<Found, Finding> {
    check_name(request)?;
    let root = Folder::open(&request.root)?;
    let path = &request.path;
    let seen = root.look(path, Links::Refuse)?.ok_or_else(|| FolderError::Missing { path: shown(path.as_str()) })?;
    match seen.kind {
        Kind::Folder => locate_folder(request, &root, path.clone(), None),
        Kind::File => locate_file(request, &root, path),
        Kind::Link => Err(FolderError::Symlink { path: shown(path.as_str()) }.into()),
        Kind::Special(what) => Err(FolderError::Special { path: shown(path.as_str()), what }.into()),
    }
}

/// A file is a model of its own if its own signature lies beside it, and part of a folder's model otherwise.
fn locate_file(request: &Request, root: &Folder, path: &ResourceName) -> Result<Found, Finding> {
    let parent = path.parent().unwrap_or_else(ResourceName::root);
    let name = |text: &str| ResourceName::parse(text).map_err(|error| invalid(text, &error));
    let base = name(path.base())?;
    let beside = name(&format!("{base}.sig"))?;
    let is_single = match &request.signature {
        SignatureLocation::Discover => root.folder(&parent)?.look(&beside, Links::Refuse)?.is_some(),
        SignatureLocation::Within(within) => *within == beside,
        SignatureLocation::File(_) | SignatureLocation::Given { .. } => true,
    };
    if is_single || request.place != Place::Cluster {
        let folder = root.folder(&parent)?;
        let bundle = match &request.signature {
            SignatureLocation::Discover => SignatureLocation::Within(beside),
            other => other.clone(),
        };
        let (bundle_at, bundle_name, bundle) = match bundle {
            SignatureLocation::File(file) => (shown(&file.to_string_lossy()), None, Arc::new(read_file(&file)?)),
            SignatureLocation::Given { at, bundle } => (shown(&at), None, bundle),
            SignatureLocation::Within(name) => match folder.look(&name, Links::Refuse)? {
                Some(_) => {
                    let at = shown(parent.join(&name).as_ref().unwrap_or(&name).as_str());
                    (at, Some(name.clone()), Arc::new(read_bundle(&folder, &name)?))
                }
                None => return Err(unsigned(&name)),
            },
            SignatureLocation::Discover => return Err(unsigned(path)),
        };
        let other_names = Vec::new();
        let root = path.clone();
        let single = Some(base);
        return Ok(found(Located { folder, root, single, bundle_at, bundle_name, bundle, other_names }));
    }
    locate_folder(request, root, parent, Some(path))
}

/// The bundle lies in this folder or, in a cluster, in the nearest one above.
fn locate_folder(
    request: &Request,
    root: &Folder,
    path: ResourceName,
    file: Option<&ResourceName>,
) -> Result<Found, Finding> {
    let used = root.folder(&path)?;
    if let SignatureLocation::File(file) = &request.signature {
        let bundle = Arc::new(read_file(file)?);
        let bundle_at = shown(&file.to_string_lossy());
        let bundle_name = name_in(&request.root, &path, file);
        let other_names = Vec::new();
        let root = path;
        return Ok(found(Located { folder: used, root, single: None, bundle_at, bundle_name, bundle, other_names }));
    }
    if let SignatureLocation::Given { at, bundle } = &request.signature {
        let (bundle, bundle_at, root) = (Arc::clone(bundle), shown(at), path);
        let other_names = candidates(&used)?.into_iter().take(MAX_BUNDLES - 1).collect();
        let folder = used;
        return Ok(found(Located { folder, root, single: None, bundle_at, bundle_name: None, bundle, other_names }));
    }
    let mut at = Some(path.clone());
    while let Some(folder_at) = at {
        // The bundle at the top of a volume says nothing of what its comparison leaves out.
        if folder_at.is_root() && is_in_system_folder(path.as_str()) {
            break;
        }
        let folder = root.folder(&folder_at)?;
        if let Some(name) = bundle_in(&folder, request)? {
            let bundle = Arc::new(read_bundle(&folder, &name)?);
            let bundle_at = shown(folder_at.join(&name).as_ref().unwrap_or(&name).as_str());
            let mut other_names = candidates(&folder)?;
            other_names.retain(|other| *other != name);
            other_names.truncate(MAX_BUNDLES - 1);
            let (root, bundle_name) = (folder_at, Some(name));
            return Ok(found(Located { folder, root, single: None, bundle_at, bundle_name, bundle, other_names }));
        }
        at = if request.place == Place::Cluster { folder_at.parent() } else { None };
    }
    if file.is_none() && request.place == Place::Cluster && request.signature == SignatureLocation::Discover {
        let models = survey(root, &path)?;
        if !models.is_empty() {
            return Ok(Found::Models(models));
        }
    }
    if file.is_none() && !holds_files(&used)? {
        let message = format!("`{}` holds no file; put the model there, or correct the path", shown(path.as_str()));
        return Err(Finding::new(UnknownCode::SourceMissing, message));
    }
    Err(unsigned(file.unwrap_or(&path)))
}

fn found(located: Located) -> Found {
    Found::Model(Box::new(located))
}

/// The name of the bundle in a folder, if there is one; the first, where there may be several.
fn bundle_in(folder: &Folder, request: &Request) -> Result<Option<ResourceName>, Finding> {
    let preferred = match &request.signature {
        SignatureLocation::Within(name) => Some(name.clone()),
        _ => ResourceName::parse("model.sig").ok(),
    };
    if let Some(name) = preferred
        && folder.look(&name, Links::Refuse)?.is_some()
    {
        return Ok(Some(name));
    }
    if request.signature != SignatureLocation::Discover {
        return Ok(None);
    }
    let candidates = candidates(folder)?;
    if candidates.len() > 1 && request.place != Place::Cluster {
        let mut names = Names::default();
        candidates.iter().for_each(|name| names.add(name.as_str()));
        return Err(Finding::ambiguous(&names.to_string()));
    }
    Ok(candidates.into_iter().next())
}

/// The files of a folder that are named like bundles, in order.
pub(super) fn candidates(folder: &Folder) -> Result<Vec<ResourceName>, Finding> {
    let mut names = folder.names(&is_bundle_name, MAX_CANDIDATES)?;
    names.sort();
    Ok(names)
}

/// In a cluster an annotation chooses the bundle, and the bundle is left out of the comparison. So it must not have the
/// name of a file that a server reads for itself.
fn check_name(request: &Request) -> Result<(), Finding> {
    match (&request.place, &request.signature) {
        (Place::Cluster, SignatureLocation::Within(name)) if !is_bundle_name(name.base()) => {
            let name = shown(name.as_str());
            let message = format!("`{name}` is no name for a bundle; give it one that ends in .sig or .sigstore.json");
            Err(Finding::new(RefusedCode::MalformedBundle, message))
        }
        _ => Ok(()),
    }
}

fn is_bundle_name(name: &str) -> bool {
    name.ends_with(".sig") || name.ends_with(".sigstore.json")
}

/// Whether anything but folders lies there.
fn holds_files(folder: &Folder) -> Result<bool, Finding> {
    let found = Cell::new(false);
    walk(folder, Links::Refuse, &|visit| {
        let system = visit.owner == 0 && is_system_folder(visit.name, visit.kind);
        found.set(found.get() || visit.kind != Kind::Folder);
        found.get() || system
    })?;
    Ok(found.get())
}

/// Folders that file systems and storage put at the top of a volume.
pub(super) fn is_system_folder(name: &ResourceName, kind: Kind) -> bool {
    kind == Kind::Folder && SYSTEM_FOLDERS.contains(&name.as_str())
}

fn unsigned(at: &ResourceName) -> Finding {
    // The root has no name that a reader would know.
    let place = if at.is_root() { "in its folder".to_owned() } else { format!("for `{}`", shown(at.as_str())) };
    let message = format!("no signature was found {place}; sign the model, or say where its bundle is");
    Finding::new(RefusedCode::Unsigned, message)
}

/// It is not the model that is missing.
fn no_such_bundle(path: &str) -> Finding {
    let message = format!(
        "the signature file `{}` does not exist; sign the model, or name the file that holds its signature",
        shown(path)
    );
    Finding::new(UnknownCode::SourceMissing, message)
}

fn invalid(text: &str, error: &dyn std::error::Error) -> Finding {
    Finding::new(RefusedCode::MalformedContent, format!("the path `{}` {error}; rename it", shown(text)))
}

/// The name of a bundle in the model whose path was given as one of this machine.
fn name_in(root: &Path, model: &ResourceName, bundle: &Path) -> Option<ResourceName> {
    let model = fs::canonicalize(root.join(model.as_str())).ok()?;
    let bundle = fs::canonicalize(bundle).ok()?;
    ResourceName::parse(bundle.strip_prefix(model).ok()?.to_str()?).ok()
}

pub(super) fn read_bundle(folder: &Folder, name: &ResourceName) -> Result<Vec<u8>, Finding> {
    let (file, _) = folder.file(name, Links::Refuse)?;
    read_to_limit(file, name.as_str())
}

/// A file that a person named: links on the way to it are theirs.
fn read_file(path: &Path) -> Result<Vec<u8>, Finding> {
    let text = path.to_string_lossy();
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => no_such_bundle(&text),
        _ => FolderError::Unreadable { path: shown(&text), source }.into(),
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FolderError::WrongKind { path: shown(&text), wanted: "file" }.into());
    }
    read_to_limit(File::open(path).map_err(unreadable)?, &text)
}

fn read_to_limit(file: File, path: &str) -> Result<Vec<u8>, Finding> {
    let unreadable = |source| FolderError::Unreadable { path: shown(path), source };
    let length = file.metadata().map_err(unreadable)?.len();
    if length > MAX_BUNDLE_BYTES as u64 {
        return Err(Rejection::from(BundleError::TooLarge).into());
    }
    let mut bytes = Vec::new();
    // One byte more than the limit: if it grows meanwhile, whoever parses it sees that it is over.
    file.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
