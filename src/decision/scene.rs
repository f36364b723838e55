//! What a decision is about: its arguments, looked up once.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{ClaimFacts, Evidence, NamespaceFacts};
use crate::api::v1alpha1::ModelVerificationStatus;
use crate::policy::{CompiledAuthority, CompiledPolicies, CompiledPolicy, SourceFacts, TrustSet};
use crate::workload::{ModelUse, Subject};

/// The arguments of a decision, with the namespace looked up.
pub(super) struct Scene<'a> {
    pub(super) subject: &'a Subject,
    pub(super) uses: &'a [ModelUse],
    pub(super) evidence: &'a Evidence,
    pub(super) now: Timestamp,
    pub(super) namespace: Option<&'a NamespaceFacts>,
    all: &'a CompiledPolicies,
    trust_digest: OnceCell<String>,
    /// What policies select each use by, in the order of the uses: the same for all policies.
    pub(super) sources: Vec<SourceFacts<'a>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        all: &'a CompiledPolicies,
        subject: &'a Subject,
        uses: &'a [ModelUse],
        evidence: &'a Evidence,
        now: Timestamp,
    ) -> Self {
        // A cluster-scoped object lies in no namespace: it is judged as in one without labels.
        static NOWHERE: NamespaceFacts = NamespaceFacts { labels: BTreeMap::new() };
        let namespace = match subject.namespace.as_str() {
            "" => Some(&NOWHERE),
            name => evidence.namespaces.get(name).map(AsRef::as_ref),
        };
        let source = |claim| evidence.source_facts(&subject.namespace, claim);
        let sources = uses.iter().map(|it| it.claim().map(source).unwrap_or_default()).collect();
        Scene { subject, uses, evidence, now, namespace, all, trust_digest: OnceCell::new(), sources }
    }

    /// The policies that match the namespace. While nothing is known of it, any policy might.
    pub(super) fn policies(&self) -> Vec<&'a CompiledPolicy> {
        match self.namespace {
            Some(facts) => self.all.matching(&self.subject.namespace, &facts.labels).collect(),
            None => self.all.possible(&self.subject.namespace).collect(),
        }
    }

    /// Digest of the keys that a read in this namespace would be given now.
    pub(super) fn trust_digest(&self) -> &str {
        self.trust_digest.get_or_init(|| {
            let labels = self.namespace.map(|facts| facts.labels.clone()).unwrap_or_default();
            self.all.trust_for(&self.subject.namespace, &labels).digest()
        })
    }

    /// Whether a read was given all that a policy trusts: then whom it did not find has not signed. What else it was given,
    /// and what other policies trust by now, changes nothing about that.
    pub(super) fn was_given(&self, status: &ModelVerificationStatus, policy: &CompiledPolicy) -> bool {
        let mut names = policy.authorities.iter().map(CompiledAuthority::trust_name);
        status.trust_digest.as_deref().map(TrustSet::cluster_half) == Some(TrustSet::cluster_half(self.trust_digest()))
            || names.all(|name| status.trust.iter().any(|given| given == name))
    }

    /// What is known of the claim behind a use.
    pub(super) fn claim(&self, model_use: &ModelUse) -> Option<&'a ClaimFacts> {
        self.evidence.claim(&self.subject.namespace, model_use.claim()?)
    }
}
