//! Hashing the files of a model with a few threads and a fixed amount of memory.
//!
//! Receives files that were met on a walk, gives their digests. A file that is another one than was met, or that
//! changes while it is read, is an error: a digest of bytes that never stood there together would prove nothing.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::Advice;

use super::{Digest, Folder, FolderError, HashAlgorithm, Hasher, Links, ReadCode, ResourceName, TreeFile, shown};

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
}

impl HashError {
    /// What kind of trouble it is.
    pub fn code(&self) -> ReadCode {
        match self {
            // It was there a moment ago.
            HashError::Folder(FolderError::Missing { .. }) | HashError::Changed { .. } => ReadCode::Changed,
            HashError::Folder(error) => error.code(),
            HashError::Read { .. } => ReadCode::Unreadable,
        }
    }
}

/// Hashes files beneath `root`, the largest first, with up to `threads` threads (and never more than eight).
///
/// `advance` is told of every piece that was hashed, in bytes, by whichever thread did it. It may sleep there: that is
/// how reading is slowed down.
pub fn hash_files(
    root: &Folder,
    files: &[TreeFile],
    links: Links,
    algorithm: HashAlgorithm,
    threads: NonZeroUsize,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Vec<(ResourceName, Digest)>, HashError> {
    let mut queue: Vec<&TreeFile> = files.iter().collect();
    queue.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let job = Job { root, queue, links, algorithm, advance, next: AtomicUsize::new(0), failed: AtomicBool::new(false) };
    let workers = threads.get().min(MAX_THREADS).min(files.len());
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
    links: Links,
    algorithm: HashAlgorithm,
    advance: &'a (dyn Fn(u64) + Sync),
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Job<'_> {
    fn work(&self) -> Result<Vec<(ResourceName, Digest)>, HashError> {
        let mut memory = vec![0; BUFFER_BYTES + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let buffer = &mut memory[start..start + BUFFER_BYTES];
        let mut hashed = Vec::new();
        while !self.failed.load(Ordering::Relaxed) {
            let Some(file) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let digest = self.hash(file, buffer).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            hashed.extend(digest.map(|digest| (file.name.clone(), digest)));
        }
        Ok(hashed)
    }

    /// The digest of a file, or nothing if another thread failed and this one stopped for it.
    fn hash(&self, file: &TreeFile, buffer: &mut [u8]) -> Result<Option<Digest>, HashError> {
        let path = || shown(file.name.as_str());
        let changed = || HashError::Changed { path: path() };
        let (mut open, seen) = self.root.file(&file.name, self.links)?;
        if seen.identity != file.identity {
            return Err(changed());
        }
        // A hint for slow disks only, so that it may fail.
        let _ = rustix::fs::fadvise(&open, 0, None, Advice::Sequential);
        let mut hasher = Hasher::new(self.algorithm);
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
            hasher.update(&buffer[..length]);
            (self.advance)(length as u64);
        }
        // The name must still lead to this very file, in the same state, or somebody wrote in the meantime.
        let after = self.root.look(&file.name, self.links)?.ok_or_else(changed)?;
        if bytes != file.bytes || after.identity != file.identity {
            return Err(changed());
        }
        Ok(Some(hasher.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;
    use std::fs;
    use std::sync::atomic::AtomicU64;
    use tempfile::{TempDir, tempdir};

    fn two_threads() -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    fn hash_all(dir: &TempDir, advance: &(dyn Fn(u64) + Sync)) -> Result<Vec<(ResourceName, Digest)>, HashError> {
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
        hash_files(&root, &tree.files, Links::Refuse, HashAlgorithm::Sha256, two_threads(), advance)
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
        for (name, digest) in hashed {
            let size: usize = name.as_str().parse().unwrap();
            assert_eq!(digest, Hasher::sha256(&vec![7; size]), "{name}");
        }
        assert_eq!(total.into_inner(), sizes.iter().sum::<usize>() as u64);
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
