//! `/livez`, `/readyz` and `/metrics`, as a router for the plain HTTP listener that kubelet and Prometheus ask.
//!
//! Live is a process that answers; ready is one whose every [`Check`] passes. A check that fails is named in the answer,
//! with its own words.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};

/// One condition of being ready.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    probe: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Check {
    /// A check that says, in half a sentence, what it waits for. Asked at each request: it must not block.
    pub fn new(name: &'static str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Check { name, probe: Arc::new(probe) }
    }

    /// Whether it passes, or what it waits for.
    pub fn ask(&self) -> Result<(), String> {
        (self.probe)()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// The three paths.
pub fn router(registry: Registry, checks: Vec<Check>) -> Router {
    let checks: Arc<[Check]> = checks.into();
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(checks))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(State(checks): State<Arc<[Check]>>) -> (StatusCode, String) {
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for check in checks.iter() {
        match check.ask() {
            Ok(()) => text.push_str(&format!("[+]{} ok\n", check.name)),
            Err(why) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                text.push_str(&format!("[-]{}: {why}\n", check.name));
            }
        }
    }
    (status, text)
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::telemetry::new_registry;

    async fn ask(checks: Vec<Check>, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(new_registry(), checks).oneshot(request).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_is_who_passes_every_check() {
        let good = Check::new("socket", || Ok(()));
        let bad = Check::new("index", || Err("namespaces have not been listed yet".into()));
        assert_eq!(ask(vec![good.clone()], "/readyz").await, (StatusCode::OK, "[+]socket ok\n".into()));
        let (status, text) = ask(vec![good, bad], "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "[+]socket ok\n[-]index: namespaces have not been listed yet\n");
    }

    #[tokio::test]
    async fn metrics_are_text() {
        let (status, text) = ask(Vec::new(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("weighbridge_build_info{version="), "{text}");
        assert_eq!(ask(Vec::new(), "/livez").await.0, StatusCode::OK);
    }
}
