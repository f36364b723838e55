//! The rules of each profile, as a table.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
};
use weighbridge::signature::{Profile, RejectionCode, Unfit};

use super::{Says, check, model, name, path_length, says, valid, with};
use crate::pki::{Holder, YEAR, ca, leaf, named, trust};

use RejectionCode::SignerExpired;

fn permitting(params: CertificateParams, permitted: GeneralSubtree) -> CertificateParams {
    let constraints = NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: vec![] };
    with(params, |it| it.name_constraints = Some(constraints))
}

fn excluding(params: CertificateParams, excluded: GeneralSubtree) -> CertificateParams {
    let constraints = NameConstraints { permitted_subtrees: vec![], excluded_subtrees: vec![excluded] };
    with(params, |it| it.name_constraints = Some(constraints))
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
