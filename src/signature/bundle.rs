//! Reading a bundle: a Sigstore bundle (JSON) with one DSSE envelope in it.
//!
//! Receives bytes from anybody, gives their parts or an error. Nothing is verified here. What JSON may cost is bounded
//! by the length of the text: its depth by serde_json's limit of 128 and by what fields may hold, its parts by being read
//! into named fields only.
//!
//! A field that no Sigstore bundle has is an error, although nothing would read it: the bundle is the one file of a model
//! that nobody signs, and with room for foreign fields it could be a server's configuration at the same time.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::at_most::AtMost;
use super::dsse::PAYLOAD_TYPE;
use super::keyless::Evidence;
use super::shape::{self, Unread};
use super::verify::RejectionCode;
use crate::model::{shown, shown_to};

/// The largest bundle that is read, in bytes: a million files at some 250 bytes of statement each, in base64.
pub const MAX_BUNDLE_BYTES: usize = 256 << 20;

/// The longest signature that is looked at, in bytes. ECDSA on P-521 takes 139.
const MAX_SIGNATURE_BYTES: usize = 1024;

/// The most certificates that are looked at. Published hierarchies have three to five levels; signers may add
/// cross-certificates.
pub(super) const MAX_CERTIFICATES: usize = 16;

pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MEDIA_TYPE_OLD_SPELLING: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";
const MEDIA_TYPE_0_2: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";
const MEDIA_TYPE_0_1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const MEDIA_TYPE_FAMILY: &str = "application/vnd.dev.sigstore.bundle";

/// The parts of a bundle. Anybody may have written them.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(super) material: Material,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// By what a bundle says that it can be verified.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Material {
    /// A public key, which newer bundles hint at by the digest of its PEM text.
    PublicKey {
        /// Lower-case hexadecimal digits, if the signer wrote them.
        hint: Option<String>,
    },
    /// X.509 certificates in DER, the leaf first.
    CertificateChain(Vec<Vec<u8>>),
    /// A certificate that Sigstore issued for an identity, with the proofs that go with it.
    Keyless(Box<Evidence>),
}

/// The versions of a Sigstore bundle that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Where a log's promise was proof enough.
    V0_1,
    /// Where a certificate came with its chain.
    V0_2,
    /// The current one.
    V0_3,
}

/// Why bytes are not a bundle that can be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Larger than [`MAX_BUNDLE_BYTES`].
    #[error("the bundle is larger than {MAX_BUNDLE_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not of a bundle's shape.
    #[error("the bundle is not the JSON of a Sigstore bundle: {0}")]
    Json(String),
    /// A media type that no Sigstore bundle has.
    #[error("the bundle's media type is `{0}`, not that of a Sigstore bundle")]
    MediaType(String),
    /// A Sigstore bundle of another version.
    #[error("bundles of media type `{0}` are not supported; sign with a tool that writes version 0.3")]
    Version(String),
    /// A key in a bundle of an old version, which no release wrote.
    #[error("bundles of versions before 0.3 are read for Sigstore identities alone; sign the model again")]
    OldKey,
    /// A signature over a blob.
    #[error("the bundle signs a blob, not a statement about a model")]
    NoEnvelope,
    /// An envelope around something else.
    #[error("the envelope's payload type is `{0}`, not `{PAYLOAD_TYPE}`")]
    PayloadType(String),
    /// None, or more than one.
    #[error("the envelope has {0} signatures, not exactly one")]
    Signatures(usize),
    /// Not base64.
    #[error("the bundle's {0} is not well-formed base64")]
    Base64(&'static str),
    /// More certificates than [`MAX_CERTIFICATES`].
    #[error("the bundle carries more than {MAX_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// None, or more than one of key, certificate chain and certificate.
    #[error("the bundle does not say by exactly one of key, certificate chain and certificate how to verify it")]
    Material,
    /// Certificate, log entries and timestamps that are not well-formed.
    #[error("the bundle's Sigstore evidence is malformed: {0}")]
    Evidence(String),
    /// More of them than any signer writes.
    #[error("the bundle's Sigstore evidence {0}, which no signer writes")]
    EvidenceTooLarge(String),
}

