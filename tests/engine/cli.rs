//! The command line as a script meets it: arguments, exit codes, what is printed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use weighbridge::facts::{Outcome, Report};

use crate::support::{P256, Signer, vectors, weighbridge, write_files};

/// A folder with the signed model `m`, the signer's key `key.pem` and a stranger's key `other.pem`.
fn model() -> (TempDir, Signer) {
    let (dir, signer) = (tempdir().unwrap(), Signer::new(P256));
    write_files(&dir.path().join("m"), &["a", "b/c"]);
    signer.sign_folder(&dir.path().join("m"), &[]);
    fs::write(dir.path().join("key.pem"), signer.pem()).unwrap();
    fs::write(dir.path().join("other.pem"), Signer::new(P256).pem()).unwrap();
    (dir, signer)
}

fn verify(dir: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    weighbridge(&["verify"]).args(arguments).current_dir(dir).assert()
}

#[test]
fn verified_is_0() {
    let (dir, signer) = model();
    let fingerprint = signer.key.fingerprint().to_string();
    for key in [&["--key", "key.pem"][..], &["--public_key", "key.pem"], &["--public-key=key.pem"]] {
        let done = verify(dir.path(), &[&["m"], key].concat());
        done.code(0).stdout(contains("Verified: m: 2 files").and(contains(&fingerprint))).stderr("");
    }
    let keys = ["m", "--key", "other.pem", "--key", "key.pem", "--threads", "1"];
    verify(dir.path(), &keys).code(0);
    verify(&dir.path().join("m"), &[".", "--key", "../key.pem"]).code(0);
    verify(dir.path(), &["m", "--key", "key.pem", "--signature", "m/model.sig"]).code(0);
}

#[test]
fn refused_is_1_and_says_why() {
    let (dir, _) = model();
    verify(dir.path(), &["m", "--key", "other.pem"]).code(1).stdout(contains("[UntrustedSigner]"));
    fs::write(dir.path().join("m/new"), "").unwrap();
    verify(dir.path(), &["m", "--key", "key.pem"])
        .code(1)
        .stdout("Refused: m: the files are not what was signed: 1 not signed: new; remove them, or sign the model with them [UnsignedFiles]\n");
    for ignore in ["new", "m/new", "./m/new"] {
        verify(dir.path(), &["m", "--key", "key.pem", "--ignore", ignore]).code(0).stdout(contains("left out"));
    }
    fs::remove_file(dir.path().join("m/model.sig")).unwrap();
    verify(dir.path(), &["m", "--key", "key.pem"]).code(1).stdout(contains("[Unsigned]"));
}

#[test]
fn what_is_to_be_ignored_and_is_not_there_is_said() {
    let (dir, _) = model();
    let ignored = |path| ["m", "--key", "key.pem", "--ignore", path];
    let said = "warning: --ignore m/nwe: nothing of that name is in the model; correct the path\n";
    verify(dir.path(), &ignored("m/nwe")).code(0).stderr(said);
    verify(dir.path(), &ignored("b")).code(0).stderr("");
    verify(dir.path(), &["m", "--signature", "m/model.sig", "--key", "key.pem", "--ignore", "b/c"]).code(0).stderr("");
    weighbridge(&["digest", "m", "--ignore", "m/nwe"]).current_dir(dir.path()).assert().code(0).stderr(contains(said));
    verify(dir.path(), &["nothing", "--key", "key.pem", "--ignore", "new"]).code(2).stderr("");
}

#[test]
fn reading_is_as_slow_as_asked_for() {
    let (dir, signer) = model();
    fs::write(dir.path().join("m/large"), vec![0; 3000]).unwrap();
    signer.sign_folder(&dir.path().join("m"), &["model.sig"]);
    let began = Instant::now();
    verify(dir.path(), &["m", "--key", "key.pem", "--io-limit", "2000"]).code(0);
    assert!(began.elapsed() > Duration::from_secs(1), "3,000 bytes and more at 2,000 in a second");
    verify(dir.path(), &["m", "--key", "key.pem", "--io-limit", "0"]).code(64).stderr(contains("--io-limit"));
}

#[test]
fn git_files_are_left_out_unless_asked_for() {
    let (dir, _) = model();
    write_files(&dir.path().join("m"), &[".git/config", ".gitignore"]);
    verify(dir.path(), &["m", "--key", "key.pem"]).code(0);
    verify(dir.path(), &["m", "--key", "key.pem", "--no-ignore-git-paths"]).code(1);
}

