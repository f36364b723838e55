//! Manifests: what a model should consist of.
//!
//! Receives names with digests in the order in which somebody listed them, and promises what the format demands of
//! such a list: at least one file, no name twice, one of the two orders. It never reads a file.

use std::collections::HashSet;

use super::{Digest, HashAlgorithm, Hasher, NameError, ResourceName, shown};

/// The most files that a model may have. The largest published models have some thousands, datasets some hundred
/// thousand; at about 1 KiB of memory for each file this stays within a verifier's 1 GiB.
pub const MAX_RESOURCES: usize = 1_000_000;

/// One file and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which file.
    pub name: ResourceName,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// The files of a model, sorted by the components of their names, none of them twice.
#[derive(Clone, Debug)]
pub struct Manifest {
    entries: Vec<Entry>,
    listed: Order,
}

/// The order in which the files were listed. The root digest depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Components,
    Strings,
}

/// Why a list of files is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No file at all: a signature over nothing would vouch for an empty folder.
    #[error("lists no file")]
    Empty,
    /// More files than [`MAX_RESOURCES`].
    #[error("lists more than {MAX_RESOURCES} files")]
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
    /// A name stands in the list twice.
    #[error("lists `{}` twice", shown(.0.as_str()))]
    Duplicate(ResourceName),
    /// Two names differ only in case: which one a server gets depends on its file system. Stricter than the format.
    #[error("lists `{}` and another name that differs only in case", shown(.0.as_str()))]
    CaseOnly(ResourceName),
    /// Sorted neither by components nor as strings.
    #[error("the names are not sorted: `{}` is out of order", shown(.0.as_str()))]
    Unsorted(ResourceName),
}

impl Manifest {
    /// Checks a list of files, in the order in which it was listed: by the components of the names, as the reference
    /// writes it, or by the names as strings.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        if entries.is_empty() {
            return Err(ManifestError::Empty);
        }
        if entries.len() > MAX_RESOURCES {
            return Err(ManifestError::TooMany);
        }
        if entries.len() > 1 && entries.iter().any(|entry| entry.name.is_root()) {
            return Err(ManifestError::RootAmongOthers);
        }
        let out_of_order = |pair: &[Entry]| pair[0].name > pair[1].name;
        let by_components = !entries.windows(2).any(out_of_order);
        let unsorted = entries.windows(2).find(|pair| pair[0].name.as_str() > pair[1].name.as_str());
        let unsorted = unsorted.map(|pair| pair[1].name.clone());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(ManifestError::Duplicate(pair[0].name.clone()));
        }
        let listed = match (by_components, unsorted) {
            (true, _) => Order::Components,
            (false, None) => Order::Strings,
            (false, Some(name)) => return Err(ManifestError::Unsorted(name)),
        };
        refuse_case_only_differences(&entries)?;
        Ok(Manifest { entries, listed })
    }

    /// The files, sorted by the components of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The algorithm of the digests.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.entries[0].digest.algorithm()
    }

    /// Whether a file of that name is listed.
    pub fn lists(&self, name: &ResourceName) -> bool {
        self.entries.binary_search_by(|entry| entry.name.cmp(name)).is_ok()
    }

    /// Whether that file, or any file below a folder of that name, is listed.
    pub fn lists_at_or_below(&self, name: &ResourceName) -> bool {
        if name.is_root() {
            return true;
        }
        let at = self.entries.partition_point(|entry| entry.name < *name);
        self.entries.get(at).is_some_and(|entry| entry.name.is_at_or_below(name))
    }

    /// The name of the one file, if it is listed as a single-file model whose file is called `base`: as `.` or by its
    /// base name, both of which occur.
    pub fn single_file(&self, base: &str) -> Option<&ResourceName> {
        match &self.entries[..] {
            [only] if only.name.is_root() || only.name.as_str() == base => Some(&only.name),
            _ => None,
        }
    }

    /// The OMS root digest: SHA-256 over the raw digests of all files, in the order in which they were listed. It is
    /// the handy name of a model; it does not bind the files' names.
    pub fn root_digest(&self) -> Digest {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        match self.listed {
            Order::Components => self.entries.iter().for_each(|entry| hasher.update(entry.digest.as_bytes())),
            Order::Strings => {
                let mut listed: Vec<&Entry> = self.entries.iter().collect();
                listed.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
                listed.iter().for_each(|entry| hasher.update(entry.digest.as_bytes()));
            }
        }
        hasher.finish()
    }

    /// A digest that binds names and digests: two models are the same if and only if theirs are.
    ///
    /// SHA-256 over the line `weighbridge manifest v1\n`, then for each file in the order of components: the name, the
    /// algorithm's name, the raw digest, each of the three after its length in bytes as eight bytes, big-endian.
    pub fn manifest_digest(&self) -> Digest {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(b"weighbridge manifest v1\n");
        for Entry { name, digest } in &self.entries {
            for part in [name.as_str().as_bytes(), digest.algorithm().as_str().as_bytes(), digest.as_bytes()] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        hasher.finish()
    }
}

