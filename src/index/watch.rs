//! One kind, followed: listed once, then watched for as long as the process lives.
//!
//! A list comes as the beginning of a watch ([KEP-3157]), out of the API server's memory; where the server does not do
//! that, in pages. All pages of custom resources but the first it may read from etcd, which takes three times as long.
//!
//! Receives an [`Api`] and a sink; promises that the sink sees a [`Event::Reset`] before anything else, every change
//! after that, and an [`Event::Alive`] for each bookmark and each watch that begins; never gives up unless the sink says
//! so, and never reports life that it did not see.
//!
//! kube-runtime's `watcher` does the same but keeps bookmarks to itself, and a bookmark (about one a minute) is the only
//! sign that tells a quiet cluster from a dead connection.
//!
//! [KEP-3157]: https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/3157-watch-list

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, ObjectList, Request, WatchEvent, WatchParams};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;
use tracing::{debug, warn};

/// Objects in one page of a list: the chunk size that client-go and kubectl use.
const PAGE: u32 = 500;
/// A watch without a word for so long is taken for dead. The API server sends a bookmark about once a minute
/// (`defaultBookmarkFrequency` in its cacher); two of them may be late.
const SILENCE: Duration = Duration::from_secs(75);
/// First and longest pause before trying again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// HTTP status of a resource version that the server no longer knows.
const GONE: u16 = 410;
/// HTTP statuses of a server that was asked for a list as the beginning of a watch and has no such thing: one that knows
/// the parameters and has the feature off, and one behind which another API server takes them for nonsense.
const NO_STREAMED_LISTS: [u16; 2] = [422, 400];
/// How long a server that streams a list may take between two objects. One that has never heard of such lists begins a
/// watch that says nothing of their end. The API server waits up to 3 s until it has caught up with etcd
/// (`blockTimeout` in its cacher).
const LIST_SILENCE: Duration = Duration::from_secs(10);
/// On the bookmark after the last object of a list that is streamed.
const END_OF_LIST: &str = "k8s.io/initial-events-end";
/// Seconds after which the server ends a watch, so that a connection that fails in one direction alone is replaced.
const WATCH_TIMEOUT_SECONDS: u32 = 290;

/// What happened to the objects of a kind.
#[derive(Clone, Debug)]
pub(crate) enum Event<K> {
    /// These are all.
    Reset(Vec<K>),
    /// This one is new or changed.
    Apply(K),
    /// This one is gone.
    Delete(K),
    /// Nothing changed up to now.
    Alive,
}

impl<K> Event<K> {
    /// The same about objects in another form.
    pub(super) fn map<T>(self, form: impl Fn(K) -> T) -> Event<T> {
        match self {
            Event::Reset(objects) => Event::Reset(objects.into_iter().map(form).collect()),
            Event::Apply(object) => Event::Apply(form(object)),
            Event::Delete(object) => Event::Delete(form(object)),
            Event::Alive => Event::Alive,
        }
    }
}

/// Which objects of a kind are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// A label selector.
    pub(super) labels: Option<String>,
    /// A field selector.
    pub(super) fields: Option<String>,
    /// How many objects are listed at once; absent, as many as anybody does.
    pub(super) page: Option<u32>,
}

/// Who is told what happens to the objects of a kind.
pub(super) trait Sink<K> {
    /// What is kept of an object. While a list comes in, no more than a page of it is there in full.
    type Kept;

    /// Hears that a list begins, of which each object is kept before [`Event::Reset`] tells of all.
    fn listing(&mut self) {}

    /// What is kept of this one.
    fn keep(&mut self, object: K) -> Self::Kept;

    /// Hears that what was kept of an object is of no use any more, before [`Event::Reset`] tells of all.
    fn forget(&mut self, _: &Self::Kept) {}

    /// Takes in what happened.
    fn take(&mut self, event: Event<Self::Kept>);

    /// Hears why a list or a watch failed, and says whether to try again.
    fn failed(&mut self, _: &kube::Error) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A sink of two functions, which goes on whatever fails: what is kept of an object, and who takes in what happened.
impl<K, T, F: Fn(K) -> T, G: FnMut(Event<T>)> Sink<K> for (F, G) {
    type Kept = T;

