//! Bundles signed with certificates of a test's own infrastructure: what each profile makes of them.

mod hostile;
mod profiles;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA384, PKCS_RSA_SHA512,
    SanType, date_time_ymd,
};
use serde_json::Value;
use weighbridge::signature::{
    AlternativeName, Authority, Bundle, CertificateError, CertificateFacts, CertificatePin, CertificateTrust, Profile,
    Rejection, RejectionCode, RootsError, Signer, TrustMaterial, Unfit, Verified, verify,
};

use crate::pki::{Holder, YEAR, ca, chain_material, leaf, now, trust};
use crate::support::{files, statement, vectors};

use RejectionCode::{SignatureInvalid, SignerExpired, UnsupportedBundle, UntrustedSigner};

const BOTH: [Profile; 2] = [Profile::Strict, Profile::Reference];

fn check(bundle: &Value, trust: &TrustMaterial) -> Result<Verified, Rejection> {
    verify(&Bundle::parse(bundle.to_string().as_bytes())?, trust, now())
}

fn model() -> Value {
    statement(&files(&["a", "b/c"]))
}

fn facts(verified: &Verified) -> &CertificateFacts {
    match verified.signers() {
        [Signer::Certificate(facts)] => facts,
        other => panic!("{other:?}"),
    }
}

/// Root, intermediate and leaf, as most people have them.
fn good() -> (Holder, Holder, Holder) {
    let root = Holder::root(ca("root"));
    let between = root.issue(ca("between"));
    let signer = between.issue(leaf("signer"));
    (root, between, signer)
}

/// What a profile says: verified, or which rule is broken.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    Verified,
    Unfit(Unfit),
    Code(RejectionCode),
}

fn says(result: Result<Verified, Rejection>) -> Says {
    match result {
        Ok(_) => Says::Verified,
        Err(Rejection::Certificate(CertificateError::Unfit { problem, .. })) => Says::Unfit(problem),
        Err(rejection) => Says::Code(rejection.code()),
    }
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn path_length(params: CertificateParams, limit: u8) -> CertificateParams {
    with(params, |it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit)))
}

fn name(text: &str) -> SanType {
    let (kind, text) = text.split_once(':').unwrap();
    let text = text.try_into().unwrap();
    match kind {
        "dns" => SanType::DnsName(text),
        "uri" => SanType::URI(text),
        _ => SanType::Rfc822Name(text),
    }
}

/// Years from and to.
fn valid(params: CertificateParams, from: i32, to: i32) -> CertificateParams {
    with(params, |it| (it.not_before, it.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1)))
}

/// Without an identifier of the issuer's key, so that the name alone tells who issued it.
fn anonymous(params: CertificateParams) -> CertificateParams {
    with(params, |it| it.use_authority_key_identifier_extension = false)
}

#[test]
fn a_good_chain_verifies_and_says_what_proved_it() {
    let (root, between, signer) = good();
    for profile in BOTH {
        let trust = trust(&[&root], profile);
        let verified = check(&signer.sign(&model(), &[&between]), &trust).unwrap();
        let facts = facts(&verified);
        assert_eq!((&facts.subject[..], &facts.issuer[..]), ("CN=signer", "CN=between"));
        assert_eq!((facts.fingerprint, facts.root), (signer.fingerprint(), root.fingerprint()));
        assert_eq!((&facts.chain[..], facts.profile), (&[between.fingerprint()][..], profile));
        assert_eq!(facts.trust, trust.certificates[0].digest());
        assert_eq!(facts.not_after, format!("{}-01-01T00:00:00Z", YEAR + 1).parse().unwrap());
        // Whatever else the bundle carries, in whatever order.
        for above in [&[&root, &between][..], &[&between, &root], &[&signer, &between, &between]] {
            assert!(check(&signer.sign(&model(), above), &trust).is_ok());
        }
    }
}

#[test]
fn a_chain_ends_with_the_first_of_its_certificates() {
    let end = |year: i32| format!("{year}-01-01T00:00:00Z").parse::<jiff::Timestamp>().unwrap();
    let root = Holder::root(valid(ca("root"), YEAR, YEAR + 9));
    let between = root.issue(valid(ca("between"), YEAR, YEAR + 2));
    for (leaf_ends, expected) in [(YEAR + 1, YEAR + 1), (YEAR + 5, YEAR + 2)] {
        let signer = between.issue(valid(leaf("signer"), YEAR, leaf_ends));
        let verified = check(&signer.sign(&model(), &[&between]), &trust(&[&root], Profile::Strict)).unwrap();
        assert_eq!(facts(&verified).not_after, end(expected));
    }
}

