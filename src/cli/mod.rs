//! The command line: one file per subcommand, each of which turns raw flags into settings and makes one call.
//!
//! Receives arguments, gives an exit code. Nothing below this layer sees a flag or an environment variable, and
//! nothing here decides about a model.

mod authority_flags;
mod check;
mod completions;
mod digest;
mod documents;
mod facts_text;
mod generate;
mod inspect;
mod man;
mod model_flags;
mod new_file;
mod operator;
mod policy_content;
mod policy_file;
mod process;
mod progress;
mod record;
mod sign;
mod text_file;
mod uninstall;
mod verifier;
mod verifier_flags;
mod verify;
mod verify_output;
mod webhook;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::api::v1alpha1::Code;
use crate::facts::{Finding, Outcome};

/// The gate that AI model weights pass on their way into a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "weighbridge", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One line for each subcommand; what it does stands in the file of its name.
#[derive(Debug, Subcommand)]
enum Command {
    Sign(sign::Flags),
    Verify(verify::Flags),
    Check(check::Flags),
    Digest(digest::Flags),
    Inspect(inspect::Flags),
    Record(record::Flags),
    Completions(completions::Flags),
    Man(man::Flags),
    Operator(operator::Flags),
    Webhook(webhook::Flags),
    Uninstall(uninstall::Flags),
    Generate(generate::Flags),
    Verifier(verifier::Flags),
}

impl Command {
    fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, UsageError> {
        match self {
            Command::Generate(flags) => flags.run(out),
            Command::Operator(flags) => flags.run(out),
            Command::Uninstall(flags) => flags.run(out),
            Command::Verify(flags) => flags.run(out, err),
            Command::Check(flags) => flags.run(out, err),
            Command::Sign(flags) => flags.run(out, err),
            Command::Digest(flags) => flags.run(out, err),
            Command::Inspect(flags) => flags.run(out),
            Command::Record(flags) => flags.run(out),
            Command::Verifier(flags) => flags.run(),
            Command::Webhook(flags) => flags.run(out),
            Command::Completions(flags) => Ok(flags.run(out)),
            Command::Man(flags) => flags.run(out),
        }
    }
}

/// How a subcommand ends. The codes are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for a verdict, verified.
    Success,
    /// 1: refused.
    Refused,
    /// 1: what was to be done could not be done, or what was to run for ever has ended.
    Failed,
    /// 2: not determined.
    Undetermined,
    /// 64 (`EX_USAGE`): the arguments make no sense.
    Usage,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Refused | Exit::Failed => 1,
            Exit::Undetermined => 2,
            Exit::Usage => 64,
        }
    }
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs: an object in one line.
    Json,
}

/// Why the arguments make no sense, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs the program with its own arguments and streams.
pub fn main() -> ExitCode {
    // Not locked: a subcommand may run for weeks, and its threads log to these streams too.
    run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()).code().into()
}

/// Runs a command line. What was asked for goes to `out`, what went wrong to `err`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(out, err),
        Err(error) => {
            // Help and version are errors to clap. It knows which stream, and whether that one shows colours.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(err, "error: {error}");
        Exit::Usage
    })
}

/// Prints what stands in the way of a model, and gives the exit code that says so.
fn print_finding(out: &mut dyn Write, output: Output, failed: &str, model: &str, finding: &Finding) -> Exit {
    let Finding { code, message, .. } = finding;
    // A reader that has gone away does not change what was found.
    let _ = match output {
        Output::Text => writeln!(out, "{}", sentence(failed, model, message, *code)),
        Output::Json => writeln!(out, "{}", json!({ "version": 1, "outcome": Outcome::from(finding.clone()) })),
    };
    if matches!(code, Code::Refused(_)) { Exit::Refused } else { Exit::Undetermined }
}

/// A verdict and why, for people. A message that names the model itself does not need it named before.
fn sentence(verdict: &str, model: &str, message: &str, code: Code) -> String {
    let names_it = message.contains(&format!("`{model}`"));
    let model = if names_it { String::new() } else { format!("{model}: ") };
    format!("{verdict}: {model}{message} [{code}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::UnknownCode;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_sentence_names_the_model_once() {
        let code = Code::Unknown(UnknownCode::SourceMissing);
        assert_eq!(sentence("Refused", "m", "no signature", code), "Refused: m: no signature [SourceMissing]");
        assert_eq!(sentence("Refused", "m", "`m` is away", code), "Refused: `m` is away [SourceMissing]");
    }
}
