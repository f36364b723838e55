//! A new Pod as far as anything of it is looked at. New Pods come by the thousand, and half of each (probes, resources,
//! ports, tolerations, managed fields) says nothing about models: that half is passed over instead of being built.
//!
//! Receives the JSON of a Pod; promises that its uses, gates and names are those of the whole Pod: the tests of what is
//! looked at read their Pods both ways; never decides what matters: whoever looks at one more field adds it here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EphemeralContainer, ExecAction, Lifecycle, Pod, PodSchedulingGate,
    PodSecurityContext, PodSpec, Probe, SecurityContext, Volume, VolumeDevice, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// A Pod, as far as it is looked at. [`Pod::from`] makes a Pod of it that lacks the rest.
#[derive(Debug, Deserialize)]
pub struct NewPod {
    metadata: Named,
    spec: Option<Spec>,
}

/// Metadata, as far as they are looked at. Managed fields are a quarter of a Pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
}

/// A PodSpec, as far as it is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    init_containers: Option<Vec<AnyContainer>>,
    containers: Option<Vec<AnyContainer>>,
    ephemeral_containers: Option<Vec<EphemeralContainer>>,
    volumes: Option<Vec<Volume>>,
    security_context: Option<PodSecurityContext>,
    service_account: Option<String>,
    service_account_name: Option<String>,
    scheduling_gates: Option<Vec<PodSchedulingGate>>,
    node_name: Option<String>,
}

/// A container, as far as it is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyContainer {
    name: Option<String>,
    image: Option<String>,
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    env: Option<Vec<EnvVar>>,
    env_from: Option<Vec<EnvFromSource>>,
    working_dir: Option<String>,
    volume_mounts: Option<Vec<VolumeMount>>,
    volume_devices: Option<Vec<VolumeDevice>>,
    security_context: Option<SecurityContext>,
    termination_message_path: Option<String>,
    lifecycle: Option<Lifecycle>,
    liveness_probe: Option<Run>,
    readiness_probe: Option<Run>,
    startup_probe: Option<Run>,
}

/// A probe: what it runs in the container, if it runs anything.
#[derive(Debug, Deserialize)]
struct Run {
    exec: Option<ExecAction>,
}

impl From<NewPod> for Pod {
    fn from(NewPod { metadata, spec }: NewPod) -> Self {
        let Named { name, generate_name, namespace, annotations, finalizers } = metadata;
        let metadata = ObjectMeta { name, generate_name, namespace, annotations, finalizers, ..ObjectMeta::default() };
        Pod { metadata, spec: spec.map(PodSpec::from), status: None }
    }
}

impl From<Spec> for PodSpec {
    fn from(spec: Spec) -> Self {
        let containers = |list: Vec<AnyContainer>| list.into_iter().map(Container::from).collect();
        PodSpec {
            init_containers: spec.init_containers.map(containers),
            containers: spec.containers.map(containers).unwrap_or_default(),
            ephemeral_containers: spec.ephemeral_containers,
            volumes: spec.volumes,
            security_context: spec.security_context,
            service_account: spec.service_account,
            service_account_name: spec.service_account_name,
            scheduling_gates: spec.scheduling_gates,
            node_name: spec.node_name,
            ..PodSpec::default()
        }
    }
}

impl From<AnyContainer> for Container {
    fn from(container: AnyContainer) -> Self {
        let probe = |Run { exec }| Probe { exec, ..Probe::default() };
        Container {
            name: container.name.unwrap_or_default(),
            image: container.image,
            command: container.command,
            args: container.args,
            env: container.env,
            env_from: container.env_from,
            working_dir: container.working_dir,
            volume_mounts: container.volume_mounts,
            volume_devices: container.volume_devices,
            security_context: container.security_context,
            termination_message_path: container.termination_message_path,
            lifecycle: container.lifecycle,
            liveness_probe: container.liveness_probe.map(probe),
            readiness_probe: container.readiness_probe.map(probe),
            startup_probe: container.startup_probe.map(probe),
            ..Container::default()
        }
    }
}

/// A spec, after making sure that what is looked at of a new Pod gives the same uses.
#[cfg(test)]
pub(super) fn read_both_ways(spec: serde_json::Value) -> PodSpec {
    let new: Spec = serde_json::from_value(spec.clone()).unwrap();
    let whole: PodSpec = serde_json::from_value(spec).unwrap();
    let uses = |spec: &PodSpec| super::model_uses(spec, &BTreeMap::new(), &super::FieldPath("spec".into()));
    assert_eq!(uses(&PodSpec::from(new)), uses(&whole));
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A Pod that sets every field that is looked at, and no other.
    fn looked_at() -> Value {
        let run = json!({ "exec": { "command": ["vllm", "serve"] } });
        let container = json!({
            "name": "c", "image": "vllm", "command": ["sh"], "args": ["-c"], "workingDir": "/work",
            "env": [{ "name": "A", "value": "a" }], "envFrom": [{ "configMapRef": { "name": "settings" } }],
            "volumeMounts": [{ "name": "m", "mountPath": "/m" }], "volumeDevices": [{ "name": "d", "devicePath": "/d" }],
            "securityContext": { "privileged": true }, "terminationMessagePath": "/m/log",
            "lifecycle": { "postStart": run, "preStop": run },
            "livenessProbe": run, "readinessProbe": run, "startupProbe": run,
        });
        json!({
            "metadata": { "name": "n", "generateName": "n-", "namespace": "ns", "annotations": { "a": "b" },
                "finalizers": ["f"] },
            "spec": {
                "initContainers": [container], "containers": [container], "ephemeralContainers": [container],
                "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "models" } }],
                "securityContext": { "runAsUser": 1 }, "serviceAccount": "old", "serviceAccountName": "loader",
                "schedulingGates": [{ "name": "gate" }], "nodeName": "node",
            },
        })
    }

    #[test]
    fn what_is_looked_at_is_read_as_in_the_whole_pod_and_nothing_else() {
        let read = |pod: &Value| Pod::from(serde_json::from_value::<NewPod>(pod.clone()).unwrap());
        let mut pod = looked_at();
        let whole: Pod = serde_json::from_value(pod.clone()).unwrap();
        assert_eq!(read(&pod), whole);
        pod["metadata"]["managedFields"] = json!([{ "manager": "kubectl" }]);
        pod["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
        pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "1Gi" } });
        pod["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = json!(10);
        assert_eq!(read(&pod), whole);
    }
}
