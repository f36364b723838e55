//! Globs over mount paths, and over references to images and models.

use globset::{GlobBuilder, GlobMatcher};

use super::sort_out;
use crate::workload::{is_at_or_below, mount_path};

/// Alternative globs over normalised paths. `*` does not match `/`.
#[derive(Clone, Debug, Default)]
pub(super) struct Globs {
    globs: Vec<PathGlob>,
}

/// One glob over normalised paths.
#[derive(Clone, Debug)]
pub(super) struct PathGlob {
    matcher: GlobMatcher,
    /// Of a glob that ends in `/**`: what stands before that, which the glob means too and `globset` does not.
    folder: Option<GlobMatcher>,
    /// The folder in which everything lies that the glob can match, as far as it is written out.
    literal_prefix: String,
}

impl Globs {
    /// The globs over mount paths that can be understood, and what was wrong with the others.
    pub(super) fn compile(globs: &[String]) -> (Self, Vec<String>) {
        let (globs, errors) = collect(globs.iter().map(|glob| PathGlob::compile(glob)), "a glob over mount paths");
        (Globs { globs }, errors)
    }

    /// Whether what is mounted at this path could lie in what the globs mean: it matches, or lies above the prefix of a
    /// glob, so that what matches can lie inside of it.
    pub(super) fn touch(&self, path: &str) -> bool {
        self.globs.iter().any(|glob| glob.matches(path) || is_at_or_below(&glob.literal_prefix, path))
    }

    /// Whether the path itself is what the globs mean.
    pub(super) fn cover(&self, path: &str) -> bool {
        self.globs.iter().any(|glob| glob.matches(path))
    }
}

impl PathGlob {
    /// A glob over absolute paths.
    pub(super) fn compile(glob: &str) -> Result<Self, String> {
        if !glob.starts_with('/') || glob.split('/').any(|part| part == "." || part == "..") {
            return Err("it does not begin with /, or has . or .. in it".to_owned());
        }
        let parts: Vec<&str> = glob.split('/').filter(|part| !part.is_empty()).collect();
        let plain = format!("/{}", parts.join("/"));
        let folder = plain.strip_suffix("/**").map(|folder| if folder.is_empty() { "/" } else { folder });
        Ok(PathGlob {
            matcher: path_matcher(&plain)?,
            folder: folder.map(path_matcher).transpose()?,
            literal_prefix: literal_prefix(&parts),
        })
    }

    /// Whether it means the path.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path) || self.folder.as_ref().is_some_and(|folder| folder.is_match(path))
    }

    /// Whether it matches whatever lies in a folder: it ends in `/**`, and what stands before that matches the folder or
    /// one around it.
    pub(super) fn matches_below(&self, folder: &str) -> bool {
        let ends = folder.match_indices('/').map(|(at, _)| at).skip(1).chain([folder.len()]);
        self.folder.as_ref().is_some_and(|glob| ends.into_iter().any(|end| glob.is_match(&folder[..end])))
    }
}

fn path_matcher(glob: &str) -> Result<GlobMatcher, String> {
    matcher(glob).map_err(|error| format!("it cannot be read: {error}"))
}

/// The globs of a field that can be understood, and what was wrong with the others.
pub(super) fn collect<T>(globs: impl Iterator<Item = Result<T, String>>, which: &str) -> (Vec<T>, Vec<String>) {
    sort_out(globs.map(|glob| glob.map_err(|error| format!("{which}: {error}"))))
}

/// A glob of which `*` does not match `/`.
pub(super) fn matcher(glob: &str) -> Result<GlobMatcher, String> {
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// Alternative globs over references: of images, or URIs. `*` does not match `/`.
#[derive(Clone, Debug, Default)]
pub(super) struct ReferenceGlobs {
    globs: Vec<GlobMatcher>,
}

/// The registry of an image that names none, and the folder there of one that names no other.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_FOLDER: &str = "library";

impl ReferenceGlobs {
    /// The globs that can be understood, and what was wrong with the others; `field` is what messages call them.
    pub(super) fn compile(globs: &[String], field: &str) -> (Self, Vec<String>) {
        let globs = globs.iter().map(|glob| matcher(glob));
        let (globs, errors) = collect(globs, &format!("a glob in match.models.{field}"));
        (ReferenceGlobs { globs }, errors)
    }

    /// Whether a glob means the text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(text))
    }

    /// Whether a glob means an image, however much of its reference is left to defaults.
    pub(super) fn match_image(&self, reference: &str) -> bool {
        let untagged = |reference: &str| {
            let named = reference.split_once('@').map_or(reference, |(named, _)| named);
            let tag = named.rfind(':').filter(|at| !named[*at..].contains('/'));
            named[..tag.unwrap_or(named.len())].to_owned()
        };
        let full = with_registry(reference);
        self.matches(reference)
            || self.matches(&untagged(reference))
            || self.matches(&full)
            || self.matches(&untagged(&full))
    }
}

