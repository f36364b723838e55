//! The listener as clients see it, over TLS on the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::app::Phase;
use crate::telemetry::Registry;

const MOMENT: Duration = Duration::from_secs(10);

/// A CA, and pairs of it.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key)
    }

    fn pair(&self) -> ServingPair {
        let (chain, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        ServingPair::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A listener that runs.
struct Served {
    address: SocketAddr,
    slot: PairSlot,
    metrics: ServerMetrics,
    phase: watch::Sender<Phase>,
    ca: Ca,
    task: JoinSet<()>,
}

impl Served {
    async fn start(router: Router, limits: Limits) -> Self {
        Self::start_with(router, limits, None).await
    }

    async fn start_with(router: Router, limits: Limits, client_ca: Option<&Ca>) -> Self {
        let metrics = ServerMetrics::register(&Registry::new());
        let (slot, ca) = (PairSlot::new(metrics.clone()), Ca::new());
        slot.put(ca.pair());
        let client_ca = client_ca.map(|ca| ca.0.pem());
        let tls = TlsSettings::new(slot.clone(), client_ca.as_deref().map(str::as_bytes)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (phase, watched) = watch::channel(Phase::Running);
        let mut task = JoinSet::new();
        task.spawn(serve_tls(listener, tls, router, limits, metrics.clone(), watched));
        Served { address, slot, metrics, phase, ca, task }
    }

    async fn tls_from(&self, from: IpAddr, client: Option<(String, KeyPair)>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.0.der().to_vec())).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = rustls::pki_types::pem::PemObject::from_pem_slice(chain.as_bytes()).unwrap();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_from(Ipv4Addr::LOCALHOST.into(), None).await
    }

    async fn client(&self) -> Client {
        let (sender, connection) = handshake(TokioIo::new(self.tls().await.unwrap())).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // How a connection ends shows in the calls.
            let _ = connection.await;
        });
        Client { sender, _task: task }
    }
}

/// A client with one connection.
struct Client {
    sender: SendRequest<Body>,
    _task: JoinSet<()>,
}

