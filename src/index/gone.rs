//! Pods that were deleted a moment ago, as they were last seen.
//!
//! Receives the events of the watch on Pods before the table of Pods does; promises that the last state of each Pod that
//! the watch showed is kept for some minutes after it went, and to say since when no Pod can have come and gone unseen.
//! Only that last state tells whether a Pod had ended, or just vanished.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, EphemeralVolumeSource, Pod, PodSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;

use super::watch::Event;

/// How long a Pod is kept: many rounds of the operator, and longer than it takes to elect another leader.
const KEPT: SignedDuration = SignedDuration::from_mins(5);
/// Most Pods that are kept: 100 MiB at 10 KiB each, of which most take far less. Of what is deleted faster than that
/// within [`KEPT`], the rest counts as unseen.
const MAX_KEPT: usize = 10_000;

/// Pods that were deleted a moment ago.
#[derive(Debug, Default)]
pub(crate) struct GonePods {
    pods: Arc<HashMap<String, Arc<Pod>>>,
    since: HashMap<String, Timestamp>,
    complete_since: Option<Timestamp>,
}

impl GonePods {
    /// Takes in what is about to happen to the Pods that are there.
    pub(crate) fn take(&mut self, event: &Event<Pod>, there: &HashMap<(String, String), Arc<Pod>>, now: Timestamp) {
        match event {
            Event::Alive => {}
            Event::Delete(pod) => {
                // Not all objects say so in their last state. Of one that no list shows any more only what was seen is
                // known: it may have gone on after that.
                let mut pod = pod.clone();
                pod.metadata.deletion_timestamp.get_or_insert(Time(now));
                self.keep(&pod, now);
            }
            // Another Pod of the same name: the deletion of the first was missed.
            Event::Apply(pod) => {
                let before = there.get(&(pod.namespace().unwrap_or_default(), pod.name_any()));
                if let Some(before) = before.filter(|before| before.uid() != pod.uid()) {
                    self.keep(before, now);
                }
            }
            Event::Reset(pods) => {
                let listed: std::collections::HashSet<Option<String>> = pods.iter().map(ResourceExt::uid).collect();
                for before in there.values().filter(|before| !listed.contains(&before.uid())) {
                    self.keep(before, now);
                }
                self.complete_since = Some(now);
            }
        }
        self.forget(now);
    }

    /// The Pods by uid.
    pub(crate) fn pods(&self) -> Arc<HashMap<String, Arc<Pod>>> {
        Arc::clone(&self.pods)
    }

    /// Since when no Pod can have come and gone unseen.
    pub(crate) fn complete_since(&self) -> Option<Timestamp> {
        self.complete_since
    }

    fn keep(&mut self, pod: &Pod, now: Timestamp) {
        let Some(pod) = traces(pod) else { return };
        let uid = pod.uid().unwrap_or_default();
        if self.since.len() >= MAX_KEPT && !self.since.contains_key(&uid) {
            self.complete_since = Some(now);
            return;
        }
        self.since.insert(uid.clone(), now);
        Arc::make_mut(&mut self.pods).insert(uid, Arc::new(pod));
    }

    fn forget(&mut self, now: Timestamp) {
        let old = |since: &Timestamp| now.duration_since(*since) > KEPT;
        if self.since.values().any(old) {
            let pods = Arc::make_mut(&mut self.pods);
            self.since.retain(|uid, since| !old(since) || pods.remove(uid).is_none());
        }
    }
}

