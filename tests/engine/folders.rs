//! Several models below one folder: found, each read for itself, and nothing beside them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use tempfile::{TempDir, tempdir};
use weighbridge::api::v1alpha1::{Code, MAX_PARTS, RefusedCode, UnknownCode};
use weighbridge::facts::{
    Extent, NoProgress, Outcome, Place, Report, Request, SignatureLocation, default_threads, read,
};
use weighbridge::model::{Links, ResourceName};
use weighbridge::signature::TrustMaterial;

use crate::support::{P256, Signer, write_files};

struct Volume {
    dir: TempDir,
    signer: Signer,
}

impl Volume {
    /// Models at these paths, and nothing else.
    fn of(models: &[&str]) -> Volume {
        let volume = Volume { dir: tempdir().unwrap(), signer: Signer::new(P256) };
        models.iter().for_each(|path| volume.model(path));
        volume
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn model(&self, path: &str) {
        let root = self.path().join(path);
        fs::create_dir_all(&root).unwrap();
        write_files(&root, &["config.json", "weights/1"]);
        self.signer.sign_folder_into(&root, "model.sig", &["model.sig"]);
    }

    fn write(&self, path: &str) {
        write_files(self.path(), &[path]);
    }

    fn read_by(&self, path: &str, signature: SignatureLocation) -> Report {
        let request = Request {
            root: self.path().into(),
            path: ResourceName::parse(path).unwrap(),
            signature,
            links: Links::Refuse,
            extent: Extent::Full,
            place: Place::Cluster,
            threads: default_threads(),
            bytes_per_second: None,
            nonce: Some("n".into()),
        };
        let trust = TrustMaterial { keys: vec![self.signer.key.clone()], ..TrustMaterial::default() };
        let report = read(&request, &trust, jiff::Timestamp::UNIX_EPOCH, &NoProgress);
        assert_eq!(Report::parse(&report.to_json(), "n").as_ref(), Ok(&report));
        report
    }

    fn read(&self, path: &str) -> Report {
        self.read_by(path, SignatureLocation::Discover)
    }

    /// The models below a path, or the code.
    fn found(&self, path: &str) -> Result<Vec<String>, Code> {
        let report = self.read(path);
        match &report.outcome {
            Outcome::Divided { models } => Ok(models.clone()),
            other => Err(other.code().unwrap_or_else(|| panic!("{path}: {report:?}"))),
        }
    }
}

fn refused(code: RefusedCode) -> Result<Vec<String>, Code> {
    Err(code.into())
}

#[test]
fn models_are_found_below_a_folder_and_read_one_by_one() {
    let volume = Volume::of(&["a", "team/b", "team/deep/er/c"]);
    assert_eq!(volume.found("."), Ok(vec!["a".into(), "team/b".into(), "team/deep/er/c".into()]));
    assert_eq!(volume.found("team"), Ok(vec!["team/b".into(), "team/deep/er/c".into()]));
    let report = volume.read(".");
    assert!(report.signers.is_empty() && report.model_digest.is_none() && report.content_verified.is_none());
    for (path, root) in [("a", "a"), ("team/b", "team/b"), ("a/weights", "a"), ("a/weights/1", "a")] {
        let report = volume.read(path);
        assert_eq!((report.outcome.code(), report.model_root.as_deref()), (None, Some(root)), "{path}");
    }
}

#[test]
fn whatever_lies_beside_the_models_is_unsigned() {
    for stray in ["README.md", "team/notes.txt", ".git/HEAD", ".gitattributes", "other/empty-looking/x", "team/.hidden"]
    {
        let volume = Volume::of(&["a", "team/b"]);
        volume.write(stray);
        let report = volume.read(".");
        assert_eq!(report.outcome.code(), Some(RefusedCode::UnsignedFiles.into()), "{stray}");
        assert!(report.outcome.message().unwrap().contains(stray), "{:?}", report.outcome);
        assert_eq!(volume.read("a").outcome.code(), None, "{stray}: the model itself is what it was");
    }
    let volume = Volume::of(&["a", "b"]);
    fs::create_dir(volume.path().join("empty")).unwrap();
    assert_eq!(volume.found("."), Ok(vec!["a".into(), "b".into()]), "a folder alone is no file");
    symlink("a", volume.path().join("latest")).unwrap();
    assert_eq!(volume.found("."), refused(RefusedCode::SymlinkNotAllowed));
}

#[test]
fn every_file_belongs_to_exactly_one_bundle() {
    let volume = Volume::of(&["a/inner", "a"]);
    assert_eq!(volume.found("."), Ok(vec!["a".into()]), "the outermost bundle is the model's");
    assert_eq!(volume.read("a").outcome.code(), None, "and lists the inner one's files, its bundle too");
    let late = Volume::of(&["a", "a/inner"]);
    assert_eq!(late.found("."), Ok(vec!["a".into()]));
    assert_eq!(late.read("a").outcome.code(), Some(RefusedCode::UnsignedFiles.into()), "what came later is in none");
}

#[test]
fn files_that_git_keeps_are_part_of_what_is_compared() {
    let volume = Volume::of(&["a", "b"]);
    volume.write("a/.git/HEAD");
    assert_eq!(volume.read("a").outcome.code(), Some(RefusedCode::UnsignedFiles.into()));
    assert_eq!(volume.read("b").outcome.code(), None);
}

#[test]
fn without_any_bundle_nothing_is_divided() {
    let volume = Volume::of(&[]);
    assert_eq!(volume.found("."), Err(UnknownCode::SourceMissing.into()));
    volume.write("team/weights");
    assert_eq!(volume.found("."), refused(RefusedCode::Unsigned));
    let named = Volume::of(&["a", "b"]).read_by(".", SignatureLocation::Within(ResourceName::parse("x.sig").unwrap()));
    assert_eq!(named.outcome.code(), Some(RefusedCode::Unsigned.into()), "one bundle was asked for");
}

#[test]
fn as_many_models_as_a_report_can_name() {
    let names: Vec<String> = (0..=MAX_PARTS).map(|at| format!("m{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(Volume::of(&names[..MAX_PARTS]).found(".").map(|models| models.len()), Ok(MAX_PARTS));
    assert_eq!(Volume::of(&names).found("."), Err(UnknownCode::TooLarge.into()));
    let long: Vec<String> = (0..MAX_PARTS).map(|at| format!("{at:02}{}", "x".repeat(100))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    assert_eq!(Volume::of(&long).found("."), Err(UnknownCode::TooLarge.into()));
}

#[test]
fn a_bundle_can_come_from_elsewhere() {
    let volume = Volume::of(&["a"]);
    let bundle = fs::read(volume.path().join("a/model.sig")).unwrap();
    fs::remove_file(volume.path().join("a/model.sig")).unwrap();
    assert_eq!(volume.read("a").outcome.code(), Some(RefusedCode::Unsigned.into()));
    let given =
        |bundle: &[u8]| SignatureLocation::Given { at: "configmap:x/y".into(), bundle: Arc::new(bundle.to_vec()) };
    let report = volume.read_by("a", given(&bundle));
    assert_eq!((report.outcome.code(), report.bundle.as_deref()), (None, Some("configmap:x/y")));
    let whole = volume.read_by(".", given(&bundle));
    assert_eq!(whole.outcome.code(), Some(RefusedCode::ContentMismatch.into()), "it is over that folder alone");
    for garbage in [b"====".as_slice(), b"{}", b"\x1f\x8b", b""] {
        let report = volume.read_by("a", given(garbage));
        assert_eq!(report.outcome.code(), Some(RefusedCode::MalformedBundle.into()), "{garbage:?}");
    }
}
