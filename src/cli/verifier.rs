//! `weighbridge verifier`: what runs inside a verifier Pod.
//!
//! It reads one model folder of a mounted claim and writes a report of facts where the kubelet picks it up. The trust
//! material and the nonce come through the Pod's own environment. A bundle that lies in a registry is fetched first, from
//! where its arguments allow it. It ends with 0 whenever a report was written, whatever stands in it.

use std::env;
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::process::block_on;
use super::{Exit, UsageError};
use crate::api::v1alpha1::{BundleLocation, BundleReference, DISCOVERY, LocationError, UnknownCode};
use crate::clock;
use crate::facts::{
    Extent, Finding, NoProgress, Place, Report, Request, SignatureLocation, decode, default_threads, read, read_at_most,
};
use crate::model::{Hasher, Links, NameError, ResourceName, shown};
use crate::operator::records::verifier_pod::{BUNDLE_FILE, BUNDLE_VARIABLE, TRUST_VARIABLE};
use crate::policy::{BundleRegistries, TrustPiece};
use crate::registry::{Limits, Settings, fetch};
use crate::signature::{MAX_BUNDLE_BYTES, TrustMaterial};

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

    /// Where the bundle is, as a record says it: volume:NAME, volume: alone to look for it, configmap:NAME/KEY,
    /// inline:DIGEST, oci://HOST/REPOSITORY@DIGEST.
    #[arg(long, value_name = "LOCATION", default_value = DISCOVERY)]
    signature: String,

    /// From where the bundle may be fetched, as a policy lists it; may be repeated.
    #[arg(long = "bundle-registry", value_name = "GLOB")]
    bundle_registries: Vec<String>,

    /// A registry that is spoken to without TLS, with its port; may be repeated.
    #[arg(long = "insecure-registry", value_name = "HOST")]
    insecure_registries: Vec<String>,

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

    /// In how many pieces a bundle comes that stood in an annotation. Each stands in a variable of its own,
    /// WEIGHBRIDGE_BUNDLE_0 and so on.
    #[arg(long, value_name = "COUNT", env = BUNDLE_VARIABLE)]
    bundle: Option<usize>,

    /// What the report must carry to be taken for the answer to this run.
    #[arg(long, env = "WEIGHBRIDGE_NONCE", hide_env_values = true)]
    nonce: Option<String>,
}

