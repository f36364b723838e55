//! The tree of files: what somebody who may write to a volume may put there, or do while it is read. Nothing hangs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;
use weighbridge::api::v1alpha1::{Code, Detail, RefusedCode, UnknownCode};
use weighbridge::facts::{NoProgress, Progress, Report, Request, SignatureLocation, read};
use weighbridge::model::{Hasher, Links};

use crate::facts::{Model, cluster, code, laptop, message};
use crate::support::{Signer, files, statement};

use RefusedCode::{ContentMismatch, MalformedContent, SymlinkNotAllowed, UnsignedFiles};
use UnknownCode::{BeingWritten, SourceMissing};

/// Longer than any of these reads takes, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to a folder before it is read.
type Change = Box<dyn Fn(&Path)>;

/// What is done to a file while it is read.
type Meddle = fn(&Path);

/// The report of a read that must end.
fn ended(read: impl FnOnce() -> Report + Send + 'static) -> Report {
    let (done, end) = mpsc::channel();
    thread::spawn(move || drop(done.send(read())));
    end.recv_timeout(PATIENCE).expect("it hangs")
}

/// Signs what lies there, links followed, and says so in the statement.
fn sign_with_links(signer: &Signer, dir: &Path, names: &[&str]) {
    let files: Vec<_> = names.iter().map(|name| ((*name).to_owned(), Hasher::sha256(b"a"))).collect();
    let mut statement = statement(&files);
    statement["predicate"]["serialization"]["allow_symlinks"] = json!(true);
    fs::write(dir.join("model.sig"), signer.sign(&statement).to_string()).unwrap();
}

#[test]
fn links() {
    let link = |target: &'static str| move |dir: &Path| symlink(target, dir.join("b")).unwrap();
    let cases: Vec<(&str, Change, Option<Code>, Option<Detail>)> = vec![
        ("to a file beside it", Box::new(link("a")), None, None),
        (
            "out, relative",
            Box::new(link("../../etc/passwd")),
            Some(SymlinkNotAllowed.into()),
            Some(Detail::PathEscapes),
        ),
        ("out, absolute", Box::new(link("/etc/passwd")), Some(SymlinkNotAllowed.into()), Some(Detail::PathEscapes)),
        ("out and in again", Box::new(link("../m/a")), Some(SymlinkNotAllowed.into()), Some(Detail::PathEscapes)),
        (
            "to a process's own files",
            Box::new(link("/proc/self/fd/0")),
            Some(SymlinkNotAllowed.into()),
            Some(Detail::PathEscapes),
        ),
        ("to a device", Box::new(link("/dev/zero")), Some(SymlinkNotAllowed.into()), Some(Detail::PathEscapes)),
        ("to itself", Box::new(link("b")), Some(MalformedContent.into()), Some(Detail::LinkLoop)),
        ("to nothing", Box::new(link("c")), Some(MalformedContent.into()), None),
        (
            "in a ring",
            Box::new(|dir: &Path| {
                symlink("c", dir.join("b")).unwrap();
                symlink("b", dir.join("c")).unwrap();
            }),
            Some(MalformedContent.into()),
            Some(Detail::LinkLoop),
        ),
        (
            "through a folder that leads out",
            Box::new(|dir: &Path| {
                symlink("/etc", dir.join("d")).unwrap();
                symlink("d/passwd", dir.join("b")).unwrap();
            }),
            Some(SymlinkNotAllowed.into()),
            Some(Detail::PathEscapes),
        ),
    ];
    for (what, make, expected, detail) in cases {
        let model = Model::new("m", &["a"]);
        make(&model.path("m"));
        sign_with_links(&model.signer, &model.path("m"), &["a", "b"]);
        let request = Request { links: Links::Follow, ..cluster(model.dir.path(), "m") };
        let report = model.read(&request);
        assert_eq!((code(&report), report.outcome.detail()), (expected, detail), "{what}: {}", message(&report));
        // Whoever allows no links gets that answer, wherever they lead.
        let report = model.report("m");
        assert_eq!(code(&report), Some(SymlinkNotAllowed.into()), "{what}");
    }
}

