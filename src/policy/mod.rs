//! Policies as they are decided upon: compiled once, when they change.
//!
//! Receives CRD specs and the trust material that they refer to; promises that a policy that cannot be understood is
//! kept as one that matches and admits nothing, never dropped, and that whatever is not understood of it selects more,
//! not less; never decides.

mod authorities;
mod compile;
mod globs;
mod ignored;
mod matching;
mod name;
mod registries;
mod selector;
mod trust;

pub use ignored::IgnoredPaths;
pub use matching::SourceFacts;
pub use name::PolicyName;
pub use registries::BundleRegistries;
#[cfg(test)]
pub(crate) use trust::fixtures;
pub use trust::{TrustError, TrustPiece, TrustSet};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::v1alpha1::{
    ClusterModelPolicy, Forbidden, MAX_MODEL_POLICIES, ModelPolicy, ReadAs, TrustedStorage, UnknownAction,
    ValidationAction, WhileServing,
};
use crate::signature::Authority;
use matching::Matching;
use selector::{Labels, Selector};
use trust::NamedPiece;

/// Namespaces that no policy ever matches, beside our own: the cluster must be able to repair itself.
pub const EXEMPT_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Label and its value by which a cluster administrator lets policies of namespaces refer to a ConfigMap with trust
/// material.
pub const FOR_MODEL_POLICIES: (&str, &str) = ("weighbridge.dev/model-policies", "true");

/// All policies, compiled; immutable, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CompiledPolicies {
    /// Those of the cluster, by name.
    cluster: Arc<Vec<CompiledPolicy>>,
    /// Those of namespaces that are in force, by namespace, the oldest first.
    namespaced: Arc<BTreeMap<String, Vec<CompiledPolicy>>>,
    own_namespace: Arc<str>,
}

/// One policy, compiled.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// Its name.
    pub name: PolicyName,
    /// Whom it trusts. Incomplete if it is not [`CompiledPolicy::accepted`].
    pub authorities: Vec<CompiledAuthority>,
    /// How many distinct authorities must have signed; at least 1.
    pub required: usize,
    /// What follows from a violation.
    pub actions: Actions,
    /// Rules about the content and its mount.
    pub content: ContentRules,
    /// What it lets lie in a model although nobody signed it.
    pub ignored: Arc<IgnoredPaths>,
    /// Whether a rollout must say which models it expects.
    pub requires_digest_annotation: bool,
    /// From where bundles may be fetched. Policies of namespaces list nothing.
    pub bundle_registries: BundleRegistries,
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
    /// After this no signature by it counts any more, whatever else happens.
    ends: Option<Timestamp>,
}

impl CompiledAuthority {
    /// The name of the piece of trust material that proves signatures by it, as a [`TrustSet`] gives it.
    pub fn trust_name(&self) -> &str {
        &self.piece.name
    }
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
    /// Whether symbolic links may lie in a model whose signer followed them.
    pub allow_symlinks: bool,
    /// What may not be, whatever model is used.
    pub forbid: Vec<Forbidden>,
}

/// The namespaces of a policy, for the configuration of webhooks.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceSelection<'a> {
    /// Name of the policy.
    pub policy: &'a PolicyName,
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
    /// Those of the ConfigMaps that policies of namespaces may refer to: see [`FOR_MODEL_POLICIES`].
    pub for_namespaces: BTreeSet<String>,
}

/// What one policy may refer to.
#[derive(Clone, Copy, Debug)]
struct Reach<'a> {
    sources: &'a TrustSources,
    /// Whether it is one of a namespace, which reaches what was marked for it alone.
    namespaced: bool,
}

impl<'a> Reach<'a> {
    fn config_map(self, name: &str) -> Option<&'a BTreeMap<String, String>> {
        self.sources.config_maps.get(name).filter(|_| !self.namespaced || self.sources.for_namespaces.contains(name))
    }

    fn secret(self, name: &str) -> Option<&'a BTreeMap<String, String>> {
        self.sources.secrets.get(name).filter(|_| !self.namespaced)
    }

    /// What a source must carry that can be reached, in words. The same whether or not it exists.
    fn wanted(self) -> &'static str {
        if self.namespaced {
            "one of the labels weighbridge.dev/trust: \"true\" and weighbridge.dev/model-policies: \"true\""
        } else {
            "the label weighbridge.dev/trust: \"true\""
        }
    }
}

