//! The body of a request, as a review that can be worked with, and the time that is left for it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request as HttpRequest;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::answer::{Rejection, Unreadable};
use crate::api::v1alpha1::RequestCode;
use crate::workload::{Kind, NewPod};

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
    groups: Option<Vec<String>>,
}

/// What the name of a node's account begins with, and the group that it is in.
const NODE_ACCOUNT: (&str, &str) = ("system:node:", "system:nodes");

/// A review, as far as it is needed, with its objects in one form or another.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<New = Object, Old = Value> {
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
    pub(super) object: New,
    #[serde(default)]
    pub(super) old_object: Old,
    #[serde(default)]
    dry_run: Option<bool>,
}

/// The object that a review is about.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A new Pod, which nothing is compared with: it comes by the thousand, and is read but once, as a [`NewPod`].
    NewPod(Box<Pod>),
    /// Anything else stays as it came: only what is judged becomes a typed object.
    Json(Value),
}

impl Object {
    /// The object as a Pod; an empty one where it is none.
    pub(super) fn to_pod(&self) -> Pod {
        match self {
            Object::NewPod(pod) => Pod::clone(pod),
            Object::Json(object) => Pod::deserialize(object).unwrap_or_default(),
        }
    }
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

impl<New, Old> Request<New, Old> {
    /// The same about objects in another form.
    fn about<N, O>(self, object: N, old_object: O) -> Request<N, O> {
        let Request {
            uid,
            kind,
            sub_resource,
            name,
            namespace,
            operation,
            user_info,
            object: _,
            old_object: _,
            dry_run,
        } = self;
        Request { uid, kind, sub_resource, name, namespace, operation, user_info, object, old_object, dry_run }
    }

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

    /// The kind of what is reviewed.
    pub(super) fn known_kind(&self) -> Option<Kind> {
        let Gvk { group, version, kind } = &self.kind;
        Kind::of(group, version, kind)
    }

    /// Whether this is the creation of a Pod.
    pub(super) fn is_new_pod(&self) -> bool {
        let of_pod = self.known_kind() == Some(Kind::Pod);
        of_pod && self.operation() == Operation::Create && self.sub_resource().is_empty()
    }

    pub(super) fn user(&self) -> &str {
        self.user_info.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default()
    }

    /// The node that asks, if one does: by name and by group, as the API server itself tells nodes from others.
    pub(super) fn node(&self) -> Option<&str> {
        let (prefix, group) = NODE_ACCOUNT;
        let groups = self.user_info.as_ref().and_then(|user| user.groups.as_deref()).unwrap_or_default();
        self.user().strip_prefix(prefix).filter(|_| groups.iter().any(|it| it == group))
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }
}

impl Request {
    /// The object's name, or what its name will begin with.
    pub(super) fn name(&self) -> &str {
        let asked = self.name.as_deref().filter(|name| !name.is_empty());
        let own = || match &self.object {
            Object::NewPod(pod) => pod.metadata.name.as_deref().or(pod.metadata.generate_name.as_deref()),
            Object::Json(object) => {
                let named = |pointer| object.pointer(pointer).and_then(Value::as_str);
                named("/metadata/name").or_else(|| named("/metadata/generateName"))
            }
        };
        asked.or_else(own).unwrap_or_default()
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
    if let Some(request) = new_pod(&bytes) {
        return Ok(request);
    }
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

/// The kind and version of reviews.
const REVIEW: (&str, &str) = ("AdmissionReview", "admission.k8s.io/v1");

/// A review about a new Pod, read at once instead of into values first. Nothing if it is about anything else, or if
/// anything about it is odd: then [`parse`] says what.
pub(super) fn new_pod(body: &[u8]) -> Option<Request> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Review<'a> {
        kind: &'a str,
        api_version: &'a str,
        request: Request<Option<Box<NewPod>>, Option<IgnoredAny>>,
    }
    // Looked at once, and not string by string.
    let body = std::str::from_utf8(body).ok()?;
    let Review { kind, api_version, mut request } = serde_json::from_str(body).ok()?;
    let alone = request.is_new_pod() && request.old_object.is_none();
    if !alone || (kind, api_version) != REVIEW || request.uid.is_empty() {
        return None;
    }
    let pod = Pod::from(*request.object.take()?);
    Some(request.about(Object::NewPod(Box::new(pod)), Value::Null))
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
    if text("/kind") != Some(REVIEW.0) {
        return Err(refuse("the body is not an AdmissionReview"));
    }
    if text("/apiVersion") != Some(REVIEW.1) {
        return Err(refuse("the review is of another version than admission.k8s.io/v1"));
    }
    let request = review.get_mut("request").map(Value::take).unwrap_or_default();
    let mut request: Request<Value> = serde_json::from_value(request).map_err(|error| {
        tracing::warn!(%error, uid, "a review cannot be parsed");
        refuse("the review's request cannot be parsed")
    })?;
    if request.uid.is_empty() {
        return Err(refuse("the review has no uid"));
    }
    let (object, old_object) = (request.object.take(), request.old_object.take());
    Ok(request.about(Object::Json(object), old_object))
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