#[test]
fn every_curve_signs() {
    for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P521_SHA512] {
        let root = Holder::root(ca("root"));
        let between = root.issue_on(ca("between"), kind);
        let signer = between.issue_on(leaf("signer"), kind);
        for profile in BOTH {
            assert!(check(&signer.sign(&model(), &[&between]), &trust(&[&root], profile)).is_ok(), "{kind:?}");
        }
    }
    // Above the leaf RSA will do; a leaf of another kind signs no model.
    let root = Holder::root(ca("root"));
    for kind in [&PKCS_RSA_SHA256, &PKCS_RSA_SHA384, &PKCS_RSA_SHA512] {
        let between = root.issue_on(ca("between"), kind);
        let signer = between.issue(leaf("signer"));
        for profile in BOTH {
            assert!(check(&signer.sign(&model(), &[&between]), &trust(&[&root], profile)).is_ok(), "{kind:?}");
        }
    }
    let signer = root.issue_on(leaf("signer"), &PKCS_ED25519);
    let rejection = check(&signer.sign(&model(), &[]), &trust(&[&root], Profile::Strict)).unwrap_err();
    assert_eq!(rejection.code(), UnsupportedBundle);
    assert!(rejection.to_string().contains("Ed25519"), "{rejection}");
}

fn code(bundle: &Value, trust: &TrustMaterial) -> Option<RejectionCode> {
    check(bundle, trust).err().map(|rejection| rejection.code())
}

#[test]
fn a_chain_must_lead_to_a_root_that_was_given() {
    let (root, between, signer) = good();
    let (stranger, namesake) = (Holder::root(ca("stranger")), Holder::root(ca("root")));
    let bundle = signer.sign(&model(), &[&between]);
    for profile in BOTH {
        let rejection = check(&bundle, &trust(&[&stranger], profile)).unwrap_err();
        assert_eq!(rejection.code(), UntrustedSigner);
        let text = rejection.to_string();
        assert!(["`CN=signer`", "`CN=between`", "CN=stranger"].iter().all(|name| text.contains(name)), "{text}");
        let with_own_root = signer.sign(&model(), &[&between, &root]);
        assert_eq!(code(&with_own_root, &trust(&[&stranger], profile)), Some(UntrustedSigner));
        assert_eq!(code(&signer.sign(&model(), &[]), &trust(&[&root], profile)), Some(UntrustedSigner), "no link");
        assert_eq!(code(&bundle, &trust(&[&stranger, &root], profile)), None);
        // The same name and another key; key identifiers tell, and without them the signature does.
        assert_eq!(code(&bundle, &trust(&[&namesake], profile)), Some(UntrustedSigner));
    }
    let rejection = check(&bundle, &TrustMaterial::default()).unwrap_err();
    assert_eq!(rejection.code(), UntrustedSigner);
    assert!(rejection.to_string().contains("no root is trusted"), "{rejection}");
    let between = root.issue(anonymous(ca("between")));
    let signer = between.issue(leaf("signer"));
    for profile in BOTH {
        let rejection = code(&signer.sign(&model(), &[&between]), &trust(&[&namesake], profile));
        assert_eq!(rejection, Some(SignatureInvalid), "it claims a trusted root that did not sign");
    }
}

