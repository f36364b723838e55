//! The CustomResourceDefinitions: as files to apply, and as templates of the chart.
//!
//! Helm never upgrades what lies in a chart's `crds/`, so they are templates; with `helm.sh/resource-policy: keep`, so
//! that uninstalling leaves people's policies and records.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::api::v1alpha1::{
    BackingStore, ClusterModelPolicy, ModelKind, ModelPolicy, ModelVerification, WorkloadVerification,
};

use super::helm::literal;
use super::{Artifact, GenerateError, notice};

/// Every kind of the API, as it is installed.
fn definitions() -> [CustomResourceDefinition; 6] {
    [
        ClusterModelPolicy::crd(),
        ModelPolicy::crd(),
        ModelKind::crd(),
        ModelVerification::crd(),
        WorkloadVerification::crd(),
        BackingStore::crd(),
    ]
    .map(polished)
}

/// What the derive macro leaves to be done: a description of the kind itself, and no field that may be null.
fn polished(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        schema.description = schema.properties.as_ref().and_then(|fields| fields.get("spec")?.description.clone());
        never_null(schema);
    }
    definition
}

/// An optional field is absent, never null: in CEL `has()` holds for a null, so `key: null` would count as a key.
fn never_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    let JSONSchemaProps { properties, items, additional_properties, .. } = schema;
    properties.iter_mut().flat_map(|fields| fields.values_mut()).for_each(never_null);
    match items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => never_null(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(never_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = additional_properties {
        never_null(value);
    }
}

/// Two files for each kind: one below `crds/`, one in the chart.
pub(super) fn artifacts() -> Result<Vec<Artifact>, GenerateError> {
    let mut artifacts = Vec::new();
    for definition in definitions() {
        let name = format!("{}.{}.yaml", definition.spec.names.plural, definition.spec.group);
        let plain = format!("crds/{name}");
        let yaml = serde_saphyr::to_string(&definition)
            .map_err(|source| GenerateError::Yaml { path: plain.clone().into(), source: source.into() })?;
        let notice = notice("src/api");
        artifacts.push(Artifact { path: plain.into(), content: format!("{notice}{yaml}") });
        artifacts.push(Artifact {
            path: format!("charts/weighbridge/templates/crds/{name}").into(),
            content: format!("{notice}{{{{- if .Values.crds.install }}}}\n{}{{{{- end }}}}\n", literal(&yaml)),
        });
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_may_be_null() {
        for definition in definitions() {
            let json = serde_json::to_string(&definition).unwrap();
            assert!(!json.contains("nullable"), "{}", definition.spec.names.kind);
        }
    }

    #[test]
    fn a_kind_is_described_by_its_own_documentation() {
        for definition in definitions() {
            let schema =
                definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            let description = schema.and_then(|schema| schema.description.as_deref()).unwrap_or_default();
            assert!(!description.is_empty() && !description.contains("Auto-generated"), "{description}");
        }
    }
}
