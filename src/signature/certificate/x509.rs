//! One X.509 certificate, read strictly.
//!
//! Receives DER, gives a certificate whose extensions are read or known to be foreign. Nothing else than DER is read
//! (RFC 5280, 4.1), and no extension may stand in it twice (4.2), so that no two readers differ about what a
//! certificate says. Whether it is trusted is not decided here.

use std::ops::Range;

use jiff::Timestamp;
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;
use x509_cert::Version;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc5280;
use x509_cert::der::{AnyRef, Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::time::Time;

use super::AlternativeName;
use crate::model::{Digest, Hasher, shown_to};

/// The largest certificate that is looked at, in bytes. They measure 1 to 4 KiB; those with hundreds of names, 30.
pub(super) const MAX_CERTIFICATE_BYTES: usize = 64 << 10;

/// By what a certificate may be signed: ECDSA on the curves that OMS signs with, RSA from 2048 bits on; SHA-2 alone.
pub(super) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Extensions that may be critical although nothing here reads them: those about policies constrain nothing unless a
/// verifier asks for a policy (RFC 5280, 6.1), and revocation lists are not fetched.
const HARMLESS: &[ObjectIdentifier] = &[
    rfc5280::ID_CE_CERTIFICATE_POLICIES,
    rfc5280::ID_CE_POLICY_MAPPINGS,
    rfc5280::ID_CE_POLICY_CONSTRAINTS,
    rfc5280::ID_CE_INHIBIT_ANY_POLICY,
    rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS,
];

/// A certificate. Anybody may have made it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    der: Vec<u8>,
    /// What its signature is over.
    signed: Range<usize>,
    /// The content of its signature's `AlgorithmIdentifier`.
    algorithm: Vec<u8>,
    body: x509_cert::Certificate,
    pub(super) extensions: Extensions,
}

/// What the extensions of a certificate say, as far as anything here asks for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    /// Names of the kinds URI, DNS and e-mail.
    pub(super) names: Vec<AlternativeName>,
    pub(super) has_name_constraints: bool,
    /// A critical extension that nothing here understands.
    pub(super) unknown_critical: Option<ObjectIdentifier>,
    subject_key: Option<Vec<u8>>,
    issuer_key: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads a certificate; the error is a piece of a sentence, fit to be shown.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(format!("it is larger than {MAX_CERTIFICATE_BYTES} bytes"));
        }
        let der_error = |error: x509_cert::der::Error| shown_to(&error.to_string(), 120);
        let body = x509_cert::Certificate::from_der(der).map_err(der_error)?;
        if body.signature_algorithm != body.tbs_certificate.signature {
            return Err("it names two algorithms for one signature".into());
        }
        let (signed, algorithm) = outer(der).map_err(der_error)?;
        let extensions = Extensions::read(&body)?;
        Ok(Certificate { der: der.to_vec(), signed, algorithm, body, extensions })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject, as RFC 4514 writes it. Not fit to be shown.
    pub(super) fn subject(&self) -> String {
        self.body.tbs_certificate.subject.to_string()
    }

    /// The issuer, as RFC 4514 writes it. Not fit to be shown.
    pub(super) fn issuer(&self) -> String {
        self.body.tbs_certificate.issuer.to_string()
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub(super) fn public_key(&self) -> Vec<u8> {
        self.body.tbs_certificate.subject_public_key_info.to_der().unwrap_or_default()
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub(super) fn fingerprint(&self) -> Digest {
        Hasher::sha256(&self.public_key())
    }

    pub(super) fn not_before(&self) -> Timestamp {
        timestamp(&self.body.tbs_certificate.validity.not_before)
    }

    pub(super) fn not_after(&self) -> Timestamp {
        timestamp(&self.body.tbs_certificate.validity.not_after)
    }

    /// Whether it is of the first version of X.509, which has no extensions.
    pub(super) fn is_version_1(&self) -> bool {
        self.body.tbs_certificate.version == Version::V1
    }

    /// Whether subject and issuer have the same name (RFC 5280, 3.2). It need not have signed itself.
    pub(super) fn is_self_issued(&self) -> bool {
        self.body.tbs_certificate.subject == self.body.tbs_certificate.issuer
    }

    /// Whether it names `issuer` as the one that issued it: by name and, where both give one, by key identifier.
    pub(super) fn names_as_issuer(&self, issuer: &Certificate) -> bool {
        let key_differs = match (&self.extensions.issuer_key, &issuer.extensions.subject_key) {
            (Some(named), Some(own)) => named != own,
            _ => false,
        };
        self.body.tbs_certificate.issuer == issuer.body.tbs_certificate.subject && !key_differs
    }

    /// Whether the key in `issuer` signed it, by one of [`ALGORITHMS`].
    pub(super) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let spki = &issuer.body.tbs_certificate.subject_public_key_info;
        let Ok(key_algorithm) = spki.algorithm.to_der() else { return false };
        let Ok(key_algorithm) = AnyRef::from_der(&key_algorithm) else { return false };
        let (Some(key), Some(signature)) = (spki.subject_public_key.as_bytes(), self.body.signature.as_bytes()) else {
            return false;
        };
        let fits = |it: &&&dyn SignatureVerificationAlgorithm| {
            it.signature_alg_id().as_ref() == self.algorithm && it.public_key_alg_id().as_ref() == key_algorithm.value()
        };
        let mut fitting = ALGORITHMS.iter().filter(fits);
        fitting.any(|it| it.verify_signature(key, &self.der[self.signed.clone()], signature).is_ok())
    }
}