#[test]
fn what_is_neither_file_nor_folder() {
    let mut kinds: Vec<(&str, Change)> = vec![
        ("FIFO", Box::new(|at| mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0).unwrap())),
        ("socket", Box::new(|at| drop(UnixListener::bind(at).unwrap()))),
    ];
    let device = |kind, major| move |at: &Path| mknodat(CWD, at, kind, Mode::RWXU, makedev(major, 5)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Zeroes without end, and a disk that is not there.
        kinds.push(("character device", Box::new(device(FileType::CharacterDevice, 1))));
        kinds.push(("block device", Box::new(device(FileType::BlockDevice, 7))));
    } else {
        println!("devices are left out: only root can make them");
    }
    for (what, make) in kinds {
        let model = Model::new("m", &["a", "b/c"]);
        let place = |at: &str| {
            let _ = fs::remove_file(model.path(at));
            make(&model.path(at));
        };
        let refused = |model: &Model, request: Request| {
            let trust = model.signer.trust();
            let report = ended(move || read(&request, &trust, jiff::Timestamp::UNIX_EPOCH, &NoProgress));
            assert_eq!(code(&report), Some(MalformedContent.into()), "{what}: {}", message(&report));
        };
        place("m/new");
        refused(&model, cluster(model.dir.path(), "m"));
        refused(&model, cluster(model.dir.path(), "m/new"));
        refused(&model, laptop(&model.path("m"), "."));
        fs::remove_file(model.path("m/new")).unwrap();
        place("m/b/c");
        refused(&model, cluster(model.dir.path(), "m"));
        place("m/model.sig");
        refused(&model, cluster(model.dir.path(), "m"));
        let signature = SignatureLocation::File(model.path("m/model.sig"));
        refused(&model, Request { signature, ..laptop(&model.path("m"), ".") });
    }
}

#[test]
fn an_empty_model() {
    let model = Model::new("m", &["a"]);
    fs::write(model.path("m/model.sig"), model.signer.sign(&statement(&[])).to_string()).unwrap();
    let report = model.report("m");
    assert_eq!(
        (code(&report), report.outcome.detail()),
        (Some(RefusedCode::MalformedBundle.into()), Some(Detail::EmptyModel))
    );
    fs::remove_file(model.path("m/a")).unwrap();
    fs::remove_file(model.path("m/model.sig")).unwrap();
    fs::create_dir(model.path("m/empty")).unwrap();
    assert_eq!(code(&model.report("m")), Some(SourceMissing.into()));
}

/// Shards of ten bytes over one file of thirteen.
fn sharded(model: &Model) {
    fs::write(model.path("m/a"), "0123456789abc").unwrap();
    let shards = [("a:0:10".to_owned(), Hasher::sha256(b"0123456789")), ("a:10:13".to_owned(), Hasher::sha256(b"abc"))];
    let mut statement = statement(&shards);
    statement["predicate"]["serialization"]["method"] = json!("shards");
    statement["predicate"]["serialization"]["shard_size"] = json!(10.0);
    for at in 0..2 {
        statement["predicate"]["resources"][at]["algorithm"] = json!("sha256-sharded-10");
    }
    fs::write(model.path("m/model.sig"), model.signer.sign(&statement).to_string()).unwrap();
}

