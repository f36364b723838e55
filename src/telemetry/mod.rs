//! Logs, metrics and the health of a process.
//!
//! Receives settings and numbers; promises that a metric has bounded labels and a help text that is its doc comment;
//! never knows what is measured: each owner declares a struct of its own with [`metrics!`](crate::metrics).

mod health;
mod labels;
mod logs;
mod metrics;

pub use health::{Check, router};
pub use labels::{BoundedNames, MAX_NAMES, OTHER};
pub use logs::{LogError, LogFormat, LogSettings, init_logs};
pub use metrics::{Collector, Kind, PROCESS_METRICS, Spec, new_registry};
pub use prometheus::Registry;
