//! Manifests: what a model should consist of.
//!
//! Receives names with digests in the order in which somebody listed them, and promises what the format demands of
//! such a list: at least one file, no name twice, one of the two orders, shards that cover each file without gap or
//! overlap. It never reads a file.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use super::{Digest, HashAlgorithm, Hasher, Method, NameError, ResourceName, Shard, shown};

/// The most digests that a manifest may list: one for each file, or several under the method `shards`. The largest
/// published models have some thousands of files, datasets some hundred thousand; at about 1 KiB of memory for each
/// this stays within a verifier's 1 GiB.
pub const MAX_RESOURCES: usize = 1_000_000;

/// One digest as it is listed: what OMS calls a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of which file.
    pub name: ResourceName,
    /// Of which stretch of it; nothing if of all.
    pub shard: Option<Shard>,
    /// The digest of those bytes.
    pub digest: Digest,
}

impl Entry {
    /// The digest of a whole file.
    pub fn whole(name: ResourceName, digest: Digest) -> Self {
        Entry { name, shard: None, digest }
    }
}

/// The name as OMS writes it: `file`, or `file:start:end` of a shard.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "{}:{shard}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// A file and all that was hashed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// Which file.
    pub name: ResourceName,
    /// The digests of its bytes.
    pub digests: FileDigests,
}

/// The digests of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDigests {
    /// One of all of them.
    Whole(Digest),
    /// One for each shard, in the order of the shards, all of them as long as the [`Method`] says but the last.
    Shards {
        /// The length of the file, in bytes.
        bytes: u64,
        /// As many as that length has shards.
        digests: Vec<Digest>,
    },
}

impl FileDigests {
    /// All of them, in the order of the bytes.
    pub fn as_slice(&self) -> &[Digest] {
        match self {
            FileDigests::Whole(digest) => std::slice::from_ref(digest),
            FileDigests::Shards { digests, .. } => digests,
        }
    }
}

/// The files of a model, sorted by the components of their names, none of them twice.
#[derive(Clone, Debug)]
pub struct Manifest {
    files: Vec<HashedFile>,
    method: Method,
    algorithm: HashAlgorithm,
    /// Kept, because it depends on the order in which the files were listed.
    root: Digest,
}

/// Why a list of digests is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No file at all: a signature over nothing would vouch for an empty folder.
    #[error("lists no file")]
    Empty,
    /// More digests than [`MAX_RESOURCES`].
    #[error("lists more than {MAX_RESOURCES} files or shards")]
    TooMany,
    /// A name that no model may have.
    #[error("the name `{}` {problem}", shown(.name))]
    Name {
        /// The name as listed.
        name: String,
        /// What is wrong with it.
        problem: NameError,
    },
    /// `.` stands for the only file of a model, and there are others.
    #[error("`.` is the name of a single-file model, and other files are listed too")]
    RootAmongOthers,
    /// A name, or the same shard of a file, stands in the list twice.
    #[error("lists `{}` twice", shown(.0))]
    Duplicate(String),
    /// Two names differ only in case: which one a server gets depends on its file system. Stricter than the format.
    #[error("lists `{}` and another name that differs only in case", shown(.0.as_str()))]
    CaseOnly(ResourceName),
    /// Sorted neither by components nor as strings.
    #[error("the names are not sorted: `{}` is out of order", shown(.0))]
    Unsorted(String),
    /// Digests of several algorithms.
    #[error("the digest of `{}` is not of the algorithm of the others", shown(.0))]
    Algorithms(String),
    /// A shard, although files are listed whole.
    #[error("lists the shard `{}` of a file, and its method is `files`", shown(.0))]
    Sharded(String),
    /// A whole file, although shards are listed.
    #[error("lists the whole of `{}`, and its method is `shards`", shown(.0.as_str()))]
    Whole(ResourceName),
    /// A shard without any byte, or that ends before it begins.
    #[error("the shard `{}` has no bytes", shown(.0))]
    ShardEmpty(String),
    /// A shard that is longer than the method's.
    #[error("the shard `{}` is longer than all shards are said to be", shown(.0))]
    ShardTooLong(String),
    /// A shard that is shorter than the method's and is not the last of its file.
    #[error("the shard `{}` is shorter than all but the last are said to be", shown(.0))]
    ShardTooShort(String),
    /// The first shard of a file does not begin with its first byte.
    #[error("the first shard of its file, `{}`, does not begin at 0", shown(.0))]
    ShardNotFromStart(String),
    /// Bytes that belong to two shards.
    #[error("the shard `{}` overlaps the one before", shown(.0))]
    ShardOverlap(String),
    /// Bytes that belong to no shard: nobody vouches for them.
    #[error("the shard `{}` does not begin where the one before ends", shown(.0))]
    ShardGap(String),
    /// A file without any byte, which the method `shards` cannot list. The reference leaves it out unsaid; then it is
    /// in the model and nobody vouches for it.
    #[error("the file `{}` is empty, which the method `shards` cannot list", shown(.0.as_str()))]
    EmptyFile(ResourceName),
}

