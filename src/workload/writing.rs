//! What a Pod may write to, and whether its writing has ended.
//!
//! Receives Pods; promises to err on the side of a writer: only a mount that says read-only, in a container that cannot
//! undo that, is none, and only what a kubelet reported is an end. Never knows what lies behind a claim.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, SecurityContext, Volume, VolumeMount};
use kube::ResourceExt;

use super::ids::overpowers_mounts;
use crate::api::gate::GATE;

/// Storage as a Pod names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A claim in the Pod's namespace.
    Claim(String),
    /// An NFS export that the Pod mounts itself: server and path.
    Nfs(String, String),
    /// A path of the Pod's node.
    HostPath(String),
}

/// One thing that a Pod may write to, and which of its containers may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// What it may write to.
    pub target: Target,
    /// Names of the containers that may; names are unique in a Pod.
    pub containers: BTreeSet<String>,
}

/// All that a Pod may write to.
pub fn writings(pod: &Pod) -> Vec<Writing> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = containers(spec);
    let volumes = spec.volumes.iter().flatten();
    let writing = |volume: &Volume| {
        let (target, read_only) = target(&pod.name_any(), volume)?;
        // A container that can undo a read-only mount can undo that of its neighbour as well.
        let mounted = containers.iter().any(|container| container.mounts(&volume.name));
        let may =
            |container: &&Mounting<'_>| container.writes(&volume.name, read_only) || (mounted && container.mighty);
        let writers = containers.iter().filter(may);
        let containers: BTreeSet<String> = writers.map(|container| container.name.to_owned()).collect();
        (!containers.is_empty()).then_some(Writing { target, containers })
    };
    volumes.filter_map(writing).collect()
}

/// Whether all of these containers have ended and cannot start again, as their kubelet reported it.
///
/// A terminal phase says so of all of them: a kubelet reports one only when no container runs any more. Otherwise each
/// must be terminated in a way after which it is not restarted. An init container that has succeeded starts again only
/// where the Pod's sandbox is made anew; its status says so then, and it counts as a new writer.
pub fn ended(pod: &Pod, containers: &BTreeSet<String>) -> bool {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return false };
    if is_over(pod) {
        return true;
    }
    let statuses = || {
        (status.init_container_statuses.iter().flatten())
            .chain(status.container_statuses.iter().flatten())
            .chain(status.ephemeral_container_statuses.iter().flatten())
    };
    containers.iter().all(|name| {
        let exit_code = statuses().find(|status| status.name == *name).and_then(exit_code);
        exit_code.is_some_and(|code| !restarts(spec, name, code))
    })
}

/// The claims to which a container of the Pod that has ended its writing could write again, since it gets another image,
/// each with such a container: a kubelet starts it anew then, whatever the Pod's restart policy is.
pub fn revived(old: &Pod, new: &Pod) -> BTreeMap<String, String> {
    let (before, now) = (images(old), images(new));
    let revived = |name: &&String| {
        before.get(name.as_str()) != now.get(name.as_str()) && ended(old, &BTreeSet::from([(*name).clone()]))
    };
    let of = |writing: Writing| match writing.target {
        Target::Claim(claim) => writing.containers.iter().find(revived).map(|name| (claim, name.clone())),
        Target::Nfs(..) | Target::HostPath(_) => None,
    };
    writings(old).into_iter().filter_map(of).collect()
}

fn images(pod: &Pod) -> BTreeMap<&str, Option<&str>> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.map(|container| (container.name.as_str(), container.image.as_deref())).collect()
}

/// Whether no kubelet ever starts a container of this Pod: it had no node when it was deleted, and none is given to what
/// is being deleted.
pub fn never_starts(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_none_or(str::is_empty) && pod.metadata.deletion_timestamp.is_some()
}

/// Whether it waits behind our scheduling gate: no container of it was ever started.
pub fn is_held(pod: &Pod) -> bool {
    gates(pod).any(|gate| gate == GATE)
}

/// Whether a scheduling gate that is not ours keeps it waiting as well.
pub fn is_held_by_others(pod: &Pod) -> bool {
    gates(pod).any(|gate| gate != GATE)
}

fn gates(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).map(|gate| gate.name.as_str())
}

/// Whether its kubelet said that nothing of it will run again.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// Whether a container that has ended with this code may be started again.
fn restarts(spec: &PodSpec, name: &str, exit_code: i32) -> bool {
    let pod_policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let own = |container: &Container| {
        let rules = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
        (container.restart_policy.clone(), rules)
    };
    let find = |list: &[Container]| list.iter().find(|container| container.name == name).map(own);
    let (policy, succeeds_once) = if let Some((policy, rules)) = find(&spec.containers) {
        if rules {
            return true;
        }
        (policy.unwrap_or_else(|| pod_policy.to_owned()), false)
    } else if let Some((policy, rules)) = find(spec.init_containers.as_deref().unwrap_or_default()) {
        if rules {
            return true;
        }
        // Without a policy of its own it runs until it succeeds once; with `Always` it is a sidecar.
        let once = policy.as_deref() != Some("Always");
        (policy.unwrap_or_else(|| pod_policy.to_owned()), once)
    } else {
        // An ephemeral container is never restarted.
        return false;
    };
    match policy.as_str() {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => !(succeeds_once && exit_code == 0),
    }
}

