//! What one thread hashes from its first byte to its last, and what becomes of it.
//!
//! A stretch is a whole file, or, where the digests of its parts can be computed apart, a part of one: some shards of
//! it, or a subtree of its BLAKE3 hash.

use std::cmp::Reverse;
use std::mem;
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::ChainingValue;

use super::{Hashing, TreeFile};
use crate::model::algorithms::subtree::{self, SUBTREE_BYTES, Subtree};
use crate::model::{Digest, FileDigests, HashAlgorithm, HashedFile, Hasher, Method};

/// How long a stretch is at least, in bytes, unless its file is shorter: opening a file costs as much as hashing some
/// KiB of it.
const MIN_STRETCH_BYTES: u64 = SUBTREE_BYTES;

/// A file shorter than this is read at once. It comes after all longer ones, beside its neighbours in the same folder.
/// While a thread hashes one, the kernel is asked for the next ones, so that a slow disk has something to do.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

/// A stretch of a file.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    /// Of which file.
    pub(super) file: &'a TreeFile,
    /// The how-many-th file that is.
    pub(super) index: usize,
    /// Where it begins, in bytes.
    pub(super) start: u64,
    /// Where it has ended, in bytes.
    pub(super) end: u64,
}

impl Stretch<'_> {
    /// Its length, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// The stretches that nobody has taken yet: those of the largest file first, so that no thread is left alone with it;
/// those of small files last, as they were given.
pub(super) struct Queue<'a> {
    files: Vec<&'a TreeFile>,
    step: u64,
    /// Which stretch is next: of which file, and where it begins.
    next: Mutex<(usize, u64)>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(files: &'a [TreeFile], hashing: &Hashing) -> Self {
        let mut files: Vec<&TreeFile> = files.iter().collect();
        files.sort_by_key(|file| Reverse(if file.bytes < SMALL_BYTES { 0 } else { file.bytes }));
        let step = match (hashing.method, hashing.algorithm) {
            (Method::Shards { bytes }, _) => bytes.get().saturating_mul(MIN_STRETCH_BYTES.div_ceil(bytes.get())),
            (Method::Files, HashAlgorithm::Blake3) => SUBTREE_BYTES,
            (Method::Files, HashAlgorithm::Sha256 | HashAlgorithm::Blake2b) => u64::MAX,
        };
        Queue { files, step, next: Mutex::new((0, 0)) }
    }

    /// How many of them are at least half as long as the longest.
    pub(super) fn alike(&self) -> usize {
        let longest = self.files.iter().map(|file| file.bytes.min(self.step)).max().unwrap_or(0);
        let of_file = |file: &&TreeFile| {
            let (whole, rest) = (file.bytes / self.step, file.bytes % self.step);
            usize::try_from(whole).unwrap_or(usize::MAX).saturating_add(usize::from(rest >= longest.div_ceil(2)))
        };
        self.files.iter().map(of_file).fold(0, usize::saturating_add)
    }

    /// The next one, if any is left. A file without bytes has one, without bytes.
    pub(super) fn take(&self) -> Option<Stretch<'a>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, start) = *next;
        let file = *self.files.get(index)?;
        let end = start.saturating_add(self.step).min(file.bytes);
        *next = if end == file.bytes { (index + 1, 0) } else { (index, end) };
        Some(Stretch { file, index, start, end })
    }

    /// Brings together what was computed of all stretches.
    pub(super) fn join(&self, mut parts: Vec<Part>) -> Vec<HashedFile> {
        parts.sort_by_key(|part| (part.index, part.start));
        let mut parts = parts.into_iter().peekable();
        let mut of_file = |index| std::iter::from_fn(|| parts.next_if(|part| part.index == index)).collect();
        let files = self.files.iter().enumerate();
        files
            .map(|(index, file)| HashedFile { name: file.name.clone(), digests: join(of_file(index), file.bytes) })
            .collect()
    }
}

/// What was computed of a stretch.
pub(super) struct Part {
    index: usize,
    start: u64,
    outcome: Outcome,
}

enum Outcome {
    Whole(Digest),
    Shards(Vec<Digest>),
    Subtree(ChainingValue),
}

/// `parts` are all those of one file, in order.
fn join(parts: Vec<Part>, bytes: u64) -> FileDigests {
    let (mut digests, mut subtrees) = (Vec::new(), Vec::new());
    for part in parts {
        match part.outcome {
            Outcome::Whole(digest) => return FileDigests::Whole(digest),
            Outcome::Shards(shards) if digests.is_empty() => digests = shards,
            Outcome::Shards(shards) => digests.extend(shards),
            Outcome::Subtree(value) => subtrees.push(value),
        }
    }
    if subtrees.is_empty() {
        FileDigests::Shards { bytes, digests }
    } else {
        FileDigests::Whole(subtree::join(&subtrees, bytes))
    }
}

/// Computes what belongs to a stretch, from bytes that come one after another.
pub(super) struct Cutter {
    algorithm: HashAlgorithm,
    current: Current,
    shards: Option<Shards>,
}

enum Current {
    Digest(Box<Hasher>),
    Subtree(Subtree),
}

