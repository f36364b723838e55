//! Every order in which the replicas of the webhook and the operator can receive what happens.
//!
//! The API server, kubelets and a person act on what is really there; each observer knows a prefix of what happened, kind
//! by kind, as watches and lists bring it. What decides is the real thing: [`decide`] at each replica, gather, plan and
//! gate at the operator, [`Standing`] for who may decide at all. Asserted is what matters: nobody is let in on other
//! content than what was read, or while somebody may be writing; and no writer is let go while somebody who may be
//! answering does not know of it, or while a container can start on what it writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::json;
use tokio::time::Instant;

use super::super::super::gather;
use super::super::super::plan::{Action, plan};
use super::super::{WaitsFor, may_go, may_start};
use super::world::{BATCH, TEAM, World, held, object, replica};
use crate::api::gate::WRITER_FINALIZER;
use crate::api::v1alpha1::BackingStore as StoreObject;
use crate::decision::fixture::{now, store, verified_record};
use crate::decision::{Record, decide};
use crate::index::{GonePods, Snapshot, WatchEvent, with_store};
use crate::lease::{Replica, Standing};
use crate::workload::{HasModels, is_held, is_over};

/// How many replicas of the webhook there are.
const REPLICAS: usize = 2;

/// What happens. Numbers pick one of those that there are.
#[derive(Clone, Copy, Debug)]
enum Event {
    // At the API server, on nodes, and by people.
    CreateWriter {
        elsewhere: bool,
    },
    CreateReader {
        asked: usize,
    },
    ReaderGoes(usize),
    Start(usize),
    Write(usize),
    End(usize),
    /// A person deletes a writer; or takes its finalizer off as well, so that it is gone unseen.
    Delete {
        writer: usize,
        unseen: bool,
    },
    NodeGoes(usize),
    DeleteRecord,
    // What a replica receives and does.
    SeeStores(usize),
    SeeRecords(usize),
    Relist(usize),
    Acknowledge(usize),
    /// It cannot renew its Lease, stops deciding, and then is waited for no longer.
    Lapse(usize),
    Forget(usize),
    Return(usize),
    // What the operator receives and does.
    SeePod,
    RelistPods,
    SeeStore,
    /// It has received everything.
    CatchUp,
    Round,
    StartRead,
    FinishRead,
    LetGo(usize),
    Release(usize),
    ForgetTraces,
}

fn event() -> impl Strategy<Value = Event> {
    let which = || 0_usize..3;
    let one = || 0_usize..REPLICAS;
    prop_oneof![
        3 => any::<bool>().prop_map(|elsewhere| Event::CreateWriter { elsewhere }),
        6 => one().prop_map(|asked| Event::CreateReader { asked }),
        3 => which().prop_map(Event::ReaderGoes),
        5 => which().prop_map(Event::Start),
        5 => which().prop_map(Event::Write),
        5 => which().prop_map(Event::End),
        2 => (which(), any::<bool>()).prop_map(|(writer, unseen)| Event::Delete { writer, unseen }),
        1 => which().prop_map(Event::NodeGoes),
        1 => Just(Event::DeleteRecord),
        6 => one().prop_map(Event::SeeStores),
        6 => one().prop_map(Event::SeeRecords),
        1 => one().prop_map(Event::Relist),
        6 => one().prop_map(Event::Acknowledge),
        1 => one().prop_map(Event::Lapse),
        1 => one().prop_map(Event::Forget),
        2 => one().prop_map(Event::Return),
        3 => Just(Event::SeePod),
        1 => Just(Event::RelistPods),
        3 => Just(Event::SeeStore),
        6 => Just(Event::CatchUp),
        8 => Just(Event::Round),
        4 => Just(Event::StartRead),
        5 => Just(Event::FinishRead),
        8 => which().prop_map(Event::LetGo),
        3 => which().prop_map(Event::Release),
        1 => Just(Event::ForgetTraces),
    ]
}