/// What a Pod leaves behind: who it was, how it ended, and which of its containers could write to storage that outlives
/// it. Nothing for a Pod that had no such storage. The rest is as large as a tenant likes it to be.
fn traces(pod: &Pod) -> Option<Pod> {
    let spec = pod.spec.as_ref()?;
    let volumes: Vec<Volume> = spec.volumes.iter().flatten().filter_map(lasting).collect();
    if volumes.is_empty() {
        return None;
    }
    let mounts = |mounts: &Option<Vec<VolumeMount>>| {
        let mut kept: Vec<VolumeMount> = Vec::new();
        for VolumeMount { name, read_only, .. } in mounts.iter().flatten() {
            let mount = VolumeMount { name: name.clone(), read_only: *read_only, ..VolumeMount::default() };
            if volumes.iter().any(|volume| volume.name == *name) && !kept.contains(&mount) {
                kept.push(mount);
            }
        }
        Some(kept)
    };
    let bare = |it: &Container| Container {
        name: it.name.clone(),
        volume_mounts: mounts(&it.volume_mounts),
        volume_devices: it.volume_devices.clone(),
        security_context: it.security_context.clone(),
        restart_policy: it.restart_policy.clone(),
        restart_policy_rules: it.restart_policy_rules.clone(),
        ..Container::default()
    };
    let ephemeral = |it: &EphemeralContainer| EphemeralContainer {
        name: it.name.clone(),
        volume_mounts: mounts(&it.volume_mounts),
        volume_devices: it.volume_devices.clone(),
        security_context: it.security_context.clone(),
        ..EphemeralContainer::default()
    };
    let metadata = ObjectMeta {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        deletion_timestamp: pod.metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        node_name: spec.node_name.clone(),
        restart_policy: spec.restart_policy.clone(),
        init_containers: spec.init_containers.as_ref().map(|all| all.iter().map(bare).collect()),
        containers: spec.containers.iter().map(bare).collect(),
        ephemeral_containers: spec.ephemeral_containers.as_ref().map(|all| all.iter().map(ephemeral).collect()),
        volumes: Some(volumes.clone()),
        ..PodSpec::default()
    };
    Some(Pod { metadata, spec: Some(spec), status: pod.status.clone() })
}

