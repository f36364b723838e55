//! `POST /probe`: says which replica a request of the operator has reached.
//!
//! The operator pretends (dry run) to create a ConfigMap of a fixed name in our namespace; an entry of its own in the
//! webhook configuration sends that here. It is refused with the name of this replica and the operator's nonce, and the
//! connection is closed, so that the next probe may reach another replica.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request as HttpRequest, header};
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;

use super::review::{Deadline, Object, Request};
use super::{Webhook, answer, review};
use crate::api::probe::{PROBE_NONCE, PROBE_OBJECT};

/// Longest nonce that is repeated: 128 bits in hex have 32 characters.
const MAX_NONCE_CHARS: usize = 64;

/// Answers a probe. What is not one is allowed: ConfigMaps are not our business.
pub(super) async fn probe(State(webhook): State<Webhook>, http: HttpRequest<Body>) -> Response {
    let deadline = Deadline::of(&http, Instant::now());
    let mut response = match review::read(http, deadline).await {
        Err(unreadable) => answer::unreadable(unreadable),
        Ok(request) => {
            let response = match nonce(&request) {
                None => answer::allowed(&request.uid),
                Some(nonce) => {
                    let text = format!("{PROBE_OBJECT} {} {nonce}", webhook.0.settings.replica);
                    answer::denied(&request.uid, text, Vec::new())
                }
            };
            Json(response.into_review()).into_response()
        }
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The nonce of a probe; it goes into a message, so it is only taken where it looks like one.
fn nonce(request: &Request) -> Option<&str> {
    let is_probe = request.kind.kind == "ConfigMap" && request.name() == PROBE_OBJECT;
    let Object::Json(object) = &request.object else { return None };
    let nonce = object["metadata"]["annotations"][PROBE_NONCE].as_str().filter(|_| is_probe)?;
    let plain = nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && !nonce.is_empty() && nonce.len() <= MAX_NONCE_CHARS).then_some(nonce)
}
