//! Signing as a script meets it, and what is then verified.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use assert_cmd::assert::Assert;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use weighbridge::signature::{Bundle, claimed};

use crate::pki::{Holder, ca, leaf};
use crate::support::{P256, P384, P521, Signer, weighbridge, write_files};

/// A folder with the model `m` of these files, and a key pair `key.pem`, `key.pub`.
fn model(files: &[&str]) -> (TempDir, Signer) {
    let (dir, signer) = (tempdir().unwrap(), Signer::new(P256));
    fs::create_dir(dir.path().join("m")).unwrap();
    write_files(&dir.path().join("m"), files);
    write_key(dir.path(), &signer, 0o600);
    (dir, signer)
}

fn write_key(dir: &Path, signer: &Signer, mode: u32) {
    fs::write(dir.join("key.pub"), signer.pem()).unwrap();
    fs::write(dir.join("key.pem"), signer.private_pem()).unwrap();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
}

fn run(dir: &Path, command: &str, arguments: &[&str]) -> Assert {
    weighbridge(&[command]).args(arguments).current_dir(dir).assert()
}

fn sign(dir: &Path, arguments: &[&str]) -> Assert {
    run(dir, "sign", &[arguments, &["--key", "key.pem"]].concat())
}

fn verify(dir: &Path, arguments: &[&str]) -> Assert {
    run(dir, "verify", &[arguments, &["--key", "key.pub"]].concat())
}

