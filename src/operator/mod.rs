//! The operator: keeps the cluster as the policies want it.
//!
//! Each folder is one controller, with `gather → decide → apply → status` in a file each. All of them run in
//! [`runner::run`], and act only while this process is the leader.
//!
//! ```text
//!             ┌──────────── ca bundle ───────────┐
//!             │                                  ▼
//!       certificates ◀── applied ─────────── webhooks ◀── report ── probe
//!                            │                                        │
//!                            └────────────▶ policies ◀────────────────┘
//! ```

pub mod call;
pub mod certificates;
pub mod conditions;
pub mod events;
mod nonce;
mod owner;
pub mod pods;
pub mod policies;
pub mod records;
pub mod runner;
pub mod stores;
pub mod uninstall;
pub mod webhooks;
pub mod workloads;

use kube::Client;
use tokio::sync::watch;

use crate::app::{Phase, Supervisor};
use crate::clock;
use crate::index::Index;
use crate::lease::{self, Elector};
use crate::telemetry::Registry;
use certificates::Certificates;
use events::Events;
use pods::Pods;
use policies::Policies;
use records::Records;
use runner::{Controller, Inputs};
use webhooks::Webhooks;
use workloads::Workloads;

/// Name of the Lease that the leader holds.
pub const LEASE: &str = "weighbridge-operator";

/// What the operator is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// Name of our own Pod.
    pub pod_name: String,
    /// About the webhook's registration.
    pub webhooks: webhooks::Settings,
    /// About certificates.
    pub certificates: certificates::Settings,
    /// About records and verifier Pods.
    pub records: records::Settings,
}

/// Starts the election and every controller.
pub fn start(settings: Settings, client: &Client, index: &Index, supervisor: &Supervisor, registry: &Registry) {
    let Settings { namespace, pod_name, webhooks, certificates, records } = settings;
    let events = Events::new(client.clone(), &namespace, &pod_name);
    let own_namespace = namespace.clone();
    let leadership = elect(namespace, pod_name, client, supervisor, registry);
    let inputs = Inputs {
        snapshots: index.subscribe(),
        leadership,
        clock: clock::now,
        metrics: runner::Metrics::register(registry),
    };

    let (ca_bundle, ca_bundle_receiver) = watch::channel(None);
    let metrics = webhooks::Metrics::register(registry);
    let (webhooks, prober, links) = Webhooks::new(client, webhooks, ca_bundle_receiver, events.clone(), metrics);
    let metrics = certificates::Metrics::register(registry);
    let certificates = Certificates::new(client.clone(), certificates, ca_bundle, links.applied.clone(), metrics);

    spawn(supervisor, &inputs, certificates);
    spawn(supervisor, &inputs, webhooks);
    spawn(supervisor, &inputs, prober);
    let metrics = records::Metrics::register(registry);
    spawn(supervisor, &inputs, Records::new(client.clone(), records, metrics));
    let metrics = workloads::Metrics::register(registry);
    let (workloads, tallies) = Workloads::new(client.clone(), events.clone(), metrics);
    spawn(supervisor, &inputs, workloads);
    spawn(supervisor, &inputs, Policies::new(client.clone(), links, tallies));
    let metrics = pods::Metrics::register(registry);
    spawn(supervisor, &inputs, Pods::new(client.clone(), own_namespace, events, metrics));
}

fn elect(
    namespace: String,
    identity: String,
    client: &Client,
    supervisor: &Supervisor,
    registry: &Registry,
) -> watch::Receiver<bool> {
    let settings = lease::Settings { namespace, name: LEASE.to_owned(), identity, clock: clock::now };
    let (elector, leadership) = Elector::new(client.clone(), settings, lease::Metrics::register(registry));
    let own = supervisor.clone();
    supervisor.spawn_closing("election", elector.run(async move { own.reached(Phase::Stopping).await }));
    leadership
}

fn spawn<C: Controller + 'static>(supervisor: &Supervisor, inputs: &Inputs, controller: C) {
    supervisor.spawn(C::NAME, runner::run(controller, inputs.clone()));
}
