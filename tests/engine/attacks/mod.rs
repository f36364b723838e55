//! What somebody may try, as tables: each attempt with the code that it must meet and, where it helps, the detail.
//!
//! The signer is trusted throughout: where a statement is at fault, it was signed properly. Certificates have a table of
//! their own in `certificates.rs`, Sigstore's evidence in `keyless.rs`.

mod envelope;
mod limits;
mod mutation;
mod statement;
mod tree;

use serde_json::Value;
use weighbridge::signature::{RejectionCode, TrustMaterial};

use crate::support::check;

fn code(bundle: &Value, trust: &TrustMaterial) -> Option<RejectionCode> {
    check(bundle, trust).err().map(|rejection| rejection.code())
}
