//! One kind, followed: listed once, then watched for as long as the process lives.
//!
//! Receives an [`Api`] and a sink; promises that the sink sees a [`Event::Reset`] before anything else, every change
//! after that, and an [`Event::Alive`] for each bookmark and each watch that begins; never gives up unless the sink says
//! so, and never reports life that it did not see.
//!
//! kube-runtime's `watcher` does the same but keeps bookmarks to itself, and a bookmark (about one a minute) is the only
//! sign that tells a quiet cluster from a dead connection.

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
            None => list(&client, &request, &scope, &mut sink).await.map(|(objects, listed)| {
                sink.take(Event::Reset(objects));
                Next::Watch(listed)
            }),
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

async fn list<K, S>(
    client: &Client,
    request: &Request,
    scope: &Scope,
    sink: &mut S,
) -> kube::Result<(Vec<S::Kept>, String)>
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
            None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
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
    let params = WatchParams {
        label_selector: scope.labels.clone(),
        field_selector: scope.fields.clone(),
        timeout: Some(WATCH_TIMEOUT_SECONDS),
        bookmarks: true,
        ..WatchParams::default()
    };
    let request = request.watch(&params, version).map_err(kube::Error::BuildRequest)?;
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
    use kube::core::DynamicObject;
    use serde_json::json;

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
