//! The statement that is signed: an in-toto Statement v1 with the OMS predicate.
//!
//! Receives the payload of an envelope, gives the manifest in it. Every rule of the format is checked here, the root
//! digest among them; whether anybody signed it is not.

use std::borrow::Cow;

use serde::Deserialize;

use super::at_most::AtMost;
use super::bundle::json_error;
use super::verify::RejectionCode;
use crate::model::{
    Digest, DigestError, Entry, HashAlgorithm, MAX_RESOURCES, Manifest, ManifestError, Method, ResourceName, shown,
};

/// The predicate that OMS 1.0 defines.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// The most paths that a statement may list as ignored. Signers list some Git files and the signature; each file that
/// is not signed is compared with all of them.
pub const MAX_IGNORE_PATHS: usize = 1000;

pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE_V0_2: &str = "https://model_signing/Digests/v0.1";

/// What a statement says about a model.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The files of the model.
    pub manifest: Manifest,
    /// How they were made into a manifest.
    pub serialization: Serialization,
}

/// How the signer made a manifest of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serialization {
    /// Whether symbolic links were followed.
    pub allow_symlinks: bool,
    /// What the signer left out, relative to the model's root. Paths that lead out of the model are dropped, as the
    /// reference does, and so is the root itself.
    pub ignore_paths: Vec<ResourceName>,
}

/// Why a payload is not a statement that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not JSON, or not of a statement's shape.
    #[error("the signed payload is not the JSON of an OMS statement: {0}")]
    Json(String),
    /// Another kind of document.
    #[error("the signed payload is of type `{0}`, not an in-toto statement of version 1")]
    Type(String),
    /// A statement about something else, or in a format that this version does not verify.
    #[error("the statement's predicate is `{0}`; only `{PREDICATE_TYPE}` is supported")]
    Predicate(String),
    /// The manifest of an old release.
    #[error("the model was signed by release 0.2, whose format is not supported; sign it again with a current release")]
    Release02,
    /// Not exactly one subject.
    #[error("the statement has {0} subjects, not exactly one")]
    Subjects(usize),
    /// The subject's digest is none.
    #[error("the subject's digest is malformed: {0}")]
    SubjectDigest(DigestError),
    /// Another way of making a manifest.
    #[error("the model was signed with the method `{0}`, which is not supported; sign it with the method `files`")]
    Method(String),
    /// Another hash.
    #[error(
        "the model was signed with the hash `{0}`, which is not supported; sign it with `sha256`, `blake2b` or `blake3`"
    )]
    HashType(String),
    /// A file hashed otherwise than the statement says of all files.
    #[error("`{name}` is listed with the hash `{algorithm}`, which is not the statement's")]
    Algorithm {
        /// The file, fit to be shown.
        name: String,
        /// The algorithm that is listed for it, fit to be shown.
        algorithm: String,
    },
    /// A digest that is none.
    #[error("the digest of `{name}` is malformed: {problem}")]
    Digest {
        /// The file, fit to be shown.
        name: String,
        /// What is wrong with it.
        problem: DigestError,
    },
    /// A list of files that is no manifest.
    #[error("the statement {0}")]
    Manifest(#[from] ManifestError),
    /// The digest that the statement is about is not that of the files that it lists.
    #[error("the statement is about the digest {stated}, and the listed files have {computed}")]
    RootDigest {
        /// What the statement says.
        stated: Box<Digest>,
        /// What its files give.
        computed: Box<Digest>,
    },
    /// More than [`MAX_IGNORE_PATHS`].
    #[error("the statement ignores more than {MAX_IGNORE_PATHS} paths")]
    TooManyIgnored,
}

impl StatementError {
    /// What kind of rejection it leads to.
    pub fn code(&self) -> RejectionCode {
        match self {
            StatementError::Predicate(_)
            | StatementError::Release02
            | StatementError::Method(_)
            | StatementError::HashType(_) => RejectionCode::UnsupportedBundle,
            StatementError::Manifest(ManifestError::TooMany) | StatementError::TooManyIgnored => {
                RejectionCode::TooLarge
            }
            StatementError::Json(_)
            | StatementError::Type(_)
            | StatementError::Subjects(_)
            | StatementError::SubjectDigest(_)
            | StatementError::Algorithm { .. }
            | StatementError::Digest { .. }
            | StatementError::Manifest(_)
            | StatementError::RootDigest { .. } => RejectionCode::MalformedBundle,
        }
    }
}

