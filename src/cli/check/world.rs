//! What is known when manifests are checked: policies, namespaces, and the folders that stand in for claims.
//!
//! Receives what flags and manifests say; gives the [`Evidence`] that a cluster would have in which each named claim holds
//! what its folder holds, nobody writes, and everything was just read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::super::progress::Bar;
use super::super::verifier;
use crate::api::v1alpha1::{BackingStoreSpec, ModelVerificationSpec, ReadSource, UnknownCode};
use crate::decision::{Backing, ClaimFacts, ClaimKey, Decision, Evidence, NamespaceFacts, Record, VolumeFacts, decide};
use crate::facts::{Extent, Finding, Place, Report, Request, read};
use crate::index::claim_facts;
use crate::model::{Links, shown};
use crate::operator::records::status::{FIRST_GENERATION, of_one_run};
use crate::policy::{CompiledPolicies, TrustSet};
use crate::workload::{CustomKinds, Extract};

/// The label that the API server itself keeps on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The node that all folders are said to lie on: a path of one node can be vouched for by reading it there.
const HERE: &str = "here";

/// Everything but the manifests themselves.
pub(super) struct World {
    /// The policies.
    pub(super) policies: CompiledPolicies,
    /// The custom resources that are judged.
    pub(super) kinds: CustomKinds,
    /// The time of all decisions and reads.
    pub(super) now: Timestamp,
    folders: BTreeMap<String, PathBuf>,
    threads: NonZeroUsize,
    namespaces: HashMap<String, Arc<NamespaceFacts>>,
    claims: HashMap<ClaimKey, Arc<ClaimFacts>>,
    volumes: HashMap<String, Arc<VolumeFacts>>,
    records: HashMap<ClaimKey, Vec<Arc<Record>>>,
    /// What was read already: a folder that several namespaces use is hashed once for each set of trust material.
    reads: RefCell<HashMap<(String, String), Report>>,
}

impl World {
    /// A world without namespaces and claims. `folders` are by the name of the claim that they stand in for.
    pub(super) fn new(
        policies: CompiledPolicies,
        kinds: CustomKinds,
        folders: BTreeMap<String, PathBuf>,
        threads: NonZeroUsize,
        now: Timestamp,
    ) -> Self {
        World {
            policies,
            kinds,
            now,
            folders,
            threads,
            namespaces: HashMap::new(),
            claims: HashMap::new(),
            volumes: HashMap::new(),
            records: HashMap::new(),
            reads: RefCell::default(),
        }
    }

    /// Adds a namespace, or labels to one.
    pub(super) fn namespace(&mut self, name: &str, labels: impl IntoIterator<Item = (String, String)>) {
        let facts = self.namespaces.entry(name.to_owned()).or_default();
        let facts = Arc::make_mut(facts);
        facts.labels.insert(NAMESPACE_NAME.to_owned(), name.to_owned());
        facts.labels.extend(labels);
    }

    /// Adds a namespace of which nothing but its name is known, if no policy goes by more.
    pub(super) fn namespace_by_name(&mut self, name: &str) {
        if !self.namespaces.contains_key(name) && !self.policies.go_by_labels_beside(name, NAMESPACE_NAME) {
            self.namespace(name, []);
        }
    }

