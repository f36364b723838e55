//! The manifests that are checked: from files, folders and standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::model_flags::shown_path;
use super::super::{UsageError, documents, text_file};

/// The largest file that is read, in bytes: ten times what an API server takes in one request (3 MiB), with room for
/// charts that print everything into one file.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// How many bytes are read in all: some 100,000 Deployments.
const MAX_BYTES: u64 = 256 << 20;
/// How many files of folders are read. A repository with more has several clusters in it; name their folders.
const MAX_FILES: usize = 10_000;
/// How deep folders are followed, as deep as a model's.
const MAX_DEPTH: usize = 128;
/// What files of folders are read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// How standard input is called.
const STANDARD_INPUT: &str = "-";

/// An object, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    /// The file, as it was named; `-` for standard input.
    pub(super) file: String,
    /// The line that its document begins in.
    pub(super) line: usize,
    /// The object.
    pub(super) object: Value,
}

/// Reads all objects, in the order in which they were named; of a folder, by the names of its files.
pub(super) fn read(paths: &[PathBuf], stdin: impl Read) -> Result<Vec<Manifest>, UsageError> {
    let mut reader = Reader { left: MAX_BYTES, manifests: Vec::new(), files: 0 };
    let mut stdin = Some(stdin);
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT {
            let stdin = stdin.take().ok_or_else(|| UsageError("-: standard input can be read once only".into()))?;
            let text = text_file::read(stdin, MAX_FILE_BYTES.min(reader.left));
            reader.take(path, text)?;
        } else if path.is_dir() {
            reader.folder(path, 0)?;
        } else {
            reader.file(path)?;
        }
    }
    Ok(reader.manifests)
}

struct Reader {
    left: u64,
    files: usize,
    manifests: Vec<Manifest>,
}

impl Reader {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), UsageError> {
        let wrong = |error: io::Error| UsageError(format!("{}: {error}", shown_path(folder)));
        if depth > MAX_DEPTH {
            return Err(UsageError(format!("{}: folders are followed {MAX_DEPTH} deep", shown_path(folder))));
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(wrong)?;
        let mut entries: Vec<(PathBuf, fs::FileType)> =
            entries.into_iter().map(|it| Ok((it.path(), it.file_type()?))).collect::<io::Result<_>>().map_err(wrong)?;
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, kind) in entries {
            let is_manifest = path.extension().and_then(|it| it.to_str()).is_some_and(|it| EXTENSIONS.contains(&it));
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if is_manifest && path.is_file() {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), UsageError> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(UsageError(format!("{}: more than {MAX_FILES} files; name fewer folders", shown_path(path))));
        }
        let limit = MAX_FILE_BYTES.min(self.left);
        self.take(path, File::open(path).and_then(|file| text_file::read(file, limit)))
    }

    fn take(&mut self, path: &Path, text: io::Result<String>) -> Result<(), UsageError> {
        let file = shown_path(path);
        let text = text.map_err(|error| UsageError(format!("{file}: {error}")))?;
        self.left = self.left.saturating_sub(text.len() as u64);
        let objects = documents::read(&text).map_err(|error| UsageError(format!("{file}: {error}")))?;
        let manifest = |(line, object)| Manifest { file: file.clone(), line, object };
        self.manifests.extend(objects.into_iter().map(manifest));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_standard_input_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        write("set/b.yaml", "kind: B\n---\nkind: C\n");
        write("set/a/x.json", "{\"kind\": \"A\"}");
        write("set/README.md", "no manifest");
        let single = write("single", "kind: S\n");
        let kinds = |paths: &[PathBuf]| -> Vec<String> {
            let found = read(paths, &b"kind: I\n"[..]).unwrap();
            found.iter().map(|it| format!("{}:{}", it.object["kind"].as_str().unwrap(), it.line)).collect()
        };
        assert_eq!(kinds(&[single, "-".into(), folder.path().join("set")]), ["S:1", "I:1", "A:1", "B:1", "C:2"]);
        let twice = read(&["-".into(), "-".into()], &b""[..]).unwrap_err();
        assert!(twice.0.contains("once only"));
        let missing = read(&[folder.path().join("missing.yaml")], &b""[..]).unwrap_err();
        assert!(missing.0.contains("missing.yaml: "), "{missing}");
    }
}
