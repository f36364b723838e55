//! Whether a writer may start, and whether its end was seen.
//!
//! Receives a Pod that waits behind our gate, a snapshot and the replicas of the webhook; promises that a writer starts
//! only when nobody can start a container on what it writes, when every store that it may write to says that it may be
//! written, and when every replica that may be answering has seen that: whoever is let in before it starts reads what was
//! verified, and nobody is let in afterwards. Never lifts a gate.
//!
//! ```text
//! held by us alone ──nobody_serves──▶ marked (plan) ──everybody_knows──▶ may start
//! ```
//!
//! A writer that waits for Pods that serve is not marked yet: until it is its turn, their successors are let in as ever.
//! Two Pods that are held do not wait for each other, nor do two writers; so what loads a model and what serves it can be
//! applied at once.

use std::collections::HashSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::gather::{relevant, store_of, written};
use crate::api::v1alpha1::WhileServing;
use crate::decision::ClaimKey;
use crate::index::Snapshot;
use crate::lease::Replica;
use crate::model::shown;
use crate::operator::records::verifier_pod::NAME_PREFIX;
use crate::policy::{CompiledPolicy, PolicyName};
use crate::workload::{BackingStore, HasModels, ModelUse, ended, is_held, is_over, never_starts, writings};

/// How many of those for whom a writer waits are named.
const MAX_NAMED: usize = 3;
/// How long a kubelet has to report the end of a Pod that was deleted by force. One that lives stops the containers at once
/// and reports within seconds.
const LAST_WORDS: SignedDuration = SignedDuration::from_mins(1);

/// What a writer waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Pods that read what it would write and can still start a container, as namespace and name.
    Serving(Vec<(String, String)>),
    /// That the stores to which it may write say so.
    Mark,
    /// Replicas of the webhook that have not seen that yet.
    Replicas(Vec<String>),
}

impl WaitsFor {
    /// What it waits for, as one word of a closed set.
    pub const fn as_str(&self) -> &'static str {
        match self {
            WaitsFor::Serving(_) => "Serving",
            WaitsFor::Mark => "Mark",
            WaitsFor::Replicas(_) => "Replicas",
        }
    }

    /// The same in words, for those who may look into a namespace.
    pub fn sentence(&self, namespace: &str) -> String {
        match self {
            WaitsFor::Serving(pods) => {
                // A Pod of another namespace is not the business of this one.
                let own = pods.iter().filter(|(other, _)| other == namespace).map(|(_, name)| shown(name));
                let named: Vec<String> = own.take(MAX_NAMED).collect();
                let who = match (named.join(", "), pods.len() - named.len()) {
                    (own, 0) => own,
                    (own, more) if own.is_empty() => format!("{more} of other namespaces"),
                    (own, more) => format!("{own} and {more} more"),
                };
                format!("it may write to a model that Pods serve: {who}; stop them, or wait until they have ended")
            }
            WaitsFor::Mark => "it may write to a model, and that is being noted".to_owned(),
            WaitsFor::Replicas(names) => {
                format!("it may write to a model, and {} of the webhook must learn of it", Count(names.len()))
            }
        }
    }
}

/// So many replicas.
struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("one replica"),
            count => write!(f, "{count} replicas"),
        }
    }
}

/// Whether a Pod that we hold may start, as far as what it may write to is concerned.
pub fn may_start(pod: &Pod, snapshot: &Snapshot, replicas: &[Replica]) -> Result<(), WaitsFor> {
    nobody_serves(snapshot, pod)?;
    let version = is_marked(snapshot, pod)?;
    everybody_knows(replicas, version)
}

/// Whether all is known of how a Pod's writing ended, so that the Pod itself need not be kept.
///
/// Of one that is deleted by force that may never be known, its node being away: then it goes as one that vanished, which
/// its stores go on saying.
pub fn may_go(pod: &Pod, snapshot: &Snapshot, now: Timestamp) -> bool {
    let forced = pod.metadata.deletion_grace_period_seconds == Some(0);
    let deleted = pod.metadata.deletion_timestamp.as_ref().filter(|_| forced);
    if deleted.is_some_and(|deleted| now.duration_since(deleted.0) >= LAST_WORDS) {
        return true;
    }
    let over = never_starts(pod) || writings(pod).iter().all(|writing| ended(pod, &writing.containers));
    let uid = pod.uid().unwrap_or_default();
    let mut writers = snapshot.objects.stores.values().flat_map(|store| &store.status).flat_map(|it| &it.writers);
    over && !writers.any(|writer| writer.uid == uid)
}

/// The namespaces of the Pods for which a Pod may have to wait; none where it writes to nothing.
pub(super) fn exposed_namespaces(snapshot: &Snapshot, pod: &Pod) -> HashSet<String> {
    exposed(snapshot, &written(snapshot, pod)).into_iter().map(|(namespace, _)| namespace).collect()
}

