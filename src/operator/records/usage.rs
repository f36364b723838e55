//! Who uses which claim as a model, and which records that takes.
//!
//! Receives a snapshot; promises to judge workloads and Pods with the very [`decide`] that admits them, so that a record
//! is made for just what admission would miss. Never acts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt;

use super::verifier_pod::{NAME_PREFIX, Placement};
use crate::api::v1alpha1::ModelVerificationSpec;
use crate::decision::{ClaimFacts, ClaimKey, Decision, Evidence, decide};
use crate::index::Snapshot;
use crate::policy::SourceFacts;
use crate::workload::{Extract, HasModels, Ids, Source, is_at_or_below, template};

/// Namespace and name of a record.
pub type RecordKey = (String, String);

/// Who uses what.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Records that are needed and do not exist.
    pub needed: BTreeMap<RecordKey, ModelVerificationSpec>,
    /// Records that somebody needs.
    pub used: BTreeSet<RecordKey>,
    /// Who reads a claim, workloads before Pods.
    pub readers: HashMap<ClaimKey, Vec<Reader>>,
}

/// With which ids a claim is read, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Reader {
    /// The ids.
    pub ids: Ids,
    /// The nodes.
    pub placement: Placement,
}

/// Who uses what.
pub fn of(snapshot: &Snapshot, now: Timestamp) -> Usage {
    let mut usage = Usage::default();
    let mut workloads: Vec<_> = snapshot.objects.workloads.iter().collect();
    workloads.sort_by_key(|(key, _)| *key);
    for (key, workload) in workloads {
        if is_matched(snapshot, &key.namespace) {
            let extract = template(key.kind, &workload.metadata, &workload.template);
            usage.judge(snapshot, &extract, workload.template.spec.as_ref(), now);
        }
    }
    let mut pods: Vec<_> = snapshot.objects.pods.iter().collect();
    pods.sort_by_key(|(key, _)| *key);
    for ((namespace, name), pod) in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some();
        if !over && !name.starts_with(NAME_PREFIX) && is_matched(snapshot, namespace) {
            usage.judge(snapshot, &pod.extract(), pod.spec.as_ref(), now);
        }
    }
    // After Pods: these know the ids and nodes of the readers better.
    let mut custom: Vec<_> = snapshot.objects.custom.objects().map(|object| &object.extract).collect();
    custom.sort_by_key(|extract| (&extract.subject.namespace, &extract.subject.kind, &extract.subject.name));
    for extract in custom.into_iter().filter(|extract| is_matched(snapshot, &extract.subject.namespace)) {
        usage.judge(snapshot, extract, None, now);
    }
    usage.ahead(snapshot);
    usage.divided(&snapshot.evidence);
    usage
}

/// Whether a policy matches a namespace.
pub fn is_matched(snapshot: &Snapshot, namespace: &str) -> bool {
    let facts = snapshot.evidence.namespaces.get(namespace);
    facts.is_some_and(|facts| snapshot.policies.match_namespace(namespace, &facts.labels))
}

impl Usage {
    fn judge(&mut self, snapshot: &Snapshot, extract: &Extract, spec: Option<&PodSpec>, now: Timestamp) {
        let Extract { subject, uses } = extract;
        let decision = decide(&snapshot.policies, subject, uses, &snapshot.evidence, now);
        let Decision { models, missing_records, .. } = decision;
        let namespace = &subject.namespace;
        for spec in missing_records {
            self.need(&snapshot.evidence, namespace, spec);
        }
        for judged in models.iter().filter(|judged| !judged.writer) {
            let Source::Claim { name, path } = &judged.model_use.source else { continue };
            self.use_records(&snapshot.evidence, namespace, name, path);
            let placement = spec.map(Placement::of).unwrap_or_default();
            let reader = Reader { ids: judged.model_use.ids.clone(), placement };
            let readers = self.readers.entry((namespace.clone(), name.clone())).or_default();
            if !readers.contains(&reader) {
                readers.push(reader);
            }
        }
    }

