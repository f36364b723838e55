//! What became of each policy: the conditions of `ClusterModelPolicy` and `ModelPolicy`.
//!
//! Receives the compiled policies, the Leases of the webhook's replicas, what the API server was told and what the last
//! probe found; promises that `Programmed` and `Enforcing` are true only when every ready replica serves the policy as it
//! is now and requests cannot get past it; never changes a policy, and never decides about a request.

mod judge;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::call::{CallFailed, FIELD_MANAGER};
use super::conditions;
use super::runner::Controller;
use super::webhooks::{Applied, Links, Report};
use super::workloads::Tallies;
use crate::api::v1alpha1::{ClusterModelPolicy, MAX_MODEL_POLICIES, ModelPolicy, PolicyStatus};
use crate::decision::NamespaceFacts;
use crate::index::{Objects, Snapshot};
use crate::lease::{Replica, Replicas};
use crate::policy::{CompiledPolicy, PolicyName};
use judge::{Facts, Unaccepted};

/// How often a status is looked at, though no policy has changed: a replica whose Lease expires changes nothing, and what
/// becomes of workloads changes with each rollout, of which nobody wants to hear more often.
const CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// The label by which a namespace enforces a Pod Security level, and the levels that keep a Pod from taking over a node.
const POD_SECURITY: (&str, [&str; 2]) = ("pod-security.kubernetes.io/enforce", ["baseline", "restricted"]);

/// Keeps the conditions.
pub struct Policies {
    client: Client,
    links: Links,
    tallies: watch::Receiver<Option<Arc<Tallies>>>,
    replicas: Replicas,
    /// What was written, by policy, with the resourceVersion on which it was based: until the watch has brought another
    /// one, this is the newer status.
    written: HashMap<PolicyName, (String, PolicyStatus)>,
    rest: Option<(Arc<Snapshot>, Timestamp)>,
}

/// A policy of either kind.
struct Policy<'a> {
    name: PolicyName,
    metadata: &'a ObjectMeta,
    status: Option<&'a PolicyStatus>,
}

/// What all policies have in common in a round.
struct Gathered {
    replicas: Vec<Replica>,
    applied: Option<Applied>,
    report: Option<Report>,
    /// Nothing while no round of the workloads has ended.
    tallies: Option<Arc<Tallies>>,
}

impl Policies {
    /// A controller that learns from `links` what became of the webhook configuration, and from `tallies` what becomes of
    /// workloads.
    pub fn new(client: Client, links: Links, tallies: watch::Receiver<Option<Arc<Tallies>>>) -> Self {
        Policies { client, links, tallies, replicas: Replicas::default(), written: HashMap::new(), rest: None }
    }

    fn gather(&mut self, snapshot: &Snapshot) -> Gathered {
        Gathered {
            replicas: self.replicas.live(&snapshot.objects.leases, Instant::now().into_std()),
            applied: self.links.applied.borrow_and_update().clone(),
            report: self.links.report.borrow_and_update().clone(),
            tallies: self.tallies.borrow_and_update().clone(),
        }
    }

    /// The status that the policy has, as far as anybody knows.
    fn present(&self, policy: &Policy<'_>) -> PolicyStatus {
        let version = policy.metadata.resource_version.as_ref();
        let written = self.written.get(&policy.name).filter(|(based_on, _)| Some(based_on) == version);
        written.map(|(_, status)| status).or(policy.status).cloned().unwrap_or_default()
    }

    async fn write(&mut self, policy: &Policy<'_>, status: PolicyStatus) -> Result<(), CallFailed> {
        let outcome = match &policy.name {
            PolicyName::Cluster(_) => {
                patch_status(&Api::<ClusterModelPolicy>::all(self.client.clone()), policy.metadata, &status).await
            }
            PolicyName::Namespaced { namespace, .. } => {
                let api = Api::<ModelPolicy>::namespaced(self.client.clone(), namespace);
                patch_status(&api, policy.metadata, &status).await
            }
        };
        match outcome {
            Ok(()) => {}
            // It was deleted, or deleted and made again, in the meantime: the next snapshot knows.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(error) => return Err(CallFailed::when("write the status of a policy")(error)),
        }
        let summary: Vec<String> = status.conditions.iter().map(|it| format!("{}={}", it.type_, it.reason)).collect();
        info!(policy = %policy.name, generation = status.observed_generation, conditions = summary.join(" "), "policy");
        let version = policy.metadata.resource_version.clone().unwrap_or_default();
        self.written.insert(policy.name.clone(), (version, status));
        Ok(())
    }
}

async fn patch_status<K>(api: &Api<K>, metadata: &ObjectMeta, status: &PolicyStatus) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let name = metadata.name.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": metadata.uid },
        "status": status,
    });
    api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await.map(drop)
}

