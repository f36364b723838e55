//! Hashing the files of a model with a few threads and a fixed amount of memory.
//!
//! Receives files that were met on a walk, gives their digests. A file that is another one than was met, or that
//! changes while it is read, is an error: a digest of bytes that never stood there together would prove nothing.

use std::io::{self, Read};
use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::Advice;

use super::{
    Digest, FileDigests, Folder, FolderError, HashAlgorithm, HashedFile, Hasher, Links, MAX_RESOURCES, Method,
    ReadCode, TreeFile, shown,
};

/// How much is read at once: measured best for page-cache and NVMe reads alike, and small beside the 16 MiB that a
/// verification may take in all.
const BUFFER_BYTES: usize = 1 << 20;

/// The start of a buffer lies on a page: the kernel then copies whole pages, which measured about a tenth faster.
const PAGE_BYTES: usize = 4096;

/// The most threads: as many buffers of 1 MiB as leave half of those 16 MiB free. At about 1.5 GB/s each this is more
/// than a volume delivers.
const MAX_THREADS: usize = 8;

/// Why a file could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be opened.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It cannot be read to its end.
    #[error("`{path}` cannot be read: {source}")]
    Read {
        /// Where, fit to be shown.
        path: String,
        /// In the system's words.
        source: io::Error,
    },
    /// It grew, shrank, was written to or replaced.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// Where, fit to be shown.
        path: String,
    },
    /// In shards as short as the method says, more digests than a manifest may list.
    #[error("the model has more than {MAX_RESOURCES} shards")]
    TooManyShards,
}

/// How files are hashed.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    /// Whether the files may lie behind symbolic links.
    pub links: Links,
    /// Whole, or in shards.
    pub method: Method,
    /// With which algorithm.
    pub algorithm: HashAlgorithm,
    /// With how many threads at most, and never more than eight.
    pub threads: NonZeroUsize,
}

impl HashError {
    /// What kind of trouble it is.
    pub fn code(&self) -> ReadCode {
        match self {
            // It was there a moment ago.
            HashError::Folder(FolderError::Missing { .. }) | HashError::Changed { .. } => ReadCode::Changed,
            HashError::Folder(error) => error.code(),
            HashError::Read { .. } => ReadCode::Unreadable,
            HashError::TooManyShards => ReadCode::TooLarge,
        }
    }
}

