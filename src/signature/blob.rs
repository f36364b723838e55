//! Sigstore bundles over anything: a blob, or an in-toto statement about one. No model needs it; it is how this engine
//! takes part in the conformance suite of Sigstore clients, through the functions that verify models.
//!
//! Receives a bundle and an artifact, which is given or known by its digest; gives who signed it, or says why nobody
//! did.

use jiff::Timestamp;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{self, DerPublicKey, Sha256Hash, SignatureContent, Statement};

use super::bundle::{BundleError, json_error};
use super::key::PublicKey;
use super::keyless::{self, KeylessError, KeylessFacts, KeylessTrust};
use crate::model::{Digest, Hasher};

/// The largest bundle that is read here, in bytes. Statements about blobs are small: those with the longest, lists of
/// what software is made of, take some megabytes.
const MAX_BLOB_BUNDLE_BYTES: usize = 16 << 20;

/// The kinds of statement that say what they are about in the same way.
const STATEMENT_TYPES: &[&str] = &["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// A bundle of any version. Anybody may have written it.
#[derive(Clone, Debug)]
pub struct BlobBundle(types::Bundle);

/// What is said to be signed.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// The thing itself.
    Content(&'a [u8]),
    /// Its SHA-256.
    Sha256(Digest),
}

impl Artifact<'_> {
    fn sha256(&self) -> Digest {
        match self {
            Artifact::Content(content) => Hasher::sha256(content),
            Artifact::Sha256(digest) => *digest,
        }
    }

    fn for_verifier(&self) -> Result<types::Artifact<'_>, KeylessError> {
        match self {
            Artifact::Content(content) => Ok(types::Artifact::from(*content)),
            Artifact::Sha256(digest) => match Sha256Hash::try_from(digest.as_bytes()) {
                Ok(hash) => Ok(types::Artifact::from(hash)),
                Err(_) => Err(KeylessError::Unsupported(format!("an artifact known by its {}", digest.algorithm()))),
            },
        }
    }
}

impl BlobBundle {
    /// Reads a bundle.
    pub fn parse(text: &[u8]) -> Result<BlobBundle, BundleError> {
        if text.len() > MAX_BLOB_BUNDLE_BYTES {
            return Err(BundleError::TooLarge);
        }
        let bundle: types::Bundle =
            serde_json::from_slice(text).map_err(|error| BundleError::Json(json_error(&error)))?;
        keyless::check_counts(&bundle.verification_material)?;
        Ok(BlobBundle(bundle))
    }

    /// Verifies what an identity signed, under one trust root. Whether that identity may sign is for
    /// [`super::Authority`] to say.
    pub fn verify_keyless(
        &self,
        artifact: &Artifact<'_>,
        trust: &KeylessTrust,
        now: Timestamp,
    ) -> Result<KeylessFacts, KeylessError> {
        self.check_statement(artifact)?;
        keyless::prove(&self.0, artifact.for_verifier()?, trust, now)
    }

    /// Verifies what the holder of a key signed. Log entries and timestamps, where the bundle has any, must hold under
    /// the trust root; `cosign sign-blob --key` can leave them out. The bundle's hint at the key is not looked at.
    pub fn verify_with_key(
        &self,
        artifact: &Artifact<'_>,
        key: &PublicKey,
        trust: &KeylessTrust,
    ) -> Result<(), KeylessError> {
        let material = &self.0.verification_material;
        if !matches!(material.content, VerificationMaterialContent::PublicKey(_)) {
            return Err(KeylessError::Unsupported("a certificate, where a key is expected".to_owned()));
        }
        self.check_statement(artifact)?;
        if !self.is_signed_by(artifact, key)? {
            return Err(KeylessError::Signature);
        }
        let stamps = &material.timestamp_verification_data.rfc3161_timestamps;
        if material.tlog_entries.is_empty() && stamps.is_empty() {
            return Ok(());
        }
        let der = DerPublicKey::new(key.spki_der().to_vec());
        keyless::prove_with_key(&self.0, artifact.for_verifier()?, der, trust)
    }

    /// Whether the key made the signature, over this artifact or over the envelope.
    fn is_signed_by(&self, artifact: &Artifact<'_>, key: &PublicKey) -> Result<bool, KeylessError> {
        match &self.0.content {
            SignatureContent::DsseEnvelope(envelope) => {
                let signature = envelope.signature.sig.as_bytes();
                Ok(key.verifies(&envelope.payload_type, envelope.payload.as_bytes(), signature))
            }
            SignatureContent::MessageSignature(message) => {
                let signature = message.signature.as_bytes();
                let verified = match artifact {
                    Artifact::Content(content) => Some(key.verifies_content(content, signature)),
                    Artifact::Sha256(digest) => key.verifies_sha256(digest.as_bytes(), signature),
                };
                verified.ok_or_else(|| KeylessError::Unsupported(format!("a SHA-256 for a {} key", key.curve())))
            }
            _ => Err(KeylessError::Unsupported("neither a message nor an envelope is signed".to_owned())),
        }
    }

    /// Where a statement is signed: that it is one, and is about the artifact. The verifier does not look at its type.
    fn check_statement(&self, artifact: &Artifact<'_>) -> Result<(), KeylessError> {
        let SignatureContent::DsseEnvelope(envelope) = &self.0.content else {
            return Ok(());
        };
        let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
            .map_err(|error| KeylessError::Malformed(json_error(&error)))?;
        if !STATEMENT_TYPES.contains(&statement.type_.as_str()) {
            return Err(KeylessError::Malformed("the payload is no in-toto statement".to_owned()));
        }
        let about =
            |digest: &Digest| Sha256Hash::try_from(digest.as_bytes()).is_ok_and(|it| statement.matches_sha256(&it));
        if about(&artifact.sha256()) { Ok(()) } else { Err(KeylessError::Artifact) }
    }
}
