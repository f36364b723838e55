//! One request and its answer: a connection of its own, with a limit on everything.

use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fetch::Limits;
use crate::model::{shown, with_causes};

/// Most bytes of the head of an answer.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The ports of HTTPS and HTTP.
const PORTS: (u16, u16) = (443, 80);

/// Who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Name and, where one was given, port.
    pub(super) host: String,
    name: String,
    port: u16,
    tls: bool,
}

impl Origin {
    /// A host with or without a port.
    pub(super) fn of_host(host: &str, insecure: bool) -> Self {
        let given = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        let (name, port) = given.unwrap_or((host, if insecure { PORTS.1 } else { PORTS.0 }));
        Origin { host: host.to_owned(), name: name.to_owned(), port, tls: !insecure }
    }
}

/// What is asked.
pub(super) struct Request<'a> {
    /// Of whom.
    pub(super) origin: &'a Origin,
    /// Path and query.
    pub(super) path: &'a str,
    /// Which media types are taken.
    pub(super) accept: &'static str,
    /// A token, if there is one.
    pub(super) authorization: Option<(HeaderName, HeaderValue)>,
    /// Most bytes of the body of a good answer.
    pub(super) limit: usize,
}

/// What is answered. Of an answer that is not good the body is not read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no whole answer.
pub(super) enum Broken {
    /// Nobody answered, in time and in full; and what happened.
    Silent(String),
    /// The body is longer than its limit.
    TooLong,
}

/// Makes connections.
pub(super) struct Connector {
    tls: TlsConnector,
}

impl Connector {
    /// One that trusts the CAs of the machine. Where it has none, nobody is trusted.
    pub(super) fn new() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Connector::trusting(roots)
    }

    pub(super) fn trusting(roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Connector { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks, and reads the answer.
    pub(super) async fn exchange(&self, request: Request<'_>, limits: &Limits) -> Result<Answer, Broken> {
        let Origin { name, port, tls, .. } = request.origin;
        let tcp = in_time(limits.connect, "to connect", TcpStream::connect((name.as_str(), *port))).await?;
        if !tls {
            return over(tcp, request, limits).await;
        }
        let server = ServerName::try_from(name.clone()).map_err(|error| Broken::Silent(error.to_string()))?;
        let stream = in_time(limits.connect, "to agree on TLS", self.tls.connect(server, tcp)).await?;
        over(stream, request, limits).await
    }
}

/// Asks over a connection. That has nothing to say of its own: what breaks it breaks the answer.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<'_>,
    limits: &Limits,
) -> Result<Answer, Broken> {
    let shaken = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = in_time(limits.connect, "to begin", shaken).await?;
    let limit = request.limit;
    let head = request.head().map_err(|error| Broken::Silent(error.to_string()))?;
    let asked = async {
        let response = in_time(limits.silence, "to answer", sender.send_request(head)).await?;
        answer(response, limit, limits).await
    };
    let driven = async {
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        answer = asked => answer,
        never = driven => never,
    }
}

impl Request<'_> {
    fn head(self) -> Result<hyper::Request<Empty<Bytes>>, hyper::http::Error> {
        let Request { origin, path, accept, authorization, limit: _ } = self;
        let fixed = hyper::Request::get(path)
            .header(HOST, &origin.host)
            .header(USER_AGENT, concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(ACCEPT, accept);
        let request = authorization.into_iter().fold(fixed, |request, (name, value)| request.header(name, value));
        request.body(Empty::new())
    }
}

async fn answer(response: Response<Incoming>, limit: usize, limits: &Limits) -> Result<Answer, Broken> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    if head.status == StatusCode::OK {
        if body.size_hint().lower() > limit as u64 {
            return Err(Broken::TooLong);
        }
        let mut next = async || in_time(limits.silence, "to go on", async { body.frame().await.transpose() }).await;
        while let Some(frame) = next().await? {
            let data = frame.into_data().unwrap_or_default();
            if data.len() > limit - bytes.len() {
                return Err(Broken::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Answer { status: head.status, headers: head.headers, body: bytes })
}

/// A step of an exchange that must end in time.
async fn in_time<T, E: Error>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Broken> {
    let slow = |_| Broken::Silent(format!("it took longer than {limit:?} {what}"));
    timeout(limit, step).await.map_err(slow)?.map_err(|error| Broken::Silent(shown(&with_causes(&error))))
}
