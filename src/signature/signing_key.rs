//! Private keys that models are signed with: ECDSA on the curves P-256, P-384 and P-521.
//!
//! Receives PEM text and, where the key is encrypted, its passphrase; gives a key that signs. What it decodes of it is
//! wiped from memory again, and nothing of a key is ever printed: its `Debug` shows the public half.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};

use super::dsse;
use super::key::{PublicKey, unsupported_kind};
use super::pem;
use crate::model::shown;

/// The largest PEM text that is looked at, in bytes. An encrypted P-521 key takes some 500; people put comments before it.
const MAX_PEM_BYTES: usize = 64 << 10;

const ALGORITHMS: [&EcdsaSigningAlgorithm; 3] =
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];

/// A private key.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

/// Why text is not a private key that models can be signed with. None of them quotes the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// No block of PEM with a private key in it.
    #[error("no `-----BEGIN PRIVATE KEY-----` or `-----BEGIN EC PRIVATE KEY-----` block in it; give the key in PEM")]
    NotPem,
    /// PEM of something else, whose label it names.
    #[error("it is PEM of a `{0}`; give the `PRIVATE KEY` that belongs to it")]
    OtherPem(String),
    /// The public half, with which one verifies.
    #[error("it is a public key, which can only verify; give the private key that belongs to it")]
    Public,
    /// A private key of a kind that OMS does not sign with.
    #[error(
        "it is a private key of kind {0}; models are signed with ECDSA keys on P-256, P-384 or P-521: make one with \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW`"
    )]
    UnsupportedKind(String),
    /// More than one private key.
    #[error("more than one private key in it; give the one to sign with")]
    Several,
    /// The block does not hold a key.
    #[error(
        "the PEM block does not hold a well-formed ECDSA key on P-256, P-384 or P-521, which models are signed with"
    )]
    Malformed,
    /// Encrypted, and there is no passphrase.
    #[error("it is encrypted, and no passphrase was given; name a file that holds it with --password-file")]
    PassphraseNeeded,
    /// Encrypted, and the passphrase does not open it.
    #[error("it cannot be decrypted: the passphrase is wrong, or the file was altered")]
    Passphrase,
    /// Encrypted as OpenSSL did before PKCS #8, with a key derived by one round of MD5.
    #[error("it is encrypted in OpenSSL's old way; rewrite it with `openssl pkcs8 -topk8 -in OLD -out NEW`")]
    OldEncryption,
    /// Encrypted with something that is not read.
    #[error(
        "it is encrypted with a cipher that is not supported; rewrite it with `openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW`"
    )]
    Cipher,
    /// Larger than any key.
    #[error("it is larger than {MAX_PEM_BYTES} bytes, which no private key is")]
    TooLarge,
}

/// The kinds of PEM blocks that hold a private key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// PKCS #8 (RFC 5958).
    Pkcs8,
    /// PKCS #8, encrypted (RFC 5958, section 3).
    Encrypted,
    /// SEC 1 (RFC 5915).
    Sec1,
}

impl SigningKey {
    /// Whether a key is encrypted, so that a passphrase has to be asked for. False where text holds no key at all.
    pub fn needs_passphrase(text: &str) -> bool {
        block(text).is_ok_and(|(form, _)| form == Form::Encrypted)
    }

    /// Whether text holds a private key and no other, by its labels alone: nothing of it is decoded.
    pub fn look(text: &str) -> Result<(), SigningKeyError> {
        block(text).map(|_| ())
    }

