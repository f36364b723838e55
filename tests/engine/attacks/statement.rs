//! The statement: whatever the trusted signer signs must keep the rules of the format.

use proptest::prelude::*;
use serde_json::{Value, json};
use weighbridge::api::v1alpha1::{Code, Detail, RefusedCode, UnknownCode};
use weighbridge::facts::Finding;
use weighbridge::model::{HashAlgorithm, Hasher};
use weighbridge::signature::RejectionCode;

use super::code;
use crate::support::{P256, Signer, check, files, statement};

use RefusedCode::{MalformedBundle, UnsupportedBundle};

/// What somebody reads who asks why: nothing if it verifies.
fn finding(signer: &Signer, statement: &Value) -> Option<(Code, Option<Detail>)> {
    let finding = Finding::from(check(&signer.sign(statement), &signer.trust()).err()?);
    Some((finding.code, finding.detail))
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
    let cases: Vec<(&str, Change, Code, Option<Detail>)> = vec![
        (
            "root digest",
            Box::new(move |s| s["subject"][0]["digest"]["sha256"] = json!(digest)),
            MalformedBundle.into(),
            Some(Detail::RootDigestMismatch),
        ),
        (
            "root digest length",
            Box::new(|s| s["subject"][0]["digest"]["sha256"] = json!("00")),
            MalformedBundle.into(),
            None,
        ),
        ("no subject", Box::new(top("subject", json!([]))), MalformedBundle.into(), None),
        (
            "two subjects",
            Box::new(|s| {
                let first = s["subject"][0].clone();
                s["subject"].as_array_mut().unwrap().push(first);
            }),
            MalformedBundle.into(),
            None,
        ),
        ("type", Box::new(top("_type", json!("https://in-toto.io/Statement/v0.1"))), MalformedBundle.into(), None),
        (
            "predicate type",
            Box::new(top("predicateType", json!("https://slsa.dev/provenance/v1"))),
            UnsupportedBundle.into(),
            None,
        ),
        (
            "release 0.2",
            Box::new(top("predicateType", json!("https://model_signing/Digests/v0.1"))),
            MalformedBundle.into(),
            None,
        ),
        ("no predicate", Box::new(top("predicate", Value::Null)), MalformedBundle.into(), None),
        ("shards of no length", Box::new(serialization("method", json!("shards"))), MalformedBundle.into(), None),
        ("another method", Box::new(serialization("method", json!("chunks"))), UnsupportedBundle.into(), None),
        (
            "SHA-256 said to be blake2b",
            Box::new(serialization("hash_type", json!("blake2b"))),
            MalformedBundle.into(),
            None,
        ),
        (
            "SHA-256 said to be blake3",
            Box::new(serialization("hash_type", json!("blake3"))),
            MalformedBundle.into(),
            None,
        ),
        ("md5", Box::new(serialization("hash_type", json!("md5"))), UnsupportedBundle.into(), None),
        ("symlinks as text", Box::new(serialization("allow_symlinks", json!("false"))), MalformedBundle.into(), None),
        ("symlinks unsaid", Box::new(serialization("allow_symlinks", Value::Null)), MalformedBundle.into(), None),
        (
            "too much ignored",
            Box::new(serialization("ignore_paths", json!(vec!["x"; 1001]))),
            UnknownCode::TooLarge.into(),
            None,
        ),
        ("another algorithm", Box::new(resource(0, "algorithm", json!("blake3"))), MalformedBundle.into(), None),
        ("short digest", Box::new(resource(0, "digest", json!("00"))), MalformedBundle.into(), None),
        ("long digest", Box::new(resource(0, "digest", json!("0".repeat(128)))), MalformedBundle.into(), None),
        ("digest of letters", Box::new(resource(0, "digest", json!("z".repeat(64)))), MalformedBundle.into(), None),
        ("name is a number", Box::new(resource(0, "name", json!(1))), MalformedBundle.into(), None),
        (
            "no name",
            Box::new(|s| drop(s["predicate"]["resources"][0].as_object_mut().unwrap().remove("name"))),
            MalformedBundle.into(),
            None,
        ),
    ];
    for (what, change, code, detail) in cases {
        let mut statement = statement(&files(&["a", "b"]));
        change(&mut statement);
        assert_eq!(finding(&signer, &statement), Some((code, detail)), "{what}");
    }
}

