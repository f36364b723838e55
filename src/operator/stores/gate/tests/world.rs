//! A small cluster: one storage behind two claims of two namespaces, Pods, and the object of the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::gate::GATE;
use crate::api::v1alpha1::{BackingStore as StoreObject, BackingStoreSpec, BackingStoreStatus, Writer, WriterStatus};
use crate::decision::fixture::{compile, now, policy, store};
use crate::decision::{Backing, ClaimFacts, Evidence, NamespaceFacts, VolumeFacts};
use crate::index::Snapshot;
use crate::lease::Replica;

/// A namespace that the policy matches, with the claims `models` and `other`.
pub(super) const TEAM: &str = "team";
/// Another one, with a claim `staging` over the storage of `models`.
pub(super) const BATCH: &str = "batch";

/// A cluster in the making.
pub(super) struct World {
    pub(super) base: Snapshot,
    pods: HashMap<(String, String), Arc<Pod>>,
    store: Option<StoreObject>,
}

/// A Pod as our webhook makes it wait.
pub(super) fn held(mut pod: Pod) -> Pod {
    let gate = serde_json::from_value(json!({ "name": GATE })).unwrap();
    pod.spec.as_mut().unwrap().scheduling_gates = Some(vec![gate]);
    pod
}

/// A replica that says it has seen the stores up to a version.
pub(super) fn replica(name: &str, stores: Option<u64>) -> Replica {
    Replica { name: name.to_owned(), policy_hash: None, stores }
}

impl World {
    /// Under a policy that denies, and says no more.
    pub(super) fn new() -> Self {
        Self::under(json!({}))
    }

    pub(super) fn under(spec: Value) -> Self {
        let mut policy = policy(spec);
        policy.spec.content.writers = vec![Writer { service_account: "default".to_owned() }];
        let mut base = Snapshot { version: 1, policies: compile(&[policy]), ..Snapshot::default() };
        base.evidence = evidence();
        World { base, pods: HashMap::new(), store: None }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.base.clone();
        snapshot.objects.pods = Arc::new(self.pods.clone());
        let stores = self.store.iter().map(|it| (it.name_any(), Arc::new(it.clone())));
        snapshot.objects.stores = Arc::new(stores.collect());
        snapshot
    }

    pub(super) fn add(&mut self, pod: Pod) -> Pod {
        self.pods.insert((pod.namespace().unwrap(), pod.name_any()), Arc::new(pod.clone()));
        pod
    }

    /// Notes a writer in the object of the store, and gives the object's version.
    pub(super) fn mark(&mut self, pod: &Pod) -> u64 {
        let writer = WriterStatus { uid: pod.uid().unwrap(), ..WriterStatus::default() };
        let status = BackingStoreStatus { write_epoch: 1, writers: vec![writer], ..BackingStoreStatus::default() };
        self.store = Some(object(status, 7));
        7
    }

    pub(super) fn unmark(&mut self) {
        self.store = Some(object(BackingStoreStatus { write_epoch: 2, ..BackingStoreStatus::default() }, 8));
    }

    /// A Pod that mounts a claim read-only.
    pub(super) fn reader(name: &str, namespace: &str, claim: &str) -> Pod {
        pod(name, namespace, claim, true)
    }

    /// A Pod that mounts a claim so that it can write.
    pub(super) fn writer(name: &str, namespace: &str, claim: &str) -> Pod {
        pod(name, namespace, claim, false)
    }

    /// The Pod on a node of its own.
    pub(super) fn bound(mut pod: Pod) -> Pod {
        pod.spec.as_mut().unwrap().node_name = Some(format!("node-of-{}", pod.name_any()));
        pod
    }

    /// Mounts another claim.
    pub(super) fn mount(pod: &mut Pod, claim: &str, read_only: bool) {
        let spec = pod.spec.as_mut().unwrap();
        let volume = json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } });
        spec.volumes.get_or_insert_default().push(serde_json::from_value(volume).unwrap());
        let mount = json!({ "name": claim, "mountPath": format!("/{claim}"), "readOnly": read_only });
        spec.containers[0].volume_mounts.get_or_insert_default().push(serde_json::from_value(mount).unwrap());
    }
}

/// The object of the storage, in a version.
pub(super) fn object(status: BackingStoreStatus, version: u64) -> StoreObject {
    let spec = BackingStoreSpec { identity: store().to_string() };
    let mut object = StoreObject::new(&spec.store_name(), spec);
    object.metadata.resource_version = Some(version.to_string());
    object.status = Some(status);
    object
}

fn pod(name: &str, namespace: &str, claim: &str, read_only: bool) -> Pod {
    let object = json!({
        "metadata": { "name": name, "namespace": namespace, "uid": format!("uid-of-{name}") },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "c" }] },
    });
    let mut pod = serde_json::from_value(object).unwrap();
    World::mount(&mut pod, claim, read_only);
    pod
}

fn evidence() -> Evidence {
    let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
    let namespaces = [(TEAM, "production"), (BATCH, "production"), ("elsewhere", "test")];
    let namespaces =
        namespaces.map(|(name, tier)| (name.to_owned(), Arc::new(NamespaceFacts { labels: labels(tier) })));
    let mut claims = HashMap::new();
    let mut volumes = HashMap::new();
    let all = [
        (TEAM, "models", "vol-1"),
        (TEAM, "other", "vol-2"),
        (BATCH, "staging", "vol-1"),
        ("elsewhere", "mirror", "vol-1"),
    ];
    for (index, (namespace, name, handle)) in all.into_iter().enumerate() {
        let (uid, volume) = (format!("claim-{}", index + 1), format!("pv-{}", index + 1));
        let class = Some("fast".to_owned());
        let claim = ClaimFacts {
            uid: uid.clone(),
            volume_name: Some(volume.clone()),
            bound: true,
            storage_class: class.clone(),
            ..ClaimFacts::default()
        };
        claims.insert((namespace.to_owned(), name.to_owned()), Arc::new(claim));
        let driver = "ebs.csi.aws.com".to_owned();
        let facts = VolumeFacts {
            uid: format!("volume-{}", index + 1),
            claim_uid: Some(uid),
            backing: Backing::Csi { driver: driver.clone(), handle: handle.to_owned() },
            provisioner: Some(driver),
            storage_class: class,
        };
        volumes.insert(volume, Arc::new(facts));
    }
    Evidence {
        namespaces: Arc::new(HashMap::from(namespaces)),
        claims: Arc::new(claims),
        volumes: Arc::new(volumes),
        observed_at: Some(now()),
        ..Evidence::default()
    }
}
