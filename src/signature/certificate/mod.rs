//! Signatures by the holder of an X.509 certificate.
//!
//! Receives a chain from a bundle and the roots that somebody trusts, gives facts about the leaf. Who of those that a
//! root vouches for may sign is for [`super::authority`] to say.
//!
//! ```text
//!   bundle ─ x509 ─► leaf, others ─ path ─► each way to a root ─ strict | reference ─► facts ─ leaf's key ─► Verified
//! ```

mod path;
mod reference;
mod strict;
mod x509;

use std::fmt;

use jiff::Timestamp;
use sigstore_verify::crypto::parse_certificate_info;
use sigstore_verify::types::DerCertificate;

use self::x509::Certificate;
use super::bundle::Bundle;
use super::claims::ClaimedCertificate;
use super::key::{KeyError, PublicKey};
use super::pem;
use super::verify::{Proved, RejectionCode};
use crate::model::{Digest, Hasher, Names, shown};

/// The largest text of roots that is looked at, in bytes: as many roots as count, at some 2.5 KiB of PEM each.
const MAX_ROOTS_BYTES: usize = 256 << 10;

/// The most roots in one set. An organisation has a handful; whoever gives more gives those of the web.
const MAX_ROOTS: usize = 100;

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
    certificates: Vec<Certificate>,
}

/// Why text is no set of roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// No certificate in it.
    #[error("no `-----BEGIN CERTIFICATE-----` block in it; give the roots in PEM")]
    NotPem,
    /// PEM of something else, whose label it names.
    #[error("it holds PEM of a `{0}`; give certificates alone")]
    OtherPem(String),
    /// A private key, which nobody should hand to a verifier.
    #[error("it holds a private key; give certificates alone, and keep the key where only the signer reads it")]
    Private,
    /// A block that is no certificate.
    #[error("certificate {at} in it is malformed: {problem}")]
    Malformed {
        /// Which of the blocks, counted from 1.
        at: usize,
        /// What is wrong with it, fit to be shown.
        problem: String,
    },
    /// Under [`Profile::Strict`]: a certificate that may not issue others.
    #[error("the certificate of `{subject}` in it is not one of a CA, as a root must be")]
    NotAnIssuer {
        /// Whose certificate it is, fit to be shown.
        subject: String,
    },
    /// Under [`Profile::Reference`]: none that signed itself.
    #[error(
        "no certificate in it signed itself, so that by the profile Reference no chain can end there; add the root"
    )]
    NoAnchor,
    /// More than [`MAX_ROOTS`].
    #[error("it holds more than {MAX_ROOTS} certificates; give the roots of your own signers, not those of the web")]
    TooMany,
    /// Larger than [`MAX_ROOTS_BYTES`].
    #[error("it is larger than {MAX_ROOTS_BYTES} bytes; give the roots of your own signers, not those of the web")]
    TooLarge,
}

impl CertificateTrust {
    /// When the last of the roots ends: after that no chain to them is valid. Nothing where chains are not checked at the
    /// present time.
    pub fn ends(&self) -> Option<Timestamp> {
        match self.profile {
            Profile::Strict => self.certificates.iter().map(Certificate::not_after).max(),
            Profile::Reference => None,
        }
    }

