//! The certificates between API server and webhook.
//!
//! Receives two Secrets: the authority's key and certificate, which only the operator reads, and the serving pair, which
//! only the webhook reads besides it. Promises that both exist and are renewed long before they expire, and that the API
//! server trusts an authority before the webhook serves what it has issued ([`plan()`]). Never issues anything where people
//! bring a pair of their own: then the bundle is taken from there.

mod apply;
mod material;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use prometheus::IntGauge;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::call::CallFailed;
use super::owner;
use super::runner::{Controller, Failure};
use super::webhooks::Applied;
use crate::index::Snapshot;
use material::{Authority, CA_BUNDLE, CERTIFICATE, Certificate, Data, KEY, MakeError, PREVIOUS};
use plan::{CA_LIFE, CHECK_INTERVAL, PAIR_LIFE, Plan, State, Step, plan};

/// Where the certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The operator makes them.
    SelfSigned {
        /// The Secret with the authority.
        ca_secret: String,
    },
    /// Somebody else writes the Secret with the serving pair, such as cert-manager.
    Provided {
        /// The bundle, as PEM text; absent means `ca.crt` of that Secret.
        ca_bundle: Option<String>,
    },
}

/// What the operator is told about certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our namespace.
    pub namespace: String,
    /// Name of the webhook's Service.
    pub service: String,
    /// The Secret with the serving pair.
    pub serving_secret: String,
    /// The chart's ClusterRole, which takes the Secrets along when it goes.
    pub owner_cluster_role: String,
    /// Where they come from.
    pub mode: Mode,
}

crate::metrics! {
    /// Metrics of the certificates.
    pub struct Metrics {
        /// When the first of the certificates that the API server trusts the webhook by expires, in Unix time.
        ca_expiry: IntGauge = "weighbridge_ca_certificate_expiry_timestamp_seconds",
    }
}

/// Why a round failed.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// The API server did not do it.
    #[error(transparent)]
    Call(#[from] CallFailed),
    /// A certificate could not be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// People bring the pair, and have not.
    #[error(
        "secret {0} holds no CA certificate under ca.crt: have its issuer write one, or name a bundle by --ca-bundle"
    )]
    NotProvided(String),
}

impl Failure for CertificatesError {
    fn code(&self) -> &'static str {
        match self {
            CertificatesError::Call(error) => error.code(),
            CertificatesError::Make(_) => "NotMade",
            CertificatesError::NotProvided(_) => "NotProvided",
        }
    }
}

/// Keeps the certificates.
pub struct Certificates {
    secrets: Api<Secret>,
    roles: Api<ClusterRole>,
    settings: Settings,
    applied: watch::Receiver<Option<Applied>>,
    ca_bundle: watch::Sender<Option<String>>,
    /// The authority that the API server is known to trust, and since when.
    trusted: Option<(Certificate, Instant)>,
    /// From when to when nothing needs to be done: snapshots come far more often than certificates change.
    rest: Option<(Timestamp, Timestamp)>,
    metrics: Metrics,
}

/// What there is, with the key.
struct Gathered {
    authority: Option<Authority>,
    /// Versions of the two Secrets: what is written is based on what was read.
    versions: Versions,
    state: State,
}

/// Versions of the two Secrets, where they exist.
struct Versions {
    ca: Option<String>,
    serving: Option<String>,
}

