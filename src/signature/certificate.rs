//! Signatures by the holder of an X.509 certificate.
//!
//! Receives a chain (leaf first) from a bundle and the roots that somebody trusts, gives facts about the leaf. Who of
//! those that a root vouches for may sign is for [`super::authority`] to say.

use std::fmt;

use jiff::Timestamp;

use super::bundle::Bundle;
use super::verify::Rejection;
use crate::model::Digest;

/// By which rules a chain is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Those of RFC 5280 for code signing: a leaf that is no CA and is made for signing code, valid now.
    #[default]
    Strict,
    /// Those of the Python reference, which is lax: at the time of the leaf's beginning, for whatever purpose.
    Reference,
}

impl Profile {
    /// The profile's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Strict => "Strict",
            Profile::Reference => "Reference",
        }
    }
}

/// Roots that somebody trusts, and the profile by which chains to them are checked.
#[derive(Clone, Debug)]
pub struct CertificateTrust {
    profile: Profile,
    digest: Digest,
}

/// Why text is no set of roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// No certificate in it.
    #[error("no `-----BEGIN CERTIFICATE-----` block in it; give the roots in PEM")]
    NotPem,
}

impl CertificateTrust {
    /// Reads roots from PEM: one or more certificates.
    pub fn from_pem(_roots: &str, _profile: Profile) -> Result<Self, RootsError> {
        Err(RootsError::NotPem)
    }

    /// The profile by which chains are checked.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// SHA-256 over the roots' fingerprints, sorted: names this set of roots, whatever profile goes with it.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// What a certificate says of its holder, and what proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the leaf's `SubjectPublicKeyInfo`.
    pub fingerprint: Digest,
    /// The leaf's subject, as RFC 4514 writes it.
    pub subject: String,
    /// The leaf's issuer, as RFC 4514 writes it.
    pub issuer: String,
    /// The leaf's alternative names of the kinds URI, DNS and e-mail.
    pub names: Vec<AlternativeName>,
    /// When the leaf ends.
    pub not_after: Timestamp,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the root that the chain ends in.
    pub root: Digest,
    /// The digest of the set of roots ([`CertificateTrust::digest`]).
    pub trust: Digest,
    /// The profile by which the chain was checked.
    pub profile: Profile,
}

/// A subject alternative name (RFC 5280, 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlternativeName {
    /// `uniformResourceIdentifier`.
    Uri(String),
    /// `dNSName`.
    Dns(String),
    /// `rfc822Name`.
    Email(String),
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlternativeName::Uri(uri) => write!(f, "uri:{uri}"),
            AlternativeName::Dns(name) => write!(f, "dns:{name}"),
            AlternativeName::Email(address) => write!(f, "email:{address}"),
        }
    }
}

/// The facts of a bundle signed with a certificate, once for each set of roots under which it holds; at least one.
pub(super) fn verify(
    _bundle: &Bundle,
    _trust: &[CertificateTrust],
    _now: Timestamp,
) -> Result<Vec<CertificateFacts>, Rejection> {
    Err(Rejection::Material("a certificate"))
}
