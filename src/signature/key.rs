//! Public keys that models are signed with: ECDSA on the curves P-256, P-384 and P-521.
//!
//! Receives PEM text, gives a key that can check a signature. Everything else that PEM can hold is refused by name.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, EcdsaVerificationAlgorithm, ParsedPublicKey, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem_rfc7468::LineEnding;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{dsse, pem};
use crate::model::{Digest, Hasher, shown};

/// The largest PEM text that is looked at, in bytes. A P-521 key takes 270; people put comments before it.
const MAX_PEM_BYTES: usize = 64 << 10;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Other kinds of keys, so that an error can name them.
const OTHER_KINDS: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
];

/// The curves that OMS signs with, each with the hash that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256 with SHA-256.
    P256,
    /// NIST P-384 with SHA-384.
    P384,
    /// NIST P-521 with SHA-512.
    P521,
}

impl Curve {
    /// The curve's usual name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        match oid.to_string().as_str() {
            "1.2.840.10045.3.1.7" => Some(Curve::P256),
            "1.3.132.0.34" => Some(Curve::P384),
            "1.3.132.0.35" => Some(Curve::P521),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1,
            Curve::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }

    /// How release 0.2 signed with a key on this curve.
    fn algorithm_of_release_02(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA256_ASN1,
            Curve::P521 => &ECDSA_P521_SHA256_ASN1,
        }
    }

    /// The hash that goes with the curve.
    pub(super) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Curve::P256 => &digest::SHA256,
            Curve::P384 => &digest::SHA384,
            Curve::P521 => &digest::SHA512,
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    curve: Curve,
    fingerprint: Digest,
    oms_hint: String,
    pem: String,
    spki_der: Vec<u8>,
    parsed: ParsedPublicKey,
}

/// Why text is not a public key that models can be signed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No block of PEM in it.
    #[error("no `-----BEGIN PUBLIC KEY-----` block in it; give the public key in PEM")]
    NotPem,
    /// PEM of something else, whose label it names.
    #[error("it is PEM of a `{0}`; give the `PUBLIC KEY` that belongs to it")]
    OtherPem(String),
    /// More than one block.
    #[error("more than one public key in it; give each key for itself")]
    Several,
    /// A private key, which nobody should hand to a verifier.
    #[error("it is a private key; give the public key, and keep the private one where only the signer reads it")]
    Private,
    /// The block does not hold a key.
    #[error("the PEM block does not hold a well-formed public key")]
    Malformed,
    /// A key of a kind that OMS does not sign with.
    #[error("it is a key of kind {0}; models are signed with ECDSA keys on P-256, P-384 or P-521")]
    UnsupportedKind(String),
    /// Larger than any key.
    #[error("it is larger than {MAX_PEM_BYTES} bytes, which no public key is")]
    TooLarge,
}

impl PublicKey {
    /// Reads a key from PEM (`-----BEGIN PUBLIC KEY-----`). Text before and after the block is skipped.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        PublicKey::from_spki_der(&der_of_pem(text)?)
    }

    /// Reads a key from its `SubjectPublicKeyInfo` in DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed)?;
        let oid = spki.algorithm.parameters_oid().ok();
        if let Some(kind) = unsupported_kind(&spki.algorithm.oid, oid.as_ref()) {
            return Err(KeyError::UnsupportedKind(kind));
        }
        let curve = oid.and_then(|oid| Curve::from_oid(&oid)).ok_or(KeyError::Malformed)?;
        let point = spki.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
        // 4 = uncompressed, what every tool writes. One encoding for each key: one fingerprint, one hint.
        if point.first() != Some(&4) {
            return Err(KeyError::UnsupportedKind("EC with a compressed point".into()));
        }
        let parsed = ParsedPublicKey::new(curve.algorithm(), point).map_err(|_| KeyError::Malformed)?;
        let pem = pem_rfc7468::encode_string("PUBLIC KEY", LineEnding::LF, der).map_err(|_| KeyError::Malformed)?;
        let oms_hint = Hasher::sha256(pem.as_bytes()).to_hex();
        Ok(PublicKey { curve, fingerprint: Hasher::sha256(der), oms_hint, pem, spki_der: der.to_vec(), parsed })
    }

    /// The curve that it is on.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// SHA-256 of the key's `SubjectPublicKeyInfo` in DER: the key's name everywhere here.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The name that OMS bundles know the key by: SHA-256 of its PEM text (64 columns, LF, final newline), in
    /// hexadecimal digits. Not the fingerprint.
    pub fn oms_hint(&self) -> &str {
        &self.oms_hint
    }

    /// The key in PEM, as OpenSSL writes it: 64 columns, LF, a final newline. One text for each key.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether a bundle with this hint says that it is signed with this key: by the OMS hint, or by the fingerprint in
    /// base64, which is how cosign hints at it.
    pub(super) fn is_meant_by(&self, hint: &str) -> bool {
        hint == self.oms_hint || hint == STANDARD.encode(self.fingerprint.as_bytes())
    }

    /// The key's `SubjectPublicKeyInfo` in DER.
    pub(super) fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Whether `signature` (ASN.1) is this key's over some bytes.
    pub(super) fn verifies_content(&self, content: &[u8], signature: &[u8]) -> bool {
        let digest = digest::digest(self.curve.digest(), content);
        self.parsed.verify_digest_sig(&digest, signature).is_ok()
    }

    /// Whether `signature` (ASN.1) is this key's over what has that SHA-256. Nothing, if it signs another hash.
    pub(super) fn verifies_sha256(&self, sha256: &[u8], signature: &[u8]) -> Option<bool> {
        let digest = digest::Digest::import_less_safe(sha256, self.curve.digest()).ok()?;
        Some(self.parsed.verify_digest_sig(&digest, signature).is_ok())
    }

    /// Whether `signature` (ASN.1) is this key's over an envelope with that payload.
    pub(super) fn verifies(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> bool {
        let digest = dsse::signed_digest(self.curve.digest(), payload_type, payload);
        self.parsed.verify_digest_sig(&digest, signature).is_ok()
    }

    /// Whether `signature` (ASN.1) is this key's over an envelope with that payload, as release 0.2 of the reference
    /// made it: with SHA-256 whatever the curve, over an encoding of its own.
    pub(super) fn verifies_as_release_02(&self, payload: &[u8], signature: &[u8]) -> bool {
        let digest = dsse::signed_digest_of_release_02(payload);
        let key = UnparsedPublicKey::new(self.curve.algorithm_of_release_02(), &self.parsed);
        key.verify_digest(&digest, signature).is_ok()
    }
}

