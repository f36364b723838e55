//! How facts about a model are printed for people: a heading, then rows of a name and a value.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use serde_json::{Value, json};

use crate::facts::{Measure, Measured};
use crate::model::{Entry, Manifest, Names, is_git_path};

/// Below this many bytes a rate would be that of starting up, not of reading.
const MIN_BYTES_WITH_RATE: u64 = 64 << 20;

/// `Verified: model: 12 files, 1.50 GiB in 1.0 s (1.50 GiB/s)`
pub(super) fn heading(verdict: &str, model: &str, files: u64, bytes: u64, seconds: f64) -> String {
    let rate = HumanBytes((bytes as f64 / seconds.max(0.001)) as u64);
    let rate = if bytes < MIN_BYTES_WITH_RATE { String::new() } else { format!(" ({rate}/s)") };
    let took = if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        HumanDuration(Duration::from_secs_f64(seconds)).to_string()
    };
    let word = if files == 1 { "file" } else { "files" };
    format!("{verdict}: {model}: {files} {word}, {} in {took}{rate}", HumanBytes(bytes))
}

/// Rows under a heading.
pub(super) struct Rows<'a>(&'a mut dyn Write);

impl<'a> Rows<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Rows(out)
    }

    pub(super) fn row(&mut self, name: &str, value: &dyn Display) -> io::Result<()> {
        writeln!(self.0, "  {name:<16} {value}")
    }

    /// What was left out: the first names, fit to be shown, and how many there were.
    pub(super) fn left_out(&mut self, first: &[String], count: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let more = count.saturating_sub(first.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.row("left out", &format!("{}{more}", first.join(", ")))
    }
}

/// Says that Git's own files were left out, if any were: nobody asked for that, and a cluster takes nothing unsigned.
pub(super) fn note_git_files(err: &mut dyn Write, asked: &Measure, measured: &Measured) {
    let why = "Git's own, as the reference does; a cluster refuses what is not signed: give --no-ignore-git-paths, or have \
               its policies list them in content.ignorePaths";
    note_left_out(err, measured.left_out.iter().filter(|name| asked.ignore_git && is_git_path(name)), why);
}

/// Says what else was left out, for whoever sees no row of it.
pub(super) fn note_others(err: &mut dyn Write, asked: &Measure, measured: &Measured) {
    let why = "signatures, what --ignore names, and links to folders";
    note_left_out(err, measured.left_out.iter().filter(|name| !(asked.ignore_git && is_git_path(name))), why);
}

fn note_left_out<'a>(err: &mut dyn Write, names: impl Iterator<Item = &'a str>, why: &str) {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    let mut names = Names::default();
    sorted.into_iter().for_each(|name| names.add(name));
    if !names.is_empty() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(err, "note: {} left out: {names} ({why})", names.count());
    }
}

/// The digests of a manifest as OMS lists them.
pub(super) fn resources(manifest: &Manifest) -> Vec<Value> {
    let algorithm = manifest.method().algorithm_name(manifest.algorithm());
    let resource =
        |entry: Entry| json!({ "name": entry.to_string(), "algorithm": algorithm, "digest": entry.digest.to_hex() });
    manifest.entries().map(resource).collect()
}
