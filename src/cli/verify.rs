//! `weighbridge verify`: is this model what somebody whom I trust signed?

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

use super::{Exit, UsageError};
use crate::api::v1alpha1::Detail;
use crate::clock;
use crate::facts::{
    Extent, Outcome, Place, Progress, Report, Request, SignatureLocation, SignerFact, default_threads, read,
};
use crate::model::{Links, ResourceName, shown, shown_to};
use crate::signature::{PublicKey, TrustMaterial};

/// Verify a model on this machine against its signature.
///
/// Exit codes: 0 verified, 1 refused, 2 not determined, 64 usage.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The model: a folder, or a single file.
    model: PathBuf,

    /// The bundle. Default: MODEL/model.sig, else the only *.sig or *.sigstore.json there; for a file, FILE.sig.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// A public key (PEM) whose signature you trust. May be given several times.
    #[arg(long, value_name = "FILE", aliases = ["public-key", "public_key"])]
    key: Vec<PathBuf>,

    /// A file or folder that may be unsigned, by its path here or inside the model. May be given several times. What
    /// is signed is checked all the same.
    #[arg(long, value_name = "PATH", aliases = ["ignore-paths", "ignore_paths"])]
    ignore: Vec<PathBuf>,

    /// Do not leave out Git's own files (.git, .gitattributes, .github, .gitignore).
    #[arg(long, aliases = ["no-ignore_git_paths"])]
    no_ignore_git_paths: bool,

    /// Follow symbolic links to files inside the model, if the signer did.
    #[arg(long, alias = "allow_symlinks")]
    allow_symlinks: bool,

    /// How many threads hash; at most eight are used. Default: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// The report, in one line.
    Json,
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
        bar.0.finish_and_clear();
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
        let Flags { model, signature, key, ignore, no_ignore_git_paths, allow_symlinks, threads, output } = self;
        if key.is_empty() {
            return Err(UsageError("no authority is named: give --key FILE with a public key that you trust".into()));
        }
        let keys = key.iter().map(|file| read_key(file)).collect::<Result<_, _>>()?;
        let (root, path) = root_and_path(&model)?;
        let ignore = ignore.iter().map(|path| ignored(&root, path)).collect::<Result<_, _>>()?;
        let request = Request {
            root,
            path,
            signature: signature.map_or(SignatureLocation::Discover, SignatureLocation::File),
            links: if allow_symlinks { Links::Follow } else { Links::Refuse },
            extent: Extent::Full,
            place: Place::Laptop { ignore, ignore_git: !no_ignore_git_paths },
            threads: threads.unwrap_or_else(default_threads),
            bytes_per_second: None,
            nonce: None,
        };
        let shown_model = shown_to(&model.to_string_lossy(), 200);
        Ok(Settings { request, trust: TrustMaterial { keys, ..TrustMaterial::default() }, shown_model, output })
    }
}

fn read_key(file: &Path) -> Result<PublicKey, UsageError> {
    let wrong = |problem: String| UsageError(format!("--key {}: {problem}", shown(&file.to_string_lossy())));
    let pem = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    PublicKey::from_pem(&pem).map_err(|error| wrong(error.to_string()))
}

/// A folder is its own root; a file is read in the folder that it lies in. What does not exist is found out by reading.
fn root_and_path(model: &Path) -> Result<(PathBuf, ResourceName), UsageError> {
    let is_file = fs::symlink_metadata(model).is_ok_and(|metadata| !metadata.is_dir()) && !model.is_dir();
    let (Some(base), true) = (model.file_name(), is_file) else {
        return Ok((model.into(), ResourceName::root()));
    };
    let path = base.to_str().map(ResourceName::parse).and_then(Result::ok);
    let path = path.ok_or_else(|| UsageError("the model's name is not one that can be signed; rename it".into()))?;
    let parent = model.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).into(), path))
}

/// A path to ignore is one of this machine that leads into the model, as the reference has it, or else one inside the
/// model.
fn ignored(model: &Path, path: &Path) -> Result<ResourceName, UsageError> {
    let wrong = || UsageError(format!("--ignore {}: not a path in the model", shown(&path.to_string_lossy())));
    let name = in_model(model, path).or_else(|| ResourceName::parse(path.to_str()?.trim_end_matches('/')).ok());
    name.filter(|name| !name.is_root()).ok_or_else(wrong)
}

fn in_model(model: &Path, path: &Path) -> Option<ResourceName> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let full = fs::canonicalize(parent).ok()?.join(path.file_name()?);
    match full.strip_prefix(fs::canonicalize(model).ok()?).ok()?.to_str()? {
        "" => Some(ResourceName::root()),
        name => ResourceName::parse(name).ok(),
    }
}

fn print(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let (code, message) = match &report.outcome {
        Outcome::Verified {} => return print_verified(out, model, report),
        Outcome::Refused { code, message, .. } => (code.as_str(), message),
        Outcome::Unknown { code, message, .. } => (code.as_str(), message),
    };
    let verdict = if matches!(report.outcome, Outcome::Refused { .. }) { "Refused" } else { "Not determined" };
    writeln!(out, "{verdict}: {model}: {message} [{code}]")
}

fn print_verified(out: &mut dyn Write, model: &str, report: &Report) -> io::Result<()> {
    let (files, bytes) = (report.files.unwrap_or_default(), report.bytes.unwrap_or_default());
    let seconds = report.duration_ms.max(1) as f64 / 1000.0;
    let rate = HumanBytes((bytes as f64 / seconds) as u64);
    let took = if seconds < 10.0 { format!("{seconds:.1} s") } else { took(report.duration_ms) };
    let files_word = if files == 1 { "file" } else { "files" };
    writeln!(out, "Verified: {model}: {files} {files_word}, {} in {took} ({rate}/s)", HumanBytes(bytes))?;
    for signer in &report.signers {
        match signer {
            SignerFact::Key { fingerprint } => writeln!(out, "  signed by        key {fingerprint}")?,
            SignerFact::Certificate { subject, root, .. } => {
                writeln!(out, "  signed by        {} (root {root})", shown(subject))?;
            }
            SignerFact::Keyless { identity, issuer, .. } => {
                writeln!(out, "  signed by        {} (known to {})", shown(identity), shown(issuer))?;
            }
        }
    }
    let digests = [("model digest", report.model_digest), ("manifest digest", report.manifest_digest)];
    for (name, digest) in digests {
        if let Some(digest) = digest {
            writeln!(out, "  {name:<16} {digest}")?;
        }
    }
    if let Some(bundle) = &report.bundle {
        writeln!(out, "  bundle           {bundle}")?;
    }
    if report.left_out.count > 0 {
        let more = report.left_out.count.saturating_sub(report.left_out.first.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(out, "  left out         {}{more}", report.left_out.first.join(", "))?;
    }
    Ok(())
}

fn took(milliseconds: u64) -> String {
    HumanDuration(Duration::from_millis(milliseconds)).to_string()
}

/// A progress bar on the terminal that reads standard error, if there is one.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Bar(bar)
    }
}

impl Progress for Bar {
    fn begin(&self, _files: usize, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
