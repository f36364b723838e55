//! Who counts: authorities of every kind against the signers of a record.

use super::super::authorities::check;
use super::*;
use crate::api::v1alpha1::{BundleIgnored, CertificateProfile, ModelStatus, OtherBundle, SignerProof};
use crate::model::Hasher;
use crate::policy::{CompiledAuthority, CompiledPolicy};
use crate::signature::{AlternativeName, Authority, CertificatePin, IdentityPattern, Profile, TextPattern};

fn digest(text: &str) -> crate::model::Digest {
    Hasher::sha256(text.as_bytes())
}

fn end() -> Option<Time> {
    Some(Time(now() + SignedDuration::from_hours(24)))
}

/// A certificate of the roots `pki` for a URI, with a key of its own.
fn certificate(uri: &str) -> SignerStatus {
    let proof = SignerProof {
        not_after: end(),
        profile: Some(CertificateProfile::Strict),
        root: Some(digest("root").to_string()),
        trust: Some(digest("pki").to_string()),
        ..SignerProof::default()
    };
    SignerStatus {
        fingerprint: Some(digest(uri).to_string()),
        subject: Some("O=Acme".into()),
        issuer: Some("CN=Issuing CA,O=Acme".into()),
        names: vec![format!("uri:{uri}")],
        proofs: vec![proof],
        ..SignerStatus::of(SignerKind::Certificate)
    }
}

/// The same with its proof changed.
fn proved(mut signer: SignerStatus, change: impl FnOnce(&mut SignerProof)) -> SignerStatus {
    change(&mut signer.proofs[0]);
    signer
}

fn keyless(identity: &str) -> SignerStatus {
    SignerStatus {
        identity: Some(identity.into()),
        issuer: Some("https://issuer.example.com".into()),
        proofs: vec![SignerProof {
            signed_at: Some(Time(now())),
            trust: Some(digest("sigstore").to_string()),
            ..SignerProof::default()
        }],
        ..SignerStatus::of(SignerKind::Keyless)
    }
}

fn pki(name: &str, uris: &[&str]) -> CompiledAuthority {
    let pin = |uri: &&str| CertificatePin {
        name: Some(AlternativeName::Uri((*uri).to_owned())),
        ..CertificatePin::default()
    };
    let pins = uris.iter().map(pin).collect();
    CompiledAuthority::bare(name, Authority::Certificate { trust: digest("pki"), profile: Profile::Strict, pins })
}

fn subject(subject: &str) -> CompiledAuthority {
    let pins = vec![CertificatePin { subject: Some(subject.into()), ..CertificatePin::default() }];
    let authority = Authority::Certificate { trust: digest("pki"), profile: Profile::Strict, pins };
    CompiledAuthority::bare("corporate-pki", authority)
}

fn sigstore(name: &str, subject: &str) -> CompiledAuthority {
    let issuer = TextPattern::exact("https://issuer.example.com").unwrap();
    let identities = vec![IdentityPattern { issuer, subject: TextPattern::anchored(subject).unwrap() }];
    CompiledAuthority::bare(name, Authority::Keyless { trust: digest("sigstore"), identities })
}

fn key(name: &str, of: &str) -> CompiledAuthority {
    CompiledAuthority::bare(name, Authority::Key { fingerprint: digest(of) })
}

fn held(of: &str) -> SignerStatus {
    SignerStatus { fingerprint: Some(digest(of).to_string()), ..SignerStatus::of(SignerKind::Key) }
}

fn policy_of(required: usize, authorities: Vec<CompiledAuthority>) -> CompiledPolicy {
    let mut policy = CompiledPolicy::of(&policy(json!({})));
    (policy.required, policy.authorities) = (required, authorities);
    policy
}

fn signed(signers: &[SignerStatus]) -> ModelStatus {
    let mut model = verified_record("").status.models.remove(0);
    model.signers = signers.to_vec();
    model
}

/// The authority that counts first, or the code.
fn judged(required: usize, authorities: Vec<CompiledAuthority>, signers: &[SignerStatus]) -> String {
    match check(&policy_of(required, authorities), signers, &[], now()) {
        Ok(authority) => authority.to_owned(),
        Err((code, _)) => code.to_string(),
    }
}

#[test]
fn each_kind_of_authority_accepts_its_own() {
    let all = || vec![key("k", "key"), pki("c", &["spiffe://acme/ml"]), sigstore("s", r".+@acme\.com")];
    assert_eq!(judged(1, all(), &[held("key")]), "k");
    assert_eq!(judged(1, all(), &[certificate("spiffe://acme/ml")]), "c");
    assert_eq!(judged(1, all(), &[keyless("ml@acme.com")]), "s");
    for other in [held("other"), certificate("spiffe://acme/web"), keyless("ml@acme.com.evil.com")] {
        assert_eq!(judged(1, all(), std::slice::from_ref(&other)), "UntrustedSigner", "{other:?}");
    }
}

