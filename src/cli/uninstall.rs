//! `weighbridge uninstall`: takes weighbridge out of the way of requests, before its objects are deleted.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::process::{self, LogFlags};
use super::{Exit, UsageError};
use crate::operator::uninstall::{self, Settings};

/// Disarm: stop the operator, remove the webhook's registration and verifier Pods, lift gates and finalizers.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// The namespace of weighbridge itself.
    #[arg(long, env = "WEIGHBRIDGE_NAMESPACE", value_name = "NAME")]
    namespace: String,

    /// The Deployment of the operator, which would register the webhook again.
    #[arg(long, value_name = "NAME", default_value = "weighbridge-operator")]
    operator_deployment: String,

    /// Seconds after which what is not done is given up.
    #[arg(long, value_name = "SECONDS", default_value = "180")]
    deadline: u64,

    #[command(flatten)]
    logs: LogFlags,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        self.logs.init()?;
        let settings = Settings { namespace: self.namespace, operator_deployment: self.operator_deployment };
        let deadline = Duration::from_secs(self.deadline);
        Ok(process::block_on(run(settings, deadline, out)).unwrap_or(Exit::Failed))
    }
}

async fn run(settings: Settings, deadline: Duration, out: &mut dyn Write) -> Exit {
    let Some(client) = process::client().await else { return Exit::Failed };
    // Whoever reads the log of a Job that was killed wants to know how far it came: each line goes out at once.
    let mut say = |line: &str| {
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    };
    match tokio::time::timeout(deadline, uninstall::run(&client, &settings, &mut say)).await {
        Ok(Ok(())) => Exit::Success,
        Ok(Err(error)) => {
            say(&format!("error: {error}"));
            Exit::Failed
        }
        Err(_) => {
            say(&format!("error: not done within {} s", deadline.as_secs()));
            Exit::Failed
        }
    }
}