fn der_of_pem(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(KeyError::TooLarge);
    }
    let mut blocks = pem::blocks(text);
    let (label, der) = blocks.next().ok_or(KeyError::NotPem)?;
    match label {
        "PUBLIC KEY" if blocks.next().is_some() => Err(KeyError::Several),
        "PUBLIC KEY" => der.ok_or(KeyError::Malformed),
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        label => Err(KeyError::OtherPem(shown(label))),
    }
}

/// What a key of that algorithm and curve is called, if models are not signed with it.
pub(super) fn unsupported_kind(algorithm: &ObjectIdentifier, curve: Option<&ObjectIdentifier>) -> Option<String> {
    if *algorithm == EC_PUBLIC_KEY {
        return curve.filter(|oid| Curve::from_oid(oid).is_none()).map(|oid| format!("EC on curve {oid}"));
    }
    let oid = algorithm.to_string();
    Some(OTHER_KINDS.iter().find(|(other, _)| *other == oid).map_or(oid, |(_, name)| (*name).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str = include_str!("../../tests/vectors/oms/keys/signing-key-pub.pem");
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn fingerprint_and_hint_are_two_things() {
        let key = PublicKey::from_pem(VECTOR).unwrap();
        assert_eq!(key.curve(), Curve::P384);
        // Public Key PIN, as the text before the key in the file gives it.
        assert_eq!(key.fingerprint().to_hex(), "c1e49d63327f85c7e2971aefd30b5a0d1c6b9b5e1a892e7f5fba995adace816d");
        let block = &VECTOR[VECTOR.find("-----BEGIN").unwrap()..];
        assert_eq!(key.oms_hint(), Hasher::sha256(block.as_bytes()).to_hex());
    }

    #[test]
    fn line_breaks_do_not_change_a_key() {
        let key = PublicKey::from_pem(VECTOR).unwrap();
        let block = &VECTOR[VECTOR.find("-----BEGIN").unwrap()..];
        let (head, body, tail) =
            ("-----BEGIN PUBLIC KEY-----", &block[26..block.find("-----END").unwrap()], "-----END PUBLIC KEY-----");
        for text in [block.replace('\n', "\r\n"), format!("{head}{}{tail}", body.replace('\n', ""))] {
            let other = PublicKey::from_pem(&text).unwrap();
            assert_eq!((other.fingerprint(), other.oms_hint()), (key.fingerprint(), key.oms_hint()));
        }
    }

    #[test]
    fn what_is_no_usable_key_is_named() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let private = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for (text, error) in [
            ("", KeyError::NotPem),
            ("ssh-rsa AAAA", KeyError::NotPem),
            (certificate, KeyError::OtherPem("CERTIFICATE".into())),
            (private, KeyError::Private),
            (ED25519, KeyError::UnsupportedKind("Ed25519".into())),
            (&ED25519.replace("MCow", "MCox"), KeyError::Malformed),
            (&VECTOR.repeat(2), KeyError::Several),
            (&VECTOR.replace("MHYw", "MHYx"), KeyError::Malformed),
            (&VECTOR.replace("AEsu6r", "AEsu6s"), KeyError::Malformed),
            (&"x".repeat(MAX_PEM_BYTES + 1), KeyError::TooLarge),
        ] {
            assert_eq!(PublicKey::from_pem(text).unwrap_err(), error, "{text}");
        }
    }
}