impl BundleError {
    /// What kind of rejection it leads to.
    pub fn code(&self) -> RejectionCode {
        match self {
            BundleError::TooLarge | BundleError::TooManyCertificates | BundleError::EvidenceTooLarge(_) => {
                RejectionCode::TooLarge
            }
            BundleError::Version(_) | BundleError::OldKey | BundleError::NoEnvelope => RejectionCode::UnsupportedBundle,
            BundleError::Json(_)
            | BundleError::MediaType(_)
            | BundleError::PayloadType(_)
            | BundleError::Signatures(_)
            | BundleError::Base64(_)
            | BundleError::Material
            | BundleError::Evidence(_) => RejectionCode::MalformedBundle,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBundle<'a> {
    #[serde(borrow)]
    media_type: Cow<'a, str>,
    #[serde(borrow)]
    verification_material: RawMaterial<'a>,
    #[serde(borrow)]
    dsse_envelope: Option<RawEnvelope<'a>>,
    message_signature: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMaterial<'a> {
    public_key: Option<RawPublicKey>,
    #[serde(borrow)]
    x509_certificate_chain: Option<RawChain<'a>>,
    certificate: Option<shape::Certificate>,
    #[serde(rename = "tlogEntries")]
    _tlog_entries: Option<AtMost<0, shape::LogEntry>>,
    #[serde(rename = "timestampVerificationData")]
    _timestamps: Option<shape::Timestamps>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChain<'a> {
    #[serde(borrow)]
    certificates: AtMost<MAX_CERTIFICATES, RawCertificate<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCertificate<'a> {
    #[serde(borrow)]
    raw_bytes: Cow<'a, str>,
}

/// Bundles from before 1.1 carry `rawBytes` and `keyDetails` instead of a hint. A key that comes with the signature
/// says nothing about who signed, so they are not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublicKey {
    hint: Option<String>,
    #[serde(rename = "rawBytes")]
    _raw_bytes: Option<Unread>,
    #[serde(rename = "keyDetails")]
    _key_details: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow)]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<RawSignature<'a>>,
}

/// `keyid` may be absent, null or anything: DSSE calls it a hint, and OMS does not use it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature<'a> {
    #[serde(borrow)]
    sig: Cow<'a, str>,
    #[serde(rename = "keyid")]
    _keyid: Option<Unread>,
}

impl Bundle {
    /// Reads the parts of a bundle.
    pub fn parse(text: &[u8]) -> Result<Bundle, BundleError> {
        if text.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge);
        }
        let raw: RawBundle<'_> = serde_json::from_slice(text).map_err(|error| BundleError::Json(json_error(&error)))?;
        let version = version(&raw.media_type)?;
        let (Some(envelope), None) = (raw.dsse_envelope, raw.message_signature) else {
            return Err(BundleError::NoEnvelope);
        };
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(BundleError::PayloadType(shown(&envelope.payload_type)));
        }
        let [signature] = &envelope.signatures[..] else {
            return Err(BundleError::Signatures(envelope.signatures.len()));
        };
        if signature.sig.len() > MAX_SIGNATURE_BYTES * 2 {
            return Err(BundleError::Base64("signature"));
        }
        Ok(Bundle {
            material: material(raw.verification_material, version, text)?,
            signature: STANDARD.decode(signature.sig.as_bytes()).map_err(|_| BundleError::Base64("signature"))?,
            payload: STANDARD.decode(envelope.payload.as_bytes()).map_err(|_| BundleError::Base64("payload"))?,
        })
    }
}

fn version(media_type: &str) -> Result<Version, BundleError> {
    match media_type {
        MEDIA_TYPE | MEDIA_TYPE_OLD_SPELLING => Ok(Version::V0_3),
        MEDIA_TYPE_0_2 => Ok(Version::V0_2),
        MEDIA_TYPE_0_1 => Ok(Version::V0_1),
        other if other.starts_with(MEDIA_TYPE_FAMILY) => Err(BundleError::Version(shown(other))),
        other => Err(BundleError::MediaType(shown(other))),
    }
}

/// Until version 0.3 a certificate of Sigstore came as a chain of its own. Models that are signed with a key or with
/// another certificate never came in such a bundle.
fn material(raw: RawMaterial<'_>, version: Version, text: &[u8]) -> Result<Material, BundleError> {
    let RawMaterial { public_key, x509_certificate_chain, certificate, _tlog_entries, _timestamps } = raw;
    match (public_key, x509_certificate_chain, certificate, version) {
        (Some(key), None, None, Version::V0_3) => {
            Ok(Material::PublicKey { hint: key.hint.filter(|hint| !hint.is_empty()) })
        }
        (Some(_), None, None, Version::V0_1 | Version::V0_2) => Err(BundleError::OldKey),
        (None, Some(chain), None, Version::V0_3) => Ok(Material::CertificateChain(certificates(chain)?)),
        (None, Some(_), None, Version::V0_1 | Version::V0_2) | (None, None, Some(_), _) => {
            Ok(Material::Keyless(Box::new(Evidence::parse(text, version)?)))
        }
        _ => Err(BundleError::Material),
    }
}