    /// Notes a record that does not exist, if its claim does.
    fn need(&mut self, evidence: &Evidence, namespace: &str, spec: ModelVerificationSpec) {
        let claim = spec.source.claim.as_ref().and_then(|source| evidence.claim(namespace, &source.name));
        if claim.is_some_and(|claim| !claim.deleting) {
            self.needed.insert((namespace.to_owned(), spec.record_name()), spec);
        }
    }

    /// Every record that speaks of this path or of a folder above it may be the one that counts.
    fn use_records(&mut self, evidence: &Evidence, namespace: &str, claim: &str, path: &str) {
        for record in evidence.records_of(namespace, claim) {
            let root = record.spec.source.claim.as_ref().map_or("", |source| source.path.as_str());
            if is_at_or_below(path, root) {
                self.used.insert((namespace.to_owned(), record.name.clone()));
            }
        }
    }

    /// A record of a folder that holds several models needs one of each of them.
    fn divided(&mut self, evidence: &Evidence) {
        for ((namespace, claim), records) in evidence.records.iter() {
            for spec in
                records.iter().flat_map(|record| record.status.parts.iter().map(|part| record.spec.of_part(part)))
            {
                if evidence.records_of(namespace, claim).iter().any(|record| record.spec.is_about(&spec)) {
                    self.used.insert((namespace.clone(), spec.record_name()));
                } else {
                    self.need(evidence, namespace, spec);
                }
            }
        }
    }

    /// Claims that a policy selects by their labels get a record before anything uses them.
    fn ahead(&mut self, snapshot: &Snapshot) {
        let Snapshot { evidence, policies, .. } = snapshot;
        for ((namespace, name), claim) in evidence.claims.iter().filter(|(_, claim)| claim.bound && !claim.deleting) {
            let Some(labels) = evidence.namespaces.get(namespace).map(|facts| &facts.labels) else { continue };
            let facts = source_facts(evidence, claim);
            if !policies.matching(namespace, labels).any(|policy| policy.selects_claim_ahead(&facts)) {
                continue;
            }
            let spec = ModelVerificationSpec::of_claim(name, "");
            let key = (namespace.clone(), spec.record_name());
            if evidence.records_of(namespace, name).iter().any(|record| record.spec.is_about(&spec)) {
                self.used.insert(key);
            } else {
                self.needed.insert(key, spec);
            }
        }
    }
}

fn source_facts<'a>(evidence: &'a Evidence, claim: &'a ClaimFacts) -> SourceFacts<'a> {
    let volume = evidence.volume_of(claim).filter(|volume| volume.claim_uid.as_deref() == Some(&claim.uid));
    let same_class = volume.is_none_or(|volume| volume.storage_class == claim.storage_class);
    SourceFacts {
        labels: Some(&claim.labels),
        storage_class: claim.storage_class.as_deref().filter(|_| same_class),
        csi_driver: volume.and_then(|volume| volume.csi_driver()),
        recorded: false,
    }
}

/// Pods that have not ended, by the claims that they mount. Verifiers are not among them.
pub fn pods_by_claim(snapshot: &Snapshot) -> HashMap<ClaimKey, Vec<&k8s_openapi::api::core::v1::Pod>> {
    let mut found: HashMap<ClaimKey, Vec<_>> = HashMap::new();
    for ((namespace, name), pod) in snapshot.objects.pods.iter() {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if name.starts_with(NAME_PREFIX) || matches!(phase, Some("Succeeded" | "Failed")) {
            continue;
        }
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            if let Some(claim) = &volume.persistent_volume_claim {
                found.entry((namespace.clone(), claim.claim_name.clone())).or_default().push(pod.as_ref());
            }
        }
    }
    for pods in found.values_mut() {
        pods.sort_by_key(|pod| pod.name_any());
    }
    found
}