#[test]
fn names_and_their_order() {
    use Detail::{DuplicateName, EmptyModel, InvalidName, Unsorted};
    let signer = Signer::new(P256);
    for (names, detail) in [
        (&["a", "b"][..], None),
        (&["a/b", "a.b"], None),
        (&["a.b", "a/b"], None),
        (&["."], None),
        (&["a:0:1"], None),
        (&[], Some(EmptyModel)),
        (&["b", "a"], Some(Unsorted)),
        (&["a/b", "a.b", "a!"], Some(Unsorted)),
        (&["a", "a"], Some(DuplicateName)),
        (&["a", "b", "a"], Some(DuplicateName)),
        (&["A", "a"], Some(DuplicateName)),
        (&["É/x", "é/x"], Some(DuplicateName)),
        (&[".", "a"], Some(InvalidName)),
        (&["/etc/passwd"], Some(InvalidName)),
        (&["../a"], Some(InvalidName)),
        (&["a/../b"], Some(InvalidName)),
        (&["a/.."], Some(InvalidName)),
        (&["./a"], Some(InvalidName)),
        (&["a/./b"], Some(InvalidName)),
        (&["a//b"], Some(InvalidName)),
        (&["a/"], Some(InvalidName)),
        (&[""], Some(InvalidName)),
        (&["a\\b"], Some(InvalidName)),
        (&["..\\a"], Some(InvalidName)),
        (&["a\0b"], Some(InvalidName)),
    ] {
        let expected = detail.map(|detail| (MalformedBundle.into(), Some(detail)));
        assert_eq!(finding(&signer, &statement(&files(names))), expected, "{names:?}");
    }
}

/// A statement over shards of ten bytes, with these names and a digest that fits.
pub(super) fn shards(names: &[&str]) -> Value {
    let mut statement = statement(&files(names));
    statement["predicate"]["serialization"]["method"] = json!("shards");
    statement["predicate"]["serialization"]["shard_size"] = json!(10.0);
    for resource in statement["predicate"]["resources"].as_array_mut().unwrap() {
        resource["algorithm"] = json!("sha256-sharded-10");
    }
    statement
}

#[test]
fn shards_cover_each_file_once() {
    use Detail::{DuplicateName, EmptyModel, InvalidName, ShardGap, ShardOverlap, ShardRange, Unsorted};
    let signer = Signer::new(P256);
    for (names, detail) in [
        (&["a:0:10"][..], None),
        (&["a:0:3"], None),
        (&["a:0:10", "a:10:13", "b:0:1"], None),
        (&["a/b:0:1", "a.b:0:1"], None),
        (&["a.b:0:1", "a/b:0:1"], None),
        (&["a:0:10", "a:10:20", "a:100:101", "a:20:30"], Some(ShardGap)),
        (&["a:1:2:0:10", "a:b c:0:10"], None),
        (&[".:0:10", ".:10:11"], None),
        (&[], Some(EmptyModel)),
        (&["a:0:10", "a:5:15"], Some(ShardOverlap)),
        (&["a:0:10", "a:9:19"], Some(ShardOverlap)),
        (&["a:0:10", "a:20:30"], Some(ShardGap)),
        (&["a:10:20"], Some(ShardGap)),
        (&["a:0:11"], Some(ShardRange)),
        (&["a:0:9", "a:9:19"], Some(ShardRange)),
        (&["a:0:0"], Some(ShardRange)),
        (&["a:10:0"], Some(ShardRange)),
        (&["a"], Some(ShardRange)),
        (&["a:0"], Some(ShardRange)),
        (&["a:0:x"], Some(ShardRange)),
        (&["a:-1:9"], Some(ShardRange)),
        (&["a:+0:10"], Some(ShardRange)),
        (&["a:00:10"], Some(ShardRange)),
        (&["a:0:1e1"], Some(ShardRange)),
        (&["a:0:10.0"], Some(ShardRange)),
        (&["a: 0:10"], Some(ShardRange)),
        (&["a:0:18446744073709551616"], Some(ShardRange)),
        (&["a:0:18446744073709551615"], Some(ShardRange)),
        (&["a:0:10", "a:0:10"], Some(DuplicateName)),
        (&["A:0:10", "a:0:10"], Some(DuplicateName)),
        (&["b:0:10", "a:0:10"], Some(Unsorted)),
        (&["a:10:13", "a:0:10"], Some(Unsorted)),
        (&["../a:0:10"], Some(InvalidName)),
        (&["/a:0:10"], Some(InvalidName)),
        (&[":0:10"], Some(InvalidName)),
        (&["a\\b:0:10"], Some(InvalidName)),
        (&[".:0:10", "a:0:10"], Some(InvalidName)),
    ] {
        let expected = detail.map(|detail| (MalformedBundle.into(), Some(detail)));
        assert_eq!(finding(&signer, &shards(names)), expected, "{names:?}");
    }
}

