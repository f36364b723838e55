//! The webhook configurations: which requests the API server asks us about, and what happens when nobody answers.
//!
//! Receives the policies, the CA bundle and what the last probe found; promises that exactly the namespaces that policies
//! select are covered, that nothing fails closed before a probe has come back from every ready replica, that nothing that
//! fails closed is loosened again except by people, and that what others change is restored; never covers the namespaces
//! of the cluster itself or our own.
//!
//! ```text
//! policies ─┐                                   ┌─▶ Applied ─▶ certificates, policies
//! CA bundle ┼▶ configuration ─▶ apply ─▶ live ──┤
//! armed? ───┘        ▲                          └─▶ Prober ── dry run through the API server ──▶ Report ─┐
//!                    └───────────────────────────── arming ◀─────────────────────────────────────────────┘
//! ```

mod apply;
mod arming;
mod configuration;
mod probe;

pub use configuration::{Covered, MAX_SCOPES, PolicyScope, desired, desired_gates, is_valid};
pub use probe::{Prober, Report};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client, ResourceExt};
use prometheus::{IntCounterVec, IntGauge};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::call::CallFailed;
use super::events::Events;
use super::owner;
use super::runner::Controller;
use crate::index::{Objects, Snapshot};
use crate::lease::Replicas;
use crate::policy::{NamespaceSelection, PolicyName};

/// Name of both webhook configurations: of the one that judges, and of the one that gates new Pods.
pub const CONFIGURATION: &str = "weighbridge";
/// Annotation on it: whether entries fail closed.
pub const ARMED: &str = "weighbridge.dev/armed";
/// How often the configuration is compared with what it should be, though nothing of ours has changed.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// What the operator is told about the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// Name of the webhook's Service.
    pub service: String,
    /// The user name under which the operator's requests come.
    pub operator_account: String,
    /// The chart's ClusterRole, which takes the configuration along when it goes.
    pub owner_cluster_role: String,
}

crate::metrics! {
    /// Metrics of the webhook configuration.
    pub struct Metrics {
        /// 1 while requests about Pods fail closed where a policy denies, else 0.
        armed: IntGauge = "weighbridge_webhook_armed",
        /// Ready replicas of the webhook that the last probe through the API server did not reach.
        unreached: IntGauge = "weighbridge_webhook_unreached_replicas",
        /// Probes of the webhook through the API server.
        probes: IntCounterVec = "weighbridge_webhook_probes_total" ["outcome"],
    }
}

/// What the API server was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The uid of the configuration.
    pub uid: String,
    /// Whether it fails closed where a policy denies.
    pub armed: bool,
    /// The CA bundle that it carries.
    pub ca_bundle: String,
    /// The policies that it covers, each with the generation that was read.
    pub policies: BTreeMap<PolicyName, i64>,
}

/// Keeps the webhook configuration.
pub struct Webhooks {
    api: Api<ValidatingWebhookConfiguration>,
    gates: Api<MutatingWebhookConfiguration>,
    roles: Api<ClusterRole>,
    settings: Settings,
    replicas: Replicas,
    ca_bundle: watch::Receiver<Option<String>>,
    report: watch::Receiver<Option<Report>>,
    applied: watch::Sender<Option<Applied>>,
    last: Option<(Inputs, Instant)>,
    events: Events,
    metrics: Metrics,
}

/// What a round rests on, besides the live configuration.
#[derive(Clone, Debug, PartialEq)]
struct Inputs {
    covered: Covered,
    /// All policies, with their generations.
    generations: BTreeMap<PolicyName, i64>,
    ca_bundle: String,
    report: Option<Report>,
    replicas: BTreeSet<String>,
}

impl Webhooks {
    /// A controller of the webhook configuration and the prober that belongs to it; and what the controller publishes.
    pub fn new(
        client: &Client,
        settings: Settings,
        ca_bundle: watch::Receiver<Option<String>>,
        events: Events,
        metrics: Metrics,
    ) -> (Webhooks, Prober, Links) {
        let (applied, applied_receiver) = watch::channel(None);
        let (prober, report) = Prober::new(client.clone(), &settings, applied_receiver.clone(), metrics.clone());
        let links = Links { applied: applied_receiver, report: report.clone() };
        let webhooks = Webhooks {
            api: Api::all(client.clone()),
            gates: Api::all(client.clone()),
            roles: Api::all(client.clone()),
            settings,
            replicas: Replicas::default(),
            ca_bundle,
            report,
            applied,
            last: None,
            events,
            metrics,
        };
        (webhooks, prober, links)
    }

    fn gather(&mut self, snapshot: &Snapshot, ca_bundle: String, now: Instant) -> Inputs {
        let live = self.replicas.live(&snapshot.objects.leases, now.into_std());
        Inputs {
            covered: Covered {
                policies: scopes(snapshot),
                namespaces: snapshot.policies.namespaces().map(|(name, denies)| (name.to_owned(), denies)).collect(),
                custom: snapshot.kinds.resources(),
            },
            generations: generations(snapshot),
            ca_bundle,
            report: self.report.borrow_and_update().clone(),
            replicas: live.into_iter().map(|replica| replica.name).collect(),
        }
    }

