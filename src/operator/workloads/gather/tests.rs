//! Which objects have a status, and which are a part of that of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::decision::NamespaceFacts;
use crate::decision::fixture::{compile, now, policy};
use crate::index::{CustomObject, CustomObjects, FollowedKind, Following, WorkloadKey};
use crate::workload::CustomKinds;

/// A cluster in which the policy matches the namespace `team`, and whatever is made in it.
struct World(Snapshot);

fn metadata(name: &str, owner: Option<&str>) -> Value {
    let by = |uid: &str| json!([{ "apiVersion": "v1", "kind": "K", "name": uid, "uid": uid, "controller": true }]);
    json!({ "name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "ownerReferences": owner.map(by) })
}

fn owner_in<'a>(metadata: &'a ObjectMeta) -> Owner<'a> {
    Owner { metadata, is_custom: false }
}

impl World {
    fn new() -> Self {
        let mut snapshot = Snapshot { policies: compile(&[policy(json!({}))]), ..Snapshot::default() };
        let labels = BTreeMap::from([("tier".to_owned(), "production".to_owned())]);
        snapshot.evidence.namespaces =
            Arc::new(HashMap::from([("team".to_owned(), Arc::new(NamespaceFacts { labels }))]));
        snapshot.objects.custom.settled = true;
        World(snapshot)
    }

    fn pod(mut self, name: &str, owner: Option<&str>) -> Self {
        let pod: Pod = serde_json::from_value(json!({ "metadata": metadata(name, owner), "spec": spec() })).unwrap();
        Arc::make_mut(&mut self.0.objects.pods).insert(("team".into(), name.into()), Arc::new(pod));
        self
    }

    fn deployment(mut self, name: &str, owner: Option<&str>) -> Self {
        let workload = crate::index::Workload {
            api_version: "apps/v1",
            metadata: serde_json::from_value(metadata(name, owner)).unwrap(),
            template: serde_json::from_value(json!({ "spec": spec() })).unwrap(),
        };
        let key = WorkloadKey { namespace: "team".into(), kind: "Deployment", name: name.into() };
        Arc::make_mut(&mut self.0.objects.workloads).insert(key, Arc::new(workload));
        self
    }

    fn service(mut self, name: &str, owner: Option<&str>) -> Self {
        let metadata = metadata(name, owner);
        let object =
            json!({ "metadata": metadata, "spec": { "predictor": { "model": { "storageUri": "pvc://models" } } } });
        let kinds = CustomKinds::default();
        let extract = kinds.extract("serving.kserve.io", "v1beta1", "InferenceService", &object).unwrap();
        let object = CustomObject {
            api_version: "serving.kserve.io/v1beta1".into(),
            kind: "InferenceService".into(),
            metadata: serde_json::from_value(metadata).unwrap(),
            extract,
        };
        let CustomObjects { kinds, .. } = &mut self.0.objects.custom;
        let kinds = Arc::make_mut(kinds);
        let key = ("serving.kserve.io".to_owned(), "InferenceService".to_owned());
        let kind = kinds.entry(key).or_insert_with(|| FollowedKind { state: Following::Live, ..Default::default() });
        Arc::make_mut(&mut kind.objects).insert(("team".into(), name.into()), Arc::new(object));
        self
    }

    /// Each workload with what it makes, and whether somebody waits for an owner.
    fn found(&self) -> (Vec<String>, bool) {
        let (found, wake) = workloads(&self.0, now());
        let line = |workload: &Workload| {
            let made: Vec<String> = workload.made.iter().map(|it| format!(" + {}", it.subject.name)).collect();
            format!("{} {}{}", workload.reference.kind, workload.reference.name, made.concat())
        };
        (found.iter().map(line).collect(), wake.is_some())
    }
}

fn spec() -> Value {
    json!({
        "containers": [{ "name": "c", "volumeMounts": [{ "name": "m", "mountPath": "/m", "readOnly": true }] }],
        "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "models" } }],
    })
}

