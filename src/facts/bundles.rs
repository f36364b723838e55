//! The bundles of a model: the one that is used, and which others count beside it.
//!
//! A model may be signed several times, each time into a bundle of its own at its root. The first whose signature holds
//! is used; else the first that is a bundle. The signer of another one counts if it is over the very same names and
//! digests. All of them are left out of the comparison of files; what only looks like a bundle is not.

use std::sync::Arc;

use jiff::Timestamp;

use super::locate::{Located, read_bundle};
use crate::api::v1alpha1::{BundleIgnored, OtherBundle};
use crate::model::{Digest, ResourceName, shown};
use crate::signature::{Bundle, Rejection, RejectionCode, Signer, Statement, TrustMaterial, claimed, verify};

/// The bundles of a model, taken together.
pub(super) struct Bundles {
    /// Where the one that is used lies, fit to be shown.
    pub(super) at: String,
    /// The manifest's digest.
    pub(super) manifest_digest: Digest,
    /// What it states. Paths that not every counting signer ignored are not ignored.
    pub(super) statement: Statement,
    /// Who signed, by all that count; or why nobody's signature holds.
    pub(super) signers: Result<Vec<Signer>, Rejection>,
    /// The others.
    pub(super) others: Vec<OtherBundle>,
    /// All of them that lie in the model, by name.
    pub(super) names: Vec<ResourceName>,
}

/// One bundle that was looked at. What it states is kept for one of them alone: it may be as large as 256 MiB.
struct Looked {
    name: Option<ResourceName>,
    at: String,
    manifest: Digest,
    allow_symlinks: bool,
    ignore_paths: Vec<ResourceName>,
    signers: Result<Vec<Signer>, Rejection>,
}

/// Reads and verifies all bundles of a model. An error is about the first of them, if none is a bundle, or if that one is
/// none and lies outside of the model. `not_before` says
/// when time alone will make more of them hold, also if there is an error.
pub(super) fn look(
    located: &mut Located,
    trust: &TrustMaterial,
    now: Timestamp,
    not_before: &mut Option<Timestamp>,
) -> Result<Bundles, Rejection> {
    let mut looked: Vec<Looked> = Vec::new();
    let mut used: Option<(usize, Statement)> = None;
    let mut first_error = None;
    let first = (located.bundle_name.clone(), located.bundle_at.clone(), std::mem::take(&mut located.bundle));
    let more = located.other_names.iter().filter_map(|name| {
        let bytes = Arc::new(read_bundle(&located.folder, name).ok()?);
        Some((Some(name.clone()), shown(located.root.join(name).as_ref().unwrap_or(name).as_str()), bytes))
    });
    for (name, at, bytes) in std::iter::once(first).chain(more) {
        let (statement, signers) = match look_at(bytes, trust, now, not_before) {
            Ok(found) => found,
            // Who names a bundle outside of the model means that one: what lies in the model does not stand in for it.
            Err(rejection) if name.is_none() => return Err(rejection),
            Err(rejection) => {
                first_error.get_or_insert(rejection);
                continue;
            }
        };
        let holds = signers.is_ok();
        looked.push(Looked {
            name,
            at,
            manifest: statement.manifest.manifest_digest(),
            allow_symlinks: statement.serialization.allow_symlinks,
            ignore_paths: statement.serialization.ignore_paths.clone(),
            signers,
        });
        let better = used.as_ref().is_none_or(|(at, _)| holds && looked[*at].signers.is_err());
        if better {
            used = Some((looked.len() - 1, statement));
        }
    }
    match (used, first_error) {
        (Some((at, statement)), _) => Ok(together(looked, at, statement)),
        (None, Some(rejection)) => Err(rejection),
        (None, None) => Err(Rejection::Bundle(crate::signature::BundleError::Material)),
    }
}

/// What a bundle states, and who signed it or why the signature does not hold; an error if it is no bundle over a model.
fn look_at(
    bytes: Arc<Vec<u8>>,
    trust: &TrustMaterial,
    now: Timestamp,
    not_before: &mut Option<Timestamp>,
) -> Result<(Statement, Result<Vec<Signer>, Rejection>), Rejection> {
    let bundle = Bundle::parse(&bytes)?;
    // A large bundle of the volume is not kept in memory next to what was read from it.
    drop(bytes);
    let verified = verify(&bundle, trust, now);
    let later = verified.as_ref().map_or_else(|rejection| rejection.not_before(now), |verified| verified.not_before());
    *not_before = (*not_before).into_iter().chain(later).min();
    match verified {
        Ok(verified) => {
            let (signers, statement) = verified.into_parts();
            Ok((statement, Ok(signers)))
        }
        Err(rejection) => match claimed(&bundle) {
            Ok(statement) => Ok((statement, Err(rejection))),
            Err(_) => Err(rejection),
        },
    }
}

fn together(mut looked: Vec<Looked>, at: usize, mut statement: Statement) -> Bundles {
    let used = looked.remove(at);
    // One that was signed as a file of the model is a file of the model.
    looked.retain(|other| other.name.as_ref().is_none_or(|name| !statement.manifest.lists_at_or_below(name)));
    let names = used.name.iter().chain(looked.iter().filter_map(|other| other.name.as_ref())).cloned().collect();
    let mut signers = used.signers;
    let mut others = Vec::with_capacity(looked.len());
    for other in looked {
        let same = other.manifest == used.manifest && other.allow_symlinks == used.allow_symlinks;
        let ignored = match (other.signers, &mut signers) {
            (Ok(more), Ok(signers)) if same => {
                signers.extend(more.into_iter().filter(|signer| !signers.contains(signer)).collect::<Vec<_>>());
                statement.serialization.ignore_paths.retain(|path| other.ignore_paths.contains(path));
                None
            }
            (Ok(_), _) => Some(BundleIgnored::OtherManifest),
            (Err(rejection), _) => Some(because(&rejection)),
        };
        others.push(OtherBundle { name: shown(other.name.as_ref().map_or(&other.at, |name| name.as_str())), ignored });
    }
    Bundles { at: used.at, manifest_digest: used.manifest, statement, signers, others, names }
}

fn because(rejection: &Rejection) -> BundleIgnored {
    match rejection.code() {
        RejectionCode::UntrustedSigner => BundleIgnored::UntrustedSigner,
        RejectionCode::SignatureInvalid | RejectionCode::MalformedBundle => BundleIgnored::SignatureInvalid,
        RejectionCode::SignerExpired => BundleIgnored::SignerExpired,
        RejectionCode::UnsupportedBundle | RejectionCode::TooLarge => BundleIgnored::UnsupportedBundle,
    }
}
