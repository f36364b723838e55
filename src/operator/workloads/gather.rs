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

/// How many owners stand above a Pod at most, with one to spare: its ReplicaSet, its Deployment, and a few custom resources
/// of which one makes the next. Whoever writes a longer chain, or a ring, is not followed.
const MAX_OWNERS: usize = 6;
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
    /// What is used by the workloads that it makes, where it is a custom resource: not all that they use need stand in it.
    pub made: Vec<Extract>,
    /// How many of its Pods wait behind our gate.
    pub held: i32,
}

/// The workloads by namespace, kind and name; and when to look again, because an owner was not there yet.
pub fn workloads(snapshot: &Snapshot, now: Timestamp) -> (Vec<Workload>, Option<Timestamp>) {
    let owners = owners(snapshot);
    let mut wake: Option<Timestamp> = None;
    let (mut found, mut made, mut unclear) = (Vec::new(), Vec::new(), HashSet::new());
    for workload in candidates(snapshot) {
        match owned(workload.metadata, &owners, snapshot.objects.custom.settled, now) {
            Owned::No => found.push(workload.judged()),
            Owned::ByWorkload => {}
            Owned::ByCustom(top) => made.push((top, workload)),
            Owned::Unclear(until) => {
                unclear.extend(workload.metadata.uid.as_deref());
                wake = wake.into_iter().chain([until]).min();
            }
        }
    }
    let places: HashMap<String, usize> =
        found.iter().enumerate().map(|(place, workload)| (workload.reference.uid.clone(), place)).collect();
    for (top, workload) in made {
        match places.get(top) {
            Some(place) => found[*place].made.push((workload.extract)()),
            // That one waits for its own owner.
            None if unclear.contains(top) => {}
            // They say that they own each other.
            None => found.push(workload.judged()),
        }
    }
    let held = held(snapshot, &owners);
    for workload in &mut found {
        workload.held = held.get(&workload.reference.uid).copied().unwrap_or_default();
        workload.made.sort_by(|a, b| (&a.subject.kind, &a.subject.name).cmp(&(&b.subject.kind, &b.subject.name)));
    }
    found.sort_by(|a, b| (&a.namespace, &a.reference).cmp(&(&b.namespace, &b.reference)));
    (found, wake)
}

/// An object that may have a status of its own.
struct Candidate<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: &'a ObjectMeta,
    /// What it uses, if anybody wants to know.
    extract: Box<dyn Fn() -> Extract + 'a>,
}

/// All objects of matched namespaces that could have one.
fn candidates(snapshot: &Snapshot) -> impl Iterator<Item = Candidate<'_>> {
    let workloads = snapshot.objects.workloads.iter().map(|(key, workload)| Candidate {
        api_version: workload.api_version,
        kind: key.kind,
        metadata: &workload.metadata,
        extract: Box::new(move || template(key.kind, &workload.metadata, &workload.template)),
    });
    let pods = snapshot.objects.pods.iter().filter(|((_, name), _)| !name.starts_with(NAME_PREFIX));
    let pods = pods.map(|(_, pod)| Candidate {
        api_version: "v1",
        kind: "Pod",
        metadata: &pod.metadata,
        extract: Box::new(move || pod.extract()),
    });
    let custom = snapshot.objects.custom.objects().map(|object| Candidate {
        api_version: &object.api_version,
        kind: &object.kind,
        metadata: &object.metadata,
        extract: Box::new(move || object.extract.clone()),
    });
    let all = workloads.chain(pods).chain(custom);
    all.filter(move |it| is_matched(snapshot, it.metadata.namespace.as_deref().unwrap_or_default()))
}

impl Candidate<'_> {
    fn judged(self) -> Workload {
        let Candidate { api_version, kind, metadata, extract } = self;
        Workload {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            reference: WorkloadReference {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
            },
            generation: metadata.generation,
            extract: extract(),
            made: Vec::new(),
            held: 0,
        }
    }
}

/// What can make other workloads, by uid.
type Owners<'a> = HashMap<&'a str, Owner<'a>>;

#[derive(Clone, Copy)]
struct Owner<'a> {
    metadata: &'a ObjectMeta,
    is_custom: bool,
}

fn owners(snapshot: &Snapshot) -> Owners<'_> {
    let workloads = snapshot.objects.workloads.values().map(|workload| (&workload.metadata, false));
    let custom = snapshot.objects.custom.objects().map(|object| (&object.metadata, true));
    let all = workloads.chain(custom);
    all.filter_map(|(metadata, is_custom)| Some((metadata.uid.as_deref()?, Owner { metadata, is_custom }))).collect()
}

/// The Pods that wait behind our gate, counted by the uid of the last owner above each that is known.
fn held(snapshot: &Snapshot, owners: &Owners<'_>) -> HashMap<String, i32> {
    let mut counts = HashMap::new();
    for pod in snapshot.objects.pods.values().filter(|pod| carried(pod).ours) {
        *counts.entry(top(&pod.metadata, owners).uid.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// The last owner above an object that is known, or the object itself.
fn top<'a>(metadata: &'a ObjectMeta, owners: &Owners<'a>) -> &'a ObjectMeta {
    let mut last = metadata;
    for _ in 0..MAX_OWNERS {
        let Some(owner) = owner(last, owners) else { break };
        last = owner.metadata;
    }
    last
}

/// Owners count by their uid: anybody can write a name. One in another namespace owns nothing.
fn owner<'a>(metadata: &ObjectMeta, owners: &Owners<'a>) -> Option<Owner<'a>> {
    let owner = owners.get(controller(metadata)?.uid.as_str())?;
    (owner.metadata.namespace == metadata.namespace).then_some(*owner)
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether a workload that has a status of its own makes this object.
#[derive(Debug, PartialEq)]
enum Owned<'a> {
    No,
    /// One does, and carries the template of it.
    ByWorkload,
    /// A custom resource does; the last owner above has this uid.
    ByCustom(&'a str),
    /// It says so, and its owner is not there; at this time that is an answer.
    Unclear(Timestamp),
}

/// `settled` is whether all custom resources are there that could own something.
fn owned<'a>(metadata: &'a ObjectMeta, owners: &Owners<'a>, settled: bool, now: Timestamp) -> Owned<'a> {
    if controller(metadata).is_none() {
        return Owned::No;
    }
    match owner(metadata, owners) {
        Some(Owner { is_custom: false, .. }) => return Owned::ByWorkload,
        Some(_) => return Owned::ByCustom(top(metadata, owners).uid.as_deref().unwrap_or_default()),
        None => {}
    }
    let made = metadata.creation_timestamp.as_ref().map(|made| made.0);
    let since = if settled { made } else { Some(now) };
    let until = since.and_then(|since| since.checked_add(ECHO).ok());
    until.filter(|until| *until > now).map_or(Owned::No, Owned::Unclear)
}

#[cfg(test)]
mod tests;
