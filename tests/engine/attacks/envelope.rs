//! The envelope and who is said to have signed it.

use serde_json::{Value, json};
use weighbridge::signature::{RejectionCode, TrustMaterial};

use super::code;
use crate::support::{P256, P384, P521, Signer, check, envelope, files, statement};

use RejectionCode::{MalformedBundle, SignatureInvalid, UntrustedSigner};

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

/// A genuine signature by the trusted key, over something else than the specification's encoding of this payload.
#[test]
fn a_signature_over_another_encoding_counts_for_nothing() {
    let signer = Signer::new(P256);
    let payload = statement(&files(&["a"])).to_string();
    let (kind, length) = ("application/vnd.in-toto+json", payload.len());
    for (what, signed) in [
        ("the payload alone", payload.clone()),
        ("the payload's base64", envelope(json!({}), payload.as_bytes(), &[])["dsseEnvelope"]["payload"].to_string()),
        ("another type", format!("DSSEv1 10 text/plain {length} {payload}")),
        ("another length of the type", format!("DSSEv1 29 {kind} {length} {payload}")),
        ("another length", format!("DSSEv1 28 {kind} {} {payload}", length + 1)),
        ("length in hexadecimal digits", format!("DSSEv1 28 {kind} {length:x} {payload}")),
        ("another version", format!("DSSEv2 28 {kind} {length} {payload}")),
        ("capitals", format!("DSSEV1 28 {kind} {length} {payload}")),
        ("that of release 0.2", format!("DSSEV1 28 {kind} {length} b'{payload}'")),
        ("a line after it", format!("DSSEv1 28 {kind} {length} {payload}\n")),
        ("no length", format!("DSSEv1 {kind} {payload}")),
    ] {
        let material = json!({ "publicKey": { "hint": signer.key.oms_hint() } });
        let bundle = envelope(material, payload.as_bytes(), &signer.sign_bytes(signed.as_bytes()));
        assert_eq!(code(&bundle, &signer.trust()), Some(SignatureInvalid), "{what}");
    }
}
