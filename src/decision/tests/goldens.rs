//! The sentences, for every code and every way to get there.

use super::*;

fn text(name: &str, world: &World) -> String {
    let decision = world.decide();
    format!("## {name}\n{}\n", deny_text(&decision))
}

/// What a verifier's finding becomes.
#[test]
fn findings_of_a_read() {
    let trust = compile(&[policy(json!({}))]).trust_for("team", &World::new().namespace.unwrap().labels);
    let world = |verdict, code: FindingCode| {
        let message = "`weights/model-00001-of-00002.safetensors` is not as it was; do this";
        World::new().found(verdict, code, message).status(|status| status.trust_digest = Some(trust.digest()))
    };
    let refused =
        RefusedCode::ALL.iter().map(|code| (code.as_str(), world(VerdictKind::Refused, FindingCode::Refused(*code))));
    let unknown =
        UnknownCode::ALL.iter().map(|code| (code.as_str(), world(VerdictKind::Unknown, FindingCode::Unknown(*code))));
    let texts: Vec<String> = refused.chain(unknown).map(|(name, world)| text(name, &world)).collect();
    insta::assert_snapshot!("findings_of_a_read", texts.join("\n"));
}

/// What becomes of a run that brought nothing.
#[test]
fn runs_without_facts() {
    let message = "0/3 nodes are available: 3 Insufficient memory.";
    let texts: Vec<String> = [
        UnknownCode::VerifierBlocked,
        UnknownCode::VerifierFailed,
        UnknownCode::Unreadable,
        UnknownCode::TrustUnavailable,
    ]
    .into_iter()
    .map(|code| {
        let run = Run { code: Some(code), message: Some(message.into()), ..Default::default() };
        text(code.as_str(), &World::new().status(|status| (status.source, status.run) = (None, Some(run))))
    })
    .collect();
    insta::assert_snapshot!("runs_without_facts", texts.join("\n"));
}

fn volume(backing: Backing) -> World {
    World::new().with(|world| world.volume.as_mut().unwrap().backing = backing)
}

fn source(volume: serde_json::Value) -> World {
    World::new().with(|world| {
        world.pod["volumes"][0] = volume;
        world.pod["volumes"][0]["name"] = json!("models");
    })
}

fn written(writers: &[&str]) -> World {
    let writers = writers.iter().map(|writer| (*writer).to_owned()).collect();
    World::new().with(|world| world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers }))
}

