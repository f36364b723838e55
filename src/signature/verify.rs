//! The one way to a [`Verified`].
//!
//! In this order: the signature is checked against the trust material, then the statement against the rules of the
//! format, its root digest included. What comes out binds a manifest to a signer; whether that signer is allowed for
//! a certain model, and whether files match the manifest, is for others to say.

use jiff::Timestamp;

use super::bundle::{Bundle, BundleError, Material};
use super::certificate::{self, CertificateError, CertificateFacts, CertificateTrust};
use super::dsse::PAYLOAD_TYPE;
use super::key::PublicKey;
use super::keyless::{self, KeylessError, KeylessFacts, KeylessTrust};
use super::statement::{self, Serialization, Statement, StatementError};
use crate::model::{Digest, Manifest, Names, shown};

/// What signatures are checked against. Nothing in it means that nothing verifies.
#[derive(Clone, Debug, Default)]
pub struct TrustMaterial {
    /// Public keys, each of which is enough.
    pub keys: Vec<PublicKey>,
    /// Roots of certificate chains, each with its profile.
    pub certificates: Vec<CertificateTrust>,
    /// Sigstore instances.
    pub keyless: Vec<KeylessTrust>,
}

/// Who signed, by what was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The holder of a key.
    Key {
        /// SHA-256 of the key's `SubjectPublicKeyInfo`.
        fingerprint: Digest,
    },
    /// The holder of a certificate.
    Certificate(CertificateFacts),
    /// An identity that Sigstore vouched for.
    Keyless(KeylessFacts),
}

/// A bundle whose signature and statement hold. Made by [`verify`] alone.
#[derive(Clone, Debug)]
pub struct Verified {
    statement: Statement,
    signers: Vec<Signer>,
    not_before: Option<Timestamp>,
}

/// What proves one bundle.
pub(super) struct Proved<T> {
    /// The signer, once for each part of the trust material that proves it; at least once.
    pub(super) facts: Vec<T>,
    /// When another part will prove it that does not yet.
    pub(super) not_before: Option<Timestamp>,
}

impl Verified {
    /// The files that were signed.
    pub fn manifest(&self) -> &Manifest {
        &self.statement.manifest
    }

    /// How they were made into a manifest.
    pub fn serialization(&self) -> &Serialization {
        &self.statement.serialization
    }

    /// Who signed them: the one signer of the bundle, once for each part of the trust material that proves it. Never
    /// empty.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// When a part of the trust material will prove the signer that does not prove it yet: a certificate is not valid, or
    /// the time of signing has not come by this machine's clock.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// Signers and statement, taken apart.
    pub fn into_parts(self) -> (Vec<Signer>, Statement) {
        (self.signers, self.statement)
    }
}

/// Why a bundle is not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is not a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The statement breaks a rule of the format.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is signed with a certificate, and that proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A listed key is claimed, and it did not make this signature.
    #[error(
        "the bundle claims the key {fingerprint}, whose signature it does not carry: it was altered; sign the model again"
    )]
    SignatureInvalid {
        /// The claimed key.
        fingerprint: Digest,
    },
    /// None of the listed keys made this signature.
    #[error("{}", untrusted(.claimed.as_deref(), .listed))]
    UntrustedSigner {
        /// The OMS hint that the bundle carries, fit to be shown.
        claimed: Option<String>,
        /// The fingerprints of the listed keys.
        listed: Vec<Digest>,
    },
    /// Sigstore's evidence does not prove an identity.
    #[error("the bundle is not verified: {0}")]
    Keyless(#[from] KeylessError),
}

/// What kind of rejection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionCode {
    /// Over a limit: not determined.
    TooLarge,
    /// Not well-formed.
    MalformedBundle,
    /// Well-formed, in a format that this version does not verify.
    UnsupportedBundle,
    /// A trusted signer is claimed, and the signature is not theirs.
    SignatureInvalid,
    /// Nobody who is trusted signed it.
    UntrustedSigner,
    /// The signer's certificate is not valid at the time that counts.
    SignerExpired,
}

