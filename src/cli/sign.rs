//! `weighbridge sign`: I vouch for this model.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::digest::How;
use super::facts_text::{Rows, heading, note_git_files};
use super::model_flags::{Model, ModelFlags, name_in, shown_path};
use super::progress::Bar;
use super::{Exit, Output, UsageError, new_file, print_finding, text_file};
use crate::api::v1alpha1::UnknownCode;
use crate::facts::{Finding, Measure, Measured, measure};
use crate::model::ResourceName;
use crate::signature::{Bundle, Credential, MAX_BUNDLE_BYTES, SignError, SigningKey, sign};

/// The rights that let anybody but the owner read a file.
const OTHERS_MAY_READ: u32 = 0o044;

/// The longest file that is read as a key, a passphrase or certificates, in bytes: a chain of ten takes 20 KiB.
const MAX_SECRET_BYTES: u64 = 1 << 20;

/// Sign a model with a private key, or with a certificate over one.
///
/// Writes MODEL/model.sig (for a single file, FILE.sig), as OpenSSF Model Signing 1.0 defines it. The bundle appears at
/// once and in full; one that is there already is left alone without --force. A folder whose
/// files `weighbridge verify` would refuse is not signed. What a certificate is for is not checked here: verify once with
/// the roots.
///
/// Exit codes: 0 signed, 1 refused, 2 could not be read or written, 64 usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub
  weighbridge sign model/ --key key.pem --no-ignore-git-paths
  weighbridge sign model/ --key key.pem --certificate leaf.pem --chain intermediate.pem
  weighbridge sign model/ --key encrypted.pem --password-file /run/secrets/passphrase
  weighbridge sign model/ --key key.pem --ignore model/checkpoints --force")]
pub(super) struct Flags {
    #[command(flatten)]
    model: ModelFlags,

    /// The private key (PEM: PKCS #8, with or without encryption, or SEC 1) on P-256, P-384 or P-521.
    #[arg(long, value_name = "FILE", aliases = ["private-key", "private_key"])]
    key: PathBuf,

    /// The file with the passphrase of an encrypted key. Without it, the passphrase is asked for on the terminal.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// The certificate over the key (PEM), for verifiers that trust a root.
    #[arg(long, value_name = "FILE", aliases = ["signing-certificate", "signing_certificate"])]
    certificate: Option<PathBuf>,

    /// The certificates between it and the root (PEM), each issued by the next. May be given several times.
    #[arg(long, value_name = "FILE", requires = "certificate", aliases = ["certificate-chain", "certificate_chain"])]
    chain: Vec<PathBuf>,

    /// Where to write the bundle. Default: MODEL/model.sig; for a single file, FILE.sig.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Replace a bundle that is there already.
    #[arg(long)]
    force: bool,

    /// Take a private key that others may read.
    #[arg(long)]
    allow_shared_key: bool,

    #[command(flatten)]
    how: How,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What the flags mean.
struct Settings {
    model: Model,
    measure: Measure,
    credential: Credential,
    signature: PathBuf,
    force: bool,
    output: Output,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, UsageError> {
        let settings = self.settings()?;
        settings.model.warn_of_absent(err);
        let started = Instant::now();
        let bar = Bar::new();
        let measured = measure(&settings.measure, &bar);
        bar.finish();
        let outcome = measured.and_then(|measured| settings.sign(&measured).map(|()| measured));
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(measured) => {
                // A reader that has gone away does not change what was done.
                let _ = settings.print(out, &measured, seconds);
                note_git_files(err, &settings.measure, &measured);
                Ok(Exit::Success)
            }
            Err(finding) => Ok(print_finding(out, settings.output, "Not signed", &settings.model.shown, &finding)),
        }
    }

    fn settings(self) -> Result<Settings, UsageError> {
        let credential = self.credential()?;
        let Flags { model, signature, force, how, output, .. } = self;
        let model = model.model()?;
        let signature = signature.unwrap_or_else(|| model.default_signature());
        refuse_to_overwrite(&signature, force)?;
        let mut measure = how.measure(&model)?;
        measure.ignore.extend(bundle_in(&model, &signature));
        Ok(Settings { model, measure, credential, signature, force, output })
    }

    fn credential(&self) -> Result<Credential, UsageError> {
        let wrong = |file: &Path, problem: String| UsageError(format!("{}: {problem}", shown_path(file)));
        let pem = read_key(&self.key, self.allow_shared_key)?;
        let passphrase = match &self.password_file {
            Some(file) => Some(passphrase_in(file)?),
            None if SigningKey::needs_passphrase(&pem) && io::stdin().is_terminal() => {
                let prompt = format!("Passphrase of {}: ", shown_path(&self.key));
                Some(rpassword::prompt_password(prompt).map_err(|error| wrong(&self.key, error.to_string()))?)
            }
            None => None,
        };
        let key = SigningKey::from_pem(&pem, passphrase.as_deref());
        let key = key.map_err(|error| wrong(&self.key, error.to_string()))?;
        let Some(certificate) = &self.certificate else { return Ok(Credential::key(key)) };
        let mut certificates = String::new();
        for file in std::iter::once(certificate).chain(&self.chain) {
            let text = File::open(file).map_err(|error| wrong(file, error.to_string()))?;
            certificates.push_str(&read_text(file, text)?);
            certificates.push('\n');
        }
        Credential::certificate(key, &certificates).map_err(|error| wrong(certificate, error.to_string()))
    }
}

