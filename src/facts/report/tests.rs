use super::*;
use crate::model::Hasher;
use crate::signature::{AlternativeName, CertificateFacts, Profile, Signer};
use proptest::prelude::*;

fn verified() -> Report {
    let digest = Hasher::sha256(b"");
    Report {
        outcome: Outcome::Verified {},
        signature_verified: Some(true),
        content_verified: Some(true),
        model_root: Some("models/a".into()),
        bundle: Some("model.sig".into()),
        model_digest: Some(digest),
        manifest_digest: Some(digest),
        files: Some(2),
        bytes: Some(10),
        symlinks: Some(0),
        signers: vec![Signer::Key { fingerprint: digest }].into(),
        ..Report::begin(Some("n".into()), Extent::Full)
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let report = verified();
    assert_eq!(Report::parse(&report.to_json(), "n"), Ok(report));
    let failed = Report::failed(Some("n".into()), Extent::Full, UnknownCode::VerifierFailed, "x");
    assert_eq!(Report::parse(&failed.to_json(), "n"), Ok(failed));
}

#[test]
fn the_form_of_a_report_is_a_contract() {
    let digest = Hasher::sha256(b"");
    let json = format!(
        "{{\"version\":1,\"nonce\":\"n\",\"extent\":\"Full\",\"outcome\":{{\"verdict\":\"Verified\"}},\
         \"signatureVerified\":true,\"contentVerified\":true,\"modelRoot\":\"models/a\",\"bundle\":\"model.sig\",\
         \"modelDigest\":\"{digest}\",\"manifestDigest\":\"{digest}\",\"files\":2,\"bytes\":10,\"symlinks\":0,\
         \"signers\":{{\"who\":[{{\"kind\":\"Key\",\"fingerprint\":\"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\"}}]}},\
         \"durationMs\":0}}"
    );
    assert_eq!(verified().to_json(), json);
}

#[test]
fn foreign_bytes_are_not_a_report() {
    let good = verified().to_json();
    let cut = &good[..good.len() - 1];
    let long = format!("{good}{}", " ".repeat(MAX_REPORT_BYTES));
    let unknown_field = good.replacen('{', "{\"admin\":true,", 1);
    let twice = good.replacen('{', "{\"version\":1,", 1);
    for text in ["", " ", "null", "{}", "[]", "Error: no", cut, &long, &unknown_field, &twice] {
        assert!(Report::parse(text, "n").is_err(), "{text}");
    }
    assert_eq!(Report::parse(&good, "m"), Err(ReportError::Nonce));
    assert_eq!(Report::parse(&good.replacen("\"nonce\":\"n\",", "", 1), "n"), Err(ReportError::Nonce));
    assert_eq!(Report::parse(&good.replacen("\"version\":1", "\"version\":2", 1), "n"), Err(ReportError::Version(2)));
}

#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut Report);
    let told = |paths: &[&str], more| {
        Some(UnsignedFiles { paths: paths.iter().map(|path| (*path).to_owned()).collect(), more })
    };
    let beside = |unsigned| {
        let finding = Finding::new(RefusedCode::UnsignedFiles, "x");
        Report { outcome: finding.into(), content_verified: Some(false), unsigned, ..verified() }
    };
    for good in [told(&[".git/", "a b/é"], false), told(&[], true), None] {
        assert!(Report::parse(&beside(good.clone()).to_json(), "n").is_ok(), "{good:?}");
    }
    for bad in
        [&[][..], &["/etc"], &["../x"], &["."], &["./"], &[""], &["a//"], &["a\nb"], &["a\\b"], &[&"x".repeat(81)]]
    {
        let report = beside(told(bad, false));
        assert!(matches!(Report::parse(&report.to_json(), "n"), Err(ReportError::Contradiction(_))), "{bad:?}");
    }
    let cases: [(&str, Change); 17] = [
        ("no signature", |r| r.signature_verified = Some(false)),
        ("no signature at all", |r| r.signature_verified = None),
        ("no signer", |r| r.signers = Signers::default()),
        ("other content", |r| r.content_verified = Some(false)),
        ("content unread", |r| r.content_verified = None),
        ("content in a signature-only run", |r| r.extent = Extent::SignatureOnly),
        ("no model digest", |r| r.model_digest = None),
        ("no manifest digest", |r| r.manifest_digest = None),
        ("no files", |r| r.files = Some(0)),
        ("no root", |r| r.model_root = None),
        ("a root elsewhere", |r| r.model_root = Some("../../x".into())),
        ("a terminal's codes", |r| r.bundle = Some("\u{1b}[2J".into())),
        ("names that do not count", |r| r.left_out = LeftOut { first: vec!["x".into(), "y".into()], count: 1 }),
        ("links that nobody counted", |r| r.symlinks = None),
        ("unsigned files in verified content", |r| r.unsigned = Some(UnsignedFiles { paths: vec![], more: true })),
        ("unsigned files that nobody compared", |r| {
            r.outcome = Finding::new(RefusedCode::UnsignedFiles, "x").into();
            r.content_verified = None;
            r.unsigned = Some(UnsignedFiles { paths: vec![], more: true });
        }),
        ("refused although all holds", |r| {
            let finding = Finding::new(RefusedCode::Unsigned, "x");
            r.outcome = finding.into();
        }),
    ];
    for (what, change) in cases {
        let mut report = verified();
        change(&mut report);
        assert!(matches!(Report::parse(&report.to_json(), "n"), Err(ReportError::Contradiction(_))), "{what}");
    }
}

