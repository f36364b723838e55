//! `weighbridge verifier`: what runs inside a verifier Pod.
//!
//! It reads one model folder of a mounted claim and writes a report of facts where the kubelet picks it up. The trust
//! material and the nonce come through the Pod's own environment. It ends with 0 whenever a report was written,
//! whatever stands in it.

use std::env;
use std::fs;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::Args;

use super::{Exit, UsageError};
use crate::api::v1alpha1::{DISCOVERY, UnknownCode};
use crate::clock;
use crate::facts::{Extent, NoProgress, Place, Report, Request, SignatureLocation, default_threads, read};
use crate::model::{Links, NameError, ResourceName, shown};
use crate::operator::records::verifier_pod::TRUST_VARIABLE;
use crate::policy::TrustPiece;
use crate::signature::TrustMaterial;

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

    /// How many pieces of trust material there are. Each stands in a variable of its own as JSON, WEIGHBRIDGE_TRUST_0 and
    /// so on, such as {"key": {"pem": "..."}}.
    #[arg(long, value_name = "COUNT", env = TRUST_VARIABLE)]
    trust: Option<usize>,

    /// What the report must carry to be taken for the answer to this run.
    #[arg(long, env = "WEIGHBRIDGE_NONCE", hide_env_values = true)]
    nonce: Option<String>,
}

/// What keeps a verifier from reading anything.
pub(super) struct Failure(pub(super) UnknownCode, pub(super) String);

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
        let trust = trust_material(self.trust)?;
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

/// All pieces, or nothing: what a piece that cannot be read meant to trust or to restrict would be lost.
fn trust_material(count: Option<usize>) -> Result<TrustMaterial, Failure> {
    let unavailable = |name: &str, what: String| Failure(UnknownCode::TrustUnavailable, format!("{name}: {what}"));
    let count = count.ok_or_else(|| unavailable(TRUST_VARIABLE, "it is not set".to_owned()))?;
    let mut material = TrustMaterial::default();
    for at in 0..count {
        let name = format!("{TRUST_VARIABLE}_{at}");
        #[expect(clippy::disallowed_methods, reason = "settings are read here once; clap knows no numbered variables")]
        let json = env::var(&name).map_err(|error| unavailable(&name, error.to_string()))?;
        let piece: TrustPiece =
            serde_json::from_str(&json).map_err(|error| unavailable(&name, shown(&error.to_string())))?;
        piece.add_to(&mut material).map_err(|error| unavailable(&name, error.to_string()))?;
    }
    Ok(material)
}

/// A path in a claim; the empty one is its root.
pub(super) fn path(text: &str) -> Result<ResourceName, NameError> {
    if text.is_empty() { Ok(ResourceName::root()) } else { ResourceName::parse(text) }
}

/// Where a record says that the bundle is.
pub(super) fn location(text: &str) -> Result<SignatureLocation, Failure> {
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
