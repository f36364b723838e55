//! `weighbridge completions`: prints what makes a shell complete commands and options.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  weighbridge completions bash > /etc/bash_completion.d/weighbridge")]
pub(super) struct Flags {
    /// The shell.
    shell: Shell,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "weighbridge", &mut script);
        // A reader that goes away has seen enough.
        let _ = out.write_all(&script);
        Exit::Success
    }
}
