//! Log lines: structured, to stderr, filtered by target and level.

use std::io;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Text, for people.
    Text,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// Directives as of `tracing-subscriber`, such as `info` or `weighbridge=debug,kube=warn`.
    pub filter: String,
}

/// Why logs could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log filter {filter:?} cannot be understood")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Somebody else has set up logs in this process already.
    #[error("logs are already set up")]
    Installed(#[from] TryInitError),
}

/// Sets up logs for the whole process. Stdout stays free for what a command prints.
pub fn init_logs(settings: &LogSettings) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| LogError::Filter { filter: settings.filter.clone(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr);
            registry.with(layer).try_init()?;
        }
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(io::stderr)).try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let settings = LogSettings { format: LogFormat::Text, filter: "weighbridge=loud".into() };
        assert!(matches!(init_logs(&settings), Err(LogError::Filter { .. })));
    }
}
