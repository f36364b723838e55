//! What somebody may try with a bundle, each with the rejection that it must meet. The signer is trusted throughout:
//! where a statement is at fault, it was signed properly.

use proptest::prelude::*;
use serde_json::{Value, json};
use weighbridge::model::{Digest, Entry, Manifest, Method, ResourceName};
use weighbridge::signature::{Bundle, RejectionCode, TrustMaterial, claimed, verify};

use crate::support::{P256, P384, P521, Signer, check, files, statement};

use RejectionCode::{MalformedBundle, SignatureInvalid, TooLarge, UnsupportedBundle, UntrustedSigner};

fn code(bundle: &Value, trust: &TrustMaterial) -> Option<RejectionCode> {
    check(bundle, trust).err().map(|rejection| rejection.code())
}

#[test]
fn every_curve_verifies() {
    for curve in [P256, P384, P521] {
        let signer = Signer::new(curve);
        let bundle = signer.sign(&statement(&files(&["a", "b/c"])));
        let verified = check(&bundle, &signer.trust()).unwrap();
        assert_eq!(verified.manifest().files().len(), 2);
    }
}

#[test]
fn the_envelope_cannot_be_altered() {
    let signer = Signer::new(P256);
    let other = Signer::new(P256).sign(&statement(&files(&["a"])));
    let about_b = signer.sign(&statement(&files(&["b"])));
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>, RejectionCode); 11] = [
        ("payload", &|b| b["dsseEnvelope"]["payload"] = about_b["dsseEnvelope"]["payload"].clone(), SignatureInvalid),
        (
            "payload, hint",
            &|b| {
                b["dsseEnvelope"]["payload"] = json!("e30=");
                b["verificationMaterial"]["publicKey"] = json!({});
            },
            UntrustedSigner,
        ),
        (
            "signature",
            &|b| b["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone(),
            SignatureInvalid,
        ),
        ("no signature bytes", &|b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!(""), SignatureInvalid),
        ("payload type", &|b| b["dsseEnvelope"]["payloadType"] = json!("text/plain"), MalformedBundle),
        (
            "a second signature",
            &|b| {
                let first = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(first);
            },
            MalformedBundle,
        ),
        ("no signature", &|b| b["dsseEnvelope"]["signatures"] = json!([]), MalformedBundle),
        ("hint", &|b| b["verificationMaterial"] = other["verificationMaterial"].clone(), UntrustedSigner),
        ("a chain", &|b| b["verificationMaterial"] = json!({ "x509CertificateChain": {} }), MalformedBundle),
        ("an empty chain", &|b| b["verificationMaterial"] = crate::pki::chain_material(&[]), MalformedBundle),
        ("a certificate", &|b| b["verificationMaterial"] = json!({ "certificate": {} }), MalformedBundle),
    ];
    for (what, change, expected) in cases {
        let mut bundle = signer.sign(&statement(&files(&["a"])));
        change(&mut bundle);
        assert_eq!(code(&bundle, &signer.trust()), Some(expected), "{what}");
    }
}

#[test]
fn every_flipped_bit_of_payload_and_signature_counts() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let signer = Signer::new(P256);
    let bundle = signer.sign(&statement(&files(&["a"])));
    for part in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let bytes = STANDARD.decode(bundle.pointer(part).unwrap().as_str().unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let mut bundle = bundle.clone();
            *bundle.pointer_mut(part).unwrap() = STANDARD.encode(bytes).into();
            assert_eq!(code(&bundle, &signer.trust()), Some(SignatureInvalid), "{part} {at}");
        }
    }
}

#[test]
fn trust_is_what_the_verifier_was_given() {
    let (signer, other) = (Signer::new(P256), Signer::new(P384));
    let bundle = signer.sign(&statement(&files(&["a"])));
    let both = TrustMaterial { keys: vec![other.key.clone(), signer.key.clone()], ..TrustMaterial::default() };
    assert_eq!(code(&bundle, &both), None);
    assert_eq!(code(&bundle, &TrustMaterial::default()), Some(UntrustedSigner));
    let rejection = check(&bundle, &other.trust()).unwrap_err();
    assert_eq!(rejection.code(), UntrustedSigner);
    let text = rejection.to_string();
    assert!(text.contains(signer.key.oms_hint()) && text.contains(&other.key.fingerprint().to_string()), "{text}");

    let mut without_hint = bundle;
    without_hint["verificationMaterial"]["publicKey"] = json!({ "rawBytes": "AAAA", "keyDetails": "PKIX" });
    assert_eq!(code(&without_hint, &both), None);
    assert_eq!(code(&without_hint, &other.trust()), Some(UntrustedSigner));
}

#[test]
fn a_hostile_hint_is_shown_harmlessly() {
    let signer = Signer::new(P256);
    let mut bundle = signer.sign(&statement(&files(&["a"])));
    bundle["verificationMaterial"]["publicKey"]["hint"] = json!(format!("\u{1b}[31m{}", "x".repeat(5000)));
    let text = check(&bundle, &signer.trust()).unwrap_err().to_string();
    assert!(!text.contains('\u{1b}') && text.len() < 400, "{text}");
}

