//! Policies as they are decided upon: compiled once, when they change.
//!
//! Receives CRD specs and the trust material that they refer to; promises that a policy that cannot be understood is
//! kept as one that matches and admits nothing, never dropped, and that whatever is not understood of it selects more,
//! not less; never decides.

mod authorities;
mod compile;
mod globs;
mod matching;
mod selector;
mod trust;

pub use matching::SourceFacts;
#[cfg(test)]
pub(crate) use trust::fixtures;
pub use trust::{TrustError, TrustPiece, TrustSet};

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::v1alpha1::{
    ClusterModelPolicy, Forbidden, ReadAs, TrustedStorage, UnknownAction, ValidationAction, WhileServing,
};
use crate::signature::Authority;
use matching::Matching;
use selector::{Labels, Selector};
use trust::NamedPiece;

/// Namespaces that no policy ever matches, beside our own: the cluster must be able to repair itself.
pub const EXEMPT_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// All policies, compiled; immutable, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CompiledPolicies {
    policies: Arc<Vec<CompiledPolicy>>,
    own_namespace: Arc<str>,
}

/// One policy, compiled.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// Its name.
    pub name: String,
    /// Whom it trusts. Incomplete if it is not [`CompiledPolicy::accepted`].
    pub authorities: Vec<CompiledAuthority>,
    /// How many distinct authorities must have signed; at least 1.
    pub required: usize,
    /// What follows from a violation.
    pub actions: Actions,
    /// Rules about the content and its mount.
    pub content: ContentRules,
    namespaces: Selector,
    namespace_selector: LabelSelector,
    matching: Matching,
    selection_by_tenant: bool,
    problems: Vec<String>,
}

/// An authority of which every part could be read.
#[derive(Clone, Debug)]
pub struct CompiledAuthority {
    /// Its name in the policy.
    pub name: String,
    /// Whom it accepts.
    pub authority: Authority,
    /// What proves a signature by it.
    piece: NamedPiece,
}

/// What follows from a violation of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// The strongest of its actions; Deny, should it name none.
    pub strongest: ValidationAction,
    /// Whether it wants violations in the audit log.
    pub audit: bool,
    /// What follows from Unknown, where the policy says so.
    pub unknown: Option<UnknownAction>,
}

impl Actions {
    /// Whether a violation is refused, or held.
    pub fn enforces(self) -> bool {
        self.strongest == ValidationAction::Deny
    }
}

/// Rules about the content of a model and the way in which it is mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentRules {
    /// Whether readers must mount it read-only.
    pub read_only: bool,
    /// Service accounts that may write it.
    pub writers: Vec<String>,
    /// Whether a writer may run while Pods serve, after the default was applied.
    pub while_serving: WhileServing,
    /// How long after its last read it is read again.
    pub reverify_after: Option<SignedDuration>,
    /// How old a read may be, after the default was applied.
    pub max_age: Option<SignedDuration>,
    /// Storage that this policy trusts although the code cannot vouch for it.
    pub trusted_storage: Vec<TrustedStorage>,
    /// The ids with which a verifier reads.
    pub read_as: Option<ReadAs>,
    /// Whether configuration that nobody signs may come from API objects.
    pub unsigned_config: bool,
    /// What may not be, whatever model is used.
    pub forbid: Vec<Forbidden>,
}

/// The namespaces of a policy, for the configuration of webhooks.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceSelection<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    /// Its selector, without expressions that the API server would refuse.
    pub selector: &'a LabelSelector,
    /// Whether a violation of it is refused.
    pub denies: bool,
}

/// Keys, roots and trusted roots that policies refer to and do not hold: text by kind, name and key of the ConfigMap or
/// Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustSources {
    /// ConfigMaps in the namespace of weighbridge with the trust label: name to data.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets in the namespace of weighbridge with the trust label: name to data.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
}

