//! Objects of the API server as facts: what of them a decision can rest on, and nothing else.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, VolumeNodeAffinity,
};
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::json;
use tracing::error;

use crate::api::v1alpha1::{BackingStore, ClusterModelPolicy, ModelPolicy, ModelVerification, ModelVerificationSpec};
use crate::decision::{Backing, ClaimFacts, Record, StoreFacts, VolumeFacts};

/// Who made a volume, as the external provisioner notes it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Label of nodes whose value names one node (well-known labels of Kubernetes).
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Facts of a claim.
pub(crate) fn claim(claim: PersistentVolumeClaim) -> ClaimFacts {
    let spec = claim.spec.unwrap_or_default();
    ClaimFacts {
        uid: claim.metadata.uid.unwrap_or_default(),
        labels: claim.metadata.labels.unwrap_or_default(),
        volume_name: spec.volume_name.filter(|name| !name.is_empty()),
        bound: claim.status.and_then(|status| status.phase).as_deref() == Some("Bound"),
        storage_class: spec.storage_class_name,
        deleting: claim.metadata.deletion_timestamp.is_some(),
        has_data_source: spec.data_source.is_some() || spec.data_source_ref.is_some(),
        access_modes: spec.access_modes.unwrap_or_default(),
    }
}

/// Facts of a volume.
pub(super) fn volume(volume: PersistentVolume) -> VolumeFacts {
    let provisioner = volume.annotations().get(PROVISIONED_BY).cloned();
    let spec = volume.spec.unwrap_or_default();
    let node = spec.node_affinity.as_ref().and_then(only_node);
    let backing = if let Some(csi) = spec.csi {
        Backing::Csi { driver: csi.driver, handle: csi.volume_handle }
    } else if let Some(local) = spec.local {
        Backing::Node { path: local.path, node }
    } else if let Some(host_path) = spec.host_path {
        Backing::Node { path: host_path.path, node }
    } else if let Some(nfs) = spec.nfs {
        Backing::Nfs { server: nfs.server, path: nfs.path }
    } else {
        Backing::Other("volume of another kind".to_owned())
    };
    VolumeFacts {
        uid: volume.metadata.uid.unwrap_or_default(),
        claim_uid: spec.claim_ref.and_then(|claim| claim.uid),
        backing,
        provisioner,
        storage_class: spec.storage_class_name,
    }
}

/// The one node that a required node affinity pins a volume to: one term (terms are alternatives) that demands one
/// value of the host name or of the node's own name.
fn only_node(affinity: &VolumeNodeAffinity) -> Option<String> {
    let [NodeSelectorTerm { match_expressions, match_fields }] =
        affinity.required.as_ref()?.node_selector_terms.as_slice()
    else {
        return None;
    };
    let pins = |requirement: &NodeSelectorRequirement, key: &str| match requirement.values.as_deref() {
        Some([only]) if requirement.key == key && requirement.operator == "In" => Some(only.clone()),
        _ => None,
    };
    let labels = match_expressions.iter().flatten().find_map(|requirement| pins(requirement, HOSTNAME));
    labels.or_else(|| match_fields.iter().flatten().find_map(|requirement| pins(requirement, "metadata.name")))
}

/// A record, if its name is the one that its spec demands.
pub(super) fn record(record: &ModelVerification) -> Option<Record> {
    let name = record.name_any();
    (name == record.spec.record_name()).then(|| Record {
        name,
        uid: record.uid().unwrap_or_default(),
        generation: record.metadata.generation.unwrap_or_default(),
        spec: ModelVerificationSpec { bundle: None, ..record.spec.clone() },
        status: record.status.clone().unwrap_or_default(),
    })
}

/// Facts of a backing store.
pub(super) fn store(store: &BackingStore) -> StoreFacts {
    let status = store.status.clone().unwrap_or_default();
    let writers = status.writers.iter().map(|writer| format!("{}/{}", writer.namespace, writer.pod)).collect();
    StoreFacts { identity: store.spec.identity.clone(), epoch: status.write_epoch, writers }
}

/// Longest value of an annotation that is kept, in characters: a word or a time.
const MAX_ANNOTATION_CHARS: usize = 128;

/// A record without annotations that nobody here reads, and without a bundle, which is read when a run begins: tenants
/// make records, and each may carry 256 KiB of the one and 128 KiB of the other into every replica.
pub(super) fn lean(mut record: ModelVerification) -> ModelVerification {
    record.spec.bundle = None;
    let annotations = record.annotations_mut();
    annotations.retain(|key, _| key.starts_with("weighbridge.dev/"));
    for value in annotations.values_mut() {
        if let Some((end, _)) = value.char_indices().nth(MAX_ANNOTATION_CHARS) {
            value.truncate(end);
        }
    }
    record
}

/// An object of one of our own kinds. One that does not parse is logged, and as good as none.
pub(super) fn parse<K: serde::de::DeserializeOwned>(object: DynamicObject) -> Option<K> {
    let name = object.name_any();
    serde_json::to_value(object)
        .and_then(serde_json::from_value)
        .inspect_err(|error| error!(name, kind = std::any::type_name::<K>(), %error, "an object does not parse"))
        .ok()
}

