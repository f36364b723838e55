//! `weighbridge operator`: keeps certificates, the webhook's registration, records and statuses.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::process::{self, ProcessFlags};
use super::verifier_flags::VerifierFlags;
use super::{Exit, UsageError};
use crate::app::Supervisor;
use crate::clock;
use crate::index::{Index, Interest, Settings as IndexSettings};
use crate::operator::certificates::{self, Mode};
use crate::operator::{self, Settings, records, webhooks};
use crate::server::ServerMetrics;
use crate::telemetry::{self, Check};

/// Run the operator: certificates, the webhook's registration, records and statuses.
#[derive(Args, Debug)]
pub(super) struct Flags {
    #[command(flatten)]
    process: ProcessFlags,

    /// Where `/livez`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "WEIGHBRIDGE_METRICS_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_listen: SocketAddr,

    /// The Service of the webhook.
    #[arg(long, env = "WEIGHBRIDGE_WEBHOOK_SERVICE", value_name = "NAME", default_value = "weighbridge-webhook")]
    webhook_service: String,

    /// The Secret with the webhook's serving pair.
    #[arg(long, env = "WEIGHBRIDGE_SERVING_SECRET", value_name = "NAME", default_value = "weighbridge-webhook-tls")]
    serving_secret: String,

    /// The Secret with the certificate authority, which the operator makes. Absent: people bring the serving pair, and
    /// nothing is made.
    #[arg(long, env = "WEIGHBRIDGE_CA_SECRET", value_name = "NAME", conflicts_with = "ca_bundle")]
    ca_secret: Option<String>,

    /// A PEM file with the authorities of a serving pair that people bring. Absent: `ca.crt` in the Secret with the pair.
    #[arg(long, env = "WEIGHBRIDGE_CA_BUNDLE", value_name = "FILE")]
    ca_bundle: Option<PathBuf>,

    /// The ClusterRole that takes the webhook's registration along when it goes.
    #[arg(long, env = "WEIGHBRIDGE_OWNER_CLUSTER_ROLE", value_name = "NAME", default_value = "weighbridge-operator")]
    owner_cluster_role: String,

    /// The user name under which the operator's own requests come. Default: the account `weighbridge-operator` of the
    /// namespace.
    #[arg(long, env = "WEIGHBRIDGE_OPERATOR_ACCOUNT", value_name = "USER")]
    operator_account: Option<String>,

    /// A Secret with public keys that policies refer to; may be repeated.
    #[arg(long = "trust-secret", value_name = "NAME")]
    trust_secrets: Vec<String>,

    #[command(flatten)]
    verifiers: VerifierFlags,
}

impl Flags {
    pub(super) fn run(self, _: &mut dyn Write) -> Result<Exit, UsageError> {
        self.process.logs.init()?;
        let settings = self.settings()?;
        Ok(process::block_on(run(settings, self)).unwrap_or(Exit::Failed))
    }

    fn settings(&self) -> Result<Settings, UsageError> {
        let namespace = self.process.namespace.clone();
        let account = || format!("system:serviceaccount:{namespace}:weighbridge-operator");
        let mode = match (&self.ca_secret, &self.ca_bundle) {
            (Some(ca_secret), _) => Mode::SelfSigned { ca_secret: ca_secret.clone() },
            (None, None) => Mode::Provided { ca_bundle: None },
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| UsageError(format!("--ca-bundle {}: {error}", file.display())))?;
                Mode::Provided { ca_bundle: Some(text) }
            }
        };
        Ok(Settings {
            webhooks: webhooks::Settings {
                namespace: namespace.clone(),
                service: self.webhook_service.clone(),
                operator_account: self.operator_account.clone().unwrap_or_else(account),
                owner_cluster_role: self.owner_cluster_role.clone(),
            },
            certificates: certificates::Settings {
                namespace: namespace.clone(),
                service: self.webhook_service.clone(),
                serving_secret: self.serving_secret.clone(),
                owner_cluster_role: self.owner_cluster_role.clone(),
                mode,
            },
            records: records::Settings {
                namespace: namespace.clone(),
                verifier: self.verifiers.settings()?,
                limits: self.verifiers.limits(),
            },
            pod_name: self.process.pod_name.clone(),
            namespace,
        })
    }
}

async fn run(settings: Settings, flags: Flags) -> Exit {
    let Some(client) = process::client().await else { return Exit::Failed };
    let (supervisor, run) = Supervisor::new();
    let registry = telemetry::new_registry();
    let index = Index::new(IndexSettings {
        namespace: settings.namespace.clone(),
        interest: Interest::Operation,
        trust_secrets: flags.trust_secrets,
        clock: clock::now,
    });
    for (name, task) in index.tasks(&client) {
        supervisor.spawn(name, task);
    }
    let snapshots = index.subscribe();
    let warm = Check::new("index", move || match snapshots.borrow().version {
        0 => Err("not every kind has been listed yet".to_owned()),
        _ => Ok(()),
    });
    let metrics = ServerMetrics::register(&registry);
    if !process::serve_health(&supervisor, flags.metrics_listen, &registry, vec![warm], metrics).await {
        return Exit::Failed;
    }
    operator::start(settings, &client, &index, &supervisor, &registry);
    // Nobody routes calls to the operator: there is nothing to wait for at the end.
    process::exit(run.until_end(Duration::ZERO).await)
}
