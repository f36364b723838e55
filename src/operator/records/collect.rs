//! Whether a result counts.
//!
//! Receives the Pod as it was sent, as the API server returned it, and as it is at the end; promises that a result is
//! taken only if all that could change what our container does, sees or says is what was sent. Added containers, the
//! volumes that they alone mount, resources and the pull policy may differ: clusters add those to every Pod.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;

use super::verifier_pod::CONTAINER;
use crate::api::v1alpha1::UnknownCode;
use crate::model::{Hasher, shown_to};

/// Fields of our container that must not differ.
const CONTAINER_FIELDS: [&str; 17] = [
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "securityContext",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "restartPolicy",
    "restartPolicyRules",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
/// Longest text of the cluster in a message, in characters: the words of a quota or of a webhook fit.
const MAX_WORDS: usize = 512;

/// What differs, as a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(pub String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the verifier Pod is not what was sent: {}", self.0)
    }
}

/// Those parts of a verifier Pod that must not differ, by path.
#[derive(Clone, Debug, PartialEq)]
pub struct Essence(BTreeMap<String, Value>);

impl Essence {
    /// That of a Pod that reads a claim.
    pub fn of(pod: &Pod, claim: &str) -> Result<Essence, Difference> {
        let pod = serde_json::to_value(pod).unwrap_or_default();
        let spec = &pod["spec"];
        let mut ours = list(spec, "containers").filter(|container| container["name"] == CONTAINER);
        let (Some(container), None) = (ours.next(), ours.next()) else {
            return Err(Difference(format!("spec.containers[{CONTAINER}] is missing")));
        };
        only_ours_mounts(spec, claim)?;
        let mut parts = BTreeMap::new();
        let mut note = |path: String, value: &Value| {
            if let Some(value) = plain(value) {
                parts.insert(path, value);
            }
        };
        for field in CONTAINER_FIELDS {
            note(format!("spec.containers[{CONTAINER}].{field}"), &container[field]);
        }
        for volume in list(spec, "volumes").filter(|volume| mounts(container, &volume["name"])) {
            note(format!("spec.volumes[{}]", volume["name"].as_str().unwrap_or_default()), volume);
        }
        note("spec.securityContext".to_owned(), &spec["securityContext"]);
        for (field, value) in spec.as_object().into_iter().flatten() {
            // `hostUsers` is true where nothing is said, the others are false.
            let said = *value != Value::Bool(field == "hostUsers");
            if said && (field.starts_with("host") || field.starts_with("share")) {
                note(format!("spec.{field}"), value);
            }
        }
        Ok(Essence(parts))
    }

    /// Whether the other is the same; else the first part that is not.
    pub fn same_as(&self, other: &Essence) -> Result<(), Difference> {
        let paths = self.0.keys().chain(other.0.keys());
        let differs = paths.filter(|path| self.0.get(*path) != other.0.get(*path)).min();
        differs.map_or(Ok(()), |path| Err(Difference(format!("{path} was changed"))))
    }

    /// `sha256:…` over all parts.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(&self.0).unwrap_or_default();
        Hasher::sha256(&json).to_string()
    }
}

/// Whether a verifier's Pod has stayed what was sent, from creation to the end.
pub fn unchanged(sent: &Pod, created: &Pod, ended: &Pod, claim: &str, image: &str) -> Result<(), Difference> {
    let wanted = Essence::of(sent, claim)?;
    wanted.same_as(&Essence::of(created, claim)?)?;
    wanted.same_as(&Essence::of(ended, claim)?)?;
    let uid = created.metadata.uid.as_deref().unwrap_or_default();
    untouched(ended, uid, image)
}

/// Whether the Pod at the end is the very one that was made, not on its way out, and ran our image once.
pub fn untouched(ended: &Pod, uid: &str, image: &str) -> Result<(), Difference> {
    let differs = |what: &str| Err(Difference(what.to_owned()));
    if ended.metadata.uid.as_deref() != Some(uid) {
        return differs("metadata.uid is another one");
    }
    if ended.metadata.deletion_timestamp.is_some() {
        return differs("it is being deleted");
    }
    let Some(status) = own_status(ended) else { return differs("our container has no status") };
    if status.restart_count != 0 {
        return differs("our container was restarted");
    }
    let digest = image.rsplit_once('@').map(|(_, digest)| digest);
    if digest.is_none_or(|digest| !status.image_id.ends_with(digest)) {
        return differs("our container ran another image");
    }
    Ok(())
}

