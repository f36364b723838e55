//! The policies of a cluster in a file, as somebody applies them there.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model_flags::shown_path;
use super::{UsageError, text_file};
use crate::api::v1alpha1::ClusterModelPolicy;
use crate::model::shown_to;
use crate::policy::{CompiledPolicies, TrustSources};

/// The largest file of policies that is read, in bytes: 16 policies of 1.5 MiB, the most that a cluster keeps in one
/// object, would be a mistake.
const MAX_POLICY_BYTES: u64 = 16 << 20;

/// Reads and compiles the policies of a file. One that refers to what the file does not hold is not accepted
/// ([`crate::policy::CompiledPolicy::accepted`]). Objects of other groups are skipped, as they stand beside policies in
/// what people keep in one file; one of ours that is not understood is an error.
pub(super) fn read(path: &Path) -> Result<CompiledPolicies, UsageError> {
    let wrong = |problem: &str| UsageError(format!("--policy {}: {problem}", shown_path(path)));
    let read = File::open(path).and_then(|file| text_file::read(file, MAX_POLICY_BYTES));
    let text = read.map_err(|error| wrong(&error.to_string()))?;
    let (policies, trust) = parse(&text).map_err(|error| wrong(&error))?;
    if policies.is_empty() {
        return Err(wrong("no ClusterModelPolicy in it"));
    }
    Ok(CompiledPolicies::compile(&policies, &trust, ""))
}

fn parse(text: &str) -> Result<(Vec<ClusterModelPolicy>, TrustSources), String> {
    let (mut policies, mut trust) = (Vec::new(), TrustSources::default());
    let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|error| error.to_string())?;
    for (at, document) in documents.into_iter().flat_map(unpacked).enumerate() {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        let wrong =
            |error: serde_json::Error| format!("document {}, {kind}: {}", at + 1, shown_to(&error.to_string(), 200));
        match kind.as_str() {
            "ClusterModelPolicy" => policies.push(typed(document).map_err(wrong)?),
            "ConfigMap" => {
                let map: ConfigMap = typed(document).map_err(wrong)?;
                trust.config_maps.insert(map.metadata.name.unwrap_or_default(), map.data.unwrap_or_default());
            }
            "Secret" => {
                let secret: Secret = typed(document).map_err(wrong)?;
                trust.secrets.insert(secret.metadata.name.clone().unwrap_or_default(), text_of(secret));
            }
            _ if document["apiVersion"].as_str().unwrap_or_default().starts_with("weighbridge.dev/") => {
                return Err(format!(
                    "document {} is a {}, which is no policy that is understood here",
                    at + 1,
                    shown_to(&kind, 60)
                ));
            }
            _ => {}
        }
    }
    Ok((policies, trust))
}

/// The items of a list, as `kubectl get --output yaml` writes one; any other object by itself.
fn unpacked(mut document: Value) -> Vec<Value> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items") {
        Some(Value::Array(items)) if is_list => std::mem::take(items),
        _ => vec![document],
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, serde_json::Error> {
    T::deserialize(document)
}

/// The data of a Secret as text, as the API server would keep it: `stringData` goes over `data`.
fn text_of(secret: Secret) -> BTreeMap<String, String> {
    let data = secret.data.unwrap_or_default().into_iter();
    let mut text: BTreeMap<String, String> =
        data.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?))).collect();
    text.extend(secret.string_data.unwrap_or_default());
    text
}
