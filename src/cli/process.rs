//! What the subcommands that run for ever have in common: logs, a runtime, a client, metrics, and the end in order.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kube::Client;
use tokio::net::TcpListener;

use super::{Exit, UsageError};
use crate::app::Supervisor;
use crate::server::{Limits, ServerMetrics, serve_plain};
use crate::telemetry::{self, Check, LogFormat, LogSettings, Registry};

/// Flags of a process that runs in the cluster.
#[derive(Args, Debug)]
pub(super) struct ProcessFlags {
    /// The namespace of weighbridge itself.
    #[arg(long, env = "WEIGHBRIDGE_NAMESPACE", value_name = "NAME")]
    pub(super) namespace: String,

    /// The name of this Pod.
    #[arg(long, env = "WEIGHBRIDGE_POD_NAME", value_name = "NAME")]
    pub(super) pod_name: String,

    #[command(flatten)]
    pub(super) logs: LogFlags,
}

/// Flags about logs.
#[derive(Args, Debug)]
pub(super) struct LogFlags {
    /// What is logged: a level, also by module, such as `info,weighbridge::lease=debug`.
    #[arg(long = "log", env = "WEIGHBRIDGE_LOG", value_name = "FILTER", default_value = "info")]
    filter: String,

    /// How a line of the log looks.
    #[arg(long = "log-format", env = "WEIGHBRIDGE_LOG_FORMAT", value_enum, default_value = "json")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Text,
}

impl LogFlags {
    /// Sets up logs for the whole process.
    pub(super) fn init(&self) -> Result<(), UsageError> {
        let format = match self.format {
            Format::Json => LogFormat::Json,
            Format::Text => LogFormat::Text,
        };
        let settings = LogSettings { format, filter: self.filter.clone() };
        telemetry::init_logs(&settings).map_err(|error| UsageError(error.to_string()))
    }
}

/// Runs a future to its end on a runtime of its own. `None`, with a line in the log, where there can be no runtime.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Option<T> {
    // Several providers could be compiled in; this is the one. It fails only where another was installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Some(runtime.block_on(future)),
        Err(error) => {
            tracing::error!(%error, "there can be no runtime");
            None
        }
    }
}

/// The client of the API server: from the Pod's service account, or from a kubeconfig outside of a cluster.
pub(super) async fn client() -> Option<Client> {
    let config = match kube::Config::infer().await {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "neither a service account nor a kubeconfig is there");
            return None;
        }
    };
    match Client::try_from(config) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::error!(%error, "the API server's client cannot be made");
            None
        }
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` over plain HTTP; false, with a line in the log, where the socket cannot be
/// bound.
pub(super) async fn serve_health(
    supervisor: &Supervisor,
    address: SocketAddr,
    registry: &Registry,
    checks: Vec<Check>,
    metrics: ServerMetrics,
) -> bool {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, %address, "the socket for metrics cannot be bound");
            return false;
        }
    };
    let router = telemetry::router(registry.clone(), checks);
    supervisor.spawn("metrics", serve_plain(listener, router, Limits::default(), metrics));
    true
}

/// What the end of a process means for its caller.
pub(super) fn exit(code: ExitCode) -> Exit {
    if code == ExitCode::SUCCESS { Exit::Success } else { Exit::Failed }
}
