//! Walking a folder: which files a model on a disk consists of.
//!
//! Receives an open folder, gives the files in it. It opens folders only, descends into no link, and stops at the
//! first thing that no model may contain.

use std::ffi::CStr;

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::{Folder, FolderError, Identity, Kind, Links, MAX_RESOURCES, Names, ReadCode, ResourceName, Seen, shown};

/// The most files and folders that are looked at: as many folders as a model may have files.
pub const MAX_ENTRIES: usize = 2 * MAX_RESOURCES;

/// How deep folders may be nested. Published models stay below ten; each level is resolved again from the root, so
/// the limit also bounds that work.
pub const MAX_DEPTH: usize = 128;

/// Folders that file systems and storage put at the top of a volume. What lies in them is no part of a model there.
pub const SYSTEM_FOLDERS: [&str; 2] = ["lost+found", ".snapshot"];

/// Git's own files and folders at a model's root, which signers leave out unless they are told otherwise.
pub const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// Whether a path in a model is, or lies in, one of Git's own.
pub fn is_git_path(path: &str) -> bool {
    GIT_PATHS.contains(&top(path))
}

/// Whether a path beneath the top of a volume is, or lies in, a folder that is no part of a model there.
pub fn is_in_system_folder(path: &str) -> bool {
    SYSTEM_FOLDERS.contains(&top(path))
}

/// What a path goes through first.
fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// The files of a model on a disk, before they are hashed.
#[derive(Debug, Default)]
pub struct Tree {
    /// Its regular files, sorted by the components of their names.
    pub files: Vec<TreeFile>,
    /// What lies there under a name that no manifest can list: not UTF-8, or with a backslash.
    pub unsignable: Names,
    /// What was left out: by the caller's choice, and folders behind symbolic links (their files are met elsewhere in
    /// the model, under their own names).
    pub left_out: Names,
    /// The folders behind symbolic links among them, by the names of the links.
    pub folder_links: Names,
    /// How many symbolic links were met that lead to files or folders in the model.
    pub links: u64,
    /// The sum of the files' lengths, in bytes.
    pub bytes: u64,
}

/// A regular file that was met.
#[derive(Clone, Debug)]
pub struct TreeFile {
    /// Its path beneath the model's root.
    pub name: ResourceName,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Which file it was, in which state.
    pub identity: Identity,
}

/// Something on the way, about which the caller may decide to leave it out.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Its path beneath the model's root.
    pub name: &'a ResourceName,
    /// What it is; a link is not looked through.
    pub kind: Kind,
    /// The user id that owns it.
    pub owner: u32,
}

/// Why a folder cannot be walked.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Something in it cannot be read or cannot be part of a model.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// More than [`MAX_RESOURCES`] files or [`MAX_ENTRIES`] files and folders.
    #[error("the model has more than {MAX_RESOURCES} files, or more than {MAX_ENTRIES} files and folders")]
    TooMany,
    /// Deeper than [`MAX_DEPTH`].
    #[error("`{path}` is nested deeper than {MAX_DEPTH} folders")]
    TooDeep {
        /// Where, fit to be shown.
        path: String,
    },
    /// Somebody else removes files at the same time.
    #[error("`{path}` vanished while the model was read")]
    Vanished {
        /// Where, fit to be shown.
        path: String,
    },
}

impl WalkError {
    /// What kind of trouble it is.
    pub fn code(&self) -> ReadCode {
        match self {
            WalkError::Folder(error) => error.code(),
            WalkError::TooMany | WalkError::TooDeep { .. } => ReadCode::TooLarge,
            WalkError::Vanished { .. } => ReadCode::Changed,
        }
    }
}

/// Meets every file beneath `root`, except what `leave_out` says to leave out (a folder with all that it holds).
pub fn walk(root: &Folder, links: Links, leave_out: &dyn Fn(&Visit<'_>) -> bool) -> Result<Tree, WalkError> {
    let mut walk = Walk { root, links, leave_out, tree: Tree::default(), entries: 0, folders: Vec::new() };
    walk.list(&ResourceName::root(), 0)?;
    while let Some((folder, depth)) = walk.folders.pop() {
        walk.list(&folder, depth)?;
    }
    walk.tree.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(walk.tree)
}

struct Walk<'a> {
    root: &'a Folder,
    links: Links,
    leave_out: &'a dyn Fn(&Visit<'_>) -> bool,
    tree: Tree,
    entries: usize,
    folders: Vec<(ResourceName, usize)>,
}