impl Rejection {
    /// What kind of rejection it is.
    pub fn code(&self) -> RejectionCode {
        match self {
            Rejection::Bundle(error) => error.code(),
            Rejection::Statement(error) => error.code(),
            Rejection::Certificate(error) => error.code(),
            Rejection::SignatureInvalid { .. } => RejectionCode::SignatureInvalid,
            Rejection::UntrustedSigner { .. } => RejectionCode::UntrustedSigner,
            Rejection::Keyless(error) => error.code(),
        }
    }

    /// From when on it would not be rejected, if all that is wrong is that this time has not come: a certificate is not
    /// valid yet, or this machine's clock is behind.
    pub fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Rejection::Certificate(error) => error.not_before(now),
            Rejection::Keyless(error) => error.not_before(),
            Rejection::Bundle(_)
            | Rejection::Statement(_)
            | Rejection::SignatureInvalid { .. }
            | Rejection::UntrustedSigner { .. } => None,
        }
    }
}

/// Verifies a bundle at a point in time.
pub fn verify(bundle: &Bundle, trust: &TrustMaterial, now: Timestamp) -> Result<Verified, Rejection> {
    let TrustMaterial { keys, certificates, keyless } = trust;
    let (signers, not_before) = match &bundle.material {
        Material::PublicKey { hint } => (vec![verify_key(bundle, hint.as_deref(), keys)?], None),
        Material::CertificateChain(chain) => {
            let Proved { facts, not_before } = certificate::verify(bundle, chain, certificates, now)?;
            (facts.into_iter().map(Signer::Certificate).collect(), not_before)
        }
        Material::Keyless(evidence) => {
            let Proved { facts, not_before } = keyless::verify(bundle, evidence, keyless, now)?;
            (facts.into_iter().map(Signer::Keyless).collect(), not_before)
        }
    };
    let statement = Statement::parse(&bundle.payload)?;
    Ok(Verified { statement, signers, not_before })
}

/// What a bundle says, whoever wrote it: nobody's signature was checked. It serves to say what lies on a volume while
/// its signer is not (yet) known.
pub fn claimed(bundle: &Bundle) -> Result<Statement, Rejection> {
    Ok(Statement::parse(&bundle.payload)?)
}

impl Bundle {
    /// Whether this key made the signature: as DSSE says, or as release 0.2 did over statements of its own form.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(PAYLOAD_TYPE, &self.payload, &self.signature)
            || statement::is_of_release_02(&self.payload) && key.verifies_as_release_02(&self.payload, &self.signature)
    }
}

fn verify_key(bundle: &Bundle, hint: Option<&str>, keys: &[PublicKey]) -> Result<Signer, Rejection> {
    let claimed = |key: &&PublicKey| hint.is_none_or(|hint| key.is_meant_by(hint));
    if let Some(key) = keys.iter().filter(claimed).find(|key| bundle.is_signed_by(key)) {
        return Ok(Signer::Key { fingerprint: key.fingerprint() });
    }
    match keys.iter().find(claimed) {
        Some(key) if hint.is_some() => Err(Rejection::SignatureInvalid { fingerprint: key.fingerprint() }),
        _ => Err(Rejection::UntrustedSigner {
            claimed: hint.map(shown),
            listed: keys.iter().map(PublicKey::fingerprint).collect(),
        }),
    }
}

fn untrusted(claimed: Option<&str>, listed: &[Digest]) -> String {
    let mut keys = Names::default();
    listed.iter().for_each(|key| keys.add(&key.to_string()));
    if keys.is_empty() {
        let hint = claimed.map_or_else(String::new, |hint| format!(" (hint {hint})"));
        return format!(
            "signed with a key{hint}, and no key is trusted; trust that key, or have it signed by who is trusted"
        );
    }
    let trusted = format!("trusted are the keys {keys}");
    match claimed {
        Some(hint) => format!(
            "signed with a key that is not trusted (hint {hint}); {trusted}; sign with one of them, or trust that key"
        ),
        None => format!("no trusted key made this signature; {trusted}; sign with one of them, or trust the signer's"),
    }
}
