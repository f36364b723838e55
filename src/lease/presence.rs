//! The Lease that a replica of the webhook keeps: that it may be answering, and what it answers from.
//!
//! Others wait for what a Lease says before they rely on it, so it is taken before the first call and given up after the
//! last one. A replica whose Lease has expired is waited for no longer, so it must not decide any more: its [`Standing`]
//! says for how long it may. Whoever takes a Lease anew may have missed what others did without waiting for it, so it
//! looks once at what there is, and may decide when its index has caught up with that.
//!
//! ```text
//!   renewal sent                               may decide until          waited for by others until
//!   ──┼─────┼─────┼─────────────────────────────────┼───────────────────────────┼──▶
//!      RENEW_PERIOD                                   MARGIN  PRESENCE_DURATION (from when they saw the renewal)
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::replicas::{COMPONENT, POLICY_HASH, SNAPSHOT, snapshot};

/// How long a replica is waited for after its last sign of life, as others see it: as long as an index may be old, so that
/// replicas answer through an outage of the API server of any length that their index allows. A replica that ends in
/// order, or whose Pod is deleted, holds nobody up.
pub const PRESENCE_DURATION: Duration = Duration::from_secs(120);
/// How long before that it decides no more: for a renewal that takes [`WRITE_TIMEOUT`] to arrive, and for an answer that
/// is on its way.
const MARGIN: Duration = Duration::from_secs(5);
/// How often the Lease is renewed.
const RENEW_PERIOD: Duration = Duration::from_secs(5);
/// Longest wait for one request, so that two which hang fit between two renewals, and one into the time that a process
/// has to stop.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two writes: what changes faster is said together. Somebody who waits for the news notices a
/// quarter of a second less than the API server notices four writes a second.
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// The owner of the fields that are written.
const MANAGER: &str = "weighbridge-webhook";

/// Whose Lease it is.
#[derive(Clone, Debug)]
pub struct PresenceSettings {
    /// The namespace of weighbridge.
    pub namespace: String,
    /// The name of the replica's Pod, and of the Lease.
    pub pod_name: String,
    /// The uid of the Pod, so that the Lease of one that was killed goes with it.
    pub pod_uid: Option<String>,
    /// Tells the time that is written into the Lease, for people.
    pub clock: fn() -> Timestamp,
    /// The kind of the backing stores, in the same namespace.
    pub stores: ApiResource,
}

/// What a replica answers from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Hash of the policies.
    pub policy_hash: String,
    /// The highest resource version among the backing stores, or 0: their write epochs up to there count.
    pub stores: u64,
}

/// For how long, and from what, a replica may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    until: Instant,
    stores: u64,
}

impl Standing {
    /// Whether it may decide now, from an index with these backing stores ([`Serving::stores`]).
    pub fn holds(&self, stores: u64, now: Instant) -> bool {
        now < self.until && stores >= self.stores
    }

    /// When it ends, unless the Lease is renewed.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// One that ends then, of an index that must have seen these stores.
    pub(crate) fn until_then(until: Instant, stores: u64) -> Self {
        Standing { until, stores }
    }
}

/// Keeps the Lease of this replica.
#[derive(Debug)]
pub struct Presence {
    api: Api<Lease>,
    stores: Api<DynamicObject>,
    settings: PresenceSettings,
    standing: watch::Sender<Option<Standing>>,
}

impl Presence {
    /// The keeper, and what follows from the Lease once it was taken.
    pub fn new(client: Client, settings: PresenceSettings) -> (Presence, watch::Receiver<Option<Standing>>) {
        let (standing, receiver) = watch::channel(None);
        let stores = Api::namespaced_with(client.clone(), &settings.namespace, &settings.stores);
        (Presence { api: Api::namespaced(client, &settings.namespace), stores, settings, standing }, receiver)
    }

    /// Keeps the Lease from the first news on, and gives it up when `last_call` has ended.
    pub async fn keep(self, news: watch::Receiver<Option<Serving>>, last_call: impl Future<Output = ()>) {
        tokio::select! {
            () = self.renew(news) => {}
            () = last_call => {}
        }
        if self.standing.borrow().is_some() {
            self.write(&self.given_up()).await;
        }
    }

    async fn renew(&self, mut news: watch::Receiver<Option<Serving>>) {
        loop {
            let serving = news.borrow_and_update().clone();
            let renewed = match &serving {
                None => false,
                Some(serving) => self.stand(serving).await,
            };
            sleep(MIN_PAUSE).await;
            tokio::select! {
                // An error means that the index has ended, and the process with it: the Lease is renewed until then.
                Ok(()) = news.changed() => {}
                () = sleep(if renewed { RENEW_PERIOD } else { WRITE_TIMEOUT }) => {}
            }
        }
    }

