//! Backing stores: who may be writing to what lies under a model, and how often that may have happened.
//!
//! Receives snapshots; promises that a store's write epoch has gone up, and its writers are marked, before a
//! [`View`] of that snapshot says anything about it, and that what could not be written is said to be unsettled; says
//! when a writer that is held may start, and never lets it go itself.
//!
//! ```text
//! Pods, those deleted just now, claims, volumes ──gather──▶ Store ──plan──▶ status ──apply──▶ BackingStore
//!                                                                     ├──────────▶ View ──▶ records     │ seen by
//!                                            may it start? ◀──gate── Pods, Leases of the replicas ◀─────┘ replicas
//! ```
//!
//! # What nobody watched
//! A Pod that comes and goes while no operator follows Pods leaves no trace. Each operator replica follows Pods also while
//! another one leads, and the leader renews the Lease [`WATCH_LEASE`] as long as every epoch is up to date. A leader that
//! had followed Pods since before the last renewal has missed nothing. Any other one, and one whose watch had to be started
//! anew by a list, advances the epoch of each store that facts rest on: those models are read again.

mod apply;
mod ask;
pub mod gate;
pub mod gather;
pub mod plan;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

pub use ask::Gate;
pub use plan::{StoreView, View};

use crate::index::Snapshot;
use crate::operator::call::CallFailed;
use apply::Vanished;
use gather::Subject;
use plan::Action;

/// The Lease whose renewal says until when writers were watched without a gap.
pub const WATCH_LEASE: &str = "weighbridge-writers";
/// How often it is renewed: about as often as the Lease of the election. During a rollout the new operator watches
/// for `minReadySeconds` of the chart (10) before the old one ends; one renewal must fall into that time, less the skew.
const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(3);
/// By how much the clocks of two nodes may differ: far more than with any time service.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(4);
/// How often it is asked whether vanished writers have been cut off from their stores.
const LOOK_FOR_CUTS_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Keeps the backing stores. See the module's documentation.
pub struct Stores {
    client: Client,
    namespace: String,
    /// Since when Pods were followed, as of the last round that took account of it.
    watched_since: Option<Timestamp>,
    /// Stores whose epoch must be advanced because something may have been missed.
    owed: BTreeSet<String>,
    renewed_at: Option<Timestamp>,
    lost_nodes: BTreeSet<String>,
    /// Stores that are attached no longer to the nodes of writers that vanished.
    detached: BTreeSet<Vanished>,
    looked_for_cuts_at: Option<Timestamp>,
}

