//! What holds for whatever comes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::api::v1alpha1::UnsignedFiles;
use crate::workload::{BackingStore, HasModels};

/// A volume: what it is called comes from outside.
fn volume() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({ "persistentVolumeClaim": { "claimName": "models" } })),
        Just(json!({ "persistentVolumeClaim": { "claimName": "other", "readOnly": true } })),
        Just(json!({ "emptyDir": {} })),
        Just(json!({ "configMap": { "name": "c" } })),
        Just(json!({ "hostPath": { "path": "/m" } })),
        Just(json!({ "image": { "reference": "r/m:1" } })),
        Just(json!({ "csi": { "driver": "d" } })),
        Just(json!({ "tomorrow": {} })),
    ]
}

fn mount() -> impl Strategy<Value = Value> {
    let path = prop_oneof!["/models(/[ab]){0,3}", "/[a-c]/\\.\\./[a-c]", "[a-z]{0,3}"];
    let sub_path =
        prop_oneof![Just(String::new()), Just("a".to_owned()), Just("a/b".to_owned()), Just("../a".to_owned())];
    (0..4usize, path, any::<bool>(), sub_path).prop_map(|(volume, path, read_only, sub_path)| {
        json!({ "name": format!("v{volume}"), "mountPath": path, "readOnly": read_only, "subPath": sub_path })
    })
}

fn container() -> impl Strategy<Value = Value> {
    (proptest::collection::vec(mount(), 0..4), any::<bool>()).prop_map(|(mounts, privileged)| {
        json!({ "name": "c", "volumeMounts": mounts, "securityContext": { "privileged": privileged } })
    })
}

prop_compose! {
    fn pod()(
        containers in proptest::collection::vec(container(), 1..3),
        init in proptest::collection::vec(container(), 0..2),
        ephemeral in proptest::collection::vec(container(), 0..2),
        volumes in proptest::collection::vec(volume(), 4),
    ) -> Value {
        let volumes: Vec<Value> = volumes.into_iter().enumerate().map(|(index, mut volume)| {
            volume["name"] = json!(format!("v{index}"));
            volume
        }).collect();
        json!({ "containers": containers, "initContainers": init, "ephemeralContainers": ephemeral, "volumes": volumes })
    }
}

fn any_policy() -> impl Strategy<Value = Value> {
    let models = prop_oneof![
        Just(json!(null)),
        Just(json!([{ "mountPaths": ["/models/**"] }])),
        Just(json!([{ "claims": { "selector": {} } }])),
        Just(json!([{ "mountPaths": ["/[broken"] }])),
    ];
    let exclude = prop_oneof![
        Just(json!([])),
        Just(json!([{ "mountPaths": ["/models/a/**"] }])),
        Just(json!([{ "storageClasses": ["fast"] }])),
    ];
    let actions = prop_oneof![Just(json!(["Deny"])), Just(json!(["Warn"])), Just(json!(["Audit", "Deny"]))];
    let unknown = prop_oneof![Just(json!(null)), Just(json!("Warn")), Just(json!("Audit"))];
    let content = prop_oneof![
        Just(json!({})),
        Just(json!({ "readOnly": false })),
        Just(json!({ "maxAge": "1m" })),
        Just(json!({ "writers": [{ "serviceAccount": "default" }] })),
        Just(json!({ "ignorePaths": [".git/**"] })),
        Just(json!({ "ignorePaths": [".git/**", "*.md"], "allowSymlinks": true })),
        Just(json!({ "allowSymlinks": true })),
        Just(json!({ "ignorePaths": ["[broken"] })),
    ];
    let key = prop_oneof![Just(fixtures::KEY_A), Just(fixtures::KEY_B), Just("no key")];
    (models, exclude, actions, unknown, content, key).prop_map(|(models, exclude, actions, unknown, content, key)| {
        json!({
            "match": { "models": models, "exclude": exclude }, "validationActions": actions, "unknown": unknown,
            "content": content, "authorities": [{ "name": "a", "key": { "data": key } }],
        })
    })
}

/// A glob that can be read, over what may lie in a model unsigned.
fn any_glob() -> impl Strategy<Value = String> {
    prop_oneof![Just(".git/**"), Just("*.md"), Just("**/*.md"), Just("a/**"), Just("a/*"), Just("{b,.git}/**")]
        .prop_map(str::to_owned)
}

