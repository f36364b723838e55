//! Who waits for whom, and what is said of it. Every order of events is in [`orders`].

mod orders;
mod world;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::decision::fixture::{model_policy, now};
use crate::policy::TrustSources;
use world::{BATCH, TEAM, World, held, replica};

fn waits(world: &World, pod: &Pod, replicas: &[Replica]) -> Option<&'static str> {
    may_start(pod, &world.snapshot(), replicas).err().map(|waits| waits.as_str())
}

#[test]
fn a_writer_waits_until_it_is_marked_and_everybody_has_seen_that() {
    let mut world = World::new();
    let writer = world.add(held(World::writer("loader", TEAM, "models")));
    assert_eq!(waits(&world, &writer, &[]), Some("Mark"));
    let version = world.mark(&writer);
    let knows = |seen| [replica("webhook-0", Some(version)), replica("webhook-1", seen)];
    assert_eq!(waits(&world, &writer, &knows(None)), Some("Replicas"));
    assert_eq!(waits(&world, &writer, &knows(Some(version - 1))), Some("Replicas"));
    assert_eq!(waits(&world, &writer, &knows(Some(version))), None);
    assert_eq!(waits(&world, &writer, &[]), None, "nobody answers, so nobody is let in");
}

#[test]
fn who_writes_nothing_waits_for_nobody() {
    let mut world = World::new();
    let reader = world.add(held(World::reader("chat", TEAM, "models")));
    assert_eq!(waits(&world, &reader, &[replica("webhook-0", None)]), None);
}

#[test]
fn a_writer_waits_for_whoever_can_start_a_container_on_the_same_storage() {
    let waits_for = |policy: serde_json::Value, other: Pod| {
        let mut world = World::under(policy);
        let writer = world.add(held(World::writer("loader", TEAM, "models")));
        world.add(other);
        match nobody_serves(&world.snapshot(), &writer) {
            Err(WaitsFor::Serving(pods)) => pods.len(),
            _ => 0,
        }
    };
    let exclusive = || json!({});
    let report = json!({ "content": { "whileServing": "Report" } });
    let reader = || World::reader("chat", TEAM, "models");
    let with = |change: fn(&mut Pod)| {
        let mut pod = reader();
        change(&mut pod);
        pod
    };
    let phase = |phase: &str| {
        let mut pod = reader();
        pod.status.get_or_insert_default().phase = Some(phase.to_owned());
        pod
    };
    for (what, policy, other, expected) in [
        ("it serves", exclusive(), reader(), 1),
        ("by another claim in another namespace", exclusive(), World::reader("chat", BATCH, "staging"), 1),
        ("it runs", exclusive(), phase("Running"), 1),
        ("it is over", exclusive(), phase("Failed"), 0),
        ("it is held too", exclusive(), held(reader()), 0),
        ("it writes too", exclusive(), World::writer("loader-2", TEAM, "models"), 0),
        ("it reads something else", exclusive(), World::reader("chat", TEAM, "other"), 0),
        ("no policy is about its namespace", exclusive(), World::reader("chat", "elsewhere", "mirror"), 0),
        ("policies only report", report, reader(), 0),
        ("a verifier", exclusive(), with(|pod| pod.metadata.name = Some(format!("{NAME_PREFIX}models-1"))), 0),
    ] {
        assert_eq!(waits_for(policy, other), expected, "{what}");
    }
}

#[test]
fn a_policy_of_a_namespace_holds_back_the_writers_of_that_namespace_alone() {
    let report = json!({ "content": { "whileServing": "Report" } });
    let waits_for = |writer: Pod, reader: Pod| {
        let mut world = World::under(report.clone());
        let exclusive = model_policy("ours", json!({ "content": { "whileServing": "Exclusive" } }));
        world.base.policies = world.base.policies.and_namespaced([&exclusive], &TrustSources::default());
        let writer = world.add(held(writer));
        world.add(reader);
        nobody_serves(&world.snapshot(), &writer).err().map(|waits| waits.as_str())
    };
    let of_team = || World::writer("loader", TEAM, "models");
    let of_batch = || World::writer("loader", BATCH, "staging");
    assert_eq!(waits_for(of_team(), World::reader("chat", TEAM, "models")), Some("Serving"));
    assert_eq!(waits_for(of_team(), World::reader("chat", BATCH, "staging")), Some("Serving"), "it says so to its own");
    assert_eq!(waits_for(of_batch(), World::reader("chat", TEAM, "models")), None, "a tenant holds nobody else back");
    assert_eq!(waits_for(of_batch(), World::reader("chat", BATCH, "staging")), None, "it is not about either");
}

