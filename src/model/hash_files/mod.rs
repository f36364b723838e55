//! Hashing the files of a model with a few threads and a fixed amount of memory.
//!
//! Receives files that were met on a walk, gives their digests, which [`super::algorithms`] computes. A file that is another one than was met, or that
//! changes while it is read, is an error: a digest of bytes that never stood there together would prove nothing.

mod crew;
mod handover;
mod open;
mod reading;
mod stretch;
mod worker;

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use crew::Crew;
use reading::BUFFERS_BYTES;
use stretch::Queue;
use worker::Worker;

use super::{Folder, FolderError, HashAlgorithm, HashedFile, Hasher, Links, MAX_RESOURCES, Method, ReadCode, TreeFile};

/// The most threads: as many buffers as make half of the 16 MiB that a verification may take in all. At about 2 GB/s
/// each this is more than a volume delivers.
const MAX_THREADS: usize = 8;
const _: () = assert!(MAX_THREADS * BUFFERS_BYTES <= 8 << 20);

/// For how much work one more thread is worth its start, which takes some 50 µs: in bytes, and in files.
const THREAD_BYTES: u64 = 1 << 20;
const THREAD_FILES: usize = 32;

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
    /// With how many threads at most, those that only read among them, and never more than eight.
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

/// Hashes files beneath `root`, the largest first and small ones as they are given. They come back in that order.
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
    let threads = threads(files, hashing);
    run(&Job::new(root, files, hashing, advance, threads), threads, &thread::Builder::new)
}

/// Has so many threads do the work: this one, and others as far as they are to be had.
fn run(job: &Job<'_>, threads: usize, builder: &dyn Fn() -> thread::Builder) -> Result<Vec<HashedFile>, HashError> {
    let parts = thread::scope(|scope| {
        let start = |_| match builder().spawn_scoped(scope, || Worker::run(job)) {
            Ok(other) => Some(other),
            Err(_) => {
                // As if it had come and found nothing to do.
                drop(job.crew.begin());
                None
            }
        };
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let mut outcome = Worker::run(job);
        for other in others {
            match (other.join(), &mut outcome) {
                (Ok(Ok(part)), Ok(parts)) => parts.extend(part),
                (Ok(Err(error)), Ok(_)) => outcome = Err(error),
                (Ok(_), Err(_)) => {}
                (Err(panic), _) => std::panic::resume_unwind(panic),
            }
        }
        outcome
    })?;
    Ok(job.queue.join(parts))
}

/// What all threads of a run share.
struct Job<'a> {
    root: &'a Folder,
    hashing: &'a Hashing,
    advance: &'a (dyn Fn(u64) + Sync),
    queue: Queue<'a>,
    /// How many stretches a thread hashes at a time.
    lanes: usize,
    crew: Crew,
}

impl<'a> Job<'a> {
    fn new(
        root: &'a Folder,
        files: &'a [TreeFile],
        hashing: &'a Hashing,
        advance: &'a (dyn Fn(u64) + Sync),
        threads: usize,
    ) -> Self {
        let queue = Queue::new(files, hashing);
        // Evenly, so that no thread takes all and leaves the others without.
        let lanes = Hasher::at_once(hashing.algorithm, queue.alike().div_ceil(threads)).max(1);
        Job { root, hashing, advance, queue, lanes, crew: Crew::new(threads) }
    }
}

