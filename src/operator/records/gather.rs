//! From a snapshot to the situation of every record.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::situation::{Fetch, Part, REVERIFY, Schedule, Situation, Trust};
use super::usage::{RecordKey, Usage, pods_by_claim};
use super::verifier_pod::{Placement, VerifierSettings};
use crate::api::v1alpha1::{MAX_TRUST_NAMES, ModelVerification, ModelVerificationSpec, ModelVerificationStatus};
use crate::decision::{ClaimFacts, ClaimKey, NamespaceFacts, VolumeFacts, check_storage};
use crate::index::Snapshot;
use crate::operator::stores::View;
use crate::operator::stores::gather::store_of;
use crate::policy::{CompiledPolicy, TrustPiece, TrustSet};
use crate::workload::{BackingStore, Ids};

/// What this process remembers of failures, by record: how many, and until when it waits.
pub type Memory = HashMap<RecordKey, (i32, Timestamp)>;

/// The situation of every record, in the order of their names.
pub fn situations(
    snapshot: &Snapshot,
    view: &View,
    usage: &Usage,
    settings: &VerifierSettings,
    memory: &Memory,
) -> Vec<Situation> {
    let pods = pods_by_claim(snapshot);
    let mut trust: HashMap<&str, Trust> = HashMap::new();
    let mut records: Vec<_> = snapshot.objects.records.iter().collect();
    records.sort_by_key(|(key, _)| *key);
    let situation = |(key, record): (&RecordKey, &Arc<ModelVerification>)| {
        let facts = snapshot.evidence.namespaces.get(&key.0);
        let policies: Vec<&CompiledPolicy> =
            facts.iter().flat_map(|facts| snapshot.policies.matching(&key.0, &facts.labels)).collect();
        let named = snapshot.objects.records.get_key_value(key).map_or("", |(key, _)| key.0.as_str());
        let trust = trust.entry(named).or_insert_with(|| trust_of(snapshot, &key.0, facts.map(AsRef::as_ref)));
        let source = record.spec.source.claim.clone().unwrap_or_default();
        let claim_key = (key.0.clone(), source.name);
        let claim = snapshot.evidence.claims.get(&claim_key).cloned();
        let volume = claim.as_ref().and_then(|claim| bound_volume(snapshot, claim));
        let users = pods.get(&claim_key).map(Vec::as_slice).unwrap_or_default();
        let status = record.status.clone().unwrap_or_default();
        let verifier = verifier(snapshot, &key.0, &status);
        let store = claim
            .as_ref()
            .map_or_else(|| BackingStore::Claim { uid: String::new() }, |claim| store_of(&snapshot.evidence, claim));
        Situation {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: record.uid().unwrap_or_default(),
            generation: record.metadata.generation,
            spec: record.spec.clone(),
            asked: record.annotations().get(REVERIFY).cloned(),
            store: view.of(&store),
            not_verifiable: not_verifiable(
                &policies,
                claim.as_deref(),
                volume.as_ref().map(|(_, volume)| volume.as_ref()),
            ),
            ignored: policies.iter().map(|policy| Arc::clone(&policy.ignored)).collect(),
            fetch: fetch(&record.spec, &policies),
            trust: trust.clone(),
            schedule: schedule(&policies),
            ids: ids(usage, &claim_key, &policies),
            placement: placement(usage, &claim_key, claim.as_deref(), users),
            exclusive_user: exclusive_user(claim.as_deref(), users),
            waits_elsewhere: waits_elsewhere(claim.as_deref(), verifier.as_deref(), users),
            verifier,
            remembered: memory.get(key).copied(),
            image: settings.image.clone(),
            parts: parts(snapshot, &key.0, &record.spec, &status),
            claim,
            volume,
            status,
        }
    };
    records.into_iter().map(situation).collect()
}

fn bound_volume(snapshot: &Snapshot, claim: &ClaimFacts) -> Option<(String, Arc<VolumeFacts>)> {
    let name = claim.volume_name.as_ref().filter(|_| claim.bound)?;
    let volume = snapshot.evidence.volumes.get(name)?;
    (volume.claim_uid.as_deref() == Some(&claim.uid)).then(|| (name.clone(), Arc::clone(volume)))
}

fn verifier(snapshot: &Snapshot, namespace: &str, status: &ModelVerificationStatus) -> Option<Arc<Pod>> {
    let name = status.run.as_ref()?.pod.clone()?;
    snapshot.objects.pods.get(&(namespace.to_owned(), name)).cloned()
}

/// What the records of the models below a path say.
fn parts(
    snapshot: &Snapshot,
    namespace: &str,
    spec: &ModelVerificationSpec,
    status: &ModelVerificationStatus,
) -> Vec<Part> {
    let part = |path: &String| {
        let key = (namespace.to_owned(), spec.of_part(path).record_name());
        let record = snapshot.objects.records.get(&key);
        let conditions = record.and_then(|record| record.status.as_ref()).map(|status| &status.conditions);
        let verified = conditions.into_iter().flatten().find(|condition| condition.type_ == "Verified");
        let verified = verified.map(|it| [it.status.clone(), it.reason.clone(), it.message.clone()]);
        Part { path: path.clone(), verified }
    };
    status.parts.iter().map(part).collect()
}

