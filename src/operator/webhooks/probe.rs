//! Whether the webhook can be reached: asked through the API server, by a request that changes nothing.
//!
//! A dry-run creation of a ConfigMap goes the way that every request goes: API server, Service, certificate, replica. The
//! replica refuses it with its name and our nonce, and closes the connection, so that the next one may reach another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{Applied, Metrics, Settings};
use crate::api::probe::{PROBE_NONCE, PROBE_OBJECT};
use crate::index::Snapshot;
use crate::lease::Replicas;
use crate::operator::call::CallFailed;
use crate::operator::nonce;
use crate::operator::runner::Controller;

/// How often an armed webhook is probed: an alarm within a minute, at a cost of a few requests.
const INTERVAL_ARMED: SignedDuration = SignedDuration::from_secs(60);
/// How often one is probed that is not armed, or that the last probe did not reach everywhere.
const INTERVAL_UNREACHED: SignedDuration = SignedDuration::from_secs(5);
/// Attempts for each replica. Service routing picks one at random: with n replicas, all of them are reached within
/// n · (ln n + 7) attempts in 999 of 1000 rounds, which is below 10 · n for up to 20 replicas.
const ATTEMPTS_PER_REPLICA: usize = 10;
/// Longest wait for one answer: longer than the API server waits for the webhook.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest time for one round, so that an answer is never older than that.
const ROUND_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts in a row that reach nobody, after which a round ends.
const MAX_FAILURES: usize = 3;

/// What the last probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The webhook configuration that it went through, by uid.
    pub configuration: String,
    /// Replicas that answered.
    pub reached: BTreeSet<String>,
    /// Replicas that hold a Lease and did not answer.
    pub missing: BTreeSet<String>,
    /// What was said by whoever answered instead.
    pub error: Option<String>,
}

impl Report {
    /// Whether every ready replica answered, and there is one.
    pub fn complete(&self) -> bool {
        !self.reached.is_empty() && self.missing.is_empty()
    }
}

/// An answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// A replica refused it with our nonce.
    Replica(String),
    /// Nobody refused it: the API server does not know the webhook yet, or no longer.
    NotCalled,
    /// It was refused in other words: the API server cannot reach the webhook, or does not trust it.
    Unreached(String),
}

/// Probes the webhook, again and again.
#[derive(Debug)]
pub struct Prober {
    api: Api<ConfigMap>,
    namespace: String,
    applied: watch::Receiver<Option<Applied>>,
    report: watch::Sender<Option<Report>>,
    replicas: Replicas,
    last: Option<Round>,
    metrics: Metrics,
}

/// What a round was about, and when.
#[derive(Debug)]
struct Round {
    configuration: String,
    replicas: BTreeSet<String>,
    at: Timestamp,
    complete: bool,
}

impl Prober {
    /// A prober; gives what it publishes too.
    pub fn new(
        client: Client,
        settings: &Settings,
        applied: watch::Receiver<Option<Applied>>,
        metrics: Metrics,
    ) -> (Prober, watch::Receiver<Option<Report>>) {
        let (report, receiver) = watch::channel(None);
        let api = Api::namespaced(client, &settings.namespace);
        let namespace = settings.namespace.clone();
        (Prober { api, namespace, applied, report, replicas: Replicas::default(), last: None, metrics }, receiver)
    }

    async fn round(&self, applied: &Applied, replicas: &BTreeSet<String>) -> Report {
        let mut report = Report {
            configuration: applied.uid.clone(),
            reached: BTreeSet::new(),
            missing: replicas.clone(),
            error: None,
        };
        let begin = Instant::now();
        let mut failures = 0;
        for _ in 0..ATTEMPTS_PER_REPLICA * replicas.len() {
            if report.missing.is_empty() || failures >= MAX_FAILURES || begin.elapsed() > ROUND_TIMEOUT {
                break;
            }
            match self.ask().await {
                Answer::Replica(name) => {
                    report.missing.remove(&name);
                    report.reached.insert(name);
                    failures = 0;
                }
                Answer::NotCalled => {
                    report.error = Some("the API server did not call the webhook".to_owned());
                    failures += 1;
                }
                Answer::Unreached(error) => {
                    report.error = Some(error);
                    failures += 1;
                }
            }
        }
        report
    }

