//! How long a decision takes, in an index with 2,000 claims that each have a record, and 50 policies:
//! `cargo bench --bench decide`.
//!
//! The Pod has two containers and three volumes. Pods that run are no part of what a decision rests on. For whole reviews
//! see `benches/admission`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use criterion::Criterion;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use weighbridge::api::v1alpha1::{
    BackingStoreSpec, ClusterModelPolicy, ModelVerificationSpec, ModelVerificationStatus,
};
use weighbridge::decision::{Backing, ClaimFacts, Evidence, NamespaceFacts, Record, VolumeFacts, decide};
use weighbridge::policy::{CompiledPolicies, TrustSources};
use weighbridge::workload::{Extract, HasModels};

/// The Pod that `benches/admission` sends, too.
const POD: &str = include_str!("admission.d/drive/pod.json");
/// The key that signed all models.
const KEY: &str = include_str!("../src/policy/fixtures/a.pub");
const DRIVER: &str = "ebs.csi.aws.com";

const NAMESPACES: usize = 50;
const CLAIMS: usize = 40;
const POLICIES: usize = 50;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn namespace(at: usize) -> String {
    format!("team-{at:02}")
}

/// So many policies, of which the first `wide` select every namespace and each other one those of one team.
fn policies(wide: usize) -> CompiledPolicies {
    let policy = |at: usize| {
        let labels = if at < wide { json!({ "tier": "production" }) } else { json!({ "team": namespace(at - wide) }) };
        let spec = json!({
            "match": { "namespaceSelector": { "matchLabels": labels }, "exclude": [{ "mountPaths": ["/cache/**"] }] },
            "validationActions": ["Deny"],
            "authorities": [{ "name": "release-key", "key": { "data": KEY } }],
        });
        ClusterModelPolicy::new(&format!("policy-{at:02}"), serde_json::from_value(spec).expect("a policy"))
    };
    let policies: Vec<ClusterModelPolicy> = (0..POLICIES).map(policy).collect();
    CompiledPolicies::compile(&policies, &TrustSources::default(), "weighbridge-system")
}

/// What the index knows: every model was verified an hour ago.
fn evidence(trusted: &str) -> Evidence {
    let mut evidence = Evidence { observed_at: Some(now()), ..Evidence::default() };
    let (mut namespaces, mut claims) = (HashMap::new(), HashMap::new());
    let (mut volumes, mut records) = (HashMap::new(), HashMap::new());
    for at in 0..NAMESPACES * CLAIMS {
        let (space, name) = (namespace(at / CLAIMS), format!("model-{:03}", at % CLAIMS));
        let labels = BTreeMap::from([("tier".into(), "production".into()), ("team".into(), space.clone())]);
        namespaces.insert(space.clone(), Arc::new(NamespaceFacts { labels }));
        let volume = volume(&space, &name);
        let claim = ClaimFacts {
            uid: volume.claim_uid.clone().unwrap_or_default(),
            volume_name: Some(format!("pv-{at}")),
            bound: true,
            access_modes: vec!["ReadWriteOnce".into()],
            ..ClaimFacts::default()
        };
        records.insert((space.clone(), name.clone()), vec![Arc::new(record(&space, &name, &claim, &volume, trusted))]);
        claims.insert((space, name), Arc::new(claim));
        volumes.insert(format!("pv-{at}"), Arc::new(volume));
    }
    evidence.namespaces = Arc::new(namespaces);
    evidence.claims = Arc::new(claims);
    evidence.volumes = Arc::new(volumes);
    evidence.records = Arc::new(records);
    evidence
}

fn volume(space: &str, name: &str) -> VolumeFacts {
    VolumeFacts {
        uid: format!("volume-{space}-{name}"),
        claim_uid: Some(format!("claim-{space}-{name}")),
        backing: Backing::Csi { driver: DRIVER.into(), handle: format!("vol-{space}-{name}") },
        provisioner: Some(DRIVER.into()),
        storage_class: None,
    }
}

fn record(space: &str, name: &str, claim: &ClaimFacts, volume: &VolumeFacts, trusted: &str) -> Record {
    let spec = ModelVerificationSpec::of_claim(name, "");
    let store = BackingStoreSpec { identity: volume.store(&claim.uid).to_string() }.store_name();
    let fingerprint = trusted.trim_start_matches("key ");
    let status: Value = json!({
        "observedGeneration": 1,
        "source": {
            "namespace": space, "claimUid": claim.uid, "volumeName": claim.volume_name, "volumeUid": volume.uid, "path": "",
            "store": store, "writeEpoch": 0,
        },
        "verifiedAt": now() - SignedDuration::from_hours(1),
        "trust": [trusted],
        "models": [{
            "path": "", "verdict": "Verified", "files": 12, "bytes": 1, "bundle": "model.sig",
            "modelDigest": "sha256:0123", "manifestDigest": "sha256:4567", "contentVerified": true, "signatureVerified": true,
            "signers": [{ "kind": "Key", "fingerprint": fingerprint }],
        }],
    });
    let status: ModelVerificationStatus = serde_json::from_value(status).expect("a status");
    Record { name: spec.record_name(), uid: format!("record-{space}-{name}"), generation: 1, spec, status }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let pod: Pod = serde_json::from_str(POD).expect("a Pod");
    let mut group = criterion.benchmark_group("decide");
    group.bench_function("the uses of a Pod", |bencher| bencher.iter(|| pod.extract()));
    for (name, wide) in [("4 of 50 policies match", 3), ("50 of 50 policies match", POLICIES)] {
        let policies = policies(wide);
        let trusted = policies.iter().next().expect("a policy").authorities[0].trust_name().to_owned();
        let evidence = evidence(&trusted);
        let Extract { subject, uses } = pod.extract();
        let decision = decide(&policies, &subject, &uses, &evidence, now());
        assert!(decision.complies() && !decision.policies.is_empty(), "{decision:?}");
        group.bench_function(name, |bencher| bencher.iter(|| decide(&policies, &subject, &uses, &evidence, now())));
    }
    group.finish();
    criterion.final_summary();
}
