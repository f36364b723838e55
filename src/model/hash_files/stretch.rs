//! What one thread hashes from its first byte to its last, and what becomes of it.
//!
//! A stretch is a whole file, or, where the digests of its parts can be computed apart, a part of one: some shards of
//! it, or a subtree of its BLAKE3 hash.

use std::mem;
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::ChainingValue;

use super::{Hashing, TreeFile};
use crate::model::algorithms::subtree::{self, SUBTREE_BYTES, Subtree};
use crate::model::{Digest, FileDigests, HashAlgorithm, HashedFile, Hasher, Method};

/// How long a stretch is at least, in bytes, unless its file is shorter: opening a file costs as much as hashing some
/// KiB of it.
const MIN_STRETCH_BYTES: u64 = SUBTREE_BYTES;

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

/// The stretches that nobody has taken yet: those of the largest file first, so that no thread is left alone with it.
pub(super) struct Queue<'a> {
    files: Vec<&'a TreeFile>,
    step: u64,
    /// Which stretch is next: of which file, and where it begins.
    next: Mutex<(usize, u64)>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(files: &'a [TreeFile], hashing: &Hashing) -> Self {
        let mut files: Vec<&TreeFile> = files.iter().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let step = match (hashing.method, hashing.algorithm) {
            (Method::Shards { bytes }, _) => bytes.get().saturating_mul(MIN_STRETCH_BYTES.div_ceil(bytes.get())),
            (Method::Files, HashAlgorithm::Blake3) => SUBTREE_BYTES,
            (Method::Files, HashAlgorithm::Sha256 | HashAlgorithm::Blake2b) => u64::MAX,
        };
        Queue { files, step, next: Mutex::new((0, 0)) }
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

    /// Takes in some of these bytes, at least one if there is one, and says how many.
    pub(super) fn update(&mut self, bytes: &[u8]) -> usize {
        let now = self.room(bytes.len());
        match &mut self.current {
            Current::Digest(hasher) => hasher.update(&bytes[..now]),
            Current::Subtree(subtree) => subtree.update(&bytes[..now]),
        }
        self.cut(now);
        now
    }

    /// Takes some of these bytes into each of two, and says how many: the same number, so that what is left of the
    /// longer ones can be hashed together with what comes after the shorter.
    pub(super) fn update_two(cutters: [&mut Cutter; 2], bytes: [&[u8]; 2]) -> [usize; 2] {
        let [one, other] = cutters;
        let both = one.room(bytes[0].len()).min(other.room(bytes[1].len()));
        match (&mut one.current, &mut other.current) {
            (Current::Digest(hasher), Current::Digest(other_hasher)) => {
                Hasher::update_two([hasher, other_hasher], bytes.map(|bytes| &bytes[..both]));
                one.cut(both);
                other.cut(both);
                [both, both]
            }
            // Nothing is gained here.
            (Current::Subtree(_), _) | (_, Current::Subtree(_)) => [one.update(bytes[0]), other.update(bytes[1])],
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
