//! Certificates and keys: read from Secrets, and made.
//!
//! Reading never fails loudly: what is malformed, or does not fit together, is as good as absent, and is made anew.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use thiserror::Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Keys of the data of both Secrets.
pub const CERTIFICATE: &str = "tls.crt";
/// The private key that belongs to it.
pub const KEY: &str = "tls.key";
/// The bundle that the certificate is checked against.
pub const CA_BUNDLE: &str = "ca.crt";
/// Certificates of earlier authorities that the API server is still to trust.
pub const PREVIOUS: &str = "previous.crt";

/// How long a certificate has been valid when it is made: clocks of nodes differ.
pub const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// How many certificates are read from one text: a bundle holds a handful.
const MAX_CERTIFICATES: usize = 32;

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// A certificate, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Itself.
    der: Vec<u8>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The DNS names that it is for, sorted.
    pub names: Vec<String>,
    /// The public key in it.
    public_key: Vec<u8>,
}

/// An authority: a certificate and the key that belongs to it.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate.
    pub certificate: Certificate,
    key: KeyPair,
}

/// Why nothing could be made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The library refused.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// What came out cannot be read.
    #[error("a certificate that was just made cannot be read")]
    Unreadable,
}

impl Certificate {
    /// All certificates in a PEM text; nothing else in it counts.
    pub fn read_all(pem: &[u8]) -> Vec<Certificate> {
        let blocks = Pem::iter_from_buffer(pem).map_while(Result::ok).filter(|block| block.label == "CERTIFICATE");
        blocks.take(MAX_CERTIFICATES).filter_map(|block| Certificate::from_der(block.contents)).collect()
    }

    fn from_der(der: Vec<u8>) -> Option<Certificate> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = parsed.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        names.sort();
        let not_before = Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?;
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
        let public_key = parsed.public_key().raw.to_vec();
        Some(Certificate { not_before, not_after, names, public_key, der })
    }

    /// Whether it is valid at that time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When two thirds of its life are over: time enough is left for a renewal that fails for weeks.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after - life / 3
    }

    /// Whether its key has signed the other one.
    pub fn has_signed(&self, other: &Certificate) -> bool {
        let (Ok((_, authority)), Ok((_, signed))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&other.der))
        else {
            return false;
        };
        authority.subject() == signed.issuer() && signed.verify_signature(Some(authority.public_key())).is_ok()
    }

    /// As PEM text.
    pub fn pem(&self) -> String {
        pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, &self.der).unwrap_or_default()
    }

    fn belongs_to(&self, key: &KeyPair) -> bool {
        key.subject_public_key_info() == self.public_key
    }
}

/// Certificates as one PEM text.
pub fn bundle(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::pem).collect()
}

/// The authority in a Secret.
pub fn read_authority(data: &Data) -> Option<Authority> {
    let (certificate, key) = read_pair(data)?;
    let (_, parsed) = X509Certificate::from_der(&certificate.der).ok()?;
    let is_ca = parsed.is_ca();
    is_ca.then_some(Authority { certificate, key })
}

/// The first certificate in a Secret and its key, where the two belong together.
pub fn read_pair(data: &Data) -> Option<(Certificate, KeyPair)> {
    let certificate = Certificate::read_all(&data.get(CERTIFICATE)?.0).into_iter().next()?;
    let key = KeyPair::from_pem(str::from_utf8(&data.get(KEY)?.0).ok()?).ok()?;
    certificate.belongs_to(&key).then_some((certificate, key))
}

/// Makes an authority that is valid for so long.
pub fn make_authority(now: Timestamp, life: SignedDuration) -> Result<Authority, MakeError> {
    let key = KeyPair::generate()?;
    let mut params = params(&format!("weighbridge CA {}", now.as_second()), now, now + life);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?;
    let certificate = Certificate::from_der(certificate.der().to_vec()).ok_or(MakeError::Unreadable)?;
    Ok(Authority { certificate, key })
}

impl Authority {
    /// Makes a serving certificate that is valid for so long, and no longer than this authority itself; gives it with its
    /// key as PEM text.
    pub fn issue(&self, names: &[String], now: Timestamp, life: SignedDuration) -> Result<(String, String), MakeError> {
        let issuer = Issuer::from_ca_cert_der(&self.certificate.der.as_slice().into(), &self.key)?;
        let key = KeyPair::generate()?;
        let name = names.first().map_or("weighbridge", String::as_str);
        // A common name has at most 64 characters; nobody looks at it where there are alternative names.
        let mut params =
            params(&name.chars().take(64).collect::<String>(), now, (now + life).min(self.certificate.not_after));
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The private key as PEM text.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

fn params(name: &str, now: Timestamp, until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = at(now - BACKDATED);
    params.not_after = at(until);
    params
}
