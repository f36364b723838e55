//! The flags of every subcommand that reads a model, and what they mean.

use std::fs;
use std::io::{ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::UsageError;
use crate::facts::default_threads;
use crate::model::{Links, ResourceName, shown, shown_to};

/// How much of a path that a person typed is shown, in characters: they know it, and want to see its end.
const MAX_SHOWN_PATH: usize = 200;

/// Which model, and which of its files.
#[derive(Debug, Args)]
pub(super) struct ModelFlags {
    /// The model: a folder, or a single file.
    model: PathBuf,

    /// A file or folder that need not be signed, by its path here or inside the model. May be given several times.
    #[arg(long, value_name = "PATH", aliases = ["ignore-paths", "ignore_paths"])]
    ignore: Vec<PathBuf>,

    /// Do not leave out Git's own files (.git, .gitattributes, .github, .gitignore).
    #[arg(long, alias = "no-ignore_git_paths")]
    no_ignore_git_paths: bool,

    /// Leave out Git's own files, which is the default.
    #[arg(long, hide = true, overrides_with = "no_ignore_git_paths", alias = "ignore_git_paths")]
    ignore_git_paths: bool,

    /// Follow symbolic links to files inside the model.
    #[arg(long, alias = "allow_symlinks")]
    allow_symlinks: bool,

    /// How many threads hash; at most eight are used. Default: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// A model on this machine.
pub(super) struct Model {
    /// The folder out of which no path leads.
    pub(super) root: PathBuf,
    /// The model beneath it: the folder itself, or a file in it.
    pub(super) path: ResourceName,
    /// What may be unsigned.
    pub(super) ignore: Vec<ResourceName>,
    /// Whether Git's files may be unsigned.
    pub(super) ignore_git: bool,
    /// Whether links are followed.
    pub(super) links: Links,
    /// What of that is not there, as the person wrote it, fit to be shown.
    pub(super) absent: Vec<String>,
    /// How many threads hash.
    pub(super) threads: NonZeroUsize,
    /// As the person wrote it, fit to be shown.
    pub(super) shown: String,
}

impl ModelFlags {
    /// What the flags mean.
    pub(super) fn model(self) -> Result<Model, UsageError> {
        let ModelFlags { model, ignore, no_ignore_git_paths, ignore_git_paths: _, allow_symlinks, threads } = self;
        let (root, path) = root_and_path(&model)?;
        let names = ignore.iter().map(|path| ignored(&root, path)).collect::<Result<Vec<_>, _>>()?;
        let absent = ignore.iter().zip(&names).filter(|(_, name)| root.is_dir() && is_absent(&root, name));
        let absent = absent.map(|(path, _)| shown_path(path)).collect();
        Ok(Model {
            root,
            path,
            ignore: names,
            absent,
            ignore_git: !no_ignore_git_paths,
            links: if allow_symlinks { Links::Follow } else { Links::Refuse },
            threads: threads.unwrap_or_else(default_threads),
            shown: shown_path(&model),
        })
    }
}

impl Model {
    /// The file or folder itself, as a path of this machine.
    pub(super) fn location(&self) -> PathBuf {
        if self.path.is_root() { self.root.clone() } else { self.root.join(self.path.as_str()) }
    }

    /// Says which paths to ignore are not there: what is misspelt is read and compared after all.
    pub(super) fn warn_of_absent(&self, err: &mut dyn Write) {
        for path in &self.absent {
            // Nobody is left to tell if this fails.
            let _ = writeln!(err, "warning: --ignore {path}: nothing of that name is in the model; correct the path");
        }
    }

    /// Where its signature is by default: `MODEL/model.sig`, of a single file `FILE.sig`.
    pub(super) fn default_signature(&self) -> PathBuf {
        if self.path.is_root() { self.root.join("model.sig") } else { self.root.join(format!("{}.sig", self.path)) }
    }

    /// What statements call it: the last component of its path.
    pub(super) fn subject(&self) -> String {
        let location = self.location();
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        name(&location).or_else(|| name(&fs::canonicalize(&location).ok()?)).unwrap_or_default()
    }
}

/// A path that a person typed, fit to be shown.
pub(super) fn shown_path(path: &Path) -> String {
    shown_to(&path.to_string_lossy(), MAX_SHOWN_PATH)
}

/// The name in a model of a path of this machine that leads into it.
pub(super) fn name_in(model: &Path, path: &Path) -> Option<ResourceName> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let full = fs::canonicalize(parent).ok()?.join(path.file_name()?);
    match full.strip_prefix(fs::canonicalize(model).ok()?).ok()?.to_str()? {
        "" => Some(ResourceName::root()),
        name => ResourceName::parse(name).ok(),
    }
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

fn is_absent(model: &Path, name: &ResourceName) -> bool {
    fs::symlink_metadata(model.join(name.as_str())).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A path to ignore is one of this machine that leads into the model, as the reference has it, or else one inside the
/// model.
fn ignored(model: &Path, path: &Path) -> Result<ResourceName, UsageError> {
    let wrong = || UsageError(format!("--ignore {}: not a path in the model", shown(&path.to_string_lossy())));
    let name = name_in(model, path).or_else(|| ResourceName::parse(path.to_str()?.trim_end_matches('/')).ok());
    name.filter(|name| !name.is_root()).ok_or_else(wrong)
}