#[test]
fn a_signer_without_a_field_is_nobody() {
    type Change = fn(&mut SignerStatus);
    let of_certificate: [(&str, Change); 11] = [
        ("fingerprint", |it| it.fingerprint = None),
        ("a fingerprint that is none", |it| it.fingerprint = Some("sha256:0".into())),
        ("subject", |it| it.subject = None),
        ("issuer", |it| it.issuer = None),
        ("a name of another kind", |it| it.names.push("ip:10.0.0.1".into())),
        ("a name without a kind", |it| it.names.push("spiffe".into())),
        ("profile", |it| it.proofs[0].profile = None),
        ("root", |it| it.proofs[0].root = None),
        ("trust", |it| it.proofs[0].trust = None),
        ("proof", |it| it.proofs.clear()),
        ("kind", |it| it.kind = SignerKind::Keyless),
    ];
    let of_identity: [(&str, Change); 6] = [
        ("identity", |it| it.identity = None),
        ("issuer", |it| it.issuer = None),
        ("time", |it| it.proofs[0].signed_at = None),
        ("trust", |it| it.proofs[0].trust = None),
        ("proof", |it| it.proofs.clear()),
        ("kind", |it| it.kind = SignerKind::Key),
    ];
    let table = (of_certificate.into_iter().map(|(what, change)| (what, certificate("spiffe://acme/ml"), change)))
        .chain(of_identity.into_iter().map(|(what, change)| (what, keyless("ml@acme.com"), change)));
    for (what, mut signer, change) in table {
        let all = || vec![pki("c", &[]), sigstore("s", ".*"), key("k", "spiffe://acme/ml")];
        assert_ne!(judged(1, all(), &[signer.clone()]), "UntrustedSigner", "{what}: whole");
        change(&mut signer);
        assert_eq!(judged(1, vec![pki("c", &[]), sigstore("s", ".*")], &[signer]), "UntrustedSigner", "{what}");
    }
    let endless = proved(certificate("spiffe://acme/ml"), |proof| proof.not_after = None);
    assert_eq!(judged(1, vec![pki("c", &[])], &[endless]), "UntrustedSigner", "a certificate without an end");
}

#[test]
fn a_fact_counts_only_under_the_authoritys_own_root_and_profile() {
    let other_root = proved(certificate("u"), |proof| proof.trust = Some(digest("web").to_string()));
    assert_eq!(judged(1, vec![pki("c", &[])], &[other_root]), "UntrustedSigner");
    let lax = proved(certificate("u"), |proof| proof.profile = Some(CertificateProfile::Reference));
    assert_eq!(judged(1, vec![pki("c", &[])], &[lax]), "UntrustedSigner");
    let elsewhere = proved(keyless("a@acme.com"), |proof| proof.trust = Some(digest("other").to_string()));
    assert_eq!(judged(1, vec![sigstore("s", ".*")], &[elsewhere]), "UntrustedSigner");
}

#[test]
fn a_certificate_that_has_ended_no_longer_counts() {
    let ends = |seconds| {
        let not_after = Some(Time(now() + SignedDuration::from_secs(seconds)));
        proved(certificate("u"), |proof| proof.not_after = not_after)
    };
    assert_eq!(judged(1, vec![pki("c", &[])], &[ends(0)]), "c");
    assert_eq!(judged(1, vec![pki("c", &[])], &[ends(-1)]), "SignerExpired");
    assert_eq!(judged(1, vec![pki("c", &["v"])], &[ends(-1)]), "UntrustedSigner", "nobody's anyway");
    assert_eq!(judged(1, vec![pki("c", &[]), key("k", "key")], &[ends(-1), held("key")]), "k");
    assert_eq!(judged(2, vec![pki("c", &[]), key("k", "key")], &[ends(-1), held("key")]), "SignerExpired");
    let reference = Authority::Certificate { trust: digest("pki"), profile: Profile::Reference, pins: vec![] };
    let lax = proved(ends(-1), |proof| proof.profile = Some(CertificateProfile::Reference));
    assert_eq!(judged(1, vec![CompiledAuthority::bare("r", reference.clone())], std::slice::from_ref(&lax)), "r");
    let mut both = ends(-1);
    both.proofs.extend(lax.proofs);
    assert_eq!(judged(1, vec![pki("c", &[])], std::slice::from_ref(&both)), "SignerExpired", "by that proof");
    assert_eq!(judged(1, vec![CompiledAuthority::bare("r", reference)], &[both]), "r", "by the other");
}

