//! The replicas of the webhook, by the Lease that each of them keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::presence::PRESENCE_DURATION;

/// Label by which the Leases of replicas are known.
pub(super) const COMPONENT: (&str, &str) = ("weighbridge.dev/component", "webhook");
/// The same, as a selector.
pub const WEBHOOK_SELECTOR: &str = "weighbridge.dev/component=webhook";
/// Annotation with the hash of the policies that a replica serves.
pub(super) const POLICY_HASH: &str = "weighbridge.dev/policy-hash";
/// Annotation with what a replica has seen besides policies.
pub(super) const SNAPSHOT: &str = "weighbridge.dev/snapshot";

/// That annotation's value, for the highest resource version among the backing stores that were seen.
pub(super) fn snapshot(stores: u64) -> String {
    json!({ "stores": stores.to_string() }).to_string()
}

/// The highest resource version among the backing stores that a replica says it has seen.
fn stores_seen(snapshot: &str) -> Option<u64> {
    serde_json::from_str::<Value>(snapshot).ok()?["stores"].as_str()?.parse().ok()
}

/// A replica that may be answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name: that of its Lease and of its Pod.
    pub name: String,
    /// The policies that it serves.
    pub policy_hash: Option<String>,
    /// The highest resource version among the backing stores that it has seen: it knows what they said up to there. None
    /// where it does not say.
    pub stores: Option<u64>,
}

/// Tells which replicas may be answering: those whose Lease is neither given up nor expired.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// Version of each Lease, and when it was first seen.
    seen: HashMap<String, (String, Instant)>,
}

impl Replicas {
    /// The replicas, by name. A Lease that was never seen before counts as just renewed.
    pub fn live(&mut self, leases: &BTreeMap<String, Arc<Lease>>, now: Instant) -> Vec<Replica> {
        let webhooks =
            leases.iter().filter(|(_, lease)| lease.labels().get(COMPONENT.0).is_some_and(|it| it == COMPONENT.1));
        let mut seen = HashMap::new();
        let mut live = Vec::new();
        for (name, lease) in webhooks {
            let version = lease.resource_version().unwrap_or_default();
            let since = match self.seen.get(name) {
                Some((before, since)) if *before == version => *since,
                _ => now,
            };
            seen.insert(name.clone(), (version, since));
            let spec = lease.spec.as_ref();
            let held = spec.and_then(|spec| spec.holder_identity.as_deref()).is_some_and(|holder| !holder.is_empty());
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
            let duration = seconds.map_or(PRESENCE_DURATION, Duration::from_secs);
            if held && now.saturating_duration_since(since) < duration {
                let annotations = lease.annotations();
                live.push(Replica {
                    name: name.clone(),
                    policy_hash: annotations.get(POLICY_HASH).cloned(),
                    stores: annotations.get(SNAPSHOT).and_then(|snapshot| stores_seen(snapshot)),
                });
            }
        }
        self.seen = seen;
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, version: u32, holder: &str, component: &str) -> (String, Arc<Lease>) {
        let lease = serde_json::from_value(json!({
            "metadata": {
                "name": name, "resourceVersion": version.to_string(),
                "labels": { "weighbridge.dev/component": component },
                "annotations": { "weighbridge.dev/policy-hash": "abc", "weighbridge.dev/snapshot": snapshot(42) },
            },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
        }));
        (name.to_owned(), Arc::new(lease.unwrap()))
    }

    fn names(replicas: &[Replica]) -> Vec<&str> {
        replicas.iter().map(|replica| replica.name.as_str()).collect()
    }

    #[test]
    fn a_replica_lives_while_its_lease_is_held_and_seen_to_change() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let first = BTreeMap::from([
            lease("a", 1, "a", "webhook"),
            lease("b", 1, "b", "webhook"),
            lease("given-up", 1, "", "webhook"),
            lease("weighbridge-operator", 1, "op", "operator"),
        ]);
        let mut replicas = Replicas::default();
        let live = replicas.live(&first, at(0));
        assert_eq!(names(&live), ["a", "b"]);
        assert_eq!((live[0].policy_hash.as_deref(), live[0].stores), (Some("abc"), Some(42)));

        let renewed = BTreeMap::from([lease("a", 2, "a", "webhook"), lease("b", 1, "b", "webhook")]);
        assert_eq!(names(&replicas.live(&renewed, at(14))), ["a", "b"]);
        assert_eq!(names(&replicas.live(&renewed, at(15))), ["a"]);
        assert_eq!(names(&replicas.live(&renewed, at(28))), ["a"]);
        assert!(replicas.live(&renewed, at(29)).is_empty());

        let back = BTreeMap::from([lease("b", 2, "b", "webhook")]);
        assert_eq!(names(&replicas.live(&back, at(60))), ["b"]);
    }
}
