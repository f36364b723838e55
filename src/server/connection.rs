//! One connection: HTTP/1.1, request after request, each with its limits.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use futures::FutureExt as _;
use http_body_util::Limited;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::guarded::Progress;
use super::limits::Limits;
use super::listen::draining;
use super::metrics::{Refusal, ServerMetrics};
use super::peers::Peer;
use crate::app::Phase;

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) metrics: ServerMetrics,
    pub(super) phase: watch::Receiver<Phase>,
}

/// Serves a connection until it is closed, or until nothing more is to come of it once the process drains.
pub(super) async fn serve<S>(stream: S, peer: Arc<Peer>, shared: Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Progress::new();
    let stream = TokioIo::new(progress.guard(stream));
    let service = service_fn(|request| {
        let answering = progress.answering();
        let (peer, shared) = (Arc::clone(&peer), shared.clone());
        async move {
            let answer = answer(request, &peer, &shared).await;
            drop(answering);
            Ok::<_, Infallible>(answer)
        }
    });
    // hyper's time-out for the head begins when the answer before it has gone out: here it bounds how long a connection
    // lies idle. The head itself has `head_is_late`.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.idle_timeout)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let mut drained = pin!(idle_connections_are_nobodys(shared.phase.clone(), shared.limits.idle_drain));
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended { tracing::debug!(%error, "a connection ended early") }
        }
        () = progress.head_is_late(shared.limits.head_timeout) => shared.metrics.refused(Refusal::Head),
        () = drained.as_mut() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(shared.limits.request_timeout, connection).await;
        }
    }
}

async fn idle_connections_are_nobodys(mut phase: watch::Receiver<Phase>, after: Duration) {
    draining(&mut phase).await;
    tokio::time::sleep(after).await;
}

/// Answers one request. The router finds the [`Instant`] at which its head was complete among the extensions.
async fn answer(mut request: Request<Incoming>, peer: &Peer, shared: &Shared) -> Response<Body> {
    let arrived = Instant::now();
    request.extensions_mut().insert(arrived);
    let work = async {
        let turn = peer.request(request.body().size_hint().exact()).await;
        let request = request.map(|body| Body::new(Limited::new(body, shared.limits.body_bytes)));
        let answer = AssertUnwindSafe(shared.router.clone().oneshot(request)).catch_unwind().await;
        drop(turn);
        answer
    };
    let mut response = match tokio::time::timeout_at(arrived + shared.limits.request_timeout, work).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(_)) => {
            shared.metrics.refused(Refusal::Panic);
            tracing::error!("the code that answers has panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => {
            shared.metrics.refused(Refusal::Request);
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    };
    if *shared.phase.borrow() >= Phase::LameDuck {
        // Each connection ends with an answer, so that none ends under a call.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