impl Flags {
    pub(super) fn run(self) -> Result<Exit, UsageError> {
        let target = self.report.clone();
        let (nonce, extent) = (self.nonce.clone(), self.extent());
        let report = match catch_unwind(AssertUnwindSafe(|| self.read())) {
            Ok(Ok(report)) => report,
            Ok(Err(Finding { code, message, .. })) => Report::failed(nonce, extent, code, &message),
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

    fn read(self) -> Result<Report, Finding> {
        let trust = trust_material(self.trust)?;
        let request = Request {
            path: path(&self.path).map_err(|error| {
                Finding::new(UnknownCode::NotVerifiable, format!("the path `{}` {error}; rename it", shown(&self.path)))
            })?,
            signature: location(
                &self.signature,
                || Ok(variables(BUNDLE_VARIABLE, self.bundle, UnknownCode::VerifierFailed)?.concat()),
                |reference| fetched(reference, &self.bundle_registries, self.insecure_registries.clone()),
            )?,
            // How many there are is reported, and whether they may be is decided from that.
            links: Links::Follow,
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
fn trust_material(count: Option<usize>) -> Result<TrustMaterial, Finding> {
    let mut material = TrustMaterial::default();
    for (at, json) in variables(TRUST_VARIABLE, count, UnknownCode::TrustUnavailable)?.iter().enumerate() {
        let unavailable =
            |what: String| Finding::new(UnknownCode::TrustUnavailable, format!("{TRUST_VARIABLE}_{at}: {what}"));
        let piece: TrustPiece = serde_json::from_str(json).map_err(|error| unavailable(shown(&error.to_string())))?;
        piece.add_to(&mut material).map_err(|error| unavailable(error.to_string()))?;
    }
    Ok(material)
}

/// A path in a claim; the empty one is its root.
pub(super) fn path(text: &str) -> Result<ResourceName, NameError> {
    if text.is_empty() { Ok(ResourceName::root()) } else { ResourceName::parse(text) }
}

/// Where a record says that the bundle is; one that is not on the volume is read here. `inline` gives the text of one that
/// stands in the record, `fetch` one that lies in a registry.
pub(super) fn location(
    text: &str,
    inline: impl FnOnce() -> Result<String, Finding>,
    fetch: impl FnOnce(&BundleReference) -> Result<Vec<u8>, Finding>,
) -> Result<SignatureLocation, Finding> {
    let unusable =
        |error: LocationError| Finding::new(UnknownCode::NotVerifiable, format!("the signature's location {error}"));
    match BundleLocation::of_record(text).map_err(unusable)? {
        BundleLocation::Discover => Ok(SignatureLocation::Discover),
        BundleLocation::Volume(name) => Ok(SignatureLocation::Within(name)),
        BundleLocation::ConfigMap { name, key } => {
            let missing = |error: String| {
                let message = format!(
                    "ConfigMap {name} gives no bundle under the key {key} ({error}); put it there, or correct the \
                     annotation"
                );
                Finding::new(UnknownCode::SourceMissing, message)
            };
            let file = File::open(BUNDLE_FILE).map_err(|error| missing(error.to_string()))?;
            let bundle = read_at_most(file, MAX_BUNDLE_BYTES).map_err(|error| missing(error.to_string()))?;
            Ok(SignatureLocation::Given { at: text.to_owned(), bundle: Arc::new(bundle) })
        }
        BundleLocation::Inline { digest } => {
            let base64 = inline()?;
            if Hasher::sha256(base64.as_bytes()).to_string() != digest {
                let message = "the record holds another bundle than its signature's location names; make it anew";
                return Err(Finding::new(UnknownCode::NotVerifiable, message));
            }
            // What cannot be decoded is no bundle, and is refused as one.
            let bundle = decode(&base64).map_err(|error| Finding::new(UnknownCode::TooLarge, error.to_string()))?;
            Ok(SignatureLocation::Given { at: "inline".to_owned(), bundle: Arc::new(bundle) })
        }
        BundleLocation::Registry(reference) => {
            Ok(SignatureLocation::Given { at: text.to_owned(), bundle: Arc::new(fetch(&reference)?) })
        }
    }
}

/// A bundle from a registry, if a policy lists that.
fn fetched(reference: &BundleReference, globs: &[String], insecure: Vec<String>) -> Result<Vec<u8>, Finding> {
    if BundleRegistries::compile(globs).0.listing(reference).is_none() {
        let message = format!(
            "nothing may be fetched from {}; list it in a policy's bundleRegistries, or keep the bundle elsewhere",
            shown(&reference.place())
        );
        return Err(Finding::new(UnknownCode::RegistryUnauthorized, message));
    }
    let settings = Settings { insecure, limits: Limits::for_bundles_of(MAX_BUNDLE_BYTES) };
    let nothing = || Finding::new(UnknownCode::VerifierFailed, "the system lets the verifier start no threads");
    block_on(fetch(reference, &settings)).ok_or_else(nothing)?.map_err(Finding::from)
}

/// Numbered variables: all of them, or nothing.
fn variables(name: &str, count: Option<usize>, code: UnknownCode) -> Result<Vec<String>, Finding> {
    let unavailable = |name: &str, what: String| Finding::new(code, format!("{name}: {what}"));
    let count = count.ok_or_else(|| unavailable(name, "it is not set".to_owned()))?;
    let read = |at: usize| {
        let name = format!("{name}_{at}");
        #[expect(clippy::disallowed_methods, reason = "settings are read here once; clap knows no numbered variables")]
        let value = env::var(&name);
        value.map_err(|error| unavailable(&name, error.to_string()))
    };
    (0..count).map(read).collect()
}
