//! Bundles that releases of the Python reference wrote, and the forms of older ones.

use std::fs;

use aws_lc_rs::signature::{ECDSA_P521_SHA256_ASN1_SIGNING, EcdsaSigningAlgorithm};
use serde_json::{Value, json};
use weighbridge::model::Hasher;
use weighbridge::signature::{
    Bundle, CertificateTrust, KeylessTrust, PAYLOAD_TYPE, Profile, PublicKey, Rejection, RejectionCode, Signer,
    TrustMaterial, Verified, verify,
};

use crate::support::{P256, P384, Signer as TestSigner, check, envelope, files, statement, vectors};

use RejectionCode::{MalformedBundle, SignatureInvalid, UnsupportedBundle, UntrustedSigner};

fn key() -> TrustMaterial {
    let pem = fs::read_to_string(vectors().join("keys/signing-key-pub.pem")).unwrap();
    TrustMaterial { keys: vec![PublicKey::from_pem(&pem).unwrap()], ..TrustMaterial::default() }
}

fn roots(profile: Profile) -> TrustMaterial {
    let pem = fs::read_to_string(vectors().join("keys/ca-cert.pem")).unwrap();
    let certificates = vec![CertificateTrust::from_pem(&pem, profile).unwrap()];
    TrustMaterial { certificates, ..TrustMaterial::default() }
}

fn of(folder: &str) -> Value {
    serde_json::from_slice(&fs::read(vectors().join(folder).join("model.sig")).unwrap()).unwrap()
}

fn names(verified: &Verified) -> Vec<&str> {
    verified.manifest().files().iter().map(|file| file.name.as_str()).collect()
}

/// In a year in which the certificates of the vectors are valid.
fn judged(bundle: &Value, trust: &TrustMaterial) -> Result<Verified, Rejection> {
    verify(&Bundle::parse(bundle.to_string().as_bytes())?, trust, "2026-06-01T00:00:00Z".parse().unwrap())
}

/// cosign hints at a key in another way than the reference.
#[test]
fn a_bundle_signed_by_cosign_with_a_key_verifies() {
    let keyless = vectors().join("../keyless");
    let key = PublicKey::from_pem(&fs::read_to_string(keyless.join("cosign.pub")).unwrap()).unwrap();
    let bundle = Bundle::parse(&fs::read(keyless.join("model-key-alone.sig")).unwrap()).unwrap();
    let fingerprint = key.fingerprint();
    let trust = TrustMaterial { keys: vec![key], ..TrustMaterial::default() };
    let verified = verify(&bundle, &trust, jiff::Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(verified.signers(), [Signer::Key { fingerprint }]);
}

#[test]
fn each_vector_has_its_documented_verdict() {
    let both = ["signme-1", "signme-2"];
    for (folder, trust, listed) in [
        ("v0.2.0-certificate", roots(Profile::Reference), &both[..]),
        ("v0.3.1-elliptic-key", key(), &["."]),
        ("v1.0.1-certificate", roots(Profile::Reference), &both),
        ("v1.0.1-elliptic-key", key(), &both),
    ] {
        let verified = judged(&of(folder), &trust).unwrap_or_else(|rejection| panic!("{folder}: {rejection}"));
        assert_eq!(names(&verified), listed, "{folder}");
        assert_eq!(verified.signers().len(), 1, "{folder}");
        for file in verified.manifest().files().iter().filter(|file| !file.name.is_root()) {
            let content = fs::read(vectors().join(folder).join(file.name.as_str())).unwrap();
            assert_eq!(file.digests.as_slice(), [Hasher::sha256(&content)], "{folder}");
        }
    }
    for folder in ["v0.2.0-certificate", "v1.0.1-certificate"] {
        let rejection = judged(&of(folder), &roots(Profile::Strict)).unwrap_err();
        assert_eq!(rejection.code(), UntrustedSigner, "{folder}");
        assert!(rejection.to_string().contains("is one of a CA, and may not sign models"), "{folder}: {rejection}");
    }
    let fingerprint = key().keys[0].fingerprint();
    assert_eq!(judged(&of("v1.0.1-elliptic-key"), &key()).unwrap().signers(), [Signer::Key { fingerprint }]);
}

#[test]
fn a_key_proves_nothing_of_a_certificate_and_the_reverse() {
    let of_certificate = judged(&of("v1.0.1-certificate"), &key()).unwrap_err();
    let of_key = judged(&of("v1.0.1-elliptic-key"), &roots(Profile::Reference)).unwrap_err();
    assert_eq!((of_certificate.code(), of_key.code()), (UntrustedSigner, UntrustedSigner));
}

/// A statement as release 0.2 made it.
pub(crate) fn statement_of_release_02(names: &[&str]) -> Value {
    let subjects: Vec<Value> = (files(names).iter())
        .map(|(name, digest)| {
            json!({
                "name": name,
                "digest": { "sha256": digest.to_hex() },
                "annotations": { "actual_hash_algorithm": "file-sha256" },
            })
        })
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": { "unused": "Unused, just passed due to API requirements" },
    })
}

/// What release 0.2 signed, for a payload without quotes and anything that Python escapes but double quotes.
fn pae_of_release_02(payload: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(payload).unwrap();
    assert!(text.chars().all(|char| (' '..='~').contains(&char) && !"'\\".contains(char)));
    format!("DSSEV1 {} {PAYLOAD_TYPE} {} b'{text}'", PAYLOAD_TYPE.len(), payload.len()).into_bytes()
}

