//! All kinds together, and the snapshot that is made of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;

use super::custom::Custom;
use super::facts;
use super::gone::GonePods;
use super::snapshot::{Objects, Snapshot, Workload, WorkloadKey};
use super::table::Table;
use crate::api::v1alpha1::{
    BackingStore, ClusterModelPolicy, ModelKind, ModelPolicy, ModelVerification, WorkloadVerification,
};
use crate::decision::{ClaimFacts, ClaimKey, Evidence, NamespaceFacts, Records, VolumeFacts};
use crate::model::{HashAlgorithm, Hasher};
use crate::policy::{CompiledPolicies, FOR_MODEL_POLICIES, TrustSources};
use crate::workload::CustomKinds;

/// What is known at this moment, kind by kind.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) namespaces: Table<String, NamespaceFacts>,
    pub(super) claims: Table<ClaimKey, ClaimFacts>,
    pub(super) volumes: Table<String, VolumeFacts>,
    pub(super) policies: Table<String, ClusterModelPolicy>,
    pub(super) kinds: Table<String, ModelKind>,
    pub(super) model_policies: Table<(String, String), ModelPolicy>,
    pub(super) records: Table<(String, String), ModelVerification>,
    pub(super) stores: Table<String, BackingStore>,
    pub(super) trust_config_maps: Table<String, ConfigMap>,
    pub(super) trust_secrets: BTreeMap<String, Table<String, Secret>>,
    pub(super) pods: Table<(String, String), Pod>,
    pub(super) gone_pods: GonePods,
    pub(super) workloads: BTreeMap<&'static str, Table<WorkloadKey, Workload>>,
    pub(super) workload_verifications: Table<(String, String), WorkloadVerification>,
    pub(super) leases: Table<String, Lease>,
    pub(super) custom: Custom,
    /// Whether anything but signs of life has come in since the last snapshot.
    pub(super) changed: bool,
    /// The snapshot that was made last: what has not changed since is taken over from it.
    last: Snapshot,
}

impl State {
    /// When the slowest watch last showed a sign of life; `None` until every kind was listed.
    fn observed_at(&self) -> Option<Timestamp> {
        let fixed = [
            self.namespaces.seen(),
            self.claims.seen(),
            self.volumes.seen(),
            self.policies.seen(),
            self.kinds.seen(),
            self.model_policies.seen(),
            self.records.seen(),
            self.stores.seen(),
            self.trust_config_maps.seen(),
            self.pods.seen(),
            self.workload_verifications.seen(),
            self.leases.seen(),
        ];
        let several = self.trust_secrets.values().map(Table::seen).chain(self.workloads.values().map(Table::seen));
        fixed.into_iter().chain(several).try_fold(Timestamp::MAX, |oldest, seen| Some(oldest.min(seen?)))
    }

    /// The snapshot of this moment; nothing before every kind was listed.
    pub(super) fn publish(&mut self, own_namespace: &str) -> Option<Snapshot> {
        let observed_at = self.observed_at()?;
        let mut next = self.last.clone();
        next.version += 1;
        self.refresh_policies(&mut next, own_namespace);
        if self.kinds.take_changed() {
            next.kinds = CustomKinds::with(sorted(&self.kinds).values().map(|kind| &kind.spec));
        }
        self.refresh_records(&mut next);
        self.refresh_stores(&mut next);
        if any_changed(self.workloads.values_mut()) {
            next.objects.workloads = Arc::new(merged(self.workloads.values().map(Table::rows)));
        }
        next.objects.pods = self.pods.rows();
        next.objects.gone_pods = self.gone_pods.pods();
        next.objects.pods_since = self.gone_pods.complete_since();
        next.objects.workload_verifications = self.workload_verifications.rows();
        if let Some(custom) = self.custom.take_changed() {
            next.objects.custom = custom;
        }
        if self.leases.take_changed() {
            next.objects.leases = sorted(&self.leases);
        }
        next.evidence = Evidence {
            namespaces: self.namespaces.rows(),
            claims: self.claims.rows(),
            volumes: self.volumes.rows(),
            observed_at: Some(observed_at),
            ..next.evidence
        };
        self.last = next.clone();
        Some(next)
    }

    fn refresh_policies(&mut self, next: &mut Snapshot, own_namespace: &str) {
        let changed = [
            self.policies.take_changed(),
            self.model_policies.take_changed(),
            self.trust_config_maps.take_changed(),
            any_changed(self.trust_secrets.values_mut()),
        ];
        if !changed.contains(&true) && self.last.version > 0 {
            return;
        }
        let secrets: BTreeMap<String, Arc<Secret>> = merged(self.trust_secrets.values().map(Table::rows));
        next.objects.policies = sorted(&self.policies);
        next.objects.model_policies = sorted(&self.model_policies);
        next.objects.trust_config_maps = sorted(&self.trust_config_maps);
        next.objects.trust_secrets = Arc::new(secrets);
        let trust = trust_sources(&next.objects);
        next.policy_hash = policy_hash(&next.objects, &trust);
        let Objects { policies, model_policies, .. } = &next.objects;
        next.policies = CompiledPolicies::compile(policies.values().map(Arc::as_ref), &trust, own_namespace)
            .and_namespaced(model_policies.values().map(Arc::as_ref), &trust);
    }

