//! Sizes that nobody needs: refused as too large, quickly and without the memory that they ask for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::tempdir;
use weighbridge::api::v1alpha1::{Code, UnknownCode};
use weighbridge::facts::{NoProgress, Report, Request, read};
use weighbridge::model::MAX_RESOURCES;
use weighbridge::signature::{MAX_BUNDLE_BYTES, PublicKey, RejectionCode, TrustMaterial};

use super::code;
use crate::support::{P256, Signer, check, files, statement, write_files};

use RejectionCode::{MalformedBundle, TooLarge};

/// What a process takes that reads next to nothing, with room, in KiB.
const IDLE_KIB: u64 = 64 << 10;

/// Names the folder in which the process that is measured finds its model and leaves its report.
const FOLDER: &str = "WEIGHBRIDGE_TEST_FOLDER";

/// Reads a model with a bundle of that content in a process of its own: what it reports, and the most memory that it
/// had, in KiB.
fn measured(prepare: &dyn Fn(&Path, &Signer)) -> (Option<Code>, String, u64) {
    let (dir, signer) = (tempdir().unwrap(), Signer::new(P256));
    write_files(&dir.path().join("m"), &["a"]);
    prepare(&dir.path().join("m"), &signer);
    fs::write(dir.path().join("key.pem"), signer.pem()).unwrap();
    let mut itself = Command::new(std::env::current_exe().unwrap());
    itself.args(["--exact", "attacks::limits::in_a_process_of_its_own", "--ignored"]).env(FOLDER, dir.path());
    let output = itself.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = fs::read_to_string(dir.path().join("report")).unwrap();
    let report = Report::parse(&report, "nonce").unwrap();
    let memory = fs::read_to_string(dir.path().join("memory")).unwrap().parse().unwrap();
    (report.outcome.code(), report.outcome.message().unwrap_or_default().to_owned(), memory)
}

#[test]
#[ignore = "the others start it, each in a process of its own"]
fn in_a_process_of_its_own() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let pem = fs::read_to_string(folder.join("key.pem")).unwrap();
    let trust = TrustMaterial { keys: vec![PublicKey::from_pem(&pem).unwrap()], ..TrustMaterial::default() };
    let request = Request { nonce: Some("nonce".into()), ..crate::facts::cluster(&folder, "m") };
    let report = read(&request, &trust, jiff::Timestamp::UNIX_EPOCH, &NoProgress);
    fs::write(folder.join("report"), report.to_json()).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    fs::write(folder.join("memory"), mark.trim().trim_end_matches(" kB")).unwrap();
}

#[test]
fn a_bundle_of_five_gigabytes_is_not_read() {
    let (code, text, memory) = measured(&|model, _| {
        let bundle = fs::File::create(model.join("model.sig")).unwrap();
        bundle.set_len(5_000_000_000).unwrap();
    });
    assert_eq!(code, Some(UnknownCode::TooLarge.into()), "{text}");
    assert!(memory < IDLE_KIB, "{memory} KiB");
}

#[test]
fn more_resources_than_a_model_may_have() {
    let (code, text, memory) = measured(&|model, signer| {
        let empty = statement(&[]).to_string();
        let resource = r#"{"name":"","algorithm":"","digest":""}"#;
        // Ten million would make a bundle that is over its own limit.
        let listed = vec![resource; MAX_RESOURCES + 1].join(",");
        let payload = empty.replace("\"resources\":[]", &format!("\"resources\":[{listed}]"));
        let text = signer.bundle(payload.as_bytes()).to_string();
        assert!(text.len() < MAX_BUNDLE_BYTES);
        fs::write(model.join("model.sig"), text).unwrap();
    });
    assert_eq!(code, Some(UnknownCode::TooLarge.into()), "{text}");
    assert!(text.contains("1000000"), "{text}");
    // The limit is 16 MiB and 1 KiB for each of a million.
    assert!(memory < IDLE_KIB + (1 << 20) / 2, "{memory} KiB");
}

#[test]
fn json_nested_ten_thousand_deep() {
    let signer = Signer::new(P256);
    let bundle = signer.sign(&statement(&files(&["a"])));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        for place in
            ["/mediaType", "/verificationMaterial", "/verificationMaterial/tlogEntries", "/dsseEnvelope/signatures"]
        {
            let mut marked = bundle.clone();
            *marked.pointer_mut(place).unwrap() = json!("HERE");
            let text = marked.to_string().replace("\"HERE\"", &deep);
            let rejection = weighbridge::signature::Bundle::parse(text.as_bytes()).unwrap_err();
            assert_eq!(rejection.code(), MalformedBundle, "{place}");
        }
        for place in
            ["/subject/0/digest", "/predicate/resources/0", "/predicate/serialization/ignore_paths", "/predicate"]
        {
            let mut marked = statement(&files(&["a"]));
            marked["predicate"]["serialization"]["ignore_paths"] = json!([]);
            *marked.pointer_mut(place).unwrap() = json!("HERE");
            let payload = marked.to_string().replace("\"HERE\"", &deep);
            let rejection = check(&signer.bundle(payload.as_bytes()), &signer.trust()).unwrap_err();
            assert_eq!(rejection.code(), MalformedBundle, "{place}");
        }
    }
}

#[test]
fn lists_are_as_long_as_anybody_needs() {
    let signer = Signer::new(P256);
    let mut ignoring = statement(&files(&["a"]));
    ignoring["predicate"]["serialization"]["ignore_paths"] = json!(vec!["x"; 1000]);
    assert_eq!(code(&signer.sign(&ignoring), &signer.trust()), None);
    ignoring["predicate"]["serialization"]["ignore_paths"] = json!(vec!["x"; 1001]);
    assert_eq!(code(&signer.sign(&ignoring), &signer.trust()), Some(TooLarge));
    let mut signatures = signer.sign(&statement(&files(&["a"])));
    signatures["dsseEnvelope"]["signatures"] = json!(vec![json!({ "sig": "AAAA" }); 100_000]);
    assert_eq!(code(&signatures, &signer.trust()), Some(MalformedBundle));
    let mut long = signer.sign(&statement(&files(&["a"])));
    long["dsseEnvelope"]["signatures"][0]["sig"] = json!(STANDARD.encode(vec![0; 1 << 20]));
    assert_eq!(code(&long, &signer.trust()), Some(MalformedBundle));
}
