//! The command line: one file per subcommand, each of which turns raw flags into settings and makes one call.
//!
//! Receives arguments, gives an exit code. Nothing below this layer sees a flag or an environment variable, and
//! nothing here decides about a model.

mod completions;
mod generate;
mod operator;
mod process;
mod record;
mod uninstall;
mod verifier;
mod verifier_flags;
mod verify;
mod webhook;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Generate(generate::Flags),
    Operator(operator::Flags),
    Uninstall(uninstall::Flags),
    Verify(verify::Flags),
    Record(record::Flags),
    Verifier(verifier::Flags),
    Webhook(webhook::Flags),
    Completions(completions::Flags),
}

impl Command {
    fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        match self {
            Command::Generate(flags) => flags.run(out),
            Command::Operator(flags) => flags.run(out),
            Command::Uninstall(flags) => flags.run(out),
            Command::Verify(flags) => flags.run(out),
            Command::Record(flags) => flags.run(out),
            Command::Verifier(flags) => flags.run(),
            Command::Webhook(flags) => flags.run(out),
            Command::Completions(flags) => Ok(flags.run(out)),
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
        Ok(cli) => cli.command.run(out),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
