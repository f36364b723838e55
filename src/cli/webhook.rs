//! `weighbridge webhook`: answers AdmissionReviews.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::process::{self, ProcessFlags};
use super::{Exit, UsageError};
use crate::admission::{
    AdmissionMetrics, REVIEW_BYTES, RecordQueue, Settings, Webhook, create_records, follow_policies,
};
use crate::app::{Phase, Supervisor};
use crate::clock;
use crate::decision::MAX_EVIDENCE_AGE;
use crate::index::{Index, Interest, Settings as IndexSettings, Snapshot};
use crate::lease::{Presence, PresenceSettings, Serving};
use crate::server::{Limits, PairFiles, PairSlot, ServerMetrics, TlsSettings, follow_files, follow_secret, serve_tls};
use crate::telemetry::{self, Check};

/// Run the webhook: answers AdmissionReviews.
#[derive(Args, Debug)]
pub(super) struct Flags {
    #[command(flatten)]
    process: ProcessFlags,

    /// The uid of this Pod, so that its Lease goes with it.
    #[arg(long, env = "WEIGHBRIDGE_POD_UID", value_name = "UID")]
    pod_uid: Option<String>,

    /// Where reviews are answered, over TLS.
    #[arg(long, env = "WEIGHBRIDGE_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,

    /// Where `/livez`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "WEIGHBRIDGE_METRICS_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_listen: SocketAddr,

    /// The Secret with the serving pair (`tls.crt`, `tls.key`), in the namespace of weighbridge.
    #[arg(long, env = "WEIGHBRIDGE_SERVING_SECRET", value_name = "NAME", default_value = "weighbridge-webhook-tls")]
    serving_secret: String,

    /// A PEM file with the serving certificate, instead of the Secret; read again when it changes.
    #[arg(long, env = "WEIGHBRIDGE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// A PEM file with the key of that certificate.
    #[arg(long, env = "WEIGHBRIDGE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// A PEM file with the authority of the API servers' client certificates. Absent: clients need none.
    #[arg(long, env = "WEIGHBRIDGE_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// How long a replica that is to end still takes new calls, while API servers learn that it goes.
    #[arg(long, env = "WEIGHBRIDGE_DRAIN_DELAY", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    drain_delay: Duration,

    /// A Secret with public keys that policies refer to; may be repeated.
    #[arg(long = "trust-secret", value_name = "NAME")]
    trust_secrets: Vec<String>,
}

/// A duration such as `10s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration is not negative".to_owned())
}

impl Flags {
    pub(super) fn run(self, _: &mut dyn Write) -> Result<Exit, UsageError> {
        self.process.logs.init()?;
        let client_ca = match &self.client_ca {
            None => None,
            Some(file) => {
                let read = std::fs::read(file);
                Some(read.map_err(|error| UsageError(format!("--client-ca {}: {error}", file.display())))?)
            }
        };
        Ok(process::block_on(run(self, client_ca)).unwrap_or(Exit::Failed))
    }
}

async fn run(flags: Flags, client_ca: Option<Vec<u8>>) -> Exit {
    let Some(client) = process::client().await else { return Exit::Failed };
    let (supervisor, run) = Supervisor::new();
    let registry = telemetry::new_registry();
    let server_metrics = ServerMetrics::register(&registry);
    let pair = PairSlot::new(server_metrics.clone());
    let tls = match TlsSettings::new(pair.clone(), client_ca.as_deref()) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "TLS cannot be set up");
            return Exit::Failed;
        }
    };
    let listener = match TcpListener::bind(flags.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %flags.listen, "the socket for reviews cannot be bound");
            return Exit::Failed;
        }
    };
    let snapshots = follow_cluster(&flags, &client, &supervisor);
    let held = keep_lease(&flags, client.clone(), snapshots.clone(), &supervisor);
    follow_pair(&flags, &client, &pair, &supervisor);

    let checks = checks(snapshots.clone(), pair, held, supervisor.phase());
    if !process::serve_health(&supervisor, flags.metrics_listen, &registry, checks, server_metrics.clone()).await {
        return Exit::Failed;
    }
    let metrics = AdmissionMetrics::register(&registry);
    let records = Arc::new(RecordQueue::new(metrics.clone()));
    supervisor.spawn("record requests", never(create_records(Arc::clone(&records), client)));
    supervisor.spawn("policy metrics", never(follow_policies(metrics.clone(), snapshots.clone())));
    let settings = Settings { namespace: flags.process.namespace, replica: flags.process.pod_name };
    let router = Webhook::new(settings, snapshots, clock::now, records, metrics).router();
    let limits = Limits { body_bytes: REVIEW_BYTES, ..Limits::default() };
    let server = serve_tls(listener, tls, router, limits, server_metrics, supervisor.phase());
    supervisor.spawn_server("webhook", server);
    process::exit(run.until_end(flags.drain_delay).await)
}

