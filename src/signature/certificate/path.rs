//! From a leaf to a root that somebody trusts.
//!
//! Receives the certificates of a bundle and the trusted ones, tries each way from issuer to issuer on which every
//! signature holds, and asks the rules of a profile about it. Neither order nor completeness of what a bundle carries is
//! relied upon. The work is bounded whatever the certificates are called.

use super::CertificateError;
use super::x509::Certificate;
use crate::model::{Names, shown};

/// The most certificates on a way, leaf and root included. Published hierarchies have three to five levels.
const MAX_LENGTH: usize = 8;

/// The most signatures on certificates that are checked for one bundle. A straight way of [`MAX_LENGTH`] takes 7; there
/// is room for as many cross-certificates again, and again.
const MAX_CHECKS: usize = 100;

/// A way from a leaf (first) to a trusted certificate (last), on which every signature holds. Of one certificate if
/// the leaf itself is trusted.
pub(super) type Path<'a> = [&'a Certificate];

/// The first way that `check` accepts, else what comes closest to one.
pub(super) fn find<'a>(
    leaf: &'a Certificate,
    others: &[&'a Certificate],
    anchors: &[&'a Certificate],
    check: &dyn Fn(&Path<'_>) -> Result<(), CertificateError>,
) -> Result<Vec<&'a Certificate>, CertificateError> {
    let mut search = Search { others, anchors, check, checks: 0, closest: untrusted(leaf, anchors) };
    search.extend(&mut vec![leaf], true).ok_or(search.closest)
}

struct Search<'a, 's> {
    others: &'s [&'a Certificate],
    anchors: &'s [&'a Certificate],
    check: &'s dyn Fn(&Path<'_>) -> Result<(), CertificateError>,
    checks: usize,
    closest: CertificateError,
}

impl<'a> Search<'a, '_> {
    /// Goes on from the last certificate of `way`. A way with a forged signature is followed too, to tell a stranger
    /// from somebody who claims a trusted root; it ends nowhere.
    fn extend(&mut self, way: &mut Vec<&'a Certificate>, genuine: bool) -> Option<Vec<&'a Certificate>> {
        let last = *way.last()?;
        for anchor in self.anchors.iter().filter(|anchor| last.names_as_issuer(anchor)) {
            if !self.signed(last, anchor)? || !genuine {
                self.note(CertificateError::ForgedChain {
                    subject: shown(&way[0].subject()),
                    root: shown(&anchor.subject()),
                });
                continue;
            }
            let mut path = way.clone();
            if anchor.der() != last.der() {
                path.push(anchor);
            }
            match (self.check)(&path) {
                Ok(()) => return Some(path),
                Err(error) => self.note(error),
            }
        }
        // One more, and the root after it, must fit.
        if way.len() + 2 > MAX_LENGTH {
            return None;
        }
        for other in self.others.iter().filter(|other| last.names_as_issuer(other)) {
            if way.iter().any(|met| met.der() == other.der()) {
                continue;
            }
            let genuine = self.signed(last, other)? && genuine;
            way.push(other);
            let found = self.extend(way, genuine);
            way.pop();
            if found.is_some() || self.checks > MAX_CHECKS {
                return found;
            }
        }
        None
    }

    /// Whether `issuer` signed it; nothing once too many were checked.
    fn signed(&mut self, certificate: &Certificate, issuer: &Certificate) -> Option<bool> {
        self.checks += 1;
        if self.checks > MAX_CHECKS {
            self.note(CertificateError::TooManyWays);
            return None;
        }
        Some(certificate.is_signed_by(issuer))
    }

    fn note(&mut self, error: CertificateError) {
        if error.closeness() > self.closest.closeness() {
            self.closest = error;
        }
    }
}

/// That none of the trusted certificates vouches for the leaf.
pub(super) fn untrusted(leaf: &Certificate, anchors: &[&Certificate]) -> CertificateError {
    let mut roots = Names::default();
    anchors.iter().for_each(|anchor| roots.add(&anchor.subject()));
    CertificateError::UntrustedRoot { subject: shown(&leaf.subject()), issuer: shown(&leaf.issuer()), roots }
}
