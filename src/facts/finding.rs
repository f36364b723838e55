//! What stands in the way of a model, in the words of the API: a code, and a sentence that says how to put it right.
//!
//! The layers below have error enums of their own; here, and only here, each is given its code.

use super::request::Place;
use crate::api::remedy;
use crate::api::v1alpha1::{Code, Detail, RefusedCode, UnknownCode};
use crate::model::{ContentMismatch, FolderError, HashError, ManifestError, ReadCode, WalkError};
use crate::registry::{FetchError, Part};
use crate::signature::{CertificateError, Rejection, RejectionCode, StatementError, Unfit};

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Refused or unknown, and why.
    pub code: Code,
    /// A closer look at it.
    pub detail: Option<Detail>,
    /// A sentence: what is wrong, and how to put it right. Foreign text in it is escaped and cut.
    pub message: String,
    /// All files that differ, where that is what stands in the way.
    pub mismatch: Option<Box<ContentMismatch>>,
}

impl Finding {
    /// Nothing but a code and a sentence.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Finding { code: code.into(), detail: None, message: message.into(), mismatch: None }
    }

    pub(super) fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
    }

    pub(super) fn ambiguous(candidates: &str) -> Self {
        let message = format!("several bundles could be meant: {candidates}; name the one, or keep it as model.sig");
        Finding::new(RefusedCode::MalformedBundle, message).with(Detail::AmbiguousBundle)
    }
}

impl From<FetchError> for Finding {
    fn from(error: FetchError) -> Self {
        let (code, remedy): (Code, &str) = match error {
            FetchError::Silent { .. } | FetchError::Slow { .. } => {
                (UnknownCode::RegistryUnavailable.into(), "wait, and see that Pods of this namespace can reach it")
            }
            FetchError::Trouble { .. } => (UnknownCode::RegistryUnavailable.into(), "wait until it serves again"),
            FetchError::Elsewhere { .. } => {
                (UnknownCode::RegistryUnavailable.into(), "keep the bundle in a registry that answers itself")
            }
            FetchError::OtherBytes { .. } => (UnknownCode::RegistryUnavailable.into(), "push the bundle there anew"),
            FetchError::Closed { .. } => {
                (UnknownCode::RegistryUnauthorized.into(), "let everybody read it, or keep the bundle elsewhere")
            }
            FetchError::Missing { .. } => {
                (UnknownCode::SourceMissing.into(), "push it there, or correct the annotation")
            }
            FetchError::TooLong { what: Part::Bundle, .. } => (UnknownCode::TooLarge.into(), "sign the model in parts"),
            FetchError::TooLong { what: Part::Manifest, .. } => {
                (UnknownCode::TooLarge.into(), "name the manifest of a bundle")
            }
            FetchError::TooLong { what: Part::Token, .. } => {
                (UnknownCode::RegistryUnavailable.into(), "wait until who hands out tokens there gives one")
            }
            FetchError::NoBundle { ref why, .. } => {
                let message = format!("{error}: {why}; push the bundle as the only layer, and name that manifest");
                return Finding::new(RefusedCode::MalformedBundle, message);
            }
        };
        Finding::new(code, format!("{error}; {remedy}"))
    }
}

impl From<Rejection> for Finding {
    fn from(rejection: Rejection) -> Self {
        let code: Code = match rejection.code() {
            RejectionCode::TooLarge => UnknownCode::TooLarge.into(),
            RejectionCode::MalformedBundle => RefusedCode::MalformedBundle.into(),
            RejectionCode::UnsupportedBundle => RefusedCode::UnsupportedBundle.into(),
            RejectionCode::SignatureInvalid => RefusedCode::SignatureInvalid.into(),
            RejectionCode::UntrustedSigner => RefusedCode::UntrustedSigner.into(),
            RejectionCode::SignerExpired => RefusedCode::SignerExpired.into(),
        };
        let remedy = match rejection.code() {
            RejectionCode::TooLarge => "; sign the model in parts",
            RejectionCode::MalformedBundle => "; sign the model again",
            // These say it themselves.
            RejectionCode::UnsupportedBundle
            | RejectionCode::SignatureInvalid
            | RejectionCode::UntrustedSigner
            | RejectionCode::SignerExpired => "",
        };
        Finding { detail: detail_of(&rejection), ..Finding::new(code, format!("{rejection}{remedy}")) }
    }
}

