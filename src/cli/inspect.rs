//! `weighbridge inspect`: what does this bundle say?

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts_text::{Rows, resources};
use super::model_flags::shown_path;
use super::{Exit, Output, UsageError, print_finding};
use crate::facts::Finding;
use crate::model::{Names, ResourceName, shown};
use crate::signature::{Bundle, Claimed, ClaimedCertificate, MAX_BUNDLE_BYTES, Rejection, Statement, claimed};

/// Show what a bundle says: who signed what, when. Nothing is verified.
///
/// Anybody can write a bundle that says anything. `weighbridge verify` checks it.
///
/// Exit codes: 0 done, 1 not a bundle over a model, 2 over a limit, 64 usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weighbridge inspect model/model.sig
  weighbridge inspect model/
  weighbridge inspect model/model.sig --output json | jq '.resources[].name'")]
pub(super) struct Flags {
    /// The bundle, or the model's folder with model.sig in it.
    bundle: PathBuf,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        let Flags { bundle, output } = self;
        let path = if bundle.is_dir() { bundle.join("model.sig") } else { bundle };
        let text = read(&path).map_err(|error| UsageError(format!("{}: {error}", shown_path(&path))))?;
        let parsed = Bundle::parse(&text).map_err(Rejection::from);
        let parsed = parsed.and_then(|bundle| Ok((bundle.claimed_signer(), claimed(&bundle)?)));
        match parsed {
            Ok((signer, statement)) => {
                // A reader that has gone away has seen enough.
                let _ = match output {
                    Output::Text => print(out, &shown_path(&path), &signer, &statement),
                    Output::Json => writeln!(out, "{}", object(&signer, &statement)),
                };
                Ok(Exit::Success)
            }
            Err(rejection) => {
                Ok(print_finding(out, output, "Not readable", &shown_path(&path), &Finding::from(rejection)))
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut text = Vec::new();
    // One byte more than the limit: whoever parses it sees that it is over.
    File::open(path)?.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn print(out: &mut dyn Write, path: &str, signer: &Claimed, statement: &Statement) -> io::Result<()> {
    writeln!(out, "Nothing was verified. {path} says of itself, and anybody could have written it:")?;
    let Statement { manifest, serialization } = statement;
    let mut rows = Rows::new(out);
    rows.row("signed by", &by(signer))?;
    match signer {
        Claimed::Key { .. } => {}
        Claimed::Certificate { leaf, above } => {
            print_certificate(&mut rows, leaf.as_ref())?;
            rows.row("chain", &format!("{above} more certificates"))?;
        }
        Claimed::Keyless { leaf, entries, timestamps } => {
            print_certificate(&mut rows, leaf.as_ref())?;
            for entry in entries {
                let at = entry.at.map(|at| format!(", at {at}")).unwrap_or_default();
                rows.row("log entry", &format!("{}{at}", entry.index))?;
            }
            rows.row("timestamps", timestamps)?;
        }
    }
    rows.row("files", &manifest.files().len())?;
    rows.row("hashed as", &manifest.method().algorithm_name(manifest.algorithm()))?;
    rows.row("symbolic links", &if serialization.allow_symlinks { "followed" } else { "none" })?;
    rows.row("model digest", &manifest.root_digest())?;
    rows.row("manifest digest", &manifest.manifest_digest())?;
    let mut ignored = Names::default();
    serialization.ignore_paths.iter().for_each(|path| ignored.add(path.as_str()));
    rows.left_out(&ignored.first(), ignored.count() as u64)
}

/// The signer in a line.
fn by(signer: &Claimed) -> String {
    let name = |leaf: &Option<ClaimedCertificate>| match leaf {
        None => "a certificate that cannot be read".to_owned(),
        Some(leaf) if leaf.names.is_empty() => shown(&leaf.subject),
        Some(leaf) => leaf.names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", "),
    };
    match signer {
        Claimed::Key { hint: Some(hint) } => format!("a key whose PEM text has the SHA-256 {}", shown(hint)),
        Claimed::Key { hint: None } => "a key that the bundle does not name".to_owned(),
        Claimed::Certificate { leaf, .. } => format!("{}, by certificate", name(leaf)),
        Claimed::Keyless { leaf, .. } => format!("{}, by Sigstore", name(leaf)),
    }
}

fn print_certificate(rows: &mut Rows<'_>, leaf: Option<&ClaimedCertificate>) -> io::Result<()> {
    let Some(ClaimedCertificate { subject, issuer, names: _, oidc_issuer, not_before, not_after }) = leaf else {
        return Ok(());
    };
    if !subject.is_empty() {
        rows.row("subject", &shown(subject))?;
    }
    rows.row("issued by", &shown(issuer))?;
    oidc_issuer.as_ref().map_or(Ok(()), |issuer| rows.row("known to", &shown(issuer)))?;
    rows.row("valid", &format!("{not_before} to {not_after}"))
}

fn object(signer: &Claimed, statement: &Statement) -> Value {
    let Statement { manifest, serialization } = statement;
    let algorithm = manifest.method().algorithm_name(manifest.algorithm());
    json!({
        "version": 1,
        "verified": false,
        "claimedSigner": signer_object(signer),
        "files": manifest.files().len(),
        "method": manifest.method().as_str(),
        "algorithm": algorithm,
        "allowSymlinks": serialization.allow_symlinks,
        "ignorePaths": serialization.ignore_paths.iter().map(ResourceName::as_str).collect::<Vec<_>>(),
        "modelDigest": manifest.root_digest(),
        "manifestDigest": manifest.manifest_digest(),
        "resources": resources(manifest),
    })
}

fn signer_object(signer: &Claimed) -> Value {
    let time = |at: &Timestamp| at.to_string();
    let certificate = |leaf: &Option<ClaimedCertificate>| {
        leaf.as_ref().map(|leaf| {
            let ClaimedCertificate { subject, issuer, names, oidc_issuer, not_before, not_after } = leaf;
            json!({
                "subject": subject,
                "issuer": issuer,
                "names": names,
                "oidcIssuer": oidc_issuer,
                "notBefore": time(not_before),
                "notAfter": time(not_after),
            })
        })
    };
    match signer {
        Claimed::Key { hint } => json!({ "kind": "Key", "hint": hint }),
        Claimed::Certificate { leaf, above } => {
            json!({ "kind": "Certificate", "leaf": certificate(leaf), "certificatesAbove": above })
        }
        Claimed::Keyless { leaf, entries, timestamps } => {
            let entry = |entry: &crate::signature::ClaimedEntry| json!({ "index": entry.index, "at": entry.at.as_ref().map(time) });
            let entries: Vec<Value> = entries.iter().map(entry).collect();
            json!({ "kind": "Keyless", "leaf": certificate(leaf), "logEntries": entries, "timestamps": timestamps })
        }
    }
}