    /// Reads a key from PEM: PKCS #8, with or without encryption, or SEC 1. Text around the block is skipped, other
    /// blocks too (OpenSSL writes `EC PARAMETERS` before a key). A passphrase for a key that needs none is ignored.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<Self, SigningKeyError> {
        let (form, base64) = block(text)?;
        let base64: Zeroizing<String> = Zeroizing::new(base64.split_ascii_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(base64.as_bytes()).map_err(|_| SigningKeyError::Malformed)?);
        match form {
            Form::Pkcs8 | Form::Sec1 => SigningKey::from_der(&der),
            Form::Encrypted => {
                let passphrase = passphrase.ok_or(SigningKeyError::PassphraseNeeded)?;
                SigningKey::from_der(decrypt(&der, passphrase)?.as_bytes())
            }
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, SigningKeyError> {
        let pair = ALGORITHMS.iter().find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok());
        let pair =
            pair.ok_or_else(|| other_kind(der).map_or(SigningKeyError::Malformed, SigningKeyError::UnsupportedKind))?;
        let spki = pair.public_key().as_der().map_err(|_| SigningKeyError::Malformed)?;
        let public = PublicKey::from_spki_der(spki.as_ref()).map_err(|_| SigningKeyError::Malformed)?;
        Ok(SigningKey { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature (ASN.1) over an envelope with that payload; nothing if the library fails inside.
    pub(super) fn sign(&self, payload_type: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let digest = dsse::signed_digest(self.public.curve().digest(), payload_type, payload);
        self.pair.sign_digest(&digest).ok().map(|signature| signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.fingerprint())
    }
}

/// The one block with a private key in it: its form, and its base64.
fn block(text: &str) -> Result<(Form, &str), SigningKeyError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(SigningKeyError::TooLarge);
    }
    let (mut found, mut other) = (None, None);
    for (label, body) in pem::bodies(text) {
        let body = body.ok_or(SigningKeyError::Malformed)?;
        let form = match label {
            "PRIVATE KEY" => Form::Pkcs8,
            "ENCRYPTED PRIVATE KEY" => Form::Encrypted,
            "EC PRIVATE KEY" if body.contains("ENCRYPTED") => return Err(SigningKeyError::OldEncryption),
            "EC PRIVATE KEY" => Form::Sec1,
            label => {
                other.get_or_insert(label);
                continue;
            }
        };
        if found.replace((form, body)).is_some() {
            return Err(SigningKeyError::Several);
        }
    }
    found.ok_or_else(|| match other {
        None => SigningKeyError::NotPem,
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => SigningKeyError::Public,
        Some(label @ ("RSA PRIVATE KEY" | "DSA PRIVATE KEY")) => {
            SigningKeyError::UnsupportedKind(label.trim_end_matches(" PRIVATE KEY").to_owned())
        }
        Some(label) => SigningKeyError::OtherPem(shown(label)),
    })
}

/// The kind of a key in PKCS #8 that models are not signed with.
fn other_kind(der: &[u8]) -> Option<String> {
    let algorithm = PrivateKeyInfo::try_from(der).ok()?.algorithm;
    unsupported_kind(&algorithm.oid, algorithm.parameters_oid().ok().as_ref())
}

fn decrypt(der: &[u8], passphrase: &str) -> Result<SecretDocument, SigningKeyError> {
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| SigningKeyError::Cipher)?;
    encrypted.decrypt(passphrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. } | pkcs8::pkcs5::Error::NoPbes1CryptSupport,
        ) => SigningKeyError::Cipher,
        _ => SigningKeyError::Passphrase,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pem_rfc7468::LineEnding;

    /// `PrivateKeyInfo` of other kinds, with two bytes in place of a key: what kind it is stands before it.
    const RSA: &str = "3016020100300d06092a864886f70d010101050004020000";
    const ED25519: &str = "300e020100300506032b657004020000";
    const SECP256K1: &str = "3019020100301006072a8648ce3d020106052b8104000a04020000";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        pem_rfc7468::encode_string(label, LineEnding::LF, der).unwrap()
    }

    #[test]
    fn each_curve_in_each_form() {
        for algorithm in ALGORITHMS {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            let pkcs8 = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
            let sec1_der = pair.private_key().as_der().unwrap();
            let sec1 = pem("EC PRIVATE KEY", sec1_der.as_ref());
            let with_parameters = format!("A key:\n{}{sec1}", pem("EC PARAMETERS", &[6, 1, 0]));
            let spki = pair.public_key().as_der().unwrap();
            let fingerprint = PublicKey::from_spki_der(spki.as_ref()).unwrap().fingerprint();
            let beside_another = format!("{}{pkcs8}", pem("RSA PRIVATE KEY", &[0x30, 0]));
            for text in [&pkcs8, &sec1, &with_parameters, &beside_another, &pkcs8.replace('\n', "\r\n")] {
                let key = SigningKey::from_pem(text, None).unwrap();
                assert_eq!(key.public().fingerprint(), fingerprint);
                let signature = key.sign("type", b"payload").unwrap();
                assert!(key.public().verifies("type", b"payload", &signature));
                assert!(!key.public().verifies("type", b"other", &signature));
            }
        }
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase() {
        let text = include_str!("testdata/encrypted-key.pem");
        assert!(SigningKey::needs_passphrase(text));
        let plain = SigningKey::from_pem(text, Some("correct horse")).unwrap();
        assert_eq!(plain.public().curve(), super::super::Curve::P384);
        for (passphrase, error) in [
            (None, SigningKeyError::PassphraseNeeded),
            (Some(""), SigningKeyError::Passphrase),
            (Some("correct horse "), SigningKeyError::Passphrase),
        ] {
            assert_eq!(SigningKey::from_pem(text, passphrase).unwrap_err(), error);
        }
    }

    #[test]
    fn what_is_no_usable_key_is_named() {
        let pair = EcdsaKeyPair::generate(ALGORITHMS[0]).unwrap();
        let good = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let public = pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref());
        let of_kind = |label: &str, hex: &str| pem(label, &bytes(hex));
        let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,AA\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for (text, error) in [
            ("", SigningKeyError::NotPem),
            ("-----BEGIN x", SigningKeyError::NotPem),
            (&public, SigningKeyError::Public),
            (&public.replace("PUBLIC KEY", "CERTIFICATE"), SigningKeyError::OtherPem("CERTIFICATE".into())),
            (&of_kind("RSA PRIVATE KEY", "3000"), SigningKeyError::UnsupportedKind("RSA".into())),
            (&of_kind("PRIVATE KEY", RSA), SigningKeyError::UnsupportedKind("RSA".into())),
            (&of_kind("PRIVATE KEY", ED25519), SigningKeyError::UnsupportedKind("Ed25519".into())),
            (&of_kind("PRIVATE KEY", SECP256K1), SigningKeyError::UnsupportedKind("EC on curve 1.3.132.0.10".into())),
            (&good.repeat(2), SigningKeyError::Several),
            (old, SigningKeyError::OldEncryption),
            (&good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), SigningKeyError::Cipher),
            (&good.replace("MIGH", "MIGI"), SigningKeyError::Malformed),
            (&good.replace("-----END", "*-----END"), SigningKeyError::Malformed),
            (&good[..good.len() / 2], SigningKeyError::Malformed),
            (&"x".repeat(MAX_PEM_BYTES + 1), SigningKeyError::TooLarge),
        ] {
            assert_eq!(SigningKey::from_pem(text, Some("x")).unwrap_err(), error, "{text}");
            assert!(!SigningKey::needs_passphrase(text) || error == SigningKeyError::Cipher);
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let pair = EcdsaKeyPair::generate(ALGORITHMS[0]).unwrap();
        let key = SigningKey::from_der(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().fingerprint()));
    }
}