    /// Reads roots from PEM: one certificate or more. Text around the blocks is skipped.
    ///
    /// Under [`Profile::Strict`] a chain may end in each of them, and each must be a CA. Under [`Profile::Reference`] it
    /// may end in those that signed themselves; the others serve as links, as if the bundle carried them.
    pub fn from_pem(roots: &str, profile: Profile) -> Result<Self, RootsError> {
        if roots.len() > MAX_ROOTS_BYTES {
            return Err(RootsError::TooLarge);
        }
        let mut certificates = Vec::new();
        for (at, (label, der)) in pem::blocks(roots).enumerate() {
            match label {
                "CERTIFICATE" if at >= MAX_ROOTS => return Err(RootsError::TooMany),
                "CERTIFICATE" => {}
                label if label.ends_with("PRIVATE KEY") => return Err(RootsError::Private),
                label => return Err(RootsError::OtherPem(shown(label))),
            }
            let read =
                der.ok_or_else(|| "it is not well-formed PEM".into()).and_then(|der| Certificate::from_der(&der));
            certificates.push(read.map_err(|problem| RootsError::Malformed { at: at + 1, problem })?);
        }
        if certificates.is_empty() {
            return Err(RootsError::NotPem);
        }
        let no_issuer = certificates.iter().find(|certificate| !strict::may_issue(certificate));
        match (profile, no_issuer) {
            (Profile::Strict, Some(other)) => return Err(RootsError::NotAnIssuer { subject: shown(&other.subject()) }),
            (Profile::Reference, _) if !certificates.iter().any(reference::is_anchor) => {
                return Err(RootsError::NoAnchor);
            }
            (Profile::Strict | Profile::Reference, _) => {}
        }
        Ok(CertificateTrust { profile, digest: digest(&certificates), certificates })
    }

    /// The profile by which chains are checked.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// SHA-256 over the SHA-256 of each certificate's DER, sorted, each once: names this set of roots, whatever profile
    /// goes with it.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

fn digest(certificates: &[Certificate]) -> Digest {
    let mut digests: Vec<Digest> = certificates.iter().map(|it| Hasher::sha256(it.der())).collect();
    digests.sort();
    digests.dedup();
    let raw: Vec<u8> = digests.iter().flat_map(|digest| digest.as_bytes().to_vec()).collect();
    Hasher::sha256(&raw)
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
    /// When the first certificate of the chain ends: the leaf, or one above it.
    pub not_after: Timestamp,
    /// SHA-256 of the `SubjectPublicKeyInfo` of each certificate between the leaf and the root, from the leaf on.
    pub chain: Vec<Digest>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the root that the chain ends in.
    pub root: Digest,
    /// The digest of the set of roots ([`CertificateTrust::digest`]).
    pub trust: Digest,
    /// The profile by which the chain was checked.
    pub profile: Profile,
}

/// What a certificate says of its holder; nothing if it cannot be read. Nobody checked it.
pub(super) fn claimed(der: &[u8]) -> Option<ClaimedCertificate> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(ClaimedCertificate {
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        names: certificate.extensions.names.iter().map(ToString::to_string).collect(),
        oidc_issuer: parse_certificate_info(&DerCertificate::new(der.to_vec())).ok().and_then(|info| info.issuer),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    })
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

/// Why a bundle that is signed with a certificate is not verified. All text in it is fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A chain of nothing.
    #[error("the bundle's certificate chain is empty")]
    NoChain,
    /// What should be a certificate is none.
    #[error("certificate {at} of the bundle's chain is malformed: {problem}")]
    Malformed {
        /// Which one, counted from 1.
        at: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// No trusted root vouches for the leaf.
    #[error("{}", untrusted(.subject, .issuer, .roots))]
    UntrustedRoot {
        /// The leaf's subject.
        subject: String,
        /// The leaf's issuer.
        issuer: String,
        /// The subjects of the trusted roots.
        roots: Names,
    },
    /// A trusted root is claimed, and a certificate on the way to it was not signed by its issuer.
    #[error(
        "the certificate of `{subject}` claims the trusted root `{root}`, and its chain was altered or forged: a \
             signature on it does not hold; sign the model again with a chain that does"
    )]
    ForgedChain {
        /// The leaf's subject.
        subject: String,
        /// The root's subject.
        root: String,
    },
    /// So many certificates of the same name that not each way can be tried.
    #[error("the bundle's certificates can be put together in too many ways; sign with the chain alone")]
    TooManyWays,
    /// The chain ends in a trusted root and breaks a rule of the profile.
    #[error("the certificate of `{subject}` {problem}")]
    Unfit {
        /// Whose certificate it is.
        subject: String,
        /// Which rule.
        problem: Unfit,
    },
    /// The chain ends in a trusted root and a certificate on it had ended, or not begun, when it counts.
    #[error(
        "the certificate of `{subject}` is valid from {not_before} to {not_after}, which does not include {at}; sign the \
             model again with one that is valid"
    )]
    NotValid {
        /// Whose certificate it is.
        subject: String,
        /// Its beginning.
        not_before: Timestamp,
        /// Its end.
        not_after: Timestamp,
        /// When it counts.
        at: Timestamp,
    },
    /// The leaf's key is none that models are signed with.
    #[error("the certificate of `{subject}` cannot sign models: {problem}")]
    Key {
        /// The leaf's subject.
        subject: String,
        /// What is wrong with its key.
        problem: KeyError,
    },
    /// The leaf is trusted, and its key did not make this signature.
    #[error(
        "the bundle carries the certificate of `{subject}`, whose signature it does not carry: it was altered; sign the \
             model again"
    )]
    SignatureInvalid {
        /// The leaf's subject.
        subject: String,
    },
}

