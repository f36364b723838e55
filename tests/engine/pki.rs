//! A public key infrastructure made for a test: holders of certificates, each issued by another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SignatureAlgorithm, SigningKey as _, date_time_ymd,
};
use serde_json::{Value, json};
use weighbridge::model::{Digest, Hasher};
use weighbridge::signature::{CertificateTrust, Profile, TrustMaterial};

use crate::support::{envelope, pae};

/// When the test's certificates are valid, unless a test says otherwise: this whole year.
pub(crate) const YEAR: i32 = 2026;

/// In the middle of that year.
pub(crate) fn now() -> Timestamp {
    format!("{YEAR}-07-01T00:00:00Z").parse().unwrap()
}

/// The holder of a certificate and its key.
pub(crate) struct Holder {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) der: Vec<u8>,
}

/// A certificate of that name, valid in [`YEAR`], for no purpose.
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(YEAR, 1, 1), date_time_ymd(YEAR + 1, 1, 1));
    params.use_authority_key_identifier_extension = true;
    params
}

/// One of a CA.
pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// One for signing code.
pub(crate) fn leaf(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

impl Holder {
    pub(crate) fn root(params: CertificateParams) -> Holder {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Holder { params, key, der }
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> Holder {
        self.issue_on(params, &PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn issue_on(&self, params: CertificateParams, kind: &'static SignatureAlgorithm) -> Holder {
        let key = KeyPair::generate_for(kind).unwrap();
        let der = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().to_vec();
        Holder { params, key, der }
    }

    /// The same holder with a certificate of somebody else.
    pub(crate) fn certified_by(&self, issuer: &Holder) -> Holder {
        let key = KeyPair::try_from(self.key.serialized_der()).unwrap();
        let issued = self.params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap();
        Holder { params: self.params.clone(), key, der: issued.der().to_vec() }
    }

    pub(crate) fn pem(&self) -> String {
        pem(&self.der)
    }

    /// The private key (PKCS #8).
    pub(crate) fn private_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 of the key's `SubjectPublicKeyInfo`.
    pub(crate) fn fingerprint(&self) -> Digest {
        Hasher::sha256(&self.key.subject_public_key_info())
    }

    /// A bundle that this holder signs, with these certificates above its own.
    pub(crate) fn sign(&self, statement: &Value, above: &[&Holder]) -> Value {
        let payload = statement.to_string().into_bytes();
        let signature = self.key.sign(&pae(&payload)).unwrap();
        let chain: Vec<&[u8]> = std::iter::once(self).chain(above.iter().copied()).map(|it| &it.der[..]).collect();
        envelope(chain_material(&chain), &payload, &signature)
    }
}

pub(crate) fn chain_material(chain: &[&[u8]]) -> Value {
    let raw: Vec<Value> = chain.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
    json!({ "x509CertificateChain": { "certificates": raw }, "tlogEntries": [] })
}

pub(crate) fn pem(der: &[u8]) -> String {
    pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, der).unwrap()
}

pub(crate) fn trust(roots: &[&Holder], profile: Profile) -> TrustMaterial {
    let pem: String = roots.iter().map(|root| root.pem()).collect();
    let certificates = vec![CertificateTrust::from_pem(&pem, profile).unwrap()];
    TrustMaterial { certificates, ..TrustMaterial::default() }
}
