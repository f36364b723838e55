//! Which stores matter, and who may write to them.
//!
//! Receives a snapshot; promises one [`Store`] for every backing store that lies under a record, under a claim of a
//! namespace that a policy matches, or that has an object already, with every Pod of any namespace that may write to
//! it. Never asks the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::gate;
use super::plan::{Store, Surroundings, Writer, WriterState};
use crate::api::v1alpha1::{self as api, CLEAR_WRITERS, WriterStatus};
use crate::decision::{ClaimFacts, Evidence, decide};
use crate::index::Snapshot;
use crate::workload::{
    BackingStore, Extract, HasModels, Target, Writing, ended, is_held, is_held_by_others, never_starts, writings,
};

/// A store to plan for.
#[derive(Debug)]
pub struct Subject {
    /// Its object, if there is one.
    pub object: Option<Arc<api::BackingStore>>,
    /// What the plan rests on.
    pub store: Store,
    /// Whether facts of a record rest on it.
    pub has_facts: bool,
    /// The volumes that lead to it.
    pub volumes: BTreeSet<String>,
}

/// The stores by identity.
pub fn stores(snapshot: &Snapshot) -> BTreeMap<String, Subject> {
    let known = known(&snapshot.evidence);
    let existing: BTreeMap<&str, &Arc<api::BackingStore>> =
        snapshot.objects.stores.values().map(|object| (object.spec.identity.as_str(), object)).collect();
    let relevant = relevant(snapshot);
    let with_facts = with_facts(snapshot);
    let writers = writers(snapshot);
    let volumes = volumes(&snapshot.evidence);
    let predecessors = predecessors(&snapshot.evidence, &existing);
    let merged = predecessors.iter().filter(|(now, _)| existing.contains_key(now.as_str()));
    let replaced: BTreeSet<&str> =
        merged.flat_map(|(_, before)| before).map(|object| object.spec.identity.as_str()).collect();

    let identities: BTreeSet<&str> = relevant.iter().map(String::as_str).chain(existing.keys().copied()).collect();
    let subject = |identity: &str| {
        let object = existing.get(identity).map(|object| Arc::clone(object));
        let status = object.as_ref().map(|object| object.status.clone().unwrap_or_default());
        let before = predecessors.get(identity).into_iter().flatten();
        let mut store = Store {
            clear: object.as_ref().and_then(|object| object.annotations().get(CLEAR_WRITERS).cloned()),
            reachable: known.contains_key(identity),
            writers: writers_of(identity, known.get(identity), status.as_ref(), &writers),
            inherited: known.get(identity).map(|store| vanished(store, &existing)).unwrap_or_default(),
            merged: replaced.contains(identity),
            floor: 0,
            missed: false,
            detached: BTreeSet::new(),
            existing: status,
        };
        for status in before.filter_map(|object| object.status.as_ref()) {
            store.floor = store.floor.max(status.write_epoch);
            store.inherited.extend(status.writers.iter().filter(|writer| writer.vanished).cloned());
        }
        let volumes = volumes.get(identity).cloned().unwrap_or_default();
        (identity.to_owned(), Subject { object, store, has_facts: with_facts.contains(identity), volumes })
    };
    identities.into_iter().map(subject).collect()
}

/// Pods that are there or went a moment ago.
pub fn surroundings(snapshot: &Snapshot, lost_nodes: BTreeSet<String>) -> Surroundings {
    let live = snapshot.objects.pods.values().filter_map(|pod| pod.uid());
    Surroundings { pods: live.chain(snapshot.objects.gone_pods.keys().cloned()).collect(), lost_nodes }
}

/// What lies behind a claim.
pub fn store_of(evidence: &Evidence, claim: &ClaimFacts) -> BackingStore {
    let volume = claim.volume_name.as_ref().and_then(|name| evidence.volumes.get(name));
    match volume.filter(|volume| claim.bound && volume.claim_uid.as_deref() == Some(&claim.uid)) {
        Some(volume) => volume.store(&claim.uid),
        None => BackingStore::Claim { uid: claim.uid.clone() },
    }
}