/// Read first: what kind of document it is, whatever else is in it.
#[derive(Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow, rename = "_type")]
    statement_type: Cow<'a, str>,
    #[serde(borrow, rename = "predicateType")]
    predicate_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawStatement<'a> {
    #[serde(borrow)]
    subject: AtMost<1, RawSubject<'a>>,
    #[serde(borrow)]
    predicate: RawPredicate<'a>,
}

#[derive(Deserialize)]
struct RawSubject<'a> {
    #[serde(borrow)]
    digest: RawSubjectDigest<'a>,
}

#[derive(Deserialize)]
struct RawSubjectDigest<'a> {
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawPredicate<'a> {
    #[serde(borrow)]
    serialization: RawSerialization<'a>,
    #[serde(borrow)]
    resources: AtMost<MAX_RESOURCES, RawResource<'a>>,
}

#[derive(Deserialize)]
struct RawSerialization<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    hash_type: Cow<'a, str>,
    allow_symlinks: bool,
    ignore_paths: Option<AtMost<MAX_IGNORE_PATHS, String>>,
}

#[derive(Deserialize)]
struct RawResource<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    algorithm: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

impl Statement {
    /// Reads a statement and checks every rule of the format.
    pub fn parse(payload: &[u8]) -> Result<Statement, StatementError> {
        let json = |error: serde_json::Error| StatementError::Json(json_error(&error));
        check_header(&serde_json::from_slice(payload).map_err(json)?)?;
        let raw: RawStatement<'_> = serde_json::from_slice(payload).map_err(json)?;
        let [subject] = &raw.subject.items[..] else {
            return Err(StatementError::Subjects(raw.subject.count));
        };
        if raw.subject.count != 1 {
            return Err(StatementError::Subjects(raw.subject.count));
        }
        let stated = Digest::from_hex(HashAlgorithm::Sha256, &subject.digest.sha256);
        let stated = stated.map_err(StatementError::SubjectDigest)?;
        let (algorithm, serialization) = serialization(raw.predicate.serialization)?;
        let manifest = manifest(raw.predicate.resources, algorithm)?;
        let computed = manifest.root_digest();
        if computed != stated {
            return Err(StatementError::RootDigest { stated: Box::new(stated), computed: Box::new(computed) });
        }
        Ok(Statement { manifest, serialization })
    }
}

fn check_header(header: &RawHeader<'_>) -> Result<(), StatementError> {
    if header.statement_type != STATEMENT_TYPE {
        return Err(StatementError::Type(shown(&header.statement_type)));
    }
    match &*header.predicate_type {
        PREDICATE_TYPE => Ok(()),
        PREDICATE_TYPE_V0_2 => Err(StatementError::Release02),
        other => Err(StatementError::Predicate(shown(other))),
    }
}

fn serialization(raw: RawSerialization<'_>) -> Result<(HashAlgorithm, Serialization), StatementError> {
    let RawSerialization { method, hash_type, allow_symlinks, ignore_paths } = raw;
    if method != "files" {
        return Err(StatementError::Method(shown(&method)));
    }
    let algorithm = HashAlgorithm::from_name(&hash_type).ok_or_else(|| StatementError::HashType(shown(&hash_type)))?;
    let ignored = ignore_paths.unwrap_or_default();
    if ignored.count > MAX_IGNORE_PATHS {
        return Err(StatementError::TooManyIgnored);
    }
    let mut ignore_paths: Vec<ResourceName> =
        ignored.items.iter().filter_map(|path| ResourceName::parse(path).ok()).collect();
    ignore_paths.retain(|path| !path.is_root());
    Ok((algorithm, Serialization { allow_symlinks, ignore_paths }))
}

fn manifest(raw: AtMost<MAX_RESOURCES, RawResource<'_>>, expected: HashAlgorithm) -> Result<Manifest, StatementError> {
    if raw.count > MAX_RESOURCES {
        return Err(ManifestError::TooMany.into());
    }
    let mut entries = Vec::with_capacity(raw.items.len());
    for RawResource { name, algorithm, digest } in raw.items {
        if algorithm != expected.as_str() {
            return Err(StatementError::Algorithm { name: shown(&name), algorithm: shown(&algorithm) });
        }
        let digest = Digest::from_hex(expected, &digest)
            .map_err(|problem| StatementError::Digest { name: shown(&name), problem })?;
        let name = ResourceName::parse(&name).map_err(|problem| ManifestError::Name { name: shown(&name), problem })?;
        entries.push(Entry::whole(name, digest));
    }
    Ok(Manifest::new(Method::Files, entries)?)
}
