//! Bundles signed with certificates of a test's own infrastructure: what each profile makes of them.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, SanType, date_time_ymd,
};
use serde_json::{Value, json};
use weighbridge::signature::{
    AlternativeName, Authority, Bundle, CertificateError, CertificateFacts, CertificatePin, CertificateTrust, Profile,
    Rejection, RejectionCode, RootsError, Signer, TrustMaterial, Unfit, Verified, verify,
};

use crate::pki::{Holder, YEAR, ca, chain_material, leaf, named, now, trust};
use crate::support::{files, statement, vectors};

use RejectionCode::{MalformedBundle, SignatureInvalid, SignerExpired, TooLarge, UnsupportedBundle, UntrustedSigner};

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
    let root = Holder::root(ca("root"));
    let signer = root.issue_on(leaf("signer"), &PKCS_ED25519);
    let rejection = check(&signer.sign(&model(), &[]), &trust(&[&root], Profile::Strict)).unwrap_err();
    assert_eq!(rejection.code(), UnsupportedBundle);
    assert!(rejection.to_string().contains("Ed25519"), "{rejection}");
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

fn permitting(params: CertificateParams, permitted: GeneralSubtree) -> CertificateParams {
    let constraints = NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: vec![] };
    with(params, |it| it.name_constraints = Some(constraints))
}

fn excluding(params: CertificateParams, excluded: GeneralSubtree) -> CertificateParams {
    let constraints = NameConstraints { permitted_subtrees: vec![], excluded_subtrees: vec![excluded] };
    with(params, |it| it.name_constraints = Some(constraints))
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

/// A signer of that alternative name.
fn called(text: &str) -> CertificateParams {
    with(leaf("signer"), |it| it.subject_alt_names = vec![name(text)])
}

fn directory(common_name: &str) -> GeneralSubtree {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    GeneralSubtree::DirectoryName(name)
}

/// Years from and to.
fn valid(params: CertificateParams, from: i32, to: i32) -> CertificateParams {
    with(params, |it| (it.not_before, it.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1)))
}

fn critical(params: CertificateParams) -> CertificateParams {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    with(params, |it| it.custom_extensions.push(extension))
}

