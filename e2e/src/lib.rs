//! The harness of the tests that run on a real Kubernetes.
//!
//! Receives a cluster in which weighbridge is installed (`e2e/cluster/enter NAME cargo test …` sets the environment);
//! promises that each test has a namespace, claims and keys of its own, so that tests may run in any order and at the
//! same time; never waits for a time, only for a condition with a deadline.

mod cluster;
mod model;
mod pki;
mod registry;
mod review;
mod wait;
mod writers;

pub use cluster::{
    Cluster, Kubectl, OWN_NAMESPACE, Said, Tenant, http_get, https_post, record, record_name, record_of,
};
pub use model::{Key, Model};
pub use pki::{Leaf, Pki};
pub use registry::Registry;
pub use review::{Reviewed, address, ask, review};
pub use wait::{Deadline, eventually};
