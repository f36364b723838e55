//! Custom resources, followed as the cluster gets and loses kinds.
//!
//! Receives the kinds that are judged, and what the API server says it serves and lets us read; promises that each kind
//! of which both is true is followed within [`LOOK_EVERY`], and that one that cannot be followed is said to be so, in the
//! log and in every snapshot, and is tried again; never asks for what it may not read or what is not there, and never
//! holds anything else up: no decision of the webhook rests on these objects, so a snapshot is published whether or not
//! they are among it.
//!
//! ```text
//! kinds ──┐
//! /apis ──┴─discovery─▶ what is served ──may it be read?──▶ one task a kind: list + watch ──▶ Rows ──▶ CustomObjects
//! ```

mod discovery;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::follow::Index;
use super::snapshot::Snapshot;
use super::watch::{Event, Scope, Sink, follow};
use crate::workload::CustomKinds;
use discovery::{KindKey, Served, VERBS, served};
pub use rows::CustomObject;
use rows::{Kept, Reader, Rows};

/// How often it is asked which kinds there are: what was installed is followed about as soon as its first objects are made
/// by hand. The API server answers from memory.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a kind of which something was left out is listed again, in case others have gone: often enough for a status,
/// and no more than one list of some ten thousand objects at a time.
const RELIST_EVERY: Duration = Duration::from_secs(300);
/// Objects in one page of a list. One has at most 1.5 MiB (the bound of etcd), and a page is in memory in full.
const PAGE: u32 = 50;
/// How many lists of a kind may fail before it is taken for one of which nothing can be known: with the pauses between
/// them this is about half a minute, in which an API server that has just got the kind is ready for it.
const MAX_FAILURES: u32 = 8;
/// The same of the question which kinds there are, which is asked every [`LOOK_EVERY`].
const MAX_FAILED_LOOKS: u32 = 3;
/// HTTP status of a kind that may not be read.
const FORBIDDEN: u16 = 403;
/// HTTP status of a kind that is not there.
const NOT_FOUND: u16 = 404;

/// Custom resources, as far as they are followed.
#[derive(Clone, Debug, Default)]
pub struct CustomObjects {
    /// Whether it is known of each kind that the cluster has what objects there are, or that this cannot be known.
    pub settled: bool,
    /// The kinds that are judged and that the cluster has, by group and kind.
    pub kinds: Arc<BTreeMap<(String, String), FollowedKind>>,
}

impl CustomObjects {
    /// All objects, by group and kind, in no order within a kind.
    pub fn objects(&self) -> impl Iterator<Item = &CustomObject> {
        self.kinds.values().flat_map(|kind| kind.objects.values()).map(AsRef::as_ref)
    }
}

/// The objects of one kind.
#[derive(Clone, Debug, Default)]
pub struct FollowedKind {
    /// How far it is followed.
    pub state: Following,
    /// The objects by namespace and name.
    pub objects: Arc<HashMap<(String, String), Arc<CustomObject>>>,
    /// About how many more there are, for which there was no place.
    pub left_out: usize,
}

/// How far a kind is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Following {
    /// It is being listed for the first time.
    #[default]
    Listing,
    /// It is watched.
    Live,
    /// Nobody has granted us to read it.
    Forbidden,
    /// The last list or watch failed; what is known is as it was before.
    Failed,
}

impl Following {
    /// All of them.
    pub const ALL: [Following; 4] = [Following::Listing, Following::Live, Following::Forbidden, Following::Failed];

    /// One word of a closed set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Following::Listing => "Listing",
            Following::Live => "Live",
            Following::Forbidden => "Forbidden",
            Following::Failed => "Failed",
        }
    }
}

/// What is known at this moment.
#[derive(Debug, Default)]
pub(super) struct Custom {
    /// Whether it is known which kinds there are, or that this cannot be known.
    looked: bool,
    /// How often nobody answered that.
    failed_looks: u32,
    kinds: BTreeMap<KindKey, Table>,
    changed: bool,
}

#[derive(Debug, Default)]
struct Table {
    state: Following,
    /// Whether it is known which objects there are, or were.
    listed: bool,
    /// How many lists or watches have failed since the last one that did not.
    failures: u32,
    rows: Rows,
}

impl Table {
    /// See [`CustomObjects::settled`].
    fn is_settled(&self) -> bool {
        match self.state {
            Following::Listing => false,
            Following::Live | Following::Forbidden => true,
            Following::Failed => self.listed || self.failures >= MAX_FAILURES,
        }
    }
}

