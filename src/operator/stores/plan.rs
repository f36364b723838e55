//! From what is seen of writers to what every backing store's status must say.
//!
//! Receives plain data; promises that the epoch of a store goes up whenever a writer is first seen, is seen to have
//! ended, is cleared away, or may have been missed, so that no two reads with a possible write between them have the
//! same epoch; never waits and never looks anything up.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{BackingStoreSpec, BackingStoreStatus, WriterStatus};
use crate::workload::BackingStore;

/// A Pod that may write to a store, or might have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Its node.
    pub node: Option<String>,
    /// How often its writing containers have been started, in some form: another one is another writing.
    pub starts: String,
    /// How far it has come.
    pub state: WriterState,
}

/// How far a writer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// It is held behind our gate, and will be for longer than it takes to let everybody know of it. Once it was marked it
    /// stays so: whether it was let go meanwhile is not known for certain.
    Waiting,
    /// It is there, and may be writing or begin to.
    Active,
    /// Its kubelet reported its end.
    Ended,
    /// It is gone without such a report.
    Vanished,
    /// It is gone or going, and never had a node.
    NeverBound,
}

/// A store, and the object that stands for it if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Its object's status; `None` where there is no object.
    pub existing: Option<BackingStoreStatus>,
    /// The value of its annotation that clears vanished writers.
    pub clear: Option<String>,
    /// Whether something could still lead to it: a volume or a claim.
    pub reachable: bool,
    /// All writers that can change what is read from it.
    pub writers: Vec<Writer>,
    /// Writers that vanished from stores that were this one before (a claim that was unbound), or that overlap it.
    pub inherited: Vec<WriterStatus>,
    /// Whether it turned out to be another store, whose object has taken over all that this one says.
    pub merged: bool,
    /// Lowest epoch that it may have: that of the store that it was before.
    pub floor: i64,
    /// Whether a writer may have come and gone unseen.
    pub missed: bool,
    /// Nodes to which it is attached no longer.
    pub detached: BTreeSet<String>,
}

/// What is known beside the stores.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Uids of all Pods that are there, or were deleted within the last minutes.
    pub pods: BTreeSet<String>,
    /// Nodes that no longer exist.
    pub lost_nodes: BTreeSet<String>,
}

/// What to do about one store.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write this status, to a new object if there is none.
    Write(BackingStoreStatus),
    /// Remove the object: nothing leads to the store any more.
    Remove,
    /// Nothing.
    Keep,
}

/// Decides about one store.
pub fn plan(store: &Store, around: &Surroundings, now: Timestamp) -> Action {
    if store.merged {
        return Action::Remove;
    }
    let before = store.existing.clone().unwrap_or_default();
    let mut next = Next { status: before.clone(), advanced: false };
    next.status.write_epoch = next.status.write_epoch.max(store.floor);
    next.inherit(&store.inherited, store.existing.is_none());
    next.see(&store.writers, now);
    next.miss(&store.writers, around);
    next.clear(store.clear.as_deref(), |node| around.lost_nodes.contains(node) || store.detached.contains(node));
    next.status.ended.retain(|ending| around.pods.contains(uid(ending)));
    next.status.ended.sort_unstable();
    if next.advanced || store.missed {
        next.status.write_epoch += 1;
    }
    let BackingStoreStatus { writers, .. } = &next.status;
    if !store.reachable && writers.is_empty() {
        return if store.existing.is_some() { Action::Remove } else { Action::Keep };
    }
    if next.status == before { Action::Keep } else { Action::Write(next.status) }
}

/// How a Pod is noted that vanished and was cleared away: what is left of it must not count again.
fn cleared(uid: &str) -> String {
    format!("{uid}/cleared")
}

/// The Pod whose writing has ended.
fn uid(ending: &str) -> &str {
    ending.split('/').next().unwrap_or(ending)
}

/// A status in the making.
struct Next {
    status: BackingStoreStatus,
    advanced: bool,
}

impl Next {
    /// Takes over writers that vanished from a store that this one was, or from one that overlaps it.
    fn inherit(&mut self, inherited: &[WriterStatus], new: bool) {
        for writer in inherited.iter().filter(|_| new) {
            if !self.knows(&writer.uid) {
                self.status.writers.push(writer.clone());
                self.advanced = true;
            }
        }
    }