/// Root, intermediate and leaf, and what Strict and Reference say of them.
#[test]
fn each_profile_has_its_rules() {
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    use Says::{Code, Unfit as Not, Verified};
    use Unfit::{
        CaLeaf, CriticalExtension, NameConstraints, NotAnIssuer, NotForCodeSigning, NotForSigning, PathTooLong,
    };
    let (root, between, signer) = (|| ca("root"), || ca("between"), || leaf("signer"));
    let usages = |params, usages: &[KeyUsagePurpose]| with(params, |it| it.key_usages = usages.to_vec());
    let purposes =
        |params, purposes: &[ExtendedKeyUsagePurpose]| with(params, |it| it.extended_key_usages = purposes.to_vec());
    let not_ca = |params| with(params, |it: &mut CertificateParams| it.is_ca = IsCa::ExplicitNoCa);
    let dns = |text: &str| GeneralSubtree::DnsName(text.into());
    let cases: Vec<(&str, [CertificateParams; 3], Says, Says)> = vec![
        (
            "expired leaf",
            [root(), between(), valid(signer(), YEAR - 1, YEAR)],
            Code(SignerExpired),
            Code(SignerExpired),
        ),
        (
            "expired leaf in a longer-lived chain",
            [valid(root(), YEAR - 2, YEAR + 2), valid(between(), YEAR - 2, YEAR + 2), valid(signer(), YEAR - 1, YEAR)],
            Code(SignerExpired),
            Verified,
        ),
        (
            "leaf not yet valid",
            [valid(root(), YEAR, YEAR + 3), valid(between(), YEAR, YEAR + 3), valid(signer(), YEAR + 1, YEAR + 2)],
            Code(SignerExpired),
            Verified,
        ),
        ("expired intermediate", [root(), valid(between(), YEAR - 1, YEAR), signer()], Code(SignerExpired), Verified),
        (
            "intermediate of a later year",
            [root(), valid(between(), YEAR + 1, YEAR + 2), signer()],
            Code(SignerExpired),
            Code(SignerExpired),
        ),
        ("expired root", [valid(root(), YEAR - 1, YEAR), between(), signer()], Code(SignerExpired), Verified),
        (
            "CA leaf",
            [root(), between(), with(signer(), |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))],
            Not(CaLeaf),
            Verified,
        ),
        (
            "TLS leaf",
            [root(), between(), purposes(signer(), &[ServerAuth, ClientAuth])],
            Not(NotForCodeSigning),
            Verified,
        ),
        ("leaf for no stated purpose", [root(), between(), purposes(signer(), &[])], Not(NotForCodeSigning), Verified),
        ("leaf that says nothing", [root(), between(), named("signer")], Not(NotForCodeSigning), Not(NotForSigning)),
        (
            "leaf for encryption",
            [root(), between(), usages(signer(), &[KeyUsagePurpose::KeyEncipherment])],
            Not(NotForSigning),
            Verified,
        ),
        (
            "TLS leaf for encryption",
            [root(), between(), usages(purposes(signer(), &[ServerAuth]), &[KeyUsagePurpose::KeyEncipherment])],
            Not(NotForCodeSigning),
            Not(NotForSigning),
        ),
        ("leaf without key usage", [root(), between(), usages(signer(), &[])], Verified, Verified),
        ("several purposes", [root(), between(), purposes(signer(), &[ServerAuth, CodeSigning])], Verified, Verified),
        (
            "intermediate for TLS",
            [root(), purposes(between(), &[ServerAuth]), signer()],
            Not(NotForCodeSigning),
            Verified,
        ),
        ("intermediate for signing code", [root(), purposes(between(), &[CodeSigning]), signer()], Verified, Verified),
        ("intermediate that is no CA", [root(), not_ca(between()), signer()], Not(NotAnIssuer), Not(NotAnIssuer)),
        (
            "intermediate that may not sign certificates",
            [root(), usages(between(), &[KeyUsagePurpose::DigitalSignature]), signer()],
            Not(NotAnIssuer),
            Not(NotAnIssuer),
        ),
        ("path length 0 at the intermediate", [root(), path_length(between(), 0), signer()], Verified, Verified),
        (
            "path length 0 at the root",
            [path_length(root(), 0), between(), signer()],
            Not(PathTooLong),
            Not(PathTooLong),
        ),
        ("path length 1 at the root", [path_length(root(), 1), between(), signer()], Verified, Verified),
        (
            "another DNS name",
            [root(), permitting(between(), dns("example.com")), called("dns:example.org")],
            Not(NameConstraints),
            Not(NameConstraints),
        ),
        (
            "a permitted DNS name",
            [root(), permitting(between(), dns("example.com")), called("dns:ml.example.com")],
            Verified,
            Not(NameConstraints),
        ),
        (
            "an excluded DNS name",
            [root(), excluding(between(), dns("example.com")), called("dns:ml.example.com")],
            Not(NameConstraints),
            Not(NameConstraints),
        ),
        (
            "a DNS name that the root excludes",
            [excluding(root(), dns("example.com")), between(), called("dns:ml.example.com")],
            Not(NameConstraints),
            Not(NameConstraints),
        ),
        (
            "a constraint on e-mail",
            [
                root(),
                permitting(between(), GeneralSubtree::Rfc822Name("example.com".into())),
                called("email:a@example.com"),
            ],
            Not(NameConstraints),
            Not(NameConstraints),
        ),
        (
            "a constraint on subjects",
            [root(), permitting(between(), directory("signer")), signer()],
            Not(NameConstraints),
            Not(NameConstraints),
        ),
        (
            "a constraint on what the leaf has none of",
            [
                root(),
                permitting(between(), GeneralSubtree::Rfc822Name("example.com".into())),
                called("uri:spiffe://example.org/ml"),
            ],
            Verified,
            Not(NameConstraints),
        ),
        (
            "unknown critical extension, leaf",
            [root(), between(), critical(signer())],
            Not(CriticalExtension),
            Not(CriticalExtension),
        ),
        (
            "unknown critical extension, intermediate",
            [root(), critical(between()), signer()],
            Not(CriticalExtension),
            Not(CriticalExtension),
        ),
    ];
    for (what, [root, between, signer], strict, reference) in cases {
        let root = Holder::root(root);
        let between = root.issue(between);
        let signer = between.issue(signer);
        let bundle = signer.sign(&model(), &[&between]);
        assert_eq!(says(check(&bundle, &trust(&[&root], Profile::Strict))), strict, "Strict: {what}");
        assert_eq!(says(check(&bundle, &trust(&[&root], Profile::Reference))), reference, "Reference: {what}");
    }
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
fn a_tampered_certificate_proves_nothing() {
    let (root, between, signer) = good();
    let bundle = signer.sign(&model(), &[&between]);
    let flipped = |der: &[u8], at: usize| {
        let mut der = der.to_vec();
        der[at] ^= 1 << (at % 8);
        der
    };
    for profile in BOTH {
        let trust = trust(&[&root], profile);
        let mut met = std::collections::BTreeMap::new();
        for at in 0..signer.der.len() {
            let mut bundle = bundle.clone();
            bundle["verificationMaterial"] = chain_material(&[&flipped(&signer.der, at), &between.der]);
            let code = code(&bundle, &trust).unwrap_or_else(|| panic!("{profile:?}: byte {at} counts for nothing"));
            *met.entry(format!("{code:?}")).or_insert(0) += 1;
        }
        for at in 0..between.der.len() {
            let mut bundle = bundle.clone();
            bundle["verificationMaterial"] = chain_material(&[&signer.der, &flipped(&between.der, at)]);
            assert!(code(&bundle, &trust).is_some(), "{profile:?}: byte {at} counts for nothing");
        }
        let kinds: Vec<&str> = met.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["MalformedBundle", "SignatureInvalid", "UntrustedSigner"], "{met:?}");
        let mut tampered = bundle.clone();
        let end = signer.der.len() - 1;
        tampered["verificationMaterial"] = chain_material(&[&flipped(&signer.der, end), &between.der]);
        assert!(matches!(check(&tampered, &trust), Err(Rejection::Certificate(CertificateError::ForgedChain { .. }))));
    }
}

