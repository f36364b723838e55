//! Comparing the files of a model with what was signed.

use std::cell::RefCell;

use super::finding::Finding;
use super::locate::{Located, is_system_folder};
use super::pace::Pace;
use super::request::{Place, Progress, Request};
use super::unsigned;
use crate::api::v1alpha1::{RefusedCode, UnsignedFiles};
use crate::model::{
    ContentRules, FileDigests, Folder, Found, GIT_PATHS, HashedFile, Hashing, Kind, Links, Manifest, Names,
    ResourceName, Tree, TreeFile, Visit, hash_files, is_in_system_folder, shown, walk,
};
use crate::signature::Statement;

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    /// The length of the files that were hashed, in bytes, once all of them are.
    pub(super) bytes: Option<u64>,
    /// What was left out of the comparison.
    pub(super) left_out: Names,
    /// How many symbolic links lie in the model, once all of it was met.
    pub(super) links: Option<u64>,
    /// What is not signed, where that is all that differs.
    pub(super) unsigned: Option<UnsignedFiles>,
}

/// Reads the model, all but its bundles, and compares it with the statement. What was read is told even if the comparison fails.
pub(super) fn check(
    located: &Located,
    bundles: &[ResourceName],
    statement: &Statement,
    request: &Request,
    progress: &dyn Progress,
    read: &mut Read,
) -> Result<(), Finding> {
    let manifest = &statement.manifest;
    refuse_other_kind(located, manifest)?;
    let both_allow = request.links == Links::Follow && statement.serialization.allow_symlinks;
    let links = if both_allow { Links::Follow } else { Links::Refuse };
    let rules = rules(statement, request);
    let (stray, stray_links) = (RefCell::new(Names::default()), RefCell::new(Names::default()));
    let tree = match &located.single {
        Some(file) => single_file(&located.folder, file)?,
        None => walk(&located.folder, links, &|visit| {
            let leaves_out = leaves_out(visit, located, bundles, manifest, &rules, &request.place);
            let is_stray = !leaves_out && is_stray(visit, manifest);
            if is_stray {
                let kin = if visit.kind == Kind::Link { &stray_links } else { &stray };
                kin.borrow_mut().add(visit.name.as_str());
            }
            leaves_out || is_stray
        })?,
    };
    read.links = Some(tree.links);
    let (stray, stray_links) = (stray.into_inner(), stray_links.into_inner());
    read.left_out = tree.left_out.without(&stray).without(&stray_links);
    let name_as_listed = |name: &ResourceName| match &located.single {
        Some(file) => manifest.single_file(file.as_str()).unwrap_or(file).clone(),
        None => name.clone(),
    };
    let (listed, others): (Vec<TreeFile>, Vec<TreeFile>) =
        tree.files.into_iter().partition(|file| manifest.lists(&name_as_listed(&file.name)));
    let mut extra = tree.unsignable;
    stray.iter().for_each(|name| extra.add(name));
    stray_links.iter().for_each(|name| extra.add(&as_folder(name)));
    (others.iter().filter(|file| !rules.ignores(&file.name))).for_each(|file| extra.add(file.name.as_str()));
    let is_laptop = matches!(request.place, Place::Laptop { .. });
    if !is_laptop && may_lead_astray(&extra, &read.left_out) {
        tree.folder_links.iter().for_each(|name| extra.add(&as_folder(name)));
        read.left_out = std::mem::take(&mut read.left_out).without(&tree.folder_links);
    }

    // Nobody waits until a file is read whose length already shows that it is another one.
    let (resized, listed): (Vec<TreeFile>, Vec<TreeFile>) =
        listed.into_iter().partition(|file| is_resized(manifest, &name_as_listed(&file.name), file.bytes));

    let bytes = listed.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
    progress.begin(listed.len(), bytes);
    let pace = Pace::new(request.bytes_per_second);
    let advance = |bytes| {
        progress.advance(bytes);
        pace.take(bytes);
    };
    let (method, algorithm) = (manifest.method(), manifest.algorithm());
    let hashing = Hashing { links, method, algorithm, threads: request.threads };
    let mut hashed = hash_files(&located.folder, &listed, &hashing, &advance)?;
    read.bytes = Some(bytes);
    hashed.iter_mut().for_each(|file: &mut HashedFile| file.name = name_as_listed(&file.name));
    let resized = resized.iter().map(|file| name_as_listed(&file.name)).collect();
    manifest.compare(Found { hashed, resized, extra }, &rules).map_err(|mismatch| {
        read.unsigned = mismatch.is_unsigned_only().then(|| unsigned::told(manifest, &mismatch.unsigned));
        Finding::mismatch(mismatch, &request.place)
    })
}

