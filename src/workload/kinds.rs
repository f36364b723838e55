//! The kinds that are judged: where each of them keeps its PodSpec.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::engines::PodFields;
use super::pod::{Around, model_uses_in, stray_annotations};
use super::{FieldPath, ModelUse, ShadowedBy, Stage, Subject, Way, ids};

/// The account of a Pod that names none (the API's default).
pub(super) const DEFAULT_ACCOUNT: &str = "default";

/// What a decision needs to know of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// Who asks.
    pub subject: Subject,
    /// For what.
    pub uses: Vec<ModelUse>,
}

impl Extract {
    /// Leaves out uses that are not wanted. What hides a part of one that stays is still what it was.
    pub fn retain(&mut self, wanted: impl Fn(&ModelUse) -> bool) {
        let mut kept = 0..;
        let places: Vec<Option<usize>> = self.uses.iter().map(|it| wanted(it).then(|| kept.next()).flatten()).collect();
        self.uses.retain(wanted);
        let place = |index: usize| places.get(index).copied().flatten();
        for model_use in &mut self.uses {
            for shadow in &mut model_use.shadows {
                if let ShadowedBy::Use(index) = shadow.by {
                    shadow.by = place(index).map_or(ShadowedBy::Mount, ShadowedBy::Use);
                }
            }
            if let Way::Named(naming) = &mut model_use.way {
                naming.within = naming.within.and_then(place);
            }
        }
    }
}

/// An object that can use models.
pub trait HasModels {
    /// Its subject and its uses.
    fn extract(&self) -> Extract;
}

impl HasModels for Pod {
    fn extract(&self) -> Extract {
        let place = Place { kind: "Pod", stage: Stage::Pod, at: "spec" };
        place.extract(&self.metadata, self.metadata.annotations.as_ref(), self.spec.as_ref(), &HashMap::new())
    }
}

impl HasModels for Deployment {
    fn extract(&self) -> Extract {
        in_template("Deployment", &self.metadata, Some(&self.spec.template), &HashMap::new())
    }
}

impl HasModels for DaemonSet {
    fn extract(&self) -> Extract {
        in_template("DaemonSet", &self.metadata, Some(&self.spec.template), &HashMap::new())
    }
}

impl HasModels for ReplicaSet {
    fn extract(&self) -> Extract {
        in_template("ReplicaSet", &self.metadata, self.spec.template.as_ref(), &HashMap::new())
    }
}

impl HasModels for Job {
    fn extract(&self) -> Extract {
        in_template("Job", &self.metadata, self.spec.as_ref().map(|spec| &spec.template), &HashMap::new())
    }
}

impl HasModels for CronJob {
    fn extract(&self) -> Extract {
        let job = self.spec.job_template.spec.as_ref();
        in_template("CronJob", &self.metadata, job.map(|spec| &spec.template), &HashMap::new())
    }
}

/// A volume that stands among `volumeClaimTemplates` is a claim of its own in each Pod, `<template>-<set>-<ordinal>`;
/// here the use is that of the first ordinal. While that claim does not exist its source is missing, which only warns on
/// a template; once the set runs, it says early what its Pods will be told. Each Pod is judged with its own claim.
impl HasModels for StatefulSet {
    fn extract(&self) -> Extract {
        let first = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let set = self.metadata.name.as_deref().unwrap_or_default();
        let templates = self.spec.volume_claim_templates.iter().flatten();
        let names = templates.filter_map(|template| template.metadata.name.clone());
        let claims = names.map(|name| (name.clone(), format!("{name}-{set}-{first}"))).collect();
        in_template("StatefulSet", &self.metadata, Some(&self.spec.template), &claims)
    }
}

/// The template of a workload of one of the built-in kinds, by the kind's name, where only the template is at hand.
///
/// Of a StatefulSet the claim templates are not known then: a volume that its template does not declare must be one (the
/// API server refuses anything else), and its ordinals are taken to start at 0. Use [`HasModels::extract`] where the
/// object is at hand.
pub fn template(kind: &str, metadata: &ObjectMeta, template: &PodTemplateSpec) -> Extract {
    let set = metadata.name.as_deref().unwrap_or_default();
    let names = template.spec.iter().filter(|_| kind == "StatefulSet").flat_map(undeclared);
    let claims = names.map(|name| (name.to_owned(), format!("{name}-{set}-0"))).collect();
    in_template(kind, metadata, Some(template), &claims)
}

/// Volumes that containers mount and that the spec does not declare.
fn undeclared(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let declared = |name: &str| spec.volumes.iter().flatten().any(|volume| volume.name == name);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.map(|mount| mount.name.as_str()).filter(move |name| !declared(name))
}

fn in_template(
    kind: &str,
    metadata: &ObjectMeta,
    template: Option<&PodTemplateSpec>,
    claims: &HashMap<String, String>,
) -> Extract {
    let at = if kind == "CronJob" { "spec.jobTemplate.spec.template.spec" } else { "spec.template.spec" };
    let annotations = template.and_then(|template| template.metadata.as_ref()).and_then(|it| it.annotations.as_ref());
    let spec = template.and_then(|template| template.spec.as_ref());
    Place { kind, stage: Stage::Template, at }.extract(metadata, annotations, spec, claims)
}

/// What a kind is called, and where its PodSpec lies.
struct Place<'a> {
    kind: &'a str,
    stage: Stage,
    at: &'a str,
}