/// How many threads are worth their start.
fn threads(files: &[TreeFile], hashing: &Hashing) -> usize {
    let bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
    let by_bytes = usize::try_from(bytes / THREAD_BYTES).unwrap_or(MAX_THREADS);
    let worthwhile = by_bytes.saturating_add(files.len() / THREAD_FILES).saturating_add(1);
    hashing.threads.get().min(MAX_THREADS).min(worthwhile)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::num::NonZeroU64;
    use std::path::Path;
    use std::sync::Once;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use tempfile::{TempDir, tempdir};

    use super::super::algorithms::subtree::SUBTREE_BYTES;
    use super::super::{FileDigests, walk};
    use super::reading::BUFFER_BYTES;
    use super::*;

    fn hashing(method: Method, algorithm: HashAlgorithm, threads: usize) -> Hashing {
        Hashing { links: Links::Refuse, method, algorithm, threads: NonZeroUsize::new(threads).unwrap() }
    }

    fn shards(bytes: u64) -> Method {
        Method::Shards { bytes: NonZeroU64::new(bytes).unwrap() }
    }

    /// Each way that bytes may take: one thread or several, whole files, shards and subtrees.
    fn ways() -> impl Iterator<Item = Hashing> {
        let odd = shards(BUFFER_BYTES as u64 / 2 + 1);
        let methods = [
            (Method::Files, HashAlgorithm::Sha256),
            (Method::Files, HashAlgorithm::Blake2b),
            (Method::Files, HashAlgorithm::Blake3),
            (odd, HashAlgorithm::Sha256),
            (odd, HashAlgorithm::Blake2b),
            (shards(SUBTREE_BYTES), HashAlgorithm::Blake3),
        ];
        [1, 2, 8]
            .into_iter()
            .flat_map(move |threads| methods.map(|(method, algorithm)| hashing(method, algorithm, threads)))
    }

    fn hash_all(
        dir: &TempDir,
        hashing: &Hashing,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<HashedFile>, HashError> {
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
        hash_files(&root, &tree.files, hashing, advance)
    }

    /// What a plain loop over the bytes gives.
    fn expected(content: &[u8], hashing: &Hashing) -> FileDigests {
        let digest = |bytes: &[u8]| {
            let mut hasher = Hasher::new(hashing.algorithm);
            hasher.update(bytes);
            hasher.finish()
        };
        match hashing.method {
            Method::Files => FileDigests::Whole(digest(content)),
            Method::Shards { bytes } => FileDigests::Shards {
                bytes: content.len() as u64,
                digests: content.chunks(usize::try_from(bytes.get()).unwrap()).map(digest).collect(),
            },
        }
    }

    fn content(bytes: usize) -> Vec<u8> {
        let period: Vec<u8> = (0..=250).collect();
        let mut content = period.repeat(bytes / period.len() + 1);
        content.truncate(bytes);
        content
    }

    #[test]
    fn every_file_gets_the_digests_of_its_bytes() {
        let size = BUFFER_BYTES;
        let large = 2 * SUBTREE_BYTES as usize + 3;
        let models = [
            vec![],
            vec![0],
            vec![1],
            vec![large, 5],
            vec![0, 0, 1, 2, 63, 64, 65, 100, size - 1, size, size + 1, 3 * size, 7 * size, 20 * size],
        ];
        let mut known = HashMap::new();
        for sizes in models {
            let dir = tempdir().unwrap();
            for (at, size) in sizes.iter().enumerate() {
                fs::write(dir.path().join(at.to_string()), content(*size)).unwrap();
            }
            for hashing in ways() {
                let total = AtomicU64::new(0);
                let hashed = hash_all(&dir, &hashing, &|bytes| {
                    total.fetch_add(bytes, Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(hashed.len(), sizes.len());
                for HashedFile { name, digests } in hashed {
                    let size = sizes[name.as_str().parse::<usize>().unwrap()];
                    let at = (size, hashing.method.as_str(), hashing.algorithm);
                    let expected = known.entry(at).or_insert_with(|| expected(&content(size), &hashing));
                    assert_eq!(digests, *expected, "{size} of {sizes:?}: {hashing:?}");
                }
                assert_eq!(total.into_inner(), sizes.iter().sum::<usize>() as u64, "{hashing:?}");
            }
        }
    }

    #[test]
    fn many_small_files_are_hashed() {
        let dir = tempdir().unwrap();
        for at in 0..300 {
            fs::write(dir.path().join(at.to_string()), content(at)).unwrap();
        }
        for hashing in ways() {
            let hashed = hash_all(&dir, &hashing, &|_| ()).unwrap();
            assert_eq!(hashed.len(), 300);
            for HashedFile { name, digests } in hashed {
                assert_eq!(digests, expected(&content(name.as_str().parse().unwrap()), &hashing), "{name} {hashing:?}");
            }
        }
    }

    #[test]
    fn more_shards_than_a_manifest_may_list_are_not_begun() {
        let dir = tempdir().unwrap();
        fs::File::create(dir.path().join("weights")).unwrap().set_len(MAX_RESOURCES as u64 + 1).unwrap();
        let hashing = hashing(shards(1), HashAlgorithm::Sha256, 2);
        let error = hash_all(&dir, &hashing, &|_| panic!("something was read")).unwrap_err();
        assert_eq!(error.code(), ReadCode::TooLarge);
    }

    type Change = fn(&Path);
    const CHANGED_BYTES: usize = 24 * BUFFER_BYTES;
    const CHANGES: [(&str, Change); 5] = [
        ("grows", |path| {
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            io::Write::write_all(&mut file, b"x").unwrap();
        }),
        ("shrinks", |path| fs::OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(5)).unwrap()),
        ("is written to", |path| {
            use std::os::unix::fs::FileExt;
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", 0).unwrap();
        }),
        ("is replaced", |path| {
            let other = path.with_extension("new");
            fs::write(&other, content(CHANGED_BYTES)).unwrap();
            fs::rename(other, path).unwrap();
        }),
        ("is removed", |path| fs::remove_file(path).unwrap()),
    ];

    /// Five files are an odd number for two threads: one of these ends earlier, and helps the other.
    #[test]
    fn the_last_files_are_shared_by_the_threads() {
        let dir = tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..5).map(|at| content(CHANGED_BYTES - at)).collect();
        contents
            .iter()
            .enumerate()
            .for_each(|(at, content)| fs::write(dir.path().join(format!("{at}")), content).unwrap());
        for hashing in ways().filter(|way| way.threads.get() <= 2) {
            let hashed = AtomicU64::new(0);
            let advance = |bytes| {
                hashed.fetch_add(bytes, Ordering::Relaxed);
            };
            for files in hash_all(&dir, &hashing, &advance).unwrap().into_iter().zip(&contents) {
                let (file, content) = files;
                assert_eq!(file.digests, expected(content, &hashing), "{} {hashing:?}", file.name.as_str());
            }
            let all: u64 = contents.iter().map(|content| content.len() as u64).sum();
            assert_eq!(hashed.into_inner(), all, "each byte is told of once: {hashing:?}");
        }
    }

    /// Alone, so that another thread may feed the one that hashes it, beside another file, and beside two, so that another
    /// thread may go on with one of them.
    #[test]
    fn a_file_that_changes_while_it_is_read_has_no_digest() {
        let ways = ways().filter(|way| way.threads.get() <= 2);
        for (hashing, (how, change)) in ways.flat_map(|way| CHANGES.map(|change| (way, change))) {
            for others in 0..3 {
                let dir = tempdir().unwrap();
                let path = dir.path().join("weights");
                fs::write(&path, content(CHANGED_BYTES)).unwrap();
                let other = |at| fs::write(dir.path().join(format!("other-{at}")), content(CHANGED_BYTES - 1)).unwrap();
                (0..others).for_each(other);
                let first = Once::new();
                // Nobody goes on before it has changed.
                let result = hash_all(&dir, &hashing, &|_| first.call_once(|| change(&path)));
                assert_eq!(result.unwrap_err().code(), ReadCode::Changed, "{how} beside {others}: {hashing:?}");
            }
        }
    }

    /// A folder that is read from keeps its files when its name goes to another one.
    #[test]
    fn a_folder_that_is_replaced_while_its_files_are_read_is_noticed() {
        for hashing in ways().filter(|way| way.threads.get() <= 2) {
            let dir = tempdir().unwrap();
            let folder = dir.path().join("folder");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("weights"), content(CHANGED_BYTES)).unwrap();
            let first = Once::new();
            let result = hash_all(&dir, &hashing, &|_| {
                first.call_once(|| {
                    fs::rename(&folder, dir.path().join("other")).unwrap();
                    fs::create_dir(&folder).unwrap();
                    fs::write(folder.join("weights"), content(CHANGED_BYTES)).unwrap();
                });
            });
            assert_eq!(result.unwrap_err().code(), ReadCode::Changed, "{hashing:?}");
        }
    }

    #[test]
    fn links_lead_to_files_in_other_folders() {
        let dir = tempdir().unwrap();
        for folder in ["one", "two"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("one/weights"), content(1000)).unwrap();
        std::os::unix::fs::symlink("../one/weights", dir.path().join("two/link")).unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Follow, &|_| false).unwrap();
        let hashing = Hashing { links: Links::Follow, ..hashing(Method::Files, HashAlgorithm::Sha256, 1) };
        let hashed = hash_files(&root, &tree.files, &hashing, &|_| ()).unwrap();
        assert_eq!(hashed.len(), 2);
        assert!(hashed.iter().all(|file| file.digests == expected(&content(1000), &hashing)));
    }

    #[test]
    fn threads_that_are_not_to_be_had_are_done_without() {
        let dir = tempdir().unwrap();
        let sizes = [CHANGED_BYTES, CHANGED_BYTES / 2, 5, 5, 5];
        for (at, size) in sizes.iter().enumerate() {
            fs::write(dir.path().join(at.to_string()), content(*size)).unwrap();
        }
        let root = Folder::open(dir.path()).unwrap();
        let files = walk(&root, Links::Refuse, &|_| false).unwrap().files;
        // No address space holds a stack of that size.
        let none = || thread::Builder::new().stack_size(1 << 56);
        assert!(none().spawn(|| ()).is_err());
        for (threads, asked) in [(2, AtomicUsize::new(0)), (4, AtomicUsize::new(0))] {
            // The first that is asked for is to be had, and no other one.
            let builder = || match asked.fetch_add(1, Ordering::Relaxed) {
                0 if threads > 2 => thread::Builder::new(),
                _ => none(),
            };
            let hashing = hashing(Method::Files, HashAlgorithm::Blake2b, threads);
            let hashed = run(&Job::new(&root, &files, &hashing, &|_| (), threads), threads, &builder).unwrap();
            assert_eq!((hashed.len(), asked.into_inner()), (sizes.len(), threads - 1));
            for HashedFile { name, digests } in hashed {
                let size = sizes[name.as_str().parse::<usize>().unwrap()];
                assert_eq!(digests, expected(&content(size), &hashing), "{name} with {threads}");
            }
        }
    }

    #[test]
    fn one_failure_stops_every_thread_early() {
        for hashing in ways().filter(|way| way.method == Method::Files) {
            let dir = tempdir().unwrap();
            let size = 20 * BUFFER_BYTES;
            (0..20).for_each(|at| fs::write(dir.path().join(format!("weights-{at}")), vec![7; size]).unwrap());
            fs::write(dir.path().join("first"), vec![7; size + 1]).unwrap();
            let total = AtomicU64::new(0);
            let result = hash_all(&dir, &hashing, &|bytes| {
                if total.fetch_add(bytes, Ordering::Relaxed) == 0 {
                    fs::remove_file(dir.path().join("first")).unwrap();
                }
            });
            assert_eq!(result.unwrap_err().code(), ReadCode::Changed);
            // With several threads, others may run ahead while the one that fails waits for a processor. One thread
            // hashes at most eight files at a time.
            if hashing.threads.get() == 1 {
                assert!(total.into_inner() <= 9 * size as u64, "{hashing:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the caller's own")]
    fn a_panic_of_the_caller_stops_every_thread() {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("weights"), vec![7; CHANGED_BYTES]).unwrap();
        let hashing = hashing(Method::Files, HashAlgorithm::Sha256, 3);
        let _ = hash_all(&dir, &hashing, &|_| panic!("the caller's own"));
    }

    #[test]
    fn no_thread_is_begun_for_next_to_nothing() {
        let dir = tempdir().unwrap();
        (0..20).for_each(|at| fs::write(dir.path().join(at.to_string()), content(1000)).unwrap());
        let root = Folder::open(dir.path()).unwrap();
        let tree = walk(&root, Links::Refuse, &|_| false).unwrap();
        let hashing = hashing(Method::Files, HashAlgorithm::Sha256, 100);
        assert_eq!((threads(&[], &hashing), threads(&tree.files, &hashing)), (1, 1));
        fs::write(dir.path().join("weights"), content(3 << 20)).unwrap();
        assert_eq!(threads(&walk(&root, Links::Refuse, &|_| false).unwrap().files, &hashing), 4);
    }
}
