//! The client against servers on this machine, each of which answers as a test wants.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::exchange::Connector;
use super::fetch::{Part, fetch_by};
use super::*;
use crate::api::v1alpha1::BundleReference;
use crate::model::Hasher;

const BUNDLE: &[u8] = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;
const OK: u16 = 200;

/// What a server is asked.
struct Asked {
    path: String,
    authorization: Option<String>,
}

/// What it does then.
enum Reply {
    /// Answers.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Writes just that, and closes.
    Raw(Vec<u8>),
    /// Writes just that, and waits until the client has gone.
    Hang(Vec<u8>),
    /// Writes a head, then a byte now and then.
    Trickle,
}

fn whole(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole(OK, Vec::new(), body.into())
}

fn status(status: u16) -> Reply {
    Reply::Whole(status, Vec::new(), b"an explanation that nobody reads".to_vec())
}

fn redirect(to: impl Into<String>) -> Reply {
    Reply::Whole(307, vec![("location", to.into())], Vec::new())
}

/// A server that lives as long as the test's process.
struct Server {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn answering(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Server::over(|stream| stream, answer)
    }

    fn over<S: Read + Write>(
        wrap: impl Fn(TcpStream) -> S + Send + 'static,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that has gone is what some tests are about.
                let _ = serve(&mut wrap(stream.unwrap()), &log, &answer);
            }
        });
        Server { host, asked }
    }

    /// A registry with one bundle in `acme/signatures`.
    fn registry() -> Self {
        Server::answering(|asked| registry(&asked.path))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: &mut (impl Read + Write),
    log: &Mutex<Vec<String>>,
    answer: &impl Fn(&Asked) -> Reply,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(&mut *stream).lines() {
        match line? {
            line if line.is_empty() => break,
            line => head.push(line),
        }
    }
    let path = head.first().and_then(|line| line.split(' ').nth(1)).ok_or(ErrorKind::UnexpectedEof)?.to_owned();
    let authorization = head.iter().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    log.lock().unwrap().push(path.clone());
    match answer(&Asked { path, authorization }) {
        Reply::Whole(status, headers, body) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            write!(stream, "HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)?;
        }
        Reply::Raw(bytes) => stream.write_all(&bytes)?,
        Reply::Hang(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            stream.read_to_end(&mut Vec::new())?;
        }
        Reply::Trickle => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
    stream.flush()
}

fn sha256(bytes: &[u8]) -> String {
    Hasher::sha256(bytes).to_string()
}

fn manifest_of(bundle: &[u8]) -> Vec<u8> {
    let layer = json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "digest": sha256(bundle), "size": bundle.len() });
    json!({ "schemaVersion": 2, "layers": [layer] }).to_string().into_bytes()
}

fn manifest_path(manifest: &[u8]) -> String {
    format!("/v2/acme/signatures/manifests/{}", sha256(manifest))
}

fn blob_path() -> String {
    format!("/v2/acme/signatures/blobs/{}", sha256(BUNDLE))
}

fn registry(path: &str) -> Reply {
    let manifest = manifest_of(BUNDLE);
    match path {
        path if path == manifest_path(&manifest) => whole(manifest),
        path if path == blob_path() => whole(BUNDLE),
        _ => status(404),
    }
}

fn reference(server: &Server, manifest: &[u8]) -> BundleReference {
    BundleReference::parse(&format!("{}/acme/signatures@{}", server.host, sha256(manifest))).unwrap()
}

/// Long enough for a busy machine. A test that something takes too long has its own.
const PATIENT: Limits = Limits {
    connect: Duration::from_secs(30),
    silence: Duration::from_secs(30),
    total: Duration::from_secs(60),
    manifest_bytes: 4096,
    bundle_bytes: 4096,
};
const HASTY: Duration = Duration::from_millis(300);

fn settings(servers: &[&Server], limits: Limits) -> Settings {
    Settings { insecure: servers.iter().map(|server| server.host.clone()).collect(), limits }
}

async fn get(server: &Server, limits: Limits) -> Result<Vec<u8>, FetchError> {
    fetch(&reference(server, &manifest_of(BUNDLE)), &settings(&[server], limits)).await
}

#[tokio::test]
async fn a_bundle_is_fetched() {
    let server = Server::registry();
    assert_eq!(get(&server, PATIENT).await.unwrap(), BUNDLE);
    assert_eq!(server.asked(), [manifest_path(&manifest_of(BUNDLE)), blob_path()]);
}

