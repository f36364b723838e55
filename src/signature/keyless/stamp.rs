//! When, and by which timestamp authority, a timestamp was made.

use jiff::Timestamp;
use sigstore_verify::trust_root::{TimestampAuthority, TrustedRoot};
use sigstore_verify::tsa::{TsaAuthority, verify_timestamp_for_authority};
use sigstore_verify::types::bundle::Rfc3161Timestamp;
use sigstore_verify::types::{SignatureBytes, TimestampToken};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::model::shown_to;

/// How much of a subject is kept, in characters. Distinguished names of authorities take less than 100.
const SUBJECT_CHARS: usize = 200;

/// The times of those timestamps that authorities of the root made, each with its authority.
pub(super) fn verified(
    stamps: &[Rfc3161Timestamp],
    signature: &SignatureBytes,
    root: &TrustedRoot,
) -> Vec<(Timestamp, TsaAuthority)> {
    let authorities = root.tsa_authorities();
    let made_by = |token: &TimestampToken, authority: &TsaAuthority| {
        Some((verify_timestamp_for_authority(token, signature, authority).ok()?, authority.clone()))
    };
    let of = |stamp: &Rfc3161Timestamp| authorities.iter().find_map(|one| made_by(&stamp.signed_timestamp, one));
    stamps.iter().filter_map(of).collect()
}

/// The subject of an authority, as RFC 4514 writes it.
pub(super) fn subject(authority: &TsaAuthority) -> Option<String> {
    let leaf = Certificate::from_der(authority.leaf.as_bytes()).ok()?;
    Some(shown_to(&leaf.tbs_certificate.subject.to_string(), SUBJECT_CHARS))
}

/// Whether each timestamp claims to be by an authority of the root. It tells an altered timestamp from a foreign one,
/// and nothing depends on it but which of the two is said of a timestamp that does not verify.
pub(super) fn claim_known(stamps: &[Rfc3161Timestamp], root: &TrustedRoot) -> bool {
    let names: Vec<Vec<u8>> = root.timestamp_authorities.iter().filter_map(name_in_tokens).collect();
    let known = |token: &TimestampToken| names.iter().any(|name| contains(token.as_bytes(), name));
    stamps.iter().all(|stamp| known(&stamp.signed_timestamp))
}

/// How a token names its signer (RFC 5652, 10.2.4): the issuer of the signer's certificate, followed by its serial
/// number.
fn name_in_tokens(authority: &TimestampAuthority) -> Option<Vec<u8>> {
    let leaf = Certificate::from_der(authority.cert_chain.certificates.first()?.raw_bytes.as_bytes()).ok()?;
    let mut name = leaf.tbs_certificate.issuer.to_der().ok()?;
    name.extend(leaf.tbs_certificate.serial_number.to_der().ok()?);
    Some(name)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
