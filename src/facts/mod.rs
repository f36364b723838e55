//! Reading a model once: what lies there, whether it is what was signed, and by whom.
//!
//! Receives a folder, where to look in it and trust material; gives a [`Report`] of facts. Who is allowed to sign is
//! decided elsewhere and later. The verifier Pod and `weighbridge verify` both call [`read()`], so they cannot disagree.
//! It blocks, and takes as long as the model is large.
//!
//! ```text
//!   locate ──► look, bundle by bundle ──► walk, hash, compare ──► Report
//!   (model root, bundles)  (signers)      (content)               (≤ 2 KiB of JSON)
//! ```

mod bundles;
mod content;
mod finding;
mod inline;
mod locate;
mod measure;
mod pace;
mod read;
mod report;
mod request;
mod signers;
mod survey;
mod unsigned;

pub use finding::Finding;
pub use inline::{decode, read_at_most};
pub use measure::{Measure, Measured, measure};
pub use read::{Admit, Examined, examine, read};
pub use report::{Extent, LeftOut, MAX_REPORT_BYTES, Outcome, Report, ReportError, whole};
pub use request::{NoProgress, Place, Progress, Request, SignatureLocation, default_threads};
pub use signers::Signers;
