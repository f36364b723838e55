//! Version `v1alpha1`.

mod codes;

pub use codes::{Code, Detail, RefusedCode, RequestCode, UnknownCode, UseCode, VerdictKind};
