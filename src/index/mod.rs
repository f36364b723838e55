//! Watch events in, immutable snapshots out.
//!
//! Receives what the API server's watches say; promises that a [`Snapshot`] never changes, that none is published before
//! every kind that a decision rests on has been listed once, and that its age is known; never decides, and never asks the
//! API server about a single object.
//!
//! ```text
//! list + watch (one task a kind) ──▶ State ──(coalesced)──▶ Arc<Snapshot> ──▶ admission, operator
//! ```

mod custom;
mod facts;
mod follow;
mod gone;
mod reading;
mod snapshot;
mod state;
mod table;
mod watch;

pub use custom::{CustomObject, CustomObjects, FollowedKind, Following};
pub(crate) use facts::claim as claim_facts;
pub use follow::{Index, Interest, Settings, TRUST_LABEL, Task};
#[cfg(test)]
pub(crate) use gone::GonePods;
pub use reading::with_store;
pub use snapshot::{Objects, Snapshot, Workload, WorkloadKey};
#[cfg(test)]
pub(crate) use watch::Event as WatchEvent;
pub(crate) use watch::Unmanaged;
