//! Genuine bundles of a Sigstore identity of which one part is altered, and what becomes of them.

use proptest::prelude::*;

use RejectionCode::{MalformedBundle, SignerExpired, TooLarge, UnsupportedBundle};

use super::*;

type Change = Box<dyn Fn(&mut Value)>;

/// Puts a value in the place of another.
fn put(at: &str, value: Value) -> Change {
    let at = at.to_owned();
    Box::new(move |bundle| *bundle.pointer_mut(&at).unwrap_or_else(|| panic!("{at}")) = value.clone())
}

/// Changes one bit in the middle of what base64 spells.
fn flip(at: &str) -> Change {
    let at = at.to_owned();
    Box::new(move |bundle| {
        let text = bundle.pointer_mut(&at).unwrap_or_else(|| panic!("{at}"));
        let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        *text = STANDARD.encode(bytes).into();
    })
}

fn remove(at: &str, key: &str) -> Change {
    let (at, key) = (at.to_owned(), key.to_owned());
    Box::new(move |bundle| {
        bundle.pointer_mut(&at).unwrap().as_object_mut().unwrap().remove(&key).unwrap_or_else(|| panic!("{at}/{key}"));
    })
}

/// What another genuine bundle of the same instance has there.
fn swap(at: &str) -> Change {
    let other = json_of("keyless/bob.sig").pointer(at).unwrap_or_else(|| panic!("{at}")).clone();
    put(at, other)
}

fn replace(at: &str, from: &str, to: &str) -> Change {
    let (at, from, to) = (at.to_owned(), from.to_owned(), to.to_owned());
    Box::new(move |bundle| {
        let text = bundle.pointer_mut(&at).unwrap_or_else(|| panic!("{at}"));
        let changed = text.as_str().unwrap().replacen(&from, &to, 1);
        assert_ne!(text.as_str().unwrap(), changed);
        *text = changed.into();
    })
}

/// Changes text inside the certificate.
fn in_certificate(from: &'static [u8], to: &'static [u8]) -> Change {
    Box::new(move |bundle| {
        let text = bundle.pointer_mut("/verificationMaterial/certificate/rawBytes").unwrap();
        let mut der = STANDARD.decode(text.as_str().unwrap()).unwrap();
        let at = der.windows(from.len()).position(|window| window == from).unwrap();
        der[at..at + to.len()].copy_from_slice(to);
        *text = STANDARD.encode(der).into();
    })
}