/// Hashes files beneath `root`, the largest first. They come back in any order.
///
/// `advance` is told of every piece that was hashed, in bytes, by whichever thread did it. It may sleep there: that is
/// how reading is slowed down.
pub fn hash_files(
    root: &Folder,
    files: &[TreeFile],
    hashing: &Hashing,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Vec<HashedFile>, HashError> {
    let digests = files.iter().fold(0, |sum: u64, file| sum.saturating_add(hashing.method.digests(file.bytes)));
    if digests > MAX_RESOURCES as u64 && hashing.method != Method::Files {
        return Err(HashError::TooManyShards);
    }
    let mut queue: Vec<&TreeFile> = files.iter().collect();
    queue.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let job = Job { root, queue, hashing, advance, next: AtomicUsize::new(0), failed: AtomicBool::new(false) };
    let workers = hashing.threads.get().min(MAX_THREADS).min(files.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| job.work())).collect();
        let mut hashed = Vec::with_capacity(files.len());
        let mut outcome = Ok(());
        for worker in workers {
            match worker.join() {
                Ok(Ok(part)) => hashed.extend(part),
                Ok(Err(error)) => outcome = outcome.and(Err(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome.map(|()| hashed)
    })
}

struct Job<'a> {
    root: &'a Folder,
    queue: Vec<&'a TreeFile>,
    hashing: &'a Hashing,
    advance: &'a (dyn Fn(u64) + Sync),
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Job<'_> {
    fn work(&self) -> Result<Vec<HashedFile>, HashError> {
        let mut memory = vec![0; BUFFER_BYTES + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let buffer = &mut memory[start..start + BUFFER_BYTES];
        let mut hashed = Vec::new();
        while !self.failed.load(Ordering::Relaxed) {
            let Some(file) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let digests = self.hash(file, buffer).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            hashed.extend(digests.map(|digests| HashedFile { name: file.name.clone(), digests }));
        }
        Ok(hashed)
    }

    /// The digests of a file, or nothing if another thread failed and this one stopped for it.
    fn hash(&self, file: &TreeFile, buffer: &mut [u8]) -> Result<Option<FileDigests>, HashError> {
        let path = || shown(file.name.as_str());
        let changed = || HashError::Changed { path: path() };
        let (mut open, seen) = self.root.file(&file.name, self.hashing.links)?;
        if seen.identity != file.identity {
            return Err(changed());
        }
        // A hint for slow disks only, so that it may fail.
        let _ = rustix::fs::fadvise(&open, 0, None, Advice::Sequential);
        let mut cutter = Cutter::new(self.hashing);
        let mut bytes = 0;
        loop {
            let length = match open.read(buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(HashError::Read { path: path(), source }),
            };
            bytes += length as u64;
            if bytes > file.bytes {
                return Err(changed());
            }
            if self.failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            cutter.update(&buffer[..length]);
            (self.advance)(length as u64);
        }
        // The name must still lead to this very file, in the same state, or somebody wrote in the meantime.
        let after = self.root.look(&file.name, self.hashing.links)?.ok_or_else(changed)?;
        if bytes != file.bytes || after.identity != file.identity {
            return Err(changed());
        }
        Ok(Some(cutter.finish(bytes)))
    }
}

/// Hashes bytes that come one after another, beginning anew with each shard.
struct Cutter {
    algorithm: HashAlgorithm,
    hasher: Hasher,
    /// The length of a shard and how much of it is missing yet, in bytes, if there are shards.
    shard: Option<(u64, u64)>,
    digests: Vec<Digest>,
}

impl Cutter {
    fn new(hashing: &Hashing) -> Self {
        let &Hashing { algorithm, method, .. } = hashing;
        let shard = match method {
            Method::Files => None,
            Method::Shards { bytes } => Some((bytes.get(), bytes.get())),
        };
        Cutter { algorithm, hasher: Hasher::new(algorithm), shard, digests: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let Some((size, missing)) = &mut self.shard else { return self.hasher.update(bytes) };
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(usize::try_from(*missing).map_or(bytes.len(), |m| m.min(bytes.len())));
            self.hasher.update(now);
            bytes = later;
            *missing -= now.len() as u64;
            if *missing == 0 {
                *missing = *size;
                self.digests.push(mem::replace(&mut self.hasher, Hasher::new(self.algorithm)).finish());
            }
        }
    }

    fn finish(mut self, bytes: u64) -> FileDigests {
        match self.shard {
            None => FileDigests::Whole(self.hasher.finish()),
            Some((size, missing)) => {
                if missing < size {
                    self.digests.push(self.hasher.finish());
                }
                FileDigests::Shards { bytes, digests: self.digests }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;
    use std::fs;
    use std::num::NonZeroU64;
    use std::sync::atomic::AtomicU64;
    use tempfile::{TempDir, tempdir};

    fn two_threads() -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    fn hash_all(dir: &TempDir, advance: &(dyn Fn(u64) + Sync)) -> Result<Vec<HashedFile>, HashError> {
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
        let (method, algorithm) = (Method::Files, HashAlgorithm::Sha256);
        let hashing = Hashing { links: Links::Refuse, method, algorithm, threads: two_threads() };
        hash_files(&root, &tree.files, &hashing, advance)
    }

    #[test]
    fn every_file_gets_the_digest_of_its_bytes() {
        let dir = tempdir().unwrap();
        let sizes = [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES];
        for size in sizes {
            fs::write(dir.path().join(format!("{size}")), vec![7; size]).unwrap();
        }
        let total = AtomicU64::new(0);
        let hashed = hash_all(&dir, &|bytes| {
            total.fetch_add(bytes, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(hashed.len(), sizes.len());
        for HashedFile { name, digests } in hashed {
            let size: usize = name.as_str().parse().unwrap();
            assert_eq!(digests, FileDigests::Whole(Hasher::sha256(&vec![7; size])), "{name}");
        }
        assert_eq!(total.into_inner(), sizes.iter().sum::<usize>() as u64);
    }

    #[test]
    fn every_shard_gets_the_digest_of_its_bytes() {
        let size = BUFFER_BYTES as u64 / 2 + 1;
        let hashing = Hashing {
            links: Links::Refuse,
            method: Method::Shards { bytes: NonZeroU64::new(size).unwrap() },
            algorithm: HashAlgorithm::Blake2b,
            threads: two_threads(),
        };
        for bytes in [0, 1, size - 1, size, size + 1, 2 * size, 7 * size + 3] {
            let dir = tempdir().unwrap();
            let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            fs::write(dir.path().join("weights"), &content).unwrap();
            let root = Folder::open(dir.path()).unwrap();
            let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
            let hashed = hash_files(&root, &tree.files, &hashing, &|_| ()).unwrap();
            let digest = |shard: &[u8]| {
                let mut hasher = Hasher::new(HashAlgorithm::Blake2b);
                hasher.update(shard);
                hasher.finish()
            };
            let digests = content.chunks(usize::try_from(size).unwrap()).map(digest).collect();
            assert_eq!(hashed[0].digests, FileDigests::Shards { bytes, digests }, "{bytes}");
        }
    }

    #[test]
    fn more_shards_than_a_manifest_may_list_are_not_begun() {
        let dir = tempdir().unwrap();
        fs::File::create(dir.path().join("weights")).unwrap().set_len(MAX_RESOURCES as u64 + 1).unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
        let (method, algorithm) = (Method::Shards { bytes: NonZeroU64::MIN }, HashAlgorithm::Sha256);
        let hashing = Hashing { links: Links::Refuse, method, algorithm, threads: two_threads() };
        let error = hash_files(&root, &tree.files, &hashing, &|_| panic!("something was read")).unwrap_err();
        assert_eq!(error.code(), ReadCode::TooLarge);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_has_no_digest() {
        type Change = fn(&std::path::Path);
        let changes: [(&str, Change); 4] = [
            ("grows", |path| {
                fs::OpenOptions::new()
                    .append(true)
                    .open(path)
                    .and_then(|mut f| io::Write::write_all(&mut f, b"x"))
                    .unwrap()
            }),
            ("shrinks", |path| fs::OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(5)).unwrap()),
            ("is replaced", |path| {
                let other = path.with_extension("new");
                fs::write(&other, vec![7; 4 * BUFFER_BYTES]).unwrap();
                fs::rename(other, path).unwrap();
            }),
            ("is removed", |path| fs::remove_file(path).unwrap()),
        ];
        for (how, change) in changes {
            let dir = tempdir().unwrap();
            let path = dir.path().join("weights");
            fs::write(&path, vec![7; 4 * BUFFER_BYTES]).unwrap();
            let first = AtomicBool::new(true);
            let result = hash_all(&dir, &|_| {
                if first.swap(false, Ordering::Relaxed) {
                    change(&path);
                }
            });
            assert_eq!(result.unwrap_err().code(), ReadCode::Changed, "{how}");
        }
    }

    #[test]
    fn no_files_need_no_thread() {
        let dir = tempdir().unwrap();
        assert!(hash_all(&dir, &|_| ()).unwrap().is_empty());
    }
}