impl CompiledPolicies {
    /// Compiles the policies of the cluster. Never fails: what cannot be understood becomes a policy that says so
    /// ([`crate::api::v1alpha1::UnknownCode::PolicyInvalid`]) for all that it matches. `own_namespace` is the namespace
    /// of weighbridge, which no policy matches.
    pub fn compile<'a>(
        policies: impl IntoIterator<Item = &'a ClusterModelPolicy>,
        trust: &TrustSources,
        own_namespace: &str,
    ) -> Self {
        let mut cluster: Vec<CompiledPolicy> =
            policies.into_iter().map(|policy| compile::policy(policy, trust)).collect();
        cluster.sort_by(|a, b| a.name.cmp(&b.name));
        CompiledPolicies { cluster: Arc::new(cluster), namespaced: Arc::default(), own_namespace: own_namespace.into() }
    }

    /// The same with policies of namespaces: of each namespace the oldest [`MAX_MODEL_POLICIES`], so that nobody ends one
    /// that is in force by writing another. Namespaces that are exempt have none.
    pub fn and_namespaced<'a>(
        mut self,
        policies: impl IntoIterator<Item = &'a ModelPolicy>,
        trust: &TrustSources,
    ) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<&ModelPolicy>> = BTreeMap::new();
        for policy in policies {
            let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
            if !self.exempts(namespace) {
                by_namespace.entry(namespace).or_default().push(policy);
            }
        }
        let compiled = by_namespace.into_iter().map(|(namespace, mut policies)| {
            policies.sort_by_key(|policy| (&policy.metadata.creation_timestamp, &policy.metadata.name));
            let in_force = policies.into_iter().take(MAX_MODEL_POLICIES);
            let compiled = in_force.map(|policy| compile::namespaced(namespace, policy, trust)).collect();
            (namespace.to_owned(), compiled)
        });
        self.namespaced = Arc::new(compiled.collect());
        self
    }

    /// All policies: those of the cluster by name, then those of namespaces.
    pub fn iter(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.cluster.iter().chain(self.namespaced.values().flatten())
    }

    /// The policy of a name, if it is in force.
    pub fn get(&self, name: &PolicyName) -> Option<&CompiledPolicy> {
        match name {
            PolicyName::Cluster(_) => self.cluster.iter().find(|policy| policy.name == *name),
            PolicyName::Namespaced { namespace, .. } => {
                self.of_namespace(namespace).find(|policy| policy.name == *name)
            }
        }
    }

    /// Whether a namespace is one that no policy ever matches: the cluster's own, and ours.
    pub fn exempts(&self, namespace: &str) -> bool {
        EXEMPT_NAMESPACES.contains(&namespace) || *self.own_namespace == *namespace
    }

    /// The policies that match a namespace.
    pub fn matching<'a>(&'a self, namespace: &str, labels: &'a Labels) -> impl Iterator<Item = &'a CompiledPolicy> {
        let possible = self.possible(namespace);
        possible.filter(|policy| policy.namespaces.matches(labels))
    }

    /// The policies that may match a namespace of which nothing but its name is known.
    pub fn possible(&self, namespace: &str) -> impl Iterator<Item = &CompiledPolicy> {
        let exempt = self.exempts(namespace);
        self.cluster.iter().chain(self.of_namespace(namespace)).filter(move |_| !exempt)
    }

    /// Whether a label of a namespace, other than this one, decides which policies match it.
    pub fn go_by_labels_beside(&self, namespace: &str, label: &str) -> bool {
        self.possible(namespace).any(|policy| policy.namespaces.asks_beside(label))
    }

    fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &CompiledPolicy> {
        self.namespaced.get(namespace).into_iter().flatten()
    }

    /// Whether any policy matches a namespace.
    pub fn match_namespace(&self, namespace: &str, labels: &Labels) -> bool {
        self.matching(namespace, labels).next().is_some()
    }

    /// What a read in a namespace is given to check signatures against: the trust material of all policies that match it.
    pub fn trust_for(&self, namespace: &str, labels: &Labels) -> TrustSet {
        TrustSet::of_policies(self.matching(namespace, labels))
    }

    /// What all policies together trust, wherever they match.
    pub fn trust(&self) -> TrustSet {
        TrustSet::of_policies(self.iter())
    }

    /// The namespaces that have policies of their own, each with whether one of these refuses violations.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, bool)> {
        let denies = |policies: &Vec<CompiledPolicy>| policies.iter().any(|policy| policy.actions.enforces());
        self.namespaced.iter().map(move |(namespace, policies)| (namespace.as_str(), denies(policies)))
    }

    /// The namespaces of each policy of the cluster, for the configuration of webhooks.
    pub fn namespace_selectors(&self) -> impl Iterator<Item = NamespaceSelection<'_>> {
        self.cluster.iter().map(|policy| NamespaceSelection {
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
        CompiledAuthority { name: name.to_owned(), authority, piece, ends: None }
    }
}

impl CompiledPolicy {
    /// Whether it was understood, with all that it refers to; else what is wrong with it, in a sentence.
    pub fn accepted(&self) -> Result<(), String> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.join("; ")) }
    }

    /// What proves signatures by its authorities.
    pub fn trust(&self) -> TrustSet {
        TrustSet::of_policies([self])
    }

    /// Its authorities by whom nothing can be signed any more.
    pub fn ended_authorities(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let ended = self.authorities.iter().filter(move |authority| authority.ends.is_some_and(|ends| ends < now));
        ended.map(|authority| authority.name.as_str())
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

    /// Whether it is about a namespace of this name and with these labels. Asks nothing about namespaces that are exempt:
    /// see [`CompiledPolicies::matching`].
    pub fn selects_namespace(&self, name: &str, labels: &Labels) -> bool {
        match &self.name {
            PolicyName::Cluster(_) => self.namespaces.matches(labels),
            PolicyName::Namespaced { namespace, .. } => namespace == name,
        }
    }

    /// Whether a claim is one that `match.models.claims` selects by its labels and nothing excludes: a record of it is
    /// made ahead of any workload.
    pub fn selects_claim_ahead(&self, facts: &SourceFacts<'_>) -> bool {
        self.matching.selects_claim_ahead(facts)
    }
}

/// The items of a field that can be understood, and what was wrong with the others.
fn sort_out<T>(items: impl Iterator<Item = Result<T, String>>) -> (Vec<T>, Vec<String>) {
    let (mut understood, mut errors) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => understood.push(item),
            Err(error) => errors.push(error),
        }
    }
    (understood, errors)
}
