//! Several bundles at a model's root: which one is used, and which others count.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::{TempDir, tempdir};
use weighbridge::api::v1alpha1::{BundleIgnored, Code, RefusedCode};
use weighbridge::facts::{
    Extent, NoProgress, Place, Report, Request, SignatureLocation, Signers, default_threads, read,
};
use weighbridge::model::{Links, ResourceName};
use weighbridge::signature::TrustMaterial;

use crate::support::{P256, Signer, files, statement, write_files};

/// All files named like bundles: what each signer leaves out.
const BUNDLES: [&str; 4] = ["model.sig", "a.sig", "b.sig", "c.sigstore.json"];

struct Model {
    dir: TempDir,
    alice: Signer,
    bob: Signer,
}

impl Model {
    fn new() -> Model {
        let model = Model { dir: tempdir().unwrap(), alice: Signer::new(P256), bob: Signer::new(P256) };
        write_files(model.path(), &["config.json", "weights/1"]);
        model
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn sign(&self, signer: &Signer, bundle: &str) -> &Self {
        signer.sign_folder_into(self.path(), bundle, &BUNDLES);
        self
    }

    /// As a verifier reads it that trusts both.
    fn read(&self) -> Report {
        self.read_with(&[&self.alice, &self.bob], Place::Cluster, Extent::Full)
    }

    fn read_with(&self, trusted: &[&Signer], place: Place, extent: Extent) -> Report {
        let request = Request {
            root: self.path().into(),
            path: ResourceName::root(),
            signature: SignatureLocation::Discover,
            links: Links::Refuse,
            extent,
            place,
            threads: default_threads(),
            bytes_per_second: None,
            nonce: Some("n".into()),
        };
        let keys = trusted.iter().map(|signer| signer.key.clone()).collect();
        let trust = TrustMaterial { keys, ..TrustMaterial::default() };
        let report = read(&request, &trust, jiff::Timestamp::UNIX_EPOCH, &NoProgress);
        assert_eq!(Report::parse(&report.to_json(), "n").as_ref(), Ok(&report));
        report
    }
}

fn signed_by(report: &Report, signers: &[&Signer]) {
    let key = |signer: &&Signer| weighbridge::signature::Signer::Key { fingerprint: signer.key.fingerprint() };
    let wanted: Vec<weighbridge::signature::Signer> = signers.iter().map(key).collect();
    assert_eq!(report.signers, Signers::from(wanted));
}

fn others(report: &Report) -> Vec<(&str, Option<BundleIgnored>)> {
    report.other_bundles.iter().map(|other| (other.name.as_str(), other.ignored)).collect()
}

#[test]
fn two_signers_of_the_same_files_both_count() {
    let model = Model::new();
    model.sign(&model.alice, "model.sig").sign(&model.bob, "b.sig");
    for extent in [Extent::Full, Extent::SignatureOnly] {
        let report = model.read_with(&[&model.alice, &model.bob], Place::Cluster, extent);
        assert_eq!(report.outcome.code(), None, "{:?}", report.outcome);
        signed_by(&report, &[&model.alice, &model.bob]);
        assert_eq!((report.bundle.as_deref(), others(&report)), (Some("model.sig"), vec![("b.sig", None)]));
    }
    assert_eq!(model.read().left_out.first, ["b.sig", "model.sig"]);
    let laptop = Place::Laptop { ignore: Vec::new(), ignore_git: true };
    signed_by(&model.read_with(&[&model.alice, &model.bob], laptop, Extent::Full), &[&model.alice, &model.bob]);
}

#[test]
fn no_bundle_needs_to_be_called_model_sig() {
    let model = Model::new();
    model.sign(&model.alice, "b.sig").sign(&model.bob, "c.sigstore.json");
    let report = model.read();
    assert_eq!(report.outcome.code(), None, "{:?}", report.outcome);
    signed_by(&report, &[&model.alice, &model.bob]);
    assert_eq!(report.bundle.as_deref(), Some("b.sig"));
}

#[test]
fn the_one_that_is_trusted_is_used() {
    let model = Model::new();
    model.sign(&model.alice, "model.sig").sign(&model.bob, "b.sig");
    let report = model.read_with(&[&model.bob], Place::Cluster, Extent::Full);
    assert_eq!(report.outcome.code(), None, "{:?}", report.outcome);
    signed_by(&report, &[&model.bob]);
    assert_eq!(report.bundle.as_deref(), Some("b.sig"));
    assert_eq!(others(&report), [("model.sig", Some(BundleIgnored::UntrustedSigner))]);

    let report = model.read_with(&[&Signer::new(P256)], Place::Cluster, Extent::Full);
    assert_eq!(report.outcome.code(), Some(RefusedCode::UntrustedSigner.into()));
    assert_eq!((report.bundle.as_deref(), report.content_verified), (Some("model.sig"), Some(true)));
    signed_by(&report, &[]);
}

#[test]
fn the_signer_of_another_model_does_not_count() {
    let model = Model::new();
    let other = |files: &[(String, weighbridge::model::Digest)], symlinks: bool| {
        let mut statement = statement(files);
        statement["predicate"]["serialization"]["allow_symlinks"] = symlinks.into();
        model.sign(&model.alice, "model.sig");
        fs::write(model.path().join("b.sig"), model.bob.sign(&statement).to_string()).unwrap();
        let report = model.read();
        assert_eq!(report.outcome.code(), None, "{:?}", report.outcome);
        signed_by(&report, &[&model.alice]);
        others(&report)[0].1
    };
    let these = files(&["config.json", "weights/1"]);
    let mut renamed = these.clone();
    renamed[1].0 = "weights/2".into();
    assert_eq!(other(&renamed, false), Some(BundleIgnored::OtherManifest), "names bind too");
    assert_eq!(other(&these[..1], false), Some(BundleIgnored::OtherManifest), "fewer files");
    assert_eq!(other(&these, true), Some(BundleIgnored::OtherManifest), "links let in");
}

#[test]
fn a_bundle_that_was_tampered_with_is_said_to_be() {
    let model = Model::new();
    model.sign(&model.alice, "model.sig").sign(&model.bob, "b.sig");
    let bundle = fs::read_to_string(model.path().join("b.sig")).unwrap();
    let mut bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    let other = model.bob.sign(&statement(&files(&["x"])));
    bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
    fs::write(model.path().join("b.sig"), bundle.to_string()).unwrap();
    let report = model.read();
    signed_by(&report, &[&model.alice]);
    assert_eq!(others(&report), [("b.sig", Some(BundleIgnored::SignatureInvalid))]);
}

#[test]
fn what_only_looks_like_a_bundle_is_an_unsigned_file() {
    type Put = fn(&Path);
    let cases: [(&str, Put); 6] = [
        ("text", |path| fs::write(path, "{}").unwrap()),
        ("a folder", |path| fs::create_dir(path).and_then(|()| fs::write(path.join("x"), "x")).unwrap()),
        ("a link", |path| symlink("model.sig", path).unwrap()),
        ("a bundle over something else", |path| {
            let bundle = Signer::new(P256).bundle(br#"{"_type":"https://in-toto.io/Statement/v1"}"#);
            fs::write(path, bundle.to_string()).unwrap();
        }),
        ("a bundle with room for more", |path| {
            let text = fs::read_to_string(path.with_file_name("model.sig")).unwrap();
            fs::write(path, text.replacen('{', r#"{"architectures":["Evil"],"#, 1)).unwrap();
        }),
        ("a bundle of another name", |path| {
            fs::copy(path.with_file_name("model.sig"), path.with_file_name("config2.json")).map(drop).unwrap();
        }),
    ];
    for (what, put) in cases {
        let model = Model::new();
        model.sign(&model.alice, "model.sig");
        put(&model.path().join("b.sig"));
        let report = model.read();
        let refused = [RefusedCode::UnsignedFiles, RefusedCode::SymlinkNotAllowed].map(Code::from);
        assert!(report.outcome.code().is_some_and(|code| refused.contains(&code)), "{what}: {:?}", report.outcome);
        assert_eq!(others(&report), [], "{what}");
    }
}

#[test]
fn a_bundle_that_was_signed_as_a_file_is_a_file() {
    let model = Model::new();
    model.sign(&model.bob, "b.sig");
    model.alice.sign_folder(model.path(), &["model.sig"]);
    let report = model.read();
    assert_eq!((report.outcome.code(), report.files), (None, Some(3)), "{:?}", report.outcome);
    signed_by(&report, &[&model.alice]);
    assert_eq!(others(&report), []);
    fs::write(model.path().join("b.sig"), "altered").unwrap();
    assert_eq!(model.read().outcome.code(), Some(RefusedCode::ContentMismatch.into()));
}

#[test]
fn more_bundles_than_a_policy_can_ask_for_are_files() {
    let model = Model::new();
    let stranger = Signer::new(P256);
    model.sign(&model.alice, "model.sig");
    let bundle = stranger.sign(&statement(&files(&["config.json", "weights/1"]))).to_string();
    for at in 0..16 {
        fs::write(model.path().join(format!("x{at:02}.sig")), &bundle).unwrap();
    }
    let report = model.read();
    assert_eq!(report.outcome.code(), Some(RefusedCode::UnsignedFiles.into()));
    assert!(report.outcome.message().unwrap().contains("1 not signed: x15.sig"), "{:?}", report.outcome);
}
