//! An open folder that nothing resolves out of.
//!
//! Receives names, gives open files and what is known of them. Every path is resolved by the kernel itself
//! (`openat2`), beneath the folder and without symbolic links unless the caller allows them for a file: a component
//! that is exchanged for a link in the meantime is an error, never a way out. (A name of one component that is not
//! looked through cannot lead out, so that a plain `fstatat` may look at it.) Nothing here waits on a FIFO or opens a
//! device.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{ResourceName, shown};

/// How often a path is resolved again when the kernel says that a rename came in between (`EAGAIN`). A rename is over
/// in microseconds; one that always collides is somebody playing.
const MAX_RESOLVE_ATTEMPTS: u32 = 32;

/// Whether symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// A link is an error.
    Refuse,
    /// A link to a file is followed as long as it stays beneath the folder that is read: the model's root. A link to
    /// elsewhere on the same volume is not enough, because a workload that mounts the model alone (`subPath`) would
    /// find something else behind it.
    Follow,
}

/// What lies at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device, in a word.
    Special(&'static str),
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// File, folder or something else.
    pub kind: Kind,
    /// Its length in bytes.
    pub bytes: u64,
    /// The user id that owns it.
    pub owner: u32,
    /// Which file it is, in which state.
    pub identity: Identity,
}

/// Which file something is and when it was last changed. Two equal ones around a read mean that nobody wrote, as far
/// as the file system's clock can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// Why a file or folder cannot be read. Each names the path, fit to be shown.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Nothing lies there.
    #[error("`{path}` does not exist")]
    Missing {
        /// Where.
        path: String,
    },
    /// A file where a folder is needed, or the reverse.
    #[error("`{path}` is not a {wanted}")]
    WrongKind {
        /// Where.
        path: String,
        /// What was looked for, in a word.
        wanted: &'static str,
    },
    /// A symbolic link where none is allowed.
    #[error("`{path}` is a symbolic link, or lies behind one")]
    Symlink {
        /// Where.
        path: String,
    },
    /// A symbolic link that leads out of the model.
    #[error("the symbolic link `{path}` leads out of the model")]
    Escapes {
        /// Where.
        path: String,
    },
    /// Symbolic links that lead to each other.
    #[error("the symbolic link `{path}` leads back to itself")]
    LinkLoop {
        /// Where.
        path: String,
    },
    /// A symbolic link to nothing.
    #[error("the symbolic link `{path}` leads nowhere")]
    BrokenLink {
        /// Where.
        path: String,
    },
    /// Neither a file nor a folder.
    #[error("`{path}` is a {what}, which no model contains")]
    Special {
        /// Where.
        path: String,
        /// What it is, in a word.
        what: &'static str,
    },
    /// The operating system refuses.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// Where.
        path: String,
        /// In the system's words.
        source: io::Error,
    },
}

/// What kind of trouble reading a model ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCode {
    /// Nothing lies where the model should.
    Missing,
    /// A symbolic link that is not allowed.
    Symlink,
    /// A symbolic link that leads out of the model.
    PathEscapes,
    /// Symbolic links in a circle.
    LinkLoop,
    /// Something that cannot be part of a model.
    MalformedContent,
    /// The operating system refuses.
    Unreadable,
    /// More than the limits allow.
    TooLarge,
    /// It changed while it was read.
    Changed,
}

