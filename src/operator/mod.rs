//! The operator: keeps the cluster as the policies want it.
//!
//! Each folder is one controller, with `gather → decide → apply → status` in a file each. All of them run in
//! [`runner::run`], and act only while this process is the leader.

pub mod call;
pub mod certificates;
pub mod conditions;
pub mod events;
pub mod runner;
pub mod webhooks;
