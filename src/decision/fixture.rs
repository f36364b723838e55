//! A small cluster for tests: one namespace, one claim with one verified model, and what a test changes about them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::{
    BackingStoreSpec, ClusterModelPolicy, FindingCode, ModelPolicy, ModelStatus, ModelVerificationStatus, ReadSource,
    SignerKind,
};
use crate::policy::{TrustSources, fixtures};
use crate::signature::Authority;
use crate::workload::{BackingStore, Extract, HasModels};

/// The time of all decisions in tests.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_750_000_000).unwrap()
}

/// A policy named `production` that matches the namespace, denies, and trusts key A as `release-key`; `spec` is merged
/// over that, level by level.
pub(crate) fn policy(spec: Value) -> ClusterModelPolicy {
    named_policy("production", spec)
}

pub(crate) fn named_policy(name: &str, spec: Value) -> ClusterModelPolicy {
    let mut base = json!({
        "match": { "namespaceSelector": { "matchLabels": { "tier": "production" } } },
        "validationActions": ["Deny"],
        "authorities": [{ "name": "release-key", "key": { "data": fixtures::KEY_A } }],
    });
    merge(&mut base, spec);
    ClusterModelPolicy::new(name, serde_json::from_value(base).unwrap())
}

/// A policy of namespace `team`, which denies and trusts key A; `spec` is merged over that.
pub(crate) fn model_policy(name: &str, spec: Value) -> ModelPolicy {
    let mut base = json!({
        "validationActions": ["Deny"],
        "authorities": [{ "name": "release-key", "key": { "data": fixtures::KEY_A } }],
    });
    merge(&mut base, spec);
    let mut policy = ModelPolicy::new(name, serde_json::from_value(base).unwrap());
    policy.metadata.namespace = Some("team".into());
    policy
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            over.into_iter().for_each(|(key, value)| merge(base.entry(key).or_insert(Value::Null), value));
        }
        (base, over) => *base = over,
    }
}

pub(crate) fn compile(policies: &[ClusterModelPolicy]) -> CompiledPolicies {
    CompiledPolicies::compile(policies, &TrustSources::default(), "weighbridge")
}

/// Fingerprint of the first authority of a policy.
pub(crate) fn fingerprint(pem: &str) -> String {
    let policy = policy(json!({ "authorities": [{ "name": "a", "key": { "data": pem } }] }));
    match compile(&[policy]).iter().next().unwrap().authorities[0].authority {
        Authority::Key { fingerprint } => fingerprint.to_string(),
        _ => panic!("a key"),
    }
}

pub(crate) fn signed_by(pem: &str) -> SignerStatus {
    SignerStatus { fingerprint: Some(fingerprint(pem)), ..SignerStatus::of(SignerKind::Key) }
}

/// What is known, piece by piece, so that a test can change a piece.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) policies: Vec<ClusterModelPolicy>,
    pub(crate) model_policies: Vec<ModelPolicy>,
    pub(crate) namespace: Option<NamespaceFacts>,
    pub(crate) claim: Option<ClaimFacts>,
    pub(crate) volume: Option<VolumeFacts>,
    pub(crate) records: Vec<Record>,
    pub(crate) stores: Vec<StoreFacts>,
    pub(crate) observed_at: Option<Timestamp>,
    pub(crate) pod: Value,
    pub(crate) annotations: Value,
    pub(crate) stage: Stage,
}

use crate::workload::Stage;

/// The store behind the claim of a [`World`].
pub(crate) fn store() -> BackingStore {
    BackingStore::Csi { driver: "ebs.csi.aws.com".into(), handle: "vol-1".into() }
}

/// A record of a path that was found intact and signed by key A, when A and B were trusted.
pub(crate) fn verified_record(path: &str) -> Record {
    let spec = ModelVerificationSpec::of_claim("models", path);
    let source = ReadSource {
        namespace: "team".into(),
        claim_uid: "claim-1".into(),
        volume_name: "pv-1".into(),
        volume_uid: "volume-1".into(),
        path: path.into(),
        store: BackingStoreSpec { identity: store().to_string() }.store_name(),
        write_epoch: 0,
    };
    let model = ModelStatus {
        path: path.into(),
        verdict: VerdictKind::Verified,
        reason: None,
        detail: None,
        message: None,
        model_digest: Some("sha256:0123".into()),
        manifest_digest: Some("sha256:4567".into()),
        files: 3,
        bytes: 42,
        bundle: Some("model.sig".into()),
        content_verified: true,
        unsigned: None,
        signature_verified: true,
        other_bundles: vec![],
        allow_symlinks: false,
        symlinks: Some(0),
        signers: vec![signed_by(fixtures::KEY_A)],
        not_before: None,
        signer_expires_at: None,
    };
    let status = ModelVerificationStatus {
        observed_generation: Some(1),
        source: Some(source),
        verified_at: Some(Time(now() - SignedDuration::from_hours(1))),
        trust: [fixtures::KEY_A, fixtures::KEY_B].map(|pem| format!("key {}", fingerprint(pem))).into(),
        models: vec![model],
        ..Default::default()
    };
    Record { name: spec.record_name(), uid: "record-1".into(), generation: 1, spec, status }
}