impl Custom {
    /// Whether the view of this moment is another one than at the last call of [`Custom::take_changed`].
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The view of this moment, if it is another one than at the last call.
    pub(super) fn take_changed(&mut self) -> Option<CustomObjects> {
        std::mem::take(&mut self.changed).then(|| self.view())
    }

    fn view(&self) -> CustomObjects {
        let kind = |table: &Table| FollowedKind {
            state: table.state,
            objects: table.rows.objects(),
            left_out: table.rows.left_out(),
        };
        CustomObjects {
            settled: self.looked && self.kinds.values().all(Table::is_settled),
            kinds: Arc::new(self.kinds.iter().map(|(key, table)| (key.clone(), kind(table))).collect()),
        }
    }

    /// Takes in what the API server says of a kind.
    fn take(&mut self, key: &KindKey, event: Event<Kept>) {
        let Some(table) = self.kinds.get_mut(key) else { return };
        self.changed |= !matches!(event, Event::Alive) || table.state != Following::Live;
        (table.state, table.listed, table.failures) = (Following::Live, true, 0);
        table.rows.take(event);
    }

    /// Notes that a kind cannot be followed, and forgets its objects where nothing is known of them any more.
    fn cannot(&mut self, key: &KindKey, state: Following, forget: bool) {
        let Some(table) = self.kinds.get_mut(key) else { return };
        let before = (table.state, table.is_settled());
        // What ends at once will not be another way the next time.
        table.failures = if forget { MAX_FAILURES } else { table.failures.saturating_add(1) };
        table.state = state;
        if forget {
            table.rows = Rows::default();
        }
        self.changed |= before != (table.state, table.is_settled()) || forget;
    }

    /// Notes that nobody says which kinds there are. In the end what is known has to do.
    fn look_failed(&mut self) {
        self.failed_looks = self.failed_looks.saturating_add(1);
        if self.failed_looks >= MAX_FAILED_LOOKS {
            self.changed |= !std::mem::replace(&mut self.looked, true);
        }
    }

    /// Notes which kinds there are.
    fn keep(&mut self, served: &BTreeMap<KindKey, Served>) {
        let before = self.kinds.len();
        self.failed_looks = 0;
        self.kinds.retain(|key, _| served.contains_key(key));
        self.changed |= !std::mem::replace(&mut self.looked, true) || self.kinds.len() < before;
    }

    fn is_incomplete(&self, key: &KindKey) -> bool {
        self.kinds.get(key).is_some_and(|table| table.rows.left_out() > 0)
    }
}

/// Follows custom resources for as long as the process lives.
pub(super) async fn follow_all(index: Index, client: Client) {
    let mut snapshots = index.subscribe();
    let mut followers = Followers { index, client, tasks: JoinSet::new(), by_kind: BTreeMap::new() };
    // An error means that the index has ended, and the process with it.
    while snapshots.wait_for(|snapshot| snapshot.version > 0).await.is_ok() {
        let kinds = snapshots.borrow_and_update().kinds.clone();
        followers.look(&kinds).await;
        let next = sleep_until(Instant::now() + LOOK_EVERY);
        tokio::select! {
            () = next => {}
            () = change(&mut snapshots, &kinds) => {}
        }
    }
}

