//! What a model consists of, against what it should consist of.
//!
//! Compares sets: every listed file must be there with its digest, and no other file may be there. It reads nothing.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use super::{FileDigests, HashedFile, Manifest, ResourceName, shown};

/// How many names of each sort a difference shows: enough to see the pattern; the count says the rest.
pub const NAMES_SHOWN: usize = 3;

/// What was found where a model should be.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Files that were hashed, in any order.
    pub hashed: Vec<HashedFile>,
    /// Listed files whose length alone shows that they are altered, so that nobody read them.
    pub resized: Vec<ResourceName>,
    /// Files that are there and were not hashed because no manifest can or does list them, by name.
    pub extra: Names,
}

/// What may lie in a model without being signed.
#[derive(Clone, Debug, Default)]
pub struct ContentRules {
    /// Files and folders that may lie there unsigned. A signed file below one is checked all the same.
    pub ignore: Vec<ResourceName>,
}

impl ContentRules {
    /// Whether an unsigned file or folder of that name is nobody's business.
    pub fn ignores(&self, name: &ResourceName) -> bool {
        self.ignore.iter().any(|ignored| !ignored.is_root() && name.is_at_or_below(ignored))
    }
}

/// Some names, as they are. For people, [`Names::first`] and the text that it is displayed as show a few of them, escaped
/// and cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Box<str>>);

impl Names {
    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        self.0.push(name.into());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The first [`NAMES_SHOWN`] of them, fit to be shown.
    pub fn first(&self) -> Vec<String> {
        self.0.iter().take(NAMES_SHOWN).map(|name| shown(name)).collect()
    }

    /// Each of them, as it is: for programs, never for people.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// All but those among `others`, in any order.
    pub fn without(self, others: &Names) -> Names {
        if others.is_empty() {
            return self;
        }
        let others: HashSet<&str> = others.iter().collect();
        Names(self.0.into_iter().filter(|name| !others.contains(name.as_ref())).collect())
    }

