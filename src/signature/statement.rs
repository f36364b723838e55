//! The statement that is signed: an in-toto Statement v1 with the OMS predicate.
//!
//! Receives the payload of an envelope, gives the manifest in it. Every rule of the format is checked here, the root
//! digest among them; whether anybody signed it is not.

use std::borrow::Cow;
use std::num::NonZeroU64;

use serde::Deserialize;
use serde_json::Number;

use super::at_most::AtMost;
use super::bundle::json_error;
use super::release_02;
use super::verify::RejectionCode;
use crate::model::{
    Digest, DigestError, Entry, HashAlgorithm, MAX_RESOURCES, Manifest, ManifestError, Method, ResourceName, Shard,
    shown,
};

/// The predicate that OMS 1.0 defines.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// The most paths that a statement may list as ignored. Signers list some Git files and the signature; each file that
/// is not signed is compared with all of them.
pub const MAX_IGNORE_PATHS: usize = 1000;

pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The longest shard, in bytes: up to here every whole number has a float of its own (2^53), and the reference writes
/// floats.
const MAX_SHARD_SIZE: u64 = 1 << 53;

const PREDICATE_TYPE_RELEASE_02: &str = "https://model_signing/Digests/v0.1";

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
    /// Not exactly one subject.
    #[error("the statement has {0} subjects, not exactly one")]
    Subjects(usize),
    /// The subject's digest is none.
    #[error("the subject's digest is malformed: {0}")]
    SubjectDigest(DigestError),
    /// Another way of making a manifest.
    #[error(
        "the model was signed with the method `{0}`, which is not supported; sign it with the method `files` or `shards`"
    )]
    Method(String),
    /// The method `shards` without a length of shards that makes sense.
    #[error("the statement's `shard_size` is not a whole number from 1 to {MAX_SHARD_SIZE}")]
    ShardSize,
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
            StatementError::Predicate(_) | StatementError::Method(_) | StatementError::HashType(_) => {
                RejectionCode::UnsupportedBundle
            }
            StatementError::Manifest(ManifestError::TooMany) | StatementError::TooManyIgnored => {
                RejectionCode::TooLarge
            }
            StatementError::Json(_)
            | StatementError::Type(_)
            | StatementError::Subjects(_)
            | StatementError::SubjectDigest(_)
            | StatementError::ShardSize
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
    shard_size: Option<Number>,
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
        if form_of(&serde_json::from_slice(payload).map_err(json)?)? == Form::Release02 {
            return release_02::parse(payload);
        }
        let raw: RawStatement<'_> = serde_json::from_slice(payload).map_err(json)?;
        let [subject] = &raw.subject.items[..] else {
            return Err(StatementError::Subjects(raw.subject.count));
        };
        if raw.subject.count != 1 {
            return Err(StatementError::Subjects(raw.subject.count));
        }
        let stated = Digest::from_hex(HashAlgorithm::Sha256, &subject.digest.sha256);
        let stated = stated.map_err(StatementError::SubjectDigest)?;
        let (method, algorithm, serialization) = serialization(raw.predicate.serialization)?;
        let manifest = manifest(raw.predicate.resources, method, algorithm)?;
        let computed = manifest.root_digest();
        if computed != stated {
            return Err(StatementError::RootDigest { stated: Box::new(stated), computed: Box::new(computed) });
        }
        Ok(Statement { manifest, serialization })
    }
}

/// Which form a statement has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// That of OMS 1.0.
    Current,
    /// That of release 0.2.
    Release02,
}

/// Whether a payload says that it is a statement of release 0.2. Nothing else in it is looked at.
pub(super) fn is_of_release_02(payload: &[u8]) -> bool {
    serde_json::from_slice(payload).is_ok_and(|header| form_of(&header) == Ok(Form::Release02))
}

fn form_of(header: &RawHeader<'_>) -> Result<Form, StatementError> {
    if header.statement_type != STATEMENT_TYPE {
        return Err(StatementError::Type(shown(&header.statement_type)));
    }
    match &*header.predicate_type {
        PREDICATE_TYPE => Ok(Form::Current),
        PREDICATE_TYPE_RELEASE_02 => Ok(Form::Release02),
        other => Err(StatementError::Predicate(shown(other))),
    }
}

fn serialization(raw: RawSerialization<'_>) -> Result<(Method, HashAlgorithm, Serialization), StatementError> {
    let RawSerialization { method, hash_type, shard_size, allow_symlinks, ignore_paths } = raw;
    let method = match &*method {
        "files" => Method::Files,
        "shards" => Method::Shards { bytes: shard_size.as_ref().and_then(whole).ok_or(StatementError::ShardSize)? },
        other => return Err(StatementError::Method(shown(other))),
    };
    let algorithm = HashAlgorithm::from_name(&hash_type).ok_or_else(|| StatementError::HashType(shown(&hash_type)))?;
    let ignored = ignore_paths.unwrap_or_default();
    if ignored.count > MAX_IGNORE_PATHS {
        return Err(StatementError::TooManyIgnored);
    }
    let mut ignore_paths: Vec<ResourceName> =
        ignored.items.iter().filter_map(|path| ResourceName::parse(path).ok()).collect();
    ignore_paths.retain(|path| !path.is_root());
    Ok((method, algorithm, Serialization { allow_symlinks, ignore_paths }))
}

/// A number as the length of a shard. The reference writes it as `1000000.0`.
fn whole(number: &Number) -> Option<NonZeroU64> {
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && *float >= 0.0);
    let bytes = number.as_u64().or(float.map(|float| float as u64))?;
    NonZeroU64::new(bytes).filter(|bytes| bytes.get() <= MAX_SHARD_SIZE)
}

fn manifest(
    raw: AtMost<MAX_RESOURCES, RawResource<'_>>,
    method: Method,
    algorithm: HashAlgorithm,
) -> Result<Manifest, StatementError> {
    if raw.count > MAX_RESOURCES {
        return Err(ManifestError::TooMany.into());
    }
    let expected = method.algorithm_name(algorithm);
    let mut entries = Vec::with_capacity(raw.items.len());
    for resource in raw.items {
        if resource.algorithm != expected {
            let (name, algorithm) = (shown(&resource.name), shown(&resource.algorithm));
            return Err(StatementError::Algorithm { name, algorithm });
        }
        entries.push(entry(&resource.name, &resource.digest, method, algorithm)?);
    }
    Ok(Manifest::new(method, entries)?)
}

fn entry(name: &str, digest: &str, method: Method, algorithm: HashAlgorithm) -> Result<Entry, StatementError> {
    let digest =
        Digest::from_hex(algorithm, digest).map_err(|problem| StatementError::Digest { name: shown(name), problem })?;
    let (file, shard) = match method {
        Method::Files => (name, None),
        // Without a range it stands for a whole file, which the manifest refuses by name.
        Method::Shards { .. } => split_range(name).map_or((name, None), |(file, shard)| (file, Some(shard))),
    };
    let name = ResourceName::parse(file).map_err(|problem| ManifestError::Name { name: shown(file), problem })?;
    Ok(Entry { name, shard, digest })
}

/// `file:start:end` in its parts. Read from the right, because a file's name may have colons of its own. Numbers are
/// written in one way only, so that no shard has two names.
fn split_range(name: &str) -> Option<(&str, Shard)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (file, start) = rest.rsplit_once(':')?;
    let number = |text: &str| text.parse().ok().filter(|number: &u64| number.to_string() == text);
    Some((file, Shard { start: number(start)?, end: number(end)? }))
}