/// A replica of the webhook.
#[derive(Clone)]
struct Webhook {
    /// How much of what happened to the store and to the record it has received.
    stores: usize,
    records: usize,
    standing: Option<Standing>,
    /// What its Lease says; nothing where it is not waited for.
    lease: Option<u64>,
}

/// What the operator knows.
#[derive(Default)]
struct Operator {
    pods: HashMap<(String, String), Arc<Pod>>,
    gone: GonePods,
    /// Counts the seconds, as far as traces of Pods are forgotten after some.
    clock: i64,
    received: usize,
    stores: usize,
    /// Whether a Pod may have come and gone unseen since the last round that could be written.
    missed: bool,
    /// Whether a round has looked at all that it knows.
    looked: bool,
    /// The read that is on: the epoch in which it began, and the content, unless that changed meanwhile.
    read: Option<(i64, Option<u64>)>,
}

/// The decision about a writer; a field, so that it can be shown to matter.
type MayStart = fn(&Pod, &Snapshot, &[Replica]) -> Result<(), WaitsFor>;

struct Cluster {
    may_start: MayStart,
    world: World,
    version: u64,
    made: usize,
    pods: BTreeMap<String, Pod>,
    happened: Vec<WatchEvent<Pod>>,
    /// Writers that were let go and whose processes have not ended, by uid: where they run, if they do.
    at_large: BTreeMap<String, Option<String>>,
    lost_nodes: BTreeSet<String>,
    stores: Vec<Option<StoreObject>>,
    records: Vec<Option<(Record, u64)>>,
    content: u64,
    webhooks: Vec<Webhook>,
    operator: Operator,
}

impl Cluster {
    /// A model that was verified and that nobody ever wrote to; all know all.
    fn new(may_start: MayStart) -> Self {
        let stands = Some(Standing::until_then(Instant::now() + Duration::from_secs(3600), 0));
        let webhook = Webhook { stores: 1, records: 1, standing: stands, lease: Some(0) };
        Cluster {
            may_start,
            world: World::new(),
            version: 1,
            made: 0,
            pods: BTreeMap::new(),
            happened: Vec::new(),
            at_large: BTreeMap::new(),
            lost_nodes: BTreeSet::new(),
            stores: vec![None],
            records: vec![Some((verified_record(""), 0))],
            content: 0,
            webhooks: vec![webhook; REPLICAS],
            operator: Operator { stores: 1, ..Operator::default() },
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::CreateWriter { elsewhere } => self.create_writer(elsewhere),
            Event::CreateReader { asked } => return self.create_reader(asked),
            Event::ReaderGoes(which) => {
                if let Some(name) = self.nth(which, |pod| !is_writer(pod)) {
                    self.remove(&name);
                }
            }
            Event::Start(which) => self.start(which),
            Event::Write(which) => return self.write(which),
            Event::End(which) => self.end(which),
            Event::Delete { writer, unseen } => self.delete(writer, unseen),
            Event::NodeGoes(which) => {
                let running: Vec<String> = self.at_large.values().flatten().cloned().collect();
                let node = running.get(which).filter(|node| !self.pods.values().any(|pod| on(pod, node))).cloned();
                self.at_large.retain(|_, at| at.is_none() || *at != node);
                self.lost_nodes.extend(node);
            }
            Event::DeleteRecord => self.records.push(None),
            Event::SeeStores(one) => {
                let webhook = &mut self.webhooks[one];
                webhook.stores = (webhook.stores + 1).min(self.stores.len());
            }
            Event::SeeRecords(one) => {
                let webhook = &mut self.webhooks[one];
                webhook.records = (webhook.records + 1).min(self.records.len());
            }
            Event::Relist(one) => {
                let webhook = &mut self.webhooks[one];
                (webhook.stores, webhook.records) = (self.stores.len(), self.records.len());
            }
            Event::Acknowledge(one) => {
                let seen = self.seen_by(one);
                let webhook = &mut self.webhooks[one];
                webhook.lease = webhook.standing.and(Some(seen)).or(webhook.lease);
            }
            Event::Lapse(one) => self.webhooks[one].standing = None,
            Event::Forget(one) => {
                let webhook = &mut self.webhooks[one];
                webhook.lease = webhook.lease.filter(|_| webhook.standing.is_some());
            }
            Event::Return(one) => {
                let newest = version(self.stores.last().and_then(Option::as_ref));
                let seen = self.seen_by(one);
                let webhook = &mut self.webhooks[one];
                if webhook.standing.is_none() {
                    webhook.lease = Some(seen);
                    webhook.standing = Some(Standing::until_then(Instant::now() + Duration::from_secs(3600), newest));
                }
            }
            Event::SeePod => self.see_pod(),
            Event::RelistPods => {
                self.receive(WatchEvent::Reset(self.pods.values().cloned().collect()));
                self.operator.received = self.happened.len();
                self.operator.missed = true;
            }
            Event::SeeStore => self.operator.stores = (self.operator.stores + 1).min(self.stores.len()),
            Event::CatchUp => {
                while self.operator.received < self.happened.len() {
                    self.see_pod();
                }
                self.operator.stores = self.stores.len();
            }
            Event::Round => drop(self.round()),
            Event::StartRead => {
                let settled = self.round();
                let free = settled.filter(|(_, writers)| *writers == 0);
                self.operator.read = free.map(|(epoch, _)| (epoch, Some(self.content)));
            }
            Event::FinishRead => return self.finish_read(),
            Event::LetGo(which) => return self.let_go(which),
            Event::Release(which) => self.release(which),
            // Traces are kept for minutes, so a round has always seen them before they go.
            Event::ForgetTraces if self.operator.looked => {
                self.operator.clock += 600;
                self.receive(WatchEvent::Alive);
            }
            Event::ForgetTraces => {}
        }
        Ok(())
    }

