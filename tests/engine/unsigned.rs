//! What lies in a model unsigned, and links in it: what a read tells of them, and what policies say to that, by
//! `weighbridge verify --policy` and by `weighbridge check` alike.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use weighbridge::api::v1alpha1::{RefusedCode, UnsignedFiles};
use weighbridge::facts::{Extent, Report, Request};
use weighbridge::model::{Hasher, Links};

use crate::facts::{Model, cluster, code, message};
use crate::support::{statement, weighbridge, write_files};

/// As a verifier Pod reads.
fn read(model: &Model) -> Report {
    model.read(&Request { links: Links::Follow, ..cluster(model.dir.path(), "m") })
}

fn told(report: &Report) -> Option<(Vec<&str>, bool)> {
    let UnsignedFiles { paths, more } = report.unsigned.as_ref()?;
    Some((paths.iter().map(String::as_str).collect(), *more))
}

/// Signs these with links followed; `content` says what each holds.
fn sign_links(model: &Model, content: &[(&str, &str)]) {
    let files: Vec<_> = content.iter().map(|(name, of)| ((*name).to_owned(), Hasher::sha256(of.as_bytes()))).collect();
    let mut statement = statement(&files);
    statement["predicate"]["serialization"]["allow_symlinks"] = json!(true);
    fs::write(model.path("m/model.sig"), model.signer.sign(&statement).to_string()).unwrap();
}

