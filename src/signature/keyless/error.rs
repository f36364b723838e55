//! Why Sigstore's evidence does not hold, in our own words and codes.

use std::fmt;

use jiff::Timestamp;
use sigstore_verify::bundle::Error as ShapeError;
use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use crate::model::shown_to;
use crate::signature::verify::RejectionCode;

/// How much of the verifier's own words goes into a sentence, in characters. They may quote the bundle.
const DETAIL_CHARS: usize = 120;

/// Why a bundle does not prove an identity under a trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeylessError {
    /// No trust root was given.
    #[error(
        "signed with a Sigstore identity, and no Sigstore instance is trusted; name the identity and its issuer, and the trust root if the instance is not the public one"
    )]
    NoInstance,
    /// The trust root does not know who made a part of the evidence.
    #[error("its {part} is of no {} of the trust root: {detail}; give the trust root of the instance that signed it", .part.authority())]
    Unknown {
        /// Which part.
        part: EvidencePart,
        /// What the verifier said of it, fit to be shown.
        detail: String,
    },
    /// The trust root ends, or does not begin, to trust who made a part of the evidence.
    #[error("the trust root does not trust the {} of its {part} for the time that it was signed at, {signed_at}; sign it again", .part.authority())]
    NotValidThen {
        /// Which part.
        part: EvidencePart,
        /// When it was signed.
        signed_at: Timestamp,
    },
    /// The certificate was not valid when it was used.
    #[error("its certificate was not valid when it was used: {0}; sign it again")]
    CertificateExpired(String),
    /// It was signed later than now.
    #[error("it was signed at {signed_at}, and it is {now}; set this machine's clock")]
    Future {
        /// When it was signed.
        signed_at: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The signature is not one by the certificate's key over this content.
    #[error("its signature is not the certificate's: it was altered; sign it again")]
    Signature,
    /// Signed is another artifact.
    #[error("what it signs is another artifact")]
    Artifact,
    /// A part of the evidence does not hold.
    #[error("its {part} does not hold: {detail}; it was altered; sign it again")]
    Altered {
        /// Which part.
        part: EvidencePart,
        /// What the verifier said of it, fit to be shown.
        detail: String,
    },
    /// A field of a log entry that nobody signed says something else than what was signed.
    #[error("its log entry says another {0} than what the log signed: it was altered; sign it again")]
    Contradiction(&'static str),
    /// A part without which nothing is proved is not there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A part is not well-formed.
    #[error("its Sigstore evidence is malformed: {0}")]
    Malformed(String),
    /// A statement of many files whose signature a Rekor v1 log has.
    #[error(
        "its statement is too large for a signature that Rekor v1 logged; sign it with an instance that has Rekor v2"
    )]
    TooLarge,
    /// Well-formed, in a way that this version does not verify.
    #[error("its Sigstore evidence is of a kind that is not supported: {0}")]
    Unsupported(String),
}

/// The parts of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidencePart {
    /// The certificate that names the identity.
    Certificate,
    /// The certificate's proof of having been logged.
    CertificateTimestamp,
    /// The log entry: body, inclusion proof, checkpoint and promise.
    LogEntry,
    /// The timestamp.
    Timestamp,
}

impl EvidencePart {
    fn authority(self) -> &'static str {
        match self {
            EvidencePart::Certificate => "certificate authority",
            EvidencePart::CertificateTimestamp => "certificate transparency log",
            EvidencePart::LogEntry => "transparency log",
            EvidencePart::Timestamp => "timestamp authority",
        }
    }
}

impl fmt::Display for EvidencePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EvidencePart::Certificate => "certificate",
            EvidencePart::CertificateTimestamp => "certificate's log proof",
            EvidencePart::LogEntry => "log entry",
            EvidencePart::Timestamp => "timestamp",
        })
    }
}

impl KeylessError {
    /// What kind of rejection it leads to.
    pub fn code(&self) -> RejectionCode {
        match self {
            KeylessError::NoInstance
            | KeylessError::Unknown { .. }
            | KeylessError::NotValidThen { .. }
            | KeylessError::Future { .. } => RejectionCode::UntrustedSigner,
            KeylessError::CertificateExpired(_) => RejectionCode::SignerExpired,
            KeylessError::Signature
            | KeylessError::Artifact
            | KeylessError::Altered { .. }
            | KeylessError::Contradiction(_) => RejectionCode::SignatureInvalid,
            KeylessError::Missing(_) | KeylessError::Malformed(_) => RejectionCode::MalformedBundle,
            KeylessError::TooLarge => RejectionCode::TooLarge,
            KeylessError::Unsupported(_) => RejectionCode::UnsupportedBundle,
        }
    }

    /// When it will no longer be one, if all that is wrong is that this time has not come.
    pub(in crate::signature) fn not_before(&self) -> Option<Timestamp> {
        match self {
            KeylessError::Future { signed_at, .. } => Some(*signed_at),
            _ => None,
        }
    }

    /// The verifier's error, by its kind alone: its texts are for people.
    pub(super) fn of_verifier(error: &Error) -> Self {
        let detail = shown_to(&error.to_string(), DETAIL_CHARS);
        let unknown = |part| KeylessError::Unknown { part, detail: detail.clone() };
        let altered = |part| KeylessError::Altered { part, detail: detail.clone() };
        match error {
            Error::SignatureInvalid(_) => KeylessError::Signature,
            Error::ArtifactMismatch(_) => KeylessError::Artifact,
            Error::Certificate(error) => match error {
                CertificateError::Malformed(_) => KeylessError::Malformed(detail),
                // A certificate with a bit changed dies here too: no authority signed it.
                CertificateError::ChainInvalid(_) => unknown(EvidencePart::Certificate),
                CertificateError::NoValidAuthority { time } => {
                    KeylessError::NotValidThen { part: EvidencePart::Certificate, signed_at: *time }
                }
                CertificateError::NotYetValid { .. } | CertificateError::Expired { .. } => {
                    KeylessError::CertificateExpired(detail)
                }
                CertificateError::Sct(_) => unknown(EvidencePart::CertificateTimestamp),
                _ => unknown(EvidencePart::Certificate),
            },
            Error::TransparencyLog(error) => match error {
                TransparencyLogError::UnknownLog { .. } => unknown(EvidencePart::LogEntry),
                TransparencyLogError::MalformedEntry(_) => KeylessError::Malformed(detail),
                // The log's own time, which its signature covers: not within the certificate's.
                TransparencyLogError::IntegratedTime(_) => KeylessError::CertificateExpired(detail),
                _ => altered(EvidencePart::LogEntry),
            },
            Error::Timestamp(error) => match error {
                TimestampError::OutsideAuthorityValidity { time } => {
                    KeylessError::NotValidThen { part: EvidencePart::Timestamp, signed_at: *time }
                }
                TimestampError::NoVerifiedTimestamp(_) => KeylessError::Missing("trusted time that it was signed at"),
                _ => altered(EvidencePart::Timestamp),
            },
            // Of roots this is all that comes out here: no key of the kind that the certificate's log signed with.
            Error::InvalidTrustRoot(_) => unknown(EvidencePart::CertificateTimestamp),
            // Two of its own fields contradict each other.
            Error::Bundle(ShapeError::LogIndexOutOfRange { .. } | ShapeError::CheckpointRootMismatch) => {
                altered(EvidencePart::LogEntry)
            }
            Error::UnsupportedBundle(_) | Error::UnsupportedArtifact(_) => KeylessError::Unsupported(detail),
            _ => KeylessError::Malformed(detail),
        }
    }
}
