//! What annotations can do: say where to look, and refuse. Never admit.

use super::*;
use crate::api::v1alpha1::MAX_INLINE_BYTES;
use proptest::prelude::*;

/// The digest of the fixture's model, once it is one.
const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

fn annotated(world: World, key: &str, value: &str) -> World {
    world.with(|world| world.annotations = json!({ key: value }))
}

fn digest(world: World, value: &str) -> World {
    let world = world.model(|model| model.model_digest = Some(DIGEST.into()));
    annotated(world, "digest.weighbridge.dev/models", value)
}

fn signature(world: World, value: &str) -> World {
    annotated(world, "signature.weighbridge.dev/models", value)
}

/// A claim whose root holds two models and nothing else.
fn divided() -> World {
    let mut root = verified_record("");
    (root.status.models, root.status.parts) = (Vec::new(), vec!["a".into(), "team/b".into()]);
    let part = |path: &str, digest: &str| {
        let mut record = verified_record(path);
        record.status.models[0].model_digest = Some(digest.to_owned());
        record
    };
    World::new().with(|world| world.records = vec![root, part("a", DIGEST), part("team/b", OTHER)])
}

fn at(world: World, path: &str) -> World {
    world.with(|world| world.pod["containers"][0]["volumeMounts"][0]["subPath"] = json!(path))
}

#[test]
fn a_digest_must_fit() {
    check("it fits", digest(World::new(), DIGEST), &[]);
    check("another", digest(World::new(), OTHER), &["DigestMismatch"]);
    let text = deny_text(&digest(World::new(), OTHER).decide());
    assert!(text.contains(DIGEST) && text.contains(OTHER), "both digests are named: {text}");
    for garbage in ["", "latest", "sha256:11", "sha512:00", "=", "a=", "x=sha256:11", "\u{1b}[2J", &"a".repeat(40_000)]
    {
        check(garbage, digest(World::new(), garbage), &["DigestMismatch"]);
        assert!(!deny_text(&digest(World::new(), garbage).decide()).contains('\u{1b}'));
    }
    check("the only model, by its path", digest(World::new(), &format!(".={DIGEST}")), &[]);
    check("another path", digest(World::new(), &format!("llama={DIGEST}")), &["DigestMismatch"]);
    check("the same path twice", digest(World::new(), &format!(".={DIGEST},/={DIGEST}")), &["DigestMismatch"]);
}

#[test]
fn several_models_have_several_digests() {
    let expecting = |value: &str| annotated(divided(), "digest.weighbridge.dev/models", value);
    check("all", expecting(&format!("a={DIGEST},team/b={OTHER}")), &[]);
    check("some", expecting(&format!("a={DIGEST}")), &[]);
    check("one is another", expecting(&format!("a={DIGEST},team/b={DIGEST}")), &["DigestMismatch"]);
    check("one is not there", expecting(&format!("a={DIGEST},team/c={OTHER}")), &["DigestMismatch"]);
    check("one for several", expecting(DIGEST), &["DigestMismatch"]);
    let elsewhere = format!("a={DIGEST},team/c={OTHER}");
    check("one that another mount uses", at(expecting(&elsewhere), "a"), &[]);
}

#[test]
fn a_policy_can_demand_to_be_told() {
    let demanding = |world: World| world.under(json!({ "requireDigestAnnotation": true }));
    check("nothing said", demanding(World::new()), &["DigestAnnotationMissing"]);
    check("said", demanding(digest(World::new(), DIGEST)), &[]);
    check("said wrongly", demanding(digest(World::new(), OTHER)), &["DigestMismatch"]);
    let listed = |value: &str| demanding(annotated(divided(), "digest.weighbridge.dev/models", value));
    check("each is listed", listed(&format!("a={DIGEST},team/b={OTHER}")), &[]);
    check("one is not", listed(&format!("a={DIGEST}")), &["DigestAnnotationMissing"]);
    let unread = demanding(World::new()).with(|world| world.records.clear());
    assert_eq!(unread.codes(), ["NotVerifiedYet", "DigestAnnotationMissing"], "told at once, whatever is known");
}

#[test]
fn the_annotation_says_which_record_counts() {
    let moved = |annotation: &str| {
        signature(World::new(), annotation).with(|world| {
            let record = &mut world.records[0];
            record.spec = record.spec.clone().signed_at(annotation).unwrap();
            (record.name, record.spec.bundle) = (record.spec.record_name(), None);
        })
    };
    for annotation in ["volume:release.sig", "configmap:bundles/model.sig", "inline:eyJ9"] {
        check(annotation, moved(annotation), &[]);
        let elsewhere = signature(World::new(), annotation);
        check(&format!("{annotation}: only another bundle was read"), elsewhere.clone(), &["NotVerifiedYet"]);
        let wanted = &elsewhere.decide().missing_records[0];
        let spec = ModelVerificationSpec::of_claim("models", "").signed_at(annotation).unwrap();
        assert_eq!((wanted, wanted.bundle.is_some()), (&spec, annotation.starts_with("inline:")));
    }
    check("the default, said aloud", signature(World::new(), "volume:"), &[]);
    let inside = at(moved("configmap:bundles/model.sig"), "7b");
    check("a folder of a model that this bundle covers", inside, &[]);
}