#[test]
fn several_are_required_of_distinct_authorities_and_signers() {
    let (a, b) = (certificate("a"), certificate("b"));
    let either = || vec![pki("first", &[]), pki("second", &["a"])];
    assert_eq!(judged(2, either(), &[a.clone(), b.clone()]), "first");
    assert_eq!(judged(2, either(), &[b.clone(), a.clone()]), "first", "in whatever order");
    assert_eq!(judged(2, either(), std::slice::from_ref(&a)), "UntrustedSigner", "one signer for two authorities");
    assert_eq!(judged(2, vec![pki("one", &[])], &[a.clone(), b.clone()]), "UntrustedSigner", "two for one authority");
    assert_eq!(judged(2, vec![pki("p", &["b"]), pki("q", &["b"])], &[a.clone(), b]), "UntrustedSigner");

    let renewed = SignerStatus { fingerprint: Some(digest("new").to_string()), ..a.clone() };
    assert_eq!(judged(2, either(), &[a.clone(), renewed]), "UntrustedSigner", "one holder, two keys");
    let same_key = SignerStatus { names: vec!["uri:c".into()], fingerprint: a.fingerprint.clone(), ..certificate("c") };
    assert_eq!(judged(2, either(), &[a.clone(), same_key]), "UntrustedSigner", "one key, two certificates");
    let bare_key = vec![pki("c", &[]), key("k", "a")];
    assert_eq!(judged(2, bare_key, &[a, held("a")]), "UntrustedSigner", "a key and its certificate");
    let mail = SignerStatus { names: vec!["email:ml@acme.com".into()], ..certificate("m") };
    let both = || vec![pki("c", &[]), sigstore("s", ".*")];
    assert_eq!(judged(2, both(), &[mail.clone(), keyless("ml@acme.com")]), "UntrustedSigner", "one address");
    assert_eq!(
        judged(2, both(), &[mail.clone(), keyless("ML@Acme.com")]),
        "UntrustedSigner",
        "one address, in capitals"
    );
    assert_eq!(judged(2, both(), &[mail, keyless("qa@acme.com")]), "c");
}

#[test]
fn sentences_about_signers() {
    let says = |required, authorities, model: &ModelStatus| {
        let (code, finding) =
            check(&policy_of(required, authorities), &model.signers, &model.other_bundles, now()).unwrap_err();
        format!("{} — {} [{code}]", finding.what, finding.fix)
    };
    let listed = || vec![pki("corporate-pki", &["spiffe://acme/ml"]), sigstore("release-ci", "x")];
    let ended = proved(certificate("spiffe://acme/ml"), |proof| {
        proof.not_after = Some(Time(now() - SignedDuration::from_hours(48)));
    });
    let mut two = signed(&[certificate("spiffe://acme/ml"), keyless("qa@acme.com")]);
    two.other_bundles = vec![
        OtherBundle { name: "qa.sig".into(), ignored: None },
        OtherBundle { name: "old.sig".into(), ignored: Some(BundleIgnored::OtherManifest) },
    ];
    let nameless = SignerStatus { names: vec![], subject: Some("CN=\u{1b}[2J\u{202e}evil".into()), ..certificate("u") };
    let evil = SignerStatus {
        names: vec!["dns:a".into(), "uri:\u{202e}b".into(), "email:c".into()],
        subject: Some(format!("CN=\u{1b}[2J; {}", "x".repeat(500))),
        ..certificate("u")
    };
    let alike = SignerStatus { subject: Some(format!("CN={},O=Web", "x".repeat(99))), ..certificate("u") };
    let elsewhere = proved(certificate("u"), |proof| proof.trust = Some(digest("web").to_string()));
    let lines = [
        says(1, listed(), &signed(&[certificate("spiffe://acme/web")])),
        says(1, listed(), &signed(&[nameless])),
        says(1, vec![subject("CN=release,O=Acme")], &signed(&[certificate("spiffe://acme/ml")])),
        says(1, vec![subject("CN=release,O=Acme")], &signed(std::slice::from_ref(&evil))),
        says(1, vec![subject("CN=release,O=Acme")], &signed(&[elsewhere])),
        says(1, vec![subject(&format!("CN={},O=Acme", "x".repeat(99)))], &signed(&[alike])),
        says(1, listed(), &signed(&[keyless("ml@evil.com"), held("key"), certificate("u")])),
        says(1, listed(), &signed(&[evil])),
        says(1, listed(), &signed(&[])),
        says(1, listed(), &signed(&[ended])),
        says(2, listed(), &two),
    ];
    insta::assert_snapshot!("sentences_about_signers", lines.join("\n"));
}
