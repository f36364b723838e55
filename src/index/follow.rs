//! Which kinds are followed, and the task that publishes.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplateSpec, Secret,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch as channel};

use super::custom::{self, Custom};
use super::facts;
use super::snapshot::{Snapshot, Workload, WorkloadKey};
use super::state::State;
use super::watch::{Event, Scope, follow};
use crate::api::v1alpha1::{
    BackingStore, ClusterModelPolicy, ModelKind, ModelPolicy, ModelVerification, WorkloadVerification,
};
use crate::decision::NamespaceFacts;

/// Label of the ConfigMaps and Secrets in our namespace that policies may refer to.
pub const TRUST_LABEL: &str = "weighbridge.dev/trust=true";
/// How long changes are gathered before they are published: far below the 500 ms that a request waits for one, far above
/// what one publication costs.
const COALESCE: Duration = Duration::from_millis(10);
/// How often a sign of life alone is published: often enough for the limit of two minutes on the age of evidence.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Which kinds a process needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What a decision rests on.
    Admission,
    /// That, and what the operator looks after.
    Operation,
}

/// What an index is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of weighbridge itself.
    pub namespace: String,
    /// Which kinds are followed.
    pub interest: Interest,
    /// Secrets in that namespace that policies may refer to; each is watched by its name, so that no right to list
    /// Secrets is needed.
    pub trust_secrets: Vec<String>,
    /// Reads the clock.
    pub clock: fn() -> Timestamp,
}

/// A task that the index needs, with a name for the log. It never ends by itself.
pub type Task = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// The index: what is known, and who wants to hear of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    touched: Notify,
    snapshots: channel::Sender<Arc<Snapshot>>,
}

