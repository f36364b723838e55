//! Hashing a model that is to be signed, or whose digests somebody wants to know.
//!
//! Receives a folder or file and what to leave out; gives the manifest as a signer lists it. What a verifier would
//! refuse is refused here already, with the names of the files. It looks at no signature.

use std::path::PathBuf;

use super::content::{git_paths, single_file};
use super::finding::Finding;
use super::locate::{MAX_BUNDLES, candidates, read_bundle};
use super::request::Progress;
use crate::api::v1alpha1::{Detail, RefusedCode, UnknownCode};
use crate::model::{
    ContentRules, Folder, FolderError, Hashing, Kind, Links, Manifest, ManifestError, Names, ResourceName, Tree,
    hash_files, shown, walk,
};
use crate::signature::{Bundle, Serialization, claimed};

/// What to hash, and how.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The folder out of which no path leads.
    pub root: PathBuf,
    /// The model beneath it: a folder, or a single file.
    pub path: ResourceName,
    /// Files and folders of the model that are left out.
    pub ignore: Vec<ResourceName>,
    /// Whether Git's own files are left out too.
    pub ignore_git: bool,
    /// How its files are hashed.
    pub hashing: Hashing,
}

/// A model that was hashed.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its files and their digests.
    pub manifest: Manifest,
    /// How they were made into a manifest, as a statement says it.
    pub serialization: Serialization,
    /// The length of all files, in bytes.
    pub bytes: u64,
    /// What was left out: what the caller named, bundles at the root, folders behind symbolic links.
    pub left_out: Names,
}

/// Hashes a model. Bundles at its root (by name and by content) are not part of it. Blocks until all of it is read.
pub fn measure(request: &Measure, progress: &dyn Progress) -> Result<Measured, Finding> {
    let Measure { root, path, ignore: _, ignore_git: _, hashing } = request;
    let root = Folder::open(root)?;
    let seen = root.look(path, Links::Refuse)?.ok_or_else(|| FolderError::Missing { path: shown(path.as_str()) })?;
    let (folder, tree, ignored) = match seen.kind {
        Kind::Folder => {
            let folder = root.folder(path)?;
            let ignored = ignored(request, &folder)?;
            let rules = ContentRules { ignore: ignored.clone() };
            let tree = walk(&folder, hashing.links, &|visit| rules.ignores(visit.name))?;
            (folder, tree, ignored)
        }
        Kind::File => {
            let tree = single_file(&root, path)?;
            // Nothing can be left out of it, and the reference lists these all the same.
            (root, tree, if request.ignore_git { git_paths().collect() } else { Vec::new() })
        }
        Kind::Link => return Err(FolderError::Symlink { path: shown(path.as_str()) }.into()),
        Kind::Special(what) => return Err(FolderError::Special { path: shown(path.as_str()), what }.into()),
    };
    let Tree { files, unsignable, left_out, folder_links: _, links: _, bytes } = tree;
    refuse_names(&unsignable)?;
    progress.begin(files.len(), bytes);
    let mut hashed = hash_files(&folder, &files, hashing, &|bytes| progress.advance(bytes))?;
    if seen.kind == Kind::File {
        hashed.iter_mut().for_each(|file| file.name = ResourceName::root());
    }
    let manifest = Manifest::of(hashing.method, hashed).map_err(cannot_be_signed)?;
    let serialization = Serialization { allow_symlinks: hashing.links == Links::Follow, ignore_paths: ignored };
    Ok(Measured { manifest, serialization, bytes, left_out })
}

/// What is left out, sorted: what the caller names, Git's files, and the bundles at the root, so that a second signer
/// does not sign the first one's signature.
fn ignored(request: &Measure, folder: &Folder) -> Result<Vec<ResourceName>, Finding> {
    let mut ignored = request.ignore.clone();
    if request.ignore_git {
        ignored.extend(git_paths());
    }
    for name in candidates(folder)?.into_iter().take(MAX_BUNDLES) {
        let is_file = folder.look(&name, Links::Refuse)?.is_some_and(|seen| seen.kind == Kind::File);
        if is_file && !ignored.contains(&name) && is_signature(&read_bundle(folder, &name)?) {
            ignored.push(name);
        }
    }
    ignored.sort();
    ignored.dedup();
    Ok(ignored)
}

/// Whether these are the bytes of a bundle over a model, as verifiers leave out; a bundle over something else is a file
/// of the model.
fn is_signature(bytes: &[u8]) -> bool {
    Bundle::parse(bytes).is_ok_and(|bundle| claimed(&bundle).is_ok())
}

fn refuse_names(unsignable: &Names) -> Result<(), Finding> {
    if unsignable.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} not fit to be signed: {unsignable}; use names in UTF-8 and without backslashes, or ignore the files",
        if unsignable.count() == 1 { "1 name is".to_owned() } else { format!("{} names are", unsignable.count()) }
    );
    Err(Finding::new(RefusedCode::MalformedContent, message).with(Detail::InvalidName))
}

/// What a verifier would refuse.
fn cannot_be_signed(error: ManifestError) -> Finding {
    let refused = |message: String| Finding::new(RefusedCode::MalformedContent, message);
    match &error {
        ManifestError::Empty => {
            refused("the model holds no file, and a signature over nothing would vouch for any empty folder".into())
                .with(Detail::EmptyModel)
        }
        ManifestError::CaseOnly(name) => refused(format!(
            "`{}` and another name differ only in case, so that it depends on the file system which one a server gets; rename one",
            shown(name.as_str())
        ))
        .with(Detail::DuplicateName),
        ManifestError::EmptyFile(name) => refused(format!(
            "`{}` is empty, which the method `shards` cannot list, so that anybody could add or remove it; remove or ignore it, or sign without --shard-size",
            shown(name.as_str())
        )),
        ManifestError::TooMany => Finding::new(UnknownCode::TooLarge, format!("the model {error}; split it")),
        _ => refused(format!("the model {error}")),
    }
}