#[test]
fn a_hostile_annotation_changes_nothing_but_a_refusal() {
    let long = format!("inline:{}", "A".repeat(MAX_INLINE_BYTES + 1));
    for (annotation, code) in [
        (fixtures::KEY_B, "UnsupportedBundle"),
        ("volume:../../other/model.sig", "UnsupportedBundle"),
        ("volume:/etc/passwd", "UnsupportedBundle"),
        ("configmap:other-tenant/bundles/model.sig", "UnsupportedBundle"),
        ("inline:-----BEGIN PUBLIC KEY-----", "UnsupportedBundle"),
        ("https://evil.example/model.sig", "UnsupportedBundle"),
        ("", "UnsupportedBundle"),
        ("\u{1b}[2J\u{202e}", "UnsupportedBundle"),
        ("oci://evil.example/model@sha256:00", "UnsupportedBundle"),
        ("oci://evil.example/model:latest", "MutableReference"),
        (&oci("evil.example/model"), "RegistryUnauthorized"),
        (&long, "TooLarge"),
    ] {
        let world = signature(World::new(), annotation);
        check(annotation, world.clone(), &[code]);
        let decision = world.decide();
        assert_eq!(decision.missing_records, [], "{annotation}");
        let text = deny_text(&decision);
        assert!(text.contains("signature.weighbridge.dev/models"), "{text}");
        assert!(!text.chars().any(|char| char.is_control() && char != '\n') && text.len() < 2000, "{text}");
    }
}

fn oci(place: &str) -> String {
    format!("oci://{place}@{DIGEST}")
}

/// Nothing was read of a bundle in a registry, under policies of the cluster that list these places.
fn from_registry(place: &str, listed: &[&[&str]]) -> World {
    signature(World::new(), &oci(place)).with(|world| {
        let listing = |(at, places): (usize, &&[&str])| {
            named_policy(&format!("p{at}"), json!({ "unknown": "Hold", "bundleRegistries": places }))
        };
        world.policies = listed.iter().enumerate().map(listing).collect();
    })
}

#[test]
fn a_bundle_comes_from_a_registry_that_every_policy_of_the_cluster_lists() {
    let place = "registry.example.com/acme/signatures";
    let acme: &[&str] = &["registry.example.com/acme/**"];
    for (name, listed, codes) in [
        ("listed", &[acme][..], &["NotVerifiedYet"][..]),
        ("listed by both", &[acme, acme], &["NotVerifiedYet", "NotVerifiedYet"]),
        ("nothing is listed", &[&[]], &["RegistryUnauthorized"]),
        ("another is listed", &[&["registry.example.com/other/**"]], &["RegistryUnauthorized"]),
        ("listed by one of two", &[acme, &[]], &["RegistryUnauthorized", "NotVerifiedYet"]),
    ] {
        let world = from_registry(place, listed);
        check(name, world.clone(), codes);
        let decision = world.decide();
        let fetched = decision.missing_records.iter().map(|spec| spec.signature.clone()).collect::<Vec<_>>();
        let expected = if codes.contains(&"NotVerifiedYet") { vec![oci(place)] } else { vec![] };
        assert_eq!(fetched, expected, "{name}: a record is made of what may be fetched alone");
        assert_eq!(decision.allowed(), !codes.contains(&"RegistryUnauthorized"), "{name}: waiting does not help");
    }
    let text = deny_text(&from_registry(place, &[&[]]).decide());
    assert!(text.contains(place) && text.contains("does not list in bundleRegistries"), "{text}");
    assert!(text.contains("signature.weighbridge.dev/models"), "{text}");
}

#[test]
fn what_was_fetched_counts_no_longer_once_its_registry_is_not_listed() {
    let place = "registry.example.com/acme/signatures";
    let read = |listed: &[&[&str]]| {
        from_registry(place, listed).with(|world| {
            let record = &mut world.records[0];
            record.spec = record.spec.clone().signed_at(&oci(place)).unwrap();
            record.name = record.spec.record_name();
        })
    };
    check("listed", read(&[&["registry.example.com/**"]]), &[]);
    check("no longer", read(&[&[]]), &["RegistryUnauthorized"]);
}

#[test]
fn a_policy_of_a_namespace_goes_by_what_those_of_the_cluster_list() {
    let place = "registry.example.com/acme/signatures";
    let demanding = |listed: &[&[&str]]| {
        from_registry(place, listed).with(|world| world.model_policies = vec![model_policy("own", json!({}))])
    };
    check("listed", demanding(&[&["registry.example.com/**"]]), &["NotVerifiedYet", "NotVerifiedYet"]);
    check("not listed", demanding(&[&[]]), &["RegistryUnauthorized", "RegistryUnauthorized"]);
    let alone = demanding(&[]);
    check("no policy of the cluster", alone.clone(), &["RegistryUnauthorized"]);
    assert_eq!(alone.decide().missing_records, []);
    assert!(deny_text(&alone.decide()).contains("no policy of the cluster lists in bundleRegistries"));
}