    /// Adds a claim that stands among the manifests.
    pub(super) fn claim(&mut self, namespace: &str, claim: PersistentVolumeClaim) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        self.claims.insert((namespace.to_owned(), name), Arc::new(claim_facts(claim)));
    }

    /// Gives the claims of an object the folders that were named for them.
    pub(super) fn bind(&mut self, extract: &Extract) {
        let namespace = &extract.subject.namespace;
        for claim in extract.uses.iter().filter_map(|model_use| model_use.claim()) {
            let Some(folder) = self.folders.get(claim) else { continue };
            let key = (namespace.clone(), claim.to_owned());
            let uid = format!("{namespace}/{claim}");
            let facts = Arc::make_mut(self.claims.entry(key).or_default());
            (facts.uid, facts.bound, facts.volume_name) = (uid.clone(), true, Some(uid.clone()));
            let volume = VolumeFacts {
                uid: uid.clone(),
                claim_uid: Some(uid.clone()),
                backing: Backing::Node { path: folder.to_string_lossy().into_owned(), node: Some(HERE.to_owned()) },
                provisioner: None,
                storage_class: facts.storage_class.clone(),
            };
            self.volumes.insert(uid, Arc::new(volume));
        }
    }

    /// What a cluster would know.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            namespaces: Arc::new(self.namespaces.clone()),
            claims: Arc::new(self.claims.clone()),
            volumes: Arc::new(self.volumes.clone()),
            records: Arc::new(self.records.clone()),
            stores: Arc::default(),
            observed_at: Some(self.now),
        }
    }

    /// The labels of a namespace, if anything is known of it.
    pub(super) fn labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace).map(|facts| &facts.labels)
    }

    /// Whether a folder was named for a claim.
    pub(super) fn has_folder(&self, claim: &str) -> bool {
        self.folders.contains_key(claim)
    }

    /// The claims for which a folder was named, but for these.
    pub(super) fn folders_beside(&self, claims: &BTreeSet<&str>) -> Vec<String> {
        self.folders.keys().filter(|claim| !claims.contains(claim.as_str())).cloned().collect()
    }

    /// Decides as the webhook would.
    pub(super) fn decide(&self, extract: &Extract, evidence: &Evidence) -> Decision {
        decide(&self.policies, &extract.subject, &extract.uses, evidence, self.now)
    }

    /// Reads what a decision lacks, as far as folders were named for it.
    pub(super) fn read_missing(&mut self, extract: &Extract) {
        let namespace = &extract.subject.namespace;
        if !extract.uses.iter().any(|it| it.claim().is_some_and(|claim| self.has_folder(claim))) {
            return;
        }
        // Which models a folder holds is known once it was looked at.
        for _ in ["folders", "the models in them"] {
            for spec in self.decide(extract, &self.evidence()).missing_records {
                let Some(claim) = spec.source.claim.as_ref().map(|claim| claim.name.clone()) else { continue };
                let Some(folder) = self.folders.get(&claim) else { continue };
                let record = Arc::new(self.record(namespace, &claim, folder, &spec));
                self.records.entry((namespace.clone(), claim)).or_default().push(record);
            }
        }
    }

    fn record(&self, namespace: &str, claim: &str, folder: &Path, spec: &ModelVerificationSpec) -> Record {
        let labels = self.labels(namespace).cloned().unwrap_or_default();
        let trust = self.policies.trust_for(namespace, &labels);
        let key = (spec.record_name(), trust.digest());
        let known = self.reads.borrow().get(&key).cloned();
        let report = known.unwrap_or_else(|| {
            let report = self
                .report(folder, spec, &trust)
                .unwrap_or_else(|finding| Report::failed(None, Extent::Full, finding.code, &finding.message));
            self.reads.borrow_mut().insert(key, report.clone());
            report
        });
        let uid = format!("{namespace}/{claim}");
        let store = self.volumes.get(&uid).map(|volume| volume.store(&uid).to_string()).unwrap_or_default();
        let source = ReadSource {
            namespace: namespace.to_owned(),
            claim_uid: uid.clone(),
            volume_name: uid.clone(),
            volume_uid: uid,
            path: spec.source.claim.as_ref().map(|claim| claim.path.clone()).unwrap_or_default(),
            store: BackingStoreSpec { identity: store }.store_name(),
            write_epoch: 0,
        };
        let status = of_one_run(source, trust.digest(), &report, self.now);
        let name = spec.record_name();
        Record { uid: name.clone(), name, generation: FIRST_GENERATION, spec: spec.clone(), status }
    }

    /// Reads a folder by the very rules of a verifier Pod.
    fn report(&self, folder: &Path, spec: &ModelVerificationSpec, trust: &TrustSet) -> Result<Report, Finding> {
        let path = spec.source.claim.as_ref().map(|claim| claim.path.as_str()).unwrap_or_default();
        let unfit =
            |error| Finding::new(UnknownCode::NotVerifiable, format!("the path `{}` {error}; rename it", shown(path)));
        let material =
            trust.material().map_err(|error| Finding::new(UnknownCode::TrustUnavailable, error.to_string()))?;
        let request = Request {
            root: folder.to_owned(),
            path: verifier::path(path).map_err(unfit)?,
            signature: verifier::location(
                &spec.signature,
                || Ok(spec.bundle.clone().unwrap_or_default()),
                |_| Err(fetched_in_clusters()),
            )?,
            links: Links::Follow,
            extent: Extent::Full,
            place: Place::Cluster,
            threads: self.threads,
            bytes_per_second: None,
            nonce: None,
        };
        let bar = Bar::new();
        let report = read(&request, &material, self.now, &bar);
        bar.finish();
        Ok(report)
    }
}

/// Only a verifier fetches what an annotation names: nobody who checks a manifest has his machine call anywhere.
fn fetched_in_clusters() -> Finding {
    let message = "the bundle lies in a registry, and nothing is fetched here; wait for a verifier in the cluster";
    Finding::new(UnknownCode::RegistryUnavailable, message)
}