impl Settings {
    fn sign(&self, measured: &Measured) -> Result<(), Finding> {
        let Measured { manifest, serialization, .. } = measured;
        let bundle = sign(manifest, serialization, &self.model.subject(), &self.credential).map_err(|error| {
            let code = match error {
                SignError::Statement(_) | SignError::Bundle(_) => UnknownCode::TooLarge,
                SignError::Failed => UnknownCode::VerifierFailed,
            };
            Finding::new(code, error.to_string())
        })?;
        new_file::write(&self.signature, &bundle, self.force).map_err(|error| {
            let message = format!("the bundle cannot be written to {}: {error}", shown_path(&self.signature));
            Finding::new(UnknownCode::Unreadable, message)
        })
    }

    fn print(&self, out: &mut dyn Write, measured: &Measured, seconds: f64) -> io::Result<()> {
        let Measured { manifest, bytes, left_out, .. } = measured;
        let files = manifest.files().len();
        let key = self.credential.signing_key().public().fingerprint();
        if self.output == Output::Json {
            let result = json!({
                "version": 1,
                "outcome": { "verdict": "Signed" },
                "bundle": self.signature.to_string_lossy(),
                "modelDigest": manifest.root_digest(),
                "manifestDigest": manifest.manifest_digest(),
                "files": files,
                "bytes": bytes,
                "key": key,
                "certificate": self.credential.is_certificate(),
                "leftOut": { "first": left_out.first(), "count": left_out.count() },
            });
            return writeln!(out, "{result}");
        }
        writeln!(out, "{}", heading("Signed", &self.model.shown, files as u64, *bytes, seconds))?;
        let mut rows = Rows::new(out);
        let by = if self.credential.is_certificate() { "certificate over key" } else { "key" };
        rows.row("signed by", &format!("{by} {key}"))?;
        rows.row("model digest", &manifest.root_digest())?;
        rows.row("manifest digest", &manifest.manifest_digest())?;
        rows.row("bundle", &shown_path(&self.signature))?;
        rows.left_out(&left_out.first(), left_out.count() as u64)
    }
}

/// A bundle that lies in the model is not part of it, also one that is about to be written.
fn bundle_in(model: &Model, signature: &Path) -> Option<ResourceName> {
    let name = if model.path.is_root() { name_in(&model.root, signature) } else { None };
    name.filter(|name| !name.is_root())
}

/// Whether something stands where the bundle is to be written: even with --force, only another bundle may be replaced.
fn refuse_to_overwrite(signature: &Path, force: bool) -> Result<(), UsageError> {
    let shown = shown_path(signature);
    let Ok(metadata) = fs::metadata(signature) else { return Ok(()) };
    if !force {
        return Err(UsageError(format!(
            "{shown} exists already; replace it with --force, or name another --signature"
        )));
    }
    let is_bundle = metadata.is_file()
        && metadata.len() <= MAX_BUNDLE_BYTES as u64
        && fs::read(signature).is_ok_and(|text| Bundle::parse(&text).is_ok());
    if is_bundle {
        return Ok(());
    }
    Err(UsageError(format!("{shown} exists and is not a bundle; remove it, or name another --signature")))
}

/// The text of a private key, unless others may read it: a key that somebody else has read signs for them too. What is
/// none may be read by anybody, and that is not what is wrong with it.
fn read_key(path: &Path, allow_shared: bool) -> Result<String, UsageError> {
    let shown = shown_path(path);
    let wrong = |error: io::Error| UsageError(format!("--key {shown}: {error}"));
    let file = File::open(path).map_err(wrong)?;
    let mode = file.metadata().map_err(wrong)?.mode();
    let pem = read_text(path, file)?;
    SigningKey::look(&pem).map_err(|error| UsageError(format!("--key {shown}: {error}")))?;
    if mode & OTHERS_MAY_READ != 0 && !allow_shared {
        return Err(UsageError(format!(
            "--key {shown}: others than its owner may read it (mode {:03o}); run `chmod 600 {shown}`, or take it as it is with --allow-shared-key",
            mode & 0o777
        )));
    }
    Ok(pem)
}

fn read_text(path: &Path, file: File) -> Result<String, UsageError> {
    text_file::read(file, MAX_SECRET_BYTES).map_err(|error| UsageError(format!("{}: {error}", shown_path(path))))
}

/// A passphrase without the line break that editors put at its end.
fn passphrase_in(path: &Path) -> Result<String, UsageError> {
    let file =
        File::open(path).map_err(|error| UsageError(format!("--password-file {}: {error}", shown_path(path))))?;
    let mut text = read_text(path, file)?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Ok(text)
}
