//! The webhook as an API server sees it: reviews through the real router.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::api::v1alpha1::{Code, ModelVerificationSpec, RefusedCode, UnknownCode};
use crate::decision::{Action, ClaimFacts, Decision, Finding, NamespaceFacts, Violation};
use crate::telemetry::new_registry;
use crate::workload::{Extract, Source, Stage};

const OWN: &str = "weighbridge";

/// Remembers which records were asked for.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<WantedRecord>>);

impl RecordRequests for Asked {
    fn request(&self, wanted: WantedRecord) {
        self.0.lock().unwrap().push(wanted);
    }
}

/// A webhook with a snapshot that can be changed.
struct Scene {
    webhook: Webhook,
    snapshots: watch::Sender<Arc<Snapshot>>,
    asked: Arc<Asked>,
    registry: crate::telemetry::Registry,
}

fn snapshot(namespaces: &[&str], claims: &[&str]) -> Arc<Snapshot> {
    let mut snapshot = Snapshot { version: 1, ..Snapshot::default() };
    snapshot.evidence.observed_at = Some(Timestamp::UNIX_EPOCH);
    let facts = |name: &&str| ((*name).to_owned(), Arc::new(NamespaceFacts::default()));
    snapshot.evidence.namespaces = Arc::new(namespaces.iter().map(facts).collect::<HashMap<_, _>>());
    let claim = |name: &&str| {
        let facts = ClaimFacts { uid: format!("uid of {name}"), bound: true, ..ClaimFacts::default() };
        (("serving".to_owned(), (*name).to_owned()), Arc::new(facts))
    };
    snapshot.evidence.claims = Arc::new(claims.iter().map(claim).collect::<HashMap<_, _>>());
    Arc::new(snapshot)
}

/// Refuses every mount of a claim; where the claim is not known its source is missing, which only warns on a template.
fn refuse(snapshot: &Snapshot, extract: &Extract, _: Timestamp) -> Decision {
    let mut decision = Decision::default();
    for it in &extract.uses {
        let (Some(_), Source::Claim { name, path }) = (it.mount(), &it.source) else { continue };
        let known = snapshot.evidence.claims.contains_key(&(extract.subject.namespace.clone(), name.clone()));
        let missing = Code::Unknown(UnknownCode::SourceMissing);
        decision.missing_records.push(ModelVerificationSpec::of_claim(name.clone(), path.clone()));
        decision.violations.push(Violation {
            policy: crate::policy::PolicyName::Cluster("production".into()),
            at: it.at.clone(),
            code: if known { RefusedCode::Unsigned.into() } else { missing },
            finding: Finding { what: "nobody signed it".into(), fix: "sign it".into(), detail: None },
            action: if known || extract.subject.stage == Stage::Pod { Action::Deny } else { Action::Warn },
            audit: false,
        });
    }
    decision
}

impl Scene {
    fn new() -> Self {
        Self::with(snapshot(&["serving"], &["models"]))
    }

    fn with(snapshot: Arc<Snapshot>) -> Self {
        Self::deciding(snapshot, refuse)
    }

    fn deciding(snapshot: Arc<Snapshot>, decide: judge::Decide) -> Self {
        let (snapshots, watched) = watch::channel(snapshot);
        let (asked, registry) = (Arc::<Asked>::default(), new_registry());
        let settings = Settings { namespace: OWN.into(), replica: "webhook-0".into() };
        let inner = Inner {
            settings,
            judge: Judge::new(watched, || Timestamp::UNIX_EPOCH).deciding(decide),
            records: asked.clone(),
            metrics: AdmissionMetrics::register(&registry),
        };
        Scene { webhook: Webhook(Arc::new(inner)), snapshots, asked, registry }
    }

    async fn post(&self, uri: &str, body: impl Into<Body>) -> Response {
        let request = HttpRequest::post(uri).body(body.into()).unwrap();
        self.webhook.clone().router().oneshot(request).await.unwrap()
    }

    /// Posts a review, and gives the answer's `response`.
    async fn review(&self, review: &Value) -> Value {
        self.review_at("/validate?timeout=5s", review).await
    }

