//! `weighbridge webhook`: answers AdmissionReviews.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::core::ApiResource;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::process::{self, ProcessFlags};
use super::{Exit, UsageError};
use crate::admission::{
    AdmissionMetrics, REVIEW_BYTES, RecordQueue, Settings, Webhook, create_records, follow_policies,
};
use crate::api::v1alpha1::BackingStore;
use crate::app::{Phase, Supervisor};
use crate::clock;
use crate::decision::MAX_EVIDENCE_AGE;
use crate::index::{Index, Interest, Settings as IndexSettings, Snapshot};
use crate::lease::{Presence, PresenceSettings, Serving, Standing};
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
    let (decided_from, vouched) = watch::channel(Arc::default());
    let standing = keep_lease(&flags, client.clone(), vouched.clone(), &supervisor);
    supervisor.spawn("vouched snapshots", vouch(snapshots.clone(), standing.clone(), decided_from));
    follow_pair(&flags, &client, &pair, &supervisor);

    let checks = checks(snapshots.clone(), pair, standing, supervisor.phase());
    if !process::serve_health(&supervisor, flags.metrics_listen, &registry, checks, server_metrics.clone()).await {
        return Exit::Failed;
    }
    let metrics = AdmissionMetrics::register(&registry);
    let records = Arc::new(RecordQueue::new(metrics.clone()));
    supervisor.spawn("record requests", never(create_records(Arc::clone(&records), client)));
    supervisor.spawn("policy metrics", never(follow_policies(metrics.clone(), snapshots)));
    let settings = Settings { namespace: flags.process.namespace, replica: flags.process.pod_name };
    let router = Webhook::new(settings, vouched, clock::now, records, metrics).router();
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

/// Starts to keep the Lease of this replica; tells what follows from it.
fn keep_lease(
    flags: &Flags,
    client: Client,
    vouched: watch::Receiver<Arc<Snapshot>>,
    supervisor: &Supervisor,
) -> watch::Receiver<Option<Standing>> {
    let settings = PresenceSettings {
        namespace: flags.process.namespace.clone(),
        pod_name: flags.process.pod_name.clone(),
        pod_uid: flags.pod_uid.clone(),
        clock: clock::now,
        stores: ApiResource::erase::<BackingStore>(&()),
    };
    let (presence, standing) = Presence::new(client, settings);
    let (news, serving) = watch::channel(None);
    supervisor.spawn("news of the index", tell(vouched, news));
    let last_call = supervisor.clone();
    supervisor.spawn_closing("lease", presence.keep(serving, async move { last_call.reached(Phase::Stopping).await }));
    standing
}

/// Whether this replica may decide from a snapshot: while others wait for what it sees, and once it has seen what they no
/// longer wait for.
fn stands(standing: &watch::Receiver<Option<Standing>>, snapshot: &Snapshot) -> bool {
    standing.borrow().is_some_and(|standing| standing.holds(snapshot.objects.stores_version, Instant::now()))
}

/// Passes the snapshots on that this replica may decide from. Of one that it may not, nobody knows how old it is.
async fn vouch(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut standing: watch::Receiver<Option<Standing>>,
    vouched: watch::Sender<Arc<Snapshot>>,
) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let until = standing.borrow_and_update().map(|standing| standing.until());
        if stands(&standing, &snapshot) {
            vouched.send_replace(snapshot);
        } else {
            let mut unknown = Snapshot::clone(&snapshot);
            unknown.evidence.observed_at = None;
            vouched.send_replace(Arc::new(unknown));
        }
        let lapse = async {
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let alive = tokio::select! {
            changed = snapshots.changed() => changed.is_ok(),
            changed = standing.changed() => changed.is_ok(),
            () = lapse => true,
        };
        if !alive {
            return;
        }
    }
}

/// Tells what this replica decides from, whenever that changes.
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
    let warm = snapshot.version > 0;
    warm.then(|| Serving { policy_hash: snapshot.policy_hash.clone(), stores: snapshot.objects.stores_version })
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
    standing: watch::Receiver<Option<Standing>>,
    phase: watch::Receiver<Phase>,
) -> Vec<Check> {
    let index = snapshots.clone();
    vec![
        Check::new("index", move || fresh(&index.borrow(), clock::now())),
        Check::new("serving pair", move || pair.ready(clock::now())),
        // Whoever waits for all replicas must know of this one before it answers.
        Check::new("lease", move || {
            let stands = stands(&standing, &snapshots.borrow());
            if stands { Ok(()) } else { Err("it is not held, or the index is behind it".to_owned()) }
        }),
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

    #[tokio::test(start_paused = true)]
    async fn a_replica_without_a_lease_knows_nothing() {
        let seen = Some(Timestamp::UNIX_EPOCH);
        let mut snapshot = Snapshot { version: 1, ..Snapshot::default() };
        snapshot.evidence.observed_at = seen;
        snapshot.objects.stores_version = 6;
        let (snapshots, watched) = watch::channel(Arc::new(snapshot.clone()));
        let (standing, stands) = watch::channel(None);
        let (sender, mut vouched) = watch::channel(Arc::<Snapshot>::default());
        let observed = async {
            let mut now = async || {
                vouched.changed().await.unwrap();
                vouched.borrow_and_update().evidence.observed_at
            };
            assert_eq!(now().await, None, "the Lease was never taken");
            standing.send_replace(Some(Standing::until_then(Instant::now() + Duration::from_secs(60), 7)));
            assert_eq!(now().await, None, "the index is behind");
            snapshot.objects.stores_version = 7;
            snapshots.send_replace(Arc::new(snapshot));
            assert_eq!(now().await, seen);
            let begin = Instant::now();
            assert_eq!(now().await, None, "it has lapsed");
            assert_eq!(begin.elapsed().as_secs(), 60);
        };
        tokio::select! {
            () = vouch(watched, stands, sender) => panic!("it ended"),
            () = observed => {}
        }
    }

    #[test]
    fn a_lease_lasts_as_long_as_an_index_may_be_old() {
        assert_eq!(crate::lease::PRESENCE_DURATION, Duration::try_from(MAX_EVIDENCE_AGE).unwrap());
    }

    #[test]
    fn durations_are_not_negative() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["", "soon", "-1s"] {
            duration(text).unwrap_err();
        }
    }
}
