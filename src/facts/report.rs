//! The report of a read: facts as JSON, small enough for a Pod's termination message.
//!
//! Written by a verifier, read by the operator, which trusts no byte of it before [`Report::parse`] has gone through
//! it. At most [`MAX_REPORT_BYTES`] whatever was found: names are left away and counted, never cut in mid-JSON.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::signers::Signers;
use crate::api::v1alpha1::{Code, Detail, MAX_PARTS, OtherBundle, RefusedCode, UnknownCode, UnsignedFiles};
use crate::model::{Digest, Names, ResourceName, shown, shown_to};

/// The most that a report takes, in bytes: the kubelet divides 12 KiB among the containers of a Pod, and cuts what is
/// longer.
pub const MAX_REPORT_BYTES: usize = 2048;

/// The longest path of a model that can be reported, in bytes of JSON.
pub(super) const MAX_PATH_BYTES: usize = 512;

/// The longest nonce, in bytes: 256 bits in hexadecimal digits.
const MAX_NONCE_BYTES: usize = 64;

/// The version of the report's form. Operator and verifier run the same image, so there is only one at a time.
const VERSION: u32 = 1;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// The bundle and every file.
    Full,
    /// The bundle alone. Nothing is said of the files.
    SignatureOnly,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    version: u32,
    /// The nonce of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What was read.
    pub extent: Extent,
    /// What it comes to.
    pub outcome: Outcome,
    /// Whether the bundle carries the signature of somebody in the trust material. Absent: no bundle was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_verified: Option<bool>,
    /// Whether the files are those that the bundle lists. Absent: not determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_verified: Option<bool>,
    /// The model's root, beneath the folder that was read: the path that was asked for, or a folder above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_root: Option<String>,
    /// Where the bundle was found: beneath the folder that was read, or on this machine. Fit to be shown, so cut if long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The OMS root digest that the bundle states: proven if `signature_verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<Digest>,
    /// The digest over names and digests: proven if `signature_verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    /// How many files the bundle lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How many bytes of them were hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether the signer followed symbolic links.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_symlinks: bool,
    /// How many symbolic links lie in the model: followed, if to a file, because the signer did so too. Absent: not
    /// determined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlinks: Option<u64>,
    /// What lies in the model and is not signed, where everything else is what the bundle lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<UnsignedFiles>,
    /// Who signed, by what was checked.
    #[serde(default, skip_serializing_if = "Signers::is_empty")]
    pub signers: Signers,
    /// From when on a signature may count that does not count yet. Absent: time alone changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Bundles at the model's root beside the one that was used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_bundles: Vec<OtherBundle>,
    /// What was left out of the comparison.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What a read comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// Whatever was read is what somebody in the trust material signed.
    Verified {},
    /// No bundle lies there or above, and everything belongs to models below, each with a bundle of its own.
    Divided {
        /// Their paths beneath the folder that was read.
        models: Vec<String>,
    },
    /// It is not.
    Refused {
        /// Why.
        code: RefusedCode,
        /// A closer look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Detail>,
        /// What is wrong, and how to put it right.
        message: String,
    },
    /// Not determined.
    Unknown {
        /// Why.
        code: UnknownCode,
        /// A closer look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Detail>,
        /// What is wrong, and how to put it right.
        message: String,
    },
}

/// Some of the names that were left out, fit to be shown, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The first of them.
    pub first: Vec<String>,
    /// All of them, counted.
    pub count: u64,
}