    fn see(&mut self, writers: &[Writer], now: Timestamp) {
        for writer in writers {
            match writer.state {
                WriterState::Waiting if !self.knows(&writer.uid) => {}
                WriterState::Waiting | WriterState::Active => self.active(writer, false, now),
                WriterState::Vanished if self.status.ended.contains(&cleared(&writer.uid)) => {}
                WriterState::Vanished => self.active(writer, true, now),
                WriterState::Ended => {
                    let was_writing = self.remove(&writer.uid);
                    let ending = format!("{}/{}", writer.uid, writer.starts);
                    let counted = self.status.ended.contains(&ending);
                    if !counted {
                        self.status.ended.retain(|ending| uid(ending) != writer.uid);
                        self.status.ended.push(ending);
                    }
                    self.advanced |= was_writing || !counted;
                }
                WriterState::NeverBound => self.advanced |= self.remove(&writer.uid),
            }
        }
    }

    fn active(&mut self, writer: &Writer, vanished: bool, now: Timestamp) {
        self.status.ended.retain(|ending| uid(ending) != writer.uid);
        if let Some(known) = self.status.writers.iter_mut().find(|known| known.uid == writer.uid) {
            known.vanished = vanished;
            known.node = writer.node.clone().or_else(|| known.node.take());
            return;
        }
        let Writer { namespace, pod, uid, node, starts: _, state: _ } = writer.clone();
        let since = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
        self.status.writers.push(WriterStatus { namespace, pod, uid, node, since, vanished });
        self.advanced = true;
    }

    /// A writer of whom nothing is seen any more has vanished.
    fn miss(&mut self, writers: &[Writer], around: &Surroundings) {
        let seen: BTreeSet<&str> = writers.iter().map(|writer| writer.uid.as_str()).collect();
        for known in self.status.writers.iter_mut().filter(|known| !seen.contains(known.uid.as_str())) {
            known.vanished = !around.pods.contains(&known.uid);
        }
    }

    /// Forgets vanished writers that can write no more, because a person says so or because they are cut off: their node
    /// is gone, or the store is attached to it no longer.
    fn clear(&mut self, clear: Option<&str>, cut_off: impl Fn(&str) -> bool) {
        let by_hand = clear.is_some() && clear != self.status.cleared.as_deref();
        let ended = &mut self.status.ended;
        self.status.writers.retain(|writer| {
            let clear = writer.vanished && (by_hand || writer.node.as_deref().is_some_and(&cut_off));
            if clear {
                ended.push(cleared(&writer.uid));
                self.advanced = true;
            }
            !clear
        });
        if by_hand {
            self.status.cleared = clear.map(str::to_owned);
        }
    }

    fn knows(&self, uid: &str) -> bool {
        self.status.writers.iter().any(|writer| writer.uid == uid)
    }

    fn remove(&mut self, uid: &str) -> bool {
        let count = self.status.writers.len();
        self.status.writers.retain(|writer| writer.uid != uid);
        self.status.writers.len() < count
    }
}

/// The stores as they are after a plan: what a read may count on.
#[derive(Clone, Debug, Default)]
pub struct View {
    stores: BTreeMap<String, StoreView>,
}

/// What a read may count on about one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreView {
    /// The name of its object.
    pub name: String,
    /// Its write epoch.
    pub epoch: i64,
    /// Pods that may be writing, as `namespace/name`.
    pub writers: Vec<String>,
    /// Whether what was planned could not be written: nothing may be concluded in this round.
    pub unsettled: bool,
}

impl View {
    /// Notes a store.
    pub fn insert(&mut self, identity: &str, status: &BackingStoreStatus, unsettled: bool) {
        let writers = status.writers.iter().map(|writer| format!("{}/{}", writer.namespace, writer.pod)).collect();
        let name = BackingStoreSpec { identity: identity.to_owned() }.store_name();
        let view = StoreView { name, epoch: status.write_epoch, writers, unsettled };
        self.stores.insert(identity.to_owned(), view);
    }

    /// What is known of a store; of one without an object, that nothing ever wrote to it.
    pub fn of(&self, store: &BackingStore) -> StoreView {
        let identity = store.to_string();
        self.stores
            .get(&identity)
            .cloned()
            .unwrap_or_else(|| StoreView { name: BackingStoreSpec { identity }.store_name(), ..StoreView::default() })
    }
}

#[cfg(test)]
mod tests;
