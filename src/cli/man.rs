//! `weighbridge man`: manual pages, made from the same descriptions as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::model_flags::shown_path;
use super::{Cli, Exit, UsageError};
use crate::model::shown;

/// Print a manual page, or write all of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weighbridge man verify | man -l -
  weighbridge man --dir /usr/local/share/man/man1")]
pub(super) struct Flags {
    /// The subcommand that the page is about; the program itself if left out.
    command: Option<String>,

    /// Write the pages of the program and of every subcommand into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        let Flags { command, dir } = self;
        let mut cli = Cli::command();
        cli.build();
        if let Some(dir) = dir {
            return write_all(&cli, &dir).map_err(|error| UsageError(format!("--dir {}: {error}", shown_path(&dir))));
        }
        let wanted = match &command {
            None => &cli,
            Some(name) => pages(&cli)
                .find(|command| command.get_name() == name)
                .ok_or_else(|| UsageError(format!("there is no subcommand `{}`", shown(name))))?,
        };
        // A reader that goes away has seen enough.
        let _ = render(wanted).and_then(|(_, page)| out.write_all(&page));
        Ok(Exit::Success)
    }
}

/// The subcommands that are meant for people.
fn pages(cli: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn write_all(cli: &clap::Command, dir: &Path) -> io::Result<Exit> {
    fs::create_dir_all(dir)?;
    for command in std::iter::once(cli).chain(pages(cli)) {
        let (name, page) = render(command)?;
        fs::write(dir.join(name), page)?;
    }
    Ok(Exit::Success)
}

/// A page, and the name of its file.
fn render(command: &clap::Command) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok((man.get_filename(), page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: Option<&str>) -> String {
        let mut out = Vec::new();
        let flags = Flags { command: command.map(str::to_owned), dir: None };
        assert_eq!(flags.run(&mut out), Ok(Exit::Success));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_subcommand_for_people_has_a_page_with_its_options() {
        assert!(page(None).contains("weighbridge\\-sign(1)"));
        let sign = page(Some("sign"));
        assert!(sign.contains("\\-\\-password\\-file") && sign.contains("Examples:"), "{sign}");
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags { command: None, dir: Some(dir.path().join("man1")) };
        flags.run(&mut Vec::new()).unwrap();
        let mut cli = Cli::command();
        cli.build();
        assert_eq!(fs::read_dir(dir.path().join("man1")).unwrap().count(), pages(&cli).count() + 1);
        assert_eq!(fs::read_to_string(dir.path().join("man1/weighbridge-sign.1")).unwrap(), sign);
    }

    #[test]
    fn what_has_no_page_is_said() {
        for name in ["nothing", "verifier", "help"] {
            let flags = Flags { command: Some(name.into()), dir: None };
            assert!(flags.run(&mut Vec::new()).unwrap_err().0.contains(name));
        }
    }
}
