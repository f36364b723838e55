//! What policies let lie in a model although nobody signed it.

use super::globs::{PathGlob, collect};

/// Names that have nothing in common, at three depths: a glob that means all of one depth means anything.
const UNLIKE_NAMES: [[&str; 3]; 3] = [
    ["model.safetensors", "README", "_1"],
    ["weights/model.safetensors", "README/1", "_/_.py"],
    ["a/weights/model.safetensors", "B/README/1", "_/0/_.py"],
];

/// Globs over paths in a model. `*` does not match `/`.
#[derive(Clone, Debug, Default)]
pub struct IgnoredPaths {
    globs: Vec<PathGlob>,
}

impl IgnoredPaths {
    /// The globs that can be understood, and what was wrong with the others. One that means anything is not: it would let
    /// be whatever anybody puts there.
    pub fn compile(globs: &[String]) -> (Self, Vec<String>) {
        let (globs, errors) = collect(globs.iter().map(|glob| compile(glob)), "a glob in content.ignorePaths");
        (IgnoredPaths { globs }, errors)
    }

    /// Whether nothing may lie there unsigned.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Whether something may: a path in the model, or a folder, which has a `/` behind it, with all that it can hold.
    pub fn contain(&self, path: &str) -> bool {
        let path = format!("/{path}");
        self.globs.iter().any(|glob| match path.strip_suffix('/') {
            None => glob.matches(&path),
            Some(folder) => glob.matches_below(folder),
        })
    }
}

fn compile(glob: &str) -> Result<PathGlob, String> {
    if !glob.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return Err("it is not relative to the model's root".to_owned());
    }
    let compiled = PathGlob::compile(&format!("/{glob}"))?;
    let names_something = glob.contains(|char| !matches!(char, '*' | '?' | '/'));
    let means_anything = |names: &[&str; 3]| names.iter().all(|name| compiled.matches(&format!("/{name}")));
    if !names_something || UNLIKE_NAMES.iter().any(means_anything) {
        return Err("it means whatever may lie there; name what is meant, such as .git/** or *.md".to_owned());
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_lie_in_a_model() {
        for (glob, path, expected) in [
            (".git/**", ".git/HEAD", true),
            (".git/**", ".git/objects/ab/cd", true),
            (".git/**", ".git", true),
            (".git/**", ".git/", true),
            (".git/**", ".git/objects/", true),
            (".git/**", "sub/.git/", false),
            (".git/**", ".github/", false),
            (".git/*", ".git/HEAD", true),
            (".git/*", ".git/", false),
            (".git", ".git/", false),
            (".git", ".git/HEAD", false),
            ("**/.git/**", "sub/.git/", true),
            ("**/.git/**", ".git/objects/", true),
            ("**/.git/**", "sub/", false),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*.md", "docs/", false),
            ("**/*.md", "README.md", true),
            ("**/*.md", "docs/README.md", true),
            ("**/*.md", "docs/", false),
            ("docs*/**", "docs-old/", true),
            ("{.git,docs}/**", "docs/", true),
            ("{.git/**,docs}", ".git/", false),
        ] {
            let (globs, errors) = IgnoredPaths::compile(&[glob.to_owned()]);
            assert_eq!((globs.contain(path), errors.len()), (expected, 0), "{glob} {path}");
        }
        for glob in [
            "**", "*", "*/**", "?/*", "{*,**}", "[!.]*/**", "**/[!.]*", "{a,*}/*", "", "/.git/**", ".git/", "a//b",
            "../x", "a/./b", "[a", "{a/**",
        ] {
            let (globs, errors) = IgnoredPaths::compile(&[glob.to_owned()]);
            assert_eq!((globs.globs.len(), errors.len()), (0, 1), "{glob}");
        }
    }

    proptest! {
        #[test]
        fn whatever_lies_in_a_folder_that_is_let_be_is_let_be(
            glob in "[ab*?]{1,3}(/[ab*]{1,3}){0,2}(/\\*\\*)?",
            folder in "[ab]{1,2}(/[ab]{1,2}){0,2}/",
            file in "[ab]{1,2}(/[ab]{1,2}){0,2}",
        ) {
            let (globs, _) = IgnoredPaths::compile(&[glob]);
            let below = folder.clone() + &file;
            prop_assert!(!globs.contain(&folder) || globs.contain(&below));
        }
    }
}