/// What a read may find unsigned.
fn any_unsigned() -> impl Strategy<Value = UnsignedFiles> {
    let path = prop_oneof![Just(".git/"), Just(".git/HEAD"), Just("README.md"), Just("a/"), Just("a/b")];
    (proptest::collection::vec(path, 0..3), proptest::bool::weighted(0.2)).prop_map(|(paths, more)| {
        let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
        UnsignedFiles { more: more || paths.is_empty(), paths }
    })
}

/// A cluster in which any piece may be missing or odd.
fn any_world() -> impl Strategy<Value = World> {
    let some = || proptest::bool::weighted(0.85);
    let pieces = (some(), some(), some(), some(), 0..4u8, some(), some());
    let record = (0..3u8, 0..7u8, proptest::option::of(0..UnknownCode::ALL.len()), "(a(/b)?)?", any::<bool>(), 0..3i64);
    let links = (any::<bool>(), proptest::option::of(-1..2i64));
    let beside = (proptest::option::of(any_unsigned()), links);
    let policies = proptest::collection::vec(any_policy(), 0..3);
    (pod(), policies, pieces, record, beside, any::<bool>(), any::<bool>()).prop_map(
        |(pod, policies, pieces, record, beside, template, same_trust)| {
            let (namespace, claim, volume, fresh, backing, bound, owned) = pieces;
            let (verdict, reason, run, path, complete, epoch) = record;
            World::new().with(|world| {
                world.pod = pod;
                world.policies = (policies.into_iter().enumerate())
                    .map(|(index, spec)| named_policy(&format!("p{index}"), spec))
                    .collect();
                world.stage = if template { Stage::Template } else { Stage::Pod };
                world.namespace = world.namespace.take().filter(|_| namespace);
                world.observed_at = fresh.then_some(now());
                world.claim.as_mut().unwrap().bound = bound;
                world.claim = world.claim.take().filter(|_| claim);
                let facts = world.volume.as_mut().unwrap();
                facts.claim_uid = owned.then(|| "claim-1".to_owned());
                facts.backing = match backing {
                    0 => Backing::Node { path: "/m".into(), node: Some("n".into()) },
                    1 => Backing::Nfs { server: "s".into(), path: "/".into() },
                    2 => Backing::Other(String::new()),
                    _ => facts.backing.clone(),
                };
                world.volume = world.volume.take().filter(|_| volume);
                world.records = vec![verified_record(&path)];
                let status = &mut world.records[0].status;
                status.source.as_mut().unwrap().write_epoch = epoch / 2;
                let labels = BTreeMap::from([("tier".into(), "production".into())]);
                let trust = compile(&world.policies).trust_for("team", &labels).digest();
                status.trust_digest = same_trust.then_some(trust);
                status.run = run.map(|code| Run { code: UnknownCode::ALL.get(code).copied(), ..Default::default() });
                let model = &mut status.models[0];
                model.content_verified = complete;
                model.verdict =
                    [VerdictKind::Verified, VerdictKind::Refused, VerdictKind::Unknown][usize::from(verdict)];
                model.reason = match reason {
                    0 => Some(FindingCode::Refused(RefusedCode::UntrustedSigner)),
                    1 => Some(FindingCode::Refused(RefusedCode::ContentMismatch)),
                    2 => Some(FindingCode::Unknown(UnknownCode::Unreadable)),
                    3 => Some(FindingCode::Refused(RefusedCode::UnsignedFiles)),
                    _ => None,
                };
                (model.unsigned, (model.allow_symlinks, model.symlinks)) = beside;
                let writers = if epoch == 2 { vec!["team/w".to_owned()] } else { Vec::new() };
                world.stores.push(StoreFacts { identity: store().to_string(), epoch: epoch / 2, writers });
            })
        },
    )
}

/// Volumes of the kinds that bring in nothing.
fn brings_nothing(volume: &Value) -> bool {
    volume.get("emptyDir").is_some() || volume.get("configMap").is_some()
}