/// Why bytes are not the report that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// No bytes at all: the verifier ended before it could write.
    #[error("the report is empty")]
    Empty,
    /// More than [`MAX_REPORT_BYTES`].
    #[error("the report is longer than {MAX_REPORT_BYTES} bytes")]
    TooLong,
    /// Not JSON of a report.
    #[error("the report is malformed: {0}")]
    Malformed(String),
    /// A version that this one does not read.
    #[error("the report is of version {0}, not {VERSION}")]
    Version(u32),
    /// The report of another run.
    #[error("the report carries another nonce than was given to the verifier")]
    Nonce,
    /// It says things that cannot be true together.
    #[error("the report contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Report {
    /// The report of a run that ended before it could read anything.
    pub fn failed(nonce: Option<String>, extent: Extent, code: impl Into<Code>, message: &str) -> Report {
        let outcome = Finding::new(code, shown_to(message, MAX_REPORT_BYTES / 4)).into();
        Report { outcome, ..Report::begin(nonce, extent) }
    }

    pub(super) fn begin(nonce: Option<String>, extent: Extent) -> Report {
        let outcome = Outcome::Unknown { code: UnknownCode::VerifierFailed, detail: None, message: String::new() };
        Report {
            version: VERSION,
            nonce,
            extent,
            outcome,
            signature_verified: None,
            content_verified: None,
            model_root: None,
            bundle: None,
            model_digest: None,
            manifest_digest: None,
            files: None,
            bytes: None,
            allow_symlinks: false,
            symlinks: None,
            unsigned: None,
            signers: Signers::default(),
            not_before: None,
            other_bundles: Vec::new(),
            left_out: LeftOut::default(),
            duration_ms: 0,
        }
    }

    /// The report as JSON of at most [`MAX_REPORT_BYTES`]. What does not fit is left away in this order: names that
    /// were left out (they stay counted), the end of the message, other bundles, unsigned files (that there are more stays
    /// said). Signers are never left away.
    pub fn to_json(&self) -> String {
        let mut report = self.clone();
        loop {
            let json = serde_json::to_string(&report).unwrap_or_default();
            let excess = json.len().saturating_sub(MAX_REPORT_BYTES);
            if excess == 0 {
                return json;
            }
            let shorter = report.left_out.first.pop().is_some()
                || report.outcome.shorten_message(excess)
                || report.other_bundles.pop().is_some()
                || report.unsigned.as_mut().is_some_and(UnsignedFiles::shorten);
            if !shorter {
                let message = format!(
                    "what proves its {} signers does not fit into a report of {MAX_REPORT_BYTES} bytes; sign it fewer \
                     times, or have policies share their roots",
                    self.signers.len()
                );
                let nonce = self.nonce.clone().filter(|nonce| is_nonce(nonce));
                report = Report::failed(nonce, self.extent, UnknownCode::TooLarge, &message);
            }
        }
    }

    /// Reads the report of a verifier that was given this nonce. Whatever stands in it was written by a Pod that others
    /// can reach: it must be whole, of the right run, free of contradictions and fit to be shown.
    pub fn parse(text: &str, expected_nonce: &str) -> Result<Report, ReportError> {
        if text.trim().is_empty() {
            return Err(ReportError::Empty);
        }
        if text.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLong);
        }
        let malformed = |error: serde_json::Error| ReportError::Malformed(shown(&error.to_string()));
        let report: Report = serde_json::from_str(text).map_err(malformed)?;
        if report.version != VERSION {
            return Err(ReportError::Version(report.version));
        }
        if report.nonce.as_deref() != Some(expected_nonce) {
            return Err(ReportError::Nonce);
        }
        report.check().map_err(ReportError::Contradiction)?;
        Ok(report)
    }

    fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, broken| if holds { Ok(()) } else { Err(broken) };
        let signed = self.signature_verified == Some(true);
        let verified = matches!(self.outcome, Outcome::Verified {});
        let root = self.model_root.as_deref();
        rule(signed != self.signers.is_empty(), "a verified signature has a signer, and only that")?;
        rule(!signed || self.model_digest.is_some(), "a verified signature is over a model")?;
        rule(self.model_digest.is_some() == self.manifest_digest.is_some(), "both digests or none")?;
        rule(self.model_digest.is_some() == self.files.is_some_and(|files| files > 0), "a digest is over files")?;
        rule(self.model_digest.is_none() || root.is_some(), "a digest is of a model somewhere")?;
        rule(root.is_none_or(|root| ResourceName::parse(root).is_ok()), "the model's root is a path")?;
        rule(self.content_verified.is_none() || self.extent == Extent::Full, "files were not to be read")?;
        rule(self.content_verified.is_none() || self.model_digest.is_some(), "files are compared with a manifest")?;
        if let Outcome::Divided { models } = &self.outcome {
            let paths = models.iter().all(|path| is_path(path));
            rule(
                root.is_none() && !models.is_empty() && models.len() <= MAX_PARTS && paths,
                "a folder is divided into models",
            )?;
        }
        rule(self.content_verified != Some(true) || self.symlinks.is_some(), "links are counted where files are met")?;
        if let Some(unsigned) = &self.unsigned {
            rule(self.content_verified == Some(false) && self.symlinks.is_some(), "unsigned files were compared")?;
            rule(unsigned.more || !unsigned.paths.is_empty(), "unsigned files have names")?;
            let path = |path: &String| shown(path) == *path && is_path(path.strip_suffix('/').unwrap_or(path));
            rule(unsigned.paths.iter().all(path), "unsigned files lie at paths in the model")?;
        }
        let complete = signed && (self.extent == Extent::SignatureOnly || self.content_verified == Some(true));
        rule(verified == complete, "the outcome is not what was found")?;
        rule(self.left_out.first.len() as u64 <= self.left_out.count, "more names than there are")?;
        let message = self.outcome.message();
        let others = self.other_bundles.iter().map(|other| other.name.as_str());
        let texts = self.left_out.first.iter().map(String::as_str).chain(self.bundle.as_deref()).chain(message);
        let texts = texts.chain(others);
        self.signers.check()?;
        rule(texts.flat_map(str::chars).all(|char| !char.is_control()), "text is not fit to be shown")
    }
}