struct Shards {
    /// The length of a shard, in bytes.
    size: u64,
    /// How much of the current one is missing yet, in bytes.
    missing: u64,
    digests: Vec<Digest>,
}

impl Cutter {
    pub(super) fn new(stretch: &Stretch<'_>, hashing: &Hashing) -> Self {
        let &Hashing { algorithm, method, .. } = hashing;
        let shards = match method {
            Method::Files => None,
            Method::Shards { bytes } => Some(Shards { size: bytes.get(), missing: bytes.get(), digests: Vec::new() }),
        };
        let is_subtree = shards.is_none() && stretch.bytes() < stretch.file.bytes;
        let current = if is_subtree {
            Current::Subtree(Subtree::new(stretch.start))
        } else {
            Current::Digest(Box::new(Hasher::new(algorithm)))
        };
        Cutter { algorithm, current, shards }
    }

    /// Takes some of these bytes into each, and says how many: the same number, so that what is left of the longer ones
    /// can be hashed together with what comes after the shorter.
    pub(super) fn update_all(mut work: Vec<(&mut Cutter, &[u8])>) -> usize {
        let now = work.iter().map(|(cutter, bytes)| cutter.room(bytes.len())).min().unwrap_or(0);
        let mut hashers = Vec::with_capacity(work.len());
        for (cutter, bytes) in &mut work {
            match &mut cutter.current {
                Current::Digest(hasher) => hashers.push((&mut **hasher, &bytes[..now])),
                Current::Subtree(subtree) => subtree.update(&bytes[..now]),
            }
        }
        Hasher::update_all(hashers);
        work.iter_mut().for_each(|(cutter, _)| cutter.cut(now));
        now
    }

    /// Takes in all of these bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let hashed = Cutter::update_all(vec![(self, bytes)]);
            bytes = &bytes[hashed..];
        }
    }

    /// What was computed of the stretch, all of whose bytes were taken in.
    pub(super) fn finish(self, stretch: &Stretch<'_>) -> Part {
        let outcome = match (self.current, self.shards) {
            (Current::Subtree(subtree), _) => Outcome::Subtree(subtree.finish()),
            (Current::Digest(hasher), None) => Outcome::Whole(hasher.finish()),
            (Current::Digest(hasher), Some(Shards { size, missing, mut digests })) => {
                if missing < size {
                    digests.push(hasher.finish());
                }
                Outcome::Shards(digests)
            }
        };
        Part { index: stretch.index, start: stretch.start, outcome }
    }

    /// How many of so many bytes still belong to the current digest.
    fn room(&self, bytes: usize) -> usize {
        self.shards.as_ref().map_or(bytes, |shards| usize::try_from(shards.missing).unwrap_or(bytes).min(bytes))
    }

    /// Begins the next shard if the current one is complete after so many bytes more.
    fn cut(&mut self, bytes: usize) {
        let (Some(shards), Current::Digest(hasher)) = (&mut self.shards, &mut self.current) else { return };
        shards.missing -= bytes as u64;
        if shards.missing == 0 {
            shards.missing = shards.size;
            shards.digests.push(mem::replace(&mut **hasher, Hasher::new(self.algorithm)).finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::model::{Folder, Links, Tree, walk};

    fn tree(sizes: &[u64]) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        for (at, size) in sizes.iter().enumerate() {
            std::fs::File::create(dir.path().join(format!("{at:03}"))).unwrap().set_len(*size).unwrap();
        }
        let tree = walk(&Folder::open(dir.path()).unwrap(), Links::Refuse, &|_| false).unwrap();
        (dir, tree)
    }

    fn hashing(method: Method, algorithm: HashAlgorithm) -> Hashing {
        Hashing { links: Links::Refuse, method, algorithm, threads: NonZeroUsize::MIN }
    }

    #[test]
    fn stretches_of_about_the_same_length_are_counted() {
        let whole = hashing(Method::Files, HashAlgorithm::Sha256);
        let subtrees = hashing(Method::Files, HashAlgorithm::Blake3);
        for (sizes, hashing, alike) in [
            (&[][..], &whole, 0),
            (&[0, 0], &whole, 2),
            (&[100, 10, 50, 49, 51], &whole, 3),
            (&[10 << 20, 9 << 20, 1], &whole, 2),
            (&[3 * SUBTREE_BYTES, SUBTREE_BYTES / 2, SUBTREE_BYTES + 1], &subtrees, 5),
        ] {
            let (_dir, tree) = tree(sizes);
            assert_eq!(Queue::new(&tree.files, hashing).alike(), alike, "{sizes:?}");
        }
    }

    #[test]
    fn large_files_come_first_and_small_ones_beside_their_neighbours() {
        let (_dir, tree) = tree(&[5, SMALL_BYTES, 100, 3 * SMALL_BYTES, 7]);
        let hashing = hashing(Method::Files, HashAlgorithm::Sha256);
        let queue = Queue::new(&tree.files, &hashing);
        let taken: Vec<&str> = std::iter::from_fn(|| queue.take()).map(|stretch| stretch.file.name.as_str()).collect();
        assert_eq!(taken, ["003", "001", "000", "002", "004"]);
    }
}
