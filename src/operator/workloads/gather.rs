//! The workloads that have a status: those that no other workload makes.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{HashMap, HashSet};

use crate::api::v1alpha1::WorkloadReference;
use crate::index::Snapshot;
use crate::operator::pods::plan::carried;
use crate::operator::records::usage::is_matched;
use crate::operator::records::verifier_pod::NAME_PREFIX;
use crate::workload::{Extract, HasModels, template};

/// How many owners stand above a Pod at most, with one to spare.
const MAX_OWNERS: usize = 3;
/// How long the index may take to show the owner of an object that it shows already.
const ECHO: SignedDuration = SignedDuration::from_secs(5);

/// A workload in a namespace that a policy matches.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// What its status refers to.
    pub reference: WorkloadReference,
    /// Its generation.
    pub generation: Option<i64>,
    /// What it uses.
    pub extract: Extract,
    /// How many of its Pods wait behind our gate.
    pub held: i32,
}

/// The workloads by namespace, kind and name; and when to look again, because an owner was not there yet.
pub fn workloads(snapshot: &Snapshot, now: Timestamp) -> (Vec<Workload>, Option<Timestamp>) {
    let uids = snapshot.objects.workloads.values().filter_map(|workload| workload.metadata.uid.as_deref()).collect();
    let mut wake: Option<Timestamp> = None;
    let mut is_own_master = |metadata: &ObjectMeta| match owned(metadata, &uids, now) {
        Owned::No => true,
        Owned::Yes => false,
        Owned::Unclear(until) => {
            wake = wake.into_iter().chain([until]).min();
            false
        }
    };
    let mut found = Vec::new();
    for (key, workload) in snapshot.objects.workloads.iter() {
        if is_matched(snapshot, &key.namespace) && is_own_master(&workload.metadata) {
            let extract = template(key.kind, &workload.metadata, &workload.template);
            found.push(of(workload.api_version, key.kind, &workload.metadata, extract));
        }
    }
    for ((namespace, name), pod) in snapshot.objects.pods.iter() {
        let ours = name.starts_with(NAME_PREFIX);
        if !ours && is_matched(snapshot, namespace) && is_own_master(&pod.metadata) {
            found.push(of("v1", "Pod", &pod.metadata, pod.extract()));
        }
    }
    let held = held(snapshot);
    for workload in &mut found {
        workload.held = held.get(&workload.reference.uid).copied().unwrap_or_default();
    }
    found.sort_by(|a, b| (&a.namespace, &a.reference).cmp(&(&b.namespace, &b.reference)));
    (found, wake)
}

fn of(api_version: &str, kind: &str, metadata: &ObjectMeta, extract: Extract) -> Workload {
    Workload {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        reference: WorkloadReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        },
        generation: metadata.generation,
        extract,
        held: 0,
    }
}

/// The Pods that wait behind our gate, counted by the uid of the last owner above each that is known.
fn held(snapshot: &Snapshot) -> HashMap<String, i32> {
    let owners: HashMap<&str, &ObjectMeta> = (snapshot.objects.workloads.values())
        .filter_map(|workload| Some((workload.metadata.uid.as_deref()?, &workload.metadata)))
        .collect();
    let mut counts = HashMap::new();
    for pod in snapshot.objects.pods.values().filter(|pod| carried(pod).ours) {
        let mut last = &pod.metadata;
        // A Pod, its ReplicaSet or Job, its Deployment or CronJob: whoever writes a longer chain, or a ring, is not followed.
        for _ in 0..MAX_OWNERS {
            let Some(owner) = controller(last).and_then(|owner| owners.get(owner.uid.as_str())) else { break };
            last = owner;
        }
        *counts.entry(last.uid.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether a workload that has a status of its own makes this object.
enum Owned {
    No,
    Yes,
    /// It says so, and its owner is not there; at this time that is an answer.
    Unclear(Timestamp),
}

/// Owners count by their uid: anybody can write a name.
fn owned(metadata: &ObjectMeta, uids: &HashSet<&str>, now: Timestamp) -> Owned {
    let Some(owner) = controller(metadata) else { return Owned::No };
    if uids.contains(owner.uid.as_str()) {
        return Owned::Yes;
    }
    let made = metadata.creation_timestamp.as_ref().map(|made| made.0);
    match made.and_then(|made| made.checked_add(ECHO).ok()).filter(|until| *until > now) {
        Some(until) => Owned::Unclear(until),
        None => Owned::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn an_owner_counts_by_its_uid() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let owner = OwnerReference { uid: "deployment".into(), controller: Some(true), ..OwnerReference::default() };
        let metadata = ObjectMeta {
            owner_references: Some(vec![owner]),
            creation_timestamp: Some(Time(at(100))),
            ..ObjectMeta::default()
        };
        let there = HashSet::from(["deployment"]);
        assert!(matches!(owned(&metadata, &there, at(101)), Owned::Yes));
        let elsewhere = HashSet::from(["other"]);
        assert!(matches!(owned(&metadata, &elsewhere, at(101)), Owned::Unclear(until) if until == at(105)));
        assert!(matches!(owned(&metadata, &elsewhere, at(105)), Owned::No));
        assert!(matches!(owned(&ObjectMeta::default(), &there, at(101)), Owned::No));
    }
}