impl Stores {
    /// Keeps those of one installation, whose objects are in its namespace.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Stores {
            client,
            namespace: namespace.into(),
            watched_since: None,
            owed: BTreeSet::new(),
            renewed_at: None,
            lost_nodes: BTreeSet::new(),
            detached: BTreeSet::new(),
            looked_for_cuts_at: None,
        }
    }

    /// One round. The view speaks of the very snapshot that it was given; the other outcome is whether all could be
    /// written. A store that could not is unsettled in the view, and does not hold up the others.
    pub async fn round(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(View, Result<(), CallFailed>), CallFailed> {
        let mut subjects = gather::stores(snapshot);
        self.settle_what_was_missed(snapshot.objects.pods_since, &subjects).await?;
        let mut outcome = self.look_for_cuts(&subjects, now).await;
        let around = gather::surroundings(snapshot, self.lost_nodes.clone());
        let mut view = View::default();
        let mut settled = true;
        for (identity, subject) in &mut subjects {
            subject.store.missed = self.owed.contains(identity);
            let detached = self.detached.iter().filter(|cut| cut.store == *identity);
            subject.store.detached = detached.map(|cut| cut.node.clone()).collect();
            let action = plan::plan(&subject.store, &around, now);
            let status = match &action {
                Action::Write(status) => status.clone(),
                Action::Keep | Action::Remove => subject.store.existing.clone().unwrap_or_default(),
            };
            let applied =
                apply::apply(&self.client, &self.namespace, identity, subject.object.as_deref(), &action).await;
            let done = matches!(applied, Ok(true));
            settled &= done;
            outcome = outcome.and(applied.map(drop));
            view.insert(identity, &status, !done);
            if done {
                self.owed.remove(identity);
            }
        }
        self.owed.retain(|identity| subjects.contains_key(identity));
        // The Lease vouches for what was written down: a writer that is known to this process alone would be forgotten.
        if settled {
            outcome = outcome.and(self.renew(now).await);
        }
        Ok((view, outcome))
    }

    /// When the next round is wanted although nothing has changed: the watch of the writers is to be vouched for.
    pub fn next_round(&self, now: Timestamp) -> Option<Timestamp> {
        self.renewed_at.unwrap_or(now).checked_add(RENEW_EVERY).ok()
    }

    /// Notes which stores must be advanced, once for each beginning of the watch.
    async fn settle_what_was_missed(
        &mut self,
        since: Option<Timestamp>,
        subjects: &BTreeMap<String, Subject>,
    ) -> Result<(), CallFailed> {
        if since.is_some() && since == self.watched_since {
            return Ok(());
        }
        let lease =
            self.leases().get_opt(WATCH_LEASE).await.map_err(CallFailed::when("read the Lease of the watch"))?;
        let until = lease.and_then(|lease| lease.spec?.renew_time).map(|time| time.0);
        if missed(since, until) {
            let resting = subjects.iter().filter(|(_, subject)| subject.has_facts);
            self.owed.extend(resting.map(|(identity, _)| identity.clone()));
        }
        self.watched_since = since;
        Ok(())
    }

    /// Asks whether the nodes of vanished writers are gone, or their stores detached from them.
    async fn look_for_cuts(&mut self, subjects: &BTreeMap<String, Subject>, now: Timestamp) -> Result<(), CallFailed> {
        let due = self.looked_for_cuts_at.is_none_or(|last| now.duration_since(last) >= LOOK_FOR_CUTS_EVERY);
        let vanished: Vec<Vanished> = subjects.iter().flat_map(vanished_from).collect();
        self.lost_nodes.retain(|node| vanished.iter().any(|it| it.node == *node));
        self.detached.retain(|cut| vanished.contains(cut));
        if due && !vanished.is_empty() {
            let nodes = vanished.iter().map(|it| it.node.clone()).collect();
            self.lost_nodes = apply::lost_nodes(&self.client, nodes).await?;
            self.detached = apply::detached(&self.client, vanished).await?;
            self.looked_for_cuts_at = Some(now);
        }
        Ok(())
    }

    /// Says that everything up to now was watched, and that no epoch is owed.
    async fn renew(&mut self, now: Timestamp) -> Result<(), CallFailed> {
        let due = self.renewed_at.is_none_or(|last| now.duration_since(last) >= RENEW_EVERY);
        if due && self.owed.is_empty() && self.watched_since.is_some() {
            apply::renew(&self.leases(), now).await?;
            self.renewed_at = Some(now);
        }
        Ok(())
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// The writers that vanished from a store, as far as it is known from which node.
fn vanished_from((identity, subject): (&String, &Subject)) -> Vec<Vanished> {
    let writers = subject.store.existing.iter().flat_map(|status| &status.writers);
    let nodes = writers.filter(|writer| writer.vanished).filter_map(|writer| writer.node.clone());
    nodes.map(|node| Vanished { store: identity.clone(), node, volumes: subject.volumes.clone() }).collect()
}

/// Whether a Pod may have come and gone between the time until which writers were watched and that since when we do.
fn missed(since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
    match (since, until) {
        (Some(since), Some(until)) => until.duration_since(since) < CLOCK_SKEW,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_began_before_the_last_renewal_has_missed_nothing() {
        let at = |second| Timestamp::from_second(second).ok();
        assert!(!missed(at(10), at(14)));
        assert!(missed(at(10), at(13)), "clocks may differ");
        assert!(missed(at(10), at(5)));
        assert!(missed(at(10), None));
        assert!(missed(None, at(10)));
    }

    #[tokio::test]
    async fn nothing_is_vouched_for_before_it_is_written_down() {
        use crate::api::v1alpha1::{BackingStore, BackingStoreSpec};
        use axum::http::{Method, Request, Response};
        use kube::client::Body;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::sync::{Arc, Mutex};

        let broken = Arc::new(AtomicUsize::new(1));
        let renewals = Arc::new(Mutex::new(0));
        let (fails, count) = (Arc::clone(&broken), Arc::clone(&renewals));
        let server = tower::service_fn(move |request: Request<Body>| {
            let code = match (request.method(), request.uri().path().contains("/leases/")) {
                (&Method::GET, true) => 404,
                (_, true) => {
                    *count.lock().unwrap() += 1;
                    200
                }
                _ if fails.swap(0, Ordering::Relaxed) > 0 => 403,
                _ => 200,
            };
            let failure = serde_json::json!({ "status": "Failure", "code": code, "message": "", "reason": if code == 404 { "NotFound" } else { "Forbidden" } });
            let lease = serde_json::json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {} });
            let gone = serde_json::json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" });
            let answer = match (code, request.method() == Method::PATCH) {
                (200, true) => lease,
                (200, false) => gone,
                _ => failure,
            };
            let answer = Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap()));
            async { Ok::<_, tower::BoxError>(answer?) }
        });
        let client = Client::new(tower::buffer::Buffer::new(server, 1), "weighbridge");

        // A store that nothing leads to any more: its object is to be removed.
        let object = BackingStore::new("s", BackingStoreSpec { identity: "claim:gone".into() });
        let mut snapshot = Snapshot::default();
        snapshot.objects.stores = Arc::new([("s".to_owned(), Arc::new(object))].into());
        snapshot.objects.pods_since = Timestamp::from_second(10).ok();
        let mut stores = Stores::new(client, "weighbridge");
        let now = Timestamp::from_second(100).unwrap();
        let (view, outcome) = stores.round(&snapshot, now).await.unwrap();
        assert!(outcome.is_err() && view.of(&"claim:gone".parse().unwrap()).unsettled);
        assert_eq!(*renewals.lock().unwrap(), 0);
        let (_, outcome) = stores.round(&snapshot, now).await.unwrap();
        outcome.unwrap();
        assert_eq!(*renewals.lock().unwrap(), 1);
    }
}
