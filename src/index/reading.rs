//! Evidence about one Pod from objects that were read just now, for decisions that must not rest on what a watch may
//! not have brought yet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::core::DynamicObject;

use super::snapshot::{Objects, Snapshot};
use super::{facts, state};
use crate::api::v1alpha1::{BackingStore, ClusterModelPolicy, ModelPolicy, ModelVerification};
use crate::decision::{ClaimKey, Evidence, NamespaceFacts, Records};
use crate::policy::CompiledPolicies;

impl Snapshot {
    /// The policies that were read, compiled: those of the cluster, and those of one namespace. Where they are the same
    /// as in this snapshot, its own.
    pub fn policies_of(
        &self,
        cluster: Vec<DynamicObject>,
        namespace: &str,
        of_namespace: Vec<DynamicObject>,
        own_namespace: &str,
    ) -> CompiledPolicies {
        let cluster: Vec<ClusterModelPolicy> = cluster.into_iter().filter_map(facts::policy).collect();
        let namespaced: Vec<ModelPolicy> = of_namespace.into_iter().filter_map(facts::model_policy).collect();
        let Objects { policies, model_policies, .. } = &self.objects;
        let here = model_policies.iter().filter(|((other, _), _)| other == namespace);
        if versions(&cluster) == versions(policies.values().map(Arc::as_ref))
            && versions(&namespaced) == versions(here.map(|(_, policy)| policy.as_ref()))
        {
            return self.policies.clone();
        }
        let trust = state::trust_sources(&self.objects);
        CompiledPolicies::compile(&cluster, &trust, own_namespace).and_namespaced(&namespaced, &trust)
    }

    /// Evidence of what was read alone. Stores are those of this snapshot: see [`with_store`].
    pub fn evidence_of(
        &self,
        namespace: Option<Namespace>,
        claims: Vec<PersistentVolumeClaim>,
        volumes: Vec<PersistentVolume>,
        records: Vec<DynamicObject>,
    ) -> Evidence {
        let key = |claim: &PersistentVolumeClaim| (claim.namespace().unwrap_or_default(), claim.name_any());
        let namespaces = namespace
            .into_iter()
            .map(|it| (it.name_any(), Arc::new(NamespaceFacts { labels: it.metadata.labels.unwrap_or_default() })));
        let mut by_claim: HashMap<ClaimKey, Records> = HashMap::new();
        for record in records.into_iter().filter_map(facts::parse::<ModelVerification>) {
            if let (Some(facts), Some(claim)) = (facts::record(&record), &record.spec.source.claim) {
                let key = (record.namespace().unwrap_or_default(), claim.name.clone());
                by_claim.entry(key).or_default().push(Arc::new(facts));
            }
        }
        by_claim.values_mut().for_each(|records| records.sort_by(|a, b| a.name.cmp(&b.name)));
        Evidence {
            namespaces: Arc::new(namespaces.collect()),
            claims: Arc::new(claims.into_iter().map(|it| (key(&it), Arc::new(facts::claim(it)))).collect()),
            volumes: Arc::new(volumes.into_iter().map(|it| (it.name_any(), Arc::new(facts::volume(it)))).collect()),
            records: Arc::new(by_claim),
            stores: Arc::clone(&self.evidence.stores),
            observed_at: self.evidence.observed_at,
        }
    }
}

/// What tells apart two sets of objects of one kind: uids and generations.
fn versions<'a, K: ResourceExt + 'a>(
    objects: impl IntoIterator<Item = &'a K>,
) -> BTreeSet<(Option<String>, Option<i64>)> {
    objects.into_iter().map(|object| (object.uid(), object.meta().generation)).collect()
}

/// Evidence with what was read of a store; one that does not exist has never been written to.
pub fn with_store(mut evidence: Evidence, identity: &str, read: Option<&BackingStore>) -> Evidence {
    let stores = Arc::make_mut(&mut evidence.stores);
    match read {
        Some(store) => stores.insert(identity.to_owned(), Arc::new(facts::store(store))),
        None => stores.remove(identity),
    };
    evidence
}
