//! `weighbridge verify`: is this model what somebody whom I trust signed?

use std::cell::RefCell;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::authority_flags::AuthorityFlags;
use super::facts_text::{Rows, heading};
use super::model_flags::{Model, ModelFlags, shown_path};
use super::policy_content;
use super::progress::Bar;
use super::verify_output::{Satisfied, VerifyOutput};
use super::{Exit, Output, UsageError, sentence};
use crate::api::v1alpha1::{Detail, OtherBundle, SignerKind, SignerStatus, UnknownCode};
use crate::clock;
use crate::decision::check_signers;
use crate::facts::{Examined, Extent, Finding, Outcome, Place, Report, Request, SignatureLocation, Signers, examine};
use crate::model::{Links, shown};
use crate::policy::CompiledPolicies;
use crate::signature::TrustMaterial;

/// How a verdict of Unknown is called for people.
const NOT_DETERMINED: &str = "Not determined";

/// Verify a model on this machine against its signature.
///
/// Every file is compared with what was signed; what is unsigned is refused unless it is ignored. Whose signature counts has
/// to be said: by a key, by the roots of certificates, by an identity and its issuer, or by a policy.
///
/// Exit codes: 0 verified, 1 refused, 2 not determined, 64 usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weighbridge verify model/ --key release.pub
  weighbridge verify weights.gguf --signature weights.gguf.sig --key release.pub
  weighbridge verify model/ --certificate-roots acme-pki.pem --certificate-san uri:spiffe://acme/ml-release
  weighbridge verify model/ --identity release@acme.example --issuer https://accounts.google.com
  weighbridge verify model/ --issuer https://token.actions.githubusercontent.com \\
    --identity-regexp 'https://github.com/acme/.+@refs/tags/v.+'
  weighbridge verify model/ --policy policy.yaml --output json | jq .differences")]
pub(super) struct Flags {
    #[command(flatten)]
    model: ModelFlags,

    /// The bundle. Default: MODEL/model.sig, else the only *.sig or *.sigstore.json there; for a file, FILE.sig.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Read at most so many bytes per second, so that a server on the same disk is not starved.
    #[arg(long, value_name = "BYTES")]
    io_limit: Option<NonZeroU64>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    #[command(flatten)]
    authorities: AuthorityFlags,
}

/// What the flags mean.
struct Settings {
    request: Request,
    policies: CompiledPolicies,
    /// Whether they are those of a cluster, and judge the content as well.
    of_cluster: bool,
    shown_model: String,
    output: Output,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, UsageError> {
        let Settings { request, policies, of_cluster, shown_model, output } = self.settings(err)?;
        let (now, satisfied) = (clock::now(), RefCell::new(Vec::new()));
        let admit = |signers: &Signers, others: &[OtherBundle]| {
            *satisfied.borrow_mut() = satisfied_by(&policies, signers, others, now)?;
            Ok(())
        };
        let examined = match trust_of(&policies) {
            Ok(trust) => {
                let bar = Bar::new();
                let examined = examine(&request, &trust, &admit, now, &bar);
                bar.finish();
                if of_cluster { policy_content::judged(&policies, examined) } else { examined }
            }
            Err(problem) => {
                let report = Report::failed(None, Extent::Full, UnknownCode::PolicyInvalid, &problem);
                Examined { report, mismatch: None }
            }
        };
        let exit = match examined.report.outcome {
            Outcome::Verified {} => Exit::Success,
            Outcome::Refused { .. } => Exit::Refused,
            Outcome::Divided { .. } | Outcome::Unknown { .. } => Exit::Undetermined,
        };
        if examined.report.outcome.detail() == Some(Detail::AmbiguousBundle) {
            return Err(UsageError(examined.report.outcome.message().unwrap_or_default().into()));
        }
        let written = match output {
            Output::Json => {
                writeln!(out, "{}", VerifyOutput::new(&shown_model, now, examined, satisfied.into_inner()).to_json())
            }
            Output::Text => print(out, &shown_model, &examined.report),
        };
        // A reader that has gone away does not change what was found.
        drop(written);
        Ok(exit)
    }