    fn create_writer(&mut self, elsewhere: bool) {
        self.made += 1;
        let (namespace, claim) = if elsewhere { (BATCH, "staging") } else { (TEAM, "models") };
        let mut pod = held(World::writer(&format!("writer-{}", self.made), namespace, claim));
        pod.metadata.finalizers = Some(vec![WRITER_FINALIZER.to_owned()]);
        self.apply(pod);
    }

    fn create_reader(&mut self, asked: usize) -> Result<(), TestCaseError> {
        self.made += 1;
        let pod = World::reader(&format!("reader-{}", self.made), TEAM, "models");
        let extract = pod.extract();
        let snapshot = self.seen_by_webhook(asked);
        let decision = decide(&snapshot.policies, &extract.subject, &extract.uses, &snapshot.evidence, now());
        if !decision.allowed() {
            return Ok(());
        }
        let read = self.records.iter().take(self.webhooks[asked].records).next_back();
        let read = read.and_then(Option::as_ref).map(|(_, content)| *content);
        prop_assert_eq!(read, Some(self.content), "let in on content that has changed since it was read");
        prop_assert!(self.at_large.is_empty(), "let in while {:?} may write", self.at_large);
        self.apply(pod);
        Ok(())
    }

    fn start(&mut self, which: usize) {
        let waiting: Vec<String> =
            self.at_large.iter().filter(|(_, node)| node.is_none()).map(|(uid, _)| uid.clone()).collect();
        let Some(uid) = waiting.get(which) else { return };
        let pod = self.pods.values().find(|pod| pod.uid().as_ref() == Some(uid)).cloned();
        if let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let mut pod = World::bound(pod);
            pod.status.get_or_insert_default().phase = Some("Running".to_owned());
            self.at_large.insert(uid.clone(), pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
            self.apply(pod);
        }
    }