#[test]
fn the_length_of_shards_is_a_whole_number() {
    let signer = Signer::new(P256);
    let of = |size: &str| {
        let text = shards(&["a:0:10"]).to_string().replace("\"shard_size\":10.0", &format!("\"shard_size\":{size}"));
        check(&signer.bundle(text.as_bytes()), &signer.trust()).err().map(|rejection| rejection.code())
    };
    for size in ["10", "10.0", "1e1", "1.0E+1"] {
        assert_eq!(of(size), None, "{size}");
    }
    let refused = Some(RejectionCode::MalformedBundle);
    for size in [
        "0",
        "0.0",
        "-0.0",
        "-10",
        "-10.0",
        "10.5",
        "1e-1",
        "9007199254740993",
        "9007199254740994.0",
        "1e300",
        "18446744073709551615",
        "18446744073709551626",
        "null",
        "true",
        "[10]",
        "\"10\"",
        "{}",
    ] {
        assert_eq!(of(size), refused, "{size}");
    }
    // A length that does not go with the names of the digests.
    assert_eq!(of("20"), refused);
    // The largest that there is.
    let text = shards(&["a:0:10"]).to_string().replace("-10\"", "-9007199254740992\"");
    let text = text.replace("\"shard_size\":10.0", "\"shard_size\":9007199254740992.0");
    assert!(check(&signer.bundle(text.as_bytes()), &signer.trust()).is_ok());
}

#[test]
fn the_algorithm_goes_with_the_method() {
    let signer = Signer::new(P256);
    for algorithm in
        ["sha256", "sha256-sharded-11", "sha256-sharded-10.0", "sha256-sharded-010", "blake3-sharded-10", ""]
    {
        let mut statement = shards(&["a:0:10"]);
        statement["predicate"]["resources"][0]["algorithm"] = json!(algorithm);
        assert_eq!(finding(&signer, &statement), Some((MalformedBundle.into(), None)), "{algorithm}");
    }
    let mut whole = statement(&files(&["a"]));
    whole["predicate"]["resources"][0]["algorithm"] = json!("sha256-sharded-10");
    assert_eq!(finding(&signer, &whole), Some((MalformedBundle.into(), None)));
    // Under `files` nobody asks for a length.
    let mut whole = statement(&files(&["a"]));
    whole["predicate"]["serialization"]["shard_size"] = json!(10.0);
    assert_eq!(finding(&signer, &whole), None);
}

/// A statement whose files are hashed with another algorithm, each as `digest` says.
fn hashed(algorithm: HashAlgorithm, digest: &str) -> Value {
    let mut statement = statement(&files(&["a"]));
    statement["predicate"]["serialization"]["hash_type"] = json!(algorithm.as_str());
    statement["predicate"]["resources"][0]["algorithm"] = json!(algorithm.as_str());
    statement["predicate"]["resources"][0]["digest"] = json!(digest);
    let raw: Vec<u8> = digest
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    statement["subject"][0]["digest"]["sha256"] = json!(Hasher::sha256(&raw).to_hex());
    statement
}

#[test]
fn each_hash_has_digests_of_its_length() {
    let signer = Signer::new(P256);
    for algorithm in HashAlgorithm::ALL {
        let length = algorithm.digest_bytes();
        assert_eq!(finding(&signer, &hashed(algorithm, &"0a".repeat(length))), None, "{algorithm}");
        for wrong in [0, 1, length - 1, length + 1, 2 * length] {
            let expected = Some((MalformedBundle.into(), None));
            assert_eq!(finding(&signer, &hashed(algorithm, &"0a".repeat(wrong))), expected, "{algorithm} {wrong}");
        }
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
        assert_eq!(rejection.code(), RejectionCode::MalformedBundle, "{rejection}");
        assert!(rejection.to_string().len() < 400);
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

proptest! {
    #[test]
    fn signed_payloads_of_any_shape(payload in "(\"_type\":|\"predicate\":|[{}\\[\\],\":a-z0-9])*") {
        let signer = Signer::new(P256);
        prop_assert!(code(&signer.bundle(payload.as_bytes()), &signer.trust()).is_some());
    }
}