impl Client {
    async fn call(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Calls `/`, and says whether the connection may be used again.
    async fn hello(&mut self) -> bool {
        let answer = self.call(Request::get("/").body(Body::empty()).unwrap()).await.expect("a call is answered");
        let last = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        !last
    }
}

fn hello() -> Router {
    let slow = || async {
        sleep(Duration::from_millis(20)).await;
        "hello"
    };
    Router::new().route("/", get(slow))
}

fn refused(served: &Served, reason: &str) -> bool {
    let registry = Registry::new();
    registry.register(Box::new(served.metrics.clone().refused_for_tests())).unwrap();
    registry
        .gather()
        .iter()
        .flat_map(|family| family.get_metric())
        .any(|metric| metric.get_label()[0].value() == reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_pair_costs_no_call() {
    let served = Arc::new(Served::start(hello(), Limits::default()).await);
    let calls = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + Duration::from_secs(1);
    let mut clients = JoinSet::new();
    for reconnects in [true, true, false] {
        let (served, calls) = (Arc::clone(&served), Arc::clone(&calls));
        clients.spawn(async move {
            let mut client = served.client().await;
            while Instant::now() < until {
                assert!(client.hello().await, "nothing ends here");
                calls.fetch_add(1, Ordering::Relaxed);
                if reconnects {
                    client = served.client().await;
                }
            }
        });
    }
    let mut last = served.ca.pair();
    while Instant::now() < until {
        sleep(Duration::from_millis(25)).await;
        last = served.ca.pair();
        served.slot.put(last.clone());
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 30);
    let stream = served.tls().await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, last.certificate_for_tests(), "a new connection gets the last pair");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_in_order_loses_no_call() {
    let mut ending = Served::start(hello(), Limits::default()).await;
    let staying = Arc::new(Served::start(hello(), Limits::default()).await);
    let calls = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (mut client, staying, calls) = (ending.client().await, Arc::clone(&staying), Arc::clone(&calls));
        clients.spawn(async move {
            for _ in 0..30 {
                if !client.hello().await {
                    client = staying.client().await;
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (mut idle, mut late) = (ending.client().await, ending.client().await);
    assert!(idle.hello().await);
    let busy = async {
        while calls.load(Ordering::Relaxed) < 12 {
            tokio::task::yield_now().await;
        }
    };
    timeout(MOMENT, busy).await.expect("the clients call");
    ending.phase.send_replace(Phase::LameDuck);
    assert!(!ending.client().await.hello().await, "a lame duck still takes new connections, for one call each");
    ending.phase.send_replace(Phase::Draining);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(!idle.hello().await, "a connection that lay idle still gets its answer, and it is the last");
    assert!(ending.tls().await.is_err(), "no new connection");
    assert!(timeout(Duration::from_millis(100), ending.task.join_next()).await.is_err(), "one is still open");
    assert!(!late.hello().await);
    timeout(MOMENT, ending.task.join_next()).await.expect("it ends with its last connection").unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end_for_ever() {
    let limits = Limits { idle_drain: Duration::from_millis(200), ..Limits::default() };
    let mut served = Served::start(hello(), limits).await;
    let mut idle = served.client().await;
    assert!(idle.hello().await);
    served.phase.send_replace(Phase::Draining);
    timeout(MOMENT, served.task.join_next()).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn without_a_pair_no_handshake_begins() {
    let metrics = ServerMetrics::register(&Registry::new());
    let slot = PairSlot::new(metrics.clone());
    let mut served = Served::start(hello(), Limits::default()).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    served.address = listener.local_addr().unwrap();
    let tls = TlsSettings::new(slot.clone(), None).unwrap();
    served.task.spawn(serve_tls(listener, tls, hello(), Limits::default(), metrics, served.phase.subscribe()));
    assert!(served.tls().await.is_err());
    slot.put(served.ca.pair());
    assert!(served.client().await.hello().await);
}

#[tokio::test]
async fn a_body_is_cut_off_at_the_limit() {
    let router = Router::new().route(
        "/",
        post(|body: Body| async move {
            match body.collect().await {
                Ok(body) => (StatusCode::OK, body.to_bytes().len().to_string()),
                Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, String::new()),
            }
        }),
    );
    let served = Served::start(router, Limits { body_bytes: 1000, ..Limits::default() }).await;
    for (length, status) in [(1000, StatusCode::OK), (1001, StatusCode::PAYLOAD_TOO_LARGE)] {
        let body = Body::from(Bytes::from(vec![b'x'; length]));
        let answer = served.client().await.call(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{length} bytes");
    }
}

#[tokio::test]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..Limits::default() };
    let served = Served::start(hello(), limits).await;
    let mut patient = served.client().await;
    assert!(patient.hello().await);
    let mut stream = served.tls().await.unwrap();
    let began = Instant::now();
    let mut bytes = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x'));
    while stream.write_all(&[*bytes.next().unwrap()]).await.is_ok() && stream.flush().await.is_ok() {
        assert!(began.elapsed() < MOMENT, "the connection is still open");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(refused(&served, "head"));
    assert!(patient.hello().await, "a connection that only lay idle is still open");
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_handshakes_is_in_its_own_way_alone() {
    let limits = Limits {
        peer_handshakes: 2,
        handshakes: 4,
        handshake_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let served = Served::start(hello(), limits).await;
    let stalled =
        [TcpStream::connect(served.address).await.unwrap(), TcpStream::connect(served.address).await.unwrap()];
    sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    served.tls_from(Ipv4Addr::new(127, 0, 0, 2).into(), None).await.expect("another peer has its own turn");
    assert!(began.elapsed() < Duration::from_millis(300));
    for mut stream in stalled {
        assert_eq!(timeout(MOMENT, stream.read(&mut [0; 1])).await.expect("it is closed").unwrap_or(0), 0);
    }
    assert!(refused(&served, "handshake"));
    assert!(served.client().await.hello().await, "its turn has come back");
}

#[tokio::test]
async fn a_peer_with_too_many_connections_gets_no_more() {
    let served = Served::start(hello(), Limits { peer_connections: 1, ..Limits::default() }).await;
    let mut first = served.client().await;
    assert!(first.hello().await);
    assert!(served.tls().await.is_err());
    assert!(first.hello().await);
    assert!(refused(&served, "peer_connections"));
}

#[tokio::test]
async fn a_panic_costs_one_call() {
    let broken = || async { panic!("on purpose") as &'static str };
    let served = Served::start(hello().route("/broken", get(broken)), Limits::default()).await;
    let mut client = served.client().await;
    let answer = client.call(Request::get("/broken").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    drop(answer.into_body().collect().await.unwrap());
    assert!(client.hello().await);
}

#[tokio::test]
async fn with_a_ca_for_clients_only_its_clients_get_in() {
    let (ca, other) = (Ca::new(), Ca::new());
    let served = Served::start_with(hello(), Limits::default(), Some(&ca)).await;
    for (client, gets_in) in [(Some(&ca), true), (Some(&other), false), (None, false)] {
        let client = client.map(|ca| ca.issue(ExtendedKeyUsagePurpose::ClientAuth));
        let mut stream = served.tls_from(Ipv4Addr::LOCALHOST.into(), client).await.unwrap();
        // In TLS 1.3 the client learns with the first read that it was turned away.
        let mut answer = Vec::new();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let _ = timeout(MOMENT, stream.read_to_end(&mut answer)).await.expect("it is closed");
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), gets_in);
    }
}
