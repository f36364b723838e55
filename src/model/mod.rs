//! What a model is: a set of files, each with a digest.
//!
//! Receives directories and digests, gives back manifests and the differences between them. Nothing here knows of
//! signatures, of Kubernetes or of time; nothing here follows a path out of the folder that it was given.
//!
//! ```text
//!   Folder (an open directory) ── walk ──► Tree ── hash ──► Found ─┐
//!                                                                  ├── Manifest::compare ──► ContentMismatch
//!   a signed list of names and digests ───────────────► Manifest ──┘
//! ```

mod algorithms;
mod beneath;
mod compare;
mod digest;
mod hash_files;
mod manifest;
mod method;
mod name;
mod shown;
mod tree;

pub use algorithms::Hasher;
pub use beneath::{Folder, FolderError, Identity, Kind, Links, ReadCode, Seen};
pub use compare::{ContentMismatch, ContentRules, Found, NAMES_SHOWN, Names};
pub use digest::{Digest, DigestError, HashAlgorithm, hex};
pub use hash_files::{HashError, Hashing, hash_files};
pub use manifest::{Entry, FileDigests, HashedFile, MAX_RESOURCES, Manifest, ManifestError};
pub use method::{Method, Shard};
pub use name::{MAX_NAME_BYTES, NameError, ResourceName};
pub use shown::{MAX_SHOWN_CHARS, shown, shown_to, with_causes};
pub use tree::{
    GIT_PATHS, MAX_DEPTH, MAX_ENTRIES, SYSTEM_FOLDERS, Tree, TreeFile, Visit, WalkError, is_git_path,
    is_in_system_folder, walk,
};