/// A holder of a certificate, by an intermediate and a set of roots.
fn holder(signer: u8, pki: u8) -> Signer {
    let digest = |byte: u8| Hasher::sha256(&[byte]);
    Signer::Certificate(CertificateFacts {
        fingerprint: digest(signer),
        subject: format!("CN=ml-release-{signer},OU=ML Platform,O=Acme Corporation,C=US"),
        issuer: "CN=Acme Code Signing CA 1,O=Acme Corporation,C=US".into(),
        names: vec![AlternativeName::Uri(format!("spiffe://acme.example.com/ns/ml/sa/release-{signer}"))],
        not_after: Timestamp::UNIX_EPOCH,
        chain: vec![digest(100)],
        root: digest(101),
        trust: digest(110 + pki),
        profile: Profile::Strict,
    })
}

fn certified(holders: Vec<Signer>) -> Report {
    let signers = Signers::from(holders);
    let others =
        (1..signers.len()).map(|at| OtherBundle { name: format!("release-{at}.sig"), ignored: None }).collect();
    Report { signers, other_bundles: others, ..verified() }
}

#[test]
fn signers_are_reported_whole_or_not_at_all() {
    let fits: [(&str, Vec<Signer>); 5] = [
        ("one", vec![holder(0, 0)]),
        ("three of one PKI", (0..3).map(|signer| holder(signer, 0)).collect()),
        ("three, each of its own PKI", (0..3).map(|signer| holder(signer, signer)).collect()),
        ("one under five sets of roots", (0..5).map(|pki| holder(0, pki)).collect()),
        ("two under two each", vec![holder(0, 0), holder(0, 1), holder(1, 0), holder(1, 1)]),
    ];
    for (what, holders) in fits {
        let report = certified(holders);
        let json = report.to_json();
        assert_eq!(Report::parse(&json, "n"), Ok(report), "{what}: {} bytes", json.len());
    }
    let report = Report::parse(&certified((0..9).map(|signer| holder(signer, 0)).collect()).to_json(), "n").unwrap();
    assert_eq!(report.outcome.code(), Some(UnknownCode::TooLarge.into()));
    assert!(report.outcome.message().unwrap().contains("its 9 signers"), "{:?}", report.outcome);
    assert!(report.signers.is_empty() && report.signature_verified.is_none());
}