    fn write(&mut self, which: usize) -> Result<(), TestCaseError> {
        if self.at_large.values().flatten().nth(which).is_some() {
            let serving = self.nth(0, |pod| !is_writer(pod));
            prop_assert_eq!(serving, None, "what is served changes, and its container may start again");
            self.content += 1;
            if let Some((_, content)) = &mut self.operator.read {
                *content = None;
            }
        }
        Ok(())
    }

    /// Its kubelet reports the end of a Pod that runs, or that is deleted before it did.
    fn end(&mut self, which: usize) {
        let bound = |pod: &Pod| is_writer(pod) && !is_over(pod) && pod.spec.as_ref().unwrap().node_name.is_some();
        let Some(name) = self.nth(which, bound) else { return };
        let mut pod = self.pods[&name].clone();
        self.at_large.remove(&pod.uid().unwrap());
        pod.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
        self.apply(pod);
    }

    fn delete(&mut self, which: usize, unseen: bool) {
        let Some(name) = self.nth(which, is_writer) else { return };
        let mut pod = self.pods[&name].clone();
        if unseen || pod.finalizers().is_empty() {
            self.remove(&name);
        } else {
            pod.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            self.never_starts(&pod);
            self.apply(pod);
        }
    }

    /// Whatever is deleted is given no node any more; what has one goes on there, whatever the API server knows.
    fn never_starts(&mut self, pod: &Pod) {
        self.at_large.retain(|uid, node| node.is_some() || Some(uid) != pod.uid().as_ref());
    }

    fn finish_read(&mut self) -> Result<(), TestCaseError> {
        let settled = self.round();
        let Some((epoch, content)) = self.operator.read.take() else { return Ok(()) };
        if settled == Some((epoch, 0)) {
            prop_assert!(content.is_some(), "what was read while it changed counts, in epoch {}", epoch);
            let mut record = verified_record("");
            record.status.source.as_mut().unwrap().write_epoch = epoch;
            self.records.push(content.map(|content| (record, content)));
        }
        Ok(())
    }

    fn let_go(&mut self, which: usize) -> Result<(), TestCaseError> {
        let held = |pod: &Pod| is_held(pod) && pod.metadata.deletion_timestamp.is_none();
        let Some(name) = self.nth(which, held) else { return Ok(()) };
        let mut snapshot = self.seen_by_operator();
        // Pods and Leases are listed for this question; the Pod itself is let go in the very version that was read.
        let all = self.pods.values().map(|pod| ((pod.namespace().unwrap(), pod.name_any()), Arc::new(pod.clone())));
        snapshot.objects.pods = Arc::new(all.collect());
        let leases = self.webhooks.iter().enumerate().filter_map(|(one, webhook)| Some((one, webhook.lease?)));
        let replicas: Vec<Replica> = leases.map(|(one, seen)| replica(&format!("webhook-{one}"), Some(seen))).collect();
        let mut pod = self.pods[&name].clone();
        if (self.may_start)(&pod, &snapshot, &replicas).is_err() {
            return Ok(());
        }
        prop_assert_eq!(self.nth(0, |pod| !is_writer(pod)), None, "let go while somebody serves");
        let unaware = (0..REPLICAS).find(|one| {
            let snapshot = self.seen_by_webhook(*one);
            let knows = snapshot.evidence.stores.values().any(|store| !store.writers.is_empty());
            snapshot.evidence.observed_at.is_some() && !knows
        });
        prop_assert_eq!(unaware, None, "let go while this replica knows nothing of it");
        pod.spec.as_mut().unwrap().scheduling_gates = None;
        self.at_large.insert(pod.uid().unwrap(), None);
        self.apply(pod);
        Ok(())
    }

