//! The body of a request, as a review that can be worked with, and the time that is left for it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request as HttpRequest;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::answer::{Rejection, Unreadable};
use crate::api::v1alpha1::RequestCode;

/// Longest review: an API server takes objects of up to 3 MiB (`MaxRequestBodyBytes`), a review carries the new and the
/// old one, and 1 MiB is for who asks, options and JSON's own overhead.
pub const REVIEW_BYTES: usize = (3 + 3 + 1) * 1024 * 1024;

/// How long an API server waits where it does not say so: the default of `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest `timeoutSeconds` that the API allows.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// What is left for the answer's way back, so that ours comes before the API server's own words about a time-out. A
/// round trip in a cluster takes a few milliseconds, a busy node a few hundred.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Group, version and kind of what is reviewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Gvk {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// Who asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: Option<String>,
}

/// A review, as far as it is needed. The objects stay as they came: only what is judged becomes a typed object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) kind: Gvk,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    #[serde(default)]
    user_info: Option<UserInfo>,
    #[serde(default)]
    pub(super) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
    #[serde(default)]
    dry_run: Option<bool>,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    Other,
}

impl Operation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Other => "other",
        }
    }
}

impl Request {
    pub(super) fn operation(&self) -> Operation {
        match self.operation.as_str() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            _ => Operation::Other,
        }
    }

    pub(super) fn sub_resource(&self) -> &str {
        self.sub_resource.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The object's name, or what its name will begin with.
    pub(super) fn name(&self) -> &str {
        let named = |pointer| self.object.pointer(pointer).and_then(Value::as_str);
        let asked = self.name.as_deref().filter(|name| !name.is_empty());
        asked.or_else(|| named("/metadata/name")).or_else(|| named("/metadata/generateName")).unwrap_or_default()
    }

    pub(super) fn user(&self) -> &str {
        self.user_info.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default()
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }
}

/// When the answer has to be on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
}

impl Deadline {
    /// The deadline of a request: the API server says in the URL how long it waits. The listener leaves the time at
    /// which the head came among the extensions; without it, that was just now.
    pub(super) fn of(http: &HttpRequest<Body>, now: Instant) -> Self {
        let arrived = http.extensions().get::<Instant>().copied().unwrap_or(now);
        let pairs = http.uri().query().unwrap_or_default().split('&');
        let asked = pairs.filter_map(|pair| pair.strip_prefix("timeout=")).find_map(go_duration);
        let timeout = asked.unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT);
        // Of a time-out that is short, half is for us.
        Deadline { at: arrived + timeout.saturating_sub(ANSWER_MARGIN).max(timeout / 2) }
    }
}

/// A duration as Go prints it, such as `10s`, `1m0s` or `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |letters| digits + letters);
        total = total.checked_add(
            match &rest[digits..unit] {
                "ms" => Duration::from_millis(1),
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(3600),
                _ => return None,
            }
            .checked_mul(number)?,
        )?;
        rest = &rest[unit..];
    }
    (total > Duration::ZERO).then_some(total)
}

/// Reads a review. What has no uid that could be answered is [`Unreadable::Anonymous`].
pub(super) async fn read(http: HttpRequest<Body>, deadline: Deadline) -> Result<Request, Unreadable> {
    let bytes = match timeout_at(deadline.at, body(http.into_body())).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(Unreadable::Anonymous(Rejection::deadline_exceeded())),
    };
    let review: Value = serde_json::from_slice(&bytes).map_err(|error| {
        tracing::warn!(%error, bytes = bytes.len(), "a request is not JSON");
        Unreadable::Anonymous(malformed("the body is not JSON"))
    })?;
    drop(bytes);
    parse(review)
}

async fn body(body: Body) -> Result<Bytes, Unreadable> {
    let too_large = || {
        let text = format!("the review is longer than {REVIEW_BYTES} bytes; make the object smaller");
        Unreadable::Anonymous(Rejection::new(RequestCode::RequestTooLarge, text))
    };
    if body.size_hint().lower() > REVIEW_BYTES as u64 {
        return Err(too_large());
    }
    match Limited::new(body, REVIEW_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_length_limit(&*error) => Err(too_large()),
        Err(error) => {
            tracing::warn!(%error, "the body of a request broke off");
            Err(Unreadable::Anonymous(malformed("the body broke off")))
        }
    }
}

/// Whether an error says, at any depth, that the body is too long: the listener has a limit of its own.
fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

fn parse(mut review: Value) -> Result<Request, Unreadable> {
    let text = |pointer| review.pointer(pointer).and_then(Value::as_str);
    let uid = text("/request/uid").filter(|uid| !uid.is_empty()).map(str::to_owned);
    let refuse = |what: &str| {
        let rejection = malformed(what);
        match &uid {
            Some(uid) => Unreadable::Named { uid: uid.clone(), rejection },
            None => Unreadable::Anonymous(rejection),
        }
    };
    if text("/kind") != Some("AdmissionReview") {
        return Err(refuse("the body is not an AdmissionReview"));
    }
    if text("/apiVersion") != Some("admission.k8s.io/v1") {
        return Err(refuse("the review is of another version than admission.k8s.io/v1"));
    }
    let request = review.get_mut("request").map(Value::take).unwrap_or_default();
    let request: Request = serde_json::from_value(request).map_err(|error| {
        tracing::warn!(%error, uid, "a review cannot be parsed");
        refuse("the review's request cannot be parsed")
    })?;
    if request.uid.is_empty() { Err(refuse("the review has no uid")) } else { Ok(request) }
}

fn malformed(what: &str) -> Rejection {
    Rejection::new(RequestCode::MalformedRequest, format!("{what}; the log of the webhook says more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_prints_them() {
        for (text, millis) in [("10s", 10_000), ("1m0s", 60_000), ("500ms", 500), ("1m30s", 90_000)] {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "10", "-1s", "1.5s", "1d", "0s", "99999999999s", "4294967295h9", "10s "] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_answer_is_due_before_the_api_server_stops_waiting() {
        let now = Instant::now();
        let left = |uri: &str| {
            let http = HttpRequest::post(uri).body(Body::empty()).unwrap();
            (Deadline::of(&http, now).at - now).as_millis()
        };
        assert_eq!(left("/validate?timeout=5s"), 4500);
        assert_eq!(left("/validate"), 9500);
        assert_eq!(left("/validate?timeout=later"), 9500);
        assert_eq!(left("/validate?x=y&timeout=10m0s"), 29_500);
        assert_eq!(left("/validate?timeout=600ms"), 300);
    }
}
