//! Bundles that Sigstore vouches for: the genuine one of the public instance, those of a private one, and what somebody
//! may try with either.

mod altered;

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use weighbridge::signature::{
    Authority, Bundle, IdentityPattern, KeylessError, KeylessFacts, KeylessTrust, Rejection, RejectionCode, Signer,
    TextPattern, TrustMaterial, TrustedRootError, Verified, verify,
};

use RejectionCode::{SignatureInvalid, UntrustedSigner};

/// Later than every fixture.
const NOW: &str = "2027-01-01T00:00:00Z";

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";
const STAMPS: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";

/// A place in the first log entry.
fn entry(rest: &str) -> String {
    format!("{ENTRY}{rest}")
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)).unwrap()
}

fn json_of(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap()
}

/// Of Rekor v2: logged with a timestamp.
fn second() -> Value {
    json_of("keyless/model/model.sig")
}

/// Of Rekor v1: logged at a time that the log signed.
fn first() -> Value {
    json_of("oms/v1.0.1-sigstore/model.sig")
}

fn ours() -> KeylessTrust {
    KeylessTrust::from_json(&read("keyless/trusted_root.json")).unwrap()
}

fn public_good() -> KeylessTrust {
    KeylessTrust::public_good().unwrap()
}

/// The private instance's root, changed.
fn root(change: impl Fn(&mut Value)) -> Result<KeylessTrust, TrustedRootError> {
    let mut root = json_of("keyless/trusted_root.json");
    change(&mut root);
    KeylessTrust::from_json(&root.to_string())
}

fn check(bundle: &Value, roots: &[KeylessTrust], now: &str) -> Result<Verified, Rejection> {
    let trust = TrustMaterial { keyless: roots.to_vec(), ..TrustMaterial::default() };
    verify(&Bundle::parse(bundle.to_string().as_bytes())?, &trust, now.parse().unwrap())
}

fn code(bundle: &Value, root: &KeylessTrust) -> Option<RejectionCode> {
    check(bundle, std::slice::from_ref(root), NOW).err().map(|rejection| rejection.code())
}

fn facts(bundle: &Value, roots: &[KeylessTrust]) -> Vec<KeylessFacts> {
    let verified = check(bundle, roots, NOW).unwrap();
    let facts = verified.signers().iter().map(|signer| match signer {
        Signer::Keyless(facts) => facts.clone(),
        other => panic!("{other:?}"),
    });
    facts.collect()
}

#[test]
fn a_genuine_bundle_of_the_public_instance_verifies_offline() {
    let [facts] = &facts(&first(), &[public_good()])[..] else { panic!("one root, one signer") };
    assert_eq!(facts.identity, "stefanb@us.ibm.com");
    assert_eq!(facts.issuer, "https://sigstore.verify.ibm.com/oauth2");
    assert_eq!(facts.signed_at, "2025-10-07T15:33:48Z".parse::<Timestamp>().unwrap());
    assert_eq!(facts.trust, public_good().digest());
    assert_eq!(facts.log.as_deref(), Some("c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"));
    assert_eq!(facts.timestamp_authority, None);
}

#[test]
fn a_bundle_of_a_private_instance_verifies_under_its_root_alone() {
    let other = KeylessTrust::from_json(&read("keyless/other_root.json")).unwrap();
    let facts = facts(&second(), &[other.clone(), ours(), public_good()]);
    let [facts] = &facts[..] else { panic!("one root, one signer") };
    assert_eq!(facts.identity, "alice@example.com");
    assert_eq!(facts.issuer, "http://127.0.0.1:5503");
    assert_eq!(facts.trust, ours().digest());
    assert_eq!(facts.timestamp_authority.as_deref(), Some("CN=Test TSA Timestamping,O=local"));
    for roots in [&[other][..], &[public_good()], &[]] {
        assert_eq!(check(&second(), roots, NOW).unwrap_err().code(), UntrustedSigner, "{roots:?}");
    }
}

