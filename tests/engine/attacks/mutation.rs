//! Bundles altered anywhere: each value of each kind of bundle in turn, and places at random.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use weighbridge::model::{Digest, Entry, Manifest, Method, ResourceName};
use weighbridge::signature::{
    Bundle, CertificateTrust, KeylessTrust, Profile, Serialization, TrustMaterial, Verified, claimed, verify,
};

use crate::pki::{self, Holder};
use crate::support::{P256, Signer, check, files, statement, vectors};
use crate::vectors::statement_of_release_02;

/// A kind of bundle, with what verifies it and the places in it that bind nothing.
struct Kind {
    name: &'static str,
    bundle: Value,
    trust: TrustMaterial,
    /// What may be altered, by prefixes of paths: nobody reads it.
    unread: &'static [&'static str],
    /// What may be left out or empty, but not be another.
    optional: &'static [&'static str],
    /// What may stand in a value that is changed elsewhere: the log signs what is above its own signature's line, and
    /// is known by its key, not by the name before the signature.
    harmless: &'static str,
}

/// After every recorded bundle was signed; the last second of the year in which the test's own certificates are valid.
const NOW: &str = "2027-01-01T00:00:00Z";

const KEY_ID: &str = "/dsseEnvelope/signatures/0/keyid";
const LOG: &str = "/verificationMaterial/tlogEntries";

/// Carries a copy of its authority's certificate, which nobody reads: the trust root has it. The rest of it is altered in
/// `keyless.rs`.
const STAMP: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";

fn kinds() -> Vec<Kind> {
    let signed = statement(&files(&["a", "b/c"]));
    let signer = Signer::new(P256);
    let mut without_hint = signer.sign(&signed);
    without_hint["verificationMaterial"]["publicKey"] = json!({ "rawBytes": "AAAA", "keyDetails": "PKIX" });
    let root = Holder::root(pki::ca("root"));
    let between = root.issue(pki::ca("between"));
    let certificate = between.issue(pki::leaf("signer")).sign(&signed, &[&between]);
    let vector = |path: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let old_roots = fs::read_to_string(vectors().join("keys/ca-cert.pem")).unwrap();
    let old_roots = CertificateTrust::from_pem(&old_roots, Profile::Reference).unwrap();
    let private = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keyless/trusted_root.json");
    let private = KeylessTrust::from_json(&fs::read_to_string(private).unwrap()).unwrap();
    let keyless = |trust| TrustMaterial { keyless: vec![trust], ..TrustMaterial::default() };
    let kind = |name, bundle, trust, unread, optional| Kind {
        name,
        bundle,
        trust,
        unread,
        optional,
        harmless: "\u{2014} rekor.sigAtore.dev ",
    };
    let hint: &[&str] = &["/verificationMaterial/publicKey/hint"];
    vec![
        kind("key", signer.sign(&signed), signer.trust(), &[KEY_ID, LOG], hint),
        kind(
            "key of a release before 1.1",
            without_hint,
            signer.trust(),
            &[KEY_ID, LOG, "/verificationMaterial/publicKey"],
            &[],
        ),
        kind("certificate, Strict", certificate.clone(), pki::trust(&[&root], Profile::Strict), &[KEY_ID, LOG], &[]),
        kind("certificate, Reference", certificate, pki::trust(&[&root], Profile::Reference), &[KEY_ID, LOG], &[]),
        kind(
            "release 0.2",
            vector("oms/v0.2.0-certificate/model.sig"),
            TrustMaterial { certificates: vec![old_roots], ..TrustMaterial::default() },
            &[KEY_ID],
            &[],
        ),
        kind(
            "Sigstore, first log",
            vector("oms/v1.0.1-sigstore/model.sig"),
            keyless(KeylessTrust::public_good().unwrap()),
            &[KEY_ID],
            &[],
        ),
        kind("Sigstore, second log", vector("keyless/model/model.sig"), keyless(private), &[KEY_ID, STAMP], &[]),
    ]
}

fn verified(bundle: &Value, trust: &TrustMaterial) -> Option<Verified> {
    verify(&Bundle::parse(bundle.to_string().as_bytes()).ok()?, trust, NOW.parse().unwrap()).ok()
}

/// The paths of all values that hold no others, and of all objects.
fn places(value: &Value, path: String, leaves: &mut Vec<String>, objects: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| places(value, format!("{path}/{key}"), leaves, objects));
            objects.push(path);
        }
        Value::Array(items) if !items.is_empty() => {
            (items.iter().enumerate()).for_each(|(at, value)| places(value, format!("{path}/{at}"), leaves, objects));
        }
        _ => leaves.push(path),
    }
}

/// Other values than this one.
fn others(value: &Value) -> Vec<Value> {
    let Some(text) = value.as_str() else {
        return vec![json!("x"), json!(7), json!(!value.as_bool().unwrap_or(false))];
    };
    let mut others = vec![json!(1), json!([]), json!({}), json!(format!("{text}A")), json!(format!(" {text}"))];
    others.extend([0, text.len() / 2, text.len().saturating_sub(1)].map(|at| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.get_mut(at).into_iter().for_each(|byte| *byte = if *byte == b'A' { b'B' } else { b'A' });
        json!(String::from_utf8_lossy(&bytes))
    }));
    if let Ok(bytes) = STANDARD.decode(text) {
        others.extend([0, bytes.len() / 2, bytes.len().saturating_sub(1)].map(|at| {
            let mut bytes = bytes.clone();
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
            json!(STANDARD.encode(bytes))
        }));
        others.extend([
            json!(STANDARD.encode([&bytes[..], &[0]].concat())),
            json!(STANDARD.encode(&bytes[..bytes.len() / 2])),
        ]);
    }
    others.retain(|other| other != value);
    others
}