#[tokio::test]
async fn a_token_goes_to_the_registry_alone() {
    let store = Server::answering(|asked| match &asked.authorization {
        None => whole(BUNDLE),
        Some(_) => status(400),
    });
    let tokens = Server::answering(|asked| match &asked.authorization {
        None => whole(br#"{"access_token":"t0ken"}"#),
        Some(_) => status(400),
    });
    let (realm, elsewhere) = (tokens.host.clone(), store.host.clone());
    let server = Server::answering(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t0ken") if asked.path.contains("/blobs/") => redirect(format!("http://{elsewhere}/b?signed=1")),
        Some("Bearer t0ken") => registry(&asked.path),
        _ => {
            let challenge = format!("Bearer realm=\"http://{realm}/token\",service=\"registry\"");
            Reply::Whole(401, vec![("www-authenticate", challenge)], Vec::new())
        }
    });
    let reference = reference(&server, &manifest_of(BUNDLE));
    let fetched = fetch(&reference, &settings(&[&server, &store, &tokens], PATIENT)).await;
    assert_eq!(fetched.unwrap(), BUNDLE);
    assert_eq!(tokens.asked(), ["/token?service=registry&scope=repository%3Aacme%2Fsignatures%3Apull"]);
    assert_eq!(store.asked(), ["/b?signed=1"]);
    assert_eq!(server.asked().len(), 3, "the token serves for both: {:?}", server.asked());

    let error = fetch(&reference, &settings(&[&server, &store], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { .. }), "no token without TLS: {error}");
    let error = fetch(&reference, &settings(&[&server, &tokens], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { .. }), "no blob without TLS: {error}");
    assert!(!error.to_string().contains("signed"), "what lets its holder in is not shown: {error}");
    assert_eq!((store.asked().len(), tokens.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_token_that_does_not_help_is_asked_for_once() {
    let tokens = Server::answering(|_| whole(br#"{"token":"t0ken"}"#));
    let realm = tokens.host.clone();
    let server = Server::answering(move |_| {
        Reply::Whole(401, vec![("www-authenticate", format!("Bearer realm=\"http://{realm}/t\""))], Vec::new())
    });
    let reference = reference(&server, &manifest_of(BUNDLE));
    let error = fetch(&reference, &settings(&[&server, &tokens], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Closed { status: 401, .. }), "{error}");
    assert_eq!((server.asked().len(), tokens.asked().len()), (2, 1));
}

#[tokio::test]
async fn a_blob_may_lie_elsewhere_and_a_manifest_may_not() {
    let relative = Server::answering(|asked| match asked.path.as_str() {
        "/store/b" => whole(BUNDLE),
        path if path == blob_path() => redirect("/store/b"),
        path => registry(path),
    });
    assert_eq!(get(&relative, PATIENT).await.unwrap(), BUNDLE);

    let round = Server::answering(|asked| match asked.path.as_str() {
        path if path.contains("/blobs/") => redirect(path),
        path => registry(path),
    });
    let error = get(&round, PATIENT).await.unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { .. }), "{error}");
    assert_eq!(round.asked().len(), 1 + 1 + 3, "{:?}", round.asked());

    let target = Server::registry();
    let to = target.host.clone();
    let moved = Server::answering(move |asked| redirect(format!("http://{to}{}", asked.path)));
    let reference = reference(&moved, &manifest_of(BUNDLE));
    let error = fetch(&reference, &settings(&[&moved, &target], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { .. }), "{error}");
    assert_eq!(target.asked(), [""; 0]);

    for nowhere in ["", "gopher://x/", "http://", "\u{fffd}", "file:///etc/passwd"] {
        let server = Server::answering(move |asked| match asked.path.as_str() {
            path if path.contains("/blobs/") => redirect(nowhere),
            path => registry(path),
        });
        let error = get(&server, PATIENT).await.unwrap_err();
        assert!(matches!(error, FetchError::Elsewhere { .. }), "{nowhere}: {error}");
    }
}

/// What comes of a registry that answers requests for manifests, or for blobs, in this way.
async fn with(part: &'static str, reply: impl Fn() -> Reply + Send + Sync + 'static, limits: Limits) -> FetchError {
    let server =
        Server::answering(move |asked| if asked.path.contains(part) { reply() } else { registry(&asked.path) });
    get(&server, limits).await.unwrap_err()
}

#[tokio::test]
async fn what_a_status_means() {
    for part in ["/manifests/", "/blobs/"] {
        for code in [401, 403] {
            let error = with(part, move || status(code), PATIENT).await;
            assert!(matches!(error, FetchError::Closed { status, .. } if status == code), "{part} {code}: {error}");
        }
        for code in [404, 410] {
            let error = with(part, move || status(code), PATIENT).await;
            assert!(matches!(error, FetchError::Missing { .. }), "{part} {code}: {error}");
        }
        for code in [204, 206, 400, 418, 429, 500, 502, 503, 504] {
            let error = with(part, move || status(code), PATIENT).await;
            assert!(matches!(error, FetchError::Trouble { status, .. } if status == code), "{part} {code}: {error}");
        }
    }
}

#[tokio::test]
async fn other_bytes_are_not_taken() {
    for part in ["/manifests/", "/blobs/"] {
        let error = with(part, || whole(b"{}".to_vec()), PATIENT).await;
        assert!(matches!(error, FetchError::OtherBytes { .. }), "{part}: {error}");
        // Nobody tells that the body is cut where its length is not told.
        let error = with(part, || Reply::Raw(b"HTTP/1.1 200 OK\r\n\r\n{\"layers\"".to_vec()), PATIENT).await;
        assert!(matches!(error, FetchError::OtherBytes { .. }), "{part}: {error}");
    }
    let longer = [BUNDLE, b" "].concat();
    let error = with("/blobs/", move || whole(longer.clone()), PATIENT).await;
    assert!(matches!(error, FetchError::OtherBytes { .. }), "longer than the manifest says: {error}");
}

#[tokio::test]
async fn too_much_is_not_read() {
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", " ".repeat(bytes));
    let chunked =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk(1000).repeat(5)).into_bytes();
    let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n".to_vec();
    for body in [chunked, endless] {
        let error = with("/manifests/", move || Reply::Hang(body.clone()), PATIENT).await;
        assert!(matches!(error, FetchError::TooLong { limit: 4096, .. }), "{error}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes();
    let error = with("/manifests/", move || Reply::Raw(head.clone()), PATIENT).await;
    assert!(matches!(error, FetchError::Silent { .. }), "{error}");

    let large = vec![b' '; PATIENT.bundle_bytes + 1];
    let manifest = manifest_of(&large);
    let server = Server::answering(move |_| whole(manifest_of(&vec![b' '; PATIENT.bundle_bytes + 1])));
    let error = fetch(&reference(&server, &manifest), &settings(&[&server], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLong { what: Part::Bundle, .. }), "{error}");
    assert_eq!(server.asked().len(), 1, "the blob is not even asked for");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_waited_for_so_long() {
    let silent = Limits { silence: HASTY, ..PATIENT };
    for part in ["/manifests/", "/blobs/"] {
        let error = with(part, || Reply::Hang(Vec::new()), silent).await;
        assert!(matches!(error, FetchError::Silent { .. }), "nothing at all: {error}");
        let head = || Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec());
        let error = with(part, head, silent).await;
        assert!(matches!(error, FetchError::Silent { .. }), "a part: {error}");
        let cut = || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec());
        let error = with(part, cut, PATIENT).await;
        assert!(matches!(error, FetchError::Silent { .. }), "cut: {error}");
        let error = with(part, || Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()), PATIENT).await;
        assert!(matches!(error, FetchError::Silent { .. }), "no HTTP: {error}");
        let error = with(part, || Reply::Raw(Vec::new()), PATIENT).await;
        assert!(matches!(error, FetchError::Silent { .. }), "hung up: {error}");
    }
    let short = Limits { total: HASTY, manifest_bytes: 1 << 20, ..PATIENT };
    let error = with("/manifests/", || Reply::Trickle, short).await;
    assert!(matches!(error, FetchError::Slow { .. }), "a byte now and then: {error}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("127.0.0.1:{}", nobody.local_addr().unwrap().port());
    drop(nobody);
    let reference = BundleReference::parse(&format!("{host}/a@{}", sha256(b""))).unwrap();
    let error = fetch(&reference, &Settings { insecure: vec![host], limits: PATIENT }).await.unwrap_err();
    assert!(matches!(error, FetchError::Silent { .. }), "refused: {error}");
    let unknown = BundleReference::parse(&format!("no-such-host.invalid/a@{}", sha256(b""))).unwrap();
    let error = fetch(&unknown, &Settings { insecure: vec![], limits: PATIENT }).await.unwrap_err();
    assert!(matches!(error, FetchError::Silent { .. }), "no such name: {error}");
}

#[tokio::test]
async fn what_holds_no_bundle_is_said() {
    let manifest = json!({ "manifests": [] }).to_string().into_bytes();
    let copy = manifest.clone();
    let server = Server::answering(move |_| whole(copy.clone()));
    let error = fetch(&reference(&server, &manifest), &settings(&[&server], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::NoBundle { why: NoBundle::Index, .. }), "{error}");
}

#[tokio::test]
async fn without_an_administrators_word_there_is_tls() {
    let plain = Server::registry();
    let error = fetch(&reference(&plain, &manifest_of(BUNDLE)), &settings(&[], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Silent { .. }), "{error}");
    assert_eq!(plain.asked(), [""; 0]);

    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = pair.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap());
    let wrap = move |stream| StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
    let server = Server::over(wrap, |asked| registry(&asked.path));
    let reference = reference(&server, &manifest_of(BUNDLE));
    let error = fetch(&reference, &settings(&[], PATIENT)).await.unwrap_err();
    assert!(matches!(error, FetchError::Silent { .. }), "a stranger's certificate: {error}");
    assert_eq!(server.asked(), [""; 0]);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let fetched = fetch_by(Connector::trusting(roots).unwrap(), &reference, &settings(&[], PATIENT)).await;
    assert_eq!(fetched.unwrap(), BUNDLE);
}
