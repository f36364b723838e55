//! What `weighbridge verify --output json` prints, and its schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::v1alpha1::{Code, Detail, OtherBundle, SignerStatus, UnsignedFiles, VerdictKind};
use crate::facts::{Examined, Extent, Outcome, Report, whole};
use crate::generate::Artifact;
use crate::model::ContentMismatch;

/// The version of the form. Fields may be added to it; one that is taken away or means something else makes a new one.
const VERSION: u32 = 2;

/// The result of `weighbridge verify --output json`: one object in one line. Fields that do not apply are absent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyOutput {
    /// Version of this form: 2.
    version: u32,
    /// The model, as it was named on the command line.
    model: String,
    /// When it was verified.
    #[schemars(with = "String")]
    verified_at: Time,
    /// What it comes to.
    outcome: OutputOutcome,
    /// Whether the bundle carries the signature of somebody who was named. Absent: no bundle was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_verified: Option<bool>,
    /// Whether the files are those that the bundle lists. Absent: not determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_verified: Option<bool>,
    /// The bundle that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    /// The OMS root digest that the bundle states: `sha256:…`. It binds no names.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_digest: Option<String>,
    /// The digest over names and digests: `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_digest: Option<String>,
    /// How many files the bundle lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    /// How many bytes of them were hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Who signed, and what proves each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<SignerStatus>,
    /// Who of those who were named has signed, for each policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    satisfied: Vec<Satisfied>,
    /// Other bundles at the model's root, and which of them count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_bundles: Vec<OtherBundle>,
    /// Every file that differs from what was signed. Names are given as they are: they may hold anything but NUL.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Differences>,
    /// What is not signed, where that is all that differs, as the record of a cluster names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsigned: Option<UnsignedFiles>,
    /// How many symbolic links lie in the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    symlinks: Option<u64>,
    /// Files and folders that were left out of the comparison.
    left_out: OutputLeftOut,
    /// How long it took, in milliseconds.
    duration_ms: u64,
}

/// What verifying comes to.
#[derive(Debug, Serialize, JsonSchema)]
struct OutputOutcome {
    /// The verdict.
    verdict: VerdictKind,
    /// Why it is not Verified: see the reference of codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    code: Option<Code>,
    /// A closer look at the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    /// What is wrong and how to put it right, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A policy whose authorities have signed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Satisfied {
    /// Name of the policy; `command line` for what flags name.
    pub(super) policy: String,
    /// Name of its first authority that signed; the flag, for what flags name.
    pub(super) authority: String,
}

/// Files that differ from what was signed.
#[derive(Debug, Serialize, JsonSchema)]
struct Differences {
    /// Signed, and with another content.
    altered: Vec<Box<str>>,
    /// Signed, and not there.
    missing: Vec<Box<str>>,
    /// There, and not signed. A name that is not UTF-8 is given as near to it as possible.
    unsigned: Vec<Box<str>>,
}

/// What was left out of the comparison.
#[derive(Debug, Serialize, JsonSchema)]
struct OutputLeftOut {
    /// The first of the names, escaped and cut to be shown.
    first: Vec<String>,
    /// How many there were.
    count: u64,
}

impl VerifyOutput {
    /// Puts together what was found.
    pub(super) fn new(model: &str, at: jiff::Timestamp, examined: Examined, satisfied: Vec<Satisfied>) -> Self {
        let Examined { report, mismatch } = examined;
        debug_assert_eq!(report.extent, Extent::Full);
        VerifyOutput {
            version: VERSION,
            model: model.to_owned(),
            verified_at: whole(at),
            outcome: outcome(&report),
            signature_verified: report.signature_verified,
            content_verified: report.content_verified,
            bundle: report.bundle,
            model_digest: report.model_digest.map(|digest| digest.to_string()),
            manifest_digest: report.manifest_digest.map(|digest| digest.to_string()),
            files: report.files,
            bytes: report.bytes,
            signers: report.signers.statuses(),
            satisfied,
            other_bundles: report.other_bundles,
            differences: mismatch.map(differences),
            unsigned: report.unsigned,
            symlinks: report.symlinks,
            left_out: OutputLeftOut { first: report.left_out.first, count: report.left_out.count },
            duration_ms: report.duration_ms,
        }
    }

    /// One line of JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn outcome(report: &Report) -> OutputOutcome {
    OutputOutcome {
        verdict: match report.outcome {
            Outcome::Verified {} => VerdictKind::Verified,
            Outcome::Refused { .. } => VerdictKind::Refused,
            Outcome::Divided { .. } | Outcome::Unknown { .. } => VerdictKind::Unknown,
        },
        code: report.outcome.code(),
        detail: report.outcome.detail(),
        message: report.outcome.message().map(str::to_owned),
    }
}

fn differences(mismatch: ContentMismatch) -> Differences {
    let ContentMismatch { altered, missing, unsigned } = mismatch;
    Differences { altered: altered.into_all(), missing: missing.into_all(), unsigned: unsigned.into_all() }
}

/// The schema of the form, for the reference pages.
pub(super) fn schema() -> Artifact {
    Artifact::schema_of::<VerifyOutput>("docs/reference/verify-output.schema.json")
}
