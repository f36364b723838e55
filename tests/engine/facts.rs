//! Models on a disk, read as a verifier Pod and as a laptop reads them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::{TempDir, tempdir};
use weighbridge::api::v1alpha1::{Code, Detail, RefusedCode, UnknownCode};
use weighbridge::facts::{
    Extent, MAX_REPORT_BYTES, NoProgress, Place, Progress, Report, Request, SignatureLocation, default_threads, read,
};
use weighbridge::model::{Hasher, Links, ResourceName};
use weighbridge::signature::{PublicKey, TrustMaterial};

use crate::support::{P256, Signer, files, statement, vectors, write_files};

const NONCE: &str = "nonce-1";

pub(crate) struct Model {
    pub(crate) dir: TempDir,
    pub(crate) signer: Signer,
}

impl Model {
    /// A signed model, in a folder of that name.
    pub(crate) fn new(at: &str, names: &[&str]) -> Model {
        let model = Model { dir: tempdir().unwrap(), signer: Signer::new(P256) };
        write_files(&model.path(at), names);
        model.signer.sign_folder(&model.path(at), &[]);
        model
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn report(&self, path: &str) -> Report {
        self.read(&cluster(self.dir.path(), path))
    }

    pub(crate) fn read(&self, request: &Request) -> Report {
        read_with(request, &self.signer.trust())
    }
}

pub(crate) fn read_with(request: &Request, trust: &TrustMaterial) -> Report {
    let report = read(request, trust, jiff::Timestamp::UNIX_EPOCH, &NoProgress);
    let json = report.to_json();
    assert!(json.len() <= MAX_REPORT_BYTES);
    assert_eq!(Report::parse(&json, NONCE).as_ref(), Ok(&report), "{json}");
    report
}

fn name(text: &str) -> ResourceName {
    ResourceName::parse(text).unwrap()
}

pub(crate) fn cluster(root: &Path, path: &str) -> Request {
    Request {
        root: root.into(),
        path: name(path),
        signature: SignatureLocation::Discover,
        links: Links::Refuse,
        extent: Extent::Full,
        place: Place::Cluster,
        threads: default_threads(),
        bytes_per_second: None,
        nonce: Some(NONCE.into()),
    }
}

pub(crate) fn laptop(root: &Path, path: &str) -> Request {
    Request { place: Place::Laptop { ignore: Vec::new(), ignore_git: true }, ..cluster(root, path) }
}

pub(crate) fn code(report: &Report) -> Option<Code> {
    report.outcome.code()
}

pub(crate) fn message(report: &Report) -> &str {
    report.outcome.message().unwrap_or_default()
}

#[test]
fn a_signed_model_is_verified_with_all_its_facts() {
    let model = Model::new("models/llm", &["config.json", "weights/1", "weights/2"]);
    let report = model.report("models/llm");
    assert_eq!(code(&report), None, "{}", message(&report));
    assert_eq!((report.signature_verified, report.content_verified), (Some(true), Some(true)));
    assert_eq!((report.files, report.bytes), (Some(3), Some(11 + 9 + 9)));
    assert_eq!(report.model_root.as_deref(), Some("models/llm"));
    assert_eq!(report.bundle.as_deref(), Some("models/llm/model.sig"));
    assert_eq!(report.left_out.first, ["model.sig"]);
    let raw: Vec<u8> = ["config.json", "weights/1", "weights/2"]
        .iter()
        .flat_map(|name| Hasher::sha256(name.as_bytes()).as_bytes().to_vec())
        .collect();
    assert_eq!(report.model_digest, Some(Hasher::sha256(&raw)));
}

#[test]
fn the_models_root_is_the_nearest_folder_with_a_bundle() {
    let model = Model::new("models/llm", &["config.json", "weights/1", "weights/deep/2"]);
    for path in ["models/llm/weights", "models/llm/weights/deep", "models/llm/config.json", "models/llm/weights/1"] {
        let report = model.report(path);
        assert_eq!(code(&report), None, "{path}: {}", message(&report));
        assert_eq!(report.model_root.as_deref(), Some("models/llm"), "{path}");
    }
    write_files(&model.path("models/llmx"), &["a"]);
    assert_eq!(code(&model.report("models/llmx")), Some(RefusedCode::Unsigned.into()));
    assert_eq!(code(&model.report("models")), Some(RefusedCode::UnsignedFiles.into()), "a model, and what is in none");
}

#[test]
fn each_way_for_files_to_differ() {
    type Change = fn(&Path);
    let cases: [(&str, Change, RefusedCode, &str); 6] = [
        ("altered", |dir| fs::write(dir.join("b"), "x").unwrap(), RefusedCode::ContentMismatch, "1 altered: b"),
        ("missing", |dir| fs::remove_file(dir.join("c/d")).unwrap(), RefusedCode::ContentMismatch, "1 missing: c/d"),
        ("added", |dir| fs::write(dir.join("e"), "").unwrap(), RefusedCode::UnsignedFiles, "1 not signed: e"),
        ("Git's", |dir| write_files(dir, &[".git/config"]), RefusedCode::UnsignedFiles, "1 not signed: .git/config"),
        ("hidden", |dir| write_files(dir, &["c/.x"]), RefusedCode::UnsignedFiles, "1 not signed: c/.x"),
        (
            "renamed",
            |dir| fs::rename(dir.join("a"), dir.join("z")).unwrap(),
            RefusedCode::ContentMismatch,
            "1 missing: a; 1 not signed: z",
        ),
    ];
    for (what, change, expected, text) in cases {
        let model = Model::new("m", &["a", "b", "c/d"]);
        change(&model.path("m"));
        let report = model.report("m");
        assert_eq!(code(&report), Some(expected.into()), "{what}");
        assert!(message(&report).contains(text), "{what}: {}", message(&report));
        assert_eq!((report.signature_verified, report.content_verified), (Some(true), Some(false)), "{what}");
    }
}

#[test]
fn a_folder_without_signature_or_without_files() {
    let model = Model::new("m", &["a"]);
    fs::create_dir_all(model.path("empty/empty")).unwrap();
    for path in ["nothing", "empty", "m/nothing", "m/a/nothing"] {
        assert_eq!(code(&model.report(path)), Some(UnknownCode::SourceMissing.into()), "{path}");
    }
    fs::remove_file(model.path("m/model.sig")).unwrap();
    let report = model.report("m");
    assert_eq!((code(&report), report.signature_verified), (Some(RefusedCode::Unsigned.into()), None));
    let missing = cluster(&model.path("no/such/mount"), ".");
    assert_eq!(code(&model.read(&missing)), Some(UnknownCode::SourceMissing.into()));
}

#[test]
fn a_bundle_is_found_by_name_or_alone() {
    for bundle in ["model.sig", "llm.sig", "bundle.sigstore.json"] {
        let model = Model::new("m", &["a"]);
        fs::rename(model.path("m/model.sig"), model.path("m").join(bundle)).unwrap();
        let report = model.report("m");
        assert_eq!((code(&report), report.bundle), (None, Some(format!("m/{bundle}"))));
    }
    let model = Model::new("m", &["a"]);
    fs::rename(model.path("m/model.sig"), model.path("m/x.sig")).unwrap();
    fs::write(model.path("m/y.sigstore.json"), "").unwrap();
    // A person is asked which one is meant; in a cluster all are looked at, and one that is no bundle is a file.
    let report = model.read(&laptop(model.dir.path(), "m"));
    assert_eq!(code(&report), Some(RefusedCode::MalformedBundle.into()));
    assert_eq!(report.outcome.detail(), Some(Detail::AmbiguousBundle));
    assert!(message(&report).contains("x.sig, y.sigstore.json"), "{}", message(&report));
    let report = model.report("m");
    assert_eq!(code(&report), Some(RefusedCode::UnsignedFiles.into()));
    assert!(message(&report).contains("1 not signed: y.sigstore.json"), "{}", message(&report));
    // Named, it is the one that is left out; the other lies there unsigned.
    let named = Request { signature: SignatureLocation::Within(name("x.sig")), ..cluster(model.dir.path(), "m") };
    assert_eq!(code(&model.read(&named)), Some(RefusedCode::UnsignedFiles.into()));
    fs::remove_file(model.path("m/y.sigstore.json")).unwrap();
    assert_eq!(code(&model.read(&named)), None);
}

#[test]
fn a_bundle_has_the_name_of_a_bundle() {
    let model = Model::new("m", &["a"]);
    fs::rename(model.path("m/model.sig"), model.path("m/generation_config.json")).unwrap();
    let signature = SignatureLocation::Within(name("generation_config.json"));
    let report = model.read(&Request { signature, ..cluster(model.dir.path(), "m") });
    assert_eq!(code(&report), Some(RefusedCode::MalformedBundle.into()));
}

#[test]
fn what_is_signed_as_ignored_is_still_unsigned_in_a_cluster() {
    let model = Model::new("m", &["a", "logs/b", ".git/c"]);
    model.signer.sign_folder(&model.path("m"), &["logs", "model.sig", ".git"]);
    assert_eq!(code(&model.report("m")), Some(RefusedCode::UnsignedFiles.into()));
    assert_eq!(code(&model.read(&laptop(&model.path("m"), "."))), None);
    fs::write(model.path("m/other"), "").unwrap();
    let request = laptop(&model.path("m"), ".");
    assert_eq!(code(&model.read(&request)), Some(RefusedCode::UnsignedFiles.into()));
    let place = Place::Laptop { ignore: vec![name("other")], ignore_git: true };
    assert_eq!(code(&model.read(&Request { place, ..request })), None);
}

#[test]
fn ignoring_does_not_hide_a_signed_file() {
    let model = Model::new("m", &["a", "logs/b"]);
    fs::write(model.path("m/logs/b"), "altered").unwrap();
    let place = Place::Laptop { ignore: vec![name("logs")], ignore_git: true };
    let report = model.read(&Request { place, ..laptop(&model.path("m"), ".") });
    assert_eq!(code(&report), Some(RefusedCode::ContentMismatch.into()));
}

#[test]
fn links_need_both_signer_and_verifier() {
    let model = Model::new("m", &["a"]);
    let allowing = |allowed: bool| {
        let mut statement = statement(&[files(&["a"]), vec![("b".into(), Hasher::sha256(b"a"))]].concat());
        statement["predicate"]["serialization"]["allow_symlinks"] = allowed.into();
        fs::write(model.path("m/model.sig"), model.signer.sign(&statement).to_string()).unwrap();
    };
    symlink("a", model.path("m/b")).unwrap();
    let refuse = cluster(model.dir.path(), "m");
    let follow = Request { links: Links::Follow, ..refuse.clone() };
    allowing(false);
    assert_eq!(code(&model.read(&follow)), Some(RefusedCode::SymlinkNotAllowed.into()));
    allowing(true);
    assert_eq!(code(&model.read(&refuse)), Some(RefusedCode::SymlinkNotAllowed.into()));
    assert_eq!(code(&model.read(&follow)), None);
    fs::remove_file(model.path("m/b")).unwrap();
    fs::write(model.path("a"), "a").unwrap();
    symlink("../a", model.path("m/b")).unwrap();
    let report = model.read(&follow);
    assert_eq!(code(&report), Some(RefusedCode::SymlinkNotAllowed.into()));
    assert_eq!(report.outcome.detail(), Some(Detail::PathEscapes));
}

#[test]
fn neither_root_nor_bundle_is_reached_through_a_link() {
    let model = Model::new("m", &["a"]);
    symlink("m", model.path("link")).unwrap();
    fs::rename(model.path("m/model.sig"), model.path("elsewhere.sig")).unwrap();
    symlink("../elsewhere.sig", model.path("m/model.sig")).unwrap();
    for path in ["link", "link/a", "m"] {
        let request = Request { links: Links::Follow, ..cluster(model.dir.path(), path) };
        assert_eq!(code(&model.read(&request)), Some(RefusedCode::SymlinkNotAllowed.into()), "{path}");
    }
}

#[test]
fn special_files_are_malformed_content() {
    let model = Model::new("m", &["a"]);
    rustix::fs::mkfifoat(rustix::fs::CWD, model.path("m/fifo"), rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(code(&model.report("m")), Some(RefusedCode::MalformedContent.into()));
    assert_eq!(code(&model.report("m/fifo")), Some(RefusedCode::MalformedContent.into()));
    fs::rename(model.path("m/fifo"), model.path("m/model.sig")).unwrap();
    assert_eq!(code(&model.report("m")), Some(RefusedCode::MalformedContent.into()));
}

#[test]
fn an_untrusted_signer_does_not_keep_a_cluster_from_reading() {
    let model = Model::new("m", &["a"]);
    let stranger = Signer::new(P256).trust();
    let report = read_with(&cluster(model.dir.path(), "m"), &stranger);
    assert_eq!(code(&report), Some(RefusedCode::UntrustedSigner.into()));
    assert_eq!((report.signature_verified, report.content_verified), (Some(false), Some(true)));
    let report = read_with(&laptop(&model.path("m"), "."), &stranger);
    assert_eq!((code(&report), report.content_verified), (Some(RefusedCode::UntrustedSigner.into()), None));
    fs::write(model.path("m/a"), "altered").unwrap();
    let report = read_with(&cluster(model.dir.path(), "m"), &stranger);
    assert_eq!((code(&report), report.content_verified), (Some(RefusedCode::UntrustedSigner.into()), Some(false)));
    assert!(message(&report).contains("1 altered: a"), "{}", message(&report));
}

#[test]
fn a_signature_only_run_reads_no_file() {
    struct Count(AtomicU64);
    impl Progress for Count {
        fn begin(&self, _: usize, _: u64) {}
        fn advance(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    let model = Model::new("m", &["a"]);
    fs::write(model.path("m/a"), "altered").unwrap();
    let request = Request { extent: Extent::SignatureOnly, ..cluster(model.dir.path(), "m") };
    let count = Count(AtomicU64::new(0));
    let report = read(&request, &model.signer.trust(), jiff::Timestamp::UNIX_EPOCH, &count);
    assert_eq!((code(&report), report.content_verified, report.bytes), (None, None, None));
    assert_eq!(count.0.into_inner(), 0);
    assert!(report.manifest_digest.is_some() && !report.signers.is_empty());
}

#[test]
fn single_files_are_models_too() {
    for listed in [".", "model.gguf"] {
        let model = Model { dir: tempdir().unwrap(), signer: Signer::new(P256) };
        write_files(model.dir.path(), &["model.gguf", "other"]);
        let statement = statement(&[(listed.into(), Hasher::sha256(b"model.gguf"))]);
        fs::write(model.path("model.gguf.sig"), model.signer.sign(&statement).to_string()).unwrap();
        let report = model.report("model.gguf");
        assert_eq!(code(&report), None, "{listed}: {}", message(&report));
        assert_eq!(report.model_root.as_deref(), Some("model.gguf"));
        assert_eq!(code(&model.read(&laptop(model.dir.path(), "model.gguf"))), None);
        fs::write(model.path("model.gguf"), "altered").unwrap();
        assert_eq!(code(&model.report("model.gguf")), Some(RefusedCode::ContentMismatch.into()));
    }
}

#[test]
fn the_vectors_of_the_reference_verify() {
    let pem = fs::read_to_string(vectors().join("keys/signing-key-pub.pem")).unwrap();
    let trust = TrustMaterial { keys: vec![PublicKey::from_pem(&pem).unwrap()], ..TrustMaterial::default() };
    let folder = vectors().join("v1.0.1-elliptic-key");
    let request = laptop(&folder, ".");
    assert_eq!(code(&read_with(&request, &trust)), Some(RefusedCode::UnsignedFiles.into()));
    let place = Place::Laptop { ignore: vec![name("ignore-me")], ignore_git: true };
    assert_eq!(code(&read_with(&Request { place, ..request }, &trust)), None);
    let folder = vectors().join("v0.3.1-elliptic-key");
    let signature = SignatureLocation::File(folder.join("model.sig"));
    let request = Request { signature, ..laptop(&folder, "signme-1") };
    assert_eq!(code(&read_with(&request, &trust)), None);
}

#[test]
fn file_systems_own_folders_at_the_top_of_a_claim_are_left_out() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make folders that root owns.
    }
    let model = Model::new(".", &["a"]);
    write_files(model.dir.path(), &["lost+found/x", ".snapshot/y"]);
    let report = model.report(".");
    assert_eq!((code(&report), report.left_out.count), (None, 3), "{}", message(&report));
    for inside in ["lost+found", "lost+found/x", ".snapshot"] {
        let report = model.report(inside);
        assert_eq!(code(&report), Some(RefusedCode::Unsigned.into()), "{inside} was not compared: {report:?}");
    }
    write_files(model.dir.path(), &["b/lost+found/x"]);
    assert_eq!(code(&model.report(".")), Some(RefusedCode::UnsignedFiles.into()));
    fs::remove_dir_all(model.path("b")).unwrap();
    std::os::unix::fs::chown(model.path("lost+found"), Some(1000), None).unwrap();
    assert_eq!(code(&model.report(".")), Some(RefusedCode::UnsignedFiles.into()));
}

#[test]
fn hostile_names_come_out_harmless_and_short() {
    let model = Model::new("m", &["a"]);
    for at in 0..9 {
        fs::write(model.path("m").join(format!("{at}\u{1b}[2J{}", "模".repeat(70))), "").unwrap();
    }
    let report = model.report("m");
    assert_eq!(code(&report), Some(RefusedCode::UnsignedFiles.into()));
    assert!(!message(&report).contains('\u{1b}'));
    assert!(message(&report).contains("and 6 more"), "{}", message(&report));
}
