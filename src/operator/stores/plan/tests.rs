//! Orders of events, and the one property that matters.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn writer(uid: &str, state: WriterState) -> Writer {
    let (pod, node, starts) = (format!("pod-{uid}"), Some("n".into()), "0".into());
    Writer { namespace: "ns".into(), pod, uid: uid.into(), node, starts, state }
}

fn store(existing: Option<BackingStoreStatus>, writers: Vec<Writer>) -> Store {
    let inherited = Vec::new();
    let (clear, detached) = (None, BTreeSet::new());
    Store { existing, clear, reachable: true, writers, inherited, merged: false, floor: 0, missed: false, detached }
}

fn around(uids: &[&str]) -> Surroundings {
    Surroundings { pods: uids.iter().map(|uid| (*uid).to_owned()).collect(), ..Surroundings::default() }
}

/// Runs a plan and gives the status after it.
fn step(store: Store, around: &Surroundings) -> BackingStoreStatus {
    let before = store.existing.clone().unwrap_or_default();
    match plan(&store, around, at(1)) {
        Action::Write(status) => status,
        Action::Keep => before,
        Action::Remove => panic!("removed"),
    }
}

#[test]
fn without_writers_there_is_no_object() {
    assert_eq!(plan(&store(None, vec![]), &around(&[]), at(1)), Action::Keep);
}

#[test]
fn a_writer_begins_and_ends() {
    let began = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    assert_eq!((began.write_epoch, began.writers.len()), (1, 1));
    let still = step(store(Some(began.clone()), vec![writer("a", WriterState::Active)]), &around(&["a"]));
    assert_eq!(still, began);
    let ended = step(store(Some(began), vec![writer("a", WriterState::Ended)]), &around(&["a"]));
    assert_eq!((ended.write_epoch, ended.writers.len(), ended.ended.len()), (2, 0, 1));
    let lingering = step(store(Some(ended.clone()), vec![writer("a", WriterState::Ended)]), &around(&["a"]));
    assert_eq!(lingering, ended);
    let forgotten = step(store(Some(ended), vec![]), &around(&[]));
    assert_eq!((forgotten.write_epoch, forgotten.ended.len()), (2, 0));
}

#[test]
fn a_writer_that_is_first_seen_when_it_has_ended_counts() {
    let status = step(store(None, vec![writer("a", WriterState::Ended)]), &around(&["a"]));
    assert_eq!((status.write_epoch, status.writers.len()), (1, 0));
}

#[test]
fn a_writer_that_starts_again_is_a_new_one() {
    let existing = BackingStoreStatus { write_epoch: 2, ended: vec!["a/0".into()], ..Default::default() };
    let status = step(store(Some(existing), vec![writer("a", WriterState::Active)]), &around(&["a"]));
    assert_eq!((status.write_epoch, status.writers.len(), status.ended.len()), (3, 1, 0));
}

#[test]
fn one_that_vanished_stays_until_it_is_cleared() {
    let began = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    let vanished = step(store(Some(began), vec![]), &around(&[]));
    assert!(vanished.writers[0].vanished);
    assert_eq!(step(store(Some(vanished.clone()), vec![]), &around(&[])), vanished);

    let cleared = Store { clear: Some("1".into()), ..store(Some(vanished.clone()), vec![]) };
    let cleared = step(cleared, &around(&[]));
    assert_eq!((cleared.write_epoch, cleared.writers.len(), cleared.cleared.as_deref()), (2, 0, Some("1")));

    let lost = Surroundings { lost_nodes: BTreeSet::from(["n".to_owned()]), ..Surroundings::default() };
    assert!(step(store(Some(vanished.clone()), vec![]), &lost).writers.is_empty());

    let from = |node: &str| {
        let detached = BTreeSet::from([node.to_owned()]);
        step(Store { detached, ..store(Some(vanished.clone()), vec![]) }, &around(&[]))
    };
    assert_eq!((from("n").writers.len(), from("n").write_epoch), (0, 2));
    assert_eq!(from("another").writers.len(), 1);
}

#[test]
fn one_that_waits_for_others_is_not_marked_and_one_that_was_marked_stays() {
    assert_eq!(plan(&store(None, vec![writer("a", WriterState::Waiting)]), &around(&["a"]), at(1)), Action::Keep);
    let due = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    assert_eq!(step(store(Some(due.clone()), vec![writer("a", WriterState::Waiting)]), &around(&["a"])), due);
}

#[test]
fn what_is_left_of_a_writer_that_was_cleared_does_not_count_again() {
    let trace = || vec![writer("a", WriterState::Vanished)];
    let vanished = step(store(None, trace()), &around(&["a"]));
    let clear = |existing, writers| Store { clear: Some("1".into()), ..store(Some(existing), writers) };
    let cleared = step(clear(vanished, trace()), &around(&["a"]));
    assert_eq!((cleared.write_epoch, cleared.writers.len()), (2, 0));
    assert_eq!(step(clear(cleared.clone(), trace()), &around(&["a"])), cleared);
    let forgotten = step(clear(cleared, vec![]), &around(&[]));
    assert_eq!((forgotten.write_epoch, forgotten.ended.len()), (2, 0));
}

