use super::*;
use crate::model::Hasher;
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
        signers: vec![SignerFact::Key { fingerprint: digest }],
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
         \"modelDigest\":\"{digest}\",\"manifestDigest\":\"{digest}\",\"files\":2,\"bytes\":10,\
         \"signers\":[{{\"kind\":\"Key\",\"fingerprint\":\"{digest}\"}}],\"durationMs\":0}}"
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
    let cases: [(&str, Change); 14] = [
        ("no signature", |r| r.signature_verified = Some(false)),
        ("no signature at all", |r| r.signature_verified = None),
        ("no signer", |r| r.signers.clear()),
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

fn certified(signers: u8) -> Report {
    let digest = |byte: u8| Hasher::sha256(&[byte]);
    let signer = |at: u8| SignerFact::Certificate {
        fingerprint: digest(at),
        subject: format!("CN=ml-release-{at},OU=ML Platform,O=Acme Corporation,C=US"),
        issuer: "CN=Acme Code Signing CA 1,O=Acme Corporation,C=US".into(),
        names: vec![format!("uri:spiffe://acme.example.com/ns/ml/sa/release-{at}")],
        not_after: Timestamp::UNIX_EPOCH,
        chain: vec![digest(100)],
        root: digest(101),
        trust: digest(102),
        profile: CertificateProfile::Strict,
    };
    let others = (1..signers).map(|at| OtherBundle { name: format!("release-{at}.sig"), ignored: None }).collect();
    Report { signers: (0..signers).map(signer).collect(), other_bundles: others, ..verified() }
}

#[test]
fn signers_are_reported_whole_or_not_at_all() {
    for signers in 1..=2 {
        let report = certified(signers);
        assert_eq!(Report::parse(&report.to_json(), "n"), Ok(report), "{signers}");
    }
    let report = Report::parse(&certified(9).to_json(), "n").unwrap();
    assert_eq!(report.outcome.code(), Some(UnknownCode::TooLarge.into()));
    assert!(report.outcome.message().unwrap().contains("its 9 signers"), "{:?}", report.outcome);
    assert!(report.signers.is_empty() && report.signature_verified.is_none());
}

#[test]
fn names_that_would_play_tricks_on_a_terminal_are_no_report() {
    let mut report = certified(1);
    let SignerFact::Certificate { subject, .. } = &mut report.signers[0] else { panic!() };
    subject.push('\u{1b}');
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