    async fn review_at(&self, uri: &str, review: &Value) -> Value {
        let answer = self.post(uri, review.to_string()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = json_of(answer).await;
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }

    async fn allows(&self, review: &Value) -> bool {
        self.review(review).await["allowed"].as_bool().unwrap()
    }

    /// The value of a counter of reviews.
    fn reviews(&self, labels: [&str; 3]) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let [kind, operation, decision] = labels;
        let series = format!(r#"reviews_total{{decision="{decision}",kind="{kind}",operation="{operation}"}} "#);
        text.lines().find_map(|line| line.split(&series).nth(1)).map_or(0, |value| value.parse().unwrap())
    }
}

async fn json_of(answer: Response) -> Value {
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

macro_rules! recorded {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/admission/testdata/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

mod gates;

/// A review with one value put in another's place.
fn with(mut review: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = review.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    parent[key.replace("~1", "/")] = value;
    review
}

/// An update of what is created in a recorded review.
fn update(create: Value) -> Value {
    let object = create["request"]["object"].clone();
    with(with(create, "/request/operation", "UPDATE".into()), "/request/oldObject", object)
}

#[tokio::test]
async fn a_denial_says_who_where_what_and_how() {
    let response = Scene::new().review(&recorded!("pod-create")).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 403);
    assert_eq!(response["status"]["reason"], "Forbidden");
    let message = response["status"]["message"].as_str().unwrap();
    let expected = "production: spec.containers[0].volumeMounts[0]: nobody signed it — sign it [Unsigned]";
    assert_eq!(message.lines().next(), Some(expected));
    let cause = &response["status"]["details"]["causes"][0];
    assert_eq!(cause["reason"], "Unsigned");
    assert_eq!(cause["field"], "spec.containers[0].volumeMounts[0]");
}

#[tokio::test]
async fn every_kind_is_judged() {
    let scene = Scene::new();
    assert!(!scene.allows(&recorded!("pod-create")).await);
    assert!(!scene.allows(&recorded!("cronjob-create")).await);
    let deployment = recorded!("deployment-create");
    for (group, kind) in [
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
    ] {
        let mut review = deployment.clone();
        review["request"]["kind"] = json!({ "group": group, "version": "v1", "kind": kind });
        review["request"]["object"]["kind"] = kind.into();
        review["request"]["object"]["apiVersion"] = format!("{group}/v1").into();
        review["request"]["object"]["spec"]["serviceName"] = "llama".into();
        if kind == "StatefulSet" || kind == "DaemonSet" {
            review["request"]["object"]["spec"]["strategy"].take();
        }
        assert!(!scene.allows(&review).await, "{kind}");
        assert_eq!(scene.reviews([kind, "CREATE", "deny"]), 1);
    }
}

#[tokio::test]
async fn what_changes_no_model_passes() {
    let scene = Scene::new();
    let (pod, deployment) = (recorded!("pod-create"), recorded!("deployment-create"));
    for (what, review) in [
        ("a deletion", recorded!("pod-delete")),
        ("a scale", recorded!("deployment-scale")),
        ("a status", with(update(deployment.clone()), "/request/subResource", "status".into())),
        ("the status of a Pod", with(update(pod.clone()), "/request/subResource", "status".into())),
        ("a resize", with(update(pod.clone()), "/request/subResource", "resize".into())),
        ("a label of a Pod", with(update(pod.clone()), "/request/object/metadata/labels/x", "y".into())),
        (
            "a foreign annotation",
            with(update(pod.clone()), "/request/object/metadata/annotations", json!({ "x": "y" })),
        ),
        ("a toleration", with(update(pod.clone()), "/request/object/spec/tolerations", json!([]))),
        ("a label of a Deployment", with(update(deployment.clone()), "/request/object/metadata/labels", json!({}))),
        ("replicas", with(update(deployment.clone()), "/request/object/spec/replicas", 5.into())),
        ("a schedule", with(update(recorded!("cronjob-create")), "/request/object/spec/schedule", "@daily".into())),
        ("what a controller makes", recorded!("replicaset-by-controller")),
    ] {
        assert!(scene.allows(&review).await, "{what}");
    }
    assert_eq!(scene.reviews(["Pod", "UPDATE", "pass"]), 5);
    assert_eq!(scene.reviews(["other", "UPDATE", "pass"]), 1, "a Scale is no kind that is judged");
}

#[tokio::test]
async fn what_could_change_a_model_is_judged() {
    let scene = Scene::new();
    let (pod, deployment) = (recorded!("pod-create"), recorded!("deployment-create"));
    let controlled = recorded!("replicaset-by-controller");
    let annotations = "/request/object/metadata/annotations";
    for (what, review) in [
        ("an image", with(update(pod.clone()), "/request/object/spec/containers/0/image", "other".into())),
        (
            "our annotation",
            with(update(pod.clone()), annotations, json!({ "digest.weighbridge.dev/model": "sha256:0" })),
        ),
        ("our other one", with(update(pod.clone()), annotations, json!({ "weighbridge.dev/x": "y" }))),
        ("an unknown past", with(update(pod.clone()), "/request/oldObject", Value::Null)),
        ("a restart", {
            let at = "/request/object/spec/template/metadata/annotations";
            with(update(deployment.clone()), at, json!({ "kubectl.kubernetes.io/restartedAt": "2026-03-01T10:00:00Z" }))
        }),
        ("a template without a past", with(update(deployment), "/request/oldObject", Value::Null)),
        ("a ReplicaSet of a person", with(controlled.clone(), "/request/userInfo/username", "alice".into())),
        ("one of no Deployment", with(controlled.clone(), "/request/object/metadata/ownerReferences", json!([]))),
        ("one of another kind", with(controlled, "/request/object/metadata/ownerReferences/0/kind", "Job".into())),
    ] {
        assert!(!scene.allows(&review).await, "{what}");
    }
}

#[tokio::test]
async fn a_mirror_passes_only_when_its_own_node_makes_it() {
    let scene = Scene::new();
    let annotations = "/request/object/metadata/annotations";
    let mirror = with(recorded!("pod-create"), annotations, json!({ "kubernetes.io/config.mirror": "4a8f" }));
    let mirror = with(mirror, "/request/object/spec/nodeName", "node-1".into());
    let by = |user: &str, groups: Value| {
        with(mirror.clone(), "/request/userInfo", json!({ "username": user, "groups": groups }))
    };
    let node = by("system:node:node-1", json!(["system:authenticated", "system:nodes"]));
    assert!(scene.allows(&node).await);
    for (what, review) in [
        ("by anybody", mirror.clone()),
        ("by one that is called a node", by("system:node:node-1", json!(["system:authenticated"]))),
        ("by one in the group", by("alice", json!(["system:nodes"]))),
        ("by another node", by("system:node:node-2", json!(["system:nodes"]))),
        ("without the annotation", with(node.clone(), annotations, json!({}))),
        ("of no node", with(node.clone(), "/request/object/spec/nodeName", Value::Null)),
        ("changed", with(update(node), "/request/object/spec/containers/0/image", "other".into())),
    ] {
        assert!(!scene.allows(&review).await, "{what}");
    }
}

#[tokio::test]
async fn an_object_that_is_being_deleted_passes() {
    let scene = Scene::new();
    let changed = with(update(recorded!("pod-create")), "/request/object/spec/containers/0/image", "other".into());
    let time = "2026-03-01T10:00:00Z";
    let deleting = with(changed.clone(), "/request/oldObject/metadata/deletionTimestamp", time.into());
    assert!(scene.allows(&deleting).await);
    let pretending = with(changed, "/request/object/metadata/deletionTimestamp", time.into());
    assert!(!scene.allows(&pretending).await, "what the request says of itself does not count");
}

#[tokio::test]
async fn of_ephemeral_containers_only_new_ones_are_judged() {
    let scene = Scene::new();
    let review = recorded!("pod-ephemeral");
    let response = scene.review(&review).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.ephemeralContainers[0]"), "{message}");
    assert!(!message.contains("spec.containers[0]"), "what runs already was judged when it was made: {message}");
    assert!(scene.allows(&update(review.clone())).await, "the same ones again");

    let debugger = |extra: Value| {
        let mut container = json!({ "name": "debugger", "image": "debug" });
        container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with(review.clone(), "/request/object/spec/ephemeralContainers", json!([container]))
    };
    assert!(scene.allows(&debugger(json!({}))).await, "one that uses no model");
    let mighty = debugger(json!({ "securityContext": { "privileged": true } }));
    assert!(!scene.allows(&mighty).await, "one that lets the Pod write what is mounted read-only");
}

#[tokio::test]
async fn exempt_namespaces_are_never_judged() {
    let scene = Scene::new();
    for namespace in ["kube-system", "kube-public", "kube-node-lease", OWN] {
        let review = with(recorded!("pod-create"), "/request/namespace", namespace.into());
        assert!(scene.allows(&review).await, "{namespace}");
    }
}

#[tokio::test]
async fn a_kind_that_is_not_judged_is_refused() {
    let scene = Scene::new();
    for review in [
        with(recorded!("pod-create"), "/request/kind/kind", "PodTemplate".into()),
        with(recorded!("deployment-create"), "/request/kind/version", "v2".into()),
        with(recorded!("pod-create"), "/request/operation", "CONNECT".into()),
        with(update(recorded!("pod-create")), "/request/subResource", "binding".into()),
        with(recorded!("probe"), "/request/namespace", "serving".into()),
    ] {
        let response = scene.review(&review).await;
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 403);
        assert!(response["status"]["message"].as_str().unwrap().ends_with("[UnsupportedKind]"), "{response}");
    }
}

#[tokio::test]
async fn what_cannot_be_parsed_is_refused_under_its_uid() {
    let scene = Scene::new();
    let pod = recorded!("pod-create");
    for review in [
        with(pod.clone(), "/apiVersion", "admission.k8s.io/v1beta1".into()),
        with(pod.clone(), "/kind", "Pod".into()),
        with(pod.clone(), "/request/operation", 7.into()),
        with(pod.clone(), "/request/kind", "Pod".into()),
        with(pod.clone(), "/request/object/spec/containers", "none".into()),
        with(pod.clone(), "/request/object", Value::Null),
        with(recorded!("deployment-create"), "/request/object/spec/template", "none".into()),
    ] {
        let response = scene.review(&review).await;
        assert_eq!(response["allowed"], false);
        assert!(response["status"]["message"].as_str().unwrap().ends_with("[MalformedRequest]"), "{response}");
    }
}

#[tokio::test]
async fn what_has_no_uid_is_an_error_that_says_why() {
    let scene = Scene::new();
    let whole = recorded!("pod-create").to_string();
    let long = vec![b' '; REVIEW_BYTES + 1];
    for (body, status, code) in [
        (Body::empty(), 400, "MalformedRequest"),
        (Body::from("no JSON"), 400, "MalformedRequest"),
        (Body::from("{}"), 400, "MalformedRequest"),
        (Body::from(whole[..whole.len() / 2].to_owned()), 400, "MalformedRequest"),
        (Body::from("[".repeat(100_000)), 400, "MalformedRequest"),
        (Body::from(long.clone()), 413, "RequestTooLarge"),
        (
            Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(long))])),
            413,
            "RequestTooLarge",
        ),
        (
            Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))])),
            400,
            "MalformedRequest",
        ),
    ] {
        let answer = scene.post("/validate?timeout=5s", body).await;
        assert_eq!(answer.status().as_u16(), status);
        let answer = json_of(answer).await;
        assert_eq!((&answer["kind"], &answer["reason"]), (&json!("Status"), &json!(code)));
        assert!(answer["message"].as_str().unwrap().ends_with(&format!("[{code}]")), "{answer}");
    }
    assert_eq!(scene.reviews(["other", "other", "reject"]), 8);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let scene = Scene::new();
    let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let began = Instant::now();
    let answer = scene.post("/validate?timeout=5s", body).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json_of(answer).await["reason"], "DeadlineExceeded");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_near_is_kept() {
    let scene = Scene::with(snapshot(&[], &[]));
    let review = recorded!("pod-create");
    let began = Instant::now();
    let answer = json_of(scene.post("/validate?timeout=200ms", review.to_string()).await).await;
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    assert_eq!(answer["response"]["allowed"], false);
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_does_not_come_is_refused() {
    for (nothing, tenths) in [(snapshot(&[], &[]), 5), (Arc::new(Snapshot::default()), 40)] {
        let began = Instant::now();
        let response = Scene::with(nothing).review(&recorded!("pod-create")).await;
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 403);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("try again") && message.ends_with("[NotObservedYet]"), "{message}");
        assert_eq!(began.elapsed().as_millis() / 100, tenths, "half a second, or until no index can come in time");
    }
}

