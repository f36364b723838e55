//! From a reference to the bytes of a bundle.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::exchange::{Broken, Connector};
use super::manifest::{self, NoBundle};
use super::session::Session;
use crate::api::v1alpha1::BundleReference;
use crate::model::{Digest, Hasher};

/// What ends a fetch that takes too long or brings too much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For finding a host, and shaking hands with it.
    pub connect: Duration,
    /// For the next byte of an answer.
    pub silence: Duration,
    /// For everything together.
    pub total: Duration,
    /// Bytes of a manifest.
    pub manifest_bytes: usize,
    /// Bytes of a bundle.
    pub bundle_bytes: usize,
}

impl Limits {
    /// Those of a verifier. A connection takes three round trips: 10 seconds are an eternity. A registry that looks for a
    /// blob may think for a while: 15 seconds. In five minutes the largest bundle comes through at less than 1 MiB/s, and
    /// a registry that trickles blocks one of the few places for verifiers no longer than that. Registries take manifests
    /// of 4 MiB (distribution specification, "Pushing Manifests").
    pub const fn for_bundles_of(bundle_bytes: usize) -> Self {
        Limits {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(15),
            total: Duration::from_secs(300),
            manifest_bytes: 4 << 20,
            bundle_bytes,
        }
    }
}

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, with their ports, that are spoken to without TLS, because an administrator says so.
    pub insecure: Vec<String>,
    /// When to give up.
    pub limits: Limits,
}

/// What is read from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The manifest that the reference names.
    Manifest,
    /// The bundle, which the manifest names.
    Bundle,
    /// What lets anybody read these.
    Token,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Manifest => "the manifest",
            Part::Bundle => "the bundle",
            Part::Token => "the token",
        })
    }
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be reached, or fell silent.
    #[error("registry {host} does not answer: {cause}")]
    Silent {
        /// The host.
        host: String,
        /// What happened.
        cause: String,
    },
    /// It took longer than everything together may.
    #[error("registry {host} did not give the bundle within {} seconds", .limit.as_secs())]
    Slow {
        /// The host.
        host: String,
        /// The limit.
        limit: Duration,
    },
    /// It answers, and not with what was asked for.
    #[error("registry {host} answers with status {status}")]
    Trouble {
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// It wants credentials.
    #[error("registry {host} lets nobody read {place} without credentials (status {status})")]
    Closed {
        /// The host.
        host: String,
        /// What was to be read.
        place: String,
        /// The status.
        status: u16,
    },
    /// It has no such manifest or blob.
    #[error("registry {host} has no {digest} in {place}")]
    Missing {
        /// The host.
        host: String,
        /// Where it was looked for.
        place: String,
        /// What was looked for.
        digest: Digest,
    },
    /// It sends its callers elsewhere, and nobody follows.
    #[error("registry {host} sends its callers to {to}, {why}")]
    Elsewhere {
        /// The host.
        host: String,
        /// To where, fit to be shown.
        to: String,
        /// Why nobody follows.
        why: &'static str,
    },
    /// Its bytes are not those that were asked for.
    #[error("registry {host} gives other bytes than those of {digest}")]
    OtherBytes {
        /// The host.
        host: String,
        /// What was asked for.
        digest: Digest,
    },
    /// It sends more than is taken.
    #[error("{what} in registry {host} is longer than the {limit} bytes that are read")]
    TooLong {
        /// The host.
        host: String,
        /// What was to be read.
        what: Part,
        /// The limit.
        limit: usize,
    },
    /// What is there holds no bundle.
    #[error("what {place} holds under that digest is no bundle")]
    NoBundle {
        /// The place.
        place: String,
        /// Why it holds none.
        #[source]
        why: NoBundle,
    },
}

impl FetchError {
    /// Of one exchange with a host.
    pub(super) fn of(broken: Broken, host: &str, what: Part, limit: usize) -> Self {
        let host = host.to_owned();
        match broken {
            Broken::TooLong => FetchError::TooLong { host, what, limit },
            Broken::Silent(cause) => FetchError::Silent { host, cause },
        }
    }
}

/// Fetches the bundle that a manifest holds.
pub async fn fetch(reference: &BundleReference, settings: &Settings) -> Result<Vec<u8>, FetchError> {
    let cause = |cause| FetchError::Silent { host: reference.host().to_owned(), cause };
    fetch_by(Connector::new().map_err(cause)?, reference, settings).await
}

pub(super) async fn fetch_by(
    connector: Connector,
    reference: &BundleReference,
    settings: &Settings,
) -> Result<Vec<u8>, FetchError> {
    let session = Session::new(reference, settings, connector);
    let limit = settings.limits.total;
    let slow = |_| FetchError::Slow { host: reference.host().to_owned(), limit };
    timeout(limit, whole(reference, settings.limits, session)).await.map_err(slow)?
}

async fn whole(reference: &BundleReference, limits: Limits, mut session: Session<'_>) -> Result<Vec<u8>, FetchError> {
    let bytes = session.manifest().await?;
    is_the_one(&bytes, reference.digest(), reference)?;
    let no_bundle = |why| FetchError::NoBundle { place: reference.place(), why };
    let layer = manifest::bundle_layer(&bytes).map_err(no_bundle)?;
    let limit = limits.bundle_bytes;
    let length = usize::try_from(layer.size).ok().filter(|length| *length <= limit);
    let too_long = || FetchError::TooLong { host: reference.host().to_owned(), what: Part::Bundle, limit };
    let blob = session.blob(layer.digest, length.ok_or_else(too_long)?).await.map_err(|error| match error {
        // More than the manifest says.
        FetchError::TooLong { host, .. } => FetchError::OtherBytes { host, digest: layer.digest },
        error => error,
    })?;
    is_the_one(&blob, layer.digest, reference)?;
    Ok(blob)
}

fn is_the_one(bytes: &[u8], digest: Digest, reference: &BundleReference) -> Result<(), FetchError> {
    let same = Hasher::sha256(bytes) == digest;
    let other = || FetchError::OtherBytes { host: reference.host().to_owned(), digest };
    if same { Ok(()) } else { Err(other()) }
}
