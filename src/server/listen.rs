//! Accepts connections, and ends in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::connection::{Shared, serve};
use super::limits::Limits;
use super::metrics::{Refusal, ServerMetrics};
use super::pair::PairSlot;
use super::peers::{Peer, Peers};
use crate::app::Phase;

/// How long nothing is accepted after the system refused: out of file descriptors, as a rule, and one call's time gives
/// some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    config: Arc<ServerConfig>,
    slot: PairSlot,
}

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The CA for clients is not PEM.
    #[error("the CA file for client certificates is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The CA for clients cannot be used.
    #[error("the CA file for client certificates cannot be used: {0}")]
    Ca(String),
}

impl TlsSettings {
    /// TLS 1.2 and 1.3 with the pair that the slot holds. With `client_ca` (PEM), only clients with a certificate of
    /// that CA get through the handshake.
    pub fn new(slot: PairSlot, client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => builder.with_client_cert_verifier(client_verifier(pem)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(slot.clone()));
        // API servers speak HTTP/1.1 to webhooks, and nothing else is served.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsSettings { config: Arc::new(config), slot })
    }
}

fn client_verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(TlsError::Pem)?;
        roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
    }
    WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| TlsError::Ca(error.to_string()))
}

/// Serves TLS until the process drains and the last connection is closed.
pub async fn serve_tls(
    listener: TcpListener,
    tls: TlsSettings,
    router: Router,
    limits: Limits,
    metrics: ServerMetrics,
    phase: watch::Receiver<Phase>,
) {
    let shared = Shared { router, limits, metrics, phase };
    accept(listener, shared, Some(tls)).await;
}

/// Serves plain HTTP until the future is dropped: for kubelet and Prometheus, who ask until the very end.
pub async fn serve_plain(listener: TcpListener, router: Router, limits: Limits, metrics: ServerMetrics) {
    let (_running, phase) = watch::channel(Phase::Running);
    accept(listener, Shared { router, limits, metrics, phase }, None).await;
}

async fn accept(listener: TcpListener, shared: Shared, tls: Option<TlsSettings>) {
    let peers = Peers::new(shared.limits.clone());
    let mut connections = JoinSet::new();
    let mut phase = shared.phase.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => admit(stream, address, &peers, &shared, tls.as_ref(), &mut connections),
                Err(error) => pause_after(&error).await,
            },
            Some(ended) = connections.join_next() => note(ended),
            () = draining(&mut phase) => break,
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note(ended);
    }
}

/// Starts a connection, or closes it at once.
fn admit(
    stream: TcpStream,
    address: SocketAddr,
    peers: &Peers,
    shared: &Shared,
    tls: Option<&TlsSettings>,
    connections: &mut JoinSet<()>,
) {
    if tls.is_some_and(|tls| tls.slot.get().is_none()) {
        return shared.metrics.refused(Refusal::NoPair);
    }
    let peer = match peers.connect(address.ip()) {
        Ok(peer) => Arc::new(peer),
        Err(reason) => return shared.metrics.refused(reason),
    };
    // Answers are small and wait for nobody: without this they wait for the acknowledgement of what went before.
    let _ = stream.set_nodelay(true);
    let (shared, tls) = (shared.clone(), tls.cloned());
    connections.spawn(async move {
        let open = Open::new(&shared.metrics);
        match tls {
            None => serve(stream, peer, shared).await,
            Some(tls) => serve_encrypted(stream, peer, shared, tls).await,
        }
        drop(open);
    });
}

async fn serve_encrypted(stream: TcpStream, peer: Arc<Peer>, shared: Shared, tls: TlsSettings) {
    let handshake = async {
        let turn = peer.handshake().await;
        let stream = TlsAcceptor::from(tls.config).accept(stream).await;
        drop(turn);
        stream
    };
    match timeout(shared.limits.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => serve(stream, peer, shared).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            shared.metrics.refused(Refusal::Handshake);
        }
        Err(_) => shared.metrics.refused(Refusal::Handshake),
    }
}

/// Waits until the process drains.
pub(super) async fn draining(phase: &mut watch::Receiver<Phase>) {
    // An error means that the process is at its end.
    let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection cannot be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task has failed");
    }
}

/// An open connection, as the gauge counts it.
struct Open(ServerMetrics);

impl Open {
    fn new(metrics: &ServerMetrics) -> Self {
        metrics.connections.inc();
        Open(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