    fn refresh_records(&mut self, next: &mut Snapshot) {
        if !self.records.take_changed() {
            return;
        }
        next.objects.records = self.records.rows();
        let mut by_claim: HashMap<ClaimKey, Records> = HashMap::new();
        for ((namespace, _), record) in next.objects.records.iter() {
            if let (Some(facts), Some(claim)) = (facts::record(record), &record.spec.source.claim) {
                by_claim.entry((namespace.clone(), claim.name.clone())).or_default().push(Arc::new(facts));
            }
        }
        for records in by_claim.values_mut() {
            records.sort_by(|a, b| a.name.cmp(&b.name));
        }
        next.evidence.records = Arc::new(by_claim);
    }

    fn refresh_stores(&mut self, next: &mut Snapshot) {
        if !self.stores.take_changed() {
            return;
        }
        next.objects.stores = sorted(&self.stores);
        let versions = next.objects.stores.values().filter_map(|store| store.resource_version()?.parse().ok());
        next.objects.stores_version = versions.max().unwrap_or(0);
        let stores = next.objects.stores.values();
        let stores = stores.map(|store| (store.spec.identity.clone(), Arc::new(facts::store(store))));
        next.evidence.stores = Arc::new(stores.collect());
    }
}

/// Whether one of several tables has changed; asks all of them.
fn any_changed<'a, K: Eq + Hash + Clone + 'a, V: 'a>(tables: impl Iterator<Item = &'a mut Table<K, V>>) -> bool {
    tables.filter_map(|table| table.take_changed().then_some(())).count() > 0
}

fn sorted<K: Ord + Eq + Hash + Clone, V>(table: &Table<K, V>) -> Arc<BTreeMap<K, Arc<V>>> {
    Arc::new(merged(std::iter::once(table.rows())))
}

/// The rows of several tables in one map.
fn merged<K: Clone, V, M: FromIterator<(K, Arc<V>)>>(tables: impl Iterator<Item = Arc<HashMap<K, Arc<V>>>>) -> M {
    tables.flat_map(|rows| rows.iter().map(|(key, row)| (key.clone(), Arc::clone(row))).collect::<Vec<_>>()).collect()
}

/// The trust material that policies may refer to.
pub(super) fn trust_sources(objects: &Objects) -> TrustSources {
    let config_maps = objects.trust_config_maps.iter();
    let secrets = objects.trust_secrets.iter();
    let (marker, value) = FOR_MODEL_POLICIES;
    let marked = |map: &ConfigMap| map.labels().get(marker).map(String::as_str) == Some(value);
    let for_namespaces = config_maps.clone().filter(|(_, map)| marked(map)).map(|(name, _)| name.clone());
    TrustSources {
        for_namespaces: for_namespaces.collect(),
        config_maps: config_maps.map(|(name, map)| (name.clone(), facts::text(map.data.clone(), Some))).collect(),
        secrets: secrets
            .map(|(name, secret)| {
                (name.clone(), facts::text(secret.data.clone(), |data| String::from_utf8(data.0).ok()))
            })
            .collect(),
    }
}

/// See [`Snapshot::policy_hash`].
fn policy_hash(objects: &Objects, trust: &TrustSources) -> String {
    let mut hash = Hasher::new(HashAlgorithm::Sha256);
    let mut feed = |text: &str| {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    let cluster = objects.policies.values().map(|policy| &policy.metadata);
    let namespaced = objects.model_policies.values().map(|policy| &policy.metadata);
    for metadata in cluster.chain(namespaced) {
        feed(metadata.namespace.as_deref().unwrap_or_default());
        feed(metadata.name.as_deref().unwrap_or_default());
        feed(metadata.uid.as_deref().unwrap_or_default());
        feed(&metadata.generation.unwrap_or_default().to_string());
    }
    trust.for_namespaces.iter().for_each(|name| feed(name));
    for (name, data) in trust.config_maps.iter().chain(&trust.secrets) {
        feed(name);
        for (key, text) in data {
            feed(key);
            feed(text);
        }
    }
    hash.finish().to_hex()
}

#[cfg(test)]
mod tests {
    use super::super::watch::Event;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Every kind was listed and is empty.
    fn warm() -> State {
        let mut state = State::default();
        state.namespaces.take(Event::Reset(vec![]), at(1));
        state.claims.never_followed();
        state.volumes.never_followed();
        state.policies.never_followed();
        state.kinds.never_followed();
        state.model_policies.never_followed();
        state.records.never_followed();
        state.stores.never_followed();
        state.trust_config_maps.never_followed();
        state.pods.never_followed();
        state.workload_verifications.never_followed();
        state.leases.never_followed();
        state
    }

    #[test]
    fn nothing_is_published_before_every_kind_was_listed() {
        let mut state = warm();
        assert!(state.publish("weighbridge").is_some());
        state.trust_secrets.entry("keys".into()).or_default();
        assert!(state.publish("weighbridge").is_none());
    }

    #[test]
    fn the_slowest_watch_is_the_age() {
        let mut state = warm();
        state.volumes.take(Event::Reset(vec![]), at(5));
        assert_eq!(state.publish("weighbridge").unwrap().evidence.observed_at, Some(at(1)));
        state.namespaces.take(Event::Alive, at(9));
        assert_eq!(state.publish("weighbridge").unwrap().evidence.observed_at, Some(at(5)));
    }

    #[test]
    fn the_policy_hash_follows_a_key_in_a_config_map() {
        let mut trust = TrustSources::default();
        let before = policy_hash(&Objects::default(), &trust);
        trust.config_maps.entry("keys".into()).or_default().insert("key.pem".into(), "…".into());
        let with_key = policy_hash(&Objects::default(), &trust);
        assert_ne!(before, with_key);
        trust.for_namespaces.insert("keys".into());
        assert_ne!(with_key, policy_hash(&Objects::default(), &trust), "namespaces may refer to it");
    }
}
