//! The profile Strict: RFC 5280 for a signer of code, now.
//!
//! rustls-webpki checks the way: extended key usage on every level, who is a CA, lengths, name constraints (it refuses
//! those that it does not know: of directory names, URIs and addresses), critical extensions. What it leaves open is
//! checked here: key usages, and what a trusted certificate says of itself.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::path::Path;
use super::x509::{ALGORITHMS, Certificate};
use super::{CertificateError, Unfit, check_validity};
use crate::model::shown;

/// `id-kp-codeSigning`, 1.3.6.1.5.5.7.3.3 (RFC 5280, 4.2.1.12), as the content of its DER.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// Whether the holder of the leaf may sign models at `now`.
pub(super) fn check(path: &Path<'_>, now: Timestamp) -> Result<(), CertificateError> {
    check_validity(path, now)?;
    let (Some((leaf, issuers)), Some(root)) = (path.split_first(), path.last()) else { return Ok(()) };
    let unfit = |certificate: &Certificate, problem| {
        Err(CertificateError::Unfit { subject: shown(&certificate.subject()), problem })
    };
    if let Err(error) = check_by_webpki(leaf, issuers, root, now) {
        return unfit(leaf, unfit_by(&error));
    }
    if !leaf.extensions.is_for_code_signing() {
        return unfit(leaf, Unfit::NotForCodeSigning);
    }
    if leaf.extensions.key_usage.as_ref().is_some_and(|usage| !usage.digital_signature()) {
        return unfit(leaf, Unfit::NotForSigning);
    }
    for issuer in issuers {
        if !may_issue(issuer) {
            return unfit(issuer, Unfit::NotAnIssuer);
        }
    }
    // A path constraint counts the certificates between its own and the leaf, less those that a CA issued to itself.
    let between = issuers.iter().rev().skip(1).filter(|issuer| !issuer.is_self_issued()).count();
    let limit = root.extensions.basic_constraints.as_ref().and_then(|basic| basic.path_len_constraint);
    match limit {
        Some(limit) if between > usize::from(limit) => unfit(root, Unfit::PathTooLong),
        _ => Ok(()),
    }
}

/// Whether it is a CA, and its key may sign certificates (RFC 5280, 6.1.4 k and n).
pub(super) fn may_issue(certificate: &Certificate) -> bool {
    certificate.extensions.basic_constraints.as_ref().is_some_and(|basic| basic.ca)
        && certificate.extensions.key_usage.as_ref().is_none_or(|usage| usage.key_cert_sign())
}

fn check_by_webpki(
    leaf: &Certificate,
    issuers: &[&Certificate],
    root: &Certificate,
    now: Timestamp,
) -> Result<(), Error> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    let (leaf, root) = (CertificateDer::from(leaf.der()), CertificateDer::from(root.der()));
    let intermediates: Vec<CertificateDer<'_>> =
        issuers.iter().rev().skip(1).rev().map(|issuer| CertificateDer::from(issuer.der())).collect();
    let anchors = [webpki::anchor_from_trusted_cert(&root)?];
    let leaf = EndEntityCert::try_from(&leaf)?;
    // An issuer need not say what it issues for; what it says binds. That the leaf says so is checked by the caller.
    let usage = KeyUsage::required_if_present(CODE_SIGNING);
    leaf.verify_for_usage(ALGORITHMS, &anchors, &intermediates, now, usage, None, None).map(drop)
}

fn unfit_by(error: &Error) -> Unfit {
    match error {
        Error::CaUsedAsEndEntity => Unfit::CaLeaf,
        Error::EndEntityUsedAsCa => Unfit::NotAnIssuer,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Unfit::NotForCodeSigning,
        Error::PathLenConstraintViolated => Unfit::PathTooLong,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::MaximumNameConstraintComparisonsExceeded => Unfit::NameConstraints,
        Error::UnsupportedCriticalExtension => Unfit::CriticalExtension,
        other => Unfit::Other(shown(&other.to_string())),
    }
}