#[test]
fn not_determined_is_2() {
    let (dir, _) = model();
    fs::create_dir(dir.path().join("empty")).unwrap();
    for (arguments, said) in [
        (&["nothing"][..], "`nothing` does not exist; put the model there"),
        (&["empty"], "holds no file; put the model there"),
        (
            &["m", "--signature", "nothing.sig"],
            "the signature file `nothing.sig` does not exist; sign the model, or name",
        ),
        (
            &["m/a", "--signature", "nothing.sig"],
            "the signature file `nothing.sig` does not exist; sign the model, or name",
        ),
    ] {
        let done = verify(dir.path(), &[arguments, &["--key", "key.pem"]].concat()).code(2);
        done.stdout(contains(said).and(contains("[SourceMissing]")));
    }
}

#[test]
fn what_may_not_be_read_is_named() {
    let (dir, _) = model();
    let program = dir.path().join("program");
    fs::copy(assert_cmd::cargo::cargo_bin!("weighbridge"), &program).unwrap();
    for (path, mode) in [("m/b/c", 0o000), ("m/b", 0o000), ("m/model.sig", 0o000), ("m", 0o311)] {
        let path = dir.path().join(path);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = std::process::Command::new(&program);
        command.args(["verify", "m", "--key", "key.pem"]).current_dir(dir.path());
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534); // Root may read anything.
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{path:?}: {text}");
        assert!(text.contains("Permission denied") && text.contains("[Unreadable]"), "{text}");
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn usage_is_64() {
    let (dir, _) = model();
    fs::write(dir.path().join("ed25519.pem"), "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n").unwrap();
    fs::rename(dir.path().join("m/model.sig"), dir.path().join("m/x.sig")).unwrap();
    fs::write(dir.path().join("m/y.sig"), "").unwrap();
    for (arguments, text) in [
        (&["m"][..], "no authority"),
        (&["m", "--key", "nothing.pem"], "nothing.pem"),
        (&["m", "--key", "m/a"], "BEGIN PUBLIC KEY"),
        (&["m", "--key", "ed25519.pem"], "Ed25519"),
        (&["m", "--key", "key.pem"], "x.sig, y.sig"),
        (&["m", "--key", "key.pem", "--ignore", "/etc"], "not a path in the model"),
        (&["m", "--key", "key.pem", "--ignore", "."], "not a path in the model"),
        (&["m", "--key", "key.pem", "--ignore", "m"], "not a path in the model"),
        (&["m", "--key", "key.pem", "--threads", "0"], "--threads"),
        (&["m", "--key", "key.pem", "--signature", "m"], "--signature m: it is a folder"),
        (&["m", "--no-such-flag"], "--no-such-flag"),
        (&[], "<MODEL>"),
    ] {
        verify(dir.path(), arguments).code(64).stdout("").stderr(contains(text));
    }
    weighbridge(&["no-such-command"]).assert().code(64);
    weighbridge(&[]).assert().code(64);
    weighbridge(&["--help"]).assert().code(0).stdout(contains("verify"));
    weighbridge(&["--version"]).assert().code(0);
}

#[test]
fn json_is_the_report() {
    let (dir, signer) = model();
    let output = verify(dir.path(), &["m", "--key", "key.pem", "--output", "json"]).code(0).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["version"], 2);
    assert_eq!(report["outcome"], json!({ "verdict": "Verified" }));
    assert_eq!(report["signers"][0]["fingerprint"], signer.key.fingerprint().to_string());
    fs::write(dir.path().join("m/a"), "altered").unwrap();
    let output = verify(dir.path(), &["m", "--key", "key.pem", "--output", "json"]).code(1).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["outcome"]["code"], "ContentMismatch");
    // In the words of a cluster.
    let message = report["outcome"]["message"].as_str().unwrap();
    assert!(message.ends_with("; put the signed files back, or sign the model again"), "{message}");
}

#[test]
fn a_single_file_of_an_old_release_verifies() {
    let folder = vectors().join("v0.3.1-elliptic-key");
    verify(&folder, &["signme-1", "--signature", "model.sig", "--key", "../keys/signing-key-pub.pem"])
        .code(0)
        .stdout(contains("1 file,"));
}

/// Runs a verifier as its Pod does, and gives what the operator then reads.
fn verifier(dir: &Path, trust: &[&str], arguments: &[&str]) -> Report {
    let report = dir.join("termination-log");
    let mut command = weighbridge(&["verifier"]);
    command.arg("--root").arg(dir).arg("--report").arg(&report).args(arguments);
    command.env("WEIGHBRIDGE_TRUST", trust.len().to_string()).env("WEIGHBRIDGE_NONCE", "nonce-1");
    command.envs(trust.iter().enumerate().map(|(at, piece)| (format!("WEIGHBRIDGE_TRUST_{at}"), piece)));
    command.assert().code(0).stdout("");
    Report::parse(&fs::read_to_string(report).unwrap(), "nonce-1").unwrap()
}

