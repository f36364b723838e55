//! What the fuzz targets do with foreign bytes: one function for each parser of such bytes.
//!
//! Each receives any bytes at all and must come back, in bounded time, without a panic; what else must hold is asserted.
//! libFuzzer calls them (`fuzz/run`), and so do the ordinary tests, with recorded and slightly altered input.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use weighbridge::facts::{Extent, NoProgress, Outcome, Place, Report, Request, SignatureLocation, read};
use weighbridge::model::{Digest, Hasher, Links, MAX_RESOURCES, ResourceName};
use weighbridge::signature::{
    Bundle, CertificateTrust, KeylessTrust, Profile, PublicKey, Signer as Signature, Statement, TrustMaterial, claimed,
    verify,
};
use weighbridge::workload::HasModels as _;

use crate::pki::{Holder, YEAR, ca, chain_material, leaf, pem};
use crate::support::{P256, Signer, files, statement as statement_of};

/// A bundle: parsed, verified with nobody and with a stranger to trust, taken at its word.
pub fn bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else { return };
    let stranger = Signer::new(P256).trust();
    for trust in [&TrustMaterial::default(), &stranger] {
        assert!(verify(&bundle, trust, Timestamp::UNIX_EPOCH).is_err(), "verified although nobody is trusted");
    }
    if let Ok(statement) = claimed(&bundle) {
        sound(&statement);
    }
}

/// A statement, and a bundle around it by somebody who is trusted.
pub fn statement(data: &[u8]) {
    let parsed = Statement::parse(data);
    if let Ok(statement) = &parsed {
        sound(statement);
    }
    let signer = Signer::new(P256);
    let text = signer.bundle(data).to_string();
    let bundle = Bundle::parse(text.as_bytes()).expect("our own bundle");
    let verified = verify(&bundle, &signer.trust(), Timestamp::UNIX_EPOCH);
    assert_eq!(verified.is_ok(), parsed.is_ok(), "a signature changes nothing about what the format forbids");
}

/// What every statement promises that was parsed.
fn sound(statement: &Statement) {
    let entries: Vec<_> = statement.manifest.entries().collect();
    assert!((1..=MAX_RESOURCES).contains(&entries.len()));
    for entry in entries {
        let name = entry.name.as_str();
        assert!(!name.starts_with('/') && !name.contains(['\\', '\0']), "{name:?}");
        assert!(name == "." || !name.split('/').any(|part| matches!(part, "" | "." | "..")), "{name:?}");
    }
}

/// Certificates in DER, one after the other: as the chain of a bundle, the last of them as its root, and as text.
pub fn certificate_chain(data: &[u8]) {
    let certificates = split_der(data);
    let root = pem(certificates.last().copied().unwrap_or_default());
    let mut bundle = Signer::new(P256).bundle(b"{}");
    bundle["verificationMaterial"] = chain_material(&certificates);
    for profile in [Profile::Strict, Profile::Reference] {
        let Ok(roots) = CertificateTrust::from_pem(&root, profile) else { continue };
        // Nobody can have a certificate for a key that was made a moment ago.
        assert!(!verifies(&bundle, roots), "a foreign certificate vouched for a new key");
    }
    let text = String::from_utf8_lossy(data);
    let _ = CertificateTrust::from_pem(&text, Profile::Strict);
    let _ = PublicKey::from_pem(&text);
    altered_chain(data);
}