/// All stores that something leads to, by identity.
fn known(evidence: &Evidence) -> BTreeMap<String, BackingStore> {
    let claims = evidence.claims.values().map(|claim| store_of(evidence, claim));
    // A volume without a claim still has its store: the object goes only with the volume.
    let volumes = evidence.volumes.values().map(|volume| volume.store(""));
    claims.chain(volumes).map(|store| (store.to_string(), store)).collect()
}

/// The names of the volumes that lead to each store.
fn volumes(evidence: &Evidence) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, volume) in evidence.volumes.iter() {
        found.entry(volume.store("").to_string()).or_default().insert(name.clone());
    }
    found
}

/// Stores under a record's claim, or under any claim in a matched namespace.
pub(super) fn relevant(snapshot: &Snapshot) -> BTreeSet<String> {
    let Snapshot { evidence, policies, .. } = snapshot;
    let matched = |namespace: &str| {
        let labels = evidence.namespaces.get(namespace).map(|namespace| &namespace.labels);
        labels.is_some_and(|labels| policies.match_namespace(namespace, labels))
    };
    let claims = evidence.claims.iter();
    let claims = claims.filter(|(key, _)| evidence.records.contains_key(*key) || matched(&key.0));
    claims.map(|(_, claim)| store_of(evidence, claim).to_string()).collect()
}

/// Stores on which the facts, or the running read, of a record rest.
fn with_facts(snapshot: &Snapshot) -> BTreeSet<String> {
    let Snapshot { evidence, .. } = snapshot;
    let rests = |record: &Arc<crate::decision::Record>| {
        record.status.source.is_some() || record.status.run.as_ref().is_some_and(|run| run.pod.is_some())
    };
    let claims = evidence.records.iter().filter(|(_, records)| records.iter().any(rests));
    let claims = claims.filter_map(|(key, _)| evidence.claims.get(key));
    claims.map(|claim| store_of(evidence, claim).to_string()).collect()
}

/// Objects of claims that were unbound and are bound now, by the identity of the store that they turned out to be.
fn predecessors<'a>(
    evidence: &Evidence,
    existing: &BTreeMap<&str, &'a Arc<api::BackingStore>>,
) -> BTreeMap<String, Vec<&'a Arc<api::BackingStore>>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for claim in evidence.claims.values() {
        let before = BackingStore::Claim { uid: claim.uid.clone() }.to_string();
        let now = store_of(evidence, claim).to_string();
        if let Some(&object) = existing.get(before.as_str()).filter(|_| now != before) {
            found.entry(now).or_default().push(object);
        }
    }
    found
}

/// Writers that vanished from other stores that overlap this one.
fn vanished(store: &BackingStore, existing: &BTreeMap<&str, &Arc<api::BackingStore>>) -> Vec<WriterStatus> {
    let identity = store.to_string();
    let others = existing.iter().filter(|(other, _)| **other != identity);
    let overlapping =
        others.filter(|(other, _)| other.parse::<BackingStore>().is_ok_and(|other| other.overlaps(store)));
    let writers = overlapping.flat_map(|(_, object)| object.status.iter().flat_map(|status| &status.writers));
    writers.filter(|writer| writer.vanished).cloned().collect()
}

/// A Pod that may write somewhere.
struct Seen {
    writer: Writer,
    store: BackingStore,
}

/// The writers of one store: those that lead to it or to one that overlaps it, and those that its status remembers
/// although their claim is gone.
fn writers_of(
    identity: &str,
    store: Option<&BackingStore>,
    status: Option<&api::BackingStoreStatus>,
    seen: &BTreeMap<String, Vec<Seen>>,
) -> Vec<Writer> {
    let direct = seen.get(identity).into_iter().flatten();
    let mut writers: Vec<Writer> = direct.map(|seen| seen.writer.clone()).collect();
    if let Some(store @ (BackingStore::Nfs { .. } | BackingStore::Node { .. })) = store {
        let others = seen.iter().filter(|(other, _)| *other != identity).flat_map(|(_, seen)| seen);
        writers.extend(others.filter(|seen| seen.store.overlaps(store)).map(|seen| seen.writer.clone()));
    }
    for known in status.iter().flat_map(|status| &status.writers) {
        if !writers.iter().any(|writer| writer.uid == known.uid) {
            let elsewhere = seen.values().flatten().find(|seen| seen.writer.uid == known.uid);
            writers.extend(elsewhere.map(|seen| seen.writer.clone()));
        }
    }
    writers.sort_by(|a, b| a.uid.cmp(&b.uid));
    // One Pod may lead to a store in two ways: it has ended when all of them have.
    writers.dedup_by(|later, first| {
        let same = later.uid == first.uid;
        if same && later.state != WriterState::Ended {
            first.state = later.state;
        }
        same
    });
    writers
}