    /// All of them, as they are: for programs, never for people.
    pub fn into_all(self) -> Vec<Box<str>> {
        self.0
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first().join(", "))?;
        match self.count().saturating_sub(NAMES_SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// How a model differs from what was signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct ContentMismatch {
    /// Signed files with another content.
    pub altered: Names,
    /// Signed files that are not there.
    pub missing: Names,
    /// Files that are there and not signed.
    pub unsigned: Names,
}

impl ContentMismatch {
    /// Whether everything that was signed is there unaltered, and the only trouble is what lies beside it.
    pub fn is_unsigned_only(&self) -> bool {
        self.altered.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for ContentMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorts = [("altered", &self.altered), ("missing", &self.missing), ("not signed", &self.unsigned)];
        let parts: Vec<String> = (sorts.iter().filter(|(_, names)| !names.is_empty()))
            .map(|(sort, names)| format!("{} {sort}: {names}", names.count()))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

impl Manifest {
    /// Whether what was found is what this manifest lists, under rules about what may lie beside it.
    pub fn compare(&self, found: Found, rules: &ContentRules) -> Result<(), ContentMismatch> {
        let Found { hashed, resized, extra } = found;
        let mut there: Vec<(&ResourceName, Option<&FileDigests>)> = resized.iter().map(|name| (name, None)).collect();
        there.extend(hashed.iter().map(|HashedFile { name, digests }| (name, Some(digests))));
        there.sort_by_key(|(name, _)| *name);
        let mut mismatch = ContentMismatch::default();
        let (mut listed, mut there) = (self.files().iter().peekable(), there.into_iter().peekable());
        loop {
            let order = match (listed.peek(), there.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(signed), Some((name, _))) => signed.name.cmp(name),
            };
            let signed = if order.is_le() { listed.next() } else { None };
            let file = if order.is_ge() { there.next() } else { None };
            match (signed, file) {
                (Some(signed), Some((_, digests))) if digests != Some(&signed.digests) => {
                    mismatch.altered.add(signed.name.as_str());
                }
                (Some(signed), None) => mismatch.missing.add(signed.name.as_str()),
                (None, Some((name, _))) if !rules.ignores(name) => mismatch.unsigned.add(name.as_str()),
                _ => {}
            }
        }
        mismatch.unsigned.0.extend(extra.0);
        if mismatch == ContentMismatch::default() { Ok(()) } else { Err(mismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::{entry, manifest, shards_of};
    use super::super::{Hasher, Method};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn found(files: &[(&str, &str)]) -> Found {
        let hashed = files.iter().map(|(name, content)| entry(name, content));
        let hashed = hashed.map(|entry| HashedFile { name: entry.name, digests: FileDigests::Whole(entry.digest) });
        Found { hashed: hashed.collect(), ..Found::default() }
    }

    #[test]
    fn each_sort_of_difference_is_named() {
        let manifest = manifest(&["a", "b", "c"]).unwrap();
        let rules = ContentRules::default();
        assert_eq!(manifest.compare(found(&[("c", "c"), ("a", "a"), ("b", "b")]), &rules), Ok(()));
        let mismatch = manifest.compare(found(&[("a", "x"), ("b", "b"), ("d", "d")]), &rules).unwrap_err();
        assert_eq!(mismatch.to_string(), "1 altered: a; 1 missing: c; 1 not signed: d");
        assert!(!mismatch.is_unsigned_only());
    }

    #[test]
    fn any_difference_between_shards_is_an_alteration() {
        let digest = |at: u64| Hasher::sha256(&at.to_be_bytes());
        let file = |bytes, digests: &[u64]| {
            let digests = FileDigests::Shards { bytes, digests: digests.iter().copied().map(digest).collect() };
            HashedFile { name: ResourceName::parse("a").unwrap(), digests }
        };
        let manifest = Manifest::of(shards_of(10), vec![file(25, &[1, 2, 3])]).unwrap();
        let compare = |hashed| manifest.compare(Found { hashed, ..Found::default() }, &ContentRules::default());
        assert_eq!(compare(vec![file(25, &[1, 2, 3])]), Ok(()));
        for other in
            [file(24, &[1, 2, 3]), file(25, &[1, 2, 4]), file(20, &[1, 2]), file(35, &[1, 2, 3, 4]), file(0, &[])]
        {
            assert_eq!(compare(vec![other]).unwrap_err().to_string(), "1 altered: a");
        }
        let resized = vec![ResourceName::parse("a").unwrap()];
        let mismatch = manifest.compare(Found { resized, ..Found::default() }, &ContentRules::default()).unwrap_err();
        assert_eq!(mismatch.to_string(), "1 altered: a");
    }

    #[test]
    fn many_names_are_counted() {
        let manifest = manifest(&["a", "b", "c", "d", "e"]).unwrap();
        let mismatch = manifest.compare(Found::default(), &ContentRules::default()).unwrap_err();
        assert_eq!(mismatch.to_string(), "5 missing: a, b, c and 2 more");
    }

    #[test]
    fn ignoring_never_hides_a_signed_file() {
        let manifest = manifest(&["a", "dir/b"]).unwrap();
        let rules = ContentRules { ignore: vec![ResourceName::parse("dir").unwrap()] };
        assert_eq!(manifest.compare(found(&[("a", "a"), ("dir/b", "dir/b"), ("dir/x", "")]), &rules), Ok(()));
        let mismatch = manifest.compare(found(&[("a", "a"), ("dir/b", "other")]), &rules).unwrap_err();
        assert_eq!(mismatch.to_string(), "1 altered: dir/b");
        assert!(manifest.compare(found(&[("a", "a"), ("dir/b", "dir/b"), ("dirx", "")]), &rules).is_err());
    }

    #[test]
    fn ignoring_the_root_ignores_nothing() {
        let rules = ContentRules { ignore: vec![ResourceName::root()] };
        assert!(manifest(&["a"]).unwrap().compare(found(&[("a", "a"), ("b", "")]), &rules).is_err());
    }

    #[test]
    fn what_cannot_be_signed_counts_as_unsigned() {
        let mut extra = Names::default();
        extra.add("b\\c");
        let found = Found { extra, ..found(&[("a", "a")]) };
        let mismatch = manifest(&["a"]).unwrap().compare(found, &ContentRules::default()).unwrap_err();
        assert!(mismatch.is_unsigned_only());
    }

    proptest! {
        #[test]
        fn comparison_agrees_with_maps(
            listed in proptest::collection::btree_map("[a-e]", "[xy]", 1..5),
            there in proptest::collection::btree_map("[a-e]", "[xy]", 0..5),
        ) {
            let manifest = Manifest::new(Method::Files, listed.iter().map(|(name, content)| entry(name, content)).collect()).unwrap();
            let pairs: Vec<(&str, &str)> = there.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
            let result = manifest.compare(found(&pairs), &ContentRules::default());
            let count = |of: &BTreeMap<String, String>, test: &dyn Fn(&String, &String) -> bool| of.iter().filter(|(n, c)| test(n, c)).count();
            let mismatch = result.err().unwrap_or_default();
            prop_assert_eq!(mismatch.missing.count(), count(&listed, &|n, _| !there.contains_key(n)));
            prop_assert_eq!(mismatch.unsigned.count(), count(&there, &|n, _| !listed.contains_key(n)));
            prop_assert_eq!(mismatch.altered.count(), count(&listed, &|n, c| there.get(n).is_some_and(|t| t != c)));
        }
    }
}
