//! The policies of a cluster in a file, as somebody applies them there.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model_flags::shown_path;
use super::{UsageError, documents, text_file};
use crate::api::v1alpha1::{ClusterModelPolicy, ModelKind, ModelPolicy};
use crate::model::shown_to;
use crate::policy::{CompiledPolicies, FOR_MODEL_POLICIES, TrustSources};

/// The group and version of policies.
const OURS: &str = "weighbridge.dev/v1alpha1";
/// The namespace to which `kubectl apply` puts what names none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";
/// The largest file of policies that is read, in bytes: 16 policies of 1.5 MiB, the most that a cluster keeps in one
/// object, would be a mistake.
const MAX_POLICY_BYTES: u64 = 16 << 20;

/// What files of policies hold.
#[derive(Debug, Default)]
pub(super) struct PolicyObjects {
    /// Policies of the cluster.
    pub(super) cluster: Vec<ClusterModelPolicy>,
    /// Policies of namespaces.
    pub(super) namespaced: Vec<ModelPolicy>,
    /// Kinds of custom resources that are judged beside those that are known.
    pub(super) kinds: Vec<ModelKind>,
    /// What policies may refer to.
    pub(super) trust: TrustSources,
}

/// Reads and compiles the policies of a file. One that refers to what the file does not hold is not accepted
/// ([`crate::policy::CompiledPolicy::accepted`]).
pub(super) fn read(path: &Path) -> Result<CompiledPolicies, UsageError> {
    let mut objects = PolicyObjects::default();
    objects.read(path)?;
    objects.complete(DEFAULT_NAMESPACE);
    Ok(objects.compiled(""))
}

impl PolicyObjects {
    /// Adds what a file holds. Objects of other groups are skipped, as they stand beside policies in what people keep in
    /// one file; one of ours that is not understood is an error, and so is a file without any policy.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), UsageError> {
        let wrong = |problem: &str| UsageError(format!("--policy {}: {problem}", shown_path(path)));
        let read = File::open(path).and_then(|file| text_file::read(file, MAX_POLICY_BYTES));
        let text = read.map_err(|error| wrong(&error.to_string()))?;
        let before = self.cluster.len() + self.namespaced.len();
        self.parse(&text).map_err(|error| wrong(&error))?;
        if self.cluster.len() + self.namespaced.len() == before {
            return Err(wrong("no ClusterModelPolicy or ModelPolicy in it"));
        }
        Ok(())
    }

    /// Puts each policy of a namespace that names none into the one that it would be applied to.
    pub(super) fn complete(&mut self, namespace: &str) {
        for policy in &mut self.namespaced {
            policy.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
        }
    }

    /// All of them, compiled. `own_namespace` is the namespace of weighbridge.
    pub(super) fn compiled(&self, own_namespace: &str) -> CompiledPolicies {
        CompiledPolicies::compile(&self.cluster, &self.trust, own_namespace)
            .and_namespaced(&self.namespaced, &self.trust)
    }

    fn parse(&mut self, text: &str) -> Result<(), String> {
        for (at, (_, document)) in documents::read(text)?.into_iter().enumerate() {
            let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
            let (api_version, kind) = (text("apiVersion"), text("kind"));
            let wrong = |problem: String| format!("document {}, {kind}: {}", at + 1, shown_to(&problem, 200));
            match (api_version.as_str(), kind.as_str()) {
                (OURS, "ClusterModelPolicy") => self.cluster.push(whole(document).map_err(wrong)?),
                (OURS, "ModelPolicy") => self.namespaced.push(whole(document).map_err(wrong)?),
                (OURS, "ModelKind") => self.kinds.push(whole(document).map_err(wrong)?),
                ("v1", "ConfigMap") => self.config_map(typed(document).map_err(wrong)?),
                ("v1", "Secret") => self.secret(typed(document).map_err(wrong)?),
                _ if api_version.starts_with("weighbridge.dev/") => {
                    return Err(format!(
                        "document {} is a {} of {}, which is no policy that is understood here",
                        at + 1,
                        shown_to(&kind, 60),
                        shown_to(&api_version, 60)
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a ConfigMap that policies may refer to.
    pub(super) fn config_map(&mut self, map: ConfigMap) {
        let (marker, value) = FOR_MODEL_POLICIES;
        let marked = map.labels().get(marker).map(String::as_str) == Some(value);
        let name = map.metadata.name.unwrap_or_default();
        if marked {
            self.trust.for_namespaces.insert(name.clone());
        }
        self.trust.config_maps.insert(name, map.data.unwrap_or_default());
    }

    /// Adds a Secret that policies may refer to.
    pub(super) fn secret(&mut self, secret: Secret) {
        self.trust.secrets.insert(secret.metadata.name.clone().unwrap_or_default(), text_of(secret));
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, String> {
    T::deserialize(document).map_err(|error| error.to_string())
}

/// An object of which every field of the `spec` is understood: a name that is misspelt would say nothing, and a policy
/// mean more or less than its author thinks.
fn whole<T: DeserializeOwned + Serialize>(document: Value) -> Result<T, String> {
    let written = document["spec"].clone();
    let object: T = typed(document)?;
    let understood = serde_json::to_value(&object).map_err(|error| error.to_string())?;
    match unknown_field(&written, &understood["spec"], "spec") {
        Some(field) => Err(format!("unknown field {field}; correct its name, or remove it")),
        None => Ok(object),
    }
}

/// The first field that is written and not understood. What is empty may be missing from what is understood.
fn unknown_field(written: &Value, understood: &Value, at: &str) -> Option<String> {
    match (written, understood) {
        (Value::Object(fields), _) => fields.iter().filter(|(_, value)| !is_empty(value)).find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match understood.get(name) {
                Some(understood) => unknown_field(value, understood, &at),
                None => Some(at),
            }
        }),
        (Value::Array(items), Value::Array(others)) => {
            let pairs = items.iter().zip(others).enumerate();
            pairs.into_iter().find_map(|(index, (item, other))| unknown_field(item, other, &format!("{at}[{index}]")))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// The data of a Secret as text, as the API server would keep it: `stringData` goes over `data`.
fn text_of(secret: Secret) -> BTreeMap<String, String> {
    let data = secret.data.unwrap_or_default().into_iter();
    let mut text: BTreeMap<String, String> =
        data.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?))).collect();
    text.extend(secret.string_data.unwrap_or_default());
    text
}