/// Everything that is found out without a read.
#[test]
fn situations() {
    let mount = |field: &str, value: serde_json::Value| {
        World::new().with(|world| world.pod["containers"][0]["volumeMounts"][0][field] = value)
    };
    let claim = |change: fn(&mut ClaimFacts)| World::new().with(|world| change(world.claim.as_mut().unwrap()));
    let two = json!([{ "name": "a", "key": { "data": fixtures::KEY_A } }, { "name": "b", "key": { "data": fixtures::KEY_B } }]);
    let situations = [
        ("index", World::new().with(|world| world.observed_at = None)),
        ("namespace", World::new().with(|world| world.namespace = None)),
        ("policy", World::new().under(json!({ "authorities": [{ "name": "a", "key": { "data": "?" } }] }))),
        ("no claim", World::new().with(|world| world.claim = None)),
        ("claim goes", claim(|claim| claim.deleting = true)),
        ("claim unbound", claim(|claim| claim.bound = false)),
        ("claim unbound, with source", claim(|claim| (claim.bound, claim.has_data_source) = (false, true))),
        ("no volume", World::new().with(|world| world.volume = None)),
        ("another's volume", World::new().with(|world| world.volume.as_mut().unwrap().claim_uid = None)),
        ("volume on nodes", volume(Backing::Node { path: "/m".into(), node: None })),
        ("NFS", volume(Backing::Nfs { server: "nfs.example".into(), path: "/m".into() })),
        ("driver", volume(Backing::Csi { driver: "s3.csi.example".into(), handle: "b".into() })),
        ("other volume", volume(Backing::Other("iscsi".into()))),
        ("being written", written(&["team/loader-x7z"])),
        ("being written from elsewhere", written(&["other/loader"])),
        ("never read", World::new().with(|world| world.records.clear())),
        ("written since", written(&[])),
        ("replaced", World::new().status(|status| status.source.as_mut().unwrap().claim_uid = "x".into())),
        ("being read", World::new().status(|it| (it.source, it.run) = (None, Some(Run::default())))),
        ("stale", World::new().under(json!({ "content": { "maxAge": "30m" } }))),
        (
            "keys changed",
            World::new()
                .found(VerdictKind::Refused, FindingCode::Refused(RefusedCode::UntrustedSigner), "")
                .status(|status| status.trust.clear()),
        ),
        ("stranger", World::new().model(|model| model.signers = vec![signed_by(fixtures::KEY_B)])),
        ("too few", World::new().under(json!({ "authorities": two, "required": 2 }))),
        ("image volume", source(json!({ "image": { "reference": "registry.example/models/llama:8b" } }))),
        ("hostPath", source(json!({ "hostPath": { "path": "/srv/models" } }))),
        ("unknown kind", source(json!({ "tomorrow": {} }))),
        ("subPathExpr", mount("subPathExpr", json!("$(POD_NAME)"))),
        ("climbing subPath", mount("subPath", json!("../x"))),
        ("propagation", mount("mountPropagation", json!("HostToContainer"))),
        (
            "termination log",
            World::new().with(|world| {
                world.pod["containers"][0]["terminationMessagePath"] = json!("/models/config.json");
            }),
        ),
        ("writable", mount("readOnly", json!(false))),
        (
            "no writer",
            mount("readOnly", json!(false)).under(json!({ "content": { "writers": [{ "serviceAccount": "l" }] } })),
        ),
        (
            "privileged",
            World::new().with(|world| {
                world.pod["containers"][0]["securityContext"] = json!({ "privileged": true });
            }),
        ),
    ];
    let texts: Vec<String> = situations.iter().map(|(name, world)| text(name, world)).collect();
    insta::assert_snapshot!("situations", texts.join("\n"));
}

#[test]
fn warnings_and_audit_annotations() {
    let world = World::new().under(json!({ "validationActions": ["Warn", "Audit"] })).with(|world| {
        world.policies.push(named_policy("second", json!({ "validationActions": ["Audit"] })));
        world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    });
    let decision = world.decide();
    assert_eq!(deny_text(&decision), "");
    insta::assert_snapshot!("warnings", warnings(&decision).join("\n"));
    insta::assert_json_snapshot!("audit_annotations", audit_annotations(&decision));
    assert_eq!(audit_annotations(&World::new().decide()), [("model-digest".into(), "sha256:0123".into())].into());
}

#[test]
fn every_line_is_short_and_ends_with_its_code() {
    let long = "x".repeat(253);
    let world = World::new().with(|world| {
        world.policies = vec![named_policy(&long, json!({}))];
        world.pod["volumes"][0]["image"] = json!({ "reference": "\u{202e}r.example/".to_owned() + &long });
        world.pod["volumes"][0].as_object_mut().unwrap().remove("persistentVolumeClaim");
    });
    let deny = world.decide();
    let lines = deny_text(&deny);
    let first = lines.lines().next().unwrap();
    assert!(first.ends_with(" [NotVerifiable]"), "{lines}");
    assert_eq!(first.chars().count(), 200);
    assert!(!lines.contains('\u{202e}'), "{lines}");
    let warn = world.with(|world| world.stage = Stage::Template).decide();
    let warnings = warnings(&warn);
    assert!(warnings[0].chars().count() < 250 && warnings[0].ends_with(" [NotVerifiable]"), "{warnings:?}");
}

#[test]
fn many_violations_are_counted_at_the_end() {
    let world = World::new().with(|world| {
        let mounts: Vec<_> = (0..70).map(|i| json!({ "name": "models", "mountPath": format!("/{i}") })).collect();
        world.pod["containers"][0]["volumeMounts"] = json!(mounts);
    });
    let text = deny_text(&world.decide());
    assert_eq!(text.lines().count(), 65);
    assert!(text.ends_with("\n… and 6 more"), "{text}");
}