/// A policy. One that does not parse (written under a newer schema) still stands for what it matches: it becomes one
/// without authorities, which nothing can satisfy, for the namespaces that it names or, failing that, for all.
pub(super) fn policy(object: DynamicObject) -> Option<ClusterModelPolicy> {
    let metadata = object.metadata.clone();
    let raw_match = object.data.pointer("/spec/match").cloned();
    parse(object).or_else(|| {
        let spec =
            |matches: serde_json::Value| json!({ "match": matches, "validationActions": ["Deny"], "authorities": [] });
        let everything = json!({ "namespaceSelector": {} });
        let spec = (raw_match.and_then(|matches| serde_json::from_value(spec(matches)).ok()))
            .or_else(|| serde_json::from_value(spec(everything)).ok())?;
        Some(ClusterModelPolicy { metadata, spec, status: None })
    })
}

/// A policy of a namespace, without annotations, which tenants write. One that does not parse stands for everything in its
/// namespace, as one of the cluster does.
pub(super) fn model_policy(object: DynamicObject) -> Option<ModelPolicy> {
    let metadata = object.metadata.clone();
    let mut policy = parse(object).or_else(|| {
        let spec = serde_json::from_value(json!({ "validationActions": ["Deny"], "authorities": [] })).ok()?;
        Some(ModelPolicy { metadata, spec, status: None })
    })?;
    policy.metadata.annotations = None;
    Some(policy)
}

/// The text of a ConfigMap or Secret, by key; what is not text is left out.
pub(super) fn text<V>(
    data: Option<BTreeMap<String, V>>,
    read: impl Fn(V) -> Option<String>,
) -> BTreeMap<String, String> {
    data.into_iter().flatten().filter_map(|(key, value)| Some((key, read(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affinity(terms: serde_json::Value) -> VolumeNodeAffinity {
        serde_json::from_value(json!({ "required": { "nodeSelectorTerms": terms } })).unwrap()
    }

    #[test]
    fn only_a_single_term_with_a_single_value_pins_a_node() {
        let pin =
            |values: &[&str]| json!({ "matchExpressions": [{ "key": HOSTNAME, "operator": "In", "values": values }] });
        assert_eq!(only_node(&affinity(json!([pin(&["a"])]))).as_deref(), Some("a"));
        assert_eq!(only_node(&affinity(json!([pin(&["a", "b"])]))), None);
        assert_eq!(only_node(&affinity(json!([pin(&["a"]), pin(&["b"])]))), None);
        let zone = json!([{ "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z"] }] }]);
        assert_eq!(only_node(&affinity(zone)), None);
    }

    #[test]
    fn what_a_tenant_writes_on_a_record_is_not_kept() {
        let mut record = ModelVerification::new("r", ModelVerificationSpec::of_claim("c", ""));
        let long = "é".repeat(200 * 1024 / 2);
        record.metadata.annotations = Some(BTreeMap::from([
            ("weighbridge.dev/reverify".to_owned(), long.clone()),
            ("weighbridge.dev/created-by".to_owned(), "operator".to_owned()),
            ("example.com/x".to_owned(), long),
        ]));
        let kept = lean(record);
        assert_eq!(kept.annotations().len(), 2);
        assert_eq!(kept.annotations()["weighbridge.dev/created-by"], "operator");
        assert_eq!(kept.annotations()["weighbridge.dev/reverify"], "é".repeat(128));
    }

    fn unreadable_policy(matches: serde_json::Value) -> ClusterModelPolicy {
        let object = json!({
            "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy", "metadata": { "name": "p" },
            "spec": { "match": matches, "validationActions": ["FromTheFuture"], "authorities": [] },
        });
        policy(serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_policy_that_does_not_parse_still_matches_what_it_matched() {
        let tier = json!({ "namespaceSelector": { "matchLabels": { "tier": "production" } } });
        let labels = unreadable_policy(tier).spec.matches.namespace_selector.match_labels.unwrap();
        assert_eq!(labels["tier"], "production");
    }

    #[test]
    fn a_policy_of_a_namespace_that_does_not_parse_stands_for_all_of_it() {
        let object = json!({
            "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelPolicy",
            "metadata": { "name": "p", "namespace": "team", "annotations": { "a": "b" } },
            "spec": { "match": { "someNewSelector": true } },
        });
        let policy = model_policy(serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!((policy.name_any(), policy.namespace()), ("p".into(), Some("team".into())));
        assert_eq!(policy.spec.matches, crate::api::v1alpha1::VolumeMatch::default());
        assert!(policy.spec.authorities.is_empty() && policy.annotations().is_empty());
    }

    #[test]
    fn a_policy_whose_match_does_not_parse_matches_everything() {
        let policy = unreadable_policy(json!({ "someNewSelector": true }));
        assert_eq!(policy.spec.matches, crate::api::v1alpha1::Match::default());
        assert!(policy.spec.authorities.is_empty());
    }
}
