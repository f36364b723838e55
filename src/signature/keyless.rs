//! Signatures by an identity that Sigstore vouched for.
//!
//! Receives a bundle with its log entries and timestamps and the trust roots that somebody trusts, gives facts about
//! the identity. Which identity may sign is for [`super::authority`] to say. No network: the roots are given.

use jiff::Timestamp;

use super::bundle::Bundle;
use super::verify::Rejection;
use crate::model::Digest;

/// A Sigstore instance that somebody trusts: its `trusted_root.json`.
#[derive(Clone, Debug)]
pub struct KeylessTrust {
    digest: Digest,
}

/// Why text is no trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedRootError {
    /// Not the JSON of a `trusted_root.json`.
    #[error("it is not the JSON of a Sigstore trusted root: {0}")]
    Json(String),
}

impl KeylessTrust {
    /// The public-good instance of Sigstore, as it was when this program was made.
    pub fn public_good() -> Result<Self, TrustedRootError> {
        Err(TrustedRootError::Json(String::new()))
    }

    /// Reads a `trusted_root.json`, or the one inside a ClientTrustConfig.
    pub fn from_json(_text: &str) -> Result<Self, TrustedRootError> {
        Err(TrustedRootError::Json(String::new()))
    }

    /// SHA-256 of the root as JSON, written in one way whatever its layout was: names this root.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The identity that signed, and what proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeylessFacts {
    /// The certificate's subject alternative name: an e-mail address or a URI.
    pub identity: String,
    /// The OIDC issuer that knew the identity.
    pub issuer: String,
    /// When it was signed, by the earliest trusted time.
    pub signed_at: Timestamp,
    /// The digest of the trust root ([`KeylessTrust::digest`]).
    pub trust: Digest,
    /// Id of the transparency log's key that proved the entry, in hexadecimal digits.
    pub log: Option<String>,
    /// The timestamp authority, by the subject of its certificate, where one gave the time.
    pub timestamp_authority: Option<String>,
}

/// The facts of a keyless bundle, once for each trust root under which it holds; at least one.
pub(super) fn verify(
    _bundle: &Bundle,
    _trust: &[KeylessTrust],
    _now: Timestamp,
) -> Result<Vec<KeylessFacts>, Rejection> {
    Err(Rejection::Material("a Sigstore identity"))
}