impl Manifest {
    /// Checks a list of digests, in the order in which it was listed: by the components of the names and then by where
    /// a shard begins, as the reference writes it, or by the names (`file:start:end` of a shard) as strings.
    ///
    /// `method` is the one that the signer states; the list must be what it makes of files of some length.
    pub fn new(method: Method, mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        let Some(first) = entries.first() else { return Err(ManifestError::Empty) };
        if entries.len() > MAX_RESOURCES {
            return Err(ManifestError::TooMany);
        }
        let algorithm = first.digest.algorithm();
        if let Some(entry) = entries.iter().find(|entry| entry.digest.algorithm() != algorithm) {
            return Err(ManifestError::Algorithms(entry.to_string()));
        }
        let root = root_digest(entries.iter().map(|entry| &entry.digest));
        let unsorted = first_unsorted(&entries);
        entries.sort_by(by_component);
        if let Some(pair) = entries.windows(2).find(|pair| by_component(&pair[0], &pair[1]).is_eq()) {
            return Err(ManifestError::Duplicate(pair[0].to_string()));
        }
        match method {
            Method::Files => check_whole(&entries)?,
            Method::Shards { bytes } => {
                entries.chunk_by(|a, b| a.name == b.name).try_for_each(|file| check_shards(file, bytes.get()))?;
            }
        }
        unsorted.map_or(Ok(()), |name| Err(ManifestError::Unsorted(name)))?;
        let files = by_file(entries);
        check_names(&files)?;
        Ok(Manifest { files, method, algorithm, root })
    }

    /// The manifest of files that were hashed with that method, as a signer lists it.
    pub fn of(method: Method, mut files: Vec<HashedFile>) -> Result<Self, ManifestError> {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(file) = files.iter().find(|file| file.digests.as_slice().is_empty()) {
            return Err(ManifestError::EmptyFile(file.name.clone()));
        }
        Manifest::new(method, files.iter().flat_map(|file| entries_of(file, method)).collect())
    }

    /// The files, sorted by the components of their names.
    pub fn files(&self) -> &[HashedFile] {
        &self.files
    }

    /// What is to be listed, in the order in which the reference lists it: by the components of the names and then by
    /// where a shard begins.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.files.iter().flat_map(|file| entries_of(file, self.method))
    }

    /// How the files were cut.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The algorithm of the digests.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Whether a file of that name is listed.
    pub fn lists(&self, name: &ResourceName) -> bool {
        self.file(name).is_some()
    }

    /// The file of that name, if it is listed.
    pub fn file(&self, name: &ResourceName) -> Option<&HashedFile> {
        self.files.binary_search_by(|file| file.name.cmp(name)).ok().map(|at| &self.files[at])
    }

    /// Whether that file, or any file below a folder of that name, is listed.
    pub fn lists_at_or_below(&self, name: &ResourceName) -> bool {
        if name.is_root() {
            return true;
        }
        let at = self.files.partition_point(|file| file.name < *name);
        self.files.get(at).is_some_and(|file| file.name.is_at_or_below(name))
    }

    /// The name of the one file, if it is listed as a single-file model whose file is called `base`: as `.` or by its
    /// base name, both of which occur.
    pub fn single_file(&self, base: &str) -> Option<&ResourceName> {
        match &self.files[..] {
            [only] if only.name.is_root() || only.name.as_str() == base => Some(&only.name),
            _ => None,
        }
    }

    /// The OMS root digest: SHA-256 over all raw digests, whatever their algorithm, in the order in which they were
    /// listed. It is the handy name of a model; it does not bind the files' names.
    pub fn root_digest(&self) -> Digest {
        self.root
    }

    /// A digest that binds names and digests: two manifests are the same if and only if theirs are.
    ///
    /// SHA-256 over the line `weighbridge manifest v1\n`, then for each entry in the order of [`Manifest::entries`]:
    /// the name (`file:start:end` of a shard), the algorithm (`sha256-sharded-1000000` of a shard), the raw digest,
    /// each of the three after its length in bytes as eight bytes, big-endian.
    pub fn manifest_digest(&self) -> Digest {
        let algorithm = self.method.algorithm_name(self.algorithm);
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(b"weighbridge manifest v1\n");
        let mut bytes = Vec::new();
        for entry in self.entries() {
            // All at once: a million entries would be six million pieces for the hash.
            bytes.clear();
            for part in [entry.to_string().as_bytes(), algorithm.as_bytes(), entry.digest.as_bytes()] {
                bytes.extend((part.len() as u64).to_be_bytes());
                bytes.extend(part);
            }
            hasher.update(&bytes);
        }
        hasher.finish()
    }
}

