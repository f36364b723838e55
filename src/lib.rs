//! weighbridge: the gate that AI model weights pass on their way into a Kubernetes cluster.

pub mod admission;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod decision;
pub mod facts;
pub mod generate;
pub mod index;
pub mod lease;
pub mod model;
pub mod operator;
pub mod policy;
pub mod registry;
pub mod server;
pub mod signature;
pub mod telemetry;
pub mod workload;
