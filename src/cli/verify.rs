//! `weighbridge verify`: is this model what somebody whom I trust signed?

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::authority_flags::AuthorityFlags;
use super::facts_text::{LeftOut, Rows, heading};
use super::model_flags::{Model, ModelFlags};
use super::progress::Bar;
use super::{Exit, Output, UsageError, sentence};
use crate::api::v1alpha1::Detail;
use crate::clock;
use crate::facts::{Extent, Outcome, Place, Report, Request, SignatureLocation, SignerFact, read};
use crate::model::shown;
use crate::signature::TrustMaterial;

/// Verify a model on this machine against its signature.
///
/// Exit codes: 0 verified, 1 refused, 2 not determined, 64 usage.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    model: ModelFlags,

    /// The bundle. Default: MODEL/model.sig, else the only *.sig or *.sigstore.json there; for a file, FILE.sig.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    #[command(flatten)]
    authorities: AuthorityFlags,
}

/// What the flags mean.
struct Settings {
    request: Request,
    trust: TrustMaterial,
    shown_model: String,
    output: Output,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        let Settings { request, trust, shown_model, output } = self.settings()?;
        let bar = Bar::new();
        let report = read(&request, &trust, clock::now(), &bar);
        bar.finish();
        if report.outcome.detail() == Some(Detail::AmbiguousBundle) {
            return Err(UsageError(report.outcome.message().unwrap_or_default().into()));
        }
        let written = match output {
            Output::Json => writeln!(out, "{}", report.to_json()),
            Output::Text => print(out, &shown_model, &report),
        };
        // A reader that has gone away does not change what was found.
        drop(written);
        Ok(match report.outcome {
            Outcome::Verified {} => Exit::Success,
            Outcome::Refused { .. } => Exit::Refused,
            Outcome::Unknown { .. } => Exit::Undetermined,
        })
    }

    fn settings(self) -> Result<Settings, UsageError> {
        let Flags { model, signature, authorities, output } = self;
        let trusted = authorities.trusted()?;
        if trusted.is_empty() {
            let message = "no authority is named: give --key FILE with a public key that you trust, --certificate-roots \
                           FILE, or --identity with --issuer";
            return Err(UsageError(message.into()));
        }
        let Model { root, path, ignore, ignore_git, links, threads, shown } = model.model()?;
        let request = Request {
            root,
            path,
            signature: signature.map_or(SignatureLocation::Discover, SignatureLocation::File),
            links,
            extent: Extent::Full,
            place: Place::Laptop { ignore, ignore_git },
            threads,
            bytes_per_second: None,
            nonce: None,
        };
        Ok(Settings { request, trust: trusted.material, shown_model: shown, output })
    }
}

fn print(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let verdict = match &report.outcome {
        Outcome::Verified {} => return print_verified(out, model, report),
        Outcome::Refused { .. } => "Refused",
        Outcome::Unknown { .. } => "Not determined",
    };
    let (Some(code), Some(message)) = (report.outcome.code(), report.outcome.message()) else { return Ok(()) };
    writeln!(out, "{}", sentence(verdict, model, message, code))
}

fn print_verified(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let (files, bytes) = (report.files.unwrap_or_default(), report.bytes.unwrap_or_default());
    writeln!(out, "{}", heading("Verified", model, files, bytes, report.duration_ms as f64 / 1000.0))?;
    let mut rows = Rows::new(out);
    for signer in &report.signers {
        let signer = match signer {
            SignerFact::Key { fingerprint } => format!("key {fingerprint}"),
            SignerFact::Certificate { subject, root, .. } => format!("{} (root {root})", shown(subject)),
            SignerFact::Keyless { identity, issuer, .. } => format!("{} (known to {})", shown(identity), shown(issuer)),
        };
        rows.row("signed by", &signer)?;
    }
    let digests = [("model digest", report.model_digest), ("manifest digest", report.manifest_digest)];
    for (name, digest) in digests {
        digest.map_or(Ok(()), |digest| rows.row(name, &digest))?;
    }
    report.bundle.as_ref().map_or(Ok(()), |bundle| rows.row("bundle", bundle))?;
    rows.left_out(LeftOut { first: &report.left_out.first, count: report.left_out.count })
}