    /// Renews the Lease, and says what follows from that. Whoever had none looks at the stores only when others wait for
    /// this replica already: of what changes later they know that it must have been seen here.
    async fn stand(&self, serving: &Serving) -> bool {
        let sent = Instant::now();
        if !self.write(&self.lease(serving)).await {
            return false;
        }
        let before = *self.standing.borrow();
        let stores = match before.filter(|before| before.holds(serving.stores, sent)) {
            Some(before) => before.stores,
            None => match self.newest_store().await {
                Some(newest) => newest,
                None => return false,
            },
        };
        self.standing.send_replace(Some(Standing::until_then(sent + (PRESENCE_DURATION - MARGIN), stores)));
        stores <= serving.stores
    }

    /// The highest resource version among the stores that are there now.
    async fn newest_store(&self) -> Option<u64> {
        let error = match timeout(WRITE_TIMEOUT, self.stores.list_metadata(&ListParams::default())).await {
            Ok(Ok(stores)) => {
                let versions = stores.items.iter().filter_map(ResourceExt::resource_version);
                return Some(versions.filter_map(|version| version.parse().ok()).max().unwrap_or(0));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::warn!(error, "the backing stores cannot be listed, so this replica decides nothing yet");
        None
    }

    async fn write(&self, lease: &Lease) -> bool {
        let name = &self.settings.pod_name;
        let params = PatchParams::apply(MANAGER).force();
        let error = match timeout(WRITE_TIMEOUT, self.api.patch(name, &params, &Patch::Apply(lease))).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::warn!(lease = name, error, "the lease of this replica cannot be written");
        false
    }

    fn lease(&self, serving: &Serving) -> Lease {
        let mut lease = self.given_up();
        lease.metadata.annotations = Some(BTreeMap::from([
            (POLICY_HASH.to_owned(), serving.policy_hash.clone()),
            (SNAPSHOT.to_owned(), snapshot(serving.stores)),
        ]));
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.settings.pod_name.clone());
        lease
    }

    /// The Lease without a holder.
    fn given_up(&self) -> Lease {
        let PresenceSettings { namespace, pod_name, pod_uid, clock, stores: _ } = &self.settings;
        let owner = |uid: &String| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod_name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        };
        Lease {
            metadata: ObjectMeta {
                name: Some(pod_name.clone()),
                namespace: Some(namespace.clone()),
                labels: Some(BTreeMap::from([(COMPONENT.0.to_owned(), COMPONENT.1.to_owned())])),
                owner_references: pod_uid.as_ref().map(|uid| vec![owner(uid)]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                lease_duration_seconds: i32::try_from(PRESENCE_DURATION.as_secs()).ok(),
                renew_time: Some(MicroTime(clock())),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    /// Version of the one backing store that there is.
    const NEWEST: u64 = 7;

    /// What was written, and when.
    type Writes = Arc<Mutex<Vec<(Duration, Value)>>>;

    /// A replica, and an API server that remembers what is written; the first `broken` requests fail.
    fn replica(mut broken: usize) -> (Presence, watch::Receiver<Option<Standing>>, Writes) {
        let (writes, began) = (Writes::default(), Instant::now());
        let log = Arc::clone(&writes);
        let server = service_fn(move |request: axum::http::Request<kube::client::Body>| {
            let log = Arc::clone(&log);
            let fails = broken > 0;
            broken = broken.saturating_sub(1);
            async move {
                if request.uri().path() == "/apis/weighbridge.dev/v1alpha1/namespaces/weighbridge/backingstores" {
                    let store =
                        serde_json::json!({ "metadata": { "name": "s", "resourceVersion": NEWEST.to_string() } });
                    let list = serde_json::json!({
                        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
                        "items": [store],
                    });
                    let body = kube::client::Body::from(serde_json::to_vec(&list)?);
                    return Ok::<_, tower::BoxError>(axum::http::Response::new(body));
                }
                assert_eq!(
                    request.uri().path(),
                    "/apis/coordination.k8s.io/v1/namespaces/weighbridge/leases/webhook-0"
                );
                let body = request.into_body().collect().await?.to_bytes();
                log.lock().unwrap().push((began.elapsed(), serde_json::from_slice(&body)?));
                let answer = axum::http::Response::builder().status(if fails { 500 } else { 200 });
                Ok(answer.body(kube::client::Body::from(body))?)
            }
        });
        let client = Client::new(tower::buffer::Buffer::new(server, 1), "weighbridge");
        let settings = PresenceSettings {
            namespace: "weighbridge".into(),
            pod_name: "webhook-0".into(),
            pod_uid: Some("u-1".into()),
            clock: || Timestamp::UNIX_EPOCH,
            stores: ApiResource {
                group: "weighbridge.dev".into(),
                version: "v1alpha1".into(),
                api_version: "weighbridge.dev/v1alpha1".into(),
                kind: "BackingStore".into(),
                plural: "backingstores".into(),
            },
        };
        let (presence, standing) = Presence::new(client, settings);
        (presence, standing, writes)
    }

    fn serving(hash: &str) -> Option<Serving> {
        Some(Serving { policy_hash: hash.into(), stores: NEWEST })
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_says_what_is_served_and_is_given_up_at_the_end() {
        let (presence, standing, writes) = replica(0);
        let (news, watched) = watch::channel(None);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let keeping = presence.keep(watched, async { ended.await.unwrap_or_default() });
        tokio::join!(keeping, async {
            sleep(Duration::from_secs(60)).await;
            assert!(standing.borrow().is_none(), "nothing is said before there is something to say");
            for hash in ["a", "b"] {
                news.send_replace(serving(hash));
                sleep(Duration::from_secs(1)).await;
                let (_, lease) = writes.lock().unwrap().last().unwrap().clone();
                assert_eq!(lease["metadata"]["annotations"]["weighbridge.dev/policy-hash"], hash);
                assert_eq!(lease["metadata"]["annotations"]["weighbridge.dev/snapshot"], r#"{"stores":"7"}"#);
                assert_eq!(lease["metadata"]["labels"]["weighbridge.dev/component"], "webhook");
                assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], "u-1");
                assert_eq!(lease["spec"]["holderIdentity"], "webhook-0");
            }
            assert!(standing.borrow().is_some_and(|standing| standing.holds(NEWEST, Instant::now())));
            end.send(()).unwrap();
        });
        let (_, last) = writes.lock().unwrap().last().unwrap().clone();
        assert_eq!(last["spec"]["holderIdentity"], Value::Null, "given up");
    }

    #[tokio::test(start_paused = true)]
    async fn two_renewals_may_fail() {
        let (presence, _standing, writes) = replica(2);
        let (_news, watched) = watch::channel(serving("a"));
        presence.keep(watched, sleep(Duration::from_secs(60))).await;
        let times: Vec<Duration> = writes.lock().unwrap().iter().map(|(at, _)| *at).collect();
        let succeeded = &times[2..];
        assert!(succeeded[0] < RENEW_PERIOD);
        let longest = succeeded.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest * 3 < PRESENCE_DURATION - MARGIN, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_renew_stops_deciding_before_others_stop_waiting() {
        let (presence, standing, writes) = replica(0);
        let (news, watched) = watch::channel(serving("a"));
        presence.keep(watched, sleep(Duration::from_secs(1))).await;
        let sent = Instant::now() - Duration::from_secs(1) + writes.lock().unwrap()[0].0;
        let standing = standing.borrow().unwrap();
        assert!(standing.holds(NEWEST, sent + Duration::from_secs(114)));
        assert!(!standing.holds(NEWEST, sent + Duration::from_secs(115)));
        drop(news);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_taken_anew_counts_once_the_index_has_caught_up() {
        let (presence, standing, _) = replica(0);
        let (news, watched) = watch::channel(None);
        let behind = Serving { stores: NEWEST - 1, ..serving("a").unwrap() };
        tokio::join!(presence.keep(watched, sleep(Duration::from_secs(20))), async {
            news.send_replace(Some(behind.clone()));
            sleep(Duration::from_secs(5)).await;
            let stands = |stores| standing.borrow().is_some_and(|standing| standing.holds(stores, Instant::now()));
            assert!(!stands(behind.stores));
            news.send_replace(serving("a"));
            sleep(Duration::from_secs(5)).await;
            assert!(stands(NEWEST));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_held_is_not_given_up() {
        let (presence, _standing, writes) = replica(0);
        let (_news, watched) = watch::channel(None);
        presence.keep(watched, sleep(Duration::from_secs(1))).await;
        assert_eq!(writes.lock().unwrap().len(), 0);
    }
}