impl Controller for Policies {
    const NAME: &'static str = "policies";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        if let Some((_, until)) = self.rest.as_ref().filter(|(last, until)| same(last, &snapshot) && now < *until) {
            return Ok(Some(*until));
        }
        let gathered = self.gather(&snapshot);
        let policies = policies(&snapshot.objects);
        self.written.retain(|name, _| policies.iter().any(|policy| policy.name == *name));
        for policy in &policies {
            let facts = facts(policy, &snapshot, &gathered, now);
            let before = self.present(policy);
            let after = status(&before, &facts, now);
            if after != before {
                self.write(policy, after).await?;
            }
        }
        let until = now + CHECK_INTERVAL;
        self.rest = Some((snapshot, until));
        Ok(Some(until))
    }

    async fn woken(&mut self) {
        tokio::select! {
            Ok(()) = self.links.applied.changed() => {}
            Ok(()) = self.links.report.changed() => {}
            else => std::future::pending().await,
        }
        self.rest = None;
    }
}

/// Whether nothing that a condition rests on has changed; most snapshots bring Pods and claims.
fn same(last: &Snapshot, now: &Snapshot) -> bool {
    Arc::ptr_eq(&last.objects.policies, &now.objects.policies)
        && Arc::ptr_eq(&last.objects.model_policies, &now.objects.model_policies)
        && Arc::ptr_eq(&last.objects.leases, &now.objects.leases)
        && Arc::ptr_eq(&last.evidence.namespaces, &now.evidence.namespaces)
        && last.policy_hash == now.policy_hash
}

fn policies(objects: &Objects) -> Vec<Policy<'_>> {
    let cluster = objects.policies.iter().map(|(name, policy)| Policy {
        name: PolicyName::Cluster(name.clone()),
        metadata: &policy.metadata,
        status: policy.status.as_ref(),
    });
    let namespaced = objects.model_policies.iter().map(|((namespace, name), policy)| Policy {
        name: PolicyName::Namespaced { namespace: namespace.clone(), name: name.clone() },
        metadata: &policy.metadata,
        status: policy.status.as_ref(),
    });
    cluster.chain(namespaced).collect()
}

fn facts<'a>(policy: &'a Policy<'_>, snapshot: &'a Snapshot, gathered: &'a Gathered, now: Timestamp) -> Facts<'a> {
    let compiled = snapshot.policies.get(&policy.name);
    let denies = compiled.is_some_and(|policy| policy.actions.enforces());
    Facts {
        name: &policy.name,
        generation: policy.metadata.generation.unwrap_or_default(),
        accepted: compiled.map_or_else(
            || Err(Unaccepted::NotInForce(why_not_in_force(&policy.name, snapshot))),
            |it| it.accepted().map_err(Unaccepted::Invalid),
        ),
        denies,
        unknown_admits: compiled.is_some_and(CompiledPolicy::unknown_admits),
        selection_by_tenant: compiled.is_some_and(CompiledPolicy::selection_by_tenant),
        weak_namespaces: compiled
            .filter(|_| denies)
            .map(|policy| weak_namespaces(policy, snapshot))
            .unwrap_or_default(),
        namespaces: compiled.map_or(0, |policy| matched_namespaces(policy, snapshot).count()),
        ended_authorities: compiled.iter().flat_map(|policy| policy.ended_authorities(now)).collect(),
        tally: gathered.tallies.as_ref().map(|tallies| tallies.get(&policy.name).cloned().unwrap_or_default()),
        replicas: &gathered.replicas,
        policy_hash: &snapshot.policy_hash,
        applied: gathered.applied.as_ref(),
        report: gathered.report.as_ref(),
    }
}

/// Why a policy that exists is not among those that are decided by.
fn why_not_in_force(name: &PolicyName, snapshot: &Snapshot) -> String {
    match name {
        PolicyName::Namespaced { namespace, .. } if snapshot.policies.exempts(namespace) => {
            format!("no policy ever matches namespace {namespace}; put it into the namespace of the workloads")
        }
        _ => format!(
            "only the {MAX_MODEL_POLICIES} oldest policies of a namespace are in force; delete others, or list more \
             authorities in one"
        ),
    }
}

/// The namespaces that a policy matches.
fn matched_namespaces<'a>(
    policy: &CompiledPolicy,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a str, &'a NamespaceFacts)> {
    let namespaces = snapshot.evidence.namespaces.iter().map(|(name, facts)| (name.as_str(), facts.as_ref()));
    namespaces.filter(|(name, facts)| !snapshot.policies.exempts(name) && policy.selects_namespace(name, &facts.labels))
}

fn weak_namespaces<'a>(policy: &CompiledPolicy, snapshot: &'a Snapshot) -> Vec<&'a str> {
    let weak = |facts: &NamespaceFacts| {
        let level = facts.labels.get(POD_SECURITY.0);
        level.is_none_or(|level| !POD_SECURITY.1.contains(&level.as_str()))
    };
    let weak = matched_namespaces(policy, snapshot).filter(|(_, facts)| weak(facts));
    let mut names: Vec<&str> = weak.map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

fn status(before: &PolicyStatus, facts: &Facts<'_>, now: Timestamp) -> PolicyStatus {
    let generation = Some(facts.generation);
    let conditions = conditions::merge(&before.conditions, judge::conditions(facts), generation, now);
    // Until something is known again, what was known before stays.
    let (workloads, failing) = match &facts.tally {
        Some(tally) => (Some(tally.counts), tally.worst()),
        None => (before.workloads, before.failing.clone()),
    };
    PolicyStatus { observed_generation: generation, conditions, workloads, failing }
}