    fn keep(&mut self, object: K) -> T {
        (self.0)(object)
    }

    fn take(&mut self, event: Event<T>) {
        (self.1)(event);
    }
}

/// What is told of one object.
type Told<T> = fn(T) -> Event<T>;

/// Follows a kind for ever, and tells `sink` what happens; ends when that does not want to go on.
pub(super) async fn follow<K, S>(api: Api<K>, scope: Scope, mut sink: S)
where
    K: Resource + Clone + Debug + DeserializeOwned,
    S: Sink<K>,
{
    let mut pause = BACKOFF.0;
    let mut version: Option<String> = None;
    let request = Request::new(api.resource_url());
    let client = api.into_client();
    loop {
        let step = match &mut version {
            None => match stream_list(&client, &request, &scope, &mut sink).await {
                Ok(None) => list(&client, &request, &scope, &mut sink).await,
                Ok(Some(next)) => Ok(next),
                Err(error) => Err(error),
            },
            Some(from) => watch(&client, &request, &scope, from, &mut sink).await,
        };
        match step {
            Ok(Next::Watch(from)) => {
                version = Some(from);
                pause = BACKOFF.0;
                continue;
            }
            Ok(Next::Resume) => pause = BACKOFF.0,
            Ok(Next::List) => version = None,
            Err(error) => {
                if sink.failed(&error).is_break() {
                    return;
                }
                warn!(kind = std::any::type_name::<K>(), %error, "cannot list or watch; trying again");
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// How to go on after a list or a watch.
enum Next {
    /// Watch from this version on.
    Watch(String),
    /// Watch on from the version that was seen last.
    Resume,
    /// The server no longer knows that version: list again.
    List,
}

/// An object without its `managedFields`. Nobody here reads them, they are often the largest part, and whoever may change
/// an object may write times into them that an API server takes and that do not parse here (the last day of the year
/// 9999): one such object would end the watch of its kind for the whole cluster.
#[derive(Clone, Debug)]
pub(crate) struct Unmanaged<K>(pub(crate) K);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Unmanaged<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        K::deserialize(object).map(Unmanaged).map_err(D::Error::custom)
    }
}

/// Has the server send all objects as the beginning of a watch, until it says that these were all. Nothing if it does not
/// do that.
async fn stream_list<K, S>(
    client: &Client,
    request: &Request,
    scope: &Scope,
    sink: &mut S,
) -> kube::Result<Option<Next>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    S: Sink<K>,
{
    // From no version on: as recent as a read from etcd.
    let params = WatchParams { send_initial_events: true, ..watch_params(scope) };
    let request = request.watch(&params, "").map_err(kube::Error::BuildRequest)?;
    let mut stream = match client.request_events::<Unmanaged<K>>(request).await {
        Ok(stream) => stream.boxed(),
        Err(kube::Error::Api(status)) if NO_STREAMED_LISTS.contains(&status.code) => return Ok(None),
        Err(error) => return Err(error),
    };
    // What the server knew when it began may change before it has sent all.
    let mut objects = BTreeMap::new();
    let key = |object: &K| (object.meta().namespace.clone(), object.meta().name.clone());
    sink.listing();
    loop {
        let Ok(next) = tokio::time::timeout(LIST_SILENCE, stream.try_next()).await else {
            debug!(kind = std::any::type_name::<K>(), "a list that was to be streamed does not end; listing in pages");
            return Ok(None);
        };
        match next? {
            Some(WatchEvent::Added(Unmanaged(object)) | WatchEvent::Modified(Unmanaged(object))) => {
                let key = key(&object);
                objects.remove(&key).iter().for_each(|before| sink.forget(before));
                objects.insert(key, sink.keep(object));
            }
            Some(WatchEvent::Deleted(Unmanaged(object))) => {
                objects.remove(&key(&object)).iter().for_each(|before| sink.forget(before));
            }
            Some(WatchEvent::Bookmark(bookmark)) if bookmark.metadata.annotations.contains_key(END_OF_LIST) => {
                sink.take(Event::Reset(objects.into_values().collect()));
                return Ok(Some(Next::Watch(bookmark.metadata.resource_version)));
            }
            Some(WatchEvent::Bookmark(_)) => {}
            // The server may have found out only now that it cannot stream this list. If something else is wrong, so it
            // will be with the pages.
            Some(WatchEvent::Error(status)) => {
                debug!(code = status.code, message = %status.message, "a list was ended; listing in pages");
                return Ok(None);
            }
            None => return Ok(None),
        }
    }
}

/// Asks for all objects page by page.
async fn list<K, S>(client: &Client, request: &Request, scope: &Scope, sink: &mut S) -> kube::Result<Next>
where
    K: Clone + Debug + DeserializeOwned,
    S: Sink<K>,
{
    let mut params = ListParams {
        label_selector: scope.labels.clone(),
        field_selector: scope.fields.clone(),
        limit: Some(scope.page.unwrap_or(PAGE)),
        ..ListParams::default()
    };
    let mut objects = Vec::new();
    sink.listing();
    loop {
        let page = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let page = client.request::<ObjectList<Unmanaged<K>>>(page).await?;
        objects.extend(page.items.into_iter().map(|Unmanaged(object)| sink.keep(object)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => {
                sink.take(Event::Reset(objects));
                return Ok(Next::Watch(page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }
}

fn watch_params(scope: &Scope) -> WatchParams {
    WatchParams {
        label_selector: scope.labels.clone(),
        field_selector: scope.fields.clone(),
        timeout: Some(WATCH_TIMEOUT_SECONDS),
        bookmarks: true,
        send_initial_events: false,
    }
}

/// Watches until the stream ends, and moves `version` along with what it sees.
async fn watch<K, S>(
    client: &Client,
    request: &Request,
    scope: &Scope,
    version: &mut String,
    sink: &mut S,
) -> kube::Result<Next>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    S: Sink<K>,
{
    let request = request.watch(&watch_params(scope), version).map_err(kube::Error::BuildRequest)?;
    let mut stream = match client.request_events::<Unmanaged<K>>(request).await {
        Ok(stream) => stream.boxed(),
        Err(kube::Error::Api(status)) if status.code == GONE => return Ok(Next::List),
        Err(error) => return Err(error),
    };
    // The server takes up the watch where we are. Of a kind of which nothing has changed since the server started it may
    // send no bookmark at all: then a new watch after each [`SILENCE`] is the only sign of life.
    sink.take(Event::Alive);
    loop {
        let Ok(next) = tokio::time::timeout(SILENCE, stream.try_next()).await else {
            debug!(kind = std::any::type_name::<K>(), "a watch fell silent; starting another");
            return Ok(Next::Resume);
        };
        let (object, event): (K, Told<S::Kept>) = match next? {
            None => return Ok(Next::Resume),
            Some(WatchEvent::Added(Unmanaged(object)) | WatchEvent::Modified(Unmanaged(object))) => {
                (object, Event::Apply)
            }
            Some(WatchEvent::Deleted(Unmanaged(object))) => (object, Event::Delete),
            Some(WatchEvent::Bookmark(bookmark)) => {
                *version = bookmark.metadata.resource_version;
                sink.take(Event::Alive);
                continue;
            }
            Some(WatchEvent::Error(status)) => {
                debug!(code = status.code, message = %status.message, "a watch was ended; listing again");
                return Ok(Next::List);
            }
        };
        if let Some(seen) = &object.meta().resource_version {
            version.clone_from(seen);
        }
        let kept = sink.keep(object);
        sink.take(event(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use std::convert::Infallible;
    use std::sync::mpsc;

    use axum::http::{Request as HttpRequest, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use kube::client::Body;
    use kube::core::DynamicObject;
    use serde_json::json;

    /// What a server answers to a query.
    type Answer = fn(&str) -> (u16, String);

    fn event(kind: &str, name: &str, data: &str) -> String {
        let object = json!({ "metadata": { "name": name, "namespace": "ns" }, "data": { "x": data } });
        format!("{}\n", json!({ "type": kind, "object": object }))
    }

    fn error(message: &str) -> String {
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": 500 });
        format!("{}\n", json!({ "type": "ERROR", "object": status }))
    }

    fn end_of_list(version: &str) -> String {
        let metadata = json!({ "resourceVersion": version, "annotations": { END_OF_LIST: "true" } });
        let object = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata });
        format!("{}\n", json!({ "type": "BOOKMARK", "object": object }))
    }

    /// Names and data of the objects that the first list has, and the version that is watched from then on.
    async fn first_list(answer: Answer) -> (Vec<(String, String)>, String) {
        let (asked, queries) = mpsc::channel();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (status, body) = answer(&query);
            asked.send(query).unwrap();
            let response = Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let api = Api::<ConfigMap>::all(Client::new(service, "default"));
        let (told, events) = mpsc::channel();
        let keep = |it: ConfigMap| (it.name_any(), it.data.unwrap_or_default()["x"].clone());
        let take = move |event| told.send(event).unwrap();
        let asks_from = |query: &str| Some(query.split_once("resourceVersion=")?.1.split('&').next()?.to_owned());
        let version = tokio::task::spawn_blocking(move || {
            let mut queries = queries.iter().filter_map(|query| asks_from(&query));
            queries.find(|version| !version.is_empty()).unwrap()
        });
        let version = tokio::select! {
            () = follow(api, Scope::default(), (keep, take)) => unreachable!("it goes on for ever"),
            version = version => version.unwrap(),
        };
        match events.try_recv().unwrap() {
            Event::Reset(objects) => (objects, version),
            other => panic!("{other:?}"),
        }
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_is_the_beginning_of_a_watch() {
        let (objects, version) = first_list(|query| {
            let listed = [
                event("ADDED", "a", "1"),
                event("ADDED", "b", "1"),
                event("MODIFIED", "a", "2"),
                event("DELETED", "b", "1"),
                event("ADDED", "c", "1"),
                end_of_list("7"),
            ];
            (200, if query.contains("sendInitialEvents=true") { listed.concat() } else { String::new() })
        })
        .await;
        assert_eq!((objects, version.as_str()), (vec![pair("a", "2"), pair("c", "1")], "7"));
    }

    /// Two pages of one object each.
    fn pages(query: &str) -> (u16, String) {
        let page = |name: &str, more: &str| {
            let items = [json!({ "metadata": { "name": name }, "data": { "x": "1" } })];
            let metadata = json!({ "resourceVersion": "5", "continue": more });
            json!({ "kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items }).to_string()
        };
        let page = if query.contains("continue=more") { page("b", "") } else { page("a", "more") };
        (200, if query.contains("watch=true") { String::new() } else { page })
    }

    /// One says so, at once or when it has begun; another has never heard of such lists, and watches.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_streams_no_lists_is_asked_for_pages() {
        let says_so: Answer = |query| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422 });
            if query.contains("sendInitialEvents") { (422, status.to_string()) } else { pages(query) }
        };
        let watches: Answer = |query| match query.contains("sendInitialEvents") {
            true => (200, event("ADDED", "a", "1")),
            false => pages(query),
        };
        let finds_out: Answer = |query| match query.contains("sendInitialEvents") {
            true => (200, event("ADDED", "a", "1") + &error("no progress of watches")),
            false => pages(query),
        };
        for answer in [says_so, finds_out, watches] {
            let (objects, version) = first_list(answer).await;
            assert_eq!((objects, version.as_str()), (vec![pair("a", "1"), pair("b", "1")], "5"));
        }
    }

    #[test]
    fn no_object_ends_the_watch_by_the_times_in_its_managed_fields() {
        let managed = json!([{ "manager": "m", "operation": "Update", "time": "9999-12-31T23:59:59Z" }]);
        let metadata = json!({ "name": "a", "namespace": "ns", "labels": { "x": "y" }, "managedFields": managed });
        let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata });
        assert!(serde_json::from_value::<Pod>(object.clone()).is_err(), "the case is not what it was");
        let event = json!({ "type": "MODIFIED", "object": object });
        let event: WatchEvent<Unmanaged<Pod>> = serde_json::from_value(event).unwrap();
        let WatchEvent::Modified(Unmanaged(pod)) = event else { panic!("{event:?}") };
        assert_eq!(pod.metadata.labels.unwrap()["x"], "y");
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [object] });
        serde_json::from_value::<ObjectList<Unmanaged<Pod>>>(list.clone()).unwrap();
        serde_json::from_value::<ObjectList<Unmanaged<DynamicObject>>>(list).unwrap();
    }
}