fn certificates(raw: RawChain<'_>) -> Result<Vec<Vec<u8>>, BundleError> {
    if raw.certificates.count > MAX_CERTIFICATES {
        return Err(BundleError::TooManyCertificates);
    }
    let decode = |raw: &RawCertificate<'_>| STANDARD.decode(raw.raw_bytes.as_bytes());
    raw.certificates.items.iter().map(decode).collect::<Result<_, _>>().map_err(|_| BundleError::Base64("certificate"))
}

/// serde_json's own words, which may quote the text, made fit to be shown.
pub(super) fn json_error(error: &serde_json::Error) -> String {
    shown_to(&error.to_string(), 120)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bundle() -> Value {
        json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": { "publicKey": { "hint": "abc" }, "tlogEntries": [] },
            "dsseEnvelope": {
                "payload": "e30=",
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{ "sig": "AAAA", "keyid": "" }],
            },
        })
    }

    fn parse(bundle: &Value) -> Result<Bundle, BundleError> {
        Bundle::parse(bundle.to_string().as_bytes())
    }

    #[test]
    fn the_parts_of_a_bundle() {
        let parsed = parse(&bundle()).unwrap();
        assert_eq!(parsed.material, Material::PublicKey { hint: Some("abc".into()) });
        assert_eq!((&parsed.payload[..], &parsed.signature[..]), (&b"{}"[..], &[0; 3][..]));
    }

    #[test]
    fn hints_may_be_absent() {
        for key in [json!({}), json!({"hint": null}), json!({"hint": ""}), json!({"rawBytes": "AA", "keyDetails": "x"})]
        {
            let mut bundle = bundle();
            bundle["verificationMaterial"]["publicKey"] = key;
            assert_eq!(parse(&bundle).unwrap().material, Material::PublicKey { hint: None });
        }
    }

    #[test]
    fn each_way_to_be_malformed() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, BundleError); 11] = [
            ("media type", |b| b["mediaType"] = json!("text/plain"), BundleError::MediaType("text/plain".into())),
            (
                "another version",
                |b| b["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json"),
                BundleError::Version("application/vnd.dev.sigstore.bundle.v0.4+json".into()),
            ),
            ("no envelope", |b| drop(b.as_object_mut().unwrap().remove("dsseEnvelope")), BundleError::NoEnvelope),
            ("payload type", |b| b["dsseEnvelope"]["payloadType"] = json!("x"), BundleError::PayloadType("x".into())),
            ("no signature", |b| b["dsseEnvelope"]["signatures"] = json!([]), BundleError::Signatures(0)),
            (
                "two signatures",
                |b| b["dsseEnvelope"]["signatures"] = json!([{"sig": "AAAA"}, {"sig": "AAAA"}]),
                BundleError::Signatures(2),
            ),
            ("payload", |b| b["dsseEnvelope"]["payload"] = json!("e30"), BundleError::Base64("payload")),
            ("signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!("*"), BundleError::Base64("signature")),
            (
                "a huge signature",
                |b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!("A".repeat(4096)),
                BundleError::Base64("signature"),
            ),
            ("no material", |b| b["verificationMaterial"] = json!({}), BundleError::Material),
            ("two materials", |b| b["verificationMaterial"]["certificate"] = json!({}), BundleError::Material),
        ];
        for (what, change, error) in cases {
            let mut bundle = bundle();
            change(&mut bundle);
            assert_eq!(parse(&bundle).unwrap_err(), error, "{what}");
        }
    }

    #[test]
    fn what_is_not_json_of_that_shape() {
        let deep = "[".repeat(100_000);
        let deep_inside = bundle().to_string().replace("\"AAAA\"", &deep);
        let foreign = bundle().to_string().replacen('{', "{\"auto_map\":{},", 1);
        let twice = bundle().to_string().replacen('{', &format!("{{\"mediaType\":\"{MEDIA_TYPE}\","), 1);
        for text in ["", "null", "{}", "[]", "{\"mediaType\":1}", &deep, &deep_inside, &foreign, &twice, "\u{feff}{}"] {
            let error = Bundle::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, BundleError::Json(_)), "{error}");
            assert!(error.to_string().len() < 400);
        }
        assert!(Bundle::parse(&[0xff, 0xfe]).is_err());
    }
}
