//! Which objects are judged, and how each is read.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Extract, HasModels};

/// The kinds that are judged, and where each keeps its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Pod itself.
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Job.
    Job,
    /// A CronJob.
    CronJob,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] =
        [Kind::Pod, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet, Kind::Job, Kind::CronJob];

    /// The kind of an object, if it is one that is judged.
    pub fn of(group: &str, version: &str, kind: &str) -> Option<Self> {
        Some(match (group, version, kind) {
            ("", "v1", "Pod") => Kind::Pod,
            ("apps", "v1", "Deployment") => Kind::Deployment,
            ("apps", "v1", "StatefulSet") => Kind::StatefulSet,
            ("apps", "v1", "DaemonSet") => Kind::DaemonSet,
            ("apps", "v1", "ReplicaSet") => Kind::ReplicaSet,
            ("batch", "v1", "Job") => Kind::Job,
            ("batch", "v1", "CronJob") => Kind::CronJob,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Pod => "Pod",
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
            Kind::DaemonSet => "DaemonSet",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Job => "Job",
            Kind::CronJob => "CronJob",
        }
    }

    /// Where the template lies that Pods are made from, as a JSON pointer.
    pub const fn template(self) -> &'static str {
        match self {
            Kind::CronJob => "/spec/jobTemplate/spec/template",
            _ => "/spec/template",
        }
    }

    /// Who asks for which models in an object of this kind.
    pub fn extract(self, object: &Value) -> Result<Extract, serde_json::Error> {
        fn typed<K: DeserializeOwned + HasModels>(object: &Value) -> Result<Extract, serde_json::Error> {
            K::deserialize(object).map(|object| object.extract())
        }
        match self {
            Kind::Pod => typed::<Pod>(object),
            Kind::Deployment => typed::<Deployment>(object),
            Kind::StatefulSet => typed::<StatefulSet>(object),
            Kind::DaemonSet => typed::<DaemonSet>(object),
            Kind::ReplicaSet => typed::<ReplicaSet>(object),
            Kind::Job => typed::<Job>(object),
            Kind::CronJob => typed::<CronJob>(object),
        }
    }
}