#[test]
fn a_record_gets_each_signer_once_with_what_proves_it() {
    let statuses = certified(vec![holder(0, 0), holder(1, 0), holder(0, 1), holder(0, 1)]).signers.statuses();
    let proofs: Vec<Vec<Option<String>>> =
        statuses.iter().map(|signer| signer.proofs.iter().map(|proof| proof.trust.clone()).collect()).collect();
    let trust = |pki: u8| Some(Hasher::sha256(&[110 + pki]).to_string());
    assert_eq!(proofs, [vec![trust(0), trust(1)], vec![trust(0)]]);
    assert_eq!(statuses[0].names, ["uri:spiffe://acme.example.com/ns/ml/sa/release-0"]);
}

#[test]
fn a_signer_without_a_proof_is_no_report() {
    let json = certified(vec![holder(0, 0)]).to_json();
    let (before, after) = json.split_once("\"proofs\":[").unwrap();
    let unproved = format!("{before}\"proofs\":[{}", after.split_once('}').unwrap().1);
    for json in [unproved, json.replace("\"way\":0", "\"way\":1")] {
        assert!(matches!(Report::parse(&json, "n"), Err(ReportError::Contradiction(_))), "{json}");
    }
}

#[test]
fn names_that_would_play_tricks_on_a_terminal_are_no_report() {
    let Signer::Certificate(mut facts) = holder(0, 0) else { panic!() };
    facts.subject.push('\u{1b}');
    let report = certified(vec![Signer::Certificate(facts)]);
    assert!(matches!(Report::parse(&report.to_json(), "n"), Err(ReportError::Contradiction(_))));
}

proptest! {
    /// Every text as long as the code that fills it can make it, and longer.
    #[test]
    fn a_report_always_fits(
        message in "\\PC{0,3000}|[\"\\\\]{0,3000}",
        names in proptest::collection::vec("\\PC{0,80}|\"{0,80}", 0..4),
        root in "[a-z模/]{0,512}",
        bundle in "[\"模a]{0,80}",
        nonce in "[a-z0-9]{1,64}",
        number in any::<u64>(),
    ) {
        let count = names.len() as u64;
        let finding = Finding { detail: Some(Detail::RootDigestMismatch), ..Finding::new(UnknownCode::RegistryUnauthorized, message) };
        let report = Report {
            outcome: finding.into(),
            nonce: Some(nonce.clone()),
            model_root: ResourceName::parse(&root).is_ok().then_some(root),
            bundle: Some(bundle),
            left_out: LeftOut { first: names, count },
            content_verified: Some(false),
            files: Some(number.max(1)),
            bytes: Some(number),
            duration_ms: number,
            ..verified()
        };
        let json = report.to_json();
        prop_assert!(json.len() <= MAX_REPORT_BYTES);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(value["nonce"].as_str(), Some(nonce.as_str()));
        prop_assert!(!value["outcome"]["message"].is_null());
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        prop_assert!(Report::parse(&text, "n").is_err());
    }
}

#[test]
fn what_has_no_room_is_said_to_be_more() {
    let many: Vec<Signer> = (0..3).map(|signer| holder(signer, signer)).collect();
    let paths: Vec<String> = (0..40).map(|at| format!("folder/unsigned-{at:02}")).collect();
    let report = Report {
        outcome: Finding::new(RefusedCode::UnsignedFiles, "x".repeat(300)).into(),
        content_verified: Some(false),
        unsigned: Some(UnsignedFiles { paths: paths.clone(), more: false }),
        ..certified(many)
    };
    let read = Report::parse(&report.to_json(), "n").unwrap();
    assert_eq!(read.signers, report.signers);
    let told = read.unsigned.unwrap();
    assert!(told.more && told.paths.len() < paths.len() && paths.starts_with(&told.paths), "{told:?}");
}