impl Outcome {
    /// The code at the end of a sentence, unless nothing is wrong.
    pub fn code(&self) -> Option<Code> {
        match self {
            Outcome::Verified {} | Outcome::Divided { .. } => None,
            Outcome::Refused { code, .. } => Some((*code).into()),
            Outcome::Unknown { code, .. } => Some((*code).into()),
        }
    }

    /// The closer look, where there is one.
    pub fn detail(&self) -> Option<Detail> {
        match self {
            Outcome::Verified {} | Outcome::Divided { .. } => None,
            Outcome::Refused { detail, .. } | Outcome::Unknown { detail, .. } => *detail,
        }
    }

    /// The sentence, unless the model is verified.
    pub fn message(&self) -> Option<&str> {
        match self {
            Outcome::Verified {} | Outcome::Divided { .. } => None,
            Outcome::Refused { message, .. } | Outcome::Unknown { message, .. } => Some(message),
        }
    }

    /// Takes at least one character and about `excess` bytes off the end of the message; false if it is used up.
    fn shorten_message(&mut self, excess: usize) -> bool {
        let (Outcome::Refused { message, .. } | Outcome::Unknown { message, .. }) = self else { return false };
        let kept = message.trim_end_matches('…');
        let mut end = kept.len().saturating_sub(excess + '…'.len_utf8());
        while !kept.is_char_boundary(end) {
            end -= 1;
        }
        if end == 0 {
            return false;
        }
        *message = format!("{}…", &kept[..end]);
        true
    }
}

impl From<Finding> for Outcome {
    fn from(Finding { code, detail, message, mismatch: _ }: Finding) -> Self {
        match code {
            Code::Refused(code) => Outcome::Refused { code, detail, message },
            Code::Unknown(code) => Outcome::Unknown { code, detail, message },
            Code::Use(_) | Code::Request(_) => Outcome::Unknown { code: UnknownCode::VerifierFailed, detail, message },
        }
    }
}

/// The API server keeps whole seconds. Earlier, never later: the age of a read is not to be made younger.
pub fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

impl From<Names> for LeftOut {
    fn from(names: Names) -> Self {
        LeftOut { first: names.first(), count: names.count() as u64 }
    }
}

impl LeftOut {
    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Whether text is the path of something in a folder, and not of the folder itself.
fn is_path(text: &str) -> bool {
    ResourceName::parse(text).is_ok_and(|name| !name.is_root())
}

/// What is written only where it is true.
fn is_false(value: &bool) -> bool {
    !value
}

/// Whether text can be a nonce: short, and nothing but letters, digits and `-`.
fn is_nonce(text: &str) -> bool {
    (1..=MAX_NONCE_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests;