/// Which kinds are judged stands in the index too.
#[tokio::test(start_paused = true)]
async fn a_custom_resource_waits_for_the_index_and_its_deletion_does_not() {
    let scene = Scene::with(Arc::new(Snapshot::default()));
    let kind = json!({ "group": "serving.example.com", "version": "v1", "kind": "Server" });
    let review = with(recorded!("deployment-create"), "/request/kind", kind.clone());
    let began = Instant::now();
    let response = scene.review(&review).await;
    assert!(response["status"]["message"].as_str().unwrap().ends_with("[NotObservedYet]"), "{response}");
    assert_eq!(began.elapsed().as_millis() / 100, 40, "until no index can come in time");
    let began = Instant::now();
    assert!(scene.allows(&with(recorded!("pod-delete"), "/request/kind", kind)).await);
    assert!(began.elapsed().is_zero());
}

/// Of a time-out that is short, half is for the answer, and half of the rest for what comes after the index.
#[tokio::test(start_paused = true)]
async fn a_short_time_out_waits_for_the_index_too() {
    let scene = Scene::with(Arc::new(Snapshot::default()));
    let review = recorded!("pod-create").to_string();
    let (answer, ()) = tokio::join!(scene.post("/validate?timeout=1s", review), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene.snapshots.send_replace(snapshot(&["serving"], &["models"]));
    });
    let response = json_of(answer).await["response"].clone();
    assert!(response["status"]["message"].as_str().unwrap().contains("[Unsigned]"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_or_claim_that_comes_is_waited_for() {
    let scene = Scene::with(Arc::new(Snapshot::default()));
    let review = recorded!("pod-create");
    let (response, ()) = tokio::join!(scene.review(&review), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.snapshots.send_replace(snapshot(&["serving"], &[]));
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.snapshots.send_replace(snapshot(&["serving"], &["models"]));
    });
    assert!(response["status"]["message"].as_str().unwrap().contains("[Unsigned]"), "{response}");
}

/// Refuses whatever a replica is asked that is not sure of what it knows.
fn refuse_unsure(snapshot: &Snapshot, extract: &Extract, now: Timestamp) -> Decision {
    if snapshot.evidence.observed_at.is_some() { Decision::default() } else { refuse(snapshot, extract, now) }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_becomes_sure_in_a_moment_is_waited_for() {
    let sure = snapshot(&["serving"], &["models"]);
    let mut unsure = Snapshot::clone(&sure);
    unsure.evidence.observed_at = None;
    let scene = Scene::deciding(Arc::new(unsure), refuse_unsure);
    let began = Instant::now();
    assert!(!scene.allows(&recorded!("pod-create")).await, "it decides all the same, and says what it does not know");
    assert_eq!(began.elapsed().as_millis() / 100, 5, "half a second");
    let review = recorded!("pod-create");
    let (allowed, ()) = tokio::join!(scene.allows(&review), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.snapshots.send_replace(sure);
    });
    assert!(allowed);
}

/// Reviews that are read at once, and the same with something odd about them, which are not.
#[tokio::test]
async fn a_new_pod_is_judged_the_same_however_its_review_is_read() {
    let plain = recorded!("pod-create");
    let odd = [
        plain.to_string().replace("\"operation\":\"CREATE\"", "\"operation\":\"CREATE\",\"operation\":\"CREATE\""),
        plain.to_string().replacen("AdmissionReview", "Admission\\u0052eview", 1),
        with(plain.clone(), "/request/oldObject", json!({})).to_string(),
    ];
    let scene = Scene::new();
    let wanted = scene.review(&plain).await;
    assert!(wanted["status"]["message"].as_str().unwrap().contains("[Unsigned]"), "{wanted}");
    for body in odd {
        assert_eq!(review::new_pod(body.as_bytes()).map(|_| ()), None, "{body}");
        let answer = json_of(scene.post("/validate?timeout=5s", body).await).await;
        assert_eq!(answer["response"], wanted);
    }
    assert!(review::new_pod(plain.to_string().as_bytes()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_does_not_come_only_warns_on_a_template() {
    let scene = Scene::with(snapshot(&["serving"], &[]));
    let response = scene.review(&recorded!("pod-create")).await;
    assert!(response["status"]["message"].as_str().unwrap().contains("[SourceMissing]"), "{response}");
    assert!(scene.allows(&recorded!("deployment-create")).await);
    assert_eq!(scene.reviews(["Deployment", "CREATE", "warn"]), 1);
    assert_eq!(*scene.asked.0.lock().unwrap(), [], "a claim that does not exist owns no record");
}

#[tokio::test]
async fn a_record_that_is_missing_is_asked_for_unless_it_is_a_dry_run() {
    let scene = Scene::new();
    let review = recorded!("pod-create");
    scene.review(&with(review.clone(), "/request/dryRun", true.into())).await;
    assert_eq!(*scene.asked.0.lock().unwrap(), []);
    scene.review(&review).await;
    let spec = ModelVerificationSpec::of_claim("models", "llama");
    let wanted = WantedRecord { namespace: "serving".into(), claim_uid: "uid of models".into(), spec };
    assert_eq!(*scene.asked.0.lock().unwrap(), [wanted]);
}

#[tokio::test]
async fn a_probe_is_answered_with_the_replica_and_the_nonce() {
    let scene = Scene::new();
    let probe = recorded!("probe");
    let answer = scene.post("/probe?timeout=5s", probe.to_string()).await;
    assert_eq!(answer.headers()[header::CONNECTION], "close");
    let response = json_of(answer).await["response"].take();
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
    assert_eq!(response["status"]["message"], "weighbridge-probe webhook-0 9f86d081884c7d659a2feaa0c55ad015");

    let nonce = "/request/object/metadata/annotations/weighbridge.dev~1probe";
    for other in [
        with(probe.clone(), "/request/name", "settings".into()),
        with(probe.clone(), "/request/object/metadata/annotations", Value::Null),
        with(probe.clone(), nonce, "two words".into()),
        with(probe.clone(), nonce, "a".repeat(65).into()),
    ] {
        let response = json_of(scene.post("/probe", other.to_string()).await).await["response"].take();
        assert_eq!((&response["allowed"], &response["uid"]), (&json!(true), &probe["request"]["uid"]));
    }
}

/// Bytes as an attacker sends them: noise, and reviews with a piece replaced by noise.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let recorded = [
        include_str!("testdata/pod-create.json"),
        include_str!("testdata/deployment-create.json"),
        include_str!("testdata/pod-ephemeral.json"),
        include_str!("testdata/replicaset-by-controller.json"),
    ];
    let noise = proptest::collection::vec(any::<u8>(), 0..64);
    let damaged = (0..recorded.len(), any::<prop::sample::Index>(), 0..80_usize, noise).prop_map(
        move |(which, at, length, noise)| {
            let mut bytes = recorded[which].as_bytes().to_vec();
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, noise);
            bytes
        },
    );
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..512), damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_answered_and_never_by_mistake_allowed(body in bodies()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let intact: Option<Value> = serde_json::from_slice(&body).ok();
        let (status, answer) = runtime.block_on(async {
            let answer = Scene::new().post("/validate?timeout=1s", body).await;
            let status = answer.status();
            (status, json_of(answer).await)
        });
        if status == StatusCode::OK {
            let request = &intact.expect("only JSON has a uid")["request"];
            prop_assert_eq!(&answer["response"]["uid"], &request["uid"]);
            // Damage can turn a review into one that is nobody's business, such as a deletion; one that still asks for the
            // same use of the same claim is refused.
            let has = |pointer: &str, value: &str| request.pointer(pointer).is_some_and(|found| found == value);
            let same = has("/operation", "CREATE") && has("/namespace", "serving") && has("/kind/kind", "Pod")
                && has("/object/spec/volumes/0/name", "model") && request["subResource"].is_null()
                && has("/object/spec/volumes/0/persistentVolumeClaim/claimName", "models")
                && has("/object/spec/containers/0/volumeMounts/0/name", "model");
            prop_assert!(!same || answer["response"]["allowed"] == false, "{}", answer);
        } else {
            prop_assert!(status.is_client_error(), "{}", status);
        }
    }
}
