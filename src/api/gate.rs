//! What weighbridge puts on Pods that wait, and takes off again.

/// The scheduling gate of a Pod that is held until its decision is known. The operator alone lifts it.
pub const GATE: &str = "weighbridge.dev/verification";

/// The finalizer of a Pod that may write to models: it stays until the operator has seen how its writing ended.
pub const WRITER_FINALIZER: &str = "weighbridge.dev/writer";
