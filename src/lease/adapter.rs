//! The election, carried out against the API server.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Attempt, Election, LEASE_DURATION, RETRY_PERIOD, Record};

/// Longest wait for one attempt, which is two requests: two attempts that hang fit into the renew deadline.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time between saying that leadership has ended and giving up the Lease: what was sent before reaches the API server.
const SETTLE: Duration = Duration::from_millis(500);

/// Which Lease, and who competes for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who competes: the name of the Pod.
    pub identity: String,
    /// Tells the time that is written into the Lease, for people and other clients.
    pub clock: fn() -> Timestamp,
}

crate::metrics! {
    /// Whether this process leads.
    pub struct Metrics {
        /// 1 while this process is the operator's leader, else 0.
        leader: IntGauge = "weighbridge_leader",
    }
}

/// Competes for a Lease for as long as the process lives, and publishes whether it holds it.
pub struct Elector {
    api: Api<Lease>,
    settings: Settings,
    election: Election,
    leadership: Arc<watch::Sender<bool>>,
    metrics: Metrics,
}

impl Elector {
    /// A candidate, and what it publishes.
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> (Elector, watch::Receiver<bool>) {
        let (leadership, receiver) = watch::channel(false);
        let api = Api::namespaced(client, &settings.namespace);
        let election = Election::new(settings.identity.clone());
        (Elector { api, settings, election, leadership: Arc::new(leadership), metrics }, receiver)
    }

    /// Competes until `shutdown` ends; then stops those who act, and gives the Lease up.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = self.compete() => {}
            () = shutdown => {}
        }
        let led = self.election.leading_until(Instant::now().into_std()).is_some();
        self.publish(false);
        if led {
            sleep(SETTLE).await;
            self.give_up().await;
        }
    }

    async fn compete(&mut self) {
        loop {
            let now = Instant::now();
            let left = self.election.leading_until(now.into_std()).map(|until| Instant::from_std(until) - now);
            // Nothing in this loop waits beyond the deadline, so that a request that hangs cannot prolong leadership.
            let limit = left.map_or(ATTEMPT_TIMEOUT, |left| left.min(ATTEMPT_TIMEOUT));
            match timeout(limit, self.attempt()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(lease = %self.settings.name, %error, "an attempt to hold the lease failed"),
                Err(_) => warn!(lease = %self.settings.name, "an attempt to hold the lease took too long"),
            }
            let now = Instant::now();
            let until = self.election.leading_until(now.into_std());
            self.publish(until.is_some());
            let left = until.map_or(RETRY_PERIOD, |until| Instant::from_std(until) - now);
            sleep(left.min(RETRY_PERIOD)).await;
            if self.election.leading_until(Instant::now().into_std()).is_none() {
                self.publish(false);
            }
        }
    }

    /// Reads the Lease, decides, and writes it where that is due. The API server refuses a write that is based on another
    /// version than the one that was read, so two candidates cannot both win.
    async fn attempt(&mut self) -> kube::Result<()> {
        let seen = self.api.get_opt(&self.settings.name).await?;
        let sent = Instant::now().into_std();
        let attempt = self.election.next(seen.as_ref().map(record), sent);
        let now = MicroTime((self.settings.clock)());
        match (attempt, seen) {
            (Attempt::Wait, _) => return Ok(()),
            (Attempt::Renew, Some(mut lease)) => {
                let spec = lease.spec.get_or_insert_default();
                spec.renew_time = Some(now);
                spec.lease_duration_seconds = Some(whole_seconds(LEASE_DURATION));
                self.api.replace(&self.settings.name, &PostParams::default(), &lease).await?;
            }
            (_, Some(mut lease)) => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
                lease.spec = Some(self.spec(now, transitions.saturating_add(1)));
                self.api.replace(&self.settings.name, &PostParams::default(), &lease).await?;
                info!(lease = %self.settings.name, identity = %self.settings.identity, "took the lease");
            }
            (_, None) => {
                self.api.create(&PostParams::default(), &self.new_lease(now)).await?;
                info!(lease = %self.settings.name, identity = %self.settings.identity, "made the lease");
            }
        }
        self.election.won(sent);
        Ok(())
    }

    async fn give_up(&mut self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else { return Ok(()) };
            if record(&lease).holder.as_deref() != Some(self.settings.identity.as_str()) {
                return Ok(());
            }
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime((self.settings.clock)()));
            self.api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(|_| ())
        };
        match timeout(ATTEMPT_TIMEOUT, released).await {
            Ok(Ok(())) => info!(lease = %self.settings.name, "gave up the lease"),
            Ok(Err(error)) => warn!(lease = %self.settings.name, %error, "cannot give up the lease; it will expire"),
            Err(_) => warn!(lease = %self.settings.name, "cannot give up the lease in time; it will expire"),
        }
    }

    fn new_lease(&self, now: MicroTime) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.settings.name.clone()),
            namespace: Some(self.settings.namespace.clone()),
            labels: Some([("weighbridge.dev/component".to_owned(), "operator".to_owned())].into()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: Some(self.spec(now, 0)) }
    }

    fn spec(&self, now: MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(LEASE_DURATION)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn publish(&self, leading: bool) {
        let changed = self.leadership.send_if_modified(|before| std::mem::replace(before, leading) != leading);
        if changed {
            info!(lease = %self.settings.name, leading, "leadership changed");
            self.metrics.leader.set(i64::from(leading));
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