#[test]
fn an_annotation_of_no_volume_is_a_warning_and_no_denial() {
    for key in ["digest.weighbridge.dev/model", "signature.weighbridge.dev/modles"] {
        let decision = annotated(World::new(), key, "nonsense").decide();
        assert!(decision.complies(), "{key}");
        assert_eq!(
            warnings(&decision),
            [format!("weighbridge: annotation {key} names no volume of the Pod, so that it says nothing")]
        );
    }
    let unmatched = annotated(World::new(), "digest.weighbridge.dev/model", "").with(|world| {
        world.namespace = Some(NamespaceFacts::default());
    });
    assert_eq!(warnings(&unmatched.decide()), Vec::<String>::new(), "where no policy looks");
    let other = annotated(World::new(), "example.com/digest", "").decide();
    assert_eq!(other.notes, Vec::<String>::new(), "of others");
}

#[test]
fn a_folder_of_models_counts_as_all_of_them() {
    check("both", divided(), &[]);
    assert_eq!(divided().decide().models[0].statuses().len(), 2);
    check("one of them", at(divided(), "team/b"), &[]);
    check("a folder in one", at(divided(), "a/7b"), &[]);
    check("a folder of them that was not looked at itself", at(divided(), "team"), &["NotVerifiedYet"]);
    let change = |change: fn(&mut Record)| divided().with(|world| change(&mut world.records[2]));
    let stranger = change(|record| record.status.models[0].signers = vec![signed_by(fixtures::KEY_B)]);
    check("one has another signer", stranger.clone(), &["UntrustedSigner"]);
    assert!(
        deny_text(&stranger.decide()).contains("model team/b: it is signed by"),
        "{}",
        deny_text(&stranger.decide())
    );
    check("the other is not the worse for it", at(stranger, "a"), &[]);
    let unread = change(|record| record.status.source = None);
    check("one was never read", unread.clone(), &["NotVerifiedYet"]);
    let both = unread.with(|world| {
        let model = &mut world.records[1].status.models[0];
        (model.verdict, model.content_verified) = (VerdictKind::Refused, false);
        model.reason = Some(FindingCode::Refused(RefusedCode::ContentMismatch));
    });
    check("what is refused comes first", both, &["ContentMismatch"]);
    let gone = divided().with(|world| drop(world.records.pop()));
    check("one has no record", gone.clone(), &["NotVerifiedYet"]);
    assert_eq!(gone.decide().missing_records, [ModelVerificationSpec::of_claim("models", "team/b")]);
    let written = divided().with(|world| {
        world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers: vec![] });
    });
    check("written since", written, &["NotVerifiedYet"]);
    let only_parts = divided().with(|world| {
        world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers: vec![] });
        for record in &mut world.records[1..] {
            record.status.source.as_mut().unwrap().write_epoch = 1;
        }
    });
    check("nobody has looked since what lies beside them", only_parts, &["NotVerifiedYet"]);
}

fn worlds() -> impl Strategy<Value = World> {
    let record = prop_oneof![
        Just(World::new()),
        Just(divided()),
        Just(World::new().with(|world| world.records.clear())),
        Just(World::new().model(|model| model.signers.clear())),
        Just(World::new().found(VerdictKind::Refused, FindingCode::Refused(RefusedCode::Unsigned), "no bundle")),
        Just(World::new().status(|status| status.trust.clear())),
        Just(World::new().with(|world| world.claim = None)),
    ];
    (record, any::<bool>(), any::<bool>(), prop_oneof![Just(""), Just("a"), Just("team")]).prop_map(
        |(world, writable, warns, path)| {
            let world = at(world, path).with(|world| {
                world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(!writable);
            });
            if warns { world.under(json!({ "unknown": "Warn" })) } else { world }
        },
    )
}

fn digests() -> impl Strategy<Value = String> {
    let one =
        prop_oneof![Just(DIGEST.to_owned()), Just(OTHER.to_owned()), Just("sha256:0123".to_owned()), "\\PC{0,20}"];
    let listed = proptest::collection::vec(("(a|team/b|\\.|\\PC{0,5})", one.clone()), 0..4)
        .prop_map(|items| items.iter().map(|(path, digest)| format!("{path}={digest}")).collect::<Vec<_>>().join(","));
    prop_oneof![one, listed]
}

proptest! {
    /// Whatever a tenant writes into a digest annotation: it admits nothing that is refused without.
    #[test]
    fn a_digest_annotation_never_turns_a_refusal_into_an_admission(world in worlds(), value in digests()) {
        let without = world.decide();
        let with = annotated(world, "digest.weighbridge.dev/models", &value).decide();
        prop_assert!(without.allowed() || !with.allowed());
        prop_assert!(with.violations.len() >= without.violations.len());
    }
}