impl Certificates {
    /// A controller that publishes the bundle through `ca_bundle`, and learns through `applied` what became of it.
    pub fn new(
        client: Client,
        settings: Settings,
        ca_bundle: watch::Sender<Option<String>>,
        applied: watch::Receiver<Option<Applied>>,
        metrics: Metrics,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &settings.namespace);
        Certificates {
            secrets,
            roles: Api::all(client),
            settings,
            applied,
            ca_bundle,
            trusted: None,
            rest: None,
            metrics,
        }
    }

    async fn gather(&mut self, ca_secret: &str) -> Result<Gathered, CallFailed> {
        let ca = self.read(ca_secret).await?;
        let serving = self.read(&self.settings.serving_secret).await?;
        let applied =
            self.applied.borrow_and_update().as_ref().map(|it| Certificate::read_all(it.ca_bundle.as_bytes()));
        let applied = applied.unwrap_or_default();
        let authority = ca.as_ref().and_then(|(data, _)| material::read_authority(data));
        let state = State {
            authority: authority.as_ref().map(|authority| authority.certificate.clone()),
            previous: ca.as_ref().map(|(data, _)| certificates(data, PREVIOUS)).unwrap_or_default(),
            pair: serving.as_ref().and_then(|(data, _)| material::read_pair(data)).map(|(certificate, _)| certificate),
            applied_for: self.trusted_for(authority.as_ref(), &applied),
            applied,
            names: names(&self.settings),
        };
        let versions = Versions { ca: ca.and_then(|it| it.1), serving: serving.and_then(|it| it.1) };
        Ok(Gathered { authority, versions, state })
    }

    /// For how long the API server has been known to trust the authority.
    fn trusted_for(&mut self, authority: Option<&Authority>, applied: &[Certificate]) -> Option<Duration> {
        let certificate = &authority?.certificate;
        if !applied.contains(certificate) {
            self.trusted = None;
            return None;
        }
        match &self.trusted {
            Some((known, since)) if known == certificate => Some(since.elapsed()),
            _ => {
                self.trusted = Some((certificate.clone(), Instant::now()));
                Some(Duration::ZERO)
            }
        }
    }

    async fn read(&self, name: &str) -> Result<Option<(Data, Option<String>)>, CallFailed> {
        let secret = self.secrets.get_opt(name).await.map_err(CallFailed::when("read a secret with certificates"))?;
        Ok(secret.map(|secret| (secret.data.unwrap_or_default(), secret.metadata.resource_version)))
    }

    async fn take(
        &self,
        step: Step,
        gathered: Gathered,
        ca_secret: &str,
        now: Timestamp,
    ) -> Result<(), CertificatesError> {
        let Gathered { authority, versions, state: _ } = gathered;
        let owner = owner::reference(&self.roles, &self.settings.owner_cluster_role).await?;
        let ca = apply::Target { name: ca_secret, version: versions.ca, owner: owner.clone() };
        let serving = apply::Target { name: &self.settings.serving_secret, version: versions.serving, owner };
        match (step, authority) {
            (Step::MakeAuthority { keep }, _) => {
                info!(keep = keep.len(), "making a certificate authority");
                let made = material::make_authority(now, CA_LIFE)?;
                apply::authority(&self.secrets, ca, &made, &keep).await?;
            }
            (Step::DropPrevious { keep }, Some(authority)) => {
                info!("dropping earlier certificate authorities");
                apply::authority(&self.secrets, ca, &authority, &keep).await?;
            }
            (Step::IssuePair, Some(authority)) => {
                info!("issuing a serving pair");
                let pair = authority.issue(&names(&self.settings), now, PAIR_LIFE)?;
                apply::pair(&self.secrets, serving, pair, &authority).await?;
            }
            (Step::DropPrevious { .. } | Step::IssuePair, None) => {}
        }
        Ok(())
    }

    fn publish(&self, bundle: &[Certificate]) {
        let Some(expiry) = bundle.iter().map(|certificate| certificate.not_after).min() else { return };
        self.metrics.ca_expiry.set(expiry.as_second());
        let text = material::bundle(bundle);
        self.ca_bundle.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&text);
            *last = Some(text);
            changed
        });
    }

    async fn provided(&self, given: Option<&str>, now: Timestamp) -> Result<Timestamp, CertificatesError> {
        let bundle = match given {
            Some(given) => Certificate::read_all(given.as_bytes()),
            None => {
                let secret = self.read(&self.settings.serving_secret).await?;
                secret.map(|(data, _)| certificates(&data, CA_BUNDLE)).unwrap_or_default()
            }
        };
        if bundle.is_empty() {
            return Err(CertificatesError::NotProvided(self.settings.serving_secret.clone()));
        }
        if bundle.iter().all(|certificate| !certificate.is_valid_at(now)) {
            warn!("no certificate in the CA bundle that was brought is valid now");
        }
        self.publish(&bundle);
        Ok(now + CHECK_INTERVAL)
    }

    async fn self_signed(&mut self, ca_secret: &str, now: Timestamp) -> Result<Timestamp, CertificatesError> {
        let gathered = self.gather(ca_secret).await?;
        let Plan { bundle, step, again } = plan(&gathered.state, now);
        self.publish(&bundle);
        if let Some(step) = step {
            self.take(step, gathered, ca_secret, now).await?;
        }
        Ok(again)
    }
}

impl Controller for Certificates {
    const NAME: &'static str = "certificates";
    type Error = CertificatesError;

    async fn reconcile(&mut self, _: Arc<Snapshot>, now: Timestamp) -> Result<Option<Timestamp>, CertificatesError> {
        if let Some((_, until)) = self.rest.filter(|(from, until)| *from <= now && now < *until) {
            return Ok(Some(until));
        }
        let again = match self.settings.mode.clone() {
            Mode::Provided { ca_bundle } => self.provided(ca_bundle.as_deref(), now).await?,
            Mode::SelfSigned { ca_secret } => self.self_signed(&ca_secret, now).await?,
        };
        self.rest = Some((now, again));
        Ok(Some(again))
    }

    async fn woken(&mut self) {
        if self.applied.changed().await.is_err() {
            std::future::pending().await
        }
        self.rest = None;
    }
}

fn certificates(data: &Data, key: &str) -> Vec<Certificate> {
    data.get(key).map(|text| Certificate::read_all(&text.0)).unwrap_or_default()
}

/// The names by which API servers call a Service, sorted.
fn names(settings: &Settings) -> Vec<String> {
    let short = format!("{}.{}.svc", settings.service, settings.namespace);
    let long = format!("{short}.cluster.local");
    vec![short, long]
}
