//! The Lease that a replica of the webhook keeps: that it may be answering, and what it answers from.
//!
//! Others wait for what a Lease says before they rely on it, so it is taken before the first call and given up after the
//! last one. It says nothing to this replica itself: while the API server is away a Lease expires, and the replica goes
//! on answering from its index for as long as that is young enough to decide upon.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::LEASE_DURATION;
use super::replicas::{COMPONENT, POLICY_HASH};

/// How often the Lease is renewed: three times within its duration, so that two renewals may fail.
const RENEW_PERIOD: Duration = Duration::from_secs(LEASE_DURATION.as_secs() / 3);
/// Longest wait for one request, so that two which hang fit between two renewals, and one into the time that a process
/// has to stop.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two writes: what changes faster is said together. Somebody who waits for the news notices a
/// quarter of a second less than the API server notices four writes a second.
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// Annotation with what the replica has seen besides policies.
const SNAPSHOT: &str = "weighbridge.dev/snapshot";
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
}

/// What a replica answers from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Hash of the policies.
    pub policy_hash: String,
    /// The highest resource version among the backing stores, or 0: their write epochs up to there count.
    pub stores: u64,
}

/// Keeps the Lease of this replica.
#[derive(Debug)]
pub struct Presence {
    api: Api<Lease>,
    settings: PresenceSettings,
    held: watch::Sender<bool>,
}

impl Presence {
    /// The keeper, and whether the Lease was taken.
    pub fn new(client: Client, settings: PresenceSettings) -> (Presence, watch::Receiver<bool>) {
        let (held, receiver) = watch::channel(false);
        (Presence { api: Api::namespaced(client, &settings.namespace), settings, held }, receiver)
    }

    /// Keeps the Lease from the first news on, and gives it up when `last_call` has ended.
    pub async fn keep(self, news: watch::Receiver<Option<Serving>>, last_call: impl Future<Output = ()>) {
        tokio::select! {
            () = self.renew(news) => {}
            () = last_call => {}
        }
        if *self.held.borrow() {
            self.write(&self.given_up()).await;
        }
    }

    async fn renew(&self, mut news: watch::Receiver<Option<Serving>>) {
        loop {
            let serving = news.borrow_and_update().clone();
            let written = match &serving {
                None => false,
                Some(serving) => self.write(&self.lease(serving)).await,
            };
            if written {
                self.held.send_replace(true);
            }
            sleep(MIN_PAUSE).await;
            tokio::select! {
                // An error means that the index has ended, and the process with it: the Lease is renewed until then.
                Ok(()) = news.changed() => {}
                () = sleep(if written { RENEW_PERIOD } else { WRITE_TIMEOUT }) => {}
            }
        }
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
        let snapshot = serde_json::json!({ "stores": serving.stores.to_string() });
        let mut lease = self.given_up();
        lease.metadata.annotations = Some(BTreeMap::from([
            (POLICY_HASH.to_owned(), serving.policy_hash.clone()),
            (SNAPSHOT.to_owned(), snapshot.to_string()),
        ]));
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.settings.pod_name.clone());
        lease
    }

    /// The Lease without a holder.
    fn given_up(&self) -> Lease {
        let PresenceSettings { namespace, pod_name, pod_uid, clock } = &self.settings;
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
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
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

    /// What was written, and when.
    type Writes = Arc<Mutex<Vec<(Duration, Value)>>>;

    /// A replica, and an API server that remembers what is written; the first `broken` requests fail.
    fn replica(mut broken: usize) -> (Presence, watch::Receiver<bool>, Writes) {
        let (writes, began) = (Writes::default(), Instant::now());
        let log = Arc::clone(&writes);
        let server = service_fn(move |request: axum::http::Request<kube::client::Body>| {
            let log = Arc::clone(&log);
            let fails = broken > 0;
            broken = broken.saturating_sub(1);
            async move {
                assert_eq!(
                    request.uri().path(),
                    "/apis/coordination.k8s.io/v1/namespaces/weighbridge/leases/webhook-0"
                );
                let body = request.into_body().collect().await?.to_bytes();
                log.lock().unwrap().push((began.elapsed(), serde_json::from_slice(&body)?));
                let answer = axum::http::Response::builder().status(if fails { 500 } else { 200 });
                Ok::<_, tower::BoxError>(answer.body(kube::client::Body::from(body))?)
            }
        });
        let client = Client::new(tower::buffer::Buffer::new(server, 1), "weighbridge");
        let settings = PresenceSettings {
            namespace: "weighbridge".into(),
            pod_name: "webhook-0".into(),
            pod_uid: Some("u-1".into()),
            clock: || Timestamp::UNIX_EPOCH,
        };
        let (presence, held) = Presence::new(client, settings);
        (presence, held, writes)
    }

    fn serving(hash: &str) -> Option<Serving> {
        Some(Serving { policy_hash: hash.into(), stores: 7 })
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_says_what_is_served_and_is_given_up_at_the_end() {
        let (presence, held, writes) = replica(0);
        let (news, watched) = watch::channel(None);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let keeping = presence.keep(watched, async { ended.await.unwrap_or_default() });
        tokio::join!(keeping, async {
            sleep(Duration::from_secs(60)).await;
            assert!(!*held.borrow(), "nothing is said before there is something to say");
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
            assert!(*held.borrow());
            end.send(()).unwrap();
        });
        let (_, last) = writes.lock().unwrap().last().unwrap().clone();
        assert_eq!(last["spec"]["holderIdentity"], Value::Null, "given up");
    }

    #[tokio::test(start_paused = true)]
    async fn two_renewals_may_fail() {
        let (presence, _held, writes) = replica(2);
        let (_news, watched) = watch::channel(serving("a"));
        presence.keep(watched, sleep(Duration::from_secs(60))).await;
        let times: Vec<Duration> = writes.lock().unwrap().iter().map(|(at, _)| *at).collect();
        let succeeded = &times[2..];
        assert!(succeeded[0] < LEASE_DURATION / 3);
        let longest = succeeded.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest * 2 < LEASE_DURATION, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_held_is_not_given_up() {
        let (presence, _held, writes) = replica(0);
        let (_news, watched) = watch::channel(None);
        presence.keep(watched, sleep(Duration::from_secs(1))).await;
        assert_eq!(writes.lock().unwrap().len(), 0);
    }
}