/// What matters of a container of any kind.
struct Mounting<'a> {
    name: &'a str,
    mounts: &'a [VolumeMount],
    devices: Vec<&'a str>,
    mighty: bool,
}

impl Mounting<'_> {
    fn mounts(&self, volume: &str) -> bool {
        self.devices.contains(&volume) || self.mounts.iter().any(|mount| mount.name == volume)
    }

    fn writes(&self, volume: &str, read_only: bool) -> bool {
        let mut mounts = self.mounts.iter().filter(|mount| mount.name == volume);
        !read_only && (self.devices.contains(&volume) || mounts.any(|mount| mount.read_only != Some(true)))
    }
}

fn containers(spec: &PodSpec) -> Vec<Mounting<'_>> {
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| Mounting {
        name: &container.name,
        mounts: container.volume_mounts.as_deref().unwrap_or_default(),
        devices: container.volume_devices.iter().flatten().map(|device| device.name.as_str()).collect(),
        mighty: container.security_context.as_ref().is_some_and(mighty),
    });
    spec.init_containers.iter().flatten().chain(&spec.containers).map(mounting).chain(ephemeral).collect()
}

fn mounting(container: &Container) -> Mounting<'_> {
    let Container { name, volume_mounts, volume_devices, security_context, .. } = container;
    Mounting {
        name,
        mounts: volume_mounts.as_deref().unwrap_or_default(),
        devices: volume_devices.iter().flatten().map(|device| device.name.as_str()).collect(),
        mighty: security_context.as_ref().is_some_and(mighty),
    }
}

/// Whether a container can turn a read-only mount into a writable one.
fn mighty(context: &SecurityContext) -> bool {
    overpowers_mounts(Some(context)).is_some()
}

