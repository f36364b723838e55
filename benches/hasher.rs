//! How fast bytes in memory and files in the page cache are hashed: `cargo bench --bench hasher`.
//!
//! For the comparison with the Python reference see `benches/against-reference`.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use criterion::{Criterion, Throughput};
use sha2::{Digest as _, Sha256};
use weighbridge::model::{Folder, HashAlgorithm, Hasher, Hashing, Links, Method, hash_files, walk};

/// As much as a thread reads at once: it stays in the processor's own cache.
const PIECE_BYTES: usize = 256 << 10;

fn memory(criterion: &mut Criterion) {
    let piece = vec![7; PIECE_BYTES];
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Bytes(PIECE_BYTES as u64));
    for algorithm in HashAlgorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        group.bench_function(algorithm.as_str(), |bencher| bencher.iter(|| hasher.update(&piece)));
    }
    let mut portable = Sha256::new();
    group.bench_function("sha256 of the sha2 crate", |bencher| bencher.iter(|| portable.update(&piece)));
    for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Blake2b] {
        for lanes in [2, 4, 7, 8] {
            group.throughput(Throughput::Bytes((lanes * PIECE_BYTES) as u64));
            let mut hashers = vec![Hasher::new(algorithm); lanes];
            group.bench_function(format!("{algorithm}, {lanes} at a time"), |bencher| {
                bencher.iter(|| Hasher::update_all(hashers.iter_mut().map(|hasher| (hasher, &piece[..]))));
            });
        }
    }
    group.finish();
}

fn files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("files");
    group.sample_size(10);
    for (name, files, bytes) in
        [("one of 256 MiB", 1, 256 << 20), ("16 of 16 MiB", 16, 16 << 20), ("5000 of 1 KiB", 5000, 1024)]
    {
        let model = tempfile::tempdir().expect("a temporary folder");
        for at in 0..files {
            fs::write(model.path().join(at.to_string()), vec![7; bytes]).expect("room for the model");
        }
        group.throughput(Throughput::Bytes(files * bytes as u64));
        for algorithm in HashAlgorithm::ALL {
            group.bench_function(format!("{name}, {algorithm}"), |bencher| {
                bencher.iter(|| hash_all(model.path(), algorithm));
            });
        }
    }
    group.finish();
}

fn hash_all(model: &Path, algorithm: HashAlgorithm) {
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let hashing = Hashing { links: Links::Refuse, method: Method::Files, algorithm, threads };
    let root = Folder::open(model).expect("the model");
    let tree = walk(&root, Links::Refuse, &|_| false).expect("the model's files");
    hash_files(&root, &tree.files, &hashing, &|_| ()).expect("the model's digests");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    memory(&mut criterion);
    files(&mut criterion);
    criterion.final_summary();
}
