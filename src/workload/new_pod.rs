//! A new Pod as far as anything of it is looked at. New Pods come by the thousand, and half of each (probes, resources,
//! ports, tolerations, managed fields) says nothing about models: that half is passed over instead of being built.
//!
//! Receives the JSON of a Pod; promises that its uses, gates and names are those of the whole Pod: the tests of what is
//! looked at read their Pods both ways, and one here names every field that is not; never decides what matters: whoever looks at one more field adds it here.

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

/// A Pod, after making sure that what is looked at of it when it is new gives the same subject and uses.
#[cfg(test)]
pub(super) fn pod_both_ways(pod: serde_json::Value) -> Pod {
    use super::HasModels as _;
    let new: NewPod = serde_json::from_value(pod.clone()).unwrap();
    let whole: Pod = serde_json::from_value(pod).unwrap();
    assert_eq!(Pod::from(new).extract(), whole.extract());
    whole
}

/// The same of a spec.
#[cfg(test)]
pub(super) fn read_both_ways(spec: serde_json::Value) -> PodSpec {
    pod_both_ways(serde_json::json!({ "metadata": { "name": "pod", "namespace": "team" }, "spec": spec })).spec.unwrap()
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

    /// Does not build when the API gets one more field, until somebody has said whether it is looked at.
    #[test]
    fn every_field_was_thought_of() {
        let PodSpec {
            // Looked at.
            containers: _,
            ephemeral_containers: _,
            init_containers: _,
            node_name: _,
            scheduling_gates: _,
            security_context: _,
            service_account: _,
            service_account_name: _,
            volumes: _,
            // Passed over.
            active_deadline_seconds: _,
            affinity: _,
            automount_service_account_token: _,
            dns_config: _,
            dns_policy: _,
            enable_service_links: _,
            eviction_responders: _,
            host_aliases: _,
            host_ipc: _,
            host_network: _,
            host_pid: _,
            host_users: _,
            hostname: _,
            hostname_override: _,
            image_pull_secrets: _,
            node_selector: _,
            os: _,
            overhead: _,
            preemption_policy: _,
            priority: _,
            priority_class_name: _,
            readiness_gates: _,
            resource_claims: _,
            resources: _,
            restart_policy: _,
            runtime_class_name: _,
            scheduler_name: _,
            scheduling_group: _,
            set_hostname_as_fqdn: _,
            share_process_namespace: _,
            subdomain: _,
            termination_grace_period_seconds: _,
            tolerations: _,
            topology_spread_constraints: _,
        } = PodSpec::default();
        let Container {
            // Looked at.
            args: _,
            command: _,
            env: _,
            env_from: _,
            image: _,
            lifecycle: _,
            liveness_probe: _,
            name: _,
            readiness_probe: _,
            security_context: _,
            startup_probe: _,
            termination_message_path: _,
            volume_devices: _,
            volume_mounts: _,
            working_dir: _,
            // Passed over.
            image_pull_policy: _,
            ports: _,
            resize_policy: _,
            resources: _,
            restart_policy: _,
            restart_policy_rules: _,
            stdin: _,
            stdin_once: _,
            termination_message_policy: _,
            tty: _,
        } = Container::default();
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