    fn settings(self, err: &mut dyn Write) -> Result<Settings, UsageError> {
        let Flags { model, signature, io_limit, authorities, output } = self;
        if let Some(folder) = signature.as_ref().filter(|file| file.is_dir()) {
            return Err(UsageError(format!("--signature {}: it is a folder; name the bundle", shown_path(folder))));
        }
        let of_cluster = authorities.are_policies();
        let policies = authorities.policies()?;
        let model = model.model()?;
        model.warn_of_absent(err);
        let Model { root, path, ignore, ignore_git, links, absent: _, threads, shown } = model;
        let request = Request {
            root,
            path,
            signature: signature.map_or(SignatureLocation::Discover, SignatureLocation::File),
            links: if of_cluster { Links::Follow } else { links },
            extent: Extent::Full,
            place: if of_cluster { Place::LaptopUnderPolicies } else { Place::Laptop { ignore, ignore_git } },
            threads,
            bytes_per_second: io_limit,
            nonce: None,
        };
        Ok(Settings { request, policies, of_cluster, shown_model: shown, output })
    }
}

/// What all policies trust together, if each of them holds all that it refers to; else what is missing.
fn trust_of(policies: &CompiledPolicies) -> Result<TrustMaterial, String> {
    for policy in policies.iter() {
        policy.accepted().map_err(|problem| format!("policy {}: {problem}", shown(&policy.name.to_string())))?;
    }
    policies.trust().material().map_err(|error| error.to_string())
}

/// Who of those who were named has signed, for each policy; or what is missing. Admission asks the same.
fn satisfied_by(
    policies: &CompiledPolicies,
    signers: &Signers,
    others: &[OtherBundle],
    now: Timestamp,
) -> Result<Vec<Satisfied>, Finding> {
    let signers = signers.statuses();
    let mut satisfied = Vec::new();
    for policy in policies.iter() {
        match check_signers(policy, &signers, others, now) {
            Ok(authority) => {
                satisfied.push(Satisfied { policy: policy.name.to_string(), authority: authority.to_owned() })
            }
            Err((code, why)) => {
                let message = policy_content::sentence(policy, &why);
                return Err(Finding { detail: why.detail, ..Finding::new(code, message) });
            }
        }
    }
    Ok(satisfied)
}

fn print(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let verdict = match &report.outcome {
        Outcome::Verified {} => return print_verified(out, model, report),
        Outcome::Refused { .. } => "Refused",
        Outcome::Divided { .. } | Outcome::Unknown { .. } => NOT_DETERMINED,
    };
    let (Some(code), Some(message)) = (report.outcome.code(), report.outcome.message()) else { return Ok(()) };
    writeln!(out, "{}", sentence(verdict, model, message, code))
}

/// A signer in full: nothing of its fingerprints is cut.
fn in_words(signer: &SignerStatus) -> String {
    let text = |text: &Option<String>| shown(text.as_deref().unwrap_or_default());
    match signer.kind {
        SignerKind::Key => format!("key {}", signer.fingerprint.as_deref().unwrap_or_default()),
        SignerKind::Certificate => {
            let mut roots: Vec<&str> = signer.proofs.iter().filter_map(|proof| proof.root.as_deref()).collect();
            roots.dedup();
            format!("{} (root {})", text(&signer.subject), roots.join(", "))
        }
        SignerKind::Keyless => format!("{} (known to {})", text(&signer.identity), text(&signer.issuer)),
    }
}

fn print_verified(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let (files, bytes) = (report.files.unwrap_or_default(), report.bytes.unwrap_or_default());
    writeln!(out, "{}", heading("Verified", model, files, bytes, report.duration_ms as f64 / 1000.0))?;
    let mut rows = Rows::new(out);
    for signer in report.signers.statuses() {
        rows.row("signed by", &in_words(&signer))?;
    }
    let digests = [("model digest", report.model_digest), ("manifest digest", report.manifest_digest)];
    for (name, digest) in digests {
        digest.map_or(Ok(()), |digest| rows.row(name, &digest))?;
    }
    report.bundle.as_ref().map_or(Ok(()), |bundle| rows.row("bundle", bundle))?;
    rows.left_out(&report.left_out.first, report.left_out.count)
}
