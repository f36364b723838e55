//! Supervision: the tasks of a process, and its end in order.
//!
//! Receives tasks with names; promises that none ends unnoticed (one that ends while the process runs, or panics,
//! brings the process down in order, with an exit code other than 0) and that the end comes in [`Phase`]s; never knows
//! what the tasks do. It imports nothing of this crate, so any layer that has tasks may be handed a [`Supervisor`].
//!
//! ```text
//! Running ──signal or failure──▶ LameDuck ──drain delay──▶ Draining ──servers have ended──▶ Stopping ──tasks have ended──▶ exit
//!            not ready           new calls still come      no new connections               leases are given up
//! ```

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// How long servers may take to drain. The Go client of an API server keeps an idle connection for 90 s and may send on
/// it until then; a call that starts at the very end has at most 30 s (`timeoutSeconds` of a webhook).
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(90 + 30);

/// How long the other tasks may take to stop: two calls to the API server (a lease is read and given up) at a time-out
/// of 2 s each, and one second to spare.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has not begun.
    Running,
    /// Not ready any more, though calls still come: whoever routes them has not noticed yet.
    LameDuck,
    /// Servers take no new connection; they end when their last one is closed.
    Draining,
    /// Servers have ended; everything else is to end.
    Stopping,
}

/// What a task may end with.
pub trait Outcome {
    /// Why it failed, if it did.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Starts tasks, and hears of their end. Clones are the same supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor {
    phase: watch::Receiver<Phase>,
    ended: mpsc::UnboundedSender<Ended>,
    running: Arc<watch::Sender<Count>>,
    aborts: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Runs what a [`Supervisor`] has started until its end.
#[derive(Debug)]
pub struct Run {
    phase: watch::Sender<Phase>,
    ended: mpsc::UnboundedReceiver<Ended>,
    supervisor: Supervisor,
}

/// How many tasks run.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    servers: usize,
    others: usize,
}

/// A task has ended.
#[derive(Debug)]
struct Ended {
    name: &'static str,
    failure: Option<String>,
}

/// The kinds of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends in [`Phase::Draining`] by itself.
    Server,
    /// Ends in [`Phase::Stopping`] by itself.
    Closing,
    /// Is dropped in [`Phase::Stopping`].
    Background,
}

impl Supervisor {
    /// A supervisor, and what runs it.
    pub fn new() -> (Supervisor, Run) {
        let (phase_sender, phase) = watch::channel(Phase::Running);
        let (ended, ended_receiver) = mpsc::unbounded_channel();
        let running = Arc::new(watch::Sender::new(Count::default()));
        let supervisor = Supervisor { phase, ended, running, aborts: Arc::default() };
        let run = Run { phase: phase_sender, ended: ended_receiver, supervisor: supervisor.clone() };
        (supervisor, run)
    }

    /// How far the end has come, to watch.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }

    /// Waits until the end has come as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watched = self.phase.clone();
        // An error means that the other half is gone: then everything is to end.
        let _ = watched.wait_for(|now| *now >= phase).await;
    }

    /// Starts a task that never ends by itself. It is dropped when the process stops, at any of its `await`s.
    pub fn spawn<T: Outcome>(&self, name: &'static str, task: impl Future<Output = T> + Send + 'static) {
        let supervisor = self.clone();
        self.start(name, Kind::Background, async move {
            tokio::select! {
                outcome = task => outcome.failure(),
                () = supervisor.reached(Phase::Stopping) => None,
            }
        });
    }

    /// Starts a task that watches [`Supervisor::phase`] and tidies up in [`Phase::Stopping`], within [`STOP_DEADLINE`].
    pub fn spawn_closing<T: Outcome>(&self, name: &'static str, task: impl Future<Output = T> + Send + 'static) {
        self.start(name, Kind::Closing, async move { task.await.failure() });
    }

    /// Starts a server: a task that watches [`Supervisor::phase`] and ends in [`Phase::Draining`] when its last
    /// connection is closed, within [`DRAIN_DEADLINE`].
    pub fn spawn_server<T: Outcome>(&self, name: &'static str, task: impl Future<Output = T> + Send + 'static) {
        self.start(name, Kind::Server, async move { task.await.failure() });
    }

    fn start(&self, name: &'static str, kind: Kind, task: impl Future<Output = Option<String>> + Send + 'static) {
        let (ended, running) = (self.ended.clone(), Arc::clone(&self.running));
        running.send_modify(|count| *count.of(kind) += 1);
        #[expect(clippy::disallowed_methods, reason = "this is where tasks are supervised")]
        let handle = tokio::spawn(async move {
            let failure = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(failure) => failure,
                Err(_) => Some("it panicked".to_owned()),
            };
            // Nobody listens any more once the process is at its end.
            let _ = ended.send(Ended { name, failure });
            running.send_modify(|count| *count.of(kind) -= 1);
        });
        let mut aborts = self.aborts.lock().unwrap_or_else(PoisonError::into_inner);
        aborts.retain(|abort| !abort.is_finished());
        aborts.push(handle.abort_handle());
    }
}

