//! An API server that gets and loses kinds, and that forbids some.

use std::sync::Mutex;

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};

use super::super::follow::{Interest, Settings};
use super::*;
use crate::api::v1alpha1::ModelKindSpec;

/// What the API server has.
#[derive(Default)]
struct Server {
    /// Kinds that it serves, as group, version, plural name and kind.
    served: Vec<[&'static str; 4]>,
    /// Plural names of kinds that we may not read, as it says when it is asked.
    forbidden: Vec<&'static str>,
    /// The HTTP status of lists, where they fail.
    failing: Option<u16>,
    /// What was listed.
    listed: Vec<String>,
}

const SERVICE: [&str; 4] = ["serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"];
const ADAPTER: [&str; 4] = ["model.aibrix.ai", "v1alpha1", "modeladapters", "ModelAdapter"];

impl Server {
    fn answer(&mut self, path: &str, is_watch: bool, body: &Value) -> (u16, Value) {
        match path {
            "/apis" => (200, json!({ "items": self.served.iter().map(group).collect::<Vec<_>>() })),
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                let resource = body["spec"]["resourceAttributes"]["resource"].as_str().unwrap();
                let allowed = !self.forbidden.contains(&resource);
                (200, json!({ "spec": body["spec"], "status": { "allowed": allowed } }))
            }
            _ if is_watch => (200, Value::Null),
            _ => {
                self.listed.push(path.to_owned());
                let object = json!({ "metadata": { "name": "chat", "namespace": "team", "uid": "u" },
                    "spec": { "artifactURL": "pvc://models", "predictor": { "model": { "storageUri": "pvc://models" } } } });
                match self.failing {
                    Some(code) => (code, json!({ "status": "Failure", "code": code, "message": "", "reason": "" })),
                    None => (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [object] })),
                }
            }
        }
    }
}

fn group([group, version, resource, kind]: &[&str; 4]) -> Value {
    let verbs = ["get", "list", "watch"];
    let resource =
        json!({ "resource": resource, "responseKind": { "kind": kind }, "scope": "Namespaced", "verbs": verbs });
    json!({ "metadata": { "name": group }, "versions": [{ "version": version, "resources": [resource] }] })
}

/// What follows the kinds of an API server.
struct World {
    server: Arc<Mutex<Server>>,
    index: Index,
    followers: Followers,
    kinds: CustomKinds,
}