/// Where in a certificate that is well-formed the signed part lies, and the content of the algorithm after it. The
/// signed part is not encoded anew, because a default that somebody wrote out would be lost.
fn outer(der: &[u8]) -> x509_cert::der::Result<(Range<usize>, Vec<u8>)> {
    SliceReader::new(der)?.sequence(|reader| {
        // What encloses everything is a tag and a length, in front.
        let start = der.len() - usize::try_from(reader.input_len())?;
        let signed = start..start + reader.tlv_bytes()?.len();
        let algorithm = AnyRef::decode(reader)?.value().to_vec();
        reader.tlv_bytes()?;
        Ok((signed, algorithm))
    })
}

impl Extensions {
    /// Whether signing code is among the purposes that it states (RFC 5280, 4.2.1.12).
    pub(super) fn is_for_code_signing(&self) -> bool {
        self.extended_key_usage.as_ref().is_some_and(|usages| usages.contains(&rfc5280::ID_KP_CODE_SIGNING))
    }

    fn read(body: &x509_cert::Certificate) -> Result<Self, String> {
        let mut read = Extensions::default();
        let mut met: Vec<ObjectIdentifier> = Vec::new();
        for extension in body.tbs_certificate.extensions.iter().flatten() {
            let oid = extension.extn_id;
            if met.contains(&oid) {
                return Err(format!("the extension {oid} stands in it twice"));
            }
            met.push(oid);
            let malformed = |_| format!("its extension {oid} is malformed");
            let known = read.take(oid, extension.extn_value.as_bytes()).map_err(malformed)?;
            if extension.critical && !known {
                read.unknown_critical.get_or_insert(oid);
            }
        }
        Ok(read)
    }

    /// Reads one extension; whether it is one that something here understands.
    fn take(&mut self, oid: ObjectIdentifier, value: &[u8]) -> x509_cert::der::Result<bool> {
        match oid {
            BasicConstraints::OID => self.basic_constraints = Some(BasicConstraints::from_der(value)?),
            KeyUsage::OID => self.key_usage = Some(KeyUsage::from_der(value)?),
            ExtendedKeyUsage::OID => self.extended_key_usage = Some(ExtendedKeyUsage::from_der(value)?.0),
            SubjectAltName::OID => {
                self.names = SubjectAltName::from_der(value)?.0.iter().filter_map(alternative_name).collect();
            }
            NameConstraints::OID => self.has_name_constraints = true,
            SubjectKeyIdentifier::OID => {
                self.subject_key = Some(SubjectKeyIdentifier::from_der(value)?.0.into_bytes());
                return Ok(false); // RFC 5280, 4.2.1.2: never critical
            }
            AuthorityKeyIdentifier::OID => {
                let identifier = AuthorityKeyIdentifier::from_der(value)?.key_identifier;
                self.issuer_key = identifier.map(|identifier| identifier.into_bytes());
                return Ok(false); // RFC 5280, 4.2.1.1: never critical
            }
            other => return Ok(HARMLESS.contains(&other)),
        }
        Ok(true)
    }
}

fn alternative_name(name: &GeneralName) -> Option<AlternativeName> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(AlternativeName::Uri(uri.to_string())),
        GeneralName::DnsName(name) => Some(AlternativeName::Dns(name.to_string())),
        GeneralName::Rfc822Name(address) => Some(AlternativeName::Email(address.to_string())),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

/// Certificates may end in the last hours of the year 9999 (RFC 5280, 4.1.2.5), which is after the last timestamp.
fn timestamp(time: &Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