/// A symbolic link among what is not signed: a server finds behind it whatever the folder holds to which it leads, and so
/// it is let be only where a folder of its name would be, with all that it can hold.
fn as_folder(link: &str) -> String {
    format!("{link}/")
}

/// Whether a link to a folder could give what is not signed another name, which a policy that ignores the folder need not
/// mean.
fn may_lead_astray(extra: &Names, left_out: &Names) -> bool {
    !extra.is_empty() || left_out.iter().any(is_in_system_folder)
}

/// Whether the listed file is said to have another length. Only shards say how long their file is.
fn is_resized(manifest: &Manifest, name: &ResourceName, there: u64) -> bool {
    match manifest.file(name).map(|file| &file.digests) {
        Some(FileDigests::Shards { bytes, .. }) => *bytes != there,
        Some(FileDigests::Whole(_)) | None => false,
    }
}

/// A bundle over one file says nothing of a folder, and the reverse: every file would be missing, or unsigned.
fn refuse_other_kind(located: &Located, manifest: &Manifest) -> Result<(), Finding> {
    let message = match &located.single {
        None if manifest.lists(&ResourceName::root()) => {
            "the bundle is over a single file, and this is a folder; name the file, or the folder's own bundle"
                .to_owned()
        }
        Some(file) if manifest.single_file(file.as_str()).is_none() => {
            let files = manifest.files().len();
            format!(
                "the bundle is over a model of {files} {}, and `{}` is one file; name the model's folder, or the file's own bundle",
                if files == 1 { "file of another name" } else { "files" },
                shown(file.as_str())
            )
        }
        _ => return Ok(()),
    };
    Err(Finding::new(RefusedCode::ContentMismatch, message))
}

fn rules(statement: &Statement, request: &Request) -> ContentRules {
    let mut ignored = Vec::new();
    if let Place::Laptop { ignore, ignore_git } = &request.place {
        ignored.extend(ignore.iter().chain(&statement.serialization.ignore_paths).cloned());
        if *ignore_git {
            ignored.extend(git_paths());
        }
    }
    ContentRules { ignore: ignored }
}

/// The names of Git's own files.
pub(super) fn git_paths() -> impl Iterator<Item = ResourceName> {
    GIT_PATHS.iter().filter_map(|path| ResourceName::parse(path).ok())
}

/// Whatever holds a signed file is met, whoever wants it ignored.
fn leaves_out(
    visit: &Visit<'_>,
    located: &Located,
    bundles: &[ResourceName],
    manifest: &Manifest,
    rules: &ContentRules,
    place: &Place,
) -> bool {
    let is_bundle = bundles.contains(visit.name);
    let is_system = *place == Place::Cluster
        && located.root.is_root()
        && visit.owner == 0
        && is_system_folder(visit.name, visit.kind);
    (is_bundle || is_system || rules.ignores(visit.name)) && !manifest.lists_at_or_below(visit.name)
}

/// Whether it is neither file nor folder and lies in a folder in which nothing is signed. It is as little signed as
/// whatever else lies there, and need not be looked at.
fn is_stray(visit: &Visit<'_>, manifest: &Manifest) -> bool {
    let folder = visit.name.parent().filter(|folder| !folder.is_root());
    matches!(visit.kind, Kind::Link | Kind::Special(_)) && folder.is_some_and(|it| !manifest.lists_at_or_below(&it))
}

/// A tree of one file, or of none if it is not there.
pub(super) fn single_file(folder: &Folder, file: &ResourceName) -> Result<Tree, Finding> {
    let seen = folder.look(file, Links::Refuse)?;
    let files: Vec<TreeFile> = (seen.iter().filter(|seen| seen.kind == Kind::File))
        .map(|seen| TreeFile { name: file.clone(), bytes: seen.bytes, identity: seen.identity })
        .collect();
    let bytes = files.iter().map(|file| file.bytes).sum();
    Ok(Tree { files, bytes, ..Tree::default() })
}
