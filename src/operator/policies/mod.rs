//! What became of each policy: the conditions of `ClusterModelPolicy`.
//!
//! Receives the compiled policies, the Leases of the webhook's replicas, what the API server was told and what the last
//! probe found; promises that `Programmed` and `Enforcing` are true only when every ready replica serves the policy as it
//! is now and requests cannot get past it; never changes a policy, and never decides about a request.

mod judge;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use super::call::{CallFailed, FIELD_MANAGER};
use super::conditions;
use super::runner::Controller;
use super::webhooks::{Applied, Links, Report};
use crate::api::v1alpha1::{ClusterModelPolicy, ClusterModelPolicyStatus};
use crate::decision::NamespaceFacts;
use crate::index::Snapshot;
use crate::lease::{Replica, Replicas};
use crate::policy::CompiledPolicy;
use judge::Facts;

/// How often the conditions are looked at, though nothing has changed: a replica whose Lease expires changes nothing.
const CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(15);
/// The label by which a namespace enforces a Pod Security level, and the levels that keep a Pod from taking over a node.
const POD_SECURITY: (&str, [&str; 2]) = ("pod-security.kubernetes.io/enforce", ["baseline", "restricted"]);

/// Keeps the conditions.
pub struct Policies {
    api: Api<ClusterModelPolicy>,
    links: Links,
    replicas: Replicas,
    /// What was written, by policy, with the resourceVersion on which it was based: until the watch has brought another
    /// one, this is the newer status.
    written: HashMap<String, (String, ClusterModelPolicyStatus)>,
    rest: Option<(Arc<Snapshot>, Timestamp)>,
}

/// What all policies have in common in a round.
struct Gathered {
    replicas: Vec<Replica>,
    applied: Option<Applied>,
    report: Option<Report>,
}

impl Policies {
    /// A controller that learns from `links` what became of the webhook configuration.
    pub fn new(client: Client, links: Links) -> Self {
        Policies { api: Api::all(client), links, replicas: Replicas::default(), written: HashMap::new(), rest: None }
    }

    fn gather(&mut self, snapshot: &Snapshot) -> Gathered {
        Gathered {
            replicas: self.replicas.live(&snapshot.objects.leases, Instant::now().into_std()),
            applied: self.links.applied.borrow_and_update().clone(),
            report: self.links.report.borrow_and_update().clone(),
        }
    }

    /// The status that the policy has, as far as anybody knows.
    fn present(&self, policy: &ClusterModelPolicy) -> ClusterModelPolicyStatus {
        let version = policy.resource_version();
        let written = self.written.get(&policy.name_any()).filter(|(based_on, _)| Some(based_on) == version.as_ref());
        written.map(|(_, status)| status.clone()).or_else(|| policy.status.clone()).unwrap_or_default()
    }

    async fn write(&mut self, policy: &ClusterModelPolicy, status: ClusterModelPolicyStatus) -> Result<(), CallFailed> {
        let name = policy.name_any();
        let patch = json!({
            "apiVersion": ClusterModelPolicy::api_version(&()),
            "kind": ClusterModelPolicy::kind(&()),
            "metadata": { "name": name, "uid": policy.uid() },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let outcome = self.api.patch_status(&name, &params, &Patch::Apply(&patch)).await;
        match outcome {
            Ok(_) => {}
            // It was deleted, or deleted and made again, in the meantime: the next snapshot knows.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(error) => return Err(CallFailed::when("write the status of a policy")(error)),
        }
        let summary: Vec<String> = status.conditions.iter().map(|it| format!("{}={}", it.type_, it.reason)).collect();
        info!(policy = name, generation = status.observed_generation, conditions = summary.join(" "), "policy");
        self.written.insert(name, (policy.resource_version().unwrap_or_default(), status));
        Ok(())
    }
}

impl Controller for Policies {
    const NAME: &'static str = "policies";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        if let Some((_, until)) = self.rest.as_ref().filter(|(last, until)| same(last, &snapshot) && now < *until) {
            return Ok(Some(*until));
        }
        let gathered = self.gather(&snapshot);
        self.written.retain(|name, _| snapshot.objects.policies.contains_key(name));
        for policy in snapshot.objects.policies.values() {
            let facts = facts(policy, &snapshot, &gathered);
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
        && Arc::ptr_eq(&last.objects.leases, &now.objects.leases)
        && Arc::ptr_eq(&last.evidence.namespaces, &now.evidence.namespaces)
        && last.policy_hash == now.policy_hash
}

fn facts<'a>(policy: &'a ClusterModelPolicy, snapshot: &'a Snapshot, gathered: &'a Gathered) -> Facts<'a> {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let compiled = snapshot.policies.get(name);
    let denies = compiled.is_some_and(|policy| policy.actions.enforces());
    Facts {
        name,
        generation: policy.metadata.generation.unwrap_or_default(),
        accepted: compiled.map_or_else(|| Err("it has not been read yet".to_owned()), CompiledPolicy::accepted),
        denies,
        unknown_admits: compiled.is_some_and(CompiledPolicy::unknown_admits),
        selection_by_tenant: compiled.is_some_and(CompiledPolicy::selection_by_tenant),
        weak_namespaces: compiled
            .filter(|_| denies)
            .map(|policy| weak_namespaces(policy, snapshot))
            .unwrap_or_default(),
        replicas: &gathered.replicas,
        policy_hash: &snapshot.policy_hash,
        applied: gathered.applied.as_ref(),
        report: gathered.report.as_ref(),
    }
}

fn weak_namespaces<'a>(policy: &CompiledPolicy, snapshot: &'a Snapshot) -> Vec<&'a str> {
    let weak = |facts: &NamespaceFacts| {
        let level = facts.labels.get(POD_SECURITY.0);
        level.is_none_or(|level| !POD_SECURITY.1.contains(&level.as_str()))
    };
    let namespaces = snapshot.evidence.namespaces.iter();
    let mut names: Vec<&str> = namespaces
        .filter(|(name, facts)| {
            !snapshot.policies.exempts(name) && policy.selects_namespace(&facts.labels) && weak(facts)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn status(before: &ClusterModelPolicyStatus, facts: &Facts<'_>, now: Timestamp) -> ClusterModelPolicyStatus {
    let generation = Some(facts.generation);
    let conditions = conditions::merge(&before.conditions, judge::conditions(facts), generation, now);
    ClusterModelPolicyStatus { observed_generation: generation, conditions }
}