/// How far a verifier Pod has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Our container has ended by itself, and left this message.
    Reported(String),
    /// It ended without a message, or can no longer run.
    Failed(String),
    /// Something of the cluster keeps it from starting, in the cluster's own words.
    Held(String),
    /// It is on its way.
    Pending,
    /// It reads.
    Running,
}

/// How far a verifier Pod has come, from the state of our own container.
pub fn stage(pod: &Pod) -> Stage {
    let status = pod.status.clone().unwrap_or_default();
    let pod_reason = words(status.reason.as_deref(), status.message.as_deref());
    let state = own_status(pod).and_then(|own| own.state.clone()).unwrap_or_default();
    if let Some(ended) = state.terminated {
        return match (ended.exit_code, ended.message) {
            (0, Some(message)) => Stage::Reported(message),
            (code, message) => {
                let own = words(ended.reason.as_deref(), message.as_deref());
                let words = [pod_reason, own].into_iter().flatten().collect::<Vec<_>>().join("; ");
                Stage::Failed(format!("the verifier ended with exit code {code} and no result: {words}"))
            }
        };
    }
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        let words = pod_reason.unwrap_or_else(|| "no reason given".to_owned());
        return Stage::Failed(format!("the verifier Pod ended before it had a result: {words}"));
    }
    if state.running.is_some() {
        return Stage::Running;
    }
    // A kubelet gives these reasons to what it tries again and again.
    if let Some(waiting) = state.waiting.filter(|waiting| {
        waiting.reason.as_deref().is_some_and(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing"))
    }) {
        return Stage::Held(words(waiting.reason.as_deref(), waiting.message.as_deref()).unwrap_or_default());
    }
    let unscheduled =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    match unscheduled {
        Some(why) => Stage::Held(words(why.reason.as_deref(), why.message.as_deref()).unwrap_or_default()),
        None => Stage::Pending,
    }
}

/// How an error of the API server when the Pod was made is told.
pub fn not_admitted(status: &kube::core::Status) -> (UnknownCode, String) {
    let words = shown_to(&status.message, MAX_WORDS);
    (UnknownCode::VerifierBlocked, format!("the cluster did not admit the verifier Pod: {words}"))
}

/// Reason and message of the cluster, fit to be shown.
fn words(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let text = match (reason.filter(|text| !text.is_empty()), message.filter(|text| !text.is_empty())) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => return None,
    };
    Some(shown_to(&text, MAX_WORDS))
}