impl FolderError {
    /// What kind of trouble it is.
    pub fn code(&self) -> ReadCode {
        match self {
            FolderError::Missing { .. } => ReadCode::Missing,
            FolderError::Symlink { .. } => ReadCode::Symlink,
            FolderError::Escapes { .. } => ReadCode::PathEscapes,
            FolderError::LinkLoop { .. } => ReadCode::LinkLoop,
            FolderError::WrongKind { .. } | FolderError::BrokenLink { .. } | FolderError::Special { .. } => {
                ReadCode::MalformedContent
            }
            FolderError::Unreadable { .. } => ReadCode::Unreadable,
        }
    }
}

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder of this machine by its path; links on the way to it are followed.
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shown = || shown(&path.to_string_lossy());
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Folder(fd)),
            Err(Errno::NOENT) => Err(FolderError::Missing { path: shown() }),
            Err(Errno::NOTDIR) => Err(FolderError::WrongKind { path: shown(), wanted: "folder" }),
            Err(error) => Err(FolderError::Unreadable { path: shown(), source: error.into() }),
        }
    }

    /// Opens a folder in this one, with no symbolic link on the way.
    pub fn folder(&self, at: &ResourceName) -> Result<Folder, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(at, flags, Links::Refuse) {
            Ok(fd) => Ok(Folder(fd)),
            Err(Errno::NOTDIR) => Err(FolderError::WrongKind { path: shown(at.as_str()), wanted: "folder" }),
            Err(error) => Err(folder_error(error, at, Links::Refuse)),
        }
    }

    /// What lies at a name, or nothing. Opens nothing for reading. A link is reported as one, or looked through.
    pub fn look(&self, at: &ResourceName, links: Links) -> Result<Option<Seen>, FolderError> {
        self.look_called(at, links, at)
    }

    /// Opens a regular file for reading. Whatever else lies there is an error, found out before it is opened.
    pub fn file(&self, at: &ResourceName, links: Links) -> Result<(File, Seen), FolderError> {
        self.file_called(at, links, at)
    }

    /// [`Folder::look`], with errors that call it by another name: this folder need not be the one that people know of.
    pub(super) fn look_called(
        &self,
        at: &ResourceName,
        links: Links,
        called: &ResourceName,
    ) -> Result<Option<Seen>, FolderError> {
        let seen = if at.is_one_component() && links == Links::Refuse {
            rustix::fs::statat(&self.0, at.as_str(), AtFlags::SYMLINK_NOFOLLOW)
        } else {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let flags = if links == Links::Refuse { flags | OFlags::NOFOLLOW } else { flags };
            self.resolve(at, flags, links).and_then(rustix::fs::fstat)
        };
        match seen {
            Ok(stat) => Ok(Some(Seen::from_stat(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(folder_error(error, called, links)),
        }
    }

    /// [`Folder::file`], with errors that call it by another name.
    pub(super) fn file_called(
        &self,
        at: &ResourceName,
        links: Links,
        called: &ResourceName,
    ) -> Result<(File, Seen), FolderError> {
        let path = || shown(called.as_str());
        let before = self.look_called(at, links, called)?.ok_or_else(|| FolderError::Missing { path: path() })?;
        regular(before.kind, path)?;
        // Should a FIFO take the file's place just now: O_NONBLOCK makes opening it return at once.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = self.resolve(at, flags, links).map_err(|error| folder_error(error, called, links))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| folder_error(error, called, links))?;
        let seen = Seen::from_stat(&stat);
        regular(seen.kind, path)?;
        Ok((File::from(fd), seen))
    }

    /// Which folder it is.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Ok(Seen::from_stat(&rustix::fs::fstat(&self.0)?).identity)
    }

    fn resolve(&self, at: &ResourceName, flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
        let rules = match links {
            Links::Refuse => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Links::Follow => ResolveFlags::BENEATH,
        };
        let mut attempt = 1;
        loop {
            match rustix::fs::openat2(&self.0, at.as_str(), flags, Mode::empty(), rules) {
                Err(Errno::AGAIN | Errno::INTR) if attempt < MAX_RESOLVE_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Identity {
    /// Whether it is the same file or folder, in whatever state.
    pub(super) fn is_same_file(&self, other: &Identity) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Seen {
    pub(super) fn from_stat(stat: &Stat) -> Seen {
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let identity = Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        };
        Seen { kind: Kind::of(FileType::from_raw_mode(stat.st_mode)), bytes, owner: stat.st_uid, identity }
    }
}

impl Kind {
    pub(super) fn of(file_type: FileType) -> Kind {
        match file_type {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo => Kind::Special("FIFO"),
            FileType::Socket => Kind::Special("socket"),
            FileType::BlockDevice | FileType::CharacterDevice => Kind::Special("device"),
            FileType::Unknown => Kind::Special("file of unknown kind"),
        }
    }
}

fn regular(kind: Kind, path: impl Fn() -> String) -> Result<(), FolderError> {
    match kind {
        Kind::File => Ok(()),
        Kind::Folder => Err(FolderError::WrongKind { path: path(), wanted: "file" }),
        Kind::Link => Err(FolderError::Symlink { path: path() }),
        Kind::Special(what) => Err(FolderError::Special { path: path(), what }),
    }
}

fn folder_error(error: Errno, at: &ResourceName, links: Links) -> FolderError {
    let path = shown(at.as_str());
    match error {
        Errno::NOENT | Errno::NOTDIR => FolderError::Missing { path },
        Errno::LOOP if links == Links::Refuse => FolderError::Symlink { path },
        Errno::LOOP => FolderError::LinkLoop { path },
        Errno::XDEV => FolderError::Escapes { path },
        Errno::NXIO => FolderError::Special { path, what: "socket" },
        error => FolderError::Unreadable { path, source: error.into() },
    }
}
