//! What arguments and variables of a container name: models that no volume brings, and what is dangerous in itself.

use std::fmt;

use super::{FieldPath, ModelUse, Way};
use crate::api::v1alpha1::{Forbidden, UnknownCode};

/// What an argument or a variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// What it is for.
    pub role: Role,
    /// The path in the container, normalised, where it is one.
    pub path: Option<String>,
    /// The mount in which that path lies, by its index in the list of uses. A policy that selects the mount judges this
    /// there; one that leaves the mount out judges it for itself.
    pub within: Option<usize>,
}

/// What a named file or repository is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A model, a tokenizer, an adapter or code: what it computes with.
    Weights,
    /// A chat template and the like, in a ConfigMap, a Secret or another volume that Kubernetes makes of API objects.
    Config,
}

/// A model that a container fetches by itself, such as `hf://acme/llama`, `s3://models/llama` or `ollama://llama3:8b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelUri {
    uri: String,
    revision: Option<String>,
}

/// How many hexadecimal digits the name of a commit has (SHA-1).
const COMMIT_DIGITS: usize = 40;

impl ModelUri {
    /// A URI, and the revision that is asked for, if one is.
    pub fn new(uri: impl Into<String>, revision: Option<String>) -> Self {
        ModelUri { uri: uri.into(), revision }
    }

    /// The URI without a revision: what globs are compared with.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether it names the same bytes for ever: by a whole commit, or by a digest. Buckets and web servers have nothing
    /// of the kind.
    pub fn is_pinned(&self) -> bool {
        let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = self.revision.as_deref().is_some_and(|revision| hex(revision, COMMIT_DIGITS));
        commit || is_pinned_reference(&self.uri)
    }
}

impl fmt::Display for ModelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            None => f.write_str(&self.uri),
            Some(revision) => write!(f, "{}@{revision}", self.uri),
        }
    }
}

/// Whether a reference to a registry names its content by its digest.
pub(super) fn is_pinned_reference(reference: &str) -> bool {
    let digest = reference.rsplit_once("@sha256:").map(|(_, digest)| digest);
    digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Why nobody can tell which model it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The code: `NotVerifiable`, or `TooLarge` where a limit ended the search.
    pub code: UnknownCode,
    /// What cannot be told, as half a sentence.
    pub what: String,
    /// What to write instead, as half a sentence that begins with a verb.
    pub remedy: &'static str,
}

/// Something that is dangerous in itself, whatever model is used, and that a policy may forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// Where it stands.
    pub at: FieldPath,
    /// What it is, as policies call it.
    pub kind: Forbidden,
    /// The flag or variable that brings it about, as it is written.
    pub by: String,
    /// Whether it is certain; else it cannot be ruled out, because the variable's value comes from elsewhere.
    pub certain: bool,
}

impl ModelUse {
    /// The path in the container that it is about, normalised; `None` for what is fetched from elsewhere.
    pub fn path(&self) -> Option<&str> {
        match &self.way {
            Way::Mounted(mount) => Some(&mount.path),
            Way::Named(naming) => naming.path.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_commits_and_digests_pin() {
        let digest = "a".repeat(64);
        for (uri, revision, expected) in [
            ("hf://acme/llama".to_owned(), None, false),
            ("hf://acme/llama".to_owned(), Some("main".to_owned()), false),
            ("hf://acme/llama".to_owned(), Some("a".repeat(39)), false),
            ("hf://acme/llama".to_owned(), Some("g".repeat(40)), false),
            ("hf://acme/llama".to_owned(), Some("a".repeat(40)), true),
            (format!("docker://r/m:1@sha256:{digest}"), None, true),
            (format!("docker://r/m:1@sha256:{digest}x"), None, false),
            ("s3://bucket/llama".to_owned(), None, false),
        ] {
            assert_eq!(ModelUri::new(uri.clone(), revision).is_pinned(), expected, "{uri}");
        }
    }
}