impl World {
    fn new(served: &[[&'static str; 4]]) -> Self {
        let server = Arc::new(Mutex::new(Server { served: served.to_vec(), ..Server::default() }));
        let asked = Arc::clone(&server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&asked);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
                assert!(parts.method == Method::GET || parts.uri.path().ends_with("reviews"), "{parts:?}");
                let (code, answer) = server.lock().unwrap().answer(parts.uri.path(), is_watch, &body);
                let text = if answer.is_null() { Vec::new() } else { serde_json::to_vec(&answer)? };
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(Body::from(text))?)
            }
        });
        let client = Client::new(tower::buffer::Buffer::new(service, 8), "weighbridge");
        let index = Index::new(Settings {
            namespace: "weighbridge".into(),
            interest: Interest::Operation,
            trust_secrets: Vec::new(),
            clock: || Timestamp::UNIX_EPOCH,
        });
        let followers = Followers { index: index.clone(), client, tasks: JoinSet::new(), by_kind: BTreeMap::new() };
        World { server, index, followers, kinds: CustomKinds::default() }
    }

    fn server(&self, change: impl FnOnce(&mut Server)) {
        change(&mut self.server.lock().unwrap());
    }

    /// Each kind with its state and how many objects are known; then whether that is settled.
    fn seen(&self) -> (Vec<String>, bool) {
        let view = self.index.custom(|custom| custom.view());
        let kind =
            |((_, kind), it): (&KindKey, &FollowedKind)| format!("{kind} {} {}", it.state.as_str(), it.objects.len());
        (view.kinds.iter().map(kind).collect(), view.settled)
    }

    /// Looks at the kinds, and waits until they are as expected.
    async fn look(&mut self, expected: &[&str]) {
        self.followers.look(&self.kinds).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.seen() != (expected.iter().map(|&it| it.to_owned()).collect(), true) {
            assert!(Instant::now() < deadline, "{:?}, not {expected:?}", self.seen());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kinds_are_followed_as_they_come_and_go() {
    let mut world = World::new(&[]);
    assert_eq!(world.seen(), (vec![], false), "nobody has asked yet");
    world.look(&[]).await;
    world.server(|server| server.served = vec![SERVICE, ADAPTER, ["example.com", "v1", "servers", "Server"]]);
    world.look(&["ModelAdapter Live 1", "InferenceService Live 1"]).await;
    world.server(|server| server.served = vec![ADAPTER]);
    world.look(&["ModelAdapter Live 1"]).await;
    assert_eq!(world.followers.by_kind.len(), 1);
    world.server(|server| assert_eq!(server.listed.len(), 2, "{:?}", server.listed));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_added_is_followed_and_one_that_is_read_otherwise_is_read_again() {
    let mut world = World::new(&[["example.com", "v1", "servers", "Server"]]);
    world.look(&[]).await;
    let spec = |path: &str| -> ModelKindSpec {
        let paths = json!({ "uris": [path] });
        let spec = json!({ "group": "example.com", "kind": "Server", "resource": "servers", "paths": paths });
        serde_json::from_value(spec).unwrap()
    };
    for (path, uses) in [("spec.other", 0), ("spec.artifactURL", 1)] {
        world.kinds = CustomKinds::with([&spec(path)]);
        world.look(&["Server Live 1"]).await;
        let found = || {
            let view = world.index.custom(|custom| custom.view());
            view.objects().map(|object| object.extract.uses.len()).sum::<usize>()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while found() != uses {
            assert!(Instant::now() < deadline, "{} uses by {path}", found());
            sleep(Duration::from_millis(50)).await;
        }
    }
    world.server(|server| assert_eq!(server.listed.len(), 2));
    world.kinds = CustomKinds::default();
    world.look(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_said_and_never_asked_for() {
    let mut world = World::new(&[SERVICE, ADAPTER]);
    world.server(|server| server.forbidden = vec![SERVICE[2]]);
    world.look(&["ModelAdapter Live 1", "InferenceService Forbidden 0"]).await;
    world.server(|server| {
        assert_eq!(server.listed, ["/apis/model.aibrix.ai/v1alpha1/modeladapters"]);
        server.forbidden.clear();
    });
    world.look(&["ModelAdapter Live 1", "InferenceService Live 1"]).await;
}

#[test]
fn one_question_without_an_answer_does_not_say_that_there_are_no_kinds() {
    let mut custom = Custom::default();
    let settled: Vec<bool> = (0..MAX_FAILED_LOOKS)
        .map(|_| {
            custom.look_failed();
            custom.view().settled
        })
        .collect();
    assert_eq!(settled, [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_fails_holds_up_nothing_and_is_tried_again() {
    for (code, state, known) in [(403, "Forbidden", 0), (404, "Failed", 0), (500, "Failed", 1)] {
        let mut world = World::new(&[SERVICE]);
        world.server(|server| server.failing = Some(code));
        let began = Instant::now();
        world.look(&[&format!("InferenceService {state} 0")]).await;
        let patience = Duration::from_secs(if code == 500 { 10 } else { 0 });
        assert!(began.elapsed() >= patience, "{code}: nobody's status goes for a list that fails once");
        world.server(|server| server.failing = None);
        // By itself, or by the next look.
        sleep(LOOK_EVERY).await;
        world.look(&["InferenceService Live 1"]).await;

        // Later, when something is known already.
        let failed = World::error(code);
        let key = (SERVICE[0].to_owned(), SERVICE[3].to_owned());
        let reader =
            Reader { kinds: world.kinds.clone(), group: key.0.clone(), version: "v1beta1".into(), kind: key.1.clone() };
        let mut sink = KindSink { index: world.index.clone(), key, reader, place: None };
        assert_eq!(sink.failed(&failed).is_break(), known == 0, "{code}");
        assert_eq!(world.seen().0, [format!("InferenceService {state} {known}")], "{code}");
    }
}

impl World {
    fn error(code: u16) -> kube::Error {
        let status = json!({ "status": "Failure", "code": code, "message": "", "reason": "" });
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }
}