#[test]
fn a_signer_satisfies_an_authority_with_that_root_and_a_named_identity_only() {
    let signer = Signer::Keyless(facts(&second(), &[ours()]).remove(0));
    let identity = |issuer: &str, subject: &str| IdentityPattern {
        issuer: TextPattern::exact(issuer).unwrap(),
        subject: TextPattern::exact(subject).unwrap(),
    };
    let alice = || identity("http://127.0.0.1:5503", "alice@example.com");
    let trust = ours().digest();
    for (identities, trust, accepted) in [
        (vec![alice()], trust, true),
        (vec![identity("http://127.0.0.1:5503", "bob@example.com"), alice()], trust, true),
        (vec![identity("http://127.0.0.1:5503", "bob@example.com")], trust, false),
        (vec![identity("http://127.0.0.1:5504", "alice@example.com")], trust, false),
        (vec![alice()], public_good().digest(), false),
        (vec![], trust, false),
    ] {
        let authority = Authority::Keyless { trust, identities };
        assert_eq!(authority.accepts(&signer), accepted, "{authority:?}");
    }
}

#[test]
fn a_bundle_holds_long_after_its_certificate_and_not_before_it_was_made() {
    let signed_at = facts(&second(), &[ours()])[0].signed_at;
    let at = |minutes: i64| {
        let now = signed_at + jiff::SignedDuration::from_mins(minutes);
        check(&second(), &[ours()], &now.to_string()).err().map(|rejection| rejection.code())
    };
    assert_eq!(at(60 * 24 * 365 * 10), None);
    assert_eq!(at(-4), None, "clocks differ by minutes");
    assert_eq!(at(-6), Some(UntrustedSigner));
    let long_before = signed_at - jiff::SignedDuration::from_hours(1);
    let rejection = check(&second(), &[ours()], &long_before.to_string()).unwrap_err();
    assert_eq!(rejection.not_before(long_before), Some(signed_at), "it is worth another look then");
}

#[test]
fn a_root_is_named_by_its_content_whatever_its_layout() {
    let value = json_of("keyless/trusted_root.json");
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let reversed = reversed(&value);
    assert_ne!(reversed, value.to_string());
    for text in [&pretty, &reversed, &read("keyless/trust_config.json")] {
        assert_eq!(KeylessTrust::from_json(text).unwrap().digest(), ours().digest());
    }
    let ended = root(|root| root["tlogs"][0]["publicKey"]["validFor"]["end"] = json!(NOW)).unwrap();
    for other in [ended, public_good(), KeylessTrust::from_json(&read("keyless/other_root.json")).unwrap()] {
        assert_ne!(other.digest(), ours().digest());
    }
}

