//! What every controller of the operator runs in.
//!
//! Receives a [`Controller`] and what wakes it; promises that it acts only while this process is the leader, that a round
//! is dropped at once when leadership ends, that rounds never follow each other faster than [`MIN_INTERVAL`], and that a
//! failing one backs off; never decides anything about the cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounterVec;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::index::Snapshot;

/// Shortest time between the starts of two rounds of a controller: a busy cluster publishes a snapshot many times a
/// second, and what a round does is worth doing a few times a second at most.
pub const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// Pause after the first failure, doubled up to the second value: an API server that is being restarted is back within a
/// few seconds, and one that stays away must not be asked more than twice a minute by each controller.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// One part of the operator: looks at the cluster, and acts.
pub trait Controller: Send {
    /// Names it in logs and metrics.
    const NAME: &'static str;

    /// Why a round failed.
    type Error: Failure;

    /// One round: gather, decide, apply. Gives the time at which it wants another one although nothing changed.
    ///
    /// May be dropped at any await point, when leadership ends: what it keeps in memory MUST be right after that too.
    fn reconcile(
        &mut self,
        snapshot: Arc<Snapshot>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Timestamp>, Self::Error>> + Send;

    /// Ends when something other than the cluster asks for a round.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// An error that metrics can count.
pub trait Failure: fmt::Display + Send {
    /// One word of a closed set.
    fn code(&self) -> &'static str;
}

/// What wakes a controller, and what it is measured by.
#[derive(Clone)]
pub struct Inputs {
    /// The cluster. A snapshot of version 0 is the one before the first, and wakes nobody.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Whether this process is the leader.
    pub leadership: watch::Receiver<bool>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// Counts failures.
    pub metrics: Metrics,
}

crate::metrics! {
    /// Metrics of the controllers.
    pub struct Metrics {
        /// Rounds of the operator's controllers that failed.
        reconcile_errors: IntCounterVec = "weighbridge_reconcile_errors_total" ["controller", "code"],
    }
}

/// Runs a controller until the index or the election ends.
pub async fn run<C: Controller>(mut controller: C, mut inputs: Inputs) {
    let mut backoff = BACKOFF.0;
    while until(&mut inputs.leadership, |leading| *leading).await && ready(&mut inputs.snapshots).await {
        let started = Instant::now();
        let snapshot = inputs.snapshots.borrow_and_update().clone();
        let now = (inputs.clock)();
        let outcome = tokio::select! {
            biased;
            alive = until(&mut inputs.leadership, |leading| !*leading) => {
                if alive { continue } else { return }
            }
            outcome = controller.reconcile(snapshot, now) => outcome,
        };
        let next = match outcome {
            Ok(deadline) => {
                backoff = BACKOFF.0;
                deadline.map(|deadline| started + until_then(now, deadline))
            }
            Err(error) => {
                inputs.metrics.reconcile_errors.with_label_values(&[C::NAME, error.code()]).inc();
                warn!(controller = C::NAME, code = error.code(), %error, retry_after = ?backoff, "a round failed");
                sleep_until(Instant::now() + backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
                continue;
            }
        };
        sleep_until(started + MIN_INTERVAL).await;
        tokio::select! {
            changed = inputs.snapshots.changed() => if changed.is_err() { return },
            () = controller.woken() => debug!(controller = C::NAME, "woken"),
            () = at(next) => {}
            alive = until(&mut inputs.leadership, |leading| !*leading) => if !alive { return },
        }
    }
}

/// Waits until the value is as wanted; false when it never will be.
async fn until<T>(receiver: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) -> bool {
    receiver.wait_for(wanted).await.is_ok()
}

async fn ready(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> bool {
    until(snapshots, |snapshot| snapshot.version > 0).await
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Time from now to a deadline; nothing for one that has passed.
fn until_then(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    type Answers = Vec<Result<Option<i64>, Broken>>;

    struct Probe {
        rounds: mpsc::UnboundedSender<u64>,
        answers: Answers,
        hang: bool,
    }

    #[derive(Debug)]
    struct Broken;

    impl fmt::Display for Broken {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("broken")
        }
    }

    impl Failure for Broken {
        fn code(&self) -> &'static str {
            "Broken"
        }
    }

    impl Controller for Probe {
        const NAME: &'static str = "probe";
        type Error = Broken;

        async fn reconcile(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, Broken> {
            self.rounds.send(snapshot.version).unwrap();
            if self.hang {
                std::future::pending::<()>().await;
            }
            let answer = self.answers.pop().unwrap_or(Ok(None))?;
            Ok(answer.map(|seconds| Timestamp::from_second(now.as_second() + seconds).unwrap()))
        }
    }

    struct World {
        snapshots: watch::Sender<Arc<Snapshot>>,
        leadership: watch::Sender<bool>,
        rounds: mpsc::UnboundedReceiver<u64>,
        metrics: Metrics,
    }

    fn start(answers: Answers, hang: bool) -> World {
        let (snapshots, snapshot_rx) = watch::channel(Arc::new(Snapshot::default()));
        let (leadership, leadership_rx) = watch::channel(false);
        let (rounds_tx, rounds) = mpsc::unbounded_channel();
        let metrics = Metrics::register(&crate::telemetry::Registry::new());
        let inputs = Inputs {
            snapshots: snapshot_rx,
            leadership: leadership_rx,
            clock: || Timestamp::UNIX_EPOCH,
            metrics: metrics.clone(),
        };
        let controller = Probe { rounds: rounds_tx, answers, hang };
        #[expect(clippy::disallowed_methods, reason = "a test has no supervisor")]
        tokio::spawn(run(controller, inputs));
        World { snapshots, leadership, rounds, metrics }
    }

    impl World {
        fn publish(&self, version: u64) {
            self.snapshots.send_replace(Arc::new(Snapshot { version, ..Snapshot::default() }));
        }

        async fn quiet(&mut self) -> bool {
            tokio::time::timeout(Duration::from_secs(3600), self.rounds.recv()).await.is_err()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_runs_before_the_first_snapshot_or_without_leadership() {
        let mut world = start(vec![], false);
        world.publish(1);
        assert!(world.quiet().await);
        world.leadership.send_replace(true);
        assert_eq!(world.rounds.recv().await, Some(1));
        assert!(world.quiet().await);
        world.leadership.send_replace(false);
        world.publish(2);
        assert!(world.quiet().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_hangs_ends_with_leadership() {
        let mut world = start(vec![], true);
        world.publish(1);
        world.leadership.send_replace(true);
        assert_eq!(world.rounds.recv().await, Some(1));
        world.leadership.send_replace(false);
        assert!(world.quiet().await);
        world.leadership.send_replace(true);
        assert_eq!(world.rounds.recv().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_are_counted() {
        let mut world = start(vec![Ok(None), Err(Broken), Err(Broken), Err(Broken)], false);
        world.publish(1);
        world.leadership.send_replace(true);
        let begin = Instant::now();
        for _ in 0..4 {
            world.rounds.recv().await;
        }
        assert_eq!(begin.elapsed().as_millis(), 500 + 1000 + 2000);
        assert_eq!(world.metrics.reconcile_errors.with_label_values(&["probe", "Broken"]).get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_brings_a_round_and_one_in_the_past_no_hot_loop() {
        let mut world = start(vec![Ok(None), Ok(Some(-5)), Ok(Some(60))], false);
        world.publish(1);
        world.leadership.send_replace(true);
        world.rounds.recv().await;
        let begin = Instant::now();
        world.rounds.recv().await;
        assert_eq!(begin.elapsed().as_secs(), 60);
        world.rounds.recv().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(60) + MIN_INTERVAL);
        assert!(world.quiet().await);
    }
}