/// The rule of a profile that a certificate breaks. Reads as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The leaf is a CA.
    #[error("is one of a CA, and may not sign models; sign with a leaf, or trust it by the profile Reference")]
    CaLeaf,
    /// The leaf, or an issuer that limits what it issues for, is not for signing code (RFC 5280, 4.2.1.12).
    #[error("is not made for signing code (extended key usage codeSigning); sign with one that is")]
    NotForCodeSigning,
    /// The leaf's key is not for signatures (RFC 5280, 4.2.1.3).
    #[error("is not made for signatures (key usage digitalSignature); sign with one that is")]
    NotForSigning,
    /// An issuer is no CA, or its key is not for certificates (RFC 5280, 4.2.1.9 and 4.2.1.3).
    #[error("issued another and is not one of a CA (basic constraints, key usage keyCertSign)")]
    NotAnIssuer,
    /// More certificates below an issuer than it allows (RFC 5280, 4.2.1.9).
    #[error("breaks a path length constraint of its chain")]
    PathTooLong,
    /// A name that an issuer may not vouch for, or a constraint on a kind of name that nothing here compares
    /// (RFC 5280, 4.2.1.10).
    #[error("breaks a name constraint of its chain, or one of a kind that is not supported")]
    NameConstraints,
    /// A critical extension that nothing here understands (RFC 5280, 4.2).
    #[error("or one of its chain has a critical extension that is not known here")]
    CriticalExtension,
    /// Anything else that rustls-webpki finds.
    #[error("breaks a rule of RFC 5280: {0}")]
    Other(String),
}

impl CertificateError {
    /// What kind of rejection it leads to.
    pub fn code(&self) -> RejectionCode {
        match self {
            CertificateError::NoChain | CertificateError::Malformed { .. } | CertificateError::TooManyWays => {
                RejectionCode::MalformedBundle
            }
            CertificateError::UntrustedRoot { .. } | CertificateError::Unfit { .. } => RejectionCode::UntrustedSigner,
            CertificateError::NotValid { .. } => RejectionCode::SignerExpired,
            CertificateError::Key { .. } => RejectionCode::UnsupportedBundle,
            CertificateError::ForgedChain { .. } | CertificateError::SignatureInvalid { .. } => {
                RejectionCode::SignatureInvalid
            }
        }
    }

    /// When it will no longer be one, if all that is wrong is that this time has not come. The profile Reference asks
    /// whether certificates were valid together, at another time than now.
    pub(super) fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            CertificateError::NotValid { not_before, at, .. } if at < not_before && *at == now => Some(*not_before),
            _ => None,
        }
    }

    /// How far a chain came before it failed so. What is told is what came closest.
    fn closeness(&self) -> u8 {
        match self {
            CertificateError::NoChain | CertificateError::Malformed { .. } => 0,
            CertificateError::UntrustedRoot { .. } => 1,
            CertificateError::ForgedChain { .. } => 2,
            CertificateError::TooManyWays => 3,
            CertificateError::Unfit { .. } => 4,
            CertificateError::NotValid { .. } => 5,
            CertificateError::Key { .. } | CertificateError::SignatureInvalid { .. } => 6,
        }
    }
}