fn detail_of(rejection: &Rejection) -> Option<Detail> {
    match rejection {
        Rejection::Statement(StatementError::RootDigest { .. }) => Some(Detail::RootDigestMismatch),
        Rejection::Statement(StatementError::Manifest(error)) => match error {
            ManifestError::Empty => Some(Detail::EmptyModel),
            ManifestError::Duplicate(_) | ManifestError::CaseOnly(_) => Some(Detail::DuplicateName),
            ManifestError::Name { .. } | ManifestError::RootAmongOthers => Some(Detail::InvalidName),
            ManifestError::Unsorted(_) => Some(Detail::Unsorted),
            ManifestError::ShardOverlap(_) => Some(Detail::ShardOverlap),
            ManifestError::ShardGap(_) | ManifestError::ShardNotFromStart(_) => Some(Detail::ShardGap),
            ManifestError::Sharded(_)
            | ManifestError::Whole(_)
            | ManifestError::ShardEmpty(_)
            | ManifestError::ShardTooLong(_)
            | ManifestError::ShardTooShort(_) => Some(Detail::ShardRange),
            // The statement has a digest of another length then, which is no detail; the last is said to signers only.
            ManifestError::Algorithms(_) | ManifestError::EmptyFile(_) => None,
            ManifestError::TooMany => None,
        },
        Rejection::Certificate(CertificateError::Unfit { problem, .. }) => Some(match problem {
            Unfit::CaLeaf | Unfit::NotForCodeSigning | Unfit::NotForSigning => Detail::CertificatePurpose,
            Unfit::NameConstraints => Detail::NameConstraints,
            Unfit::NotAnIssuer | Unfit::PathTooLong | Unfit::CriticalExtension | Unfit::Other(_) => {
                Detail::CertificateChain
            }
        }),
        Rejection::Certificate(CertificateError::ForgedChain { .. }) => Some(Detail::CertificateChain),
        _ => None,
    }
}

impl From<FolderError> for Finding {
    fn from(error: FolderError) -> Self {
        of_reading(error.code(), &error)
    }
}

impl From<WalkError> for Finding {
    fn from(error: WalkError) -> Self {
        of_reading(error.code(), &error)
    }
}

impl From<HashError> for Finding {
    fn from(error: HashError) -> Self {
        of_reading(error.code(), &error)
    }
}

fn of_reading(code: ReadCode, error: &dyn std::error::Error) -> Finding {
    let refused = |code: RefusedCode, remedy| Finding::new(code, format!("{error}; {remedy}"));
    let unknown = |code: UnknownCode, remedy| Finding::new(code, format!("{error}; {remedy}"));
    match code {
        ReadCode::Missing => unknown(UnknownCode::SourceMissing, "put the model there, or correct the path"),
        ReadCode::Symlink => refused(
            RefusedCode::SymlinkNotAllowed,
            "put the file itself there, or sign and verify with symlinks allowed",
        ),
        ReadCode::PathEscapes => {
            refused(RefusedCode::SymlinkNotAllowed, "put the file itself there").with(Detail::PathEscapes)
        }
        ReadCode::LinkLoop => {
            refused(RefusedCode::MalformedContent, "put the file itself there").with(Detail::LinkLoop)
        }
        ReadCode::MalformedContent => refused(RefusedCode::MalformedContent, "remove it from the model"),
        ReadCode::Unreadable => {
            unknown(UnknownCode::Unreadable, "let the reader's user or groups read it (in a policy: content.readAs)")
        }
        ReadCode::TooLarge => unknown(UnknownCode::TooLarge, "split the model"),
        ReadCode::Changed => {
            unknown(UnknownCode::BeingWritten, "verify again when nothing writes to it").with(Detail::ChangedWhileRead)
        }
    }
}

impl Finding {
    /// The files are not what was signed.
    pub(super) fn mismatch(mismatch: ContentMismatch, place: &Place) -> Self {
        let (code, remedy) = match place {
            _ if !mismatch.is_unsigned_only() => (RefusedCode::ContentMismatch, remedy::OF_MISMATCH),
            Place::Cluster | Place::LaptopUnderPolicies => {
                (RefusedCode::UnsignedFiles, remedy::of_unsigned(mismatch.unsigned.iter()))
            }
            // There no policy has a say, and Git's files are looked at only if asked for.
            Place::Laptop { .. } => (RefusedCode::UnsignedFiles, remedy::OF_UNSIGNED),
        };
        let message = format!("the files are not what was signed: {mismatch}; {remedy}");
        Finding { mismatch: Some(Box::new(mismatch)), ..Finding::new(code, message) }
    }
}