    fn release(&mut self, which: usize) {
        let Some(name) = self.nth(which, |pod| !pod.finalizers().is_empty()) else { return };
        let mut pod = self.pods[&name].clone();
        let snapshot = self.seen_by_operator();
        let known = snapshot.objects.pods.get(&(pod.namespace().unwrap(), name.clone()));
        if known.is_none_or(|known| known.resource_version() != pod.resource_version())
            || !may_go(&pod, &snapshot, now())
        {
            return;
        }
        pod.metadata.finalizers = None;
        if pod.metadata.deletion_timestamp.is_some() { self.remove(&name) } else { self.apply(pod) }
    }

    /// What the operator does with all that it knows; epoch and number of writers, if that could be written.
    fn round(&mut self) -> Option<(i64, usize)> {
        let snapshot = self.seen_by_operator();
        let around = gather::surroundings(&snapshot, self.lost_nodes.clone());
        let current = version(self.stores.last().and_then(Option::as_ref));
        let mut subject = gather::stores(&snapshot).remove(&store().to_string())?;
        subject.store.missed = self.operator.missed && subject.has_facts;
        let status = match plan(&subject.store, &around, now()) {
            Action::Keep => subject.store.existing.unwrap_or_default(),
            // A write is conditional on the version that it was planned from.
            _ if version(subject.object.as_deref()) != current => return None,
            Action::Write(status) => {
                self.version += 1;
                self.stores.push(Some(object(status.clone(), self.version)));
                status
            }
            Action::Remove => panic!("a claim leads to it"),
        };
        self.operator.missed = false;
        self.operator.looked = true;
        Some((status.write_epoch, status.writers.len()))
    }

    fn see_pod(&mut self) {
        if let Some(event) = self.happened.get(self.operator.received) {
            self.receive(event.clone());
            self.operator.received += 1;
        }
    }

    /// What the index does with what a watch brings.
    fn receive(&mut self, event: WatchEvent<Pod>) {
        let operator = &mut self.operator;
        let moment = jiff::Timestamp::from_second(operator.clock).unwrap();
        operator.gone.take(&event, &operator.pods, moment);
        operator.looked &= matches!(event, WatchEvent::Alive);
        let key = |pod: &Pod| (pod.namespace().unwrap(), pod.name_any());
        match event {
            WatchEvent::Alive => {}
            WatchEvent::Apply(pod) => drop(operator.pods.insert(key(&pod), Arc::new(pod))),
            WatchEvent::Delete(pod) => drop(operator.pods.remove(&key(&pod))),
            WatchEvent::Reset(pods) => {
                operator.pods = pods.into_iter().map(|pod| (key(&pod), Arc::new(pod))).collect();
            }
        }
    }

    fn apply(&mut self, mut pod: Pod) {
        self.version += 1;
        pod.metadata.resource_version = Some(self.version.to_string());
        self.pods.insert(pod.name_any(), pod.clone());
        self.happened.push(WatchEvent::Apply(pod));
    }

    fn remove(&mut self, name: &str) {
        if let Some(pod) = self.pods.remove(name) {
            self.never_starts(&pod);
            self.happened.push(WatchEvent::Delete(pod));
        }
    }

    fn nth(&self, which: usize, wanted: impl Fn(&Pod) -> bool) -> Option<String> {
        self.pods.values().filter(|pod| wanted(pod)).nth(which).map(ResourceExt::name_any)
    }

    fn seen_by(&self, one: usize) -> u64 {
        version(self.stores[self.webhooks[one].stores - 1].as_ref())
    }

    fn seen_by_webhook(&self, one: usize) -> Snapshot {
        let webhook = &self.webhooks[one];
        let stands = webhook.standing.is_some_and(|standing| standing.holds(self.seen_by(one), Instant::now()));
        let mut snapshot = self.knowing(webhook.stores, webhook.records);
        snapshot.evidence.observed_at = snapshot.evidence.observed_at.filter(|_| stands);
        snapshot
    }

    fn seen_by_operator(&self) -> Snapshot {
        let mut snapshot = self.knowing(self.operator.stores, self.records.len());
        snapshot.objects.pods = Arc::new(self.operator.pods.clone());
        snapshot.objects.gone_pods = self.operator.gone.pods();
        snapshot
    }

