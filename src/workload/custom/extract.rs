//! One custom resource, by the rows of its kind.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::path::{ModelPath, Place};
use super::{CustomKind, CustomKinds, Role};
use crate::api::v1alpha1::UnknownCode;
use crate::model::shown;
use crate::workload::kinds::DEFAULT_ACCOUNT;
use crate::workload::paths::claim_path;
use crate::workload::source::image_volume;
use crate::workload::{
    Access, Claims, ContainerKind, ContainerRef, Extract, FieldPath, Ids, ModelUri, ModelUse, Naming, ShadowedBy,
    Source, Stage, Subject, Unresolved, Way, model_uses,
};

/// What the scheme of a path in a claim looks like, in the URIs of serving stacks.
const CLAIM_SCHEME: &str = "pvc://";
/// What to do about a field that has another form than the table says.
const CORRECT_THE_PATH: &str = "correct the path in its ModelKind, or use a version of the kind that is known";
/// What to do where only the controller knows the model.
const NAME_A_CLAIM: &str = "put the model into a PersistentVolumeClaim and name that";

impl CustomKinds {
    /// What an object uses; `None` for kinds that are not known. `version` is the one that the object is written in.
    ///
    /// The answer about it is early, as about a template, unless its controller loads into Pods that run: then it is the
    /// only one, as about a Pod.
    pub fn extract(&self, group: &str, version: &str, kind: &str, object: &Value) -> Option<Extract> {
        let rows = self.of(group, kind);
        let loads = rows.iter().any(|row| row.loads);
        let mut found = Found::default();
        rows.iter().for_each(|row| found.row(row, object));
        found.pods();
        let known = rows.iter().any(|row| row.versions.is_empty() || row.versions.iter().any(|it| it == version));
        if found.places == 0 && !known {
            let what = format!(
                "{} {} is not known, and no model was found where others name theirs",
                shown(kind),
                shown(version)
            );
            found.unresolved(FieldPath("apiVersion".to_owned()), what, CORRECT_THE_PATH);
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let subject = Subject {
            namespace: text("/metadata/namespace"),
            kind: kind.to_owned(),
            name: text("/metadata/name"),
            stage: if loads { Stage::Pod } else { Stage::Template },
            service_account: found.account.unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned()),
            ids: Ids::default(),
            // Its Pods say so themselves, each with its own volumes.
            stray_annotations: Vec::new(),
        };
        (!rows.is_empty()).then_some(Extract { subject, uses: found.uses })
    }
}

impl Extract {
    /// The same subject, of whose uses nobody keeps account: one that is `TooLarge` stands for all of them.
    pub fn too_large(self, what: String) -> Extract {
        let unresolved = Unresolved { code: UnknownCode::TooLarge, what, remedy: "divide it into several objects" };
        Extract { uses: vec![named(FieldPath("spec".to_owned()), Source::Unresolved(unresolved))], ..self }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    uses: Vec<ModelUse>,
    /// Specs of Pods, with the containers that lie in them beside their lists, and the annotations of their Pods.
    pods: Vec<PodFound>,
    /// How many places there were.
    places: usize,
    /// The account of the first spec of a Pod that names one.
    account: Option<String>,
}

struct PodFound {
    at: FieldPath,
    spec: PodSpec,
    annotations: BTreeMap<String, String>,
    /// Where the containers stand that were added to the spec's own, in their order.
    added: Vec<FieldPath>,
}

impl Found {
    fn row(&mut self, row: &CustomKind, object: &Value) {
        for path in &row.broken {
            let what = format!("the path \"{}\" in its ModelKind is not understood", shown(path));
            self.unresolved(FieldPath("spec".to_owned()), what, CORRECT_THE_PATH);
        }
        for (role, path) in &row.paths {
            self.path(*role, path, object);
        }
    }

    fn path(&mut self, role: Role, path: &ModelPath, object: &Value) {
        path.visit(object, |place| {
            self.places += 1;
            match place {
                Place::Misfit(at, expected) => self.misfit(at, expected),
                Place::Found(at, value) => self.place(role, at, value, object),
            }
        });
    }

    fn place(&mut self, role: Role, at: FieldPath, value: &Value, object: &Value) {
        match role {
            Role::PodTemplate => {
                let Some(template) = self.typed::<PodTemplateSpec>(&at, value, "a template of Pods") else { return };
                let annotations = template.metadata.and_then(|metadata| metadata.annotations).unwrap_or_default();
                self.pod(at.field("spec"), template.spec.unwrap_or_default(), annotations);
            }
            Role::PodSpec => {
                let Some(spec) = self.typed::<PodSpec>(&at, value, "a spec of Pods") else { return };
                let annotations = object.pointer("/metadata/annotations").cloned().unwrap_or_default();
                self.pod(at, spec, serde_json::from_value(annotations).unwrap_or_default());
            }
            Role::Container => self.container(at, value),
            Role::Claim => self.text(at, value, |name| claim(name, "")),
            Role::Image => self.text(at, value, |reference| Source::Opaque(image_volume(reference))),
            Role::Uri => self.text(at, value, uri),
            Role::Reference => {
                let name = value.as_str().map(|name| format!(" \"{}\"", shown(name))).unwrap_or_default();
                self.unresolved(
                    at,
                    format!("which model{name} stands for is known to its controller alone"),
                    NAME_A_CLAIM,
                );
            }
        }
    }