#[test]
fn what_is_not_signed_is_told_where_all_else_is_what_was_signed() {
    let model = Model::new("m", &["a", "w/b"]);
    assert_eq!((told(&read(&model)), read(&model).symlinks), (None, Some(0)));
    write_files(&model.path("m"), &[".git/HEAD", ".gitattributes", "w/x"]);
    let report = read(&model);
    assert_eq!(code(&report), Some(RefusedCode::UnsignedFiles.into()));
    assert_eq!(told(&report), Some((vec![".git/HEAD", ".gitattributes", "w/x"], false)));
    assert_eq!((report.symlinks, report.content_verified), (Some(0), Some(false)));
    let many: Vec<String> = (0..2000).map(|at| format!(".git/objects/{at}")).collect();
    write_files(&model.path("m"), &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(told(&read(&model)), Some((vec![".git/", ".gitattributes", "w/x"], false)));
    let bundle = Request { extent: Extent::SignatureOnly, ..cluster(model.dir.path(), "m") };
    assert_eq!(told(&model.read(&bundle)), None);
    let stranger = Model::new("m", &["a"]);
    let untrusted = crate::facts::read_with(&cluster(model.dir.path(), "m"), &stranger.signer.trust());
    assert_eq!(code(&untrusted), Some(RefusedCode::UntrustedSigner.into()));
    fs::write(model.path("m/a"), "altered").unwrap();
    let report = read(&model);
    assert_eq!((code(&report), told(&report)), (Some(RefusedCode::ContentMismatch.into()), None));
}

#[test]
fn more_than_a_report_can_tell_is_said_to_be_more() {
    let model = Model::new("m", &["a", "w/b"]);
    let many: Vec<String> = (0..200).map(|at| format!("w/unsigned-{at}")).collect();
    write_files(&model.path("m"), &many.iter().map(String::as_str).collect::<Vec<_>>());
    let report = read(&model);
    assert!(report.unsigned.as_ref().is_some_and(|it| it.more && !it.paths.is_empty()), "{report:?}");
    let odd = Model::new("m", &["a"]);
    write_files(&odd.path("m"), &["x\ny"]);
    assert_eq!(told(&read(&odd)), Some((vec![], true)));
}

#[test]
fn what_lies_in_an_unsigned_folder_is_unsigned_whatever_it_is() {
    let model = Model::new("m", &["a", "w/b"]);
    fs::create_dir_all(model.path("m/.git/x")).unwrap();
    assert_eq!(code(&read(&model)), None, "folders alone are nothing");
    symlink("/etc/passwd", model.path("m/.git/x/link")).unwrap();
    mknodat(CWD, model.path("m/.git/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let report = read(&model);
    assert_eq!(code(&report), Some(RefusedCode::UnsignedFiles.into()), "{}", message(&report));
    assert_eq!(told(&report), Some((vec![".git/fifo", ".git/x/link/"], false)));
    assert_eq!((report.symlinks, report.left_out.first), (Some(0), vec!["model.sig".to_owned()]));
    symlink("b", model.path("m/w/link")).unwrap();
    assert_eq!(code(&read(&model)), Some(RefusedCode::SymlinkNotAllowed.into()), "beside signed files");
}

#[test]
fn links_are_counted_where_the_signer_followed_them() {
    let model = Model::new("m", &["a", "w/b"]);
    symlink("../a", model.path("m/w/link")).unwrap();
    symlink("w", model.path("m/folder")).unwrap();
    sign_links(&model, &[("a", "a"), ("w/b", "w/b"), ("w/link", "a")]);
    let report = read(&model);
    assert_eq!((code(&report), report.symlinks, told(&report)), (None, Some(2), None), "{}", message(&report));
    symlink("a", model.path("m/other")).unwrap();
    let report = read(&model);
    assert_eq!(told(&report), Some((vec!["folder/", "other"], false)), "a link is not signed by what it leads to");
}

/// Else a policy that ignores a folder would let it be under any other name.
#[test]
fn a_link_to_a_folder_is_unsigned_where_it_may_lead_to_what_is() {
    let model = Model::new("m", &["a", "w/b"]);
    sign_links(&model, &[("a", "a"), ("w/b", "w/b")]);
    symlink("w", model.path("m/folder")).unwrap();
    assert_eq!(told(&read(&model)), None);
    write_files(&model.path("m"), &[".git/generate.py"]);
    symlink(".git", model.path("m/custom_generate")).unwrap();
    let report = read(&model);
    assert_eq!(told(&report), Some((vec![".git/generate.py", "custom_generate/", "folder/"], false)));
    assert_eq!(report.left_out.first, ["model.sig"]);
}

/// Adds something to a model.
type Add = fn(&Model);

/// A policy that lets files of a name lie there lets no folder of that name lie there, whatever stands for one.
#[test]
fn what_may_be_a_folder_is_let_be_as_a_folder_only() {
    let notes = json!({ "ignorePaths": [".git/**", "**/*.md"], "allowSymlinks": true });
    let add: [(&str, Add); 4] = [
        ("content.ignorePaths: docs/x.md/", |model| {
            fs::create_dir(model.path("m/docs")).unwrap();
            symlink("/tmp", model.path("m/docs/x.md")).unwrap();
        }),
        ("custom_generate.md/", |model| {
            write_files(&model.path("m"), &[".git/generate.py"]);
            symlink(".git", model.path("m/custom_generate.md")).unwrap();
        }),
        ("more is not signed", |model| {
            let folder = model.path("m").join(OsStr::from_bytes(b"\xff.md"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("model.py"), "x").unwrap();
        }),
        ("more is not signed", |model| fs::write(model.path("m").join(OsStr::from_bytes(b"\xff.md")), "x").unwrap()),
    ];
    for (text, add) in add {
        let model = Model::new("m", &["a", "w/b"]);
        sign_links(&model, &[("a", "a"), ("w/b", "w/b")]);
        fs::write(model.path("policy.yaml"), policy(&model, "p", &notes)).unwrap();
        fs::write(model.path("pod.json"), POD).unwrap();
        let verify = ["verify", "m", "--policy", "policy.yaml"];
        let check = ["check", "pod.json", "--policy", "policy.yaml", "--model", "claim/m=m"];
        run(model.dir.path(), &verify).code(0);
        run(model.dir.path(), &check).code(0);
        add(&model);
        run(model.dir.path(), &verify).code(1).stdout(contains("[UnsignedFiles]"));
        run(model.dir.path(), &check).code(1).stdout(contains(text).and(contains("[UnsignedFiles]")));
    }
}

/// A policy that trusts the signer, with this to say of the content.
fn policy(model: &Model, name: &str, content: &Value) -> String {
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy", "metadata": { "name": name },
        "spec": {
            "match": { "namespaceSelector": {} }, "validationActions": ["Deny"], "content": content,
            "authorities": [{ "name": "release-key", "key": { "data": model.signer.pem() } }],
        },
    })
    .to_string()
}

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server"}, "spec": {
    "containers": [{"name": "s", "image": "s", "volumeMounts": [{"name": "m", "mountPath": "/m", "readOnly": true}]}],
    "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "m"}}]}}"#;

fn run(dir: &Path, arguments: &[&str]) -> Assert {
    weighbridge(arguments).current_dir(dir).assert()
}

#[test]
fn verify_and_check_judge_by_the_same_policies() {
    let model = Model::new("m", &["a", "w/b"]);
    symlink("a", model.path("m/link")).unwrap();
    sign_links(&model, &[("a", "a"), ("link", "a"), ("w/b", "w/b")]);
    write_files(&model.path("m"), &[".git/HEAD", "w/notes.md"]);
    fs::write(model.path("pod.json"), POD).unwrap();
    let both = json!({ "ignorePaths": [".git/**", "**/*.md"], "allowSymlinks": true });
    for (contents, exit, text) in [
        (vec![json!({})], 1, "[UnsignedFiles]"),
        (vec![json!({ "ignorePaths": [".git/**"], "allowSymlinks": true })], 1, "content.ignorePaths: w/notes.md"),
        (
            vec![json!({ "ignorePaths": [".git/**", "*.md"], "allowSymlinks": true })],
            1,
            "content.ignorePaths: w/notes.md",
        ),
        (vec![json!({ "ignorePaths": [".git/**", "**/*.md"] })], 1, "[SymlinkNotAllowed]"),
        (vec![both.clone()], 0, ""),
        (vec![both.clone(), json!({ "allowSymlinks": true })], 1, "[UnsignedFiles]"),
        (vec![json!({ "ignorePaths": ["**"], "allowSymlinks": true })], 2, "[PolicyInvalid]"),
    ] {
        let policies = contents.iter().enumerate().map(|(at, content)| policy(&model, &format!("p{at}"), content));
        fs::write(model.path("policy.yaml"), policies.collect::<Vec<_>>().join("\n---\n")).unwrap();
        let verify = run(model.dir.path(), &["verify", "m", "--policy", "policy.yaml"]);
        verify.code(exit).stdout(contains(text));
        let check = ["check", "pod.json", "--policy", "policy.yaml", "--model", "claim/m=m"];
        run(model.dir.path(), &check).code(exit).stdout(contains(text));
    }
    fs::write(model.path("policy.yaml"), policy(&model, "p", &both)).unwrap();
    let json = run(model.dir.path(), &["verify", "m", "--policy", "policy.yaml", "--output", "json"]).code(0);
    let said: Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(said["unsigned"]["paths"], json!([".git/HEAD", "w/notes.md"]));
    assert_eq!(
        (&said["contentVerified"], &said["symlinks"], &said["leftOut"]["count"]),
        (&json!(true), &json!(1), &json!(3))
    );
    // A signed file under a glob is compared all the same.
    fs::write(
        model.path("policy.yaml"),
        policy(&model, "p", &json!({ "ignorePaths": ["**/*.md", "w/**", ".git/**"], "allowSymlinks": true })),
    )
    .unwrap();
    fs::write(model.path("m/w/b"), "altered").unwrap();
    run(model.dir.path(), &["verify", "m", "--policy", "policy.yaml"]).code(1).stdout(contains("[ContentMismatch]"));
}

#[test]
fn what_the_signer_ignored_is_for_policies_to_ignore() {
    let model = Model::new("m", &["a", "logs/b"]);
    model.signer.sign_folder(&model.path("m"), &["logs", "model.sig"]);
    fs::write(model.path("key.pub"), model.signer.pem()).unwrap();
    run(model.dir.path(), &["verify", "m", "--key", "key.pub"]).code(0);
    fs::write(model.path("policy.yaml"), policy(&model, "p", &json!({}))).unwrap();
    let verify = ["verify", "m", "--policy", "policy.yaml"];
    run(model.dir.path(), &verify).code(1).stdout(contains("1 not signed: logs/b").and(contains("[UnsignedFiles]")));
    for flag in [&["--ignore", "logs"][..], &["--allow-symlinks"], &["--ignore-git-paths"]] {
        run(model.dir.path(), &[&verify[..], flag].concat()).code(64).stderr(contains("cannot be used with"));
    }
    fs::write(model.path("policy.yaml"), policy(&model, "p", &json!({ "ignorePaths": ["logs/**"] }))).unwrap();
    run(model.dir.path(), &verify).code(0).stdout(contains("logs/b"));
}
