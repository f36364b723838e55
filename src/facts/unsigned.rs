//! What lies in a model and is not signed, so short that a report has room for it.
//!
//! Receives the names of all files that are not signed, gives paths that cover them all: a folder in which nothing is
//! signed stands for what it holds, as `.git/` does for thousands of files, unless these can all be named. What cannot
//! be told in full is said to be more than is told, and no policy lets that lie there.

use std::collections::BTreeMap;

use crate::api::v1alpha1::UnsignedFiles;
use crate::model::{Manifest, Names, ResourceName, shown};

/// The most that the paths take, in bytes of JSON: what a report has room for beside two signers and what proves them.
const MAX_PATHS_BYTES: usize = 512;

/// The paths of unsigned files, whose names are these.
pub(super) fn told(manifest: &Manifest, names: &Names) -> UnsignedFiles {
    let mut tops: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in names.iter() {
        tops.entry(top(manifest, name)).or_default().push(name);
    }
    let (mut paths, mut bytes, mut more) = (Vec::new(), 0, false);
    for (path, files) in &tops {
        let room = MAX_PATHS_BYTES.saturating_sub(bytes);
        match cost(path).filter(|cost| *cost <= room) {
            Some(cost) => {
                bytes += cost;
                paths.push((path.as_str(), cost, files));
            }
            None => more = true,
        }
    }
    let mut told = UnsignedFiles { paths: Vec::new(), more };
    for (path, own, files) in paths {
        // What can be named is: a policy may list some of the files in a folder.
        let named = files.iter().try_fold(0, |sum, file| Some(sum + cost(file)?).filter(|sum| *sum <= MAX_PATHS_BYTES));
        match named.map(|cost| bytes - own + cost).filter(|all| *all <= MAX_PATHS_BYTES) {
            Some(all) => {
                bytes = all;
                told.paths.extend(files.iter().map(|file| (*file).to_owned()));
            }
            None => told.paths.push(path.to_owned()),
        }
    }
    told
}

/// The outermost folder around a file in which nothing is signed, with a `/` behind it; else the file itself.
fn top(manifest: &Manifest, name: &str) -> String {
    let folders = name.match_indices('/').map(|(at, _)| &name[..at]);
    let unsigned = |folder: &&str| ResourceName::parse(folder).is_ok_and(|it| !manifest.lists_at_or_below(&it));
    folders.into_iter().find(unsigned).map_or_else(|| name.to_owned(), |folder| format!("{folder}/"))
}

/// What a path takes in a report; nothing where it cannot be told as it is. A name that is not UTF-8 has become another one
/// on its way here, and nobody has looked whether it is a folder.
fn cost(path: &str) -> Option<usize> {
    let is_name = ResourceName::parse(path.trim_end_matches('/')).is_ok_and(|name| !name.is_root());
    let fit = is_name && shown(path) == path && !path.contains(char::REPLACEMENT_CHARACTER);
    let json = fit.then(|| serde_json::to_string(path).ok()).flatten()?;
    Some(json.len() + ','.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, FileDigests, HashedFile, Hasher, Method};
    use proptest::prelude::*;

    fn digest() -> Digest {
        Hasher::sha256(b"")
    }

    fn manifest(names: &[&str]) -> Manifest {
        let file = |name: &&str| HashedFile {
            name: ResourceName::parse(name).unwrap(),
            digests: FileDigests::Whole(digest()),
        };
        Manifest::of(Method::Files, names.iter().map(file).collect()).unwrap()
    }

    fn names(all: &[&str]) -> Names {
        let mut names = Names::default();
        all.iter().for_each(|name| names.add(name));
        names
    }

    #[test]
    fn few_files_are_named_and_many_are_their_folder() {
        let manifest = manifest(&["config.json", "weights/1"]);
        let few = told(&manifest, &names(&["weights/.x", ".git/HEAD", ".git/config", "README.md"]));
        assert_eq!(few.paths, [".git/HEAD", ".git/config", "README.md", "weights/.x"]);
        let objects: Vec<String> = (0..1000).map(|at| format!(".git/objects/{at}")).collect();
        let all: Vec<&str> = objects.iter().map(String::as_str).chain([".gitattributes"]).collect();
        let many = told(&manifest, &names(&all));
        assert_eq!((many.paths, many.more), (vec![".git/".to_owned(), ".gitattributes".to_owned()], false));
    }

    #[test]
    fn what_cannot_be_told_is_more() {
        let manifest = manifest(&["a"]);
        let many: Vec<String> = (0..1000).map(|at| format!("file-{at}")).collect();
        let many = told(&manifest, &names(&many.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(many.more && !many.paths.is_empty());
        for odd in ["b\\c", "b\nc", &"x".repeat(81), "\u{202e}b", "\u{fffd}.md"] {
            let odd = told(&manifest, &names(&[odd, "README.md"]));
            assert_eq!((odd.paths, odd.more), (vec!["README.md".to_owned()], true));
        }
        let within = told(&manifest, &names(&["d/b\\c", "d/e"]));
        assert_eq!((within.paths, within.more), (vec!["d/".to_owned()], false), "its folder stands for it");
    }

    proptest! {
        #[test]
        fn every_file_is_told_of_or_more_are(
            listed in proptest::collection::btree_set("[a-c](/[a-c]){0,2}", 1..4),
            files in proptest::collection::btree_set("[a-e\\\\](/[a-e]{1,30}){0,2}", 1..60),
        ) {
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let all: Vec<&str> = files.iter().map(String::as_str).filter(|file| !listed.contains(file)).collect();
            let manifest = manifest(&listed);
            let told = told(&manifest, &names(&all));
            prop_assert!(serde_json::to_string(&told.paths).unwrap().len() <= MAX_PATHS_BYTES + 2);
            for file in all {
                let under = |path: &String| path == file || (path.ends_with('/') && file.starts_with(path.as_str()));
                prop_assert!(told.more || told.paths.iter().any(under), "{file}");
            }
            for path in told.paths.iter().filter(|path| path.ends_with('/')) {
                prop_assert!(!listed.iter().any(|file| file.starts_with(path.as_str())), "{path}");
            }
        }
    }
}