#[test]
fn what_a_custom_resource_makes_is_a_part_of_it() {
    let world = World::new()
        .service("chat", None)
        .deployment("predictor", Some("uid-of-chat"))
        .pod("pod-of-predictor", Some("uid-of-predictor"))
        .pod("pod-of-chat", Some("uid-of-chat"))
        .deployment("alone", None)
        .pod("bare", None);
    let expected = ["Deployment alone", "InferenceService chat + predictor + pod-of-chat", "Pod bare"];
    let mut found = world.found();
    found.0.sort();
    assert_eq!(found, (expected.map(str::to_owned).to_vec(), false));
}

#[test]
fn the_last_owner_above_stands_for_all() {
    let world = World::new()
        .service("top", None)
        .service("middle", Some("uid-of-top"))
        .deployment("bottom", Some("uid-of-middle"));
    assert_eq!(world.found().0, ["InferenceService top + bottom + middle"]);
    let world = World::new().deployment("job", None).service("of-job", Some("uid-of-job"));
    assert_eq!(world.found().0, ["Deployment job"], "a template stands for what is made from it");
}

#[test]
fn a_ring_of_owners_hides_nobody() {
    let world =
        World::new().service("a", Some("uid-of-b")).service("b", Some("uid-of-a")).deployment("c", Some("uid-of-a"));
    assert_eq!(world.found().0.len(), 3);
}

#[test]
fn while_custom_resources_are_not_all_there_nobody_takes_their_place() {
    let mut world = World::new().deployment("predictor", Some("uid-of-chat")).deployment("alone", None);
    world.0.objects.custom.settled = false;
    assert_eq!(world.found(), (vec!["Deployment alone".to_owned()], true));
    world.0.objects.custom.settled = true;
    assert_eq!(world.found(), (vec!["Deployment alone".to_owned(), "Deployment predictor".to_owned()], false));
    // What a custom resource makes waits with it.
    let mut world = World::new().service("chat", Some("uid-of-platform")).deployment("predictor", Some("uid-of-chat"));
    world.0.objects.custom.settled = false;
    assert_eq!(world.found(), (Vec::new(), true));
    world.0.objects.custom.settled = true;
    assert_eq!(world.found(), (vec!["InferenceService chat + predictor".to_owned()], false));
}

#[test]
fn pods_that_wait_are_counted_where_the_status_is() {
    let mut world = World::new()
        .service("chat", None)
        .deployment("predictor", Some("uid-of-chat"))
        .pod("held", Some("uid-of-predictor"));
    let pods = Arc::make_mut(&mut world.0.objects.pods);
    let pod = Arc::make_mut(pods.values_mut().next().unwrap());
    let gate = serde_json::from_value(json!({ "name": crate::api::gate::GATE })).unwrap();
    pod.spec.as_mut().unwrap().scheduling_gates = Some(vec![gate]);
    let (found, _) = workloads(&world.0, now());
    assert_eq!((found[0].reference.name.as_str(), found[0].held), ("chat", 1));
}

#[test]
fn an_owner_counts_by_its_uid() {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut child: ObjectMeta = serde_json::from_value(metadata("pod", Some("deployment"))).unwrap();
    child.creation_timestamp = Some(Time(at(100)));
    let same: ObjectMeta = serde_json::from_value(metadata("d", None)).unwrap();
    let elsewhere = ObjectMeta { namespace: Some("other".into()), ..same.clone() };
    let there = Owners::from([("deployment", owner_in(&same))]);
    assert_eq!(owned(&child, &there, true, at(101)), Owned::ByWorkload);
    for owners in [Owners::from([("other", owner_in(&same))]), Owners::from([("deployment", owner_in(&elsewhere))])] {
        assert_eq!(owned(&child, &owners, true, at(101)), Owned::Unclear(at(105)));
        assert_eq!(owned(&child, &owners, true, at(105)), Owned::No);
        assert_eq!(owned(&child, &owners, false, at(105)), Owned::Unclear(at(110)));
    }
    assert_eq!(owned(&same, &there, true, at(101)), Owned::No);
}
