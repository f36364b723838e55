//! Signing: a manifest becomes a bundle, in the format that the current release of the reference writes.
//!
//! Receives a manifest, how it was made and a key; gives the bytes of a bundle. The same input gives the same bytes, but
//! for the signature, whose nonce is random (ECDSA). What [`super::verify()`] would refuse is not signed: the statement
//! is read back by the same code before it is signed. It writes no file and asks no clock.
//!
//! ```text
//!   Manifest, Serialization ──► statement (in-toto) ──► envelope (DSSE) ──► bundle (Sigstore, v0.3)
//!                                                          ▲ signature        ▲ hint of the key, or its certificates
//! ```

use std::num::NonZeroU64;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::bundle::{BundleError, MAX_BUNDLE_BYTES, MAX_CERTIFICATES, MEDIA_TYPE};
use super::dsse::PAYLOAD_TYPE;
use super::key::PublicKey;
use super::pem;
use super::signing_key::SigningKey;
use super::statement::{PREDICATE_TYPE, STATEMENT_TYPE, Serialization, Statement, StatementError};
use crate::model::{Digest, Manifest, Method};

/// What signs a model, and how a verifier is told whose it is.
#[derive(Debug)]
pub struct Credential {
    key: SigningKey,
    /// Empty if a verifier has to know the key itself; else the leaf, then what leads to a root, in DER.
    chain: Vec<Vec<u8>>,
}

/// Why certificates do not go with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No certificate in the text that should hold the signer's.
    #[error("no `-----BEGIN CERTIFICATE-----` block in it; give the certificate in PEM")]
    NotPem,
    /// A block that holds no certificate.
    #[error("certificate {0} in it is not well-formed")]
    Malformed(usize),
    /// More than a chain can have.
    #[error("more than {MAX_CERTIFICATES} certificates; give the signer's and those between it and the root")]
    TooMany,
    /// The key belongs to another certificate.
    #[error(
        "the certificate is over the key {certificate}, and the private key is {key}; give the key that belongs to the certificate"
    )]
    OtherKey {
        /// Fingerprint of the certificate's key.
        certificate: Box<Digest>,
        /// Fingerprint of the private key's public half.
        key: Box<Digest>,
    },
    /// The certificate is over a key that models are not signed with.
    #[error("the certificate: {0}")]
    Key(#[from] super::KeyError),
}

impl Credential {
    /// A key that verifiers know.
    pub fn key(key: SigningKey) -> Self {
        Credential { key, chain: Vec::new() }
    }

    /// A key with the certificate over it. `certificates` is PEM: the signer's first, then those between it and the root,
    /// each issued by the next. Nothing but the key is compared: whether a verifier trusts the chain is for verifiers to
    /// say.
    pub fn certificate(key: SigningKey, certificates: &str) -> Result<Self, CredentialError> {
        let chain = certificates_of(certificates)?;
        let leaf = Certificate::from_der(&chain[0]).map_err(|_| CredentialError::Malformed(0))?;
        let spki = leaf.tbs_certificate.subject_public_key_info.to_der().map_err(|_| CredentialError::Malformed(0))?;
        let certified = PublicKey::from_spki_der(&spki)?.fingerprint();
        let own = key.public().fingerprint();
        if certified != own {
            return Err(CredentialError::OtherKey { certificate: Box::new(certified), key: Box::new(own) });
        }
        Ok(Credential { key, chain })
    }

    /// The key that signs.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Whether a verifier goes by the certificate, not by the key.
    pub fn is_certificate(&self) -> bool {
        !self.chain.is_empty()
    }
}

/// Why a manifest was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Verifiers would refuse what it says.
    #[error("verifiers would refuse the signature: {0}")]
    Statement(#[from] StatementError),
    /// Verifiers would not read a bundle of that length.
    #[error("verifiers would not read the signature: {0}; sign the model in parts, or in larger shards")]
    Bundle(#[from] BundleError),
    /// The library failed inside.
    #[error("the key did not sign; try again")]
    Failed,
}

/// Signs a manifest: the bytes of the bundle, which is JSON in one line. `subject` is what the statement calls the model;
/// it is informative, and by custom the name of its folder or file.
pub fn sign(
    manifest: &Manifest,
    serialization: &Serialization,
    subject: &str,
    credential: &Credential,
) -> Result<Vec<u8>, SignError> {
    let payload = statement(manifest, serialization, subject)?;
    Statement::parse(&payload)?;
    let signature = credential.key.sign(PAYLOAD_TYPE, &payload).ok_or(SignError::Failed)?;
    let bundle = RawBundle {
        media_type: MEDIA_TYPE,
        verification_material: material(credential),
        dsse_envelope: RawEnvelope {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE,
            signatures: [RawSignature { sig: STANDARD.encode(signature), keyid: "" }],
        },
    };
    drop(payload);
    let bytes = serde_json::to_vec(&bundle).map_err(|_| SignError::Failed)?;
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge.into());
    }
    Ok(bytes)
}

