//! `weighbridge generate`: writes the files that are derived from the code, or says which are out of date.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, UsageError, check, verify_output};
use crate::generate::{self, Artifact, GenerateError};

/// Write the files that are derived from the code, or check them (for those who work on weighbridge itself).
#[derive(Args, Debug)]
#[command(hide = true)]
pub(super) struct Flags {
    /// `write` writes what differs; `check` names it and exits with 1.
    #[arg(long, value_enum, default_value = "check")]
    mode: Mode,

    /// The root of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,

    /// The program that renders the chart.
    #[arg(long, env = "HELM", value_name = "PROGRAM", default_value = "helm")]
    helm: OsString,

    /// Leave out manifests/, which needs helm.
    #[arg(long)]
    skip_manifests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Write,
    Check,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        match self.generate(out) {
            Ok(true) => Ok(Exit::Success),
            Ok(false) => Ok(Exit::Refused),
            Err(error) => {
                say(out, &error.to_string());
                Ok(Exit::Undetermined)
            }
        }
    }

    /// False if files are out of date in `check` mode.
    fn generate(&self, out: &mut dyn Write) -> Result<bool, GenerateError> {
        let mut artifacts = generate::artifacts()?;
        artifacts.extend([verify_output::schema(), check::schema()]);
        let current = self.settle(&artifacts, out)?;
        if self.skip_manifests {
            return Ok(current);
        }
        // Last: it is made from the chart, which the step before may have written.
        let rendered = generate::rendered(&self.root, &self.helm)?;
        Ok(self.settle(&[rendered], out)? && current)
    }

    /// Writes or names what differs; true if that leaves nothing to do.
    fn settle(&self, artifacts: &[Artifact], out: &mut dyn Write) -> Result<bool, GenerateError> {
        let stale = generate::stale(&self.root, artifacts)?;
        for artifact in &stale {
            let path = artifact.path.display();
            match self.mode {
                Mode::Write => {
                    generate::write(&self.root, artifact)?;
                    say(out, &format!("{path}: written"));
                }
                Mode::Check => say(out, &format!("{path}: differs; run `weighbridge generate --mode write`")),
            }
        }
        Ok(self.mode == Mode::Write || stale.is_empty())
    }
}

/// Prints a line. Whoever closed the stream does not want it; the exit code still tells.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &std::path::Path, mode: Mode) -> (Exit, String) {
        let flags = Flags { mode, root: root.into(), helm: "helm".into(), skip_manifests: true };
        let mut out = Vec::new();
        let exit = flags.run(&mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn check_names_what_write_would_write() {
        let root = tempfile::tempdir().unwrap();
        let (exit, said) = run(root.path(), Mode::Check);
        assert_eq!(exit, Exit::Refused);
        assert!(said.contains("crds/modelverifications.weighbridge.dev.yaml: differs"), "{said}");
        assert_eq!(run(root.path(), Mode::Write).0, Exit::Success);
        assert_eq!(run(root.path(), Mode::Check), (Exit::Success, String::new()));
    }

    #[test]
    fn the_repository_holds_the_schema_of_the_output() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let artifacts = [verify_output::schema(), check::schema()];
        assert!(generate::stale(root, &artifacts).unwrap().is_empty(), "run `weighbridge generate --mode write`");
    }

    #[test]
    fn without_helm_it_is_said_that_the_manifests_were_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let helm = root.path().join("no-such-program").into();
        let flags = Flags { mode: Mode::Write, root: root.path().into(), helm, skip_manifests: false };
        let mut out = Vec::new();
        assert_eq!(flags.run(&mut out).unwrap(), Exit::Undetermined);
        assert!(String::from_utf8(out).unwrap().contains("manifests/weighbridge.yaml was not looked at"));
    }
}