/// A volume whose content outlives the Pod.
fn lasting(volume: &Volume) -> Option<Volume> {
    let bare = Volume {
        name: volume.name.clone(),
        persistent_volume_claim: volume.persistent_volume_claim.clone(),
        ephemeral: volume.ephemeral.as_ref().map(|_| EphemeralVolumeSource::default()),
        nfs: volume.nfs.clone(),
        host_path: volume.host_path.clone(),
        ..Volume::default()
    };
    let Volume { persistent_volume_claim, ephemeral, nfs, host_path, .. } = &bare;
    let lasts = persistent_volume_claim.is_some() || ephemeral.is_some() || nfs.is_some() || host_path.is_some();
    lasts.then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str, uid: &str) -> Pod {
        let volume = serde_json::json!({ "name": "v", "persistentVolumeClaim": { "claimName": "c" } });
        let spec = serde_json::json!({ "containers": [], "volumes": [volume] });
        let mut pod = Pod { spec: serde_json::from_value(spec).unwrap(), ..Pod::default() };
        pod.metadata.namespace = Some("ns".into());
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod
    }

    fn there(pods: &[Pod]) -> HashMap<(String, String), Arc<Pod>> {
        pods.iter().map(|pod| (("ns".to_owned(), pod.name_any()), Arc::new(pod.clone()))).collect()
    }

    fn uids(gone: &GonePods) -> Vec<String> {
        let mut uids: Vec<String> = gone.pods().keys().cloned().collect();
        uids.sort();
        uids
    }

    #[test]
    fn the_last_state_is_kept_for_minutes() {
        let mut gone = GonePods::default();
        let none = there(&[]);
        gone.take(&Event::Reset(vec![]), &none, at(0));
        let mut last = pod("a", "1");
        last.status =
            Some(k8s_openapi::api::core::v1::PodStatus { phase: Some("Failed".into()), ..Default::default() });
        gone.take(&Event::Delete(last), &there(&[pod("a", "1")]), at(10));
        assert_eq!(gone.pods()["1"].status.as_ref().unwrap().phase.as_deref(), Some("Failed"));
        assert_eq!(gone.pods()["1"].metadata.deletion_timestamp, Some(Time(at(10))));
        gone.take(&Event::Alive, &none, at(10 + 300));
        assert_eq!(uids(&gone), ["1"]);
        gone.take(&Event::Alive, &none, at(10 + 301));
        assert_eq!(uids(&gone), [""; 0]);
        assert_eq!(gone.complete_since(), Some(at(0)));
    }

    #[test]
    fn what_a_list_no_longer_shows_is_gone_and_more_may_be() {
        let mut gone = GonePods::default();
        gone.take(&Event::Reset(vec![]), &there(&[]), at(0));
        gone.take(&Event::Reset(vec![pod("b", "2")]), &there(&[pod("a", "1"), pod("b", "2")]), at(7));
        assert_eq!(uids(&gone), ["1"]);
        assert_eq!(gone.pods()["1"].metadata.deletion_timestamp, None, "nobody saw it go");
        assert_eq!(gone.complete_since(), Some(at(7)));
    }

    #[test]
    fn another_pod_of_the_same_name_means_that_the_first_is_gone() {
        let mut gone = GonePods::default();
        gone.take(&Event::Apply(pod("a", "2")), &there(&[pod("a", "1")]), at(1));
        gone.take(&Event::Apply(pod("b", "3")), &there(&[pod("b", "3")]), at(1));
        assert_eq!(uids(&gone), ["1"]);
    }

    #[test]
    fn a_pod_leaves_behind_what_it_could_write_and_no_more() {
        let mount = |name: &str| serde_json::json!({ "name": name, "mountPath": "x".repeat(4096) });
        let big = serde_json::json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u", "annotations": { "a": "x".repeat(4096) } },
            "spec": {
                "nodeName": "n",
                "restartPolicy": "Never",
                "initContainers": [{ "name": "i", "restartPolicy": "Always", "volumeMounts": [mount("claim")] }],
                "containers": [
                    { "name": "c", "args": ["x".repeat(4096)], "volumeMounts": [mount("claim"), mount("tmp")] },
                    { "name": "mighty", "securityContext": { "privileged": true } },
                ],
                "ephemeralContainers": [{ "name": "e", "volumeMounts": [mount("nfs"), mount("host"), mount("own")] }],
                "volumes": [
                    { "name": "claim", "persistentVolumeClaim": { "claimName": "models" } },
                    { "name": "nfs", "nfs": { "server": "s", "path": "/p" } },
                    { "name": "host", "hostPath": { "path": "/p" } },
                    { "name": "own", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } },
                    { "name": "tmp", "emptyDir": {} },
                ],
            },
            "status": { "phase": "Running" },
        });
        let kept = traces(&serde_json::from_value(big).unwrap()).unwrap();
        let mount = |name: &str| serde_json::json!({ "name": name, "mountPath": "" });
        let expected = serde_json::json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u" },
            "spec": {
                "nodeName": "n",
                "restartPolicy": "Never",
                "initContainers": [{ "name": "i", "restartPolicy": "Always", "volumeMounts": [mount("claim")] }],
                "containers": [
                    { "name": "c", "volumeMounts": [mount("claim")] },
                    { "name": "mighty", "securityContext": { "privileged": true }, "volumeMounts": [] },
                ],
                "ephemeralContainers": [{ "name": "e", "volumeMounts": [mount("nfs"), mount("host"), mount("own")] }],
                "volumes": [
                    { "name": "claim", "persistentVolumeClaim": { "claimName": "models" } },
                    { "name": "nfs", "nfs": { "server": "s", "path": "/p" } },
                    { "name": "host", "hostPath": { "path": "/p" } },
                    { "name": "own", "ephemeral": {} },
                ],
            },
            "status": { "phase": "Running" },
        });
        assert_eq!(kept, serde_json::from_value(expected).unwrap());
        let harmless = serde_json::json!({ "metadata": {}, "spec": { "containers": [], "volumes": [] } });
        assert_eq!(traces(&serde_json::from_value(harmless).unwrap()), None);
    }
}