#[test]
fn a_verifier_writes_its_report_and_ends_with_0() {
    let (dir, signer) = model();
    let other = json!({ "key": { "pem": Signer::new(P256).pem() } }).to_string();
    // As the operator spells a dollar sign, which a kubelet would replace.
    let pem = format!("$(HOME)\n{}", signer.pem());
    let piece = json!({ "key": { "pem": pem } }).to_string().replace('$', "\\u0024");
    let trust = [other.as_str(), piece.as_str()];
    let code = |trust: &[&str], arguments: &[&str]| {
        let report = verifier(dir.path(), trust, arguments);
        report.outcome.code().map_or("Verified", |code| code.as_str())
    };
    assert_eq!(code(&trust, &["--path", "m"]), "Verified");
    assert_eq!(code(&trust, &["--path", "m", "--signature", "volume:model.sig", "--io-limit", "1000000"]), "Verified");
    assert_eq!(code(&trust, &["--path", "m", "--signature", "volume:other.sig"]), "Unsigned");
    assert_eq!(code(&trust, &["--path", "m", "--signature", "volume:"]), "Verified");
    assert_eq!(code(&trust, &["--path", ""]), "UnsignedFiles", "keys lie beside the model");
    assert_eq!(code(&trust, &["--path", "nothing"]), "SourceMissing");
    assert_eq!(code(&[], &["--path", "m"]), "UntrustedSigner");
    fs::write(dir.path().join("m/a"), "altered").unwrap();
    assert_eq!(code(&trust, &["--path", "m"]), "ContentMismatch");
    assert_eq!(code(&trust, &["--path", "m", "--signature-only"]), "Verified");
}

#[test]
fn a_verifier_that_cannot_begin_reports_that() {
    let (dir, signer) = model();
    let key = json!({ "key": { "pem": signer.pem() } }).to_string();
    let expected = |report: Report, expected: &str, what: &str| {
        assert!(matches!(report.outcome, Outcome::Unknown { .. }), "{what}");
        assert_eq!(report.outcome.code().unwrap().as_str(), expected, "{what}");
    };
    for piece in [
        "",
        "{",
        r#"{"key":{"pem":"x"}}"#,
        r#"{"roots":{"pem":"x","profile":"Strict"}}"#,
        r#"{"roots":{"pem":"x","profile":"Lax"}}"#,
        r#"{"trustedRoot":{"json":"{}"}}"#,
        r#"{"secret":{}}"#,
    ] {
        // One piece that cannot be read, and nothing is: it may be the one that somebody relies upon.
        expected(verifier(dir.path(), &[&key, piece], &["--path", "m"]), "TrustUnavailable", piece);
    }
    for arguments in [
        &["--path", "../m"][..],
        &["--path", "/m"],
        &["--path", "m", "--signature", "oci://x"],
        &["--path", "m", "--signature", "volume:../x"],
    ] {
        expected(verifier(dir.path(), &[&key], arguments), "NotVerifiable", &arguments.join(" "));
    }
    // Nobody listens on this port, and nobody is asked where no policy lists it.
    let reference = format!("oci://127.0.0.1:1/acme/signatures@sha256:{}", "0".repeat(64));
    let of_registry = |more: &[&'static str]| {
        let arguments: Vec<&str> =
            ["--path", "m", "--signature", &reference].into_iter().chain(more.to_vec()).collect();
        verifier(dir.path(), &[&key], &arguments)
    };
    expected(of_registry(&[]), "RegistryUnauthorized", "not listed");
    expected(of_registry(&["--bundle-registry", "127.0.0.1:2/**"]), "RegistryUnauthorized", "another is listed");
    expected(of_registry(&["--bundle-registry", "127.0.0.1:1/**"]), "RegistryUnavailable", "nobody answers");
    // A variable that somebody took away.
    let report = dir.path().join("termination-log");
    let mut command = weighbridge(&["verifier", "--path", "m"]);
    command.arg("--root").arg(dir.path()).arg("--report").arg(&report);
    command.env("WEIGHBRIDGE_TRUST", "2").env("WEIGHBRIDGE_TRUST_0", &key).env("WEIGHBRIDGE_NONCE", "nonce-1");
    command.assert().code(0);
    let report = Report::parse(&fs::read_to_string(report).unwrap(), "nonce-1").unwrap();
    expected(report, "TrustUnavailable", "the second of two");
}