/// The statement in a bundle.
fn payload(bundle: &Path) -> Value {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn what_is_signed_verifies() {
    for curve in [P256, P384, P521] {
        let (dir, _) = model(&["a", "b/c", ".hidden", "a.b", "a/b".replace('/', "-").as_str()]);
        let signer = Signer::new(curve);
        write_key(dir.path(), &signer, 0o600);
        let fingerprint = signer.key.fingerprint().to_string();
        sign(dir.path(), &["m"]).code(0).stdout(contains("Signed: m: 5 files").and(contains(&fingerprint)));
        verify(dir.path(), &["m"]).code(0).stdout(contains(&fingerprint));
        fs::write(dir.path().join("m/a"), "altered").unwrap();
        verify(dir.path(), &["m"]).code(1);
    }
}

#[test]
fn a_bundle_is_what_the_reference_writes() {
    let (dir, signer) = model(&["a.b", "a/b", "é \"x\"", ".git/config", "left"]);
    sign(dir.path(), &["m", "--ignore", "m/left", "--ignore", "right"])
        .code(0)
        .stderr(contains("warning: --ignore right: nothing of that name is in the model"));
    let bundle: Value = serde_json::from_slice(&fs::read(dir.path().join("m/model.sig")).unwrap()).unwrap();
    let mut expected = signer.bundle(b"");
    expected["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"].clone();
    expected["dsseEnvelope"]["signatures"][0]["sig"] = bundle["dsseEnvelope"]["signatures"][0]["sig"].clone();
    assert_eq!(bundle, expected);
    let statement = payload(&dir.path().join("m/model.sig"));
    let mut expected = crate::support::statement(
        &[("a/b", "a/b"), ("a.b", "a.b"), ("é \"x\"", "é \"x\"")]
            .map(|(name, content)| (name.to_owned(), weighbridge::model::Hasher::sha256(content.as_bytes()))),
    );
    expected["subject"][0]["name"] = json!("m");
    expected["predicate"]["serialization"]["ignore_paths"] =
        json!([".git", ".gitattributes", ".github", ".gitignore", "left", "model.sig", "right"]);
    assert_eq!(statement, expected);
}

#[test]
fn the_same_model_gives_the_same_statement() {
    let (dir, _) = model(&["a", "b/c"]);
    sign(dir.path(), &["m", "--signature", "one.sig"]).code(0);
    sign(dir.path(), &["m/../m", "--signature", "two.sig", "--threads", "1"]).code(0);
    let parsed = |name| claimed(&Bundle::parse(&fs::read(dir.path().join(name)).unwrap()).unwrap()).unwrap();
    assert_eq!(parsed("one.sig").manifest.manifest_digest(), parsed("two.sig").manifest.manifest_digest());
    assert_eq!(payload(&dir.path().join("one.sig")), payload(&dir.path().join("two.sig")));
    assert_eq!(payload(&dir.path().join("one.sig"))["subject"][0]["name"], "m");
}

#[test]
fn each_hash_verifies() {
    for (hash, digits) in [("sha256", 64), ("blake2b", 128), ("blake2", 128), ("blake3", 64)] {
        let (dir, _) = model(&["a", "b/c"]);
        sign(dir.path(), &["m", "--hash", hash]).code(0);
        let serialization = payload(&dir.path().join("m/model.sig"));
        let resource = &serialization["predicate"]["resources"][0];
        assert_eq!(resource["digest"].as_str().unwrap().len(), digits, "{hash}");
        verify(dir.path(), &["m"]).code(0);
        fs::write(dir.path().join("m/a"), "altered").unwrap();
        verify(dir.path(), &["m"]).code(1).stdout(contains("[ContentMismatch]"));
    }
}

#[test]
fn shards_are_listed_as_the_reference_lists_them() {
    let (dir, _) = model(&["abcde", "b/c"]);
    sign(dir.path(), &["m", "--shard-size", "2", "--hash", "blake2b"]).code(0).stdout(contains("2 files"));
    let statement = payload(&dir.path().join("m/model.sig"));
    let serialization = &statement["predicate"]["serialization"];
    assert_eq!((&serialization["method"], &serialization["shard_size"]), (&json!("shards"), &json!(2)));
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let names: Vec<&str> = resources.iter().map(|resource| resource["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["abcde:0:2", "abcde:2:4", "abcde:4:5", "b/c:0:2", "b/c:2:3"]);
    assert!(resources.iter().all(|resource| resource["algorithm"] == "blake2b-sharded-2"));
    verify(dir.path(), &["m"]).code(0);
    fs::write(dir.path().join("m/empty"), "").unwrap();
    verify(dir.path(), &["m"]).code(1).stdout(contains("1 not signed: empty"));
    let said = sign(dir.path(), &["m", "--force", "--shard-size", "2"]).code(1);
    said.stdout(contains("`empty` is empty").and(contains("[MalformedContent]")));
    sign(dir.path(), &["m", "--signature", "x.sig", "--shard-size", "1K", "--hash", "blake3"])
        .code(64)
        .stderr(contains("BLAKE3"));
}

#[test]
fn the_holder_of_a_certificate_signs() {
    let (dir, _) = model(&["a"]);
    let valid = |mut params: rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2120, 1, 1));
        params
    };
    let root = Holder::root(valid(ca("root")));
    let intermediate = root.issue(valid(ca("intermediate")));
    let holder = intermediate.issue(valid(leaf("release")));
    let stranger = intermediate.issue(valid(leaf("stranger")));
    for (name, text) in [
        ("root.pem", root.pem()),
        ("intermediate.pem", intermediate.pem()),
        ("leaf.pem", holder.pem()),
        ("stranger.pem", stranger.pem()),
        ("key.pem", holder.private_pem()),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let said = sign(dir.path(), &["m", "--certificate", "stranger.pem"]).code(64);
    said.stderr(contains("give the key that belongs to the certificate"));
    sign(dir.path(), &["m", "--certificate", "leaf.pem", "--chain", "intermediate.pem"]).code(0);
    run(dir.path(), "verify", &["m", "--certificate-roots", "root.pem"]).code(0).stdout(contains("CN=release"));
    sign(dir.path(), &["m", "--force", "--signing_certificate", "leaf.pem"]).code(0);
    run(dir.path(), "verify", &["m", "--certificate-roots", "root.pem"]).code(1);
    run(dir.path(), "verify", &["m", "--certificate-roots", "intermediate.pem"]).code(0);
}

#[test]
fn a_single_file_is_signed_beside_itself() {
    let (dir, _) = model(&["a", "b"]);
    sign(dir.path(), &["m/a"]).code(0).stdout(contains("m/a.sig"));
    assert_eq!(payload(&dir.path().join("m/a.sig"))["predicate"]["resources"][0]["name"], ".");
    verify(dir.path(), &["m/a"]).code(0).stdout(contains("1 file,"));
    run(&dir.path().join("m"), "verify", &["a", "--key", "../key.pub"]).code(0);
    let over_one = "the bundle is over a single file, and this is a folder";
    verify(dir.path(), &["m", "--signature", "m/a.sig"]).code(1).stdout(contains(over_one));
    sign(dir.path(), &["m"]).code(0);
    let over_many = "the bundle is over a model of 2 files, and `a` is one file";
    verify(dir.path(), &["m/a", "--signature", "m/model.sig"]).code(1).stdout(contains(over_many));
}

#[test]
fn nothing_is_overwritten_unasked() {
    let (dir, _) = model(&["a"]);
    sign(dir.path(), &["m"]).code(0);
    let before = fs::read(dir.path().join("m/model.sig")).unwrap();
    sign(dir.path(), &["m"]).code(64).stderr(contains("--force"));
    assert_eq!(fs::read(dir.path().join("m/model.sig")).unwrap(), before);
    fs::write(dir.path().join("m/b"), "new").unwrap();
    sign(dir.path(), &["m", "--force"]).code(0).stdout(contains("2 files"));
    verify(dir.path(), &["m"]).code(0);
    sign(dir.path(), &["m", "--force", "--signature", "m/a"]).code(64).stderr(contains("not a bundle"));
    assert_eq!(fs::read(dir.path().join("m/a")).unwrap(), b"a");
    let names: Vec<_> = fs::read_dir(dir.path().join("m")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_second_signer_does_not_sign_the_first_ones_signature() {
    let (dir, _) = model(&["a"]);
    sign(dir.path(), &["m"]).code(0);
    let first = payload(&dir.path().join("m/model.sig"));
    sign(dir.path(), &["m", "--signature", "m/second.sig"]).code(0).stdout(contains("left out         model.sig"));
    let second = payload(&dir.path().join("m/second.sig"));
    assert_eq!(first["predicate"]["resources"], second["predicate"]["resources"]);
    fs::write(dir.path().join("m/no-bundle.sig"), "x").unwrap();
    sign(dir.path(), &["m", "--signature", "third.sig"]).code(0).stdout(contains("2 files"));
    // A bundle over something else than a model is a file of the model.
    let (dir, signer) = model(&["a"]);
    let provenance =
        json!({ "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1" });
    fs::write(dir.path().join("m/provenance.sigstore.json"), signer.sign(&provenance).to_string()).unwrap();
    sign(dir.path(), &["m"]).code(0).stdout(contains("2 files"));
}

#[test]
fn what_verifiers_would_refuse_is_not_signed() {
    for (files, ignore, text) in [
        (&["a", "b\\c"][..], &[][..], "b\\\\c"),
        (&["a", "Config", "config"], &[], "differ only in case"),
        (&[], &[], "holds no file"),
        (&["a"], &["--ignore", "a"], "holds no file"),
    ] {
        let (dir, _) = model(files);
        let said = sign(dir.path(), &[&["m"], ignore].concat()).code(1);
        said.stdout(contains("Not signed: m").and(contains(text)).and(contains("[MalformedContent]")));
        assert!(!dir.path().join("m/model.sig").exists());
    }
    let (dir, _) = model(&["a"]);
    symlink("a", dir.path().join("m/link")).unwrap();
    sign(dir.path(), &["m"]).code(1).stdout(contains("[SymlinkNotAllowed]"));
    sign(dir.path(), &["m", "--allow-symlinks"]).code(0).stdout(contains("2 files"));
    verify(dir.path(), &["m"]).code(1).stdout(contains("[SymlinkNotAllowed]"));
    verify(dir.path(), &["m", "--allow_symlinks"]).code(0);
    sign(dir.path(), &["nothing"])
        .code(2)
        .stdout("Not signed: `nothing` does not exist; put the model there, or correct the path [SourceMissing]\n");
}

#[test]
fn a_key_that_others_may_read_is_not_taken() {
    let (dir, signer) = model(&["a"]);
    for mode in [0o640, 0o604] {
        write_key(dir.path(), &signer, mode);
        sign(dir.path(), &["m"]).code(64).stderr(contains("chmod 600").and(contains(format!("mode {mode:03o}"))));
    }
    assert!(!dir.path().join("m/model.sig").exists());
    sign(dir.path(), &["m", "--allow-shared-key"]).code(0);
}

#[test]
fn an_encrypted_key_takes_its_passphrase_from_a_file() {
    let (dir, _) = model(&["a"]);
    let key = include_str!("../../src/signature/testdata/encrypted-key.pem");
    fs::write(dir.path().join("key.pem"), key).unwrap();
    fs::write(dir.path().join("passphrase"), "correct horse\n").unwrap();
    fs::write(dir.path().join("wrong"), "battery staple\n").unwrap();
    sign(dir.path(), &["m"]).code(64).stderr(contains("--password-file"));
    sign(dir.path(), &["m", "--password-file", "wrong"]).code(64).stderr(contains("passphrase is wrong"));
    sign(dir.path(), &["m", "--password-file", "passphrase"]).code(0);
}

#[test]
fn wrong_usage_of_sign_is_64() {
    let (dir, _) = model(&["a"]);
    let rsa = "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    fs::write(dir.path().join("rsa.pem"), rsa).unwrap();
    for (arguments, text) in [
        (&["m"][..], "--key"),
        (&["m", "--key", "nothing.pem"], "nothing.pem"),
        (&["m", "--key", "key.pub"], "--key key.pub: it is a public key"),
        (&["m", "--key", "rsa.pem"], "--key rsa.pem: it is a private key of kind RSA; models are signed with ECDSA"),
        (&["m", "--key", "key.pem", "--chain", "key.pub"], "--certificate"),
        (&["m", "--key", "key.pem", "--certificate", "key.pub"], "BEGIN CERTIFICATE"),
        (&["m", "--key", "key.pem", "--hash", "md5"], "--hash"),
    ] {
        run(dir.path(), "sign", arguments).code(64).stdout("").stderr(contains(text));
    }
    sign(dir.path(), &["m", "--signature", "nowhere/model.sig"]).code(2).stdout(contains("cannot be written"));
}

/// Nobody asked for that, and a cluster refuses what then is not signed.
#[test]
fn who_signs_a_clone_is_told_that_its_git_files_are_not_signed() {
    let (dir, _) = model(&["a", ".gitattributes", ".git/config", "left"]);
    let note = || {
        contains("note: 2 left out: .git, .gitattributes (Git's own, as the reference does; a cluster refuses")
            .and(contains("--no-ignore-git-paths"))
            .and(contains("content.ignorePaths"))
    };
    sign(dir.path(), &["m"]).code(0).stderr(note());
    let others =
        contains("note: 2 left out: left, model.sig (signatures, what --ignore names, and links to folders)\n");
    run(dir.path(), "digest", &["m", "--ignore", "left"]).code(0).stderr(note().and(others));
    for command in ["digest", "sign"] {
        let key: &[&str] = if command == "sign" { &["--key", "key.pem", "--force"] } else { &[] };
        let all = [&["m", "--no-ignore-git-paths", "--ignore", ".git"], key].concat();
        run(dir.path(), command, &all).code(0).stderr(contains("Git's own").not());
    }
}

/// A way out is named to whoever meets the refusal, on a laptop and under the policies of a cluster.
#[test]
fn git_files_that_are_not_signed_are_refused_with_two_ways_out() {
    let (dir, signer) = model(&["a", ".gitattributes"]);
    sign(dir.path(), &["m"]).code(0);
    let policy = |content: Value| {
        json!({
            "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy", "metadata": { "name": "production" },
            "spec": {
                "match": { "namespaceSelector": {} }, "validationActions": ["Deny"], "content": content,
                "authorities": [{ "name": "release-key", "key": { "data": signer.pem() } }],
            },
        })
    };
    let ways = "remove or ignore them, or sign with --no-ignore-git-paths [UnsignedFiles]";
    for content in [json!({}), json!({ "ignorePaths": ["*.md"] })] {
        fs::write(dir.path().join("policy.yaml"), policy(content).to_string()).unwrap();
        run(dir.path(), "verify", &["m", "--policy", "policy.yaml"]).code(1).stdout(contains(ways));
    }
    fs::write(dir.path().join("m/new"), "").unwrap();
    fs::remove_file(dir.path().join("m/.gitattributes")).unwrap();
    verify(dir.path(), &["m"]).code(1).stdout(contains("remove them, or sign the model with them [UnsignedFiles]"));
}

#[test]
fn digests_are_those_that_are_signed() {
    let (dir, _) = model(&["a", "b/c", ".git/config"]);
    let digest = |arguments: &[&str]| {
        let output =
            run(dir.path(), "digest", &[arguments, &["--output", "json"]].concat()).code(0).get_output().clone();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let before = digest(&["m"]);
    sign(dir.path(), &["m"]).code(0);
    assert_eq!(digest(&["m"])["modelDigest"], before["modelDigest"]);
    let statement = payload(&dir.path().join("m/model.sig"));
    assert_eq!(before["resources"], statement["predicate"]["resources"]);
    assert_eq!(
        before["modelDigest"],
        format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap())
    );
    assert_ne!(digest(&["m", "--no-ignore-git-paths"])["modelDigest"], before["modelDigest"]);
    let text = run(dir.path(), "digest", &["m"]).code(0).get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert!(text.contains(&format!("{}  model digest", before["modelDigest"].as_str().unwrap())));
}