#[test]
fn a_signed_statement_must_keep_the_rules() {
    let signer = Signer::new(P256);
    let resource = |at: usize, field: &'static str, value: Value| {
        move |s: &mut Value| s["predicate"]["resources"][at][field] = value.clone()
    };
    let serialization =
        |field: &'static str, value: Value| move |s: &mut Value| s["predicate"]["serialization"][field] = value.clone();
    let top = |field: &'static str, value: Value| move |s: &mut Value| s[field] = value.clone();
    let digest = "00".repeat(32);
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: Vec<(&str, Change, RejectionCode)> = vec![
        ("root digest", Box::new(move |s| s["subject"][0]["digest"]["sha256"] = json!(digest)), MalformedBundle),
        ("root digest length", Box::new(|s| s["subject"][0]["digest"]["sha256"] = json!("00")), MalformedBundle),
        ("no subject", Box::new(top("subject", json!([]))), MalformedBundle),
        (
            "two subjects",
            Box::new(|s| {
                let first = s["subject"][0].clone();
                s["subject"].as_array_mut().unwrap().push(first);
            }),
            MalformedBundle,
        ),
        ("type", Box::new(top("_type", json!("https://in-toto.io/Statement/v0.1"))), MalformedBundle),
        ("predicate type", Box::new(top("predicateType", json!("https://slsa.dev/provenance/v1"))), UnsupportedBundle),
        ("release 0.2", Box::new(top("predicateType", json!("https://model_signing/Digests/v0.1"))), MalformedBundle),
        ("no predicate", Box::new(top("predicate", Value::Null)), MalformedBundle),
        ("shards of no length", Box::new(serialization("method", json!("shards"))), MalformedBundle),
        ("another method", Box::new(serialization("method", json!("chunks"))), UnsupportedBundle),
        ("SHA-256 said to be blake2b", Box::new(serialization("hash_type", json!("blake2b"))), MalformedBundle),
        ("SHA-256 said to be blake3", Box::new(serialization("hash_type", json!("blake3"))), MalformedBundle),
        ("md5", Box::new(serialization("hash_type", json!("md5"))), UnsupportedBundle),
        ("symlinks as text", Box::new(serialization("allow_symlinks", json!("false"))), MalformedBundle),
        ("symlinks unsaid", Box::new(serialization("allow_symlinks", Value::Null)), MalformedBundle),
        ("too much ignored", Box::new(serialization("ignore_paths", json!(vec!["x"; 1001]))), TooLarge),
        ("another algorithm", Box::new(resource(0, "algorithm", json!("blake3"))), MalformedBundle),
        ("short digest", Box::new(resource(0, "digest", json!("00"))), MalformedBundle),
        ("long digest", Box::new(resource(0, "digest", json!("0".repeat(128)))), MalformedBundle),
        ("digest of letters", Box::new(resource(0, "digest", json!("z".repeat(64)))), MalformedBundle),
        ("name is a number", Box::new(resource(0, "name", json!(1))), MalformedBundle),
        (
            "no name",
            Box::new(|s| drop(s["predicate"]["resources"][0].as_object_mut().unwrap().remove("name"))),
            MalformedBundle,
        ),
    ];
    for (what, change, expected) in cases {
        let mut statement = statement(&files(&["a", "b"]));
        change(&mut statement);
        assert_eq!(code(&signer.sign(&statement), &signer.trust()), Some(expected), "{what}");
    }
}

#[test]
fn names_and_their_order() {
    let signer = Signer::new(P256);
    for (names, expected) in [
        (&["a", "b"][..], None),
        (&["a/b", "a.b"], None),
        (&["a.b", "a/b"], None),
        (&["."], None),
        (&[], Some(MalformedBundle)),
        (&["b", "a"], Some(MalformedBundle)),
        (&["a", "a"], Some(MalformedBundle)),
        (&["A", "a"], Some(MalformedBundle)),
        (&[".", "a"], Some(MalformedBundle)),
        (&["/etc/passwd"], Some(MalformedBundle)),
        (&["../a"], Some(MalformedBundle)),
        (&["a/../b"], Some(MalformedBundle)),
        (&["a/./b"], Some(MalformedBundle)),
        (&["a//b"], Some(MalformedBundle)),
        (&["a/"], Some(MalformedBundle)),
        (&[""], Some(MalformedBundle)),
        (&["a\\b"], Some(MalformedBundle)),
        (&["a\0b"], Some(MalformedBundle)),
    ] {
        let bundle = signer.sign(&statement(&files(names)));
        assert_eq!(code(&bundle, &signer.trust()), expected, "{names:?}");
    }
}

#[test]
fn payloads_that_are_not_json_of_a_statement() {
    let signer = Signer::new(P256);
    let deep = "[".repeat(100_000);
    let good = statement(&files(&["a"])).to_string();
    let twice = good.replacen('{', "{\"_type\":\"https://in-toto.io/Statement/v1\",", 1);
    let trailing = format!("{good} x");
    for payload in ["", "{}", "null", "[]", "\"x\"", &deep, &twice, &trailing] {
        let rejection = check(&signer.bundle(payload.as_bytes()), &signer.trust()).unwrap_err();
        assert_eq!(rejection.code(), MalformedBundle, "{rejection}");
        assert!(rejection.to_string().len() < 400);
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

    #[test]
    fn signed_payloads_of_any_shape(payload in "(\"_type\":|\"predicate\":|[{}\\[\\],\":a-z0-9])*") {
        let signer = Signer::new(P256);
        prop_assert!(code(&signer.bundle(payload.as_bytes()), &signer.trust()).is_some());
    }
}

#[test]
fn paths_to_ignore_that_lead_elsewhere_are_dropped() {
    let signer = Signer::new(P256);
    let mut statement = statement(&files(&["a"]));
    statement["predicate"]["serialization"]["ignore_paths"] = json!([".git", "../up", "/abs", ".", "", "model.sig"]);
    let verified = check(&signer.sign(&statement), &signer.trust()).unwrap();
    let ignored: Vec<&str> = verified.serialization().ignore_paths.iter().map(|path| path.as_str()).collect();
    assert_eq!(ignored, [".git", "model.sig"]);
}