/// Nothing, in the place of this value.
const NOTHINGS: [Option<&str>; 2] = [None, Some("")];

#[test]
fn no_value_of_a_bundle_can_be_altered() {
    for Kind { name, bundle, trust, unread, optional, harmless } in kinds() {
        let genuine = verified(&bundle, &trust).unwrap_or_else(|| panic!("{name}"));
        let (mut leaves, mut objects) = (Vec::new(), Vec::new());
        places(&bundle, String::new(), &mut leaves, &mut objects);
        let mut wrong = Vec::new();
        for leaf in leaves.iter().filter(|leaf| !unread.iter().any(|prefix| leaf.starts_with(prefix))) {
            let mut changed = bundle.clone();
            for other in others(bundle.pointer(leaf).unwrap()) {
                *changed.pointer_mut(leaf).unwrap() = other.clone();
                let is_harmless = other.as_str().is_some_and(|other| other.contains(harmless));
                if verified(&changed, &trust).is_some() && !is_harmless {
                    wrong.push(format!("{leaf}: {other}"));
                }
            }
            for nothing in NOTHINGS.iter().filter(|_| !optional.contains(&&leaf[..])) {
                *changed.pointer_mut(leaf).unwrap() = json!(nothing);
                if *changed.pointer(leaf).unwrap() != *bundle.pointer(leaf).unwrap()
                    && verified(&changed, &trust).is_some()
                {
                    wrong.push(format!("{leaf}: {nothing:?}"));
                }
            }
        }
        for object in objects.iter().filter(|object| !unread.iter().any(|prefix| object.starts_with(prefix))) {
            let mut changed = bundle.clone();
            changed.pointer_mut(object).unwrap().as_object_mut().unwrap().insert("foreign".into(), json!(1));
            if verified(&changed, &trust).is_some() {
                wrong.push(format!("{object}: a foreign field"));
            }
        }
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
        assert!(!genuine.signers().is_empty());
    }
}

/// What a statement binds, as far as anything here reads it.
fn bound(signer: &Signer, statement: &Value) -> Option<(Digest, Digest, Serialization)> {
    let verified = check(&signer.sign(statement), &signer.trust()).ok()?;
    let manifest = verified.manifest();
    Some((manifest.root_digest(), manifest.manifest_digest(), verified.serialization().clone()))
}

/// A statement that its signer altered is refused, or says something else: nothing in it is read in two ways.
#[test]
fn every_value_of_a_statement_counts() {
    let signer = Signer::new(P256);
    let mut whole = statement(&files(&["a", "b/c"]));
    whole["predicate"]["serialization"]["ignore_paths"] = json!([".git", "model.sig"]);
    let shards = super::statement::shards(&["a:0:10", "a:10:13", "b/c:0:3"]);
    // Somebody's name for the model, which nobody checks; what release 0.2 wrote to have written something.
    let (name, filler) = ("/subject/0/name", "/predicate/unused");
    for (statement, unread) in [(whole, name), (shards, name), (statement_of_release_02(&["a", "b/c"]), filler)] {
        let genuine = bound(&signer, &statement).unwrap();
        let mut leaves = Vec::new();
        places(&statement, String::new(), &mut leaves, &mut Vec::new());
        let mut wrong = Vec::new();
        for leaf in leaves.iter().filter(|leaf| *leaf != unread) {
            let mut changed = statement.clone();
            for other in others(statement.pointer(leaf).unwrap()).into_iter().chain([Value::Null]) {
                *changed.pointer_mut(leaf).unwrap() = other.clone();
                // Hexadecimal digits of either case spell one digest.
                let same = changed.to_string().to_lowercase() == statement.to_string().to_lowercase();
                if bound(&signer, &changed).as_ref() == Some(&genuine) && !same {
                    wrong.push(format!("{leaf}: {other}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// A bundle, changed somewhere, is never taken for a signature over something else, and never brings us down.
fn mutated(at: prop::sample::Index, length: usize, with: &[u8]) {
    thread_local! {
        static SIGNED: (Signer, String) = {
            let signer = Signer::new(P256);
            let text = signer.sign(&statement(&files(&["a", "b/c"]))).to_string();
            (signer, text)
        };
    }
    SIGNED.with(|(signer, text)| {
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, with.iter().copied());
        let Ok(bundle) = Bundle::parse(&bytes) else { return };
        drop(claimed(&bundle));
        if let Ok(verified) = verify(&bundle, &signer.trust(), jiff::Timestamp::UNIX_EPOCH) {
            let genuine = Manifest::new(Method::Files, files(&["a", "b/c"]).into_iter().map(entry).collect()).unwrap();
            assert_eq!(verified.manifest().manifest_digest(), genuine.manifest_digest());
        }
    });
}

fn entry((name, digest): (String, Digest)) -> Entry {
    Entry::whole(ResourceName::parse(&name).unwrap(), digest)
}

proptest! {
    #[test]
    fn changed_bundles(at: prop::sample::Index, length in 0usize..8, with in "[\"{}\\[\\]:,a-zA-Z0-9+/=]{0,8}|\\PC{0,3}") {
        mutated(at, length, with.as_bytes());
    }
}