/// A genuine chain of leaf and intermediate, of which single bytes are changed: whatever still verifies is the same leaf.
fn altered_chain(data: &[u8]) {
    static GENUINE: LazyLock<(Holder, Holder, Value)> = LazyLock::new(|| {
        let root = Holder::root(ca("Root"));
        let between = root.issue(ca("Between"));
        let leaf = between.issue(leaf("Signer"));
        let bundle = leaf.sign(&statement_of(&files(&["a"])), &[&between]);
        (root, leaf, bundle)
    });
    let (root, leaf, bundle) = &*GENUINE;
    let mut bundle = bundle.clone();
    let mut chain: Vec<Vec<u8>> = (bundle["verificationMaterial"]["x509CertificateChain"]["certificates"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|it| STANDARD.decode(it["rawBytes"].as_str()?).ok())
        .collect();
    for edit in data.chunks_exact(4).take(8) {
        let [which, high, low, byte] = *edit else { continue };
        let certificate = &mut chain[usize::from(which) % 2];
        let at = usize::from(u16::from_be_bytes([high, low])) % certificate.len();
        certificate[at] ^= byte;
    }
    let parts: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    bundle["verificationMaterial"] = chain_material(&parts);
    for profile in [Profile::Strict, Profile::Reference] {
        let roots = CertificateTrust::from_pem(&root.pem(), profile).expect("a genuine root");
        assert!(!verifies(&bundle, roots) || chain[0] == leaf.der, "another leaf was vouched for");
    }
}

fn verifies(bundle: &Value, roots: CertificateTrust) -> bool {
    let Ok(bundle) = Bundle::parse(bundle.to_string().as_bytes()) else { return false };
    let trust = TrustMaterial { certificates: vec![roots], ..TrustMaterial::default() };
    verify(&bundle, &trust, noon()).is_ok()
}

/// A moment at which the test's certificates are valid.
fn noon() -> Timestamp {
    format!("{YEAR}-06-01T12:00:00Z").parse().expect("a time")
}

/// Cuts where a SEQUENCE with a length of two bytes ends, as certificates are one; what is left over is the last.
fn split_der(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let [0x30, 0x82, high, low, ..] = data {
        let length = (4 + usize::from(u16::from_be_bytes([*high, *low]))).min(data.len());
        let (part, rest) = data.split_at(length);
        parts.push(part);
        data = rest;
    }
    if !data.is_empty() {
        parts.push(data);
    }
    parts
}

/// Genuine bundles that Sigstore vouched for, of whose values single bytes are changed: they prove the same identity, or
/// nothing.
pub fn keyless(data: &[u8]) {
    static GENUINE: LazyLock<[(Value, KeylessTrust, &str); 2]> = LazyLock::new(|| {
        let json = |text: &str| serde_json::from_str(text).expect("a genuine bundle");
        let ours = KeylessTrust::from_json(include_str!("../tests/vectors/keyless/trusted_root.json"));
        let second = json(include_str!("../tests/vectors/keyless/model/model.sig"));
        let first = json(include_str!("../tests/vectors/oms/v1.0.1-sigstore/model.sig"));
        let public_good = KeylessTrust::public_good().expect("the embedded root");
        [(second, ours.expect("a genuine root"), "alice@example.com"), (first, public_good, "stefanb@us.ibm.com")]
    });
    let Some((which, edits)) = data.split_first() else { return };
    let (genuine, root, identity) = &GENUINE[usize::from(*which) % GENUINE.len()];
    let mut bundle = genuine.clone();
    for edit in edits.chunks_exact(4).take(8) {
        let [leaf, high, low, byte] = *edit else { continue };
        let mut values = Vec::new();
        texts(&mut bundle, &mut values);
        let count = values.len();
        let text = &mut values[usize::from(leaf) % count];
        let mut bytes = STANDARD.decode(text.as_bytes()).unwrap_or_else(|_| text.as_bytes().to_vec());
        let decoded = STANDARD.encode(&bytes) == **text;
        let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len().max(1);
        if let Some(changed) = bytes.get_mut(at) {
            *changed ^= byte;
        }
        **text = if decoded { STANDARD.encode(&bytes) } else { String::from_utf8_lossy(&bytes).into_owned() };
    }
    let Ok(bundle) = Bundle::parse(bundle.to_string().as_bytes()) else { return };
    let trust = TrustMaterial { keyless: vec![root.clone()], ..TrustMaterial::default() };
    let later = "2027-01-01T00:00:00Z".parse().expect("a time");
    let Ok(verified) = verify(&bundle, &trust, later) else { return };
    for signer in verified.signers() {
        assert!(matches!(signer, Signature::Keyless(facts) if facts.identity == *identity), "{signer:?}");
    }
}

/// Every text in JSON.
fn texts<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| texts(value, found)),
        Value::Array(items) => items.iter_mut().for_each(|value| texts(value, found)),
        Value::String(text) => found.push(text),
        _ => {}
    }
}

/// A `trusted_root.json`.
pub fn trusted_root(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(root) = KeylessTrust::from_json(&text) {
        let again = KeylessTrust::from_json(&format!(" {text}\n")).expect("the same root with spaces around it");
        assert_eq!(root.digest(), again.digest());
    }
}

/// Names of files in the model that [`tree`] makes: few, so that what is signed and what is there meet often.
const NAMES: [&str; 8] = ["a", "b", "a.b", "d/a", "d/b", "d/e/f", "é", "with space"];

/// A folder, and a manifest that somebody signed: verified exactly where the two are the same.
pub fn tree(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let mut files = || -> arbitrary::Result<BTreeMap<&str, Vec<u8>>> {
        let count = bytes.int_in_range(0..=6_u8)?;
        (0..count).map(|_| Ok((*bytes.choose(&NAMES)?, bytes.arbitrary::<Vec<u8>>()?))).collect()
    };
    let (Ok(signed), Ok(changed)) = (files(), files()) else { return };
    if signed.is_empty() {
        return;
    }
    // Half of the time the folder is what was signed.
    let there = if data.len().is_multiple_of(2) { &signed } else { &changed };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, content) in there {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    let mut listed: Vec<(String, Digest)> =
        signed.iter().map(|(name, content)| ((*name).to_owned(), Hasher::sha256(content))).collect();
    listed.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')));
    let signer = Signer::new(P256);
    fs::write(dir.path().join("model.sig"), signer.sign(&statement_of(&listed)).to_string()).expect("a bundle");
    let request = Request {
        root: dir.path().to_owned(),
        path: ResourceName::root(),
        signature: SignatureLocation::Discover,
        links: Links::Refuse,
        extent: Extent::Full,
        place: Place::Cluster,
        threads: NonZeroUsize::MIN,
        bytes_per_second: None,
        nonce: None,
    };
    let report = read(&request, &signer.trust(), Timestamp::UNIX_EPOCH, &NoProgress);
    let same = signed == *there;
    assert_eq!(report.outcome == Outcome::Verified {}, same, "{:?} signed, {:?} there: {report:?}", signed, there);
}

/// What a verifier Pod left, which anybody might have written.
pub fn report(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(report) = Report::parse(&text, "nonce") {
        let json = report.to_json();
        assert_eq!(Report::parse(&json, "nonce").as_ref(), Ok(&report), "{json}");
    }
}

/// A Pod, as the API server hands it to the webhook.
pub fn pod(data: &[u8]) {
    let Ok(pod) = serde_json::from_slice::<Pod>(data) else { return };
    let uses = pod.extract().uses;
    // What arguments name is bounded, however much of it there is; the bound itself stands in the crate.
    assert!(uses.iter().filter(|found| found.mount().is_none()).count() < 1024, "too many uses");
    for found in uses {
        let climbs = |path: &str| path.split('/').any(|part| part == "..");
        assert!(!found.path().is_some_and(climbs), "{found:?}");
    }
}