/// The same JSON with the keys of each object in reverse order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", json!(key), reversed(value));
            let mut entries: Vec<String> = map.iter().map(entry).collect();
            entries.sort_by(|a, b| b.cmp(a));
            format!("{{ {} }}", entries.join(" , "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[test]
fn what_is_no_root_is_refused_with_what_to_do() {
    let text = |change: fn(&mut Value)| root(change).unwrap_err().to_string();
    for (what, text, part) in [
        ("no JSON", KeylessTrust::from_json("{").unwrap_err().to_string(), "give the instance's trusted_root.json"),
        ("deep", KeylessTrust::from_json(&"[".repeat(100_000)).unwrap_err().to_string(), "recursion"),
        ("large", KeylessTrust::from_json(&" ".repeat((1 << 20) + 1)).unwrap_err().to_string(), "larger"),
        ("a list", KeylessTrust::from_json("[]").unwrap_err().to_string(), "mediaType is ``"),
        ("media type", text(|r| r["mediaType"] = json!("text/plain")), "mediaType is `text/plain`"),
        (
            "a signing config",
            text(|r| r["mediaType"] = json!("application/vnd.dev.sigstore.signingconfig.v0.2+json")),
            "signingconfig",
        ),
        (
            "a trust config without a root",
            text(|r| r["mediaType"] = json!("application/vnd.dev.sigstore.clienttrustconfig.v0.1+json")),
            "mediaType is ``",
        ),
        ("no authority", text(|r| r["certificateAuthorities"] = json!([])), "no certificate authority"),
        ("no log", text(|r| drop(r.as_object_mut().unwrap().remove("tlogs"))), "no transparency log"),
        ("no certificate log", text(|r| r["ctlogs"] = json!([])), "no certificate transparency log"),
        (
            "nothing at all",
            text(|r| *r = json!({ "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1" })),
            "no certificate authority",
        ),
        (
            "an authority that ended before it began",
            text(|r| r["certificateAuthorities"][0]["validFor"]["end"] = json!("2020-01-01T00:00:00Z")),
            "no certificate authority that is valid at any time",
        ),
        ("no key", text(|r| r["tlogs"][0]["publicKey"]["rawBytes"] = json!("AAAA")), "cannot be used"),
        (
            "two logs of one id",
            text(|r| {
                let mut other = json_of("keyless/other_root.json")["tlogs"][0].clone();
                other["logId"] = r["tlogs"][0]["logId"].clone();
                r["tlogs"].as_array_mut().unwrap().push(other);
            }),
            "duplicate",
        ),
        (
            "no certificate",
            text(|r| r["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"] = json!("AAAA")),
            "cannot be used",
        ),
    ] {
        assert!(text.contains(part), "{what}: {text}");
        assert!(text.len() < 400, "{what}: {text}");
    }
}

/// What a root says of its authorities, changed, and what becomes of a genuine bundle then.
#[test]
fn each_authority_counts_for_its_time_only() {
    let signed_at = facts(&second(), &[ours()])[0].signed_at;
    let before = (signed_at - jiff::SignedDuration::from_secs(1)).to_string();
    let after = (signed_at + jiff::SignedDuration::from_secs(1)).to_string();
    let at = signed_at.to_string();
    let window = |list: &'static str, field: &'static str, time: &str| {
        let time = json!(time);
        root(move |root| {
            let holder = if root[list][0].get("publicKey").is_some() {
                &mut root[list][0]["publicKey"]
            } else {
                &mut root[list][0]
            };
            holder["validFor"][field] = time.clone();
        })
        .unwrap()
    };
    for list in ["tlogs", "certificateAuthorities", "timestampAuthorities"] {
        for (field, time, expected) in [
            ("end", &after, None),
            ("end", &at, None),
            ("end", &before, Some(UntrustedSigner)),
            ("start", &before, None),
            ("start", &after, Some(UntrustedSigner)),
        ] {
            assert_eq!(code(&second(), &window(list, field, time)), expected, "{list} {field} {time}");
        }
    }
    // The certificate's log signed some moments before.
    let long_before = (signed_at - jiff::SignedDuration::from_mins(10)).to_string();
    assert_eq!(code(&second(), &window("ctlogs", "end", &long_before)), Some(UntrustedSigner));
    assert_eq!(code(&second(), &window("ctlogs", "start", &after)), Some(UntrustedSigner));
    let ended = window("tlogs", "end", &before);
    let rejection = check(&second(), &[ended], NOW).unwrap_err();
    assert!(matches!(rejection, Rejection::Keyless(KeylessError::NotValidThen { .. })), "{rejection}");
}

/// A root may list one log several times, each time for another while.
#[test]
fn a_log_that_is_listed_twice_counts_for_both_times() {
    let signed_at = facts(&second(), &[ours()])[0].signed_at;
    let from_now = |minutes: i64| json!((signed_at + jiff::SignedDuration::from_mins(minutes)).to_string());
    let twice = |list: &'static str, first: (i64, i64), then: (i64, i64)| {
        root(|root| {
            let mut again = root[list][0].clone();
            for (log, (start, end)) in [(&mut root[list][0], first), (&mut again, then)] {
                log["publicKey"]["validFor"] = json!({ "start": from_now(start), "end": from_now(end) });
            }
            root[list].as_array_mut().unwrap().push(again);
        })
    };
    for (first, then, expected) in [
        ((-60, 60), (60, 90), None),
        ((-90, -60), (-60, 60), None),
        ((-60, 60), (-60, 60), None),
        ((-90, -60), (60, 90), Some(UntrustedSigner)),
        ((-90, -60), (-60, -30), Some(UntrustedSigner)),
    ] {
        assert_eq!(code(&second(), &twice("tlogs", first, then).unwrap()), expected, "{first:?} {then:?}");
    }
    assert_eq!(code(&second(), &twice("ctlogs", (-90, -60), (-60, 60)).unwrap()), None);
    // The verifier looks at one window for each log of certificates: times with a gap between them cannot be given to it.
    let error = twice("ctlogs", (-90, -60), (60, 90)).unwrap_err();
    assert!(error.to_string().contains("duplicate"), "{error}");
}

/// The verifier makes a tree of what Rekor v1 logged before it has checked a signature.
#[test]
fn a_statement_that_rekor_v1_logged_is_bounded() {
    let of_length = |bytes: usize| {
        let mut bundle = first();
        bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(vec![b' '; bytes]));
        code(&bundle, &public_good())
    };
    assert_eq!(of_length((16 << 20) + 1), Some(RejectionCode::TooLarge));
    assert_eq!(of_length(16 << 20), Some(RejectionCode::MalformedBundle), "it is looked at, and is no JSON");
}