/// A bundle as release 0.2 made it with a key.
fn bundle_of_release_02(signer: &TestSigner, statement: &Value) -> Value {
    let payload = statement.to_string().into_bytes();
    let material = json!({ "publicKey": { "rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P256_SHA_256" } });
    let mut bundle = envelope(material, &payload, &signer.sign_bytes(&pae_of_release_02(&payload)));
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = Value::Null;
    bundle
}

#[test]
fn release_02_signed_with_sha256_whatever_the_key() {
    const P521_SHA256: &EcdsaSigningAlgorithm = &ECDSA_P521_SHA256_ASN1_SIGNING;
    for curve in [P256, P521_SHA256] {
        let signer = TestSigner::new(curve);
        let bundle = bundle_of_release_02(&signer, &statement_of_release_02(&["a", "b/c"]));
        let verified = check(&bundle, &signer.trust()).unwrap();
        assert_eq!(names(&verified), ["a", "b/c"]);
        let serialization = verified.serialization();
        assert!(!serialization.allow_symlinks && serialization.ignore_paths.is_empty());
        assert_eq!(check(&bundle, &TestSigner::new(P256).trust()).unwrap_err().code(), UntrustedSigner);
    }
    // The key's own hash is what today's form is signed with, and never was this one.
    let signer = TestSigner::new(P384);
    let bundle = bundle_of_release_02(&signer, &statement_of_release_02(&["a"]));
    assert_eq!(check(&bundle, &signer.trust()).unwrap_err().code(), UntrustedSigner);
}

#[test]
fn the_encoding_of_release_02_counts_for_its_statements_alone() {
    let signer = TestSigner::new(P256);
    let code = |bundle: &Value| check(bundle, &signer.trust()).err().map(|rejection| rejection.code());
    let old = statement_of_release_02(&["a"]);
    assert_eq!(code(&bundle_of_release_02(&signer, &old)), None);
    assert_eq!(code(&bundle_of_release_02(&signer, &statement(&files(&["a"])))), Some(UntrustedSigner));
    // Its statements in today's envelope are what it made of Sigstore identities.
    assert_eq!(code(&signer.sign(&old)), None);
    let mut hinted = bundle_of_release_02(&signer, &statement(&files(&["a"])));
    hinted["verificationMaterial"]["publicKey"] = json!({ "hint": signer.key.oms_hint() });
    assert_eq!(code(&hinted), Some(SignatureInvalid));
    type Change = fn(&mut Value);
    let kinds: [(&str, Change, RejectionCode); 9] = [
        ("no subject", |s| s["subject"] = json!([]), MalformedBundle),
        ("twice", |s| s["subject"] = json!([s["subject"][0], s["subject"][0]]), MalformedBundle),
        ("out", |s| s["subject"][0]["name"] = json!("../a"), MalformedBundle),
        ("short digest", |s| s["subject"][0]["digest"]["sha256"] = json!("00"), MalformedBundle),
        ("no digest", |s| s["subject"][0]["digest"] = json!({ "sha512": "00" }), MalformedBundle),
        ("no annotation", |s| drop(s["subject"][0].as_object_mut().unwrap().remove("annotations")), MalformedBundle),
        (
            "another hash",
            |s| s["subject"][0]["annotations"]["actual_hash_algorithm"] = json!("file-blake2b"),
            UnsupportedBundle,
        ),
        (
            "digests of digests",
            |s| s["predicateType"] = json!("https://model_signing/DigestOfDigests/v0.1"),
            UnsupportedBundle,
        ),
        ("type", |s| s["_type"] = json!("https://in-toto.io/Statement/v0.1"), MalformedBundle),
    ];
    for (what, change, expected) in kinds {
        let mut statement = old.clone();
        change(&mut statement);
        assert_eq!(code(&signer.sign(&statement)), Some(expected), "{what}");
    }
}

#[test]
fn old_versions_of_the_bundle_hold_sigstore_identities() {
    let trust = TrustMaterial { keyless: vec![KeylessTrust::public_good().unwrap()], ..TrustMaterial::default() };
    let genuine = of("v1.0.1-sigstore");
    assert!(judged(&genuine, &trust).is_ok());
    for version in ["0.1", "0.2", "0.3"] {
        let mut bundle = genuine.clone();
        bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        if version == "0.3" {
            assert!(judged(&bundle, &trust).is_ok(), "the old spelling");
        }
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let certificate = material.remove("certificate").unwrap();
        material.insert("x509CertificateChain".into(), json!({ "certificates": [certificate] }));
        let judged = judged(&bundle, &trust);
        match version {
            // A chain that nobody gave roots for.
            "0.3" => assert_eq!(judged.unwrap_err().code(), UntrustedSigner),
            _ => assert_eq!(judged.map(|it| it.signers().len()).map_err(|it| it.to_string()), Ok(1), "{version}"),
        }
    }
    let mut key = of("v1.0.1-elliptic-key");
    for version in ["0.1", "0.2", "0.4", "1.0"] {
        key["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        assert_eq!(judged(&key, &self::key()).unwrap_err().code(), UnsupportedBundle, "{version}");
    }
}