proptest! {
    #[test]
    fn a_mounted_volume_is_never_dropped(pod in pod()) {
        let world = World::new().with(|world| world.pod = pod.clone());
        let found: BTreeSet<String> = world.extract().uses.into_iter().map(|model_use| model_use.at.0).collect();
        let mut expected = BTreeSet::new();
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for (c, container) in pod[list].as_array().unwrap().iter().enumerate() {
                for (m, mount) in container["volumeMounts"].as_array().unwrap().iter().enumerate() {
                    let volumes = pod["volumes"].as_array().unwrap();
                    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
                    if !brings_nothing(volume) {
                        expected.insert(format!("spec.{list}[{c}].volumeMounts[{m}]"));
                    }
                }
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_decision_has_a_sentence_for_all_it_refuses(world in any_world()) {
        let decision = world.decide();
        let text = deny_text(&decision);
        prop_assert_eq!(text.is_empty(), decision.allowed());
        let whole = |line: &&str| !line.starts_with("    ");
        prop_assert!(text.lines().filter(whole).all(|line| line.chars().count() <= 200), "{}", text);
        prop_assert!(warnings(&decision).iter().all(|line| line.chars().count() < 250));
        for judged in &decision.models {
            prop_assert!(judged.statuses().iter().all(|status| status.verdict == judged.verdict.kind()));
        }
    }

    #[test]
    fn another_policy_never_turns_a_refusal_into_an_admission(world in any_world(), spec in any_policy()) {
        let before = world.decide();
        let after = world.clone().with(|world| world.policies.push(named_policy("another", spec))).decide();
        prop_assert!(before.allowed() || !after.allowed());
        prop_assert!(after.violations.len() >= before.violations.len());
        prop_assert!(after.policies.len() >= before.policies.len());
    }

    #[test]
    fn a_policy_of_a_namespace_only_tightens(world in any_world(), first in any_policy(), second in any_policy()) {
        let with = |specs: &[Value]| {
            let named = |(at, spec): (usize, &Value)| model_policy(&format!("p{at}"), spec.clone());
            let policies = specs.iter().enumerate().map(named).collect();
            world.clone().with(|world| world.model_policies = policies).decide()
        };
        let decisions = [with(&[]), with(std::slice::from_ref(&first)), with(&[first, second])];
        for (before, after) in decisions.iter().zip(&decisions[1..]) {
            prop_assert!(before.allowed() || !after.allowed());
            let strongest = |decision: &Decision| decision.violations.iter().map(|it| it.action).max();
            prop_assert!(strongest(before) <= strongest(after));
            for violation in &before.violations {
                prop_assert!(after.violations.contains(violation), "{violation:?} is gone");
            }
        }
        let known = ["p0", "p1", "p2", "team/p0", "team/p1"];
        for violation in &decisions[2].violations {
            prop_assert!(known.contains(&violation.policy.to_string().as_str()));
        }
    }

    #[test]
    fn globs_say_nothing_of_a_model_in_which_all_is_signed(world in any_world(), globs in proptest::collection::vec(any_glob(), 1..4)) {
        let world = world.model(|model| model.unsigned = None);
        let ignoring = world.clone().with(|world| {
            world.policies.iter_mut().for_each(|policy| policy.spec.content.ignore_paths.extend(globs.clone()));
        });
        prop_assert_eq!(world.decide(), ignoring.decide());
    }

    #[test]
    fn a_further_glob_never_refuses(world in any_world(), globs in proptest::collection::vec(any_glob(), 1..4)) {
        let more = world.clone().with(|world| {
            world.policies.iter_mut().for_each(|policy| policy.spec.content.ignore_paths.extend(globs.clone()));
        });
        // What is let be is no part of a model: a use of that alone is refused by another sentence.
        let count = |world: &World| world.decide().violations.len();
        prop_assert!(count(&more) <= count(&world));
    }

    #[test]
    fn what_no_glob_means_is_never_let_in(world in any_world(), path in "[b-z]{1,3}/?") {
        let world = world.model(|model| {
            model.unsigned = Some(UnsignedFiles { paths: vec![".git/".to_owned(), path], more: false });
            model.verdict = VerdictKind::Refused;
            model.reason = Some(FindingCode::Refused(RefusedCode::UnsignedFiles));
        });
        for judged in world.decide().models {
            prop_assert!(judged.verdict.kind() != VerdictKind::Verified);
        }
    }

    #[test]
    fn only_what_is_verified_complies(world in any_world()) {
        for judged in world.decide().models {
            let verified = judged.verdict.kind() == VerdictKind::Verified;
            prop_assert!(verified || judged.writer || !judged.findings.is_empty());
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_answer(world in any_world()) {
        prop_assert_eq!(world.decide(), world.decide());
    }

    #[test]
    fn stores_can_be_read_from_any_text(text in any::<String>()) {
        if let Ok(store) = text.parse::<BackingStore>() {
            prop_assert_eq!(store.to_string().parse(), Ok(store));
        }
    }

    #[test]
    fn a_pod_of_any_json_can_be_read(pod in pod(), account in any::<String>()) {
        let mut spec = pod;
        spec["serviceAccountName"] = json!(account);
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
        prop_assert!(!pod.extract().subject.service_account.is_empty());
    }
}