/// What a volume leads to that can be written to for good, and whether the volume itself is read-only.
fn target(pod: &str, volume: &Volume) -> Option<(Target, bool)> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((Target::Claim(claim.claim_name.clone()), claim.read_only == Some(true)));
    }
    if volume.ephemeral.is_some() {
        return Some((Target::Claim(format!("{pod}-{}", volume.name)), false));
    }
    if let Some(nfs) = &volume.nfs {
        return Some((Target::Nfs(nfs.server.clone(), nfs.path.clone()), nfs.read_only == Some(true)));
    }
    volume.host_path.as_ref().map(|host| (Target::HostPath(host.path.clone()), false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Pod {
        let object = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": spec, "status": status });
        serde_json::from_value(object).unwrap()
    }

    fn with_container(volume: Value, container: Value) -> Pod {
        let mut container = container;
        container["name"] = "c".into();
        let mut volume = volume;
        volume["name"] = "v".into();
        pod(json!({ "volumes": [volume], "containers": [container] }), json!({}))
    }

    fn claim() -> Value {
        json!({ "persistentVolumeClaim": { "claimName": "models" } })
    }

    #[test]
    fn only_a_mount_that_says_read_only_is_none() {
        let mount = |extra: Value| {
            let mut mount = json!({ "name": "v", "mountPath": "/m" });
            mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({ "volumeMounts": [mount] })
        };
        let add = |capability: &str| {
            let mut container = mount(json!({ "readOnly": true }));
            container["securityContext"] = json!({ "capabilities": { "add": [capability] } });
            container
        };
        let read_only_claim = json!({ "persistentVolumeClaim": { "claimName": "models", "readOnly": true } });
        let mut privileged = mount(json!({ "readOnly": true }));
        privileged["securityContext"] = json!({ "privileged": true });
        let device = json!({ "volumeDevices": [{ "name": "v", "devicePath": "/dev/x" }] });
        let table = [
            ("plain", claim(), mount(json!({})), true),
            ("read-only mount", claim(), mount(json!({ "readOnly": true })), false),
            ("read-only claim", read_only_claim.clone(), mount(json!({})), false),
            ("privileged", read_only_claim, privileged, true),
            ("SYS_ADMIN", claim(), add("SYS_ADMIN"), true),
            ("CAP_SYS_ADMIN", claim(), add("CAP_SYS_ADMIN"), true),
            ("ALL", claim(), add("all"), true),
            ("NET_ADMIN", claim(), add("NET_ADMIN"), false),
            ("not mounted", claim(), json!({}), false),
            ("block device", claim(), device, true),
            ("NFS", json!({ "nfs": { "server": "s", "path": "/p" } }), mount(json!({})), true),
            ("hostPath", json!({ "hostPath": { "path": "/p" } }), mount(json!({})), true),
            ("ephemeral", json!({ "ephemeral": {} }), mount(json!({})), true),
            ("emptyDir", json!({ "emptyDir": {} }), mount(json!({})), false),
        ];
        for (name, volume, container, writes) in table {
            assert_eq!(!writings(&with_container(volume, container)).is_empty(), writes, "{name}");
        }
    }

    #[test]
    fn a_mighty_container_writes_what_its_neighbours_mount() {
        let reader =
            json!({ "name": "reader", "volumeMounts": [{ "name": "v", "mountPath": "/m", "readOnly": true }] });
        let of = |context: Value, mounts: bool| {
            let reader = if mounts { reader.clone() } else { json!({ "name": "reader" }) };
            let mut volume = claim();
            volume["name"] = "v".into();
            let other = json!({ "name": "other", "securityContext": context });
            let spec = json!({ "volumes": [volume], "containers": [reader], "ephemeralContainers": [other] });
            writings(&pod(spec, json!({}))).into_iter().flat_map(|writing| writing.containers).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({ "privileged": true }), true), ["other"]);
        assert_eq!(of(json!({ "windowsOptions": { "hostProcess": true } }), true), ["other"]);
        assert_eq!(of(json!({}), true), [""; 0]);
        assert_eq!(of(json!({ "privileged": true }), false), [""; 0], "a volume that nobody mounts is not there");
    }

    #[test]
    fn an_end_is_what_cannot_start_again() {
        let terminated = |code: i32| json!({ "terminated": { "exitCode": code } });
        let running = json!({ "running": {} });
        let table = [
            ("Never", "containers", Value::Null, terminated(1), true),
            ("Never", "containers", Value::Null, running.clone(), false),
            ("Never", "containers", json!("Always"), terminated(0), false),
            ("OnFailure", "containers", Value::Null, terminated(0), true),
            ("OnFailure", "containers", Value::Null, terminated(1), false),
            ("Always", "containers", Value::Null, terminated(0), false),
            ("Always", "initContainers", Value::Null, terminated(0), true),
            ("Always", "initContainers", Value::Null, terminated(1), false),
            ("Always", "initContainers", json!("Always"), terminated(0), false),
            ("Never", "initContainers", json!("Always"), terminated(0), false),
            ("Always", "ephemeralContainers", Value::Null, terminated(1), true),
            ("Always", "ephemeralContainers", Value::Null, running, false),
        ];
        for (policy, list, own, state, expected) in table {
            let mut container = json!({ "name": "c" });
            if !own.is_null() {
                container["restartPolicy"] = own.clone();
            }
            let mut spec = json!({ "restartPolicy": policy, "containers": [] });
            spec[list] = json!([container]);
            let statuses = match list {
                "containers" => "containerStatuses",
                "initContainers" => "initContainerStatuses",
                _ => "ephemeralContainerStatuses",
            };
            let status = json!({ "phase": "Running", statuses: [
                { "name": "c", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0 }] });
            let pod = pod(spec, status);
            assert_eq!(ended(&pod, &BTreeSet::from(["c".into()])), expected, "{policy} {list} {own} {state}");
        }
    }

    #[test]
    fn only_who_is_deleted_without_a_node_never_starts() {
        let of = |node: Value, deleted: bool| {
            let mut pod = pod(json!({ "containers": [], "nodeName": node }), json!({}));
            let time = deleted.then(|| serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            pod.metadata.deletion_timestamp = time;
            never_starts(&pod)
        };
        assert!(of(Value::Null, true) && of(json!(""), true));
        assert!(!of(Value::Null, false) && !of(json!("n"), true));
    }

    #[test]
    fn another_image_starts_again_what_has_written() {
        let with = |policy: &str, images: [&str; 2], state: Value| {
            let mount = |read_only: bool| json!([{ "name": "v", "mountPath": "/m", "readOnly": read_only }]);
            let containers = json!([
                { "name": "loader", "image": images[0], "volumeMounts": mount(false) },
                { "name": "shipper", "image": images[1], "volumeMounts": mount(true) },
            ]);
            let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "models" } }]);
            let status = json!({
                "name": "loader", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0 });
            let spec = json!({ "restartPolicy": policy, "containers": containers, "volumes": volumes });
            pod(spec, json!({ "phase": "Running", "containerStatuses": [status] }))
        };
        let (ended, runs) = (json!({ "terminated": { "exitCode": 0 } }), json!({ "running": {} }));
        let all = [("models".to_owned(), "loader".to_owned())];
        for (what, policy, state, images, expected) in [
            ("another image", "Never", &ended, ["b", "a"], &all[..]),
            ("of its neighbour", "Never", &ended, ["a", "b"], &[]),
            ("it still writes", "Never", &runs, ["b", "a"], &[]),
            ("it is started again anyway", "Always", &ended, ["b", "a"], &[]),
        ] {
            let before = with(policy, ["a", "a"], state.clone());
            let found = revived(&before, &with(policy, images, state.clone()));
            assert_eq!(found, expected.iter().cloned().collect(), "{what}");
        }
    }

    #[test]
    fn a_terminal_phase_ends_all_and_silence_nothing() {
        let all = BTreeSet::from(["c".to_owned()]);
        let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "c" }] });
        assert!(ended(&pod(spec.clone(), json!({ "phase": "Failed" })), &all));
        assert!(!ended(&pod(spec.clone(), json!({ "phase": "Running" })), &all));
        assert!(!ended(&pod(spec, json!({})), &all));
    }
}