#[test]
fn each_authority_has_to_be_one_of_the_root() {
    let other = json_of("keyless/other_root.json");
    for list in ["certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"] {
        let foreign = root(|root| root[list] = other[list].clone()).unwrap();
        let rejection = check(&second(), &[foreign], NOW).unwrap_err();
        assert!(matches!(rejection, Rejection::Keyless(KeylessError::Unknown { .. })), "{list}: {rejection}");
        assert_eq!(rejection.code(), UntrustedSigner, "{list}");
        // The same id with another key.
        if list.ends_with("logs") {
            let posing = |root: &mut Value| {
                root[list][0]["publicKey"]["rawBytes"] = other[list][0]["publicKey"]["rawBytes"].clone();
            };
            assert!(code(&second(), &root(posing).unwrap()).is_some(), "{list}");
        }
    }
    let both = |root: &mut Value| {
        for list in ["certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"] {
            let others = other[list].as_array().unwrap().clone();
            root[list].as_array_mut().unwrap().extend(others);
        }
    };
    assert_eq!(code(&second(), &root(both).unwrap()), None, "a root may hold two instances");
    // Another log that the root knows did not sign the checkpoint.
    let mut elsewhere = second();
    *elsewhere.pointer_mut(&entry("/logId")).unwrap() = other["tlogs"][0]["logId"].clone();
    assert_eq!(code(&elsewhere, &root(both).unwrap()), Some(SignatureInvalid));
    let none = root(|root| root["timestampAuthorities"] = json!([])).unwrap();
    assert_eq!(code(&second(), &none), Some(UntrustedSigner));
}

#[test]
fn an_authority_does_not_outlive_its_certificate() {
    // In a root that says no end.
    let endless = root(|root| drop(root["certificateAuthorities"][0].as_object_mut().unwrap().remove("validFor")));
    assert_eq!(code(&second(), &endless.unwrap()), None);
    let expired = json!({ "rawBytes": STANDARD.encode(expired_certificate()) });
    let with_expired_root = root(|root| {
        let chain = root["certificateAuthorities"][0]["certChain"]["certificates"].as_array_mut().unwrap();
        chain.push(expired.clone());
        drop(root["certificateAuthorities"][0].as_object_mut().unwrap().remove("validFor"));
    });
    // Nothing is left of an authority whose certificates were never valid together.
    assert_eq!(
        with_expired_root.unwrap_err(),
        TrustedRootError::Empty("certificate authority that is valid at any time")
    );
}

fn expired_certificate() -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}
