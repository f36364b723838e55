//! The policies of a live cluster, and the labels of its namespaces, by way of a kubeconfig.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};

use super::super::policy_file::PolicyObjects;
use super::super::{UsageError, process};
use crate::api::v1alpha1::{ClusterModelPolicy, ModelKind, ModelPolicy};
use crate::index::TRUST_LABEL;

/// What a live cluster says.
pub(super) struct Live {
    /// Its policies, with what they refer to as far as the person may read it.
    pub(super) objects: PolicyObjects,
    /// The labels of its namespaces.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// Asks the cluster of a context. What trust material nobody may read is missing: the policies that refer to it cannot be
/// understood then, which is said.
pub(super) fn read(context: &str, own_namespace: &str) -> Result<Live, UsageError> {
    let outcome = process::block_on(gather(context, own_namespace));
    let wrong = |what: String| UsageError(format!("--context {context}: {what}"));
    outcome.ok_or_else(|| wrong("there can be no runtime".into()))?.map_err(|error| wrong(error.to_string()))
}

async fn gather(context: &str, own: &str) -> Result<Live, Box<dyn std::error::Error>> {
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?;
    let client = Client::try_from(config)?;
    let (all, trusted) = (ListParams::default(), ListParams::default().labels(TRUST_LABEL));
    let mut objects = PolicyObjects {
        cluster: Api::<ClusterModelPolicy>::all(client.clone()).list(&all).await?.items,
        namespaced: Api::<ModelPolicy>::all(client.clone()).list(&all).await?.items,
        kinds: Api::<ModelKind>::all(client.clone()).list(&all).await?.items,
        ..PolicyObjects::default()
    };
    let namespaces = Api::<Namespace>::all(client.clone()).list(&all).await?.items;
    if let Ok(maps) = Api::<ConfigMap>::namespaced(client.clone(), own).list(&trusted).await {
        maps.items.into_iter().for_each(|map| objects.config_map(map));
    }
    if let Ok(secrets) = Api::<Secret>::namespaced(client, own).list(&trusted).await {
        secrets.items.into_iter().for_each(|secret| objects.secret(secret));
    }
    let namespaces = namespaces.into_iter().map(|it| (it.name_any(), it.metadata.labels.unwrap_or_default()));
    Ok(Live { objects, namespaces: namespaces.collect() })
}