fn root_digest<'a>(digests: impl Iterator<Item = &'a Digest>) -> Digest {
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    digests.for_each(|digest| hasher.update(digest.as_bytes()));
    hasher.finish()
}

/// The order in which the reference lists shards: as tuples of path, start and end.
fn by_component(a: &Entry, b: &Entry) -> Ordering {
    a.name.cmp(&b.name).then(a.shard.cmp(&b.shard))
}

/// Which entry spoils both orders, if one does: it is named as the one that spoils the order of strings.
fn first_unsorted(entries: &[Entry]) -> Option<String> {
    if entries.is_sorted_by(|a, b| by_component(a, b).is_le()) {
        return None;
    }
    let mut names = entries.iter().map(Entry::to_string);
    let mut before = names.next()?;
    names.find_map(|name| {
        let unsorted = before > name;
        before = name;
        unsorted.then(|| before.clone())
    })
}

fn check_whole(entries: &[Entry]) -> Result<(), ManifestError> {
    match entries.iter().find(|entry| entry.shard.is_some()) {
        Some(entry) => Err(ManifestError::Sharded(entry.to_string())),
        None => Ok(()),
    }
}

/// Whether the shards of one file, sorted, cover it from its start without gap or overlap, each with the length that
/// it must have.
fn check_shards(file: &[Entry], size: u64) -> Result<(), ManifestError> {
    let mut covered = 0;
    for (at, entry) in file.iter().enumerate() {
        let Some(Shard { start, end }) = entry.shard else { return Err(ManifestError::Whole(entry.name.clone())) };
        let wrong: fn(String) -> ManifestError = if end <= start {
            ManifestError::ShardEmpty
        } else if start < covered {
            ManifestError::ShardOverlap
        } else if start > covered && at == 0 {
            ManifestError::ShardNotFromStart
        } else if start > covered {
            ManifestError::ShardGap
        } else if end - start > size {
            ManifestError::ShardTooLong
        } else if end - start < size && at + 1 < file.len() {
            ManifestError::ShardTooShort
        } else {
            covered = end;
            continue;
        };
        return Err(wrong(entry.to_string()));
    }
    Ok(())
}

/// Brings the shards of each file together. The entries are sorted and were checked.
fn by_file(entries: Vec<Entry>) -> Vec<HashedFile> {
    let mut files: Vec<HashedFile> = Vec::new();
    for Entry { name, shard, digest } in entries {
        match (shard, files.last_mut()) {
            (None, _) => files.push(HashedFile { name, digests: FileDigests::Whole(digest) }),
            (Some(shard), Some(HashedFile { name: last, digests: FileDigests::Shards { bytes, digests } }))
                if *last == name =>
            {
                *bytes = shard.end;
                digests.push(digest);
            }
            (Some(shard), _) => {
                let digests = FileDigests::Shards { bytes: shard.end, digests: vec![digest] };
                files.push(HashedFile { name, digests });
            }
        }
    }
    files
}