impl Count {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Server => &mut self.servers,
            Kind::Closing | Kind::Background => &mut self.others,
        }
    }
}

impl Run {
    /// Runs until SIGTERM, SIGINT or the end of a task that should not have ended, then ends everything in order. A
    /// second signal ends it at once.
    pub async fn until_end(mut self, drain_delay: Duration) -> ExitCode {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals cannot be listened to");
                return ExitCode::FAILURE;
            }
        };
        let failed = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            Some(ended) = self.ended.recv() => report(&ended, Phase::Running),
        };
        let again = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let in_order = tokio::select! {
            in_order = self.end(drain_delay) => in_order,
            () = again => false,
        };
        if failed || !in_order { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Goes through the phases. Returns whether every task has ended, in time and without a failure.
    async fn end(&mut self, drain_delay: Duration) -> bool {
        let mut in_order = self.pass(Phase::LameDuck, drain_delay, |_| false).await;
        in_order &= self.pass(Phase::Draining, DRAIN_DEADLINE, |count| count.servers == 0).await;
        in_order &= self.pass(Phase::Stopping, STOP_DEADLINE, |count| count.servers + count.others == 0).await;
        for abort in self.supervisor.aborts.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            abort.abort();
        }
        in_order
    }

    /// Enters a phase and stays in it until `done`, or for `longest`. Returns whether no task failed meanwhile and, where
    /// something was waited for, whether it came.
    async fn pass(&mut self, phase: Phase, longest: Duration, done: impl Fn(&Count) -> bool) -> bool {
        tracing::info!(?phase, "shutting down");
        self.phase.send_replace(phase);
        let mut count = self.supervisor.running.subscribe();
        let waited = tokio::time::timeout(longest, count.wait_for(done)).await;
        let in_time = waited.is_ok() || phase == Phase::LameDuck;
        if !in_time {
            tracing::warn!(?phase, "not everything has ended in time");
        }
        let mut failed = false;
        while let Ok(ended) = self.ended.try_recv() {
            failed |= report(&ended, phase);
        }
        in_time && !failed
    }
}

/// Logs the end of a task. Returns whether it should not have ended so.
fn report(ended: &Ended, phase: Phase) -> bool {
    match (&ended.failure, phase) {
        (Some(error), _) => {
            tracing::error!(task = ended.name, error, "a task has failed");
            true
        }
        (None, Phase::Running) => {
            tracing::error!(task = ended.name, "a task has ended that should not");
            true
        }
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ends_within_a_moment(run: Run) -> ExitCode {
        tokio::time::timeout(Duration::from_secs(5), run.until_end(Duration::ZERO)).await.expect("it ends")
    }

    fn is_failure(code: ExitCode) -> bool {
        format!("{code:?}") == format!("{:?}", ExitCode::FAILURE)
    }

    #[tokio::test]
    async fn a_panic_ends_the_process() {
        let (supervisor, run) = Supervisor::new();
        supervisor.spawn("calm", std::future::pending::<()>());
        supervisor.spawn("rash", async { panic!("on purpose") as () });
        assert!(is_failure(ends_within_a_moment(run).await));
    }

    #[tokio::test]
    async fn a_task_that_just_ends_ends_the_process() {
        let (supervisor, run) = Supervisor::new();
        supervisor.spawn("short", async {});
        assert!(is_failure(ends_within_a_moment(run).await));
    }

    #[tokio::test]
    async fn the_end_comes_in_order() {
        let (supervisor, mut run) = Supervisor::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, phase) in [("lease", Phase::Stopping), ("server", Phase::Draining)] {
            let (own, order) = (supervisor.clone(), Arc::clone(&order));
            let task = async move {
                own.reached(phase).await;
                order.lock().unwrap().push(name);
            };
            match phase {
                Phase::Draining => supervisor.spawn_server(name, task),
                _ => supervisor.spawn_closing(name, task),
            }
        }
        supervisor.spawn("watch", std::future::pending::<()>());
        assert!(run.end(Duration::ZERO).await);
        assert_eq!(*order.lock().unwrap(), ["server", "lease"]);
    }

    #[tokio::test]
    async fn a_failure_at_the_end_is_one() {
        let (supervisor, mut run) = Supervisor::new();
        let own = supervisor.clone();
        supervisor.spawn_closing("lease", async move {
            own.reached(Phase::Stopping).await;
            Err::<(), _>("cannot be given up")
        });
        assert!(!run.end(Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_does_not_hold_up_the_end() {
        let (supervisor, mut run) = Supervisor::new();
        supervisor.spawn_server("stuck", std::future::pending::<()>());
        assert!(!run.end(Duration::ZERO).await);
    }
}