/// Pods under the same or any other policy that can still start a container on what this one may write.
pub(super) fn nobody_serves(snapshot: &Snapshot, pod: &Pod) -> Result<(), WaitsFor> {
    let stores = written(snapshot, pod);
    let exposed = exposed(snapshot, &stores);
    if exposed.is_empty() {
        return Ok(());
    }
    let namespace = pod.namespace().unwrap_or_default();
    let own = rule(snapshot, pod, &exposed, &namespace);
    let serves = |other: &Pod| {
        let rules = rule(snapshot, other, &exposed, &namespace);
        rules.is_some() && [own, rules].contains(&Some(WhileServing::Exclusive))
    };
    let writes = |other: &Pod| written(snapshot, other).iter().any(|it| stores.iter().any(|store| store.overlaps(it)));
    let pods = snapshot.objects.pods.iter().filter(|(_, other)| {
        other.uid() != pod.uid() && mounts(other, &exposed) && can_start(other) && !writes(other) && serves(other)
    });
    let mut serving: Vec<(String, String)> = pods.map(|(key, _)| key.clone()).collect();
    serving.sort();
    if serving.is_empty() { Ok(()) } else { Err(WaitsFor::Serving(serving)) }
}

/// The version of the stores by which all that this Pod may write to say so.
fn is_marked(snapshot: &Snapshot, pod: &Pod) -> Result<u64, WaitsFor> {
    let stores = written(snapshot, pod);
    let uid = pod.uid().unwrap_or_default();
    let mut version = 0;
    for identity in relevant(snapshot) {
        let identity: BackingStore = identity.parse().map_err(|_| WaitsFor::Mark)?;
        if !stores.iter().any(|store| store.overlaps(&identity)) {
            continue;
        }
        let identity = identity.to_string();
        let object = snapshot.objects.stores.values().find(|object| object.spec.identity == identity);
        let marked = object.filter(|object| {
            let mut writers = object.status.iter().flat_map(|status| &status.writers);
            writers.any(|writer| writer.uid == uid && !writer.vanished)
        });
        let seen_by = marked.and_then(|object| object.resource_version()?.parse().ok());
        version = version.max(seen_by.ok_or(WaitsFor::Mark)?);
    }
    Ok(version)
}

/// Whether every replica that may be answering has seen the stores in this version.
fn everybody_knows(replicas: &[Replica], version: u64) -> Result<(), WaitsFor> {
    let behind = replicas.iter().filter(|replica| replica.stores.is_none_or(|seen| seen < version));
    let behind: Vec<String> = behind.map(|replica| replica.name.clone()).collect();
    // In version 0 there is nothing to be seen.
    if version == 0 || behind.is_empty() { Ok(()) } else { Err(WaitsFor::Replicas(behind)) }
}

/// The claims through which these stores can be read.
fn exposed(snapshot: &Snapshot, stores: &[BackingStore]) -> HashSet<ClaimKey> {
    if stores.is_empty() {
        return HashSet::new();
    }
    let leads = |store: &BackingStore| stores.iter().any(|written| written.overlaps(store));
    let claims = snapshot.evidence.claims.iter();
    claims.filter(|(_, claim)| leads(&store_of(&snapshot.evidence, claim))).map(|(key, _)| key.clone()).collect()
}

fn mounts(pod: &Pod, exposed: &HashSet<ClaimKey>) -> bool {
    let namespace = pod.namespace().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.any(|claim| exposed.contains(&(namespace.clone(), claim.claim_name.clone())))
}

/// Whether a Pod can start a container without anybody being asked. A verifier's result is thrown away once its store is
/// marked, and the verifier with it.
fn can_start(pod: &Pod) -> bool {
    !is_held(pod) && !is_over(pod) && !pod.name_any().starts_with(NAME_PREFIX)
}

/// What the policies that select a Pod's use of these claims say to a writer of a namespace; nothing where there is none.
///
/// A policy of a namespace has a say about the writers of that namespace alone: else whoever may write one, and share a
/// store, could hold back the writers of everybody else for as long as he likes.
fn rule(
    snapshot: &Snapshot,
    pod: &Pod,
    exposed: &HashSet<ClaimKey>,
    namespace_of_writer: &str,
) -> Option<WhileServing> {
    let Snapshot { evidence, policies, .. } = snapshot;
    let namespace = pod.namespace().unwrap_or_default();
    let labels = &evidence.namespaces.get(&namespace)?.labels;
    let uses = pod.extract().uses;
    let concerns =
        |it: &&ModelUse| it.claim().is_some_and(|claim| exposed.contains(&(namespace.clone(), claim.to_owned())));
    let uses: Vec<&ModelUse> = uses.iter().filter(concerns).collect();
    let selects = |policy: &&CompiledPolicy| {
        let facts = |it: &ModelUse| evidence.source_facts(&namespace, it.claim().unwrap_or_default());
        uses.iter().any(|it| policy.selects(it, &facts(it)))
    };
    let says = |policy: &CompiledPolicy| match &policy.name {
        PolicyName::Namespaced { namespace, .. } if namespace != namespace_of_writer => WhileServing::Report,
        PolicyName::Namespaced { .. } | PolicyName::Cluster(_) => policy.content.while_serving,
    };
    // The stricter of them.
    policies.matching(&namespace, labels).filter(selects).map(says).min()
}

#[cfg(test)]
mod tests;