fn entries_of(file: &HashedFile, method: Method) -> impl Iterator<Item = Entry> {
    file.digests.as_slice().iter().zip(0..).map(move |(digest, at)| {
        let shard = match (&file.digests, method) {
            (FileDigests::Shards { bytes, .. }, Method::Shards { bytes: size }) => {
                let start = u64::saturating_mul(at, size.get());
                Some(Shard { start, end: start.saturating_add(size.get()).min(*bytes) })
            }
            _ => None,
        };
        Entry { name: file.name.clone(), shard, digest: *digest }
    })
}

fn check_names(files: &[HashedFile]) -> Result<(), ManifestError> {
    if files.len() > 1 && files.iter().any(|file| file.name.is_root()) {
        return Err(ManifestError::RootAmongOthers);
    }
    let mut seen = HashSet::with_capacity(files.len());
    match files.iter().find(|file| !seen.insert(lower_case(file.name.as_str()))) {
        Some(file) => Err(ManifestError::CaseOnly(file.name.clone())),
        None => Ok(()),
    }
}

/// Most names are in lower case already.
fn lower_case(name: &str) -> Cow<'_, str> {
    let is_lower = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { name.into() } else { name.to_lowercase().into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    /// A manifest over files whose content is their name.
    pub(crate) fn manifest(names: &[&str]) -> Result<Manifest, ManifestError> {
        Manifest::new(Method::Files, names.iter().map(|name| entry(name, name)).collect())
    }

    pub(crate) fn entry(name: &str, content: &str) -> Entry {
        Entry::whole(ResourceName::parse(name).unwrap(), Hasher::sha256(content.as_bytes()))
    }

    pub(crate) fn shards_of(bytes: u64) -> Method {
        Method::Shards { bytes: NonZeroU64::new(bytes).unwrap() }
    }

    /// A shard of a file, with a digest of its own.
    fn shard(name: &str, start: u64, end: u64) -> Entry {
        let digest = Hasher::sha256(format!("{name} {start}").as_bytes());
        Entry { name: ResourceName::parse(name).unwrap(), shard: Some(Shard { start, end }), digest }
    }

    #[test]
    fn what_the_format_forbids() {
        let name = |text| ResourceName::parse(text).unwrap();
        for (names, error) in [
            (&[][..], ManifestError::Empty),
            (&["a", "a"], ManifestError::Duplicate("a".into())),
            (&["b", "a"], ManifestError::Unsorted("a".into())),
            (&["a", "b", "a"], ManifestError::Duplicate("a".into())),
            (&[".", "a"], ManifestError::RootAmongOthers),
            (&["A", "a"], ManifestError::CaseOnly(name("a"))),
            (&["É/x", "é/x"], ManifestError::CaseOnly(name("é/x"))),
        ] {
            assert_eq!(manifest(names).unwrap_err(), error, "{names:?}");
        }
    }

    #[test]
    fn what_the_format_forbids_of_shards() {
        let whole = || Entry::whole(ResourceName::parse("a").unwrap(), Hasher::sha256(b""));
        let name = |text| ResourceName::parse(text).unwrap();
        let text = str::to_owned;
        for (method, entries, error) in [
            (Method::Files, vec![shard("a", 0, 10)], ManifestError::Sharded(text("a:0:10"))),
            (Method::Files, vec![whole(), shard("a", 0, 10)], ManifestError::Sharded(text("a:0:10"))),
            (shards_of(10), vec![whole()], ManifestError::Whole(name("a"))),
            (shards_of(10), vec![whole(), shard("a", 0, 10)], ManifestError::Whole(name("a"))),
            (shards_of(10), vec![shard("a", 0, 0)], ManifestError::ShardEmpty(text("a:0:0"))),
            (shards_of(10), vec![shard("a", 0, 10), shard("a", 10, 10)], ManifestError::ShardEmpty(text("a:10:10"))),
            (shards_of(10), vec![shard("a", 9, 8)], ManifestError::ShardEmpty(text("a:9:8"))),
            (shards_of(10), vec![shard("a", 0, 11)], ManifestError::ShardTooLong(text("a:0:11"))),
            (shards_of(10), vec![shard("a", 0, u64::MAX)], ManifestError::ShardTooLong(format!("a:0:{}", u64::MAX))),
            (shards_of(10), vec![shard("a", 0, 9), shard("a", 9, 19)], ManifestError::ShardTooShort(text("a:0:9"))),
            (shards_of(10), vec![shard("a", 10, 20)], ManifestError::ShardNotFromStart(text("a:10:20"))),
            (shards_of(10), vec![shard("a", 0, 10), shard("a", 20, 30)], ManifestError::ShardGap(text("a:20:30"))),
            (shards_of(10), vec![shard("a", 0, 10), shard("a", 9, 19)], ManifestError::ShardOverlap(text("a:9:19"))),
            (shards_of(10), vec![shard("a", 0, 9), shard("a", 0, 10)], ManifestError::ShardTooShort(text("a:0:9"))),
            (shards_of(10), vec![shard("a", 0, 10), shard("a", 0, 10)], ManifestError::Duplicate(text("a:0:10"))),
            (shards_of(10), vec![shard("b", 0, 5), shard("a", 0, 5)], ManifestError::Unsorted(text("a:0:5"))),
            (shards_of(10), vec![shard("a", 10, 15), shard("a", 0, 10)], ManifestError::Unsorted(text("a:0:10"))),
            (shards_of(10), vec![shard("A", 0, 5), shard("a", 0, 5)], ManifestError::CaseOnly(name("a"))),
            (shards_of(10), vec![shard(".", 0, 5), shard("a", 0, 5)], ManifestError::RootAmongOthers),
            (shards_of(10), vec![], ManifestError::Empty),
        ] {
            assert_eq!(Manifest::new(method, entries.clone()).unwrap_err(), error, "{entries:?}");
        }
    }

    #[test]
    fn one_algorithm_makes_all_digests() {
        let blake3 = Digest::blake3(*Hasher::sha256(b"b").as_bytes().first_chunk().unwrap());
        let entries = vec![entry("a", "a"), Entry::whole(ResourceName::parse("b").unwrap(), blake3)];
        assert_eq!(Manifest::new(Method::Files, entries).unwrap_err(), ManifestError::Algorithms("b".into()));
    }

    #[test]
    fn an_empty_file_is_never_lost_among_shards() {
        let empty = |name: &str, digests| HashedFile { name: ResourceName::parse(name).unwrap(), digests };
        let full = FileDigests::Shards { bytes: 1, digests: vec![Hasher::sha256(b"a")] };
        let files = vec![empty("b", full), empty("a", FileDigests::Shards { bytes: 0, digests: vec![] })];
        let error = Manifest::of(shards_of(10), files).unwrap_err();
        assert_eq!(error, ManifestError::EmptyFile(ResourceName::parse("a").unwrap()));
    }

    #[test]
    fn shards_are_accepted_in_both_orders_and_listed_as_the_reference_lists_them() {
        let by_components = [shard("a/b", 0, 2), shard("a.b", 0, 2), shard("a.b", 2, 4), shard("a.b", 10, 11)];
        let filled = |at| shard("a.b", at, at + 2);
        let components: Vec<Entry> =
            by_components[..3].iter().cloned().chain([4, 6, 8].map(filled)).chain([by_components[3].clone()]).collect();
        let mut strings = components.clone();
        strings.sort_by_key(Entry::to_string);
        assert_eq!(strings[1].to_string(), "a.b:10:11");
        let one = Manifest::new(shards_of(2), components.clone()).unwrap();
        let other = Manifest::new(shards_of(2), strings).unwrap();
        assert_ne!(one.root_digest(), other.root_digest());
        assert_eq!(one.manifest_digest(), other.manifest_digest());
        assert_eq!(one.entries().collect::<Vec<_>>(), components);
        assert_eq!(other.entries().collect::<Vec<_>>(), components);
        let again = Manifest::of(one.method(), other.files().to_vec()).unwrap();
        assert_eq!(again.root_digest(), one.root_digest());
    }

    #[test]
    fn the_manifest_digest_binds_ranges_sizes_and_algorithms() {
        let digest = Hasher::sha256(b"");
        let name = |text| ResourceName::parse(text).unwrap();
        let one = |end| Entry { name: name("a"), shard: Some(Shard { start: 0, end }), digest };
        let blake3 = Digest::blake3(*digest.as_bytes().first_chunk().unwrap());
        let digests: HashSet<Digest> = [
            Manifest::new(shards_of(10), vec![one(10)]),
            Manifest::new(shards_of(10), vec![one(9)]),
            Manifest::new(shards_of(11), vec![one(10)]),
            Manifest::new(Method::Files, vec![Entry::whole(name("a:0:10"), digest)]),
            Manifest::new(Method::Files, vec![Entry::whole(name("a:0:10"), blake3)]),
        ]
        .map(|manifest| manifest.unwrap().manifest_digest())
        .into();
        assert_eq!(digests.len(), 5);
    }

    #[test]
    fn the_manifest_digest_is_the_documented_one() {
        let digest = Hasher::sha256(b"x");
        let mut bytes = b"weighbridge manifest v1\n".to_vec();
        for part in [&b"a:0:1"[..], b"sha256-sharded-10", digest.as_bytes()] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part);
        }
        let entry = Entry { name: ResourceName::parse("a").unwrap(), shard: Some(Shard { start: 0, end: 1 }), digest };
        let manifest = Manifest::new(shards_of(10), vec![entry]).unwrap();
        assert_eq!(manifest.manifest_digest(), Hasher::sha256(&bytes));
    }

    #[test]
    fn both_orders_are_accepted_and_give_their_own_root() {
        let components = manifest(&["a/b", "a.b"]).unwrap();
        let strings = manifest(&["a.b", "a/b"]).unwrap();
        assert_ne!(components.root_digest(), strings.root_digest());
        assert_eq!(components.manifest_digest(), strings.manifest_digest());
        assert_eq!(components.files(), strings.files());
    }

    #[test]
    fn the_root_digest_is_over_raw_digests() {
        let mut raw = Hasher::sha256(b"a").as_bytes().to_vec();
        raw.extend(Hasher::sha256(b"b").as_bytes());
        assert_eq!(manifest(&["a", "b"]).unwrap().root_digest(), Hasher::sha256(&raw));
    }

    #[test]
    fn the_manifest_digest_binds_names() {
        let one = Manifest::new(Method::Files, vec![entry("a", "x"), entry("b", "y")]).unwrap();
        let two = Manifest::new(Method::Files, vec![entry("a", "x"), entry("c", "y")]).unwrap();
        assert_eq!(one.root_digest(), two.root_digest());
        assert_ne!(one.manifest_digest(), two.manifest_digest());
    }

    #[test]
    fn folders_of_listed_files_are_found() {
        let manifest = manifest(&["a.b", "b/c", "b.d"]).unwrap();
        let below = |text| manifest.lists_at_or_below(&ResourceName::parse(text).unwrap());
        assert!(below("b") && below("b/c") && below("a.b") && below("."));
        assert!(!below("a") && !below("b/cc") && !below("c"));
    }

    proptest! {
        #[test]
        fn any_lengths_make_shards_that_are_accepted(lengths in proptest::collection::vec(1u64..50, 1..5), size in 1u64..20) {
            let files: Vec<HashedFile> = (lengths.iter().zip(b'a'..))
                .map(|(&bytes, name)| HashedFile {
                    name: ResourceName::parse(&char::from(name).to_string()).unwrap(),
                    digests: FileDigests::Shards { bytes, digests: (0..bytes.div_ceil(size)).map(|at| Hasher::sha256(&at.to_be_bytes())).collect() },
                })
                .collect();
            let manifest = Manifest::of(shards_of(size), files.clone()).unwrap();
            prop_assert_eq!(manifest.files(), &files[..]);
            prop_assert_eq!(manifest.entries().map(|entry| entry.shard.unwrap()).map(|shard| shard.end - shard.start).sum::<u64>(), lengths.iter().sum::<u64>());
        }

        #[test]
        fn any_set_of_names_is_accepted_in_component_order(names in proptest::collection::btree_set("[a-c.]{1,3}(/[a-c]{1,2}){0,2}", 1..20)) {
            let mut names: Vec<ResourceName> = names.iter().filter_map(|name| ResourceName::parse(name).ok()).collect();
            names.retain(|name| !name.is_root());
            names.sort();
            let entries: Vec<Entry> = names.iter().map(|name| entry(name.as_str(), "x")).collect();
            prop_assume!(!entries.is_empty());
            let manifest = Manifest::new(Method::Files, entries.clone()).unwrap();
            prop_assert!(entries.iter().all(|entry| manifest.lists(&entry.name)));
            let mut strings = entries;
            strings.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            prop_assert_eq!(Manifest::new(Method::Files, strings).unwrap().manifest_digest(), manifest.manifest_digest());
        }
    }
}