    fn pod(&mut self, at: FieldPath, spec: PodSpec, annotations: BTreeMap<String, String>) {
        let account = spec.service_account_name.clone().filter(|name| !name.is_empty());
        self.account = self.account.take().or(account);
        self.pods.push(PodFound { at, spec, annotations, added: Vec::new() });
    }

    /// A container mounts the volumes of the Pod in whose spec it lies: of the innermost, where specs lie in specs.
    fn container(&mut self, at: FieldPath, value: &Value) {
        // Not all of these have a name of their own.
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            map.entry("name").or_insert_with(|| at.0.rsplit('.').next().unwrap_or_default().into());
        }
        let Some(container) = self.typed::<Container>(&at, &value, "a container") else { return };
        let around = |pod: &&mut PodFound| at.0.strip_prefix(&pod.at.0).is_some_and(|rest| rest.starts_with('.'));
        let innermost = self.pods.iter_mut().filter(around).max_by_key(|pod| pod.at.0.len());
        match innermost {
            Some(pod) => {
                pod.spec.containers.push(container);
                pod.added.push(at);
            }
            None => {
                let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
                self.pods.push(PodFound { at: at.clone(), spec, annotations: BTreeMap::new(), added: vec![at] });
            }
        }
    }

    /// What the specs of Pods use.
    fn pods(&mut self) {
        for PodFound { at, spec, annotations, added } in std::mem::take(&mut self.pods) {
            let mut uses = model_uses(&spec, &annotations, &at);
            let own = spec.containers.len() - added.len();
            for (index, place) in added.iter().enumerate() {
                let listed = at.item(ContainerKind::Main.field(), own + index);
                uses.iter_mut().for_each(|model_use| model_use.moved(&listed, place));
            }
            self.extend(uses);
        }
    }

    /// Adds uses that refer to each other by index.
    fn extend(&mut self, mut uses: Vec<ModelUse>) {
        let before = self.uses.len();
        for model_use in &mut uses {
            for shadow in &mut model_use.shadows {
                if let ShadowedBy::Use(index) = &mut shadow.by {
                    *index += before;
                }
            }
            if let Way::Named(Naming { within: Some(index), .. }) = &mut model_use.way {
                *index += before;
            }
        }
        self.uses.extend(uses);
    }

    fn text(&mut self, at: FieldPath, value: &Value, source: impl FnOnce(&str) -> Source) {
        match value.as_str() {
            // An empty string is how many types spell an absent one.
            Some("") => {}
            Some(text) => self.uses.push(named(at, source(text))),
            None => self.misfit(at, "a string"),
        }
    }

    /// A value as what the table says it is.
    fn typed<T: DeserializeOwned>(&mut self, at: &FieldPath, value: &Value, expected: &'static str) -> Option<T> {
        let typed = T::deserialize(value).ok();
        if typed.is_none() {
            self.misfit(at.clone(), expected);
        }
        typed
    }

    fn misfit(&mut self, at: FieldPath, expected: &'static str) {
        self.unresolved(
            at,
            format!("this is not {expected}, so nobody can tell which model it names"),
            CORRECT_THE_PATH,
        );
    }

    fn unresolved(&mut self, at: FieldPath, what: String, remedy: &'static str) {
        self.uses.push(named(at, Source::Unresolved(Unresolved { code: UnknownCode::NotVerifiable, what, remedy })));
    }
}

/// A model that a field names.
fn named(at: FieldPath, source: Source) -> ModelUse {
    ModelUse {
        container: ContainerRef { kind: ContainerKind::Main, name: String::new() },
        at,
        way: Way::Named(Naming { role: crate::workload::Role::Weights, path: None, within: None }),
        source,
        access: Access::ReadOnly,
        privileged_by: None,
        shadows: Vec::new(),
        ids: Ids::default(),
        annotations: Claims::default(),
        hazards: Vec::new(),
    }
}

/// What a URI names: a path in a claim, or what somebody fetches. A claim of another namespace is not one that a Pod of
/// this one can mount.
fn uri(text: &str) -> Source {
    let in_claim = text.strip_prefix(CLAIM_SCHEME).map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    match in_claim {
        Some((name, path)) if !name.is_empty() && !name.contains(':') => claim(name, path),
        _ => Source::Uri(ModelUri::new(text, None)),
    }
}

fn claim(name: &str, path: &str) -> Source {
    match claim_path(path) {
        Some(path) => Source::Claim { name: name.to_owned(), path },
        None => Source::Unresolved(Unresolved {
            code: UnknownCode::NotVerifiable,
            what: format!("\"{}\" is no path in a claim", shown(path)),
            remedy: "write it without .. and in at most 1024 characters",
        }),
    }
}

impl ModelUse {
    /// The same use, where a container stands at another place than in the list.
    fn moved(&mut self, from: &FieldPath, to: &FieldPath) {
        let move_one = |path: &mut FieldPath| {
            if let Some(rest) = path.0.strip_prefix(&from.0).filter(|rest| rest.is_empty() || rest.starts_with('.')) {
                path.0 = format!("{to}{rest}");
            }
        };
        move_one(&mut self.at);
        self.privileged_by.iter_mut().for_each(move_one);
        self.shadows.iter_mut().for_each(|shadow| move_one(&mut shadow.at));
        self.hazards.iter_mut().for_each(|hazard| move_one(&mut hazard.at));
    }
}

#[cfg(test)]
mod tests;
