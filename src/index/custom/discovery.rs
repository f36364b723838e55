//! Which of the kinds that are judged the cluster has, and by which of their versions they are followed: pure.

use std::collections::BTreeMap;

use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList, APIResourceDiscovery, APIVersionDiscovery};

use crate::workload::{CustomKinds, NamespacedKind};

/// What one must be able to do with a kind to follow it.
pub(super) const VERBS: [&str; 2] = ["list", "watch"];

/// Group and kind.
pub(super) type KindKey = (String, String);

/// By what a kind is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The version.
    pub(super) version: String,
    /// The plural name.
    pub(super) resource: String,
}

/// The kinds that are both judged and served, by group and kind. Of several versions the one that the paths of the kind
/// were written for, else the one that the server prefers: it converts all objects into each.
pub(super) fn served(list: &APIGroupDiscoveryList, kinds: &CustomKinds) -> BTreeMap<KindKey, Served> {
    let groups: BTreeMap<&str, &APIGroupDiscovery> =
        list.items.iter().filter_map(|group| Some((group.metadata.as_ref()?.name.as_deref()?, group))).collect();
    let found = kinds.namespaced().filter_map(|kind| {
        let served = best(groups.get(kind.group)?, &kind)?;
        Some(((kind.group.to_owned(), kind.kind.to_owned()), served))
    });
    found.collect()
}

fn best(group: &APIGroupDiscovery, kind: &NamespacedKind<'_>) -> Option<Served> {
    let served = |version: &APIVersionDiscovery| {
        let resource = version.resources.iter().find(|resource| is_of(resource, kind))?;
        Some(Served { version: version.version.clone()?, resource: resource.resource.clone()? })
    };
    let versions: Vec<Served> = group.versions.iter().filter_map(served).collect();
    let known = versions.iter().find(|served| kind.versions.contains(served.version.as_str()));
    known.or(versions.first()).cloned()
}

fn is_of(resource: &APIResourceDiscovery, kind: &NamespacedKind<'_>) -> bool {
    let name = resource.resource.as_deref().unwrap_or_default();
    let of_kind = resource.response_kind.as_ref().and_then(|it| it.kind.as_deref()) == Some(kind.kind);
    let can = |verb: &str| resource.verbs.iter().any(|can| can == verb);
    of_kind
        && kind.resources.contains(name)
        && resource.scope.as_deref() == Some("Namespaced")
        && VERBS.into_iter().all(can)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resource(name: &str, kind: &str, scope: &str, verbs: &[&str]) -> Value {
        json!({ "resource": name, "responseKind": { "kind": kind }, "scope": scope, "verbs": verbs })
    }

    fn found(group: &str, versions: &[(&str, Value)]) -> Vec<String> {
        let versions: Vec<Value> =
            versions.iter().map(|(version, it)| json!({ "version": version, "resources": [it] })).collect();
        let list = json!({ "items": [{ "metadata": { "name": "apps" }, "versions": [] },
            { "metadata": { "name": group }, "versions": versions }] });
        let served = served(&serde_json::from_value(list).unwrap(), &CustomKinds::default());
        served.into_iter().map(|((_, kind), it)| format!("{kind} {} {}", it.version, it.resource)).collect()
    }

    #[test]
    fn a_kind_is_followed_by_a_version_that_its_paths_were_written_for() {
        let all = &["get", "list", "watch"][..];
        let service = || resource("inferenceservices", "InferenceService", "Namespaced", all);
        let kserve = "serving.kserve.io";
        let expected = |version: &str| vec![format!("InferenceService {version} inferenceservices")];
        assert_eq!(found(kserve, &[("v2", service()), ("v1beta1", service())]), expected("v1beta1"));
        assert_eq!(found(kserve, &[("v3", service()), ("v2", service())]), expected("v3"), "none of them is known");
        for (why, other) in [
            ("another kind", resource("inferenceservices", "Other", "Namespaced", all)),
            ("another resource", resource("services", "InferenceService", "Namespaced", all)),
            ("another scope", resource("inferenceservices", "InferenceService", "Cluster", all)),
            ("it cannot be watched", resource("inferenceservices", "InferenceService", "Namespaced", &["list"])),
        ] {
            assert_eq!(found(kserve, &[("v1beta1", other)]), [""; 0], "{why}");
        }
        assert_eq!(found("example.com", &[("v1beta1", service())]), [""; 0], "another group");
        let cache = resource("localmodelcaches", "LocalModelCache", "Cluster", all);
        assert_eq!(found(kserve, &[("v1alpha1", cache)]), [""; 0], "what lies in no namespace has no status");
    }
}