fn untrusted(subject: &str, issuer: &str, roots: &Names) -> String {
    let trusted = if roots.is_empty() { "no root is trusted".into() } else { format!("trusted are the roots {roots}") };
    format!(
        "signed with the certificate of `{subject}`, issued by `{issuer}`, which leads to no trusted root; {trusted}; sign \
         with a certificate of one of them, or trust its root"
    )
}

/// The facts of a bundle signed with a certificate, once for each set of roots under which it holds; at least one.
pub(super) fn verify(
    bundle: &Bundle,
    chain: &[Vec<u8>],
    trust: &[CertificateTrust],
    now: Timestamp,
) -> Result<Proved<CertificateFacts>, CertificateError> {
    let chain = read(chain)?;
    let (leaf, others) = chain.split_first().ok_or(CertificateError::NoChain)?;
    let facts = vouched_for(leaf, others, trust, now)?;
    let subject = || shown(&leaf.subject());
    let key = PublicKey::from_spki_der(&leaf.public_key())
        .map_err(|problem| CertificateError::Key { subject: subject(), problem })?;
    if bundle.is_signed_by(&key) { Ok(facts) } else { Err(CertificateError::SignatureInvalid { subject: subject() }) }
}

fn read(chain: &[Vec<u8>]) -> Result<Vec<Certificate>, CertificateError> {
    let read = |(at, der): (usize, &Vec<u8>)| {
        Certificate::from_der(der).map_err(|problem| CertificateError::Malformed { at: at + 1, problem })
    };
    chain.iter().enumerate().map(read).collect()
}

/// What each set of roots that vouches for the leaf says of it; at least one.
fn vouched_for(
    leaf: &Certificate,
    others: &[Certificate],
    trust: &[CertificateTrust],
    now: Timestamp,
) -> Result<Proved<CertificateFacts>, CertificateError> {
    let (mut facts, mut not_before) = (Vec::new(), None);
    let listed: Vec<&Certificate> = trust.iter().flat_map(|trust| &trust.certificates).collect();
    let mut closest = path::untrusted(leaf, &listed);
    for trust in trust {
        let (anchors, links): (Vec<&Certificate>, Vec<&Certificate>) =
            trust.certificates.iter().partition(|it| trust.profile == Profile::Strict || reference::is_anchor(it));
        let others: Vec<&Certificate> = others.iter().chain(links).collect();
        let check = |path: &path::Path<'_>| match trust.profile {
            Profile::Strict => strict::check(path, now),
            Profile::Reference => reference::check(path),
        };
        match path::find(leaf, &others, &anchors, &check) {
            Ok(path) => facts.push(facts_of(&path, trust)),
            Err(error) => {
                not_before = not_before.into_iter().chain(error.not_before(now)).min();
                if error.closeness() > closest.closeness() {
                    closest = error;
                }
            }
        }
    }
    if facts.is_empty() { Err(closest) } else { Ok(Proved { facts, not_before }) }
}

fn facts_of(path: &[&Certificate], trust: &CertificateTrust) -> CertificateFacts {
    let (leaf, root) = (path[0], path[path.len() - 1]);
    let ends = path.iter().map(|certificate| certificate.not_after()).min();
    let between = path.iter().skip(1).take(path.len().saturating_sub(2));
    CertificateFacts {
        fingerprint: leaf.fingerprint(),
        subject: leaf.subject(),
        issuer: leaf.issuer(),
        names: leaf.extensions.names.clone(),
        not_after: ends.unwrap_or_else(|| leaf.not_after()),
        chain: between.map(|certificate| certificate.fingerprint()).collect(),
        root: root.fingerprint(),
        trust: trust.digest,
        profile: trust.profile,
    }
}

/// Whether every certificate of a path is valid at that time (RFC 5280, 4.1.2.5: both ends count), the root too.
fn check_validity(path: &path::Path<'_>, at: Timestamp) -> Result<(), CertificateError> {
    match path.iter().find(|it| at < it.not_before() || it.not_after() < at) {
        Some(certificate) => Err(CertificateError::NotValid {
            subject: shown(&certificate.subject()),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            at,
        }),
        None => Ok(()),
    }
}
