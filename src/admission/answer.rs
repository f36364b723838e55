//! What a review is answered with.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kube::core::Status;
use kube::core::admission::AdmissionResponse;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};

use super::review::Request;
use super::triage::Pass;
use crate::api::v1alpha1::RequestCode;
use crate::decision::{Action, Decision, Violation, audit_annotations, deny_text, warnings};

/// The HTTP code of every denial: what the API server passes on to the client.
const FORBIDDEN: u16 = 403;

/// Why a request is refused before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    code: RequestCode,
    text: String,
}

impl Rejection {
    pub(super) fn new(code: RequestCode, text: String) -> Self {
        Rejection { code, text }
    }

    pub(super) fn deadline_exceeded() -> Self {
        Rejection::new(RequestCode::DeadlineExceeded, "the answer would have come too late — try again".to_owned())
    }

    /// The sentence, with its code.
    fn message(&self) -> String {
        format!("weighbridge: {} [{}]", self.text, self.code)
    }

    fn http_code(&self) -> StatusCode {
        match self.code {
            RequestCode::MalformedRequest => StatusCode::BAD_REQUEST,
            RequestCode::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RequestCode::UnsupportedKind | RequestCode::NotObservedYet => StatusCode::FORBIDDEN,
            RequestCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// A body that is not a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not even its uid can be read: the answer is an HTTP error.
    Anonymous(Rejection),
    /// The uid can be read: the answer is a denial.
    Named { uid: String, rejection: Rejection },
}

/// The answer to a review.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing was judged.
    Passed(Pass),
    /// It was judged.
    Decided(Decision),
    /// It was refused before anything was decided.
    Rejected(Rejection),
}

impl Answer {
    pub(super) fn passed(why: Pass) -> Self {
        Answer::Passed(why)
    }

    pub(super) fn decided(decision: Decision) -> Self {
        Answer::Decided(decision)
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        Answer::Rejected(rejection)
    }

    /// One word for it, as a metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Answer::Passed(_) => "pass",
            Answer::Rejected(_) => "reject",
            Answer::Decided(decision) => match decision.violations.first().map(|violation| violation.action) {
                None => "allow",
                Some(Action::Audit) => "audit",
                Some(Action::Warn) => "warn",
                Some(Action::Hold) => "hold",
                Some(Action::Deny) => "deny",
            },
        }
    }

    /// The answer on its way.
    pub(super) fn respond(self, request: &Request) -> Response {
        let response = match self {
            Answer::Passed(_) => allowed(&request.uid),
            Answer::Rejected(rejection) => rejected(&request.uid, &rejection),
            Answer::Decided(decision) => decided(request, &decision),
        };
        Json(response.into_review()).into_response()
    }
}

/// The answer to what is not a review.
pub(super) fn unreadable(unreadable: Unreadable) -> Response {
    match unreadable {
        Unreadable::Named { uid, rejection } => Json(rejected(&uid, &rejection).into_review()).into_response(),
        Unreadable::Anonymous(rejection) => {
            // The client of an API server reads a Status out of an answer that is an error, and shows its message.
            let code = rejection.http_code();
            let status = Status { code: code.as_u16(), ..failure(rejection.message(), rejection.code.as_str()) };
            (code, Json(with_kind(&status))).into_response()
        }
    }
}

fn with_kind(status: &Status) -> serde_json::Value {
    let mut value = serde_json::json!(status);
    value["kind"] = "Status".into();
    value["apiVersion"] = "v1".into();
    value
}

/// A review's answer that allows.
pub(super) fn allowed(uid: &str) -> AdmissionResponse {
    let mut response = AdmissionResponse::invalid("");
    response.uid = uid.to_owned();
    response.allowed = true;
    response.result = Status::default();
    response
}

/// A review's answer that allows, and changes the object.
pub(super) fn patched(uid: &str, patch: json_patch::Patch) -> AdmissionResponse {
    if patch.is_empty() {
        return allowed(uid);
    }
    allowed(uid).with_patch(patch).unwrap_or_else(|error| {
        tracing::error!(%error, uid, "a patch cannot be written");
        denied(uid, "weighbridge: the Pod cannot be gated; the log of the webhook says more".to_owned(), Vec::new())
    })
}

/// A review's answer that refuses.
pub(super) fn denied(uid: &str, message: String, causes: Vec<StatusCause>) -> AdmissionResponse {
    let mut response = AdmissionResponse::invalid("");
    response.uid = uid.to_owned();
    response.result = failure(message, "Forbidden");
    response.result.details = Some(StatusDetails {
        causes,
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        retry_after_seconds: 0,
    });
    response
}

fn failure(message: String, reason: &str) -> Status {
    Status {
        status: Some(StatusSummary::Failure),
        code: FORBIDDEN,
        message,
        reason: reason.to_owned(),
        ..Status::default()
    }
}

/// A review's answer that refuses before anything was decided.
pub(super) fn rejected(uid: &str, rejection: &Rejection) -> AdmissionResponse {
    let cause =
        StatusCause { reason: rejection.code.to_string(), message: rejection.text.clone(), field: String::new() };
    denied(uid, rejection.message(), vec![cause])
}

fn decided(request: &Request, decision: &Decision) -> AdmissionResponse {
    let mut response = if decision.allowed() {
        allowed(&request.uid)
    } else {
        denied(&request.uid, deny_text(decision), causes(decision))
    };
    response.warnings = Some(warnings(decision)).filter(|warnings| !warnings.is_empty());
    response.audit_annotations = audit_annotations(decision).into_iter().collect();
    response
}

/// What is wrong, for programs.
fn causes(decision: &Decision) -> Vec<StatusCause> {
    let denying = decision.violations.iter().filter(|violation| violation.action == Action::Deny);
    let cause = |violation: &Violation| StatusCause {
        reason: violation.code.to_string(),
        message: violation.finding.what.clone(),
        field: violation.at.to_string(),
    };
    denying.map(cause).collect()
}

/// Writes down what was answered. Most answers leave nothing to say, and then it costs nothing.
pub(super) fn log(request: &Request, answer: &Answer) {
    let remarkable = match answer {
        Answer::Passed(_) => false,
        Answer::Rejected(_) => true,
        Answer::Decided(decision) => !decision.violations.is_empty(),
    };
    if !remarkable && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let about = tracing::info_span!(
        "review",
        uid = request.uid,
        kind = request.kind.kind,
        namespace = request.namespace(),
        name = request.name(),
        operation = request.operation().as_str(),
        dry_run = request.dry_run(),
    );
    let _about = about.enter();
    match answer {
        Answer::Passed(why) => tracing::debug!(?why, "passed"),
        Answer::Rejected(rejection) => {
            tracing::warn!(user = request.user(), code = %rejection.code, text = rejection.text, "rejected");
        }
        Answer::Decided(decision) => {
            for violation in &decision.violations {
                tracing::info!(
                    user = request.user(),
                    policy = %violation.policy,
                    code = %violation.code,
                    action = ?violation.action,
                    at = %violation.at,
                    what = violation.finding.what,
                    "violation"
                );
            }
            tracing::debug!(answer = answer.label(), models = decision.models.len(), "decided");
        }
    }
}
