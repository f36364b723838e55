//! Statements of release 0.2 of the reference, which are read and never written.
//!
//! It had no list of resources: each file is a subject of the statement, and nothing says how the files were read. They
//! were read whole, with SHA-256, and without following links. No root digest is stated, so none is compared.

use std::borrow::Cow;

use serde::Deserialize;

use super::at_most::AtMost;
use super::bundle::json_error;
use super::statement::{Serialization, Statement, StatementError};
use crate::model::{Digest, Entry, HashAlgorithm, MAX_RESOURCES, Manifest, ManifestError, Method, ResourceName, shown};

/// What the release wrote as the algorithm of a file's digest where a statement can hold nothing but `sha256`.
const ALGORITHMS: [&str; 2] = ["file-sha256", "sha256"];

#[derive(Deserialize)]
struct RawStatement<'a> {
    #[serde(borrow)]
    subject: AtMost<MAX_RESOURCES, RawSubject<'a>>,
}

#[derive(Deserialize)]
struct RawSubject<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    digest: RawDigest<'a>,
    #[serde(borrow)]
    annotations: RawAnnotations<'a>,
}

#[derive(Deserialize)]
struct RawDigest<'a> {
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawAnnotations<'a> {
    #[serde(borrow)]
    actual_hash_algorithm: Cow<'a, str>,
}

/// Reads a statement whose header says that it is one.
pub(super) fn parse(payload: &[u8]) -> Result<Statement, StatementError> {
    let raw: RawStatement<'_> =
        serde_json::from_slice(payload).map_err(|error| StatementError::Json(json_error(&error)))?;
    if raw.subject.count > MAX_RESOURCES {
        return Err(ManifestError::TooMany.into());
    }
    let entries = raw.subject.items.iter().map(entry).collect::<Result<_, _>>()?;
    let serialization = Serialization { allow_symlinks: false, ignore_paths: Vec::new() };
    Ok(Statement { manifest: Manifest::new(Method::Files, entries)?, serialization })
}

fn entry(subject: &RawSubject<'_>) -> Result<Entry, StatementError> {
    let algorithm = &*subject.annotations.actual_hash_algorithm;
    if !ALGORITHMS.contains(&algorithm) {
        return Err(StatementError::HashType(shown(algorithm)));
    }
    let digest = Digest::from_hex(HashAlgorithm::Sha256, &subject.digest.sha256)
        .map_err(|problem| StatementError::Digest { name: shown(&subject.name), problem })?;
    let name = ResourceName::parse(&subject.name)
        .map_err(|problem| ManifestError::Name { name: shown(&subject.name), problem })?;
    Ok(Entry::whole(name, digest))
}
