//! AdmissionReviews in, answers out.
//!
//! Receives the body of a request and the index; promises that every review whose uid can be read is answered with that
//! uid and before the API server stops waiting, that what cannot be understood is refused, and that a decision is that
//! of [`crate::decision`] and nobody else's; never asks the network about a request, and never says in a denial what
//! went wrong inside: that goes to the log, under the same uid.
//!
//! ```text
//! body ──parse──▶ Request ──triage──▶ Extract ──index (≤ 500 ms)──▶ decide ──▶ answer
//!                            └─ nothing that could change a model: allowed        └──▶ records that are missing
//! ```

mod answer;
mod judge;
mod metrics;
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
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::index::Snapshot;
use answer::{Answer, Rejection};
use judge::Judge;
use metrics::Measured;
use review::{Deadline, Request};
use triage::{Triage, triage};

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

    /// `POST /validate` for reviews, `POST /probe` for the operator's question whether reviews get here.
    pub fn router(self) -> Router {
        Router::new().route("/validate", post(validate)).route("/probe", post(probe::probe)).with_state(self)
    }

    /// Answers one review.
    async fn answer(&self, request: &Request, deadline: Deadline) -> Answer {
        let inner = &*self.0;
        let kinds = inner.judge.kinds_with(request, deadline.at).await;
        let extract = match triage(request, &inner.settings.namespace, &kinds) {
            Ok(Triage::Judge(extract)) => extract,
            Ok(Triage::Pass(why)) => return Answer::passed(why),
            Err(rejection) => return Answer::rejected(rejection),
        };
        match timeout_at(deadline.at, inner.judge.judge(&extract, deadline.at)).await {
            Err(_) => Answer::rejected(Rejection::deadline_exceeded()),
            Ok(Err(rejection)) => Answer::rejected(rejection),
            Ok(Ok(judged)) => {
                if !request.dry_run() {
                    // The queue only remembers: records are made later, by a task of their own.
                    judged.wanted.into_iter().for_each(|wanted| inner.records.request(wanted));
                }
                inner.metrics.violated(&judged.decision);
                Answer::decided(judged.decision)
            }
        }
    }
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