/// A reference with the registry that a runtime would add.
fn with_registry(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => reference.to_owned(),
        Some(_) => format!("{DEFAULT_REGISTRY}/{reference}"),
        None => format!("{DEFAULT_REGISTRY}/{DEFAULT_FOLDER}/{reference}"),
    }
}

/// The components before the first one with a special character.
fn literal_prefix(parts: &[&str]) -> String {
    let literal: Vec<&str> =
        parts.iter().copied().take_while(|part| !part.contains(['*', '?', '[', ']', '{', '}', '\\'])).collect();
    mount_path(&literal.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(glob: &str) -> Globs {
        let (globs, errors) = Globs::compile(&[glob.to_owned()]);
        assert_eq!(errors, [""; 0], "{glob}");
        globs
    }

    #[test]
    fn what_globs_cover_and_what_they_touch() {
        for (glob, path, cover, touch) in [
            ("/models/**", "/models", true, true),
            ("/models/**", "/models/a/b", true, true),
            ("/models/**", "/", false, true),
            ("/models/**", "/models2", false, false),
            ("/models/*", "/models/a", true, true),
            ("/models/*", "/models/a/b", false, false),
            ("/models/*", "/models", false, true),
            ("/a/b/*.gguf", "/a", false, true),
            ("/a/b/*.gguf", "/a/b/m.gguf", true, true),
            ("/a/b/*.gguf", "/a/c", false, false),
            ("/models", "/models", true, true),
            ("/models//", "/models", true, true),
            ("/models", "/models/a", false, false),
            ("/**", "/", true, true),
            ("/**", "/x/y", true, true),
            ("/{a,b}/m", "/b/m", true, true),
            ("/{a,b}/m", "/c/m", false, false),
        ] {
            assert_eq!(globs(glob).cover(path), cover, "{glob} covers {path}");
            assert_eq!(globs(glob).touch(path), touch, "{glob} touches {path}");
        }
    }

    #[test]
    fn images_are_matched_however_they_are_spelt() {
        let digest = "a".repeat(64);
        for (glob, reference, expected) in [
            ("registry.example/models/**", "registry.example/models/llama:8b", true),
            ("registry.example/models/**", "registry.example/other/llama:8b", false),
            ("registry.example/models/*", "registry.example/models/a/b", false),
            ("registry.example/models/llama", "registry.example/models/llama:8b", true),
            ("registry.example:5000/llama", "registry.example:5000/llama", true),
            ("registry.example:5000/llama", "registry.example:5000/llama:8b", true),
            ("registry.example/llama", &format!("registry.example/llama:8b@sha256:{digest}"), true),
            ("docker.io/acme/**", "acme/llama", true),
            ("docker.io/library/*", "llama", true),
            ("acme/*", "acme/llama:8b", true),
            ("**", "llama", true),
        ] {
            let (globs, errors) = ReferenceGlobs::compile(&[glob.to_owned()], "images");
            assert_eq!((globs.match_image(reference), errors.len()), (expected, 0), "{glob} {reference}");
        }
    }

    #[test]
    fn uris_are_matched_as_they_are_written() {
        for (glob, uri, expected) in [
            ("**", "hf://acme/llama", true),
            ("hf://**", "hf://acme/llama", true),
            ("hf://acme/**", "hf://acme/llama", true),
            ("hf://acme/*", "hf://acme/llama", true),
            ("hf://acme/*", "hf://other/llama", false),
            ("hf://*", "hf://acme/llama", false),
            ("s3://models-*/**", "s3://models-eu/a/b", true),
            ("file:///scratch/**", "file:///scratch/llama", true),
        ] {
            let (globs, errors) = ReferenceGlobs::compile(&[glob.to_owned()], "uris");
            assert_eq!((globs.matches(uri), errors.len()), (expected, 0), "{glob} {uri}");
        }
        assert_eq!(ReferenceGlobs::compile(&["hf://[".to_owned()], "uris").1.len(), 1);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for glob in ["models", "/a/../b", "/[a", "/{a", "/models/./x"] {
            let (_, errors) = Globs::compile(&[glob.to_owned()]);
            assert_eq!(errors.len(), 1, "{glob}");
        }
    }
}