#[test]
fn a_hostile_chain_costs_little() {
    let (root, between, _) = good();
    let trust = trust(&[&root], Profile::Strict);
    let signer = between.issue(anonymous(leaf("signer")));
    let mut bundle = signer.sign(&model(), &[]);
    let mut chain = |chain: &[&[u8]]| {
        bundle["verificationMaterial"] = chain_material(chain);
        check(&bundle, &trust).unwrap_err()
    };
    assert_eq!(chain(&[&[0]]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der, b"no certificate"]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der[..], &[&signer.der[..], b"more"].concat()]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der, &[0x30; 100_000]]).code(), MalformedBundle);
    assert_eq!(chain(&vec![&signer.der[..]; 17]).code(), TooLarge);
    // Fifteen CAs of one name, each of which could have issued each other.
    let twins: Vec<Holder> = (0..15).map(|_| Holder::root(anonymous(ca("between")))).collect();
    let mut ders = vec![&signer.der[..]];
    ders.extend(twins.iter().map(|twin| &twin.der[..]));
    let began = std::time::Instant::now();
    let rejection = chain(&ders);
    assert!(matches!(rejection, Rejection::Certificate(CertificateError::TooManyWays)), "{rejection}");
    assert!(began.elapsed().as_secs() < 5);
}

/// Without an identifier of the issuer's key, so that the name alone tells who issued it.
fn anonymous(params: CertificateParams) -> CertificateParams {
    with(params, |it| it.use_authority_key_identifier_extension = false)
}