fn trust_of(snapshot: &Snapshot, namespace: &str, facts: Option<&NamespaceFacts>) -> Trust {
    let none = TrustSet::default();
    let set = facts.map_or(none, |facts| snapshot.policies.trust_for(namespace, &facts.labels));
    let names = set.names().map(str::to_owned).collect::<Vec<String>>();
    let names = if names.len() > MAX_TRUST_NAMES { Vec::new() } else { names };
    Trust { digest: set.digest(), names, pieces: set.pieces().map(piece).collect() }
}

/// A piece as the value of an environment variable. A kubelet replaces `$(NAME)` and `$$` in those; `$` is only ever
/// inside a string here, where JSON can spell it otherwise.
fn piece(piece: &TrustPiece) -> String {
    json!(piece).to_string().replace('$', "\\u0024")
}

/// Why no policy that matches would believe a read of this volume.
fn not_verifiable(
    policies: &[&CompiledPolicy],
    claim: Option<&ClaimFacts>,
    volume: Option<&VolumeFacts>,
) -> Option<String> {
    let (claim, volume) = (claim?, volume?);
    let mut findings = Vec::new();
    for policy in policies {
        findings.push(check_storage(claim, volume, &policy.content.trusted_storage).err()?);
    }
    let first = findings.into_iter().next()?;
    Some(format!("{}; {}", first.what, first.fix))
}

/// Whoever made the record: what it names is fetched only from where a policy of the cluster lists.
fn fetch(spec: &ModelVerificationSpec, policies: &[&CompiledPolicy]) -> Fetch {
    let Some(reference) = spec.registry() else { return Fetch::Nothing };
    let listing = policies.iter().find_map(|policy| policy.bundle_registries.listing(&reference));
    listing.map_or_else(|| Fetch::Unlisted(reference.place()), |glob| Fetch::From(glob.to_owned()))
}

fn schedule(policies: &[&CompiledPolicy]) -> Schedule {
    Schedule {
        reverify_after: policies.iter().filter_map(|policy| policy.content.reverify_after).min(),
        max_age: policies.iter().filter_map(|policy| policy.content.max_age).min(),
    }
}

/// The ids of those who read the claim, then those that a policy names, then nobody's.
fn ids(usage: &Usage, claim: &ClaimKey, policies: &[&CompiledPolicy]) -> Vec<Ids> {
    let readers = usage.readers.get(claim).into_iter().flatten().map(|reader| reader.ids.clone());
    let named = policies.iter().filter_map(|policy| policy.content.read_as.as_ref()).map(|read_as| Ids {
        user: Some(read_as.run_as_user),
        group: read_as.run_as_group,
        groups: read_as.supplemental_groups.clone(),
        selinux: None,
    });
    let mut all: Vec<Ids> = Vec::new();
    for ids in readers.chain(named).chain([Ids::default()]) {
        if !all.contains(&ids) {
            all.push(ids);
        }
    }
    // Whoever names ids can read with them: nobody's come last.
    all.sort_by_key(|ids| *ids == Ids::default());
    all
}

fn placement(usage: &Usage, key: &ClaimKey, claim: Option<&ClaimFacts>, users: &[&Pod]) -> Placement {
    let readers = usage.readers.get(key).into_iter().flatten();
    let mut placement = readers.map(|reader| reader.placement.clone()).next().unwrap_or_default();
    if claim.is_some_and(is_for_one_node) {
        let holder = users.iter().find(|pod| !is_pending(pod)).and_then(|pod| node(pod));
        placement.node = holder.or_else(|| users.iter().find_map(|pod| node(pod))).map(str::to_owned);
    }
    placement
}

/// Whether only one node at a time can use the claim.
fn is_for_one_node(claim: &ClaimFacts) -> bool {
    let shared = |mode: &String| matches!(mode.as_str(), "ReadWriteMany" | "ReadOnlyMany");
    !claim.access_modes.is_empty() && !claim.access_modes.iter().any(shared)
}

fn exclusive_user(claim: Option<&ClaimFacts>, users: &[&Pod]) -> Option<String> {
    let exclusive = claim?.access_modes.iter().any(|mode| mode == "ReadWriteOncePod");
    users.first().filter(|_| exclusive).map(|pod| pod.name_any())
}

/// A Pod that cannot start because the verifier holds the claim on its own node, alone.
fn waits_elsewhere(claim: Option<&ClaimFacts>, verifier: Option<&Pod>, users: &[&Pod]) -> Option<String> {
    let here = node(verifier?)?;
    let held_by_others = users.iter().any(|pod| node(pod) == Some(here) && !is_pending(pod));
    let mut waiting = users.iter().filter(|pod| is_pending(pod) && node(pod).is_some_and(|node| node != here));
    waiting.next().filter(|_| !held_by_others && claim.is_some_and(is_for_one_node)).map(|pod| pod.name_any())
}

fn is_pending(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending")
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_finds_nothing_to_replace_in_a_piece() {
        let json = r#"{"mediaType": "$(HOME) $$ \\"}"#.to_owned();
        let written = piece(&TrustPiece::TrustedRoot { json: json.clone() });
        assert!(!written.contains('$'), "{written}");
        assert_eq!(serde_json::from_str::<TrustPiece>(&written).unwrap(), TrustPiece::TrustedRoot { json });
    }
}