/// Starts the index.
fn follow_cluster(flags: &Flags, client: &Client, supervisor: &Supervisor) -> watch::Receiver<Arc<Snapshot>> {
    let index = Index::new(IndexSettings {
        namespace: flags.process.namespace.clone(),
        interest: Interest::Admission,
        trust_secrets: flags.trust_secrets.clone(),
        clock: clock::now,
    });
    for (name, task) in index.tasks(client) {
        supervisor.spawn(name, task);
    }
    index.subscribe()
}

/// Starts to keep the Lease of this replica; tells whether it was taken.
fn keep_lease(
    flags: &Flags,
    client: Client,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    supervisor: &Supervisor,
) -> watch::Receiver<bool> {
    let settings = PresenceSettings {
        namespace: flags.process.namespace.clone(),
        pod_name: flags.process.pod_name.clone(),
        pod_uid: flags.pod_uid.clone(),
        clock: clock::now,
    };
    let (presence, held) = Presence::new(client, settings);
    let (news, serving) = watch::channel(None);
    supervisor.spawn("news of the index", tell(snapshots, news));
    let last_call = supervisor.clone();
    supervisor.spawn_closing("lease", presence.keep(serving, async move { last_call.reached(Phase::Stopping).await }));
    held
}

/// Tells what this replica serves, whenever that changes.
async fn tell(mut snapshots: watch::Receiver<Arc<Snapshot>>, news: watch::Sender<Option<Serving>>) {
    loop {
        let serving = serving(&snapshots.borrow_and_update());
        news.send_if_modified(|before| {
            let changed = *before != serving;
            *before = serving;
            changed
        });
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

fn serving(snapshot: &Snapshot) -> Option<Serving> {
    let version = |version: &String| version.parse().ok();
    let stores = snapshot.objects.stores.values();
    let stores = stores.filter_map(|store| store.metadata.resource_version.as_ref().and_then(version)).max();
    let warm = snapshot.version > 0;
    warm.then(|| Serving { policy_hash: snapshot.policy_hash.clone(), stores: stores.unwrap_or(0) })
}

/// Starts to follow the serving pair.
fn follow_pair(flags: &Flags, client: &Client, pair: &PairSlot, supervisor: &Supervisor) {
    match (&flags.tls_cert, &flags.tls_key) {
        (Some(chain), Some(key)) => {
            let files = PairFiles { chain: chain.clone(), key: key.clone() };
            supervisor.spawn("serving pair", never(follow_files(files, pair.clone())));
        }
        _ => {
            let (namespace, name) = (flags.process.namespace.clone(), flags.serving_secret.clone());
            supervisor.spawn("serving pair", never(follow_secret(client.clone(), namespace, name, pair.clone())));
        }
    }
}

/// A task that never ends, as the supervisor takes it.
async fn never(task: impl Future<Output = std::convert::Infallible>) {
    match task.await {}
}

/// What a replica needs to be ready. That the sockets are bound needs no check: without them the process ends.
fn checks(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    pair: PairSlot,
    held: watch::Receiver<bool>,
    phase: watch::Receiver<Phase>,
) -> Vec<Check> {
    vec![
        Check::new("index", move || fresh(&snapshots.borrow(), clock::now())),
        Check::new("serving pair", move || pair.ready(clock::now())),
        // Whoever waits for all replicas must know of this one before it answers.
        Check::new("lease", move || if *held.borrow() { Ok(()) } else { Err("it was never taken".to_owned()) }),
        Check::new("running", move || match *phase.borrow() {
            Phase::Running => Ok(()),
            phase => Err(format!("{phase:?}")),
        }),
    ]
}

/// Whether the index is young enough to decide upon.
fn fresh(snapshot: &Snapshot, now: Timestamp) -> Result<(), String> {
    if snapshot.version == 0 {
        return Err("not every kind has been listed yet".to_owned());
    }
    let age = snapshot.evidence.observed_at.map(|seen| now.duration_since(seen));
    match age {
        Some(age) if age < MAX_EVIDENCE_AGE => Ok(()),
        Some(age) => Err(format!("no sign of life from the API server for {} s", age.as_secs())),
        None => Err("no sign of life from the API server".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_ready_while_it_is_warm_and_young() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut snapshot = Snapshot::default();
        assert!(fresh(&snapshot, now).is_err());
        snapshot.version = 1;
        assert!(fresh(&snapshot, now).is_err());
        for (seconds, ready) in [(0, true), (119, true), (120, false)] {
            snapshot.evidence.observed_at = Some(now - SignedDuration::from_secs(seconds));
            assert_eq!(fresh(&snapshot, now).is_ok(), ready, "{seconds} s");
        }
    }

    #[test]
    fn what_is_served_is_said_once_the_index_is_warm() {
        let mut snapshot = Snapshot { policy_hash: "abc".into(), ..Snapshot::default() };
        assert_eq!(serving(&snapshot), None);
        snapshot.version = 1;
        assert_eq!(serving(&snapshot), Some(Serving { policy_hash: "abc".into(), stores: 0 }));
    }

    #[test]
    fn durations_are_not_negative() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["", "soon", "-1s"] {
            duration(text).unwrap_err();
        }
    }
}