impl Index {
    /// An index that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let mut state = State::default();
        for name in &settings.trust_secrets {
            state.trust_secrets.entry(name.clone()).or_default();
        }
        if settings.interest == Interest::Admission {
            state.pods.never_followed();
            state.workload_verifications.never_followed();
            state.leases.never_followed();
        }
        let (snapshots, _) = channel::channel(Arc::default());
        Index { shared: Arc::new(Shared { settings, state: Mutex::new(state), touched: Notify::new(), snapshots }) }
    }

    /// The snapshots. Until every kind was listed, the one with version 0 that knows nothing.
    pub fn subscribe(&self) -> channel::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }

    /// The tasks that keep it up to date; to be run for as long as the process lives.
    pub fn tasks(&self, client: &Client) -> Vec<Task> {
        let own = self.shared.settings.namespace.as_str();
        let trust = Scope { labels: Some(TRUST_LABEL.to_owned()), ..Scope::default() };
        let mut tasks: Vec<Task> = vec![
            ("publish", Box::pin(self.clone().publish())),
            self.namespaces(client),
            self.claims(client),
            self.volumes(client),
            self.task(
                "policies",
                (ours::<ClusterModelPolicy>(client, None), Scope::default()),
                |it| (it.name_any(), facts::policy(it)),
                |state, event, now| state.policies.take(event, now),
            ),
            self.task(
                "kinds",
                (ours::<ModelKind>(client, None), Scope::default()),
                |it| (it.name_any(), facts::parse(it)),
                |state, event, now| state.kinds.take(event, now),
            ),
            self.task(
                "model policies",
                (ours::<ModelPolicy>(client, None), Scope::default()),
                |it| (key(&it), facts::model_policy(it)),
                |state, event, now| state.model_policies.take(event, now),
            ),
            self.task(
                "records",
                (ours::<ModelVerification>(client, None), Scope::default()),
                |it| (key(&it), facts::parse(it).map(facts::lean)),
                |state, event, now| state.records.take(event, now),
            ),
            self.task(
                "stores",
                (ours::<BackingStore>(client, Some(own)), Scope::default()),
                |it| (it.name_any(), facts::parse(it)),
                |state, event, now| state.stores.take(event, now),
            ),
            self.task(
                "config maps",
                (Api::<ConfigMap>::namespaced(client.clone(), own), trust),
                |it| (it.name_any(), Some(slim(it))),
                |state, event, now| state.trust_config_maps.take(event, now),
            ),
        ];
        for name in &self.shared.settings.trust_secrets {
            tasks.push(self.trust_secret(client, name.clone()));
        }
        if self.shared.settings.interest == Interest::Operation {
            tasks.extend(self.operation(client));
        }
        tasks
    }

    /// What only the operator follows.
    fn operation(&self, client: &Client) -> Vec<Task> {
        let own = self.shared.settings.namespace.as_str();
        let statuses = ours::<WorkloadVerification>(client, None);
        let leases = Api::<Lease>::namespaced(client.clone(), own);
        vec![
            ("custom resources", Box::pin(custom::follow_all(self.clone(), client.clone()))),
            self.task("pods", (Api::<Pod>::all(client.clone()), Scope::default()), slim, |state, event, now| {
                state.gone_pods.take(&event, &state.pods.rows(), now);
                state.pods.take(event.map(|pod| (key(&pod), Some(pod))), now);
            }),
            self.task(
                "workload statuses",
                (statuses, Scope::default()),
                |it| (key(&it), facts::parse(it)),
                |state, event, now| state.workload_verifications.take(event, now),
            ),
            self.task(
                "leases",
                (leases, Scope::default()),
                |it| (it.name_any(), Some(slim(it))),
                |state, event, now| state.leases.take(event, now),
            ),
            self.workloads("apps/v1", "Deployment", client, |it: Deployment| (it.metadata, Some(it.spec.template))),
            self.workloads("apps/v1", "StatefulSet", client, |it: StatefulSet| (it.metadata, Some(it.spec.template))),
            self.workloads("apps/v1", "DaemonSet", client, |it: DaemonSet| (it.metadata, Some(it.spec.template))),
            self.workloads("apps/v1", "ReplicaSet", client, |it: ReplicaSet| (it.metadata, it.spec.template)),
            self.workloads("batch/v1", "Job", client, |it: Job| (it.metadata, it.spec.map(|spec| spec.template))),
            self.workloads("batch/v1", "CronJob", client, |it: CronJob| {
                (it.metadata, it.spec.job_template.spec.map(|job| job.template))
            }),
        ]
    }

    fn namespaces(&self, client: &Client) -> Task {
        let api = Api::<Namespace>::all(client.clone());
        let facts = |it: Namespace| NamespaceFacts { labels: it.metadata.labels.unwrap_or_default() };
        self.task(
            "namespaces",
            (api, Scope::default()),
            move |it| (it.name_any(), Some(facts(it))),
            |state, event, now| state.namespaces.take(event, now),
        )
    }

    fn claims(&self, client: &Client) -> Task {
        let api = Api::<PersistentVolumeClaim>::all(client.clone());
        self.task(
            "claims",
            (api, Scope::default()),
            |it| (key(&it), Some(facts::claim(it))),
            |state, event, now| state.claims.take(event, now),
        )
    }

    fn volumes(&self, client: &Client) -> Task {
        let api = Api::<PersistentVolume>::all(client.clone());
        self.task(
            "volumes",
            (api, Scope::default()),
            |it| (it.name_any(), Some(facts::volume(it))),
            |state, event, now| state.volumes.take(event, now),
        )
    }

    fn trust_secret(&self, client: &Client, name: String) -> Task {
        let api = Api::<Secret>::namespaced(client.clone(), &self.shared.settings.namespace);
        let scope = Scope { fields: Some(format!("metadata.name={name}")), ..Scope::default() };
        self.task(
            "trust secret",
            (api, scope),
            |it| (it.name_any(), labelled(it)),
            move |state, event, now| state.trust_secrets.entry(name.clone()).or_default().take(event, now),
        )
    }

    /// Follows the workloads of one kind; `parts` takes metadata and template out of one.
    fn workloads<K>(
        &self,
        api_version: &'static str,
        kind: &'static str,
        client: &Client,
        parts: fn(K) -> (ObjectMeta, Option<PodTemplateSpec>),
    ) -> Task
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.state().workloads.entry(kind).or_default();
        let keep = move |it: K| {
            let key = WorkloadKey { namespace: it.namespace().unwrap_or_default(), kind, name: it.name_any() };
            let (mut metadata, template) = parts(it);
            metadata.managed_fields = None;
            (key, template.map(|template| Workload { api_version, metadata, template }))
        };
        self.task(kind, (Api::<K>::all(client.clone()), Scope::default()), keep, move |state, event, now| {
            state.workloads.entry(kind).or_default().take(event, now);
        })
    }

    /// The task that follows one kind: `keep` says what is kept of an object, and `take` where.
    fn task<K, T>(
        &self,
        name: &'static str,
        (api, scope): (Api<K>, Scope),
        keep: impl Fn(K) -> T + Send + Sync + 'static,
        take: impl Fn(&mut State, Event<T>, Timestamp) + Send + 'static,
    ) -> Task
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        T: Send + 'static,
    {
        let index = self.clone();
        let sink = move |event: Event<T>| {
            let now = (index.shared.settings.clock)();
            let mut state = index.state();
            state.changed |= !matches!(event, Event::Alive);
            take(&mut state, event, now);
            drop(state);
            index.shared.touched.notify_one();
        };
        (name, Box::pin(follow(api, scope, (keep, sink))))
    }

    /// Publishes whenever something has changed.
    async fn publish(self) {
        let mut last_alive = None;
        loop {
            self.shared.touched.notified().await;
            tokio::time::sleep(COALESCE).await;
            let now = tokio::time::Instant::now();
            let mut state = self.state();
            let quiet = last_alive.is_some_and(|last| now.duration_since(last) < HEARTBEAT);
            if !state.changed && quiet {
                continue;
            }
            if let Some(snapshot) = state.publish(&self.shared.settings.namespace) {
                state.changed = false;
                last_alive = Some(now);
                self.shared.snapshots.send_replace(Arc::new(snapshot));
            }
        }
    }

    /// Changes or asks what is known of custom resources; a change is published.
    pub(super) fn custom<R>(&self, act: impl FnOnce(&mut Custom) -> R) -> R {
        let mut state = self.state();
        let outcome = act(&mut state.custom);
        state.changed |= state.custom.is_changed();
        drop(state);
        self.shared.touched.notify_one();
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of our own kinds, unparsed: an object that does not parse must not hide the others.
fn ours<K: Resource<DynamicType = ()>>(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn key<K: ResourceExt>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The object without the field that nobody here reads and that is often its largest.
fn slim<K: ResourceExt>(mut object: K) -> K {
    object.managed_fields_mut().clear();
    object
}

/// A Secret that its owner has marked as trust material.
fn labelled(secret: Secret) -> Option<Secret> {
    let (label, value) = TRUST_LABEL.split_once('=').unwrap_or_default();
    (secret.labels().get(label).map(String::as_str) == Some(value)).then_some(secret)
}
