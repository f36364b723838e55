//! AdmissionReviews in, answers out.
//!
//! Receives the body of a request and the index; promises that every review whose uid can be read is answered with that
//! uid and before the API server stops waiting, that what cannot be understood is refused, and that a decision is that
//! of [`crate::decision`] and nobody else's; never asks the network about a request, and never says in a denial what
//! went wrong inside: that goes to the log, under the same uid.
//!
//! ```text
//! body ──parse──▶ Request ──triage──▶ Extract ──index (≤ 500 ms)──▶ decide ──▶ answer: a gate, or a verdict
//!                            └─ nothing that could change a model: allowed        └──▶ records that are missing
//! ```

mod answer;
mod judge;
mod metrics;
mod mutate;
mod probe;
mod record_queue;
mod record_worker;
mod review;
#[cfg(test)]
mod tests;
mod triage;

pub use metrics::{AdmissionMetrics, follow_policies};
pub use record_queue::{RecordQueue, RecordRequests, WantedRecord};
pub use record_worker::create_records;
pub use review::REVIEW_BYTES;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request as HttpRequest;
use axum::response::Response;
use axum::routing::post;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::decision::{Decision, demand_end, demand_gate, demand_gate_of_old};
use crate::index::Snapshot;
use crate::workload::{Kind, revived};
use answer::{Answer, Rejection};
use judge::{Judge, Judged};
use metrics::Measured;
use review::{Deadline, Request};
use triage::{Pass, Triage, passes_unseen, triage};

/// What the webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of weighbridge itself, which is exempt.
    pub namespace: String,
    /// The name of this replica, which probes are answered with.
    pub replica: String,
}

/// The webhook: judges what it is asked about, from the index.
#[derive(Clone, Debug)]
pub struct Webhook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    judge: Judge,
    records: Arc<dyn RecordRequests>,
    metrics: AdmissionMetrics,
}

impl Webhook {
    /// A webhook that decides from `snapshots`, at the time that `clock` tells.
    pub fn new(
        settings: Settings,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        clock: fn() -> Timestamp,
        records: Arc<dyn RecordRequests>,
        metrics: AdmissionMetrics,
    ) -> Self {
        Webhook(Arc::new(Inner { settings, judge: Judge::new(snapshots, clock), records, metrics }))
    }

    /// `POST /validate` for reviews, `POST /mutate` for those of Pods that may have to wait, `POST /probe` for the
    /// operator's question whether reviews get here.
    pub fn router(self) -> Router {
        Router::new()
            .route("/validate", post(validate))
            .route("/mutate", post(mutate::mutate))
            .route("/probe", post(probe::probe))
            .with_state(self)
    }

    /// Judges what a review is about, if it is about anything that could change which models run.
    async fn look(&self, request: &Request, deadline: Deadline) -> Result<Looked, Rejection> {
        let inner = &*self.0;
        if let Some(why) = passes_unseen(request, &inner.settings.namespace) {
            return Ok(Looked::Passed(why));
        }
        let kinds = inner.judge.kinds_with(request, deadline.at).await?;
        let extract = match triage(request, &kinds)? {
            Triage::Judge(extract) => extract,
            Triage::Pass(why) => return Ok(Looked::Passed(why)),
        };
        match timeout_at(deadline.at, inner.judge.judge(&extract, deadline.at)).await {
            Err(_) => Err(Rejection::deadline_exceeded()),
            Ok(judged) => judged.map(Looked::Judged),
        }
    }

    /// Answers one review.
    async fn answer(&self, request: &Request, deadline: Deadline) -> Answer {
        let inner = &*self.0;
        match self.look(request, deadline).await {
            Err(rejection) => Answer::rejected(rejection),
            Ok(Looked::Passed(why)) => Answer::passed(why),
            Ok(Looked::Judged(Judged { decision, wanted })) => {
                if !request.dry_run() {
                    // The queue only remembers: records are made later, by a task of their own.
                    wanted.into_iter().for_each(|wanted| inner.records.request(wanted));
                }
                let decision = gated(request, decision);
                inner.metrics.violated(&decision);
                Answer::decided(decision)
            }
        }
    }
}

/// What a look at a review gives.
#[derive(Debug)]
enum Looked {
    /// Nothing was judged.
    Passed(Pass),
    /// It was judged.
    Judged(Judged),
}

/// The decision, refused where a Pod must be held and is not.
fn gated(request: &Request, decision: Decision) -> Decision {
    if request.known_kind() != Some(Kind::Pod) {
        return decision;
    }
    let gates = mutate::gates(&request.object);
    if request.is_new_pod() {
        return demand_gate(decision, gates);
    }
    // What cannot be parsed was not judged.
    let old = Pod::deserialize(&request.old_object).unwrap_or_default();
    demand_end(demand_gate_of_old(decision, gates), &revived(&old, &request.object.to_pod()))
}

async fn validate(State(webhook): State<Webhook>, http: HttpRequest<Body>) -> Response {
    let metrics = &webhook.0.metrics;
    let mut measured = Measured::start(metrics);
    let deadline = Deadline::of(&http, Instant::now());
    let request = match review::read(http, deadline).await {
        Ok(request) => request,
        Err(unreadable) => {
            measured.unreadable();
            return answer::unreadable(unreadable);
        }
    };
    let answer = webhook.answer(&request, deadline).await;
    measured.answered(&request, &answer);
    answer::log(&request, &answer);
    answer.respond(&request)
}