#[test]
fn long_and_crossed_chains() {
    let root = Holder::root(ca("root"));
    let mut above = vec![root.issue(ca("level 1"))];
    for level in 2..=7 {
        above.push(above[above.len() - 1].issue(ca(&format!("level {level}"))));
    }
    for profile in BOTH {
        for (levels, expected) in [(6, None), (7, Some(UntrustedSigner))] {
            let signer = above[levels - 1].issue(leaf("signer"));
            let chain: Vec<&Holder> = above[..levels].iter().rev().collect();
            assert_eq!(code(&signer.sign(&model(), &chain), &trust(&[&root], profile)), expected, "{levels}");
        }
    }
    // Certified by a root that nobody trusts and by one that somebody does: either way is tried, in either order.
    let (known, unknown) = (Holder::root(ca("known")), Holder::root(ca("unknown")));
    let between = unknown.issue(ca("between"));
    let crossed = between.certified_by(&known);
    let signer = between.issue(leaf("signer"));
    for profile in BOTH {
        for above in [[&between, &crossed], [&crossed, &between]] {
            assert_eq!(code(&signer.sign(&model(), &above), &trust(&[&known], profile)), None);
        }
    }
    // Of two ways to trusted roots the one counts that holds: the other root allows no CA below it.
    let narrow = Holder::root(path_length(ca("narrow"), 0));
    let crossed = between.certified_by(&narrow);
    let signer = signer.sign(&model(), &[&crossed, &between]);
    for profile in BOTH {
        assert_eq!(code(&signer, &trust(&[&narrow, &unknown], profile)), None);
        assert_eq!(code(&signer, &trust(&[&narrow], profile)), Some(UntrustedSigner));
    }
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
fn a_pinned_signer_expires_nevertheless() {
    let (root, between, _) = good();
    let signer = between.issue(valid(leaf("signer"), YEAR - 1, YEAR));
    let rejection = check(&signer.sign(&model(), &[&between]), &trust(&[&root], Profile::Strict)).unwrap_err();
    assert_eq!(rejection.code(), SignerExpired);
    let text = rejection.to_string();
    assert!(text.contains("`CN=signer`") && text.contains("sign the model again"), "{text}");
}

#[test]
fn hostile_subjects_are_shown_harmlessly() {
    let root = Holder::root(ca(&format!("\u{202e}{}", "x".repeat(3000))));
    let signer = root.issue(leaf(&format!("\u{202e}{}", "y".repeat(3000))));
    let bundle = signer.sign(&model(), &[]);
    for trust in [TrustMaterial::default(), trust(&[&Holder::root(ca("\u{202e}z"))], Profile::Strict)] {
        let text = check(&bundle, &trust).unwrap_err().to_string();
        assert!(!text.contains('\u{202e}') && text.len() < 600, "{text}");
    }
}

#[test]
fn a_chain_says_no_more_than_certificates() {
    let (root, _, signer) = good();
    let trust = trust(&[&root], Profile::Strict);
    for chain in [
        json!(null),
        json!([]),
        json!({ "certificates": null }),
        json!({ "certificates": [{}] }),
        json!({ "certificates": [{ "rawBytes": "*" }] }),
        json!({ "certificates": [{ "rawBytes": "", "x": 1 }] }),
        json!({ "certificates": [], "x": 1 }),
    ] {
        let mut bundle = signer.sign(&model(), &[]);
        bundle["verificationMaterial"]["x509CertificateChain"] = chain.clone();
        assert_eq!(code(&bundle, &trust), Some(MalformedBundle), "{chain}");
    }
}