#[test]
fn clearing_counts_once_and_never_for_a_writer_that_is_there() {
    let began = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    let clear =
        |existing: BackingStoreStatus, writers| Store { clear: Some("1".into()), ..store(Some(existing), writers) };
    let kept = step(clear(began, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    assert_eq!(kept.writers.len(), 1);
    let later = step(clear(kept, vec![]), &around(&[]));
    assert!(later.writers[0].vanished, "an old word does not clear a new loss");
}

#[test]
fn one_that_never_had_a_node_is_forgotten() {
    let began = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    let gone = step(store(Some(began), vec![writer("a", WriterState::NeverBound)]), &around(&["a"]));
    assert!(gone.writers.is_empty());
}

#[test]
fn an_interval_that_nobody_watched_advances_the_epoch() {
    let missed = Store { missed: true, ..store(None, vec![]) };
    assert_eq!(step(missed, &around(&[])).write_epoch, 1);
}

#[test]
fn binding_brings_vanished_writers_and_epoch_along() {
    let lost = WriterStatus { uid: "a".into(), vanished: true, ..WriterStatus::default() };
    let bound = Store { inherited: vec![lost], floor: 7, ..store(None, vec![]) };
    let status = step(bound, &around(&[]));
    assert_eq!((status.write_epoch, status.writers.len()), (8, 1));
    let merged = Store { reachable: false, merged: true, ..store(Some(status), vec![]) };
    assert_eq!(plan(&merged, &around(&[]), at(1)), Action::Remove);
}

#[test]
fn an_object_goes_with_its_volume_unless_somebody_may_still_write() {
    let gone = Store { reachable: false, ..store(Some(BackingStoreStatus::default()), vec![]) };
    assert_eq!(plan(&gone, &around(&[]), at(1)), Action::Remove);
    let began = step(store(None, vec![writer("a", WriterState::Active)]), &around(&["a"]));
    let kept = Store { reachable: false, ..store(Some(began), vec![]) };
    assert!(matches!(plan(&kept, &around(&[]), at(1)), Action::Write(status) if status.writers[0].vanished));
}

/// What happens to the one Pod of the property test.
#[derive(Clone, Copy, Debug)]
enum Event {
    Create,
    End,
    Restart,
    Delete {
        ended: bool,
    },
    /// The last trace of a deleted Pod is dropped from the snapshot.
    Forget,
    /// The operator looks.
    Round,
    /// A read starts, if one may.
    StartRead,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Create),
        Just(Event::End),
        Just(Event::Restart),
        any::<bool>().prop_map(|ended| Event::Delete { ended }),
        Just(Event::Forget),
        Just(Event::Round),
        Just(Event::Round),
        Just(Event::StartRead),
    ]
}

#[derive(Default)]
struct World {
    pods: BTreeMap<String, (WriterState, u32)>,
    traces: BTreeMap<String, (WriterState, u32)>,
    status: Option<BackingStoreStatus>,
    made: usize,
    /// Traces and states that the operator has looked at since they last changed.
    looked: bool,
    /// The epoch of the read that is on, and whether something may have written since it began.
    read: Option<(i64, bool)>,
}

impl World {
    fn live(&mut self, wanted: WriterState) -> Option<&mut (WriterState, u32)> {
        self.pods.values_mut().find(|(state, _)| *state == wanted)
    }

    fn round(&mut self) -> BackingStoreStatus {
        let seen = self.pods.iter().chain(&self.traces);
        let writers = seen.map(|(uid, (state, starts))| Writer { starts: starts.to_string(), ..writer(uid, *state) });
        let writers = writers.collect();
        let pods = self.pods.keys().chain(self.traces.keys()).cloned().collect();
        let around = Surroundings { pods, ..Surroundings::default() };
        let status = step(store(self.status.clone(), writers), &around);
        self.status = (status != BackingStoreStatus::default()).then(|| status.clone());
        self.looked = true;
        status
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Create => {
                self.made += 1;
                self.pods.insert(self.made.to_string(), (WriterState::Active, 0));
            }
            Event::End => {
                if let Some(pod) = self.live(WriterState::Active) {
                    pod.0 = WriterState::Ended;
                }
            }
            Event::Restart => {
                if let Some(pod) = self.live(WriterState::Ended) {
                    *pod = (WriterState::Active, pod.1 + 1);
                }
            }
            Event::Delete { ended } => {
                if let Some((uid, (state, starts))) = self.pods.pop_first() {
                    let ended = ended || state == WriterState::Ended;
                    let state = if ended { WriterState::Ended } else { WriterState::Vanished };
                    self.traces.insert(uid, (state, starts));
                }
            }
            // Traces are kept for minutes, so a round has always seen them before they go.
            Event::Forget if self.looked => drop(self.traces.pop_first()),
            Event::Forget => {}
            Event::Round => drop(self.round()),
            Event::StartRead => {
                let status = self.round();
                self.read = status.writers.is_empty().then_some((status.write_epoch, false));
            }
        }
        if matches!(event, Event::Create | Event::End | Event::Restart | Event::Delete { .. }) {
            self.looked = false;
        }
        let writing = self.pods.values().chain(self.traces.values());
        let writing =
            writing.into_iter().any(|(state, _)| matches!(state, WriterState::Active | WriterState::Vanished));
        if let Some((_, dirty)) = &mut self.read {
            *dirty |= writing;
        }
    }
}

proptest! {
    #[test]
    fn the_epoch_never_stays_the_same_across_a_possible_write(events in proptest::collection::vec(event(), 1..60)) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
            if let Some((epoch, dirty)) = world.read {
                let status = world.round();
                let accepted = status.writers.is_empty() && status.write_epoch == epoch;
                prop_assert!(!(accepted && dirty), "a read at epoch {epoch} would count although something wrote");
            }
        }
    }
}