#[test]
fn files_under_shards() {
    let write =
        |name: &'static str, content: &'static str| move |dir: &Path| fs::write(dir.join(name), content).unwrap();
    let cases: Vec<(&str, Change, Option<Code>, &str)> = vec![
        ("as signed", Box::new(|_| ()), None, ""),
        ("an extra file without any byte", Box::new(write("b", "")), Some(UnsignedFiles.into()), "1 not signed: b"),
        ("an extra file", Box::new(write("b", "x")), Some(UnsignedFiles.into()), "1 not signed: b"),
        (
            "an extra file named as a shard",
            Box::new(write("a:0:10", "0123456789")),
            Some(UnsignedFiles.into()),
            "1 not signed: a:0:10",
        ),
        ("first shard altered", Box::new(write("a", "x123456789abc")), Some(ContentMismatch.into()), "1 altered: a"),
        ("last shard altered", Box::new(write("a", "0123456789abx")), Some(ContentMismatch.into()), "1 altered: a"),
        ("longer", Box::new(write("a", "0123456789abcd")), Some(ContentMismatch.into()), "a"),
        ("longer by a shard", Box::new(write("a", "0123456789abc0123456789")), Some(ContentMismatch.into()), "a"),
        ("shorter", Box::new(write("a", "0123456789")), Some(ContentMismatch.into()), "a"),
        ("emptied", Box::new(write("a", "")), Some(ContentMismatch.into()), "a"),
        ("gone", Box::new(|dir| fs::remove_file(dir.join("a")).unwrap()), Some(ContentMismatch.into()), "1 missing: a"),
    ];
    for (what, change, expected, text) in cases {
        let model = Model::new("m", &["a"]);
        sharded(&model);
        change(&model.path("m"));
        let report = model.report("m");
        assert_eq!(code(&report), expected, "{what}: {}", message(&report));
        assert!(message(&report).contains(text), "{what}: {}", message(&report));
    }
}

/// Does something once a part of the first file has been hashed.
struct Meanwhile<F>(F, AtomicBool);

impl<F: Fn() + Sync> Progress for Meanwhile<F> {
    fn begin(&self, _: usize, _: u64) {}

    fn advance(&self, _: u64) {
        if !self.1.swap(true, Ordering::SeqCst) {
            self.0();
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let big = vec![b'x'; 64 << 20];
    let cases: [(&str, Meddle); 5] = [
        ("grows", |file| fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap()),
        ("shrinks", |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(33 << 20).unwrap()),
        ("is emptied", |file| drop(fs::File::create(file).unwrap())),
        ("is written in place", |file| {
            let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.write_all(b"y").unwrap();
        }),
        ("is replaced", |file| {
            let other = file.with_extension("new");
            fs::copy(file, &other).unwrap();
            fs::rename(other, file).unwrap();
        }),
    ];
    for (what, change) in cases {
        let model = Model::new("m", &["a"]);
        fs::write(model.path("m/a"), &big).unwrap();
        model.signer.sign_folder(&model.path("m"), &["model.sig"]);
        let file = model.path("m/a");
        let meanwhile = Meanwhile(|| change(&file), AtomicBool::new(false));
        let request = cluster(model.dir.path(), "m");
        let report = read(&request, &model.signer.trust(), jiff::Timestamp::UNIX_EPOCH, &meanwhile);
        let found = (code(&report), report.outcome.detail());
        assert_eq!(found, (Some(BeingWritten.into()), Some(Detail::ChangedWhileRead)), "{what}: {}", message(&report));
    }
}

#[test]
fn a_swapped_pair_of_files() {
    let model = Model::new("m", &["a", "b"]);
    fs::write(model.path("m/a"), "b").unwrap();
    fs::write(model.path("m/b"), "a").unwrap();
    assert_eq!(code(&model.report("m")), Some(ContentMismatch.into()));
    // Names swapped in the statement, under a root digest that fits it: the names are bound with their digests.
    let model = Model::new("m", &["a", "b"]);
    let mut swapped = files(&["a", "b"]);
    let first = swapped[0].1;
    swapped[0].1 = std::mem::replace(&mut swapped[1].1, first);
    fs::write(model.path("m/model.sig"), model.signer.sign(&statement(&swapped)).to_string()).unwrap();
    let report = model.report("m");
    assert_eq!(code(&report), Some(ContentMismatch.into()));
    assert!(message(&report).contains("2 altered: a, b"), "{}", message(&report));
}