impl Walk<'_> {
    fn list(&mut self, at: &ResourceName, depth: usize) -> Result<(), WalkError> {
        let unreadable = |error: Errno| FolderError::Unreadable { path: shown(at.as_str()), source: error.into() };
        let folder = self.root.folder(at)?;
        for entry in Dir::read_from(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES || self.tree.files.len() >= MAX_RESOURCES {
                return Err(WalkError::TooMany);
            }
            match name_below(at, entry.file_name()) {
                Ok(name) => self.meet(&folder, entry.file_name(), name, depth)?,
                Err(name) => self.tree.unsignable.add(&name),
            }
        }
        Ok(())
    }

    fn meet(&mut self, folder: &Folder, base: &CStr, name: ResourceName, depth: usize) -> Result<(), WalkError> {
        let path = || shown(name.as_str());
        let mut seen = match rustix::fs::statat(folder, base, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Seen::from_stat(&stat),
            Err(Errno::NOENT) => return Err(WalkError::Vanished { path: path() }),
            Err(error) => return Err(FolderError::Unreadable { path: path(), source: error.into() }.into()),
        };
        if (self.leave_out)(&Visit { name: &name, kind: seen.kind, owner: seen.owner }) {
            self.tree.left_out.add(name.as_str());
            return Ok(());
        }
        if seen.kind == Kind::Link {
            if self.links == Links::Refuse {
                return Err(FolderError::Symlink { path: path() }.into());
            }
            let target = self.root.look(&name, Links::Follow)?;
            seen = target.ok_or_else(|| FolderError::BrokenLink { path: path() })?;
            self.tree.links += 1;
            if seen.kind == Kind::Folder {
                self.tree.left_out.add(name.as_str());
                self.tree.folder_links.add(name.as_str());
                return Ok(());
            }
        }
        match seen.kind {
            Kind::Folder if depth + 1 > MAX_DEPTH => Err(WalkError::TooDeep { path: path() }),
            Kind::Folder => {
                self.folders.push((name, depth + 1));
                Ok(())
            }
            Kind::File => {
                self.tree.bytes = self.tree.bytes.saturating_add(seen.bytes);
                self.tree.files.push(TreeFile { name, bytes: seen.bytes, identity: seen.identity });
                Ok(())
            }
            Kind::Link => Err(FolderError::LinkLoop { path: path() }.into()),
            Kind::Special(what) => Err(FolderError::Special { path: path(), what }.into()),
        }
    }
}

impl Folder {
    /// The names in this folder, not below it, that are wanted; at most `limit` of them.
    pub fn names(&self, wanted: &dyn Fn(&str) -> bool, limit: usize) -> Result<Vec<ResourceName>, FolderError> {
        let unreadable = |error: Errno| FolderError::Unreadable { path: ".".into(), source: error.into() };
        let mut names = Vec::new();
        for entry in Dir::read_from(self).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_str().ok().filter(|name| wanted(name));
            names.extend(name.and_then(|name| ResourceName::parse(name).ok()));
            if names.len() >= limit {
                break;
            }
        }
        Ok(names)
    }
}

