//! Version `v1alpha1`.

mod authority;
mod backing_store;
mod bundle_location;
mod bundle_reference;
mod cluster_model_policy;
mod codes;
mod model_kind;
mod model_policy;
mod model_verification;
mod policy_status;
mod schema;
mod workload_verification;

pub use authority::*;
pub use backing_store::*;
pub use bundle_location::*;
pub use bundle_reference::*;
pub use cluster_model_policy::*;
pub use codes::*;
pub use model_kind::*;
pub use model_policy::*;
pub use model_verification::*;
pub use policy_status::*;
pub use workload_verification::*;