/// Ends when other kinds are judged than these.
async fn change(snapshots: &mut watch::Receiver<Arc<Snapshot>>, kinds: &CustomKinds) {
    if snapshots.wait_for(|snapshot| !snapshot.kinds.is_same(kinds)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The tasks, one for each kind that is followed.
struct Followers {
    index: Index,
    client: Client,
    tasks: JoinSet<()>,
    by_kind: BTreeMap<KindKey, Follower>,
}

/// One of them, and what it follows.
struct Follower {
    served: Served,
    kinds: CustomKinds,
    task: AbortHandle,
}

impl Followers {
    /// Starts and ends tasks, so that what is judged and served is followed.
    async fn look(&mut self, kinds: &CustomKinds) {
        self.reap();
        let list = match self.client.list_api_groups_aggregated().await {
            Ok(list) => list,
            Err(error) => {
                warn!(%error, "cannot ask which custom resources there are; trying again");
                self.index.custom(Custom::look_failed);
                return;
            }
        };
        let served = served(&list, kinds);
        self.by_kind.retain(|key, follower| {
            let same = served.get(key) == Some(&follower.served) && kinds.reads_as(&follower.kinds, &key.0, &key.1);
            if !same {
                follower.task.abort();
            }
            same
        });
        for (key, served) in &served {
            if self.by_kind.contains_key(key) {
                continue;
            }
            if self.may_follow(&key.0, &served.resource).await {
                self.start(key, served, kinds);
            } else {
                self.forbidden(key, &served.resource);
            }
        }
        self.index.custom(|custom| custom.keep(&served));
    }

    /// Takes leave of tasks that have ended. One that panicked takes the process along, as any other would.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.by_kind.retain(|_, follower| !follower.task.is_finished());
    }

    /// Whether we may read a kind. Where nobody can say, a list will.
    async fn may_follow(&self, group: &str, resource: &str) -> bool {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        for verb in VERBS {
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
            let answer = api.create(&PostParams::default(), &review).await;
            if answer.is_ok_and(|answer| answer.status.is_some_and(|status| !status.allowed)) {
                return false;
            }
        }
        true
    }

    fn forbidden(&self, key: &KindKey, resource: &str) {
        let new = self.index.custom(|custom| {
            let new = custom.kinds.entry(key.clone()).or_default().state != Following::Forbidden;
            custom.cannot(key, Following::Forbidden, new);
            new
        });
        if new {
            warn!(
                group = key.0,
                resource,
                "its objects have no status, for they may not be read: grant list and watch in a ClusterRole with the \
                 label weighbridge.dev/aggregate-to-operator: \"true\""
            );
        }
    }

    fn start(&mut self, key: &KindKey, served: &Served, kinds: &CustomKinds) {
        let (group, kind) = key.clone();
        let Served { version, resource } = served.clone();
        info!(group, kind, version, "custom resources are followed");
        let api_resource = ApiResource {
            api_version: format!("{group}/{version}"),
            group: group.clone(),
            version: version.clone(),
            kind: kind.clone(),
            plural: resource,
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &api_resource);
        let reader = Reader { kinds: kinds.clone(), group, version, kind };
        self.index.custom(|custom| {
            let table = custom.kinds.entry(key.clone()).or_default();
            if table.state == Following::Forbidden {
                table.state = Following::Listing;
            }
            custom.changed = true;
        });
        let sink = KindSink { index: self.index.clone(), key: key.clone(), reader, place: None };
        let (index, of) = (self.index.clone(), key.clone());
        let scope = Scope { page: Some(PAGE), ..Scope::default() };
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = follow(api, scope, sink) => {}
                () = outdated(&index, &of) => {}
            }
        });
        self.by_kind.insert(key.clone(), Follower { served: served.clone(), kinds: kinds.clone(), task });
    }
}

/// Ends when a kind is to be listed again, because something of it was left out.
async fn outdated(index: &Index, key: &KindKey) {
    loop {
        sleep(RELIST_EVERY).await;
        if index.custom(|custom| custom.is_incomplete(key)) {
            return;
        }
    }
}

/// Takes in the objects of one kind.
struct KindSink {
    index: Index,
    key: KindKey,
    reader: Reader,
    /// While a list comes in, how many bytes there is place for.
    place: Option<usize>,
}

impl Sink<DynamicObject> for KindSink {
    type Kept = Kept;

    fn listing(&mut self) {
        self.place = Some(Rows::PLACE);
    }

    fn keep(&mut self, object: DynamicObject) -> Kept {
        let kept = self.reader.keep(object, self.place.unwrap_or(Rows::PLACE));
        if let (Some(place), Some((_, bytes))) = (&mut self.place, &kept.object) {
            *place -= bytes;
        }
        kept
    }

    fn forget(&mut self, kept: &Kept) {
        if let (Some(place), Some((_, bytes))) = (&mut self.place, &kept.object) {
            *place += bytes;
        }
    }

    fn take(&mut self, event: Event<Kept>) {
        self.place = None;
        let left_out = |custom: &Custom| custom.kinds.get(&self.key).map_or(0, |table| table.rows.left_out());
        let (before, after) = self.index.custom(|custom| {
            let before = left_out(custom);
            custom.take(&self.key, event);
            (before, left_out(custom))
        });
        if before == 0 && after > 0 {
            let (group, kind) = &self.key;
            warn!(
                group,
                kind,
                left_out = after,
                "there are more objects than are kept account of; they have no status"
            );
        }
    }

    fn failed(&mut self, error: &kube::Error) -> ControlFlow<()> {
        // After these nothing will be another way until something else has changed.
        let (state, ended) = match error {
            kube::Error::Api(status) if status.code == FORBIDDEN => (Following::Forbidden, true),
            kube::Error::Api(status) if status.code == NOT_FOUND => (Following::Failed, true),
            _ => (Following::Failed, false),
        };
        self.index.custom(|custom| custom.cannot(&self.key, state, ended));
        if !ended {
            return ControlFlow::Continue(());
        }
        let (group, kind) = &self.key;
        warn!(group, kind, %error, "custom resources cannot be followed any more");
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests;