    async fn publish(&self, applied: Applied) {
        let before = self.applied.borrow().as_ref().map(|before| before.armed);
        self.metrics.armed.set(i64::from(applied.armed));
        if applied.armed && before == Some(false) {
            info!("armed: requests about Pods fail closed where a policy denies");
            self.events.publish(event(EventType::Normal, "WebhookArmed", ARMED_NOTE)).await;
        }
        self.applied.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&applied);
            *last = Some(applied);
            changed
        });
    }

    /// Says so when an armed webhook is out of reach: requests are being refused because nobody answers.
    async fn alarm(&self, inputs: &Inputs, armed: bool) {
        let before = self.last.as_ref().and_then(|(inputs, _)| inputs.report.as_ref());
        let Some(report) = inputs.report.as_ref().filter(|report| armed && !report.complete()) else { return };
        if before != Some(report) {
            let missing: Vec<&str> = report.missing.iter().map(String::as_str).collect();
            let note = match report.error.as_deref() {
                _ if missing.is_empty() => "no replica of the webhook is ready".to_owned(),
                Some(error) => format!("not reached through the API server: {} ({error})", missing.join(", ")),
                None => format!("not reached through the API server: {}", missing.join(", ")),
            };
            self.events.publish(event(EventType::Warning, "WebhookUnreachable", &note)).await;
        }
    }
}

/// What the controller of the webhook configuration publishes.
#[derive(Clone, Debug)]
pub struct Links {
    /// What the API server was last told.
    pub applied: watch::Receiver<Option<Applied>>,
    /// What the last probe found.
    pub report: watch::Receiver<Option<Report>>,
}

impl Controller for Webhooks {
    const NAME: &'static str = "webhooks";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        let Some(ca_bundle) = self.ca_bundle.borrow_and_update().clone() else { return Ok(None) };
        let started = Instant::now();
        let inputs = self.gather(&snapshot, ca_bundle, started);
        if let Some((last, at)) = &self.last {
            let age = started.saturating_duration_since(*at);
            if *last == inputs && age < CHECK_INTERVAL {
                return Ok(Some(now + (CHECK_INTERVAL - age)));
            }
        }
        let live = self.api.get_opt(CONFIGURATION).await.map_err(CallFailed::when("read the webhook configuration"))?;
        let owner = owner::reference(&self.roles, &self.settings.owner_cluster_role).await?;
        let armed = arming::is_armed(live.as_ref(), inputs.report.as_ref(), &inputs.replicas);
        let Inputs { covered, ca_bundle, .. } = &inputs;
        // The gates first: where Pods are judged, those that must wait are refused without one.
        let gates = desired_gates(covered, ca_bundle, armed, &self.settings, owner.clone());
        apply::apply(&self.gates, &gates).await?;
        let wanted = desired(covered, ca_bundle, armed, &self.settings, owner);
        let live = apply::apply(&self.api, &wanted).await?;
        self.publish(Applied {
            uid: live.uid().unwrap_or_default(),
            armed,
            ca_bundle: inputs.ca_bundle.clone(),
            policies: inputs.generations.clone(),
        })
        .await;
        self.alarm(&inputs, armed).await;
        self.last = Some((inputs, started));
        Ok(Some(now + CHECK_INTERVAL))
    }

    async fn woken(&mut self) {
        tokio::select! {
            Ok(()) = self.ca_bundle.changed() => {}
            Ok(()) = self.report.changed() => {}
            else => std::future::pending().await,
        }
    }
}

const ARMED_NOTE: &str =
    "every ready replica answered through the API server: requests about Pods now fail closed where a policy denies";

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event { type_, reason: reason.to_owned(), note: Some(note.to_owned()), action: "Probe".to_owned(), secondary: None }
}

fn scopes(snapshot: &Snapshot) -> Vec<PolicyScope> {
    let scope = |selection: NamespaceSelection<'_>| PolicyScope {
        name: selection.policy.to_string(),
        selector: selection.selector.clone(),
        denies: selection.denies,
    };
    snapshot.policies.namespace_selectors().map(scope).collect()
}

/// The policies that are in force, with the generations that were read.
fn generations(snapshot: &Snapshot) -> BTreeMap<PolicyName, i64> {
    let Objects { policies, model_policies, .. } = &snapshot.objects;
    let metadata = |name: &PolicyName| match name {
        PolicyName::Cluster(name) => policies.get(name).map(|policy| &policy.metadata),
        PolicyName::Namespaced { namespace, name } => {
            model_policies.get(&(namespace.clone(), name.clone())).map(|policy| &policy.metadata)
        }
    };
    let generation = |name: &PolicyName| metadata(name).and_then(|metadata| metadata.generation).unwrap_or_default();
    snapshot.policies.iter().map(|policy| (policy.name.clone(), generation(&policy.name))).collect()
}
