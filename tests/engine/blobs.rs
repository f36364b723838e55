//! Bundles over blobs, and over statements about them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weighbridge::model::Hasher;
use weighbridge::signature::{Artifact, BlobBundle, BundleError, KeylessError, KeylessTrust, PublicKey, RejectionCode};

use crate::support::{P256, P384, Signer};

use RejectionCode::{MalformedBundle, SignatureInvalid, UnsupportedBundle, UntrustedSigner};

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keyless").join(name)).unwrap()
}

fn root(change: impl Fn(&mut Value)) -> KeylessTrust {
    let mut root = serde_json::from_str(&read("trusted_root.json")).unwrap();
    change(&mut root);
    KeylessTrust::from_json(&root.to_string()).unwrap()
}

fn cosign_key() -> PublicKey {
    PublicKey::from_pem(&read("cosign.pub")).unwrap()
}

/// What becomes of the blob that cosign signed with a key and logged.
fn code(change: impl Fn(&mut Value), key: &PublicKey, trust: &KeylessTrust) -> Option<RejectionCode> {
    let mut bundle: Value = serde_json::from_str(&read("blob-key.sigstore.json")).unwrap();
    change(&mut bundle);
    let content = read("blob.txt").into_bytes();
    let bundle = BlobBundle::parse(bundle.to_string().as_bytes()).unwrap();
    let by_content = bundle.verify_with_key(&Artifact::Content(&content), key, trust);
    let by_digest = bundle.verify_with_key(&Artifact::Sha256(Hasher::sha256(&content)), key, trust);
    assert_eq!(by_content, by_digest);
    by_content.err().map(|error| error.code())
}

#[test]
fn what_a_key_signed_counts_with_its_log_entry() {
    let (key, trust) = (cosign_key(), root(|_| ()));
    type Change = fn(&mut Value);
    let at = |path: &'static str| format!("{ENTRY}{path}");
    let put = |path: String, value: Value| move |b: &mut Value| *b.pointer_mut(&path).unwrap() = value.clone();
    let none: Change = |_| ();
    assert_eq!(code(none, &key, &trust), None);
    assert_eq!(code(put(at("/logIndex"), json!("0")), &key, &trust), Some(SignatureInvalid));
    assert_eq!(code(put(at("/inclusionProof/treeSize"), json!("9")), &key, &trust), Some(SignatureInvalid));
    assert_eq!(
        code(put(at("/inclusionProof/rootHash"), json!("A".repeat(43) + "=")), &key, &trust),
        Some(SignatureInvalid)
    );
    assert_eq!(code(put(at("/logId/keyId"), json!("A".repeat(43) + "=")), &key, &trust), Some(UntrustedSigner));
    let stamps = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    assert_eq!(code(put(stamps.into(), json!("AAAA")), &key, &trust), Some(UntrustedSigner));
    let no_entry: Change = |b| b["verificationMaterial"]["tlogEntries"] = json!([]);
    assert_eq!(code(no_entry, &key, &trust), Some(MalformedBundle), "a timestamp alone");
    let digest = put("/messageSignature/messageDigest/digest".into(), json!("A".repeat(43) + "="));
    assert_eq!(code(digest, &key, &trust), Some(SignatureInvalid));

    let ended = root(|root| {
        root["tlogs"][0]["publicKey"]["validFor"]["end"] = root["tlogs"][0]["publicKey"]["validFor"]["start"].clone()
    });
    assert_eq!(code(none, &key, &ended), Some(UntrustedSigner));
    let other = KeylessTrust::from_json(&read("other_root.json")).unwrap();
    assert_eq!(code(none, &key, &other), Some(UntrustedSigner));
    assert_eq!(code(none, &Signer::new(P256).key, &trust), Some(SignatureInvalid));
}

#[test]
fn a_statement_has_to_be_one_and_about_the_artifact() {
    let trust = root(|_| ());
    let signer = Signer::new(P384);
    let artifact = Hasher::sha256(b"a blob");
    let of_type = |kind: Option<&str>| {
        let subject = json!([{ "name": "x", "digest": { "sha256": artifact.to_hex() } }]);
        let mut statement = json!({ "subject": subject, "predicateType": "p", "predicate": {} });
        if let Some(kind) = kind {
            statement["_type"] = kind.into();
        }
        signer.bundle(statement.to_string().as_bytes())
    };
    let verify = |bundle: &Value, artifact: &Artifact<'_>| {
        let bundle = BlobBundle::parse(bundle.to_string().as_bytes()).unwrap();
        bundle.verify_with_key(artifact, &signer.key, &trust).map_err(|error| error.code())
    };
    let genuine = of_type(Some("https://in-toto.io/Statement/v1"));
    assert_eq!(verify(&genuine, &Artifact::Sha256(artifact)), Ok(()));
    assert_eq!(verify(&genuine, &Artifact::Content(b"a blob")), Ok(()));
    assert_eq!(verify(&genuine, &Artifact::Content(b"another")), Err(SignatureInvalid));
    assert_eq!(verify(&of_type(Some("https://in-toto.io/Statement/v0.1")), &Artifact::Sha256(artifact)), Ok(()));
    for kind in [None, Some(""), Some("https://in-toto.io/Statement/v2")] {
        assert_eq!(verify(&of_type(kind), &Artifact::Sha256(artifact)), Err(MalformedBundle), "{kind:?}");
    }
}

#[test]
fn a_key_of_another_hash_needs_the_blob_itself() {
    let trust = root(|_| ());
    let bundle = BlobBundle::parse(read("blob-key-alone.sigstore.json").as_bytes()).unwrap();
    let key = Signer::new(P384).key;
    let error = bundle.verify_with_key(&Artifact::Sha256(Hasher::sha256(b"")), &key, &trust).unwrap_err();
    assert_eq!(error.code(), UnsupportedBundle);
    assert_eq!(bundle.verify_with_key(&Artifact::Content(b""), &key, &trust), Err(KeylessError::Signature));
}

#[test]
fn what_is_no_bundle() {
    let large = " ".repeat((16 << 20) + 1);
    assert_eq!(BlobBundle::parse(large.as_bytes()).unwrap_err(), BundleError::TooLarge);
    let deep = "[".repeat(100_000);
    for text in ["", "{}", "[]", &deep, "\u{feff}{}"] {
        assert!(matches!(BlobBundle::parse(text.as_bytes()), Err(BundleError::Json(_))));
    }
}