#[test]
fn roots_and_profiles_are_apart() {
    let (root, between, signer) = good();
    let bundle = signer.sign(&model(), &[&between]);
    let certificates = BOTH.map(|profile| trust(&[&root], profile).certificates.remove(0)).to_vec();
    let trust = TrustMaterial { certificates, ..TrustMaterial::default() };
    let verified = check(&bundle, &trust).unwrap();
    let profiles: Vec<Profile> = (verified.signers().iter())
        .map(|signer| match signer {
            Signer::Certificate(facts) => facts.profile,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(profiles, BOTH, "one set of facts for each part of the trust material that proves it");
    // A leaf that only one profile accepts is proved by that one alone.
    let authority = between.issue(ca("authority"));
    let lax = with(leaf("tls"), |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let lax = authority.issue(lax).sign(&model(), &[&authority, &between]);
    let verified = check(&lax, &trust).unwrap();
    assert_eq!(facts(&verified).profile, Profile::Reference);
}

#[test]
fn the_leafs_key_signs_nothing_but_its_own() {
    let (root, between, signer) = good();
    let other = between.issue(leaf("signer"));
    let trust = trust(&[&root], Profile::Strict);
    let mut bundle = signer.sign(&model(), &[&between]);
    bundle["verificationMaterial"] = chain_material(&[&other.der, &between.der]);
    let rejection = check(&bundle, &trust).unwrap_err();
    assert_eq!(rejection.code(), SignatureInvalid);
    assert!(matches!(rejection, Rejection::Certificate(CertificateError::SignatureInvalid { .. })));
    // The issuer's own key does not sign for its leaf.
    bundle["verificationMaterial"] = chain_material(&[&between.der, &signer.der]);
    assert_eq!(says(check(&bundle, &trust)), Says::Unfit(Unfit::CaLeaf));
}

#[test]
fn what_is_a_root_depends_on_the_profile() {
    let (root, between, signer) = good();
    let bundle = signer.sign(&model(), &[]);
    // Strict: a chain may end in whatever CA is trusted.
    let strict = trust(&[&between], Profile::Strict);
    assert_eq!(facts(&check(&bundle, &strict).unwrap()).root, between.fingerprint());
    // Reference: it is a link, and the root must be there too.
    let alone = CertificateTrust::from_pem(&between.pem(), Profile::Reference);
    assert_eq!(alone.unwrap_err(), RootsError::NoAnchor);
    let both = trust(&[&between, &root], Profile::Reference);
    assert_eq!(facts(&check(&bundle, &both).unwrap()).root, root.fingerprint());
    // A leaf that signed itself and is trusted as it is: Reference takes it, Strict takes CAs alone.
    let own = Holder::root(leaf("own"));
    let bundle = own.sign(&model(), &[]);
    let verified = check(&bundle, &trust(&[&own], Profile::Reference)).unwrap();
    assert_eq!((facts(&verified).root, &facts(&verified).chain[..]), (own.fingerprint(), &[][..]));
    let strict = CertificateTrust::from_pem(&own.pem(), Profile::Strict);
    assert_eq!(strict.unwrap_err(), RootsError::NotAnIssuer { subject: "CN=own".into() });
}

#[test]
fn what_is_no_set_of_roots_is_named() {
    let root = Holder::root(ca("root"));
    let pem = root.pem();
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let of = |text: &str| CertificateTrust::from_pem(text, Profile::Strict).map(|trust| trust.digest());
    for (text, error) in [
        ("", RootsError::NotPem),
        ("CN=root", RootsError::NotPem),
        (&format!("{pem}{key}"), RootsError::Private),
        (public, RootsError::OtherPem("PUBLIC KEY".into())),
        (&pem.repeat(101), RootsError::TooMany),
        (&"x".repeat(300_000), RootsError::TooLarge),
    ] {
        assert_eq!(of(text).unwrap_err(), error);
    }
    for broken in [pem.replace("-----END", "----END"), pem.replacen("MII", "*II", 1), pem.replacen("MII", "MIJ", 1)] {
        let error = of(&format!("{pem}{broken}")).unwrap_err();
        assert!(matches!(error, RootsError::Malformed { at: 2, .. }), "{error}");
    }
    // One name for one set, however it is written.
    let other = Holder::root(ca("other")).pem();
    let digest = of(&format!("{pem}{other}")).unwrap();
    assert_eq!(of(&format!("# comment\n{other}\n\n{pem}{pem}").replace('\n', "\r\n")), Ok(digest));
    assert_ne!(of(&pem), Ok(digest));
}

#[test]
fn the_references_own_chains_verify_by_its_profile_alone() {
    let pem = std::fs::read_to_string(vectors().join("keys/ca-cert.pem")).unwrap();
    let bundle = std::fs::read(vectors().join("v1.0.1-certificate/model.sig")).unwrap();
    let verdict = |profile| {
        let certificates = vec![CertificateTrust::from_pem(&pem, profile).unwrap()];
        verify(&Bundle::parse(&bundle).unwrap(), &TrustMaterial { certificates, ..TrustMaterial::default() }, now())
    };
    assert_eq!(facts(&verdict(Profile::Reference).unwrap()).subject, "CN=intermediate-ca");
    let rejection = verdict(Profile::Strict).unwrap_err();
    assert!(matches!(&rejection, Rejection::Certificate(CertificateError::Unfit { problem: Unfit::CaLeaf, .. })));
    assert!(rejection.to_string().contains("is one of a CA"), "{rejection}");
}

#[test]
fn pins_describe_who_of_a_root_may_sign() {
    let (root, between, _) = good();
    let mut params = with(leaf("signer, \"ML\""), |it| {
        it.distinguished_name.push(DnType::OrganizationName, "Example");
        it.subject_alt_names =
            ["uri:spiffe://example.org/ml", "dns:ml.example.org", "email:ml@example.org"].map(name).to_vec();
    });
    params.use_authority_key_identifier_extension = true;
    let signer = between.issue(params);
    let trust = trust(&[&root], Profile::Strict);
    let verified = check(&signer.sign(&model(), &[&between]), &trust).unwrap();
    let allows = |profile, roots, pin: CertificatePin| {
        Authority::Certificate { trust: roots, profile, pins: vec![pin] }.accepts(&verified.signers()[0])
    };
    let (mine, any) = (trust.certificates[0].digest(), CertificatePin::default);
    let subject = Some(facts(&verified).subject.clone());
    assert_eq!(subject.as_deref(), Some("O=Example,CN=signer\\, \\\"ML\\\""));
    let uri = Some(AlternativeName::Uri("spiffe://example.org/ml".into()));
    let email = Some(AlternativeName::Email("ml@example.org".into()));
    let stranger = Some(AlternativeName::Dns("spiffe://example.org/ml".into()));
    let cases = [
        ("anybody of the root", any(), true),
        ("subject", CertificatePin { subject: subject.clone(), ..any() }, true),
        ("another subject", CertificatePin { subject: Some("CN=signer".into()), ..any() }, false),
        ("issuer", CertificatePin { issuer: Some("CN=between".into()), ..any() }, true),
        ("another issuer", CertificatePin { issuer: Some("CN=root".into()), ..any() }, false),
        ("URI", CertificatePin { name: uri.clone(), ..any() }, true),
        ("DNS", CertificatePin { name: Some(AlternativeName::Dns("ml.example.org".into())), ..any() }, true),
        ("e-mail", CertificatePin { name: email, ..any() }, true),
        ("the right name of the wrong kind", CertificatePin { name: stranger, ..any() }, false),
        ("key", CertificatePin { fingerprint: Some(signer.fingerprint()), ..any() }, true),
        ("another key", CertificatePin { fingerprint: Some(between.fingerprint()), ..any() }, false),
        ("everything", CertificatePin { subject, name: uri, fingerprint: Some(signer.fingerprint()), ..any() }, true),
        (
            "one thing wrong",
            CertificatePin { issuer: Some("CN=x".into()), fingerprint: Some(signer.fingerprint()), ..any() },
            false,
        ),
    ];
    for (what, pin, expected) in cases {
        assert_eq!(allows(Profile::Strict, mine, pin.clone()), expected, "{what}");
        assert!(!allows(Profile::Reference, mine, pin.clone()), "{what}: proved by another profile");
        assert!(!allows(Profile::Strict, between.fingerprint(), pin), "{what}: proved by other roots");
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_says_from_when_on_it_is() {
    let (root, between, _) = good();
    let early = between.issue(valid(leaf("signer"), YEAR + 1, YEAR + 2));
    let begins: jiff::Timestamp = format!("{}-01-01T00:00:00Z", YEAR + 1).parse().unwrap();
    let bundle = early.sign(&model(), &[&between]);
    let rejection = check(&bundle, &trust(&[&root], Profile::Strict)).unwrap_err();
    assert_eq!((rejection.code(), rejection.not_before(now())), (SignerExpired, Some(begins)));
    // By the other profile it counts already.
    let mut both = trust(&[&root], Profile::Strict);
    both.certificates.extend(trust(&[&root], Profile::Reference).certificates);
    let verified = check(&bundle, &both).unwrap();
    assert_eq!((verified.signers().len(), verified.not_before()), (1, Some(begins)));
    let ended = between.issue(valid(leaf("signer"), YEAR - 1, YEAR)).sign(&model(), &[&between]);
    assert_eq!(check(&ended, &trust(&[&root], Profile::Strict)).unwrap_err().not_before(now()), None);
}

#[test]
fn a_pinned_signer_expires_nevertheless() {
    let (root, between, _) = good();
    let signer = between.issue(valid(leaf("signer"), YEAR - 1, YEAR));
    let rejection = check(&signer.sign(&model(), &[&between]), &trust(&[&root], Profile::Strict)).unwrap_err();
    assert_eq!(rejection.code(), SignerExpired);
    let text = rejection.to_string();
    assert!(text.contains("`CN=signer`") && text.contains("sign the model again"), "{text}");
}
