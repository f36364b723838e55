//! `weighbridge verifier`: what runs inside a verifier Pod.
//!
//! It reads one model folder of a mounted claim and writes a report of facts where the kubelet picks it up. The trust
//! material and the nonce come through the Pod's own environment. It ends with 0 whenever a report was written,
//! whatever stands in it.

use std::fs;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::{Exit, UsageError};
use crate::api::v1alpha1::{DISCOVERY, UnknownCode};
use crate::clock;
use crate::facts::{Extent, NoProgress, Place, Report, Request, SignatureLocation, default_threads, read};
use crate::model::{Links, NameError, ResourceName, shown};
use crate::signature::{PublicKey, TrustMaterial};

/// Read a model and report facts about it (runs inside verifier Pods).
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Flags {
    /// Where the claim is mounted.
    #[arg(long, default_value = "/claim")]
    root: PathBuf,

    /// The path in the claim that a workload uses; "" or "." is all of it.
    #[arg(long, default_value = ".")]
    path: String,

    /// Where the bundle is: volume:NAME, or volume: alone to look for it.
    #[arg(long, value_name = "LOCATION", default_value = DISCOVERY)]
    signature: String,

    /// Follow symbolic links to files inside the model, if the signer did.
    #[arg(long)]
    allow_symlinks: bool,

    /// Read the bundle alone, and no file of the model.
    #[arg(long)]
    signature_only: bool,

    /// Read at most so many bytes per second.
    #[arg(long, value_name = "BYTES")]
    io_limit: Option<NonZeroU64>,

    /// Where to write the report.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    report: PathBuf,

    /// The trust material, as JSON: {"keys": [{"pem": "..."}]}.
    #[arg(long, env = "WEIGHBRIDGE_TRUST", hide_env_values = true, default_value = "")]
    trust: String,

    /// What the report must carry to be taken for the answer to this run.
    #[arg(long, env = "WEIGHBRIDGE_NONCE", hide_env_values = true)]
    nonce: Option<String>,
}

/// The form of `WEIGHBRIDGE_TRUST`. A field that this version does not know is an error: what it meant to restrict or
/// to trust would be lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    pem: String,
}

/// What keeps a verifier from reading anything.
struct Failure(UnknownCode, String);

impl Flags {
    pub(super) fn run(self) -> Result<Exit, UsageError> {
        let target = self.report.clone();
        let (nonce, extent) = (self.nonce.clone(), self.extent());
        let report = match catch_unwind(AssertUnwindSafe(|| self.read())) {
            Ok(Ok(report)) => report,
            Ok(Err(Failure(code, message))) => Report::failed(nonce, extent, code, &message),
            Err(_) => {
                let message = "the verifier failed inside; its log says where. Please report it";
                Report::failed(nonce, extent, UnknownCode::VerifierFailed, message)
            }
        };
        match fs::write(&target, report.to_json()) {
            Ok(()) => Ok(Exit::Success),
            Err(error) => Err(UsageError(format!("--report {}: {error}", shown(&target.to_string_lossy())))),
        }
    }

    fn extent(&self) -> Extent {
        if self.signature_only { Extent::SignatureOnly } else { Extent::Full }
    }

    fn read(self) -> Result<Report, Failure> {
        let trust = trust_material(&self.trust)?;
        let request = Request {
            path: path(&self.path).map_err(|error| {
                Failure(UnknownCode::NotVerifiable, format!("the path `{}` {error}; rename it", shown(&self.path)))
            })?,
            signature: location(&self.signature)?,
            links: if self.allow_symlinks { Links::Follow } else { Links::Refuse },
            extent: self.extent(),
            place: Place::Cluster,
            threads: default_threads(),
            bytes_per_second: self.io_limit,
            root: self.root,
            nonce: self.nonce,
        };
        Ok(read(&request, &trust, clock::now(), &NoProgress))
    }
}

fn trust_material(json: &str) -> Result<TrustMaterial, Failure> {
    let unavailable = |what: String| Failure(UnknownCode::TrustUnavailable, format!("WEIGHBRIDGE_TRUST: {what}"));
    let raw: RawTrust = serde_json::from_str(json).map_err(|error| unavailable(shown(&error.to_string())))?;
    let key = |(at, key): (usize, &RawKey)| {
        PublicKey::from_pem(&key.pem).map_err(|error| unavailable(format!("key {at}: {error}")))
    };
    let keys = raw.keys.iter().enumerate().map(key).collect::<Result<_, _>>()?;
    Ok(TrustMaterial { keys, ..TrustMaterial::default() })
}

fn path(text: &str) -> Result<ResourceName, NameError> {
    if text.is_empty() { Ok(ResourceName::root()) } else { ResourceName::parse(text) }
}

fn location(text: &str) -> Result<SignatureLocation, Failure> {
    if text == DISCOVERY {
        return Ok(SignatureLocation::Discover);
    }
    let wrong = |problem: String| {
        Failure(UnknownCode::NotVerifiable, format!("the signature's location `{}` {problem}", shown(text)))
    };
    let name = text.strip_prefix("volume:").ok_or_else(|| wrong("is not supported yet; use volume:NAME".into()))?;
    let name = ResourceName::parse(name).map_err(|error| wrong(error.to_string()))?;
    Ok(SignatureLocation::Within(name))
}
