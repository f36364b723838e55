//! The profile Reference: the verdicts of the Python reference over chains that it was given.
//!
//! It has OpenSSL check the chain at the time of the leaf's beginning, with no purpose, and then looks whether the leaf
//! may sign anything or may sign code. So a TLS certificate signs models, and so does a CA. Deliberately stricter:
//! SHA-1 and short RSA keys do not count, a name constraint is refused instead of being read, and roots are never
//! those of the web.

use super::path::Path;
use super::x509::Certificate;
use super::{CertificateError, Unfit, check_validity};
use crate::model::shown;

/// Whether the reference would let the holder of the leaf sign models.
pub(super) fn check(path: &Path<'_>) -> Result<(), CertificateError> {
    let Some((leaf, issuers)) = path.split_first() else { return Ok(()) };
    check_validity(path, leaf.not_before())?;
    let unfit = |certificate: &Certificate, problem| {
        Err(CertificateError::Unfit { subject: shown(&certificate.subject()), problem })
    };
    for certificate in path {
        if certificate.extensions.unknown_critical.is_some() {
            return unfit(certificate, Unfit::CriticalExtension);
        }
        if certificate.extensions.has_name_constraints {
            return unfit(certificate, Unfit::NameConstraints);
        }
    }
    // How many certificates lie between an issuer and the leaf, less those that a CA issued to itself.
    let mut between = 0;
    for issuer in issuers {
        if !may_issue(issuer) {
            return unfit(issuer, Unfit::NotAnIssuer);
        }
        let limit = issuer.extensions.basic_constraints.as_ref().and_then(|basic| basic.path_len_constraint);
        if limit.is_some_and(|limit| between > usize::from(limit)) {
            return unfit(issuer, Unfit::PathTooLong);
        }
        between += usize::from(!issuer.is_self_issued());
    }
    let signs = leaf.extensions.key_usage.as_ref().is_some_and(|usage| usage.digital_signature());
    if signs || leaf.extensions.is_for_code_signing() { Ok(()) } else { unfit(leaf, Unfit::NotForSigning) }
}

/// Whether a certificate may end a chain: OpenSSL trusts those that signed themselves, and takes the others that it is
/// given for links.
pub(super) fn is_anchor(certificate: &Certificate) -> bool {
    certificate.names_as_issuer(certificate) && certificate.is_signed_by(certificate)
}

/// What OpenSSL takes for a CA (`X509_check_ca`): whoever says so, whoever may sign certificates and says nothing, and
/// roots from before there were extensions.
fn may_issue(certificate: &Certificate) -> bool {
    let extensions = &certificate.extensions;
    match (&extensions.key_usage, &extensions.basic_constraints) {
        (Some(usage), _) if !usage.key_cert_sign() => false,
        (_, Some(basic)) => basic.ca,
        (Some(_), None) => true,
        (None, None) => certificate.is_version_1() && certificate.is_self_issued(),
    }
}
