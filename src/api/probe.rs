//! The words of a probe: how the operator asks through the API server which replicas of the webhook it reaches.
//!
//! The operator pretends to create a ConfigMap of this name with a nonce; the replica that is asked refuses it with the
//! text `<name> <replica> <nonce>`.

/// Name of the object that probes pretend to create, and the first word of the answer.
pub const PROBE_OBJECT: &str = "weighbridge-probe";

/// Annotation on it: the nonce that the replica repeats.
pub const PROBE_NONCE: &str = "weighbridge.dev/probe";