/// The name of an entry of a folder, or the entry as text where no model may have a file of that name.
fn name_below(folder: &ResourceName, base: &CStr) -> Result<ResourceName, String> {
    let below = |base: &str| if folder.is_root() { base.to_owned() } else { format!("{folder}/{base}") };
    let Ok(base) = base.to_str() else {
        return Err(below(&base.to_string_lossy()));
    };
    let name = ResourceName::parse(base).and_then(|base| folder.join(&base));
    name.map_err(|_| below(base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use tempfile::{TempDir, tempdir};

    fn model(files: &[&str]) -> TempDir {
        let dir = tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    fn walked(path: &Path, links: Links) -> Result<Tree, WalkError> {
        walk(&Folder::open(path).unwrap(), links, &|_| false)
    }

    fn names(tree: &Tree) -> Vec<&str> {
        tree.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn files_come_sorted_and_folders_do_not_count() {
        let dir = model(&["b/c", "b.d", "a"]);
        fs::create_dir(dir.path().join("empty")).unwrap();
        let tree = walked(dir.path(), Links::Refuse).unwrap();
        assert_eq!(names(&tree), ["a", "b/c", "b.d"]);
        assert_eq!(tree.bytes, 1 + 3 + 3);
    }

    #[test]
    fn what_is_left_out_is_listed_and_not_descended() {
        let dir = model(&[".git/config", "a", "x/.git"]);
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|visit| visit.name.as_str() == ".git").unwrap();
        assert_eq!(names(&tree), ["a", "x/.git"]);
        assert_eq!(tree.left_out.first(), [".git"]);
    }

    #[test]
    fn links_are_refused_unless_allowed() {
        let dir = model(&["a", "sub/b"]);
        symlink("a", dir.path().join("link")).unwrap();
        symlink("sub", dir.path().join("linked")).unwrap();
        assert_eq!(walked(dir.path(), Links::Refuse).unwrap_err().code(), ReadCode::Symlink);
        let tree = walked(dir.path(), Links::Follow).unwrap();
        assert_eq!(names(&tree), ["a", "link", "sub/b"]);
        assert_eq!((tree.left_out.first(), tree.links), (vec!["linked".to_owned()], 2));
    }

    #[test]
    fn links_out_of_the_model_are_never_followed() {
        let outside = model(&["secret"]);
        for target in [outside.path().join("secret"), outside.path().into(), "../secret".into(), "/".into()] {
            let dir = model(&["a"]);
            symlink(&target, dir.path().join("link")).unwrap();
            let code = walked(dir.path(), Links::Follow).unwrap_err().code();
            assert_eq!(code, ReadCode::PathEscapes, "{target:?}");
        }
    }

    #[test]
    fn links_to_nothing_and_to_themselves() {
        for (target, code) in [("loop", ReadCode::LinkLoop), ("nothing", ReadCode::MalformedContent)] {
            let dir = model(&["a"]);
            symlink(target, dir.path().join("loop")).unwrap();
            assert_eq!(walked(dir.path(), Links::Follow).unwrap_err().code(), code, "{target}");
        }
    }

    #[test]
    fn special_files_are_refused_without_being_opened() {
        let dir = model(&["a"]);
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(walked(dir.path(), Links::Refuse).unwrap_err().code(), ReadCode::MalformedContent);
        let root = Folder::open(dir.path()).unwrap();
        let error = root.file(&ResourceName::parse("fifo").unwrap(), Links::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "`fifo` is a FIFO, which no model contains");
        fs::remove_file(&fifo).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&fifo).unwrap();
        assert_eq!(walked(dir.path(), Links::Refuse).unwrap_err().code(), ReadCode::MalformedContent);
    }

    #[test]
    fn a_link_to_a_fifo_does_not_hang() {
        let dir = model(&["a"]);
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        symlink("fifo", dir.path().join("link")).unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let error = root.file(&ResourceName::parse("link").unwrap(), Links::Follow).unwrap_err();
        assert_eq!(error.code(), ReadCode::MalformedContent);
    }

    #[test]
    fn names_that_cannot_be_signed_are_counted() {
        let dir = model(&["a", "b\\c"]);
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let tree = walked(dir.path(), Links::Refuse).unwrap();
        assert_eq!((names(&tree), tree.unsignable.count()), (vec!["a"], 2));
    }

    #[test]
    fn depth_is_limited() {
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let dir = model(&[&format!("{deep}/file")]);
        assert_eq!(walked(dir.path(), Links::Refuse).unwrap_err().code(), ReadCode::TooLarge);
        let dir = model(&[&format!("{}/file", &deep[2..])]);
        assert_eq!(walked(dir.path(), Links::Refuse).unwrap().files.len(), 1);
    }

    #[test]
    fn what_is_missing_or_no_folder() {
        let dir = model(&["a"]);
        let open = |path: &str| Folder::open(&dir.path().join(path)).unwrap_err().code();
        assert_eq!(open("nothing"), ReadCode::Missing);
        assert_eq!(open("a"), ReadCode::MalformedContent);
        let root = Folder::open(dir.path()).unwrap();
        assert!(root.look(&ResourceName::parse("a/b").unwrap(), Links::Refuse).unwrap().is_none());
        symlink("/etc", dir.path().join("etc")).unwrap();
        for links in [Links::Refuse, Links::Follow] {
            assert!(root.file(&ResourceName::parse("etc/passwd").unwrap(), links).is_err());
        }
    }
}