    async fn ask(&self) -> Answer {
        let Some(nonce) = nonce::fresh() else {
            return Answer::Unreached("no random numbers can be had".to_owned());
        };
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(PROBE_OBJECT.to_owned()),
                namespace: Some(self.namespace.clone()),
                annotations: Some([(PROBE_NONCE.to_owned(), nonce.clone())].into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match timeout(ANSWER_TIMEOUT, self.api.create(&dry_run, &object)).await {
            Ok(Ok(_)) => Answer::NotCalled,
            Ok(Err(kube::Error::Api(status))) => read(&status.message, &nonce),
            Ok(Err(error)) => Answer::Unreached(error.to_string()),
            Err(_) => Answer::Unreached(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }

    fn publish(&self, report: Report) {
        let (reached, missing) = (report.reached.len(), report.missing.len());
        self.metrics.unreached.set(i64::try_from(missing).unwrap_or(i64::MAX));
        let outcome = if report.complete() { "Reached" } else { "Unreached" };
        self.metrics.probes.with_label_values(&[outcome]).inc();
        let before = self.report.borrow().as_ref().map(Report::complete);
        match report.complete() {
            true if before != Some(true) => info!(reached, "every ready replica answers through the API server"),
            false if before != Some(false) => {
                warn!(reached, missing, error = report.error, "not every ready replica answers through the API server");
            }
            _ => {}
        }
        self.report.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&report);
            *last = Some(report);
            changed
        });
    }
}

impl Controller for Prober {
    const NAME: &'static str = "probe";
    type Error = CallFailed;

    async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CallFailed> {
        let live = self.replicas.live(&snapshot.objects.leases, Instant::now().into_std());
        let replicas: BTreeSet<String> = live.into_iter().map(|replica| replica.name).collect();
        let Some(applied) = self.applied.borrow_and_update().clone() else { return Ok(None) };
        if let Some(due) = self.last.as_ref().and_then(|last| last.valid_until(&applied, &replicas, now)) {
            return Ok(Some(due));
        }
        let report = self.round(&applied, &replicas).await;
        let complete = report.complete();
        self.publish(report);
        let interval = if complete && applied.armed { INTERVAL_ARMED } else { INTERVAL_UNREACHED };
        self.last = Some(Round { configuration: applied.uid, replicas, at: now, complete });
        Ok(Some(now + interval))
    }

    async fn woken(&mut self) {
        if self.applied.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Round {
    /// Until when this round says enough; `None` when another one is due.
    fn valid_until(&self, applied: &Applied, replicas: &BTreeSet<String>, now: Timestamp) -> Option<Timestamp> {
        let same = self.configuration == applied.uid && self.replicas == *replicas;
        let interval = if self.complete && applied.armed { INTERVAL_ARMED } else { INTERVAL_UNREACHED };
        let due = self.at + interval;
        (same && self.at <= now && now < due).then_some(due)
    }
}

/// Finds our replica's answer in what the API server says:
/// `admission webhook "probe.weighbridge.dev" denied the request: weighbridge-probe <replica> <nonce>`.
fn read(message: &str, nonce: &str) -> Answer {
    let words: Vec<&str> = message.split_whitespace().collect();
    let replica = words.windows(3).find(|words| words[0] == PROBE_OBJECT && words[2] == nonce).map(|words| words[1]);
    match replica {
        Some(replica) => Answer::Replica(replica.to_owned()),
        None => Answer::Unreached(message.chars().take(500).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_nonce_from_a_replica_is_an_answer() {
        let refused =
            "admission webhook \"probe.weighbridge.dev\" denied the request: weighbridge-probe webhook-a 1234";
        assert_eq!(read(refused, "1234"), Answer::Replica("webhook-a".to_owned()));
        for other in [
            refused.replace("1234", "12345").as_str(),
            "configmaps \"weighbridge-probe\" is forbidden: User \"x\" cannot create resource 1234",
            "Internal error occurred: failed calling webhook \"probe.weighbridge.dev\": connection refused",
            "",
        ] {
            assert!(matches!(read(other, "1234"), Answer::Unreached(_)), "{other}");
        }
    }

    #[test]
    fn a_round_counts_until_something_changes_or_it_is_old() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let applied = |uid: &str, armed| Applied { uid: uid.to_owned(), armed, ..Applied::default() };
        let round = |complete| Round { configuration: "u".to_owned(), replicas: set(&["a"]), at: at(100), complete };

        let rows = [
            ("armed and fine", round(true), applied("u", true), set(&["a"]), 159, Some(160)),
            ("armed, old", round(true), applied("u", true), set(&["a"]), 160, None),
            ("not armed yet", round(true), applied("u", false), set(&["a"]), 105, None),
            ("armed, not reached", round(false), applied("u", true), set(&["a"]), 104, Some(105)),
            ("another configuration", round(true), applied("v", true), set(&["a"]), 101, None),
            ("another replica", round(true), applied("u", true), set(&["a", "b"]), 101, None),
            ("the clock went back", round(true), applied("u", true), set(&["a"]), 99, None),
        ];
        for (name, round, applied, replicas, now, wanted) in rows {
            assert_eq!(round.valid_until(&applied, &replicas, at(now)), wanted.map(at), "{name}");
        }
    }
}