/// Changes the JSON inside a log entry's body.
fn in_body(at: &'static str, value: Value) -> Change {
    Box::new(move |bundle| {
        let text = bundle.pointer_mut(&format!("{ENTRY}/canonicalizedBody")).unwrap();
        let mut body: Value = serde_json::from_slice(&STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
        *body.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value.clone();
        *text = STANDARD.encode(body.to_string()).into();
    })
}

fn proof(rest: &str) -> String {
    format!("{PROOF}{rest}")
}

fn stamp(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keyless").join(file);
    json!({ "signedTimestamp": STANDARD.encode(fs::read(path).unwrap()) })
}

fn assert_refused(bundle: fn() -> Value, trust: &KeylessTrust, cases: Vec<(&str, Change, RejectionCode)>) {
    assert_eq!(code(&bundle(), trust), None, "the genuine bundle");
    let mut wrong = Vec::new();
    for (what, change, expected) in cases {
        let mut bundle = bundle();
        change(&mut bundle);
        let rejection = check(&bundle, std::slice::from_ref(trust), NOW).err();
        if rejection.as_ref().map(Rejection::code) != Some(expected) {
            wrong.push(format!("{what}: expected {expected:?}, got {rejection:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_part_of_a_bundle_can_be_altered() {
    let certificate = "/verificationMaterial/certificate/rawBytes";
    let signature = "/dsseEnvelope/signatures/0/sig";
    assert_refused(
        second,
        &ours(),
        vec![
            ("signature", flip(signature), SignatureInvalid),
            ("another's signature", swap(signature), SignatureInvalid),
            ("payload", swap("/dsseEnvelope/payload"), SignatureInvalid),
            ("payload that is no JSON", flip("/dsseEnvelope/payload"), SignatureInvalid),
            ("payload type", put("/dsseEnvelope/payloadType", json!("text/plain")), MalformedBundle),
            ("no signature", put("/dsseEnvelope/signatures", json!([])), MalformedBundle),
            ("identity in the certificate", in_certificate(b"alice@", b"mally@"), UntrustedSigner),
            (
                "issuer in the certificate",
                in_certificate(b"http://127.0.0.1:5503", b"http://127.0.0.1:5504"),
                UntrustedSigner,
            ),
            ("another's certificate", swap(certificate), SignatureInvalid),
            ("no certificate at all", put(certificate, json!("AAAA")), MalformedBundle),
            ("certificate that is no base64", put(certificate, json!("*")), MalformedBundle),
            ("everything but the envelope", swap("/verificationMaterial"), SignatureInvalid),
        ],
    );
}

#[test]
fn no_part_of_a_log_entry_of_rekor_v2_can_be_altered() {
    let two: Change = Box::new(|b| {
        let bob = json_of("keyless/bob.sig").pointer(ENTRY).unwrap().clone();
        b["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(bob);
    });
    let many: Change = Box::new(|b| {
        let entry = b.pointer(ENTRY).unwrap().clone();
        b["verificationMaterial"]["tlogEntries"] = vec![entry; 33].into();
    });
    assert_eq!(json_of("keyless/model/model.sig").pointer(&proof("/logIndex")), Some(&json!("3")));
    assert_refused(
        second,
        &ours(),
        vec![
            ("no entry", put("/verificationMaterial/tlogEntries", json!([])), MalformedBundle),
            ("no list of entries", remove("/verificationMaterial", "tlogEntries"), MalformedBundle),
            ("another's entry", swap(ENTRY), SignatureInvalid),
            ("another's entry as well", two, SignatureInvalid),
            ("33 entries", many, TooLarge),
            ("index", put(&entry("/logIndex"), json!("2")), SignatureInvalid),
            ("no index", remove(ENTRY, "logIndex"), SignatureInvalid),
            ("log id", flip(&entry("/logId/keyId")), UntrustedSigner),
            ("short log id", put(&entry("/logId/keyId"), json!("AAAA")), UntrustedSigner),
            ("kind", put(&entry("/kindVersion/kind"), json!("dsse")), MalformedBundle),
            ("version", put(&entry("/kindVersion/version"), json!("0.0.1")), UnsupportedBundle),
            ("time", put(&entry("/integratedTime"), json!("1795341448")), SignatureInvalid),
            ("body", flip(&entry("/canonicalizedBody")), SignatureInvalid),
            ("another's body", swap(&entry("/canonicalizedBody")), SignatureInvalid),
            (
                "digest in the body",
                in_body("/spec/hashedRekordV002/data/digest", json!(STANDARD.encode([0; 32]))),
                SignatureInvalid,
            ),
            ("body of nothing", put(&entry("/canonicalizedBody"), json!("e30=")), SignatureInvalid),
            ("no proof", remove(ENTRY, "inclusionProof"), MalformedBundle),
            ("index in the proof", put(&proof("/logIndex"), json!("2")), SignatureInvalid),
            ("no index in the proof", remove(PROOF, "logIndex"), SignatureInvalid),
            ("tree size", put(&proof("/treeSize"), json!("5")), SignatureInvalid),
            ("root hash", flip(&proof("/rootHash")), SignatureInvalid),
            ("hash", flip(&proof("/hashes/0")), SignatureInvalid),
            ("no hashes", put(&proof("/hashes"), json!([])), SignatureInvalid),
            ("another's proof", swap(PROOF), SignatureInvalid),
            ("no checkpoint", remove(PROOF, "checkpoint"), MalformedBundle),
            ("another's checkpoint", swap(&proof("/checkpoint")), SignatureInvalid),
            (
                "checkpoint's origin",
                replace(&proof("/checkpoint/envelope"), "127.0.0.1", "127.0.0.2"),
                SignatureInvalid,
            ),
            ("checkpoint's size", replace(&proof("/checkpoint/envelope"), "\n4\n", "\n5\n"), SignatureInvalid),
            (
                "checkpoint's signature",
                replace(&proof("/checkpoint/envelope"), "— 127.0.0.1 ", "— 127.0.0.1 AAAA"),
                SignatureInvalid,
            ),
        ],
    );
}

#[test]
fn no_timestamp_can_be_altered() {
    let token = format!("{STAMPS}/0/signedTimestamp");
    let also = |file: &'static str| -> Change {
        Box::new(move |b| b.pointer_mut(STAMPS).unwrap().as_array_mut().unwrap().push(stamp(file)))
    };
    let many: Change = Box::new(|b| {
        let one = b.pointer(STAMPS).unwrap()[0].clone();
        *b.pointer_mut(STAMPS).unwrap() = vec![one; 33].into();
    });
    assert_refused(
        second,
        &ours(),
        vec![
            ("none", put(STAMPS, json!([])), MalformedBundle),
            ("no list", remove("/verificationMaterial", "timestampVerificationData"), MalformedBundle),
            ("no token", put(&token, json!("AAAA")), UntrustedSigner),
            ("another signature's", swap(&token), SignatureInvalid),
            ("of another authority", put(&format!("{STAMPS}/0"), stamp("foreign.tsr")), UntrustedSigner),
            ("of another authority as well", also("foreign.tsr"), UntrustedSigner),
            ("after the certificate's end", put(&format!("{STAMPS}/0"), stamp("late.tsr")), SignerExpired),
            ("after the certificate's end as well", also("late.tsr"), SignerExpired),
            ("33", many, TooLarge),
        ],
    );
}

#[test]
fn no_part_of_a_log_entry_of_rekor_v1_can_be_altered() {
    let larger: Change = Box::new(|b| {
        let size = b.pointer_mut(&proof("/treeSize")).unwrap();
        *size = (size.as_str().unwrap().parse::<u64>().unwrap() + 2).to_string().into();
    });
    assert_refused(
        first,
        &public_good(),
        vec![
            ("identity in the certificate", in_certificate(b"stefanb@", b"stefanc@"), UntrustedSigner),
            ("signature", flip("/dsseEnvelope/signatures/0/sig"), SignatureInvalid),
            ("no entry", put("/verificationMaterial/tlogEntries", json!([])), MalformedBundle),
            ("index", put(&entry("/logIndex"), json!("1")), SignatureInvalid),
            ("log id", flip(&entry("/logId/keyId")), UntrustedSigner),
            ("kind", put(&entry("/kindVersion/kind"), json!("hashedrekord")), UnsupportedBundle),
            ("earlier", put(&entry("/integratedTime"), json!("1744910279")), SignatureInvalid),
            ("later", put(&entry("/integratedTime"), json!("4102444800")), SignatureInvalid),
            ("no time", put(&entry("/integratedTime"), json!("0")), MalformedBundle),
            ("promise", flip(&entry("/inclusionPromise/signedEntryTimestamp")), SignatureInvalid),
            ("no promise", remove(ENTRY, "inclusionPromise"), MalformedBundle),
            ("body", flip(&entry("/canonicalizedBody")), SignatureInvalid),
            ("no proof", remove(ENTRY, "inclusionProof"), MalformedBundle),
            ("index in the proof", put(&proof("/logIndex"), json!("1")), SignatureInvalid),
            ("tree size", put(&proof("/treeSize"), json!("1")), SignatureInvalid),
            ("tree size of the same shape", larger, SignatureInvalid),
            ("root hash", flip(&proof("/rootHash")), SignatureInvalid),
            ("hash", flip(&proof("/hashes/0")), SignatureInvalid),
            ("no checkpoint", remove(PROOF, "checkpoint"), MalformedBundle),
            ("checkpoint's origin", replace(&proof("/checkpoint/envelope"), "rekor", "rokor"), SignatureInvalid),
        ],
    );
}

#[test]
fn evidence_of_a_megabyte_is_not_looked_at() {
    let mut bundle = second();
    *bundle.pointer_mut(&entry("/canonicalizedBody")).unwrap() = "A".repeat(1 << 20).into();
    assert_eq!(code(&bundle, &ours()), Some(TooLarge));
}

/// Every value in a bundle, by its path.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, format!("{path}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| leaves(value, format!("{path}/{at}"), found));
        }
        _ => found.push(path),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is changed, the verifier neither breaks down nor takes another identity or time for proved.
    #[test]
    fn a_changed_bundle_proves_nothing_else(
        of_first in any::<bool>(), leaf in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        how in 0..5_u8, byte in any::<u8>(),
    ) {
        let (mut bundle, trust) = if of_first { (first(), public_good()) } else { (second(), ours()) };
        let genuine = facts(&bundle, std::slice::from_ref(&trust));
        let mut paths = Vec::new();
        leaves(&bundle, String::new(), &mut paths);
        let value = bundle.pointer_mut(&paths[leaf.index(paths.len())]).unwrap();
        let text = value.as_str().unwrap_or_default().to_owned();
        *value = match (how, STANDARD.decode(&text)) {
            (0, _) => Value::Null,
            (1, _) => json!(byte),
            (2, Ok(mut bytes)) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
                STANDARD.encode(bytes).into()
            }
            (3, Ok(mut bytes)) if !bytes.is_empty() => {
                bytes.truncate(at.index(bytes.len()));
                STANDARD.encode(bytes).into()
            }
            (_, _) if text.is_empty() => json!("x"),
            _ => {
                let cut: usize = text.char_indices().map(|(start, _)| start).nth(at.index(text.chars().count())).unwrap();
                format!("{}{}{}", &text[..cut], char::from(byte), &text[cut..]).into()
            }
        };
        if let Ok(verified) = check(&bundle, &[trust], NOW) {
            let signers: Vec<Signer> = genuine.into_iter().map(Signer::Keyless).collect();
            prop_assert_eq!(verified.signers(), &signers[..]);
        }
    }
}