/// The statement as JSON, with the reference's fields in the reference's order and without its line breaks, which would
/// take a third of a large bundle. `shard_size` is a whole number: the reference writes `1000000.0` (a protobuf number
/// has no other form) and then cannot read it as a size itself.
fn statement(manifest: &Manifest, serialization: &Serialization, subject: &str) -> Result<Vec<u8>, SignError> {
    let Serialization { allow_symlinks, ignore_paths } = serialization;
    let statement = RawStatement {
        statement_type: STATEMENT_TYPE,
        subject: [RawSubject { name: subject, digest: RawDigest { sha256: manifest.root_digest().to_hex() } }],
        predicate_type: PREDICATE_TYPE,
        predicate: RawPredicate {
            serialization: RawSerialization {
                method: manifest.method().as_str(),
                allow_symlinks: *allow_symlinks,
                hash_type: manifest.algorithm().as_str(),
                shard_size: match manifest.method() {
                    Method::Files => None,
                    Method::Shards { bytes } => Some(bytes),
                },
                ignore_paths: ignore_paths.iter().map(|path| path.as_str()).collect(),
            },
            resources: Resources(manifest),
        },
    };
    serde_json::to_vec(&statement).map_err(|_| SignError::Failed)
}

fn material(credential: &Credential) -> RawMaterial<'_> {
    if credential.is_certificate() {
        let raw = |der: &Vec<u8>| RawCertificate { raw_bytes: STANDARD.encode(der) };
        let chain = RawChain { certificates: credential.chain.iter().map(raw).collect() };
        return RawMaterial { public_key: None, x509_certificate_chain: Some(chain), tlog_entries: [] };
    }
    let key = RawPublicKey { hint: credential.key.public().oms_hint() };
    RawMaterial { public_key: Some(key), x509_certificate_chain: None, tlog_entries: [] }
}

/// The certificates of a PEM text in DER; at least one.
fn certificates_of(text: &str) -> Result<Vec<Vec<u8>>, CredentialError> {
    let mut certificates = Vec::new();
    for (_, der) in pem::blocks(text).filter(|(label, _)| *label == "CERTIFICATE") {
        let der = der.filter(|der| Certificate::from_der(der).is_ok());
        certificates.push(der.ok_or(CredentialError::Malformed(certificates.len()))?);
        if certificates.len() > MAX_CERTIFICATES {
            return Err(CredentialError::TooMany);
        }
    }
    if certificates.is_empty() { Err(CredentialError::NotPem) } else { Ok(certificates) }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawBundle<'a> {
    media_type: &'a str,
    verification_material: RawMaterial<'a>,
    dsse_envelope: RawEnvelope<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawMaterial<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<RawPublicKey<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<RawChain>,
    /// None, written out: the reference's own reader wants the field.
    tlog_entries: [(); 0],
}

#[derive(Serialize)]
struct RawPublicKey<'a> {
    hint: &'a str,
}

#[derive(Serialize)]
struct RawChain {
    certificates: Vec<RawCertificate>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawEnvelope<'a> {
    payload: String,
    payload_type: &'a str,
    signatures: [RawSignature<'a>; 1],
}

#[derive(Serialize)]
struct RawSignature<'a> {
    sig: String,
    keyid: &'a str,
}

#[derive(Serialize)]
struct RawStatement<'a> {
    #[serde(rename = "_type")]
    statement_type: &'a str,
    subject: [RawSubject<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: RawPredicate<'a>,
}

#[derive(Serialize)]
struct RawSubject<'a> {
    name: &'a str,
    digest: RawDigest,
}

#[derive(Serialize)]
struct RawDigest {
    sha256: String,
}

#[derive(Serialize)]
struct RawPredicate<'a> {
    serialization: RawSerialization<'a>,
    resources: Resources<'a>,
}

#[derive(Serialize)]
struct RawSerialization<'a> {
    method: &'a str,
    allow_symlinks: bool,
    hash_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_size: Option<NonZeroU64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore_paths: Vec<&'a str>,
}

/// Written one by one, so that a million of them are not held as text as well.
struct Resources<'a>(&'a Manifest);

impl Serialize for Resources<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let algorithm = self.0.method().algorithm_name(self.0.algorithm());
        serializer.collect_seq(self.0.entries().map(|entry| RawResource {
            algorithm: &algorithm,
            name: entry.to_string(),
            digest: entry.digest.to_hex(),
        }))
    }
}

#[derive(Serialize)]
struct RawResource<'a> {
    algorithm: &'a str,
    name: String,
    digest: String,
}