#[test]
fn a_pod_that_writes_one_claim_and_reads_another_is_both() {
    let mut world = World::new();
    let mut both = World::writer("copy", TEAM, "models");
    World::mount(&mut both, "other", true);
    let both = world.add(held(both));
    world.add(World::reader("chat", TEAM, "other"));
    assert_eq!(waits(&world, &both, &[]), Some("Mark"), "it does not write what is served");

    let writer = world.add(held(World::writer("loader", TEAM, "other")));
    let mut let_go = both.clone();
    let_go.spec.as_mut().unwrap().scheduling_gates = None;
    world.add(let_go);
    let Err(WaitsFor::Serving(pods)) = nobody_serves(&world.snapshot(), &writer) else { panic!("it waits") };
    assert_eq!(pods, [(TEAM.to_owned(), "chat".to_owned()), (TEAM.to_owned(), "copy".to_owned())]);
}

#[test]
fn the_end_of_a_writer_is_kept_in_sight() {
    let mut world = World::new();
    let at = |second| now() + SignedDuration::from_secs(second);
    let goes = |world: &World, pod: &Pod| may_go(pod, &world.snapshot(), at(59));
    let writer = world.add(World::bound(World::writer("loader", TEAM, "models")));
    world.mark(&writer);
    assert!(!goes(&world, &writer), "it runs");

    let mut ended = writer.clone();
    ended.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
    assert!(!goes(&world, &ended), "its end is not written down");
    let mut forced = writer.clone();
    forced.metadata.deletion_timestamp = Some(Time(now()));
    assert!(!goes(&world, &forced), "its kubelet ends it");
    forced.metadata.deletion_grace_period_seconds = Some(0);
    assert!(!goes(&world, &forced), "its kubelet may still say how it ended");
    assert!(may_go(&forced, &world.snapshot(), at(60)), "nobody will, and the store says that it vanished");
    world.unmark();
    assert!(goes(&world, &ended));

    let mut going = held(World::writer("late", TEAM, "models"));
    assert!(!goes(&world, &going), "it may still start");
    going.metadata.deletion_timestamp = Some(Time(now()));
    assert!(goes(&world, &going), "it is never bound to a node");
}

#[test]
fn what_a_writer_waits_for_is_said_to_those_who_may_know() {
    let named = |names: &[(&str, &str)]| {
        let pods = names.iter().map(|(namespace, name)| ((*namespace).to_owned(), (*name).to_owned())).collect();
        WaitsFor::Serving(pods).sentence(TEAM)
    };
    let about =
        |who: &str| format!("it may write to a model that Pods serve: {who}; stop them, or wait until they have ended");
    assert_eq!(named(&[(TEAM, "a")]), about("a"));
    assert_eq!(named(&[(TEAM, "a"), (BATCH, "b")]), about("a and 1 more"));
    assert_eq!(named(&[(BATCH, "b")]), about("1 of other namespaces"));
    assert_eq!(named(&[(TEAM, "a"), (TEAM, "b"), (TEAM, "c"), (TEAM, "d")]), about("a, b, c and 1 more"));
    let behind = |count| WaitsFor::Replicas(vec!["webhook-0".to_owned(); count]).sentence(TEAM);
    assert_eq!(behind(1), "it may write to a model, and one replica of the webhook must learn of it");
    assert_eq!(behind(2), "it may write to a model, and 2 replicas of the webhook must learn of it");
}

#[test]
fn our_gate_is_told_from_those_of_others() {
    let pod = held(World::writer("loader", TEAM, "models"));
    assert!(is_held(&pod) && !crate::workload::is_held_by_others(&pod));
    let mut other = pod.clone();
    other.spec.as_mut().unwrap().scheduling_gates =
        Some(vec![serde_json::from_value(json!({ "name": "x.y/z" })).unwrap()]);
    assert!(!is_held(&other) && crate::workload::is_held_by_others(&other));
}
