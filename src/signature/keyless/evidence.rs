//! The part of a bundle that Sigstore made: certificate, log entries, timestamps. Read with limits; nothing is verified.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sigstore_verify::types::bundle::{MediaType, MessageSignature, VerificationMaterial, VerificationMaterialContent};
use sigstore_verify::types::dsse::{DsseEnvelope, DsseSignature};
use sigstore_verify::types::{
    Bundle as SigstoreBundle, KeyId, KindVersion, PayloadBytes, SignatureBytes, SignatureContent,
};

use crate::signature::bundle::{BundleError, Version, json_error};

/// The most log entries and the most timestamps that are looked at. Signers write one of each, two where they keep
/// several logs; 32 is what sigstore-go takes.
pub(super) const MAX_PROOFS: usize = 32;

/// The largest evidence that is read, in bytes of JSON. A certificate, a log entry and a timestamp take some 10 KiB
/// together; [`MAX_PROOFS`] of each would take a third of this.
pub(super) const MAX_EVIDENCE_BYTES: usize = 1 << 20;

/// Certificate, log entries and timestamps as they stand in a bundle.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::signature) struct Evidence {
    material: VerificationMaterial,
    media_type: MediaType,
}

/// Read apart from the rest of the bundle, so that what is kept of it is bounded.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBundle<'a> {
    #[serde(borrow)]
    verification_material: &'a RawValue,
}

impl Evidence {
    /// Reads the evidence in the text of a bundle of that version.
    pub(in crate::signature) fn parse(bundle: &[u8], version: Version) -> Result<Evidence, BundleError> {
        let json = |error: serde_json::Error| BundleError::Evidence(json_error(&error));
        let raw: RawBundle<'_> = serde_json::from_slice(bundle).map_err(json)?;
        let text = raw.verification_material.get();
        if text.len() > MAX_EVIDENCE_BYTES {
            return Err(BundleError::EvidenceTooLarge(format!("is larger than {MAX_EVIDENCE_BYTES} bytes")));
        }
        let material: VerificationMaterial = serde_json::from_str(text).map_err(json)?;
        check_counts(&material)?;
        let media_type = match version {
            Version::V0_1 => MediaType::Bundle0_1,
            Version::V0_2 => MediaType::Bundle0_2,
            Version::V0_3 => MediaType::Bundle0_3,
        };
        Ok(Evidence { material, media_type })
    }

    /// The signer's certificate in DER.
    pub(in crate::signature) fn leaf(&self) -> Option<&[u8]> {
        match &self.material.content {
            VerificationMaterialContent::Certificate(certificate) => Some(certificate.raw_bytes.as_bytes()),
            VerificationMaterialContent::X509CertificateChain { certificates } => {
                certificates.first().map(|certificate| certificate.raw_bytes.as_bytes())
            }
            // A key, and what later versions of the crate know.
            _ => None,
        }
    }

    /// Number and time of each log entry.
    pub(in crate::signature) fn entries(&self) -> impl Iterator<Item = (u64, Option<Timestamp>)> {
        self.material.tlog_entries.iter().map(|entry| (entry.log_index.get(), entry.integrated_time))
    }

    /// How many timestamps there are.
    pub(in crate::signature) fn timestamps(&self) -> usize {
        self.material.timestamp_verification_data.rfc3161_timestamps.len()
    }

    /// Whether the log has the hash of what was signed, as Rekor v2 does, and not the envelope.
    pub(super) fn is_logged_by_hash(&self) -> bool {
        let entries = &self.material.tlog_entries;
        !entries.is_empty() && entries.iter().all(|entry| entry.kind_version == KindVersion::HashedRekordV002)
    }

    /// The whole bundle again, over something that is known by its hash.
    pub(super) fn with_message(&self, signature: &[u8]) -> SigstoreBundle {
        let message = MessageSignature::new(SignatureBytes::new(signature.to_vec()));
        SigstoreBundle::new(self.media_type, self.material.clone(), SignatureContent::MessageSignature(message))
    }

    /// The whole bundle again, around a signed payload.
    pub(super) fn with_envelope(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> SigstoreBundle {
        let signature = DsseSignature::new(SignatureBytes::new(signature.to_vec()), KeyId::default());
        let envelope = DsseEnvelope::new(payload_type, PayloadBytes::new(payload.to_vec()), signature);
        SigstoreBundle::new(self.media_type, self.material.clone(), SignatureContent::DsseEnvelope(envelope))
    }
}

/// Each proof costs signature checks.
pub(in crate::signature) fn check_counts(material: &VerificationMaterial) -> Result<(), BundleError> {
    let VerificationMaterial { content, tlog_entries, timestamp_verification_data, .. } = material;
    let certificates = match content {
        VerificationMaterialContent::X509CertificateChain { certificates } => certificates.len(),
        _ => 0,
    };
    for (what, count) in [
        ("log entries", tlog_entries.len()),
        ("timestamps", timestamp_verification_data.rfc3161_timestamps.len()),
        ("certificates", certificates),
    ] {
        if count > MAX_PROOFS {
            return Err(BundleError::EvidenceTooLarge(format!("has {count} {what}, more than {MAX_PROOFS}")));
        }
    }
    Ok(())
}