impl Place<'_> {
    fn extract(
        self,
        metadata: &ObjectMeta,
        annotations: Option<&BTreeMap<String, String>>,
        spec: Option<&PodSpec>,
        claims: &HashMap<String, String>,
    ) -> Extract {
        let (none, empty) = (BTreeMap::new(), PodSpec::default());
        let (spec, annotations) = (spec.unwrap_or(&empty), annotations.unwrap_or(&none));
        let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
        let subject = Subject {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            kind: self.kind.to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            stage: self.stage,
            service_account: account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT).to_owned(),
            ids: ids::of_pod(spec.security_context.as_ref()),
            stray_annotations: stray_annotations(spec, annotations, claims),
        };
        let pod = PodFields {
            name: metadata.name.as_deref().filter(|_| self.stage == Stage::Pod),
            namespace: metadata.namespace.as_deref(),
        };
        let at = FieldPath(self.at.to_owned());
        let around = Around { annotations, at: &at, claims, pod };
        let uses = model_uses_in(spec, around);
        Extract { subject, uses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::new_pod::pod_both_ways;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn template_json() -> Value {
        json!({ "metadata": {}, "spec": {
            "serviceAccountName": "loader",
            "containers": [{ "name": "c", "volumeMounts": [{ "name": "m", "mountPath": "/m" }] }],
            "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "models" } }],
        }})
    }

    fn extract<K: HasModels + DeserializeOwned>(spec: Value) -> Extract {
        let metadata = json!({ "name": "w", "namespace": "ns" });
        serde_json::from_value::<K>(json!({ "metadata": metadata, "spec": spec })).unwrap().extract()
    }

    fn pod(spec: Value) -> Extract {
        pod_both_ways(json!({ "metadata": { "name": "w", "namespace": "ns" }, "spec": spec })).extract()
    }

    #[test]
    fn every_kind_is_read_where_its_template_lies() {
        let selector = json!({});
        let spec = json!({ "selector": selector, "serviceName": "s", "template": template_json() });
        let job = json!({ "template": template_json() });
        let found = [
            pod(template_json()["spec"].clone()),
            extract::<Deployment>(spec.clone()),
            extract::<DaemonSet>(spec.clone()),
            extract::<ReplicaSet>(spec.clone()),
            extract::<StatefulSet>(spec),
            extract::<Job>(job.clone()),
            extract::<CronJob>(json!({ "schedule": "", "jobTemplate": { "spec": job } })),
        ];
        let paths: Vec<String> =
            (found.iter()).map(|it| format!("{} {:?} {}", it.subject.kind, it.subject.stage, it.uses[0].at)).collect();
        insta::assert_snapshot!(paths.join("\n"), @r"
        Pod Pod spec.containers[0].volumeMounts[0]
        Deployment Template spec.template.spec.containers[0].volumeMounts[0]
        DaemonSet Template spec.template.spec.containers[0].volumeMounts[0]
        ReplicaSet Template spec.template.spec.containers[0].volumeMounts[0]
        StatefulSet Template spec.template.spec.containers[0].volumeMounts[0]
        Job Template spec.template.spec.containers[0].volumeMounts[0]
        CronJob Template spec.jobTemplate.spec.template.spec.containers[0].volumeMounts[0]
        ");
        assert!(found.iter().all(|it| it.subject.service_account == "loader" && it.subject.namespace == "ns"));
        assert!(found.iter().all(|it| it.subject.name == "w"));
    }

    #[test]
    fn what_hides_a_part_of_a_use_is_the_same_when_others_are_left_out() {
        let mounts = json!([{ "name": "m", "mountPath": "/m" }, { "name": "h", "mountPath": "/m/h" }]);
        let spec = json!({
            "containers": [{ "name": "c", "volumeMounts": mounts }],
            "ephemeralContainers": [{ "name": "e", "volumeMounts": mounts }],
            "volumes": [
                { "name": "m", "persistentVolumeClaim": { "claimName": "models" } },
                { "name": "h", "hostPath": { "path": "/h" } },
            ],
        });
        let by = |extract: &Extract, at: usize| extract.uses[at].shadows[0].by;
        let mut pod = pod(spec);
        assert_eq!(by(&pod, 2), ShadowedBy::Use(3));
        pod.retain(|it| it.container.name == "e");
        assert_eq!((pod.uses.len(), by(&pod, 0)), (2, ShadowedBy::Use(1)));
        pod.retain(|it| it.mount().unwrap().volume == "m");
        assert_eq!((pod.uses.len(), by(&pod, 0)), (1, ShadowedBy::Mount), "never a use that is not there");
    }

    #[test]
    fn the_first_replica_stands_for_a_claim_template() {
        let spec = json!({
            "selector": {}, "serviceName": "s", "ordinals": { "start": 3 }, "template": template_json(),
            "volumeClaimTemplates": [{ "metadata": { "name": "m" }, "spec": {} }],
        });
        let uses = extract::<StatefulSet>(spec).uses;
        assert_eq!(uses[0].source, super::super::Source::Claim { name: "m-w-3".into(), path: String::new() });
    }

    #[test]
    fn a_template_alone_tells_claim_templates_by_what_it_does_not_declare() {
        let metadata = ObjectMeta { name: Some("w".into()), ..Default::default() };
        let mut pods: PodTemplateSpec = serde_json::from_value(template_json()).unwrap();
        pods.spec.as_mut().unwrap().volumes = None;
        let claim = super::super::Source::Claim { name: "m-w-0".into(), path: String::new() };
        assert_eq!(template("StatefulSet", &metadata, &pods).uses[0].source, claim);
        assert_ne!(template("Deployment", &metadata, &pods).uses[0].source, claim);
    }

    #[test]
    fn an_object_without_spec_uses_nothing() {
        assert_eq!(Pod::default().extract().uses, []);
        assert_eq!(Pod::default().extract().subject.service_account, "default");
        assert_eq!(CronJob::default().extract().uses, []);
    }
}
