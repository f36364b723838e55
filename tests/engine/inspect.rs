//! What `weighbridge inspect` shows of a bundle, and that it says each time that nothing was verified.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::pki::{Holder, ca, leaf};
use crate::support::{P256, Signer, files, statement, vectors, weighbridge};

const NOTHING: &str = "Nothing was verified. ";

fn inspected(path: &Path) -> Value {
    let output = weighbridge(&["inspect", "--output", "json"]).arg(path).assert().code(0).get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn each_kind_of_signer_is_named() {
    let keyless = vectors().parent().unwrap().join("keyless/model");
    let said = weighbridge(&["inspect"]).arg(&keyless).assert().code(0);
    let named = contains("email:alice@example.com, by Sigstore").and(contains("http://127.0.0.1:5503"));
    said.stdout(contains(NOTHING).and(named).and(contains("log entry        3")));
    let shown = inspected(&keyless);
    assert_eq!((&shown["verified"], &shown["claimedSigner"]["kind"]), (&json!(false), &json!("Keyless")));
    for (folder, by) in [
        ("v0.2.0-certificate", "CN=intermediate-ca, by certificate"),
        ("v1.0.1-certificate", "CN=intermediate-ca, by certificate"),
        ("v1.0.1-elliptic-key", "a key that the bundle does not name"),
        ("v1.0.1-sigstore", "email:stefanb@us.ibm.com, by Sigstore"),
    ] {
        let said = weighbridge(&["inspect"]).arg(vectors().join(folder)).assert().code(0);
        said.stdout(contains(NOTHING).and(contains(by)));
    }
}

#[test]
fn a_bundle_is_shown_whoever_wrote_it_and_however_wrong_it_is() {
    let dir = tempdir().unwrap();
    let (path, signer) = (dir.path().join("x.sig"), Signer::new(P256));
    let mut bundle = signer.sign(&statement(&files(&["a", "b/c"])));
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("AAAA");
    fs::write(&path, bundle.to_string()).unwrap();
    let said = weighbridge(&["inspect"]).arg(&path).assert().code(0);
    said.stdout(contains(NOTHING).and(contains(signer.key.oms_hint())).and(contains("files            2")));
    assert_eq!(inspected(&path)["resources"][1]["name"], "b/c");

    let root = Holder::root(ca("root\u{1b}[2J"));
    let bundle = root.issue(leaf("evil\u{1b}[2J")).sign(&statement(&files(&["a\nb"])), &[]);
    fs::write(&path, bundle.to_string()).unwrap();
    weighbridge(&["inspect"]).arg(&path).assert().code(0).stdout(contains("CN=evil").and(contains("\u{1b}").not()));
}

#[test]
fn what_is_no_bundle_is_said() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("x.sig"), "{}").unwrap();
    weighbridge(&["inspect"]).arg(dir.path().join("x.sig")).assert().code(1).stdout(contains("[MalformedBundle]"));
    weighbridge(&["inspect"]).arg(dir.path().join("y.sig")).assert().code(64).stderr(contains("y.sig"));
    weighbridge(&["inspect"]).arg(dir.path()).assert().code(64).stderr(contains("model.sig"));
    // Nobody writes into it: whoever opened it would wait for ever.
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("model.sig")).status().unwrap();
    assert!(made.success());
    weighbridge(&["inspect"]).arg(dir.path()).assert().code(64).stderr(contains("not a file"));
}