/// The stores that a Pod may write to, as far as anybody can say.
pub(super) fn written(snapshot: &Snapshot, pod: &Pod) -> Vec<BackingStore> {
    writings(pod).iter().filter_map(|writing| leads_to(snapshot, pod, &writing.target)).collect()
}

/// All Pods that may write, by what they may write to.
fn writers(snapshot: &Snapshot) -> BTreeMap<String, Vec<Seen>> {
    let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let live = snapshot.objects.pods.values().map(|pod| (pod, false));
    let gone = snapshot.objects.gone_pods.values().map(|pod| (pod, true));
    for (pod, gone) in live.chain(gone) {
        let mut waits = None;
        for writing in writings(pod) {
            let Some(store) = leads_to(snapshot, pod, &writing.target) else { continue };
            let mut writer = writer(pod, &writing, gone);
            if writer.state == WriterState::Active && *waits.get_or_insert_with(|| waits_for_others(snapshot, pod)) {
                writer.state = WriterState::Waiting;
            }
            seen.entry(store.to_string()).or_default().push(Seen { writer, store });
        }
    }
    seen
}

/// Whether it is not yet its turn, whoever knows of it: others hold it back, it may not run for another reason, or
/// somebody serves what it would write.
fn waits_for_others(snapshot: &Snapshot, pod: &Pod) -> bool {
    let runs = || {
        let Snapshot { evidence, policies, .. } = snapshot;
        let Extract { subject, uses } = pod.extract();
        let now = evidence.observed_at.unwrap_or_default();
        decide(policies, &subject, &uses, evidence, now).runs()
    };
    is_held(pod) && (is_held_by_others(pod) || gate::nobody_serves(snapshot, pod).is_err() || !runs())
}

fn writer(pod: &Pod, writing: &Writing, gone: bool) -> Writer {
    let state = match (ended(pod, &writing.containers), gone) {
        (true, _) => WriterState::Ended,
        _ if never_starts(pod) => WriterState::NeverBound,
        (false, false) => WriterState::Active,
        (false, true) => WriterState::Vanished,
    };
    Writer {
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        starts: starts(pod, &writing.containers),
        state,
    }
}

/// How many containers may write, and how often they have been restarted.
fn starts(pod: &Pod, containers: &BTreeSet<String>) -> String {
    let status = pod.status.as_ref();
    let lists = status.map(|status| {
        let main = status.container_statuses.iter().flatten();
        main.chain(status.init_container_statuses.iter().flatten())
    });
    let restarts: i32 =
        lists.into_iter().flatten().filter(|one| containers.contains(&one.name)).map(|one| one.restart_count).sum();
    format!("{}/{restarts}", containers.len())
}

/// The store that a Pod's volume leads to. A path of a node counts in namespaces that a policy matches: node agents
/// elsewhere write all over their nodes, and who runs those owns the storage anyway.
fn leads_to(snapshot: &Snapshot, pod: &Pod, target: &Target) -> Option<BackingStore> {
    let Snapshot { evidence, policies, .. } = snapshot;
    let namespace = pod.namespace().unwrap_or_default();
    match target {
        Target::Claim(name) => {
            let claim = evidence.claims.get(&(namespace, name.clone()))?;
            Some(store_of(evidence, claim))
        }
        Target::Nfs(server, path) => Some(BackingStore::Nfs { server: server.clone(), path: path.clone() }),
        Target::HostPath(path) => {
            let labels = &evidence.namespaces.get(&namespace)?.labels;
            let node = pod.spec.as_ref()?.node_name.clone()?;
            policies.match_namespace(&namespace, labels).then(|| BackingStore::Node { node, path: path.clone() })
        }
    }
}