fn refuse_case_only_differences(entries: &[Entry]) -> Result<(), ManifestError> {
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().find(|entry| !seen.insert(entry.name.as_str().to_lowercase())) {
        Some(entry) => Err(ManifestError::CaseOnly(entry.name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A manifest over files whose content is their name.
    pub(crate) fn manifest(names: &[&str]) -> Result<Manifest, ManifestError> {
        Manifest::new(names.iter().map(|name| entry(name, name)).collect())
    }

    pub(crate) fn entry(name: &str, content: &str) -> Entry {
        Entry { name: ResourceName::parse(name).unwrap(), digest: Hasher::sha256(content.as_bytes()) }
    }

    #[test]
    fn what_the_format_forbids() {
        let name = |text| ResourceName::parse(text).unwrap();
        for (names, error) in [
            (&[][..], ManifestError::Empty),
            (&["a", "a"], ManifestError::Duplicate(name("a"))),
            (&["b", "a"], ManifestError::Unsorted(name("a"))),
            (&["a", "b", "a"], ManifestError::Duplicate(name("a"))),
            (&[".", "a"], ManifestError::RootAmongOthers),
            (&["A", "a"], ManifestError::CaseOnly(name("a"))),
            (&["É/x", "é/x"], ManifestError::CaseOnly(name("é/x"))),
        ] {
            assert_eq!(manifest(names).unwrap_err(), error, "{names:?}");
        }
    }

    #[test]
    fn both_orders_are_accepted_and_give_their_own_root() {
        let components = manifest(&["a/b", "a.b"]).unwrap();
        let strings = manifest(&["a.b", "a/b"]).unwrap();
        assert_ne!(components.root_digest(), strings.root_digest());
        assert_eq!(components.manifest_digest(), strings.manifest_digest());
        assert_eq!(components.entries(), strings.entries());
    }

    #[test]
    fn the_root_digest_is_over_raw_digests() {
        let mut raw = Hasher::sha256(b"a").as_bytes().to_vec();
        raw.extend(Hasher::sha256(b"b").as_bytes());
        assert_eq!(manifest(&["a", "b"]).unwrap().root_digest(), Hasher::sha256(&raw));
    }

    #[test]
    fn the_manifest_digest_binds_names() {
        let one = Manifest::new(vec![entry("a", "x"), entry("b", "y")]).unwrap();
        let two = Manifest::new(vec![entry("a", "x"), entry("c", "y")]).unwrap();
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
        fn any_set_of_names_is_accepted_in_component_order(names in proptest::collection::btree_set("[a-c.]{1,3}(/[a-c]{1,2}){0,2}", 1..20)) {
            let mut names: Vec<ResourceName> = names.iter().filter_map(|name| ResourceName::parse(name).ok()).collect();
            names.retain(|name| !name.is_root());
            names.sort();
            let entries: Vec<Entry> = names.iter().map(|name| entry(name.as_str(), "x")).collect();
            prop_assume!(!entries.is_empty());
            let manifest = Manifest::new(entries.clone()).unwrap();
            prop_assert!(entries.iter().all(|entry| manifest.lists(&entry.name)));
            let mut strings = entries;
            strings.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            prop_assert_eq!(Manifest::new(strings).unwrap().manifest_digest(), manifest.manifest_digest());
        }
    }
}
