//! Who may sign: an authority that somebody lists, against a signer whose signature was verified.
//!
//! Pure comparison. A signer satisfies an authority only if the authority's own trust material proved it: the key
//! itself, the same set of roots under the same profile, the same Sigstore instance. An authority without a key, a pin
//! or an identity cannot be made.

use regex::Regex;

use super::certificate::{AlternativeName, CertificateFacts, Profile};
use super::keyless::KeylessFacts;
use super::verify::Signer;
use crate::model::Digest;

/// The longest regular expression, in bytes: identities are URLs, and a pattern of one is not much longer.
const MAX_PATTERN_BYTES: usize = 1024;

/// How much memory a compiled pattern may take, in bytes. What people write takes some 10 KiB; `\w{1000}` would not.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// Somebody whose signature counts.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The holder of a key.
    Key {
        /// SHA-256 of the key's `SubjectPublicKeyInfo`.
        fingerprint: Digest,
    },
    /// Whoever holds a certificate of these roots that one of the pins describes. Without pins: any of them.
    Certificate {
        /// [`super::CertificateTrust::digest`] of the roots.
        trust: Digest,
        /// The profile by which chains are checked.
        profile: Profile,
        /// Alternatives.
        pins: Vec<CertificatePin>,
    },
    /// Whoever a Sigstore instance knows by one of these identities. Without identities: nobody.
    Keyless {
        /// [`super::KeylessTrust::digest`] of the instance's root.
        trust: Digest,
        /// Alternatives.
        identities: Vec<IdentityPattern>,
    },
}

/// A description of certificates. Everything that it names must hold.
#[derive(Clone, Debug, Default)]
pub struct CertificatePin {
    /// The leaf's subject, as RFC 4514 writes it.
    pub subject: Option<String>,
    /// The leaf's issuer, as RFC 4514 writes it.
    pub issuer: Option<String>,
    /// A subject alternative name of the leaf.
    pub name: Option<AlternativeName>,
    /// SHA-256 of the leaf's `SubjectPublicKeyInfo`.
    pub fingerprint: Option<Digest>,
}

/// An identity together with the OIDC issuer that vouches for it.
#[derive(Clone, Debug)]
pub struct IdentityPattern {
    /// The OIDC issuer.
    pub issuer: TextPattern,
    /// The subject: an e-mail address or a URI.
    pub subject: TextPattern,
}

/// A text, or a regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub enum TextPattern {
    /// This very text.
    Exact(String),
    /// Any text that the expression matches from its beginning to its end.
    Anchored(Regex),
}

/// Why a regular expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Longer than any that is needed.
    #[error("the regular expression is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// Not one, or one that takes too much memory.
    #[error("the regular expression cannot be used: {0}")]
    Pattern(String),
    /// Empty text would match nobody, or everybody.
    #[error("an identity or issuer is empty")]
    Empty,
}

impl TextPattern {
    /// This very text, which must not be empty.
    pub fn exact(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() { Err(IdentityError::Empty) } else { Ok(TextPattern::Exact(text.to_owned())) }
    }

    /// A regular expression that must match the whole text, whether or not it has anchors of its own.
    pub fn anchored(pattern: &str) -> Result<Self, IdentityError> {
        if pattern.is_empty() {
            return Err(IdentityError::Empty);
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(IdentityError::TooLong);
        }
        let unusable = |error: regex::Error| IdentityError::Pattern(error.to_string());
        // Alone first: `a)|(b` is no expression, and must not become one between our parentheses.
        regex::RegexBuilder::new(pattern).size_limit(MAX_PATTERN_SIZE).build().map_err(unusable)?;
        let whole = format!(r"\A(?:{pattern})\z");
        let anchored = regex::RegexBuilder::new(&whole).size_limit(MAX_PATTERN_SIZE).build();
        anchored.map(TextPattern::Anchored).map_err(unusable)
    }

    /// Whether the whole text is what was meant.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            TextPattern::Exact(exact) => exact == text,
            TextPattern::Anchored(pattern) => pattern.is_match(text),
        }
    }
}

impl Authority {
    /// Whether this signer is meant, and was proved by this authority's own trust material.
    pub fn accepts(&self, signer: &Signer) -> bool {
        match (self, signer) {
            (Authority::Key { fingerprint }, Signer::Key { fingerprint: signer }) => fingerprint == signer,
            (Authority::Certificate { trust, profile, pins }, Signer::Certificate(facts)) => {
                let proved = facts.trust == *trust && facts.profile == *profile;
                proved && (pins.is_empty() || pins.iter().any(|pin| pin.describes(facts)))
            }
            (Authority::Keyless { trust, identities }, Signer::Keyless(facts)) => {
                facts.trust == *trust && identities.iter().any(|identity| identity.matches(facts))
            }
            (Authority::Key { .. } | Authority::Certificate { .. } | Authority::Keyless { .. }, _) => false,
        }
    }
}

impl CertificatePin {
    fn describes(&self, facts: &CertificateFacts) -> bool {
        let CertificatePin { subject, issuer, name, fingerprint } = self;
        subject.as_ref().is_none_or(|subject| *subject == facts.subject)
            && issuer.as_ref().is_none_or(|issuer| *issuer == facts.issuer)
            && name.as_ref().is_none_or(|name| facts.names.contains(name))
            && fingerprint.is_none_or(|fingerprint| fingerprint == facts.fingerprint)
    }
}

impl IdentityPattern {
    fn matches(&self, facts: &KeylessFacts) -> bool {
        self.issuer.matches(&facts.issuer) && self.subject.matches(&facts.identity)
    }
}