impl World {
    /// A Pod that mounts a verified model read-only, under one policy that denies.
    pub(crate) fn new() -> Self {
        World {
            policies: vec![policy(json!({}))],
            model_policies: Vec::new(),
            namespace: Some(NamespaceFacts { labels: BTreeMap::from([("tier".into(), "production".into())]) }),
            claim: Some(ClaimFacts {
                uid: "claim-1".into(),
                volume_name: Some("pv-1".into()),
                bound: true,
                storage_class: Some("fast".into()),
                access_modes: vec!["ReadWriteOnce".into()],
                ..Default::default()
            }),
            volume: Some(VolumeFacts {
                uid: "volume-1".into(),
                claim_uid: Some("claim-1".into()),
                backing: Backing::Csi { driver: "ebs.csi.aws.com".into(), handle: "vol-1".into() },
                provisioner: Some("ebs.csi.aws.com".into()),
                storage_class: Some("fast".into()),
            }),
            records: vec![verified_record("")],
            stores: Vec::new(),
            observed_at: Some(now()),
            pod: json!({
                "containers": [{ "name": "server", "volumeMounts": [
                    { "name": "models", "mountPath": "/models", "readOnly": true },
                ]}],
                "volumes": [{ "name": "models", "persistentVolumeClaim": { "claimName": "models" } }],
            }),
            annotations: json!({}),
            stage: Stage::Pod,
        }
    }

    /// Changes a piece.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Replaces the policies by one: see [`policy`].
    pub(crate) fn under(self, spec: Value) -> Self {
        self.with(|world| world.policies = vec![policy(spec)])
    }

    /// Changes the status of the first record.
    pub(crate) fn status(self, change: impl FnOnce(&mut ModelVerificationStatus)) -> Self {
        self.with(|world| change(&mut world.records[0].status))
    }

    /// Changes what was found in the first record.
    pub(crate) fn model(self, change: impl FnOnce(&mut ModelStatus)) -> Self {
        self.status(|status| change(&mut status.models[0]))
    }

    /// What a read found that did not end well.
    pub(crate) fn found(self, verdict: VerdictKind, reason: FindingCode, message: &str) -> Self {
        self.model(|model| {
            model.verdict = verdict;
            model.reason = Some(reason);
            model.message = Some(message.to_owned());
            model.content_verified = false;
        })
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let key = ("team".to_owned(), "models".to_owned());
        let one = |namespace: &NamespaceFacts| ("team".to_owned(), Arc::new(namespace.clone()));
        let records: Vec<Arc<Record>> = self.records.iter().cloned().map(Arc::new).collect();
        let stores = self.stores.iter().map(|store| (store.identity.clone(), Arc::new(store.clone())));
        Evidence {
            namespaces: Arc::new(self.namespace.iter().map(one).collect()),
            claims: Arc::new(self.claim.iter().map(|claim| (key.clone(), Arc::new(claim.clone()))).collect()),
            volumes: Arc::new(self.volume.iter().map(|it| ("pv-1".to_owned(), Arc::new(it.clone()))).collect()),
            records: Arc::new(HashMap::from([(key, records)])),
            stores: Arc::new(stores.collect()),
            observed_at: self.observed_at,
        }
    }

    pub(crate) fn extract(&self) -> Extract {
        let metadata = json!({ "name": "llama", "namespace": "team", "annotations": self.annotations });
        match self.stage {
            Stage::Pod => {
                let pod: k8s_openapi::api::core::v1::Pod =
                    serde_json::from_value(json!({ "metadata": metadata, "spec": self.pod })).unwrap();
                pod.extract()
            }
            Stage::Template => {
                let template = json!({ "metadata": { "annotations": self.annotations }, "spec": self.pod });
                let spec = json!({ "selector": {}, "template": template });
                let deployment: k8s_openapi::api::apps::v1::Deployment =
                    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
                deployment.extract()
            }
        }
    }

    pub(crate) fn decide(&self) -> Decision {
        let Extract { subject, uses } = self.extract();
        let policies = compile(&self.policies).and_namespaced(&self.model_policies, &TrustSources::default());
        decide(&policies, &subject, &uses, &self.evidence(), now())
    }

    /// The codes of all violations.
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        self.decide().violations.iter().map(|violation| violation.code.as_str()).collect()
    }
}
