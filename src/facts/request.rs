//! What to read, and under which rules.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::report::Extent;
use crate::model::{Links, ResourceName};

/// What to read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder out of which no path leads: the claim's mount, or the folder that a person named.
    pub root: PathBuf,
    /// The model, or a folder or file in it, beneath `root`.
    pub path: ResourceName,
    /// Where the bundle is.
    pub signature: SignatureLocation,
    /// Whether this reader follows symbolic links. They are followed only if the signer did so too.
    pub links: Links,
    /// The whole model, or its bundle alone.
    pub extent: Extent,
    /// By whose rules.
    pub place: Place,
    /// How many threads hash.
    pub threads: NonZeroUsize,
    /// How fast to read at most, in bytes per second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Echoed in the report, so that an old report is not taken for a new one.
    pub nonce: Option<String>,
}

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureLocation {
    /// `FILE.sig` beside a file; in a folder `model.sig`, else the only `*.sig` or `*.sigstore.json`.
    Discover,
    /// At this path inside the model (`volume:` in an annotation).
    Within(ResourceName),
    /// Anywhere on this machine.
    File(PathBuf),
    /// Not on the volume: this bundle, from that place, which is named in a report.
    Given {
        /// Where it came from.
        at: String,
        /// The bundle, which may be a quarter of a gigabyte: it is there once.
        bundle: Arc<Vec<u8>>,
    },
}

/// By whose rules a model is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a cluster. The bundle lies at the path or in the nearest folder above, which then is the model's root;
    /// nothing but the bundle is left out of the comparison, and at a claim's top `lost+found` and `.snapshot` that
    /// root owns. Content is read even if the signer is not trusted (yet): trust may be given later, without a second
    /// read.
    Cluster,
    /// On somebody's own machine: what the signer ignored is ignored, as the reference does, and what the person says.
    Laptop {
        /// Paths in the model that may be unsigned.
        ignore: Vec<ResourceName>,
        /// Whether Git's own files may be unsigned.
        ignore_git: bool,
    },
    /// On somebody's own machine, where the policies of a cluster say what may be unsigned: nothing but the bundles is left
    /// out of the comparison, as there.
    LaptopUnderPolicies,
}

/// Told how far a read has come. Called from several threads.
pub trait Progress: Sync {
    /// So many files with so many bytes in all will be hashed.
    fn begin(&self, files: usize, bytes: u64);
    /// So many more bytes have been hashed.
    fn advance(&self, bytes: u64);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _files: usize, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
}

/// As many threads as this process may run at once.
pub fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
