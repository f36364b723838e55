//! `weighbridge digest`: what are the digests of this model?

use std::io::{self, Write};
use std::num::NonZeroU64;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::facts_text::{note_git_files, note_others, resources};
use super::model_flags::{Model, ModelFlags};
use super::progress::Bar;
use super::{Exit, Output, UsageError, print_finding};
use crate::facts::{Measure, Measured, measure};
use crate::model::{HashAlgorithm, Hashing, Method, shown};

/// Print the digests of a model: of every file, and of all of them together.
///
/// No signature is read, and nothing is verified. Bundles at the model's root are not part of it, so that the digests are
/// those that `weighbridge verify` prints.
///
/// Exit codes: 0 done, 1 the model could not be signed as it is, 2 could not be read, 64 usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weighbridge digest model/ --no-ignore-git-paths
  weighbridge digest model/ --output json | jq -r .modelDigest
  weighbridge digest model/ --hash blake3 --ignore model/checkpoints")]
pub(super) struct Flags {
    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    how: How,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the files of a model are made into a manifest.
#[derive(Debug, Args)]
pub(super) struct How {
    /// With what files are hashed.
    #[arg(long, value_enum, default_value_t = Hash::Sha256)]
    hash: Hash,

    /// List a digest for each stretch of so many bytes (OMS calls it a shard), instead of one for each file. K, M, G and T
    /// stand for powers of 1000, Ki, Mi, Gi and Ti for powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = bytes, alias = "shard_size")]
    shard_size: Option<NonZeroU64>,
}

/// The hash algorithms, by the names that OMS writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// SHA-256: what every implementation reads.
    Sha256,
    /// BLAKE2b with digests of 64 bytes.
    #[value(alias = "blake2")]
    Blake2b,
    /// BLAKE3: several times as fast, where the verifiers know it.
    Blake3,
}

impl How {
    /// What to hash, and how.
    pub(super) fn measure(self, model: &Model) -> Result<Measure, UsageError> {
        let How { hash, shard_size } = self;
        if hash == Hash::Blake3 && shard_size.is_some() {
            // Other verifiers hash whole files then: the reference does so since its first release.
            let message = "--shard-size: files are not cut for BLAKE3, which hashes the parts of a file by itself";
            return Err(UsageError(message.into()));
        }
        Ok(Measure {
            root: model.root.clone(),
            path: model.path.clone(),
            ignore: model.ignore.clone(),
            ignore_git: model.ignore_git,
            hashing: Hashing {
                links: model.links,
                method: shard_size.map_or(Method::Files, |bytes| Method::Shards { bytes }),
                algorithm: match hash {
                    Hash::Sha256 => HashAlgorithm::Sha256,
                    Hash::Blake2b => HashAlgorithm::Blake2b,
                    Hash::Blake3 => HashAlgorithm::Blake3,
                },
                threads: model.threads,
            },
        })
    }
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, UsageError> {
        let Flags { model, how, output } = self;
        let model = model.model()?;
        let request = how.measure(&model)?;
        model.warn_of_absent(err);
        let bar = Bar::new();
        let measured = measure(&request, &bar);
        bar.finish();
        match measured {
            Ok(measured) => {
                // A reader that has gone away has seen enough.
                let _ = print(out, output, &measured);
                // Not among the lines that are printed, which programs read.
                note_git_files(err, &request, &measured);
                note_others(err, &request, &measured);
                Ok(Exit::Success)
            }
            Err(finding) => Ok(print_finding(out, output, "No digest", &model.shown, &finding)),
        }
    }
}

/// A number of bytes as people write it: `1000000`, `64Mi`, `1G`.
fn bytes(text: &str) -> Result<NonZeroU64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let unit = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
    let number = unit.and_then(|(number, size)| number.trim_end().parse::<u64>().ok()?.checked_mul(*size));
    number.and_then(NonZeroU64::new).ok_or_else(|| "give a number of bytes above 0, such as 1000000 or 64Mi".to_owned())
}

fn print(out: &mut dyn Write, output: Output, measured: &Measured) -> io::Result<()> {
    let Measured { manifest, bytes, left_out, serialization } = measured;
    if output == Output::Json {
        let result = json!({
            "version": 1,
            "modelDigest": manifest.root_digest(),
            "manifestDigest": manifest.manifest_digest(),
            "files": manifest.files().len(),
            "bytes": bytes,
            "allowSymlinks": serialization.allow_symlinks,
            "leftOut": { "first": left_out.first(), "count": left_out.count() },
            "resources": resources(manifest),
        });
        return writeln!(out, "{result}");
    }
    for entry in manifest.entries() {
        writeln!(out, "{}  {}", entry.digest, shown(&entry.to_string()))?;
    }
    writeln!(out, "{}  model digest", manifest.root_digest())?;
    writeln!(out, "{}  manifest digest", manifest.manifest_digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in
            [("1", 1), ("1000000", 1_000_000), ("64Mi", 64 << 20), ("1G", 1_000_000_000), ("2 Ki", 2048)]
        {
            assert_eq!(bytes(text).map(NonZeroU64::get), Ok(size), "{text}");
        }
        for text in ["", "0", "0K", "-1", "1.5G", "x", "K", "99999999999T", "1000000.0"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