impl CompiledPolicies {
    /// Compiles all policies. Never fails: what cannot be understood becomes a policy that says so
    /// ([`crate::api::v1alpha1::UnknownCode::PolicyInvalid`]) for all that it matches. `own_namespace` is the namespace
    /// of weighbridge, which no policy matches.
    pub fn compile<'a>(
        policies: impl IntoIterator<Item = &'a ClusterModelPolicy>,
        trust: &TrustSources,
        own_namespace: &str,
    ) -> Self {
        let mut policies: Vec<CompiledPolicy> =
            policies.into_iter().map(|policy| compile::policy(policy, trust)).collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        CompiledPolicies { policies: Arc::new(policies), own_namespace: own_namespace.into() }
    }

    /// The policies, by name.
    pub fn iter(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.policies.iter()
    }

    /// The policy of a name.
    pub fn get(&self, name: &str) -> Option<&CompiledPolicy> {
        self.iter().find(|policy| policy.name == name)
    }

    /// Whether a namespace is one that no policy ever matches: the cluster's own, and ours.
    pub fn exempts(&self, namespace: &str) -> bool {
        EXEMPT_NAMESPACES.contains(&namespace) || *self.own_namespace == *namespace
    }

    /// The policies that match a namespace.
    pub fn matching<'a>(&'a self, namespace: &str, labels: &'a Labels) -> impl Iterator<Item = &'a CompiledPolicy> {
        let exempt = self.exempts(namespace);
        self.iter().filter(move |policy| !exempt && policy.selects_namespace(labels))
    }

    /// Whether any policy matches a namespace.
    pub fn match_namespace(&self, namespace: &str, labels: &Labels) -> bool {
        self.matching(namespace, labels).next().is_some()
    }

    /// What a read in a namespace is given to check signatures against: the trust material of all policies that match it.
    pub fn trust_for(&self, namespace: &str, labels: &Labels) -> TrustSet {
        TrustSet::of(self.matching(namespace, labels).flat_map(CompiledPolicy::pieces))
    }

    /// What all policies together trust, wherever they match.
    pub fn trust(&self) -> TrustSet {
        TrustSet::of(self.iter().flat_map(CompiledPolicy::pieces))
    }

    /// The namespaces of each policy, for the configuration of webhooks.
    pub fn namespace_selectors(&self) -> impl Iterator<Item = NamespaceSelection<'_>> {
        self.iter().map(|policy| NamespaceSelection {
            policy: &policy.name,
            selector: &policy.namespace_selector,
            denies: policy.actions.enforces(),
        })
    }
}

#[cfg(test)]
impl CompiledPolicy {
    /// One policy, without ConfigMaps and Secrets: for tests of what follows from it.
    pub(crate) fn of(policy: &ClusterModelPolicy) -> Self {
        compile::policy(policy, &TrustSources::default())
    }
}

#[cfg(test)]
impl CompiledAuthority {
    /// One without trust material: for tests of what it accepts.
    pub(crate) fn bare(name: &str, authority: Authority) -> Self {
        let piece = NamedPiece { name: name.to_owned(), piece: TrustPiece::PublicGood {} };
        CompiledAuthority { name: name.to_owned(), authority, piece }
    }
}

impl CompiledPolicy {
    /// Whether it was understood, with all that it refers to; else what is wrong with it, in a sentence.
    pub fn accepted(&self) -> Result<(), String> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.join("; ")) }
    }

    /// What proves signatures by its authorities.
    pub fn trust(&self) -> TrustSet {
        TrustSet::of(self.pieces())
    }

    fn pieces(&self) -> impl Iterator<Item = &NamedPiece> {
        self.authorities.iter().map(|authority| &authority.piece)
    }

    /// Whether tenants can change what it selects by: labels of claims, or mount paths.
    pub fn selection_by_tenant(&self) -> bool {
        self.selection_by_tenant
    }

    /// Whether it refuses violations and lets through what is unknown.
    pub fn unknown_admits(&self) -> bool {
        let weak = matches!(self.actions.unknown, Some(UnknownAction::Warn | UnknownAction::Audit));
        self.actions.enforces() && weak
    }

    /// Whether its selector selects a namespace with these labels. Asks nothing about namespaces that are exempt: see
    /// [`CompiledPolicies::matching`].
    pub fn selects_namespace(&self, labels: &Labels) -> bool {
        self.namespaces.matches(labels)
    }

    /// Whether a claim is one that `match.models.claims` selects by its labels and nothing excludes: a record of it is
    /// made ahead of any workload.
    pub fn selects_claim_ahead(&self, facts: &SourceFacts<'_>) -> bool {
        self.matching.selects_claim_ahead(facts)
    }
}
