//! The one way through: locate, parse, verify, read, compare.

use std::time::Instant;

use jiff::Timestamp;

use super::bundles::{self, Bundles};
use super::content;
use super::finding::Finding;
use super::locate::{Found, locate};
use super::report::{Extent, MAX_PATH_BYTES, Outcome, Report};
use super::request::{Place, Progress, Request};
use super::signers::Signers;
use crate::api::v1alpha1::{Code, OtherBundle, UnknownCode};
use crate::model::ContentMismatch;
use crate::signature::{Rejection, RejectionCode, TrustMaterial};

/// What was found, with all names.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What was found.
    pub report: Report,
    /// How the files differ from what was signed, if they were compared and do.
    pub mismatch: Option<ContentMismatch>,
}

/// Says whether those who signed may sign; asked before any file is read.
pub type Admit<'a> = &'a dyn Fn(&Signers, &[OtherBundle]) -> Result<(), Finding>;

/// Reads a model and says what was found, whoever signed it. Blocks until all of it is read.
pub fn read(request: &Request, trust: &TrustMaterial, now: Timestamp, progress: &dyn Progress) -> Report {
    examine(request, trust, &|_, _| Ok(()), now, progress).report
}

/// Reads a model that somebody signed who may, and says what was found. Blocks until all of it is read.
pub fn examine(
    request: &Request,
    trust: &TrustMaterial,
    admit: Admit<'_>,
    now: Timestamp,
    progress: &dyn Progress,
) -> Examined {
    let started = Instant::now();
    let mut report = Report::begin(request.nonce.clone(), request.extent);
    let outcome = gather(request, trust, admit, now, progress, &mut report);
    let mut mismatch = None;
    report.outcome = match outcome {
        Ok(outcome) => outcome,
        Err(mut finding) => {
            mismatch = finding.mismatch.take().map(|mismatch| *mismatch);
            finding.into()
        }
    };
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Examined { report, mismatch }
}

fn gather(
    request: &Request,
    trust: &TrustMaterial,
    admit: Admit<'_>,
    now: Timestamp,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<Outcome, Finding> {
    check_path_fits(request)?;
    let mut located = match locate(request)? {
        Found::Model(located) => *located,
        Found::Models(paths) => {
            return Ok(Outcome::Divided { models: paths.iter().map(ToString::to_string).collect() });
        }
    };
    report.model_root = Some(located.root.to_string());
    report.bundle = Some(located.bundle_at.clone());
    report.signature_verified = Some(false);
    let looked = bundles::look(&mut located, trust, now, &mut report.not_before)?;
    let Bundles { at, manifest_digest, statement, signers, others, names } = looked;
    report.bundle = Some(at);
    report.other_bundles = others;
    let signature = match signers {
        Ok(signers) => {
            report.signature_verified = Some(true);
            report.signers = signers.into();
            Ok(())
        }
        Err(rejection) if is_worth_reading(&rejection, &request.place, now) => Err(Finding::from(rejection)),
        Err(rejection) => return Err(rejection.into()),
    };
    report.model_digest = Some(statement.manifest.root_digest());
    report.manifest_digest = Some(manifest_digest);
    report.files = Some(statement.manifest.files().len() as u64);
    report.allow_symlinks = statement.serialization.allow_symlinks;
    if signature.is_ok() {
        admit(&report.signers, &report.other_bundles)?;
    }
    if request.extent == Extent::SignatureOnly {
        return signature.map(|()| Outcome::Verified {});
    }
    let mut read = content::Read::default();
    let content = content::check(&located, &names, &statement, request, progress, &mut read);
    report.bytes = read.bytes;
    report.left_out = read.left_out.into();
    (report.symlinks, report.unsigned) = (read.links, read.unsigned);
    report.content_verified = match &content {
        Ok(()) => Some(true),
        Err(Finding { code: Code::Refused(_), .. }) => Some(false),
        Err(_) => None,
    };
    both(signature, content).map(|()| Outcome::Verified {})
}

/// Whether the content is worth reading although nobody who is trusted signed it: in a cluster, where trust may be given
/// later and the read then counts. What only has to wait is read when its time has come.
fn is_worth_reading(rejection: &Rejection, place: &Place, now: Timestamp) -> bool {
    let untrusted = rejection.code() == RejectionCode::UntrustedSigner && rejection.not_before(now).is_none();
    untrusted && *place == Place::Cluster
}

/// The signature's trouble comes first; a content that is refused as well is told in the same sentence.
fn both(signature: Result<(), Finding>, content: Result<(), Finding>) -> Result<(), Finding> {
    match (signature, content) {
        (Err(mut finding), Err(other)) => {
            finding.message = format!("{}. Also: {}", finding.message, other.message);
            Err(finding)
        }
        (signature, content) => signature.and(content),
    }
}

/// A report holds the model's path in full, so that a longer one cannot be reported.
fn check_path_fits(request: &Request) -> Result<(), Finding> {
    let length = serde_json::to_string(request.path.as_str()).map_or(usize::MAX, |json| json.len());
    if length <= MAX_PATH_BYTES {
        return Ok(());
    }
    let message = format!("the model's path is longer than {MAX_PATH_BYTES} bytes; move it to a shorter one");
    Err(Finding::new(UnknownCode::TooLarge, message))
}