    fn knowing(&self, stores: usize, records: usize) -> Snapshot {
        let mut snapshot = self.world.base.clone();
        let object = self.stores[stores - 1].clone();
        snapshot.evidence = with_store(snapshot.evidence, &store().to_string(), object.as_ref());
        snapshot.objects.stores = Arc::new(object.into_iter().map(|it| (it.name_any(), Arc::new(it))).collect());
        let record = self.records[records - 1].iter().map(|(record, _)| Arc::new(record.clone())).collect();
        let key = (TEAM.to_owned(), "models".to_owned());
        snapshot.evidence.records = Arc::new(HashMap::from([(key, record)]));
        snapshot
    }
}

fn is_writer(pod: &Pod) -> bool {
    pod.name_any().starts_with("writer-")
}

fn on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

fn version(store: Option<&StoreObject>) -> u64 {
    store.and_then(|store| store.resource_version()?.parse().ok()).unwrap_or(0)
}

fn run(may_start: MayStart, events: &[Event]) -> Result<(), TestCaseError> {
    let mut cluster = Cluster::new(may_start);
    events.iter().try_for_each(|event| cluster.happen(*event))
}

/// The first order of events in which something goes wrong, as short as it can be made.
fn counterexample(may_start: MayStart, cases: u32) -> Option<(String, Vec<Event>)> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().new_rng());
    let events = proptest::collection::vec(event(), 1..120);
    match runner.run(&events, |events| run(may_start, &events)) {
        Ok(()) => None,
        Err(TestError::Fail(why, events)) => Some((why.to_string(), events)),
        Err(abort) => panic!("{abort}"),
    }
}

proptest! {
    #[test]
    fn nobody_is_let_in_and_no_writer_let_go_on_content_that_may_change(
        events in proptest::collection::vec(event(), 1..120),
    ) {
        run(may_start, &events)?;
    }
}

#[test]
fn a_writer_is_let_go_a_model_altered_and_read_again_in_some_of_these_orders() {
    use Event::*;
    let mut cluster = Cluster::new(may_start);
    let all_see = [SeeStores(0), SeeStores(1), Acknowledge(0), Acknowledge(1), CatchUp];
    let mut happen = |events: &[Event]| events.iter().for_each(|event| cluster.happen(*event).unwrap());
    happen(&[CreateWriter { elsewhere: true }, CatchUp, Round]);
    happen(&all_see);
    happen(&[LetGo(0), Start(0), Write(0), End(0), CatchUp, Round]);
    happen(&all_see);
    happen(&[StartRead, FinishRead, SeeRecords(0), Release(0), Delete { writer: 0, unseen: false }]);
    assert_eq!((cluster.content, cluster.at_large.len(), cluster.pods.len()), (1, 0, 0));
    cluster.happen(CreateReader { asked: 1 }).unwrap();
    assert_eq!(cluster.pods.len(), 0, "the second replica has not seen the new record");
    cluster.happen(CreateReader { asked: 0 }).unwrap();
    assert_eq!(cluster.pods.len(), 1);
}

#[test]
fn each_condition_matters() {
    let without_replicas: MayStart = |pod, snapshot, _| may_start(pod, snapshot, &[]);
    let without_mark: MayStart = |pod, snapshot, _| super::super::nobody_serves(snapshot, pod);
    let without_servers: MayStart = |pod, snapshot, replicas| match may_start(pod, snapshot, replicas) {
        Err(WaitsFor::Serving(_)) => Ok(()),
        other => other,
    };
    for (what, gate) in [("replicas", without_replicas), ("mark", without_mark), ("servers", without_servers)] {
        let (why, events) = counterexample(gate, 20_000).unwrap_or_else(|| panic!("nothing goes wrong without {what}"));
        println!("without {what}: {why}: {events:?}");
    }
}