fn own_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// No other container may reach the claim; and none may be attached to ours, whose process it could then see.
fn only_ours_mounts(spec: &Value, claim: &str) -> Result<(), Difference> {
    if list(spec, "ephemeralContainers").next().is_some() {
        return Err(Difference("spec.ephemeralContainers were added".to_owned()));
    }
    let volumes: Vec<&Value> = list(spec, "volumes")
        .filter(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
        .map(|volume| &volume["name"])
        .collect();
    for field in ["initContainers", "containers"] {
        for other in list(spec, field).filter(|other| field != "containers" || other["name"] != CONTAINER) {
            if volumes.iter().any(|volume| mounts(other, volume)) {
                let name = other["name"].as_str().unwrap_or_default();
                return Err(Difference(format!("spec.{field}[{name}] mounts the claim")));
            }
        }
    }
    Ok(())
}

fn mounts(container: &Value, volume: &Value) -> bool {
    let names = list(container, "volumeMounts").chain(list(container, "volumeDevices")).map(|mount| &mount["name"]);
    names.into_iter().any(|name| name == volume)
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

/// A value without what says nothing: absent, empty, and the one default of a security context that says so aloud.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            let items: Vec<Value> = items.iter().filter_map(plain).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let said = fields.iter().filter(|(name, value)| *name != "procMount" || **value != "Default");
            let fields: serde_json::Map<String, Value> =
                said.filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verifier_pod::tests::{pod, settings};
    use super::*;
    use crate::operator::records::verifier_pod::Placement;
    use crate::workload::Ids;
    use serde_json::json;

    fn sent() -> Pod {
        pod(&Ids { user: Some(1000), groups: vec![7], ..Ids::default() }, &Placement::default())
    }

    /// The Pod as an API server returns it, with what it defaults and what clusters add.
    fn returned(status: Value) -> Value {
        let mut pod = serde_json::to_value(sent()).unwrap();
        pod["metadata"]["uid"] = "pod-uid".into();
        let spec = pod["spec"].as_object_mut().unwrap();
        spec.insert("dnsPolicy".into(), "ClusterFirst".into());
        spec.insert("nodeName".into(), "n".into());
        spec.insert("schedulerName".into(), "default-scheduler".into());
        spec.insert("serviceAccountName".into(), "default".into());
        spec.insert("terminationGracePeriodSeconds".into(), 30.into());
        spec.insert("hostNetwork".into(), false.into());
        spec.insert("hostUsers".into(), true.into());
        pod["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
        pod["spec"]["containers"][0]["securityContext"]["procMount"] = "Default".into();
        pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1".into();
        let injected =
            json!({ "name": "proxy", "image": "proxy", "volumeMounts": [{ "name": "certs", "mountPath": "/c" }] });
        pod["spec"]["containers"].as_array_mut().unwrap().push(injected);
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "certs", "emptyDir": {} }));
        pod["status"] = status;
        pod
    }

    fn ended() -> Value {
        returned(json!({ "phase": "Succeeded", "containerStatuses": [{
            "name": CONTAINER, "restartCount": 0, "ready": false, "image": "x", "imageID": settings().image,
            "state": { "terminated": { "exitCode": 0, "message": "{}" } } }] }))
    }

    fn check(ended: Value) -> Result<(), Difference> {
        let created = serde_json::from_value(returned(Value::Null)).unwrap();
        unchanged(&sent(), &created, &serde_json::from_value(ended).unwrap(), "models", &settings().image)
    }

    #[test]
    fn what_clusters_add_to_every_pod_changes_nothing() {
        assert_eq!(check(ended()), Ok(()));
    }

    #[test]
    fn every_field_that_matters_is_compared() {
        let table = [
            ("/spec/containers/0/image", json!("evil@sha256:00")),
            ("/spec/containers/0/command", json!(["sh"])),
            ("/spec/containers/0/args/3", json!("/elsewhere")),
            ("/spec/containers/0/workingDir", json!("/x")),
            ("/spec/containers/0/env/1/value", json!("{}")),
            ("/spec/containers/0/envFrom", json!([{ "configMapRef": { "name": "c" } }])),
            ("/spec/containers/0/volumeMounts/0/readOnly", json!(false)),
            ("/spec/containers/0/volumeMounts/0/subPath", json!("good")),
            ("/spec/containers/0/volumeMounts/1", json!({ "name": "certs", "mountPath": "/claim/x" })),
            ("/spec/containers/0/volumeDevices", json!([{ "name": "claim", "devicePath": "/dev/x" }])),
            ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
            ("/spec/containers/0/securityContext/runAsUser", json!(0)),
            ("/spec/containers/0/securityContext/capabilities/add", json!(["SYS_PTRACE"])),
            ("/spec/containers/0/lifecycle", json!({ "postStart": { "exec": { "command": ["x"] } } })),
            ("/spec/containers/0/livenessProbe", json!({ "exec": { "command": ["x"] } })),
            ("/spec/containers/0/readinessProbe", json!({ "exec": { "command": ["x"] } })),
            ("/spec/containers/0/startupProbe", json!({ "exec": { "command": ["x"] } })),
            ("/spec/containers/0/restartPolicy", json!("Always")),
            ("/spec/containers/0/terminationMessagePath", json!("/claim/result")),
            ("/spec/containers/0/terminationMessagePolicy", json!("FallbackToLogsOnError")),
            ("/spec/containers/0/name", json!("other")),
            ("/spec/volumes/0/persistentVolumeClaim/claimName", json!("good-models")),
            ("/spec/volumes/0/persistentVolumeClaim/readOnly", json!(false)),
            ("/spec/hostPID", json!(true)),
            ("/spec/hostIPC", json!(true)),
            ("/spec/hostNetwork", json!(true)),
            ("/spec/hostUsers", json!(false)),
            ("/spec/hostAliases", json!([{ "ip": "1.2.3.4", "hostnames": ["x"] }])),
            ("/spec/shareProcessNamespace", json!(true)),
            ("/spec/securityContext/runAsUser", json!(1001)),
            ("/spec/securityContext/runAsGroup", json!(1001)),
            ("/spec/securityContext/supplementalGroups", json!([8])),
            ("/spec/securityContext/fsGroup", json!(7)),
            ("/spec/containers/1/volumeMounts/0/name", json!("claim")),
            (
                "/spec/initContainers",
                json!([{ "name": "i", "volumeMounts": [{ "name": "claim", "mountPath": "/x" }] }]),
            ),
            ("/spec/ephemeralContainers", json!([{ "name": "debug", "targetContainerName": CONTAINER }])),
            ("/metadata/uid", json!("another")),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ("/status/containerStatuses/0/restartCount", json!(1)),
            ("/status/containerStatuses/0/imageID", json!("x@sha256:00")),
            ("/status/containerStatuses", json!([])),
        ];
        for (pointer, value) in table {
            let mut pod = ended();
            set(&mut pod, pointer, value);
            assert!(check(pod).is_err(), "{pointer} is not compared");
        }
    }

    #[test]
    fn a_second_volume_of_the_same_claim_is_found() {
        let mut pod = ended();
        set(
            &mut pod,
            "/spec/volumes/1",
            json!({ "name": "certs", "persistentVolumeClaim": { "claimName": "models" } }),
        );
        let difference = check(pod).unwrap_err();
        assert_eq!(difference.0, "spec.containers[proxy] mounts the claim");
    }

    #[test]
    fn a_change_at_creation_is_found_although_the_end_looks_right() {
        let mut created = returned(Value::Null);
        set(&mut created, "/spec/containers/0/image", json!("evil"));
        let created = serde_json::from_value(created).unwrap();
        let ended = serde_json::from_value(ended()).unwrap();
        let difference = unchanged(&sent(), &created, &ended, "models", &settings().image).unwrap_err();
        assert_eq!(difference.0, "spec.containers[verifier].image was changed");
    }

    #[test]
    fn the_digest_of_an_essence_survives_a_restart() {
        let of = |value: Value| Essence::of(&serde_json::from_value(value).unwrap(), "models").unwrap().digest();
        assert_eq!(of(ended()), Essence::of(&sent(), "models").unwrap().digest());
    }

    fn set(value: &mut Value, pointer: &str, new: Value) {
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(items) => match last.parse::<usize>().unwrap() {
                index if index < items.len() => items[index] = new,
                _ => items.push(new),
            },
            other => other[last] = new,
        }
    }

    fn stage_of(status: Value) -> Stage {
        stage(&serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap())
    }

    fn own(state: Value) -> Value {
        json!([{ "name": CONTAINER, "restartCount": 0, "ready": false, "image": "", "imageID": "", "state": state },
               { "name": "proxy", "restartCount": 0, "ready": true, "image": "", "imageID": "", "state": { "running": {} } }])
    }

    #[test]
    fn our_own_container_says_how_far_it_is() {
        let reported = json!({ "phase": "Running", "containerStatuses": own(json!({ "terminated": { "exitCode": 0, "message": "m" } })) });
        assert_eq!(stage_of(reported), Stage::Reported("m".into()), "a sidecar may run on");
        let running = json!({ "phase": "Running", "containerStatuses": own(json!({ "running": {} })) });
        assert_eq!(stage_of(running), Stage::Running);
        let creating = json!({ "phase": "Pending", "containerStatuses": own(json!({ "waiting": { "reason": "ContainerCreating" } })) });
        assert_eq!(stage_of(creating), Stage::Pending);
        assert_eq!(stage_of(json!({})), Stage::Pending);
    }

    #[test]
    fn what_goes_wrong_is_told_in_the_clusters_words() {
        let oom = json!({ "phase": "Failed", "containerStatuses": own(json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } })) });
        assert!(matches!(stage_of(oom), Stage::Failed(why) if why.contains("OOMKilled")));
        let silent =
            json!({ "phase": "Succeeded", "containerStatuses": own(json!({ "terminated": { "exitCode": 0 } })) });
        assert!(matches!(stage_of(silent), Stage::Failed(_)));
        let late = json!({ "phase": "Failed", "reason": "DeadlineExceeded", "message": "too long" });
        assert!(matches!(stage_of(late), Stage::Failed(why) if why.contains("DeadlineExceeded: too long")));
        let image = json!({ "phase": "Pending", "containerStatuses": own(json!({ "waiting": { "reason": "ErrImagePull", "message": "no\u{1b}[2J" } })) });
        assert!(matches!(stage_of(image), Stage::Held(why) if why.contains("ErrImagePull") && !why.contains('\u{1b}')));
        let nowhere = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] });
        assert_eq!(stage_of(nowhere), Stage::Held("Unschedulable: 0/1 nodes".into()));
    }
}
