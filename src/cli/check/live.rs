//! The policies of a live cluster, and the labels of its namespaces, by way of a kubeconfig.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::super::policy_file::PolicyObjects;
use super::super::process;
use crate::api::v1alpha1::{ClusterModelPolicy, ModelKind, ModelPolicy};
use crate::index::TRUST_LABEL;
use crate::model::with_causes;

/// How long a cluster may take for one list: the time after which kubectl, too, gives up on a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a live cluster says.
pub(super) struct Live {
    /// Its policies, with what they refer to as far as the person may read it.
    pub(super) objects: PolicyObjects,
    /// The labels of its namespaces.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// Which cluster to ask, and as whom.
pub(super) struct Target<'a> {
    /// The name of a context.
    pub(super) context: &'a str,
    /// The file in which it stands; without one, where kubectl looks.
    pub(super) kubeconfig: Option<&'a Path>,
}

/// Why nothing is known of a cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    /// What was named on the command line cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Unusable(String),
    /// The cluster said no, or nothing.
    #[error("{kind} cannot be listed: {why} — {fix}")]
    Unanswered {
        /// What was to be listed.
        kind: String,
        /// What is wrong.
        why: String,
        /// How to put it right.
        fix: &'static str,
    },
}

impl LiveError {
    fn unanswered<K: Resource<DynamicType = ()>>(error: kube::Error) -> Self {
        let (why, fix) = match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                (status.message, "have somebody grant that, or name files by --policy")
            }
            kube::Error::Api(status) => (status.message, "install weighbridge there, or name files by --policy"),
            error => (with_causes(&error), "see that its API server can be reached, or name files by --policy"),
        };
        LiveError::Unanswered { kind: K::plural(&()).into_owned(), why, fix }
    }
}

/// Asks the cluster of a context. What trust material nobody may read is missing: the policies that refer to it cannot be
/// understood then, which is said.
pub(super) fn read(target: &Target<'_>, own_namespace: &str) -> Result<Live, LiveError> {
    let outcome = process::block_on(gather(target, own_namespace));
    outcome.ok_or_else(|| LiveError::Unusable("there can be no runtime".to_owned()))?
}

async fn gather(target: &Target<'_>, own: &str) -> Result<Live, LiveError> {
    let client = client(target).await.map_err(LiveError::Unusable)?;
    let mut objects = PolicyObjects {
        cluster: all::<ClusterModelPolicy>(&client).await?,
        namespaced: all::<ModelPolicy>(&client).await?,
        kinds: all::<ModelKind>(&client).await?,
        ..PolicyObjects::default()
    };
    let namespaces = all::<Namespace>(&client).await?;
    let trusted = ListParams::default().labels(TRUST_LABEL);
    if let Ok(maps) = Api::<ConfigMap>::namespaced(client.clone(), own).list(&trusted).await {
        maps.items.into_iter().for_each(|map| objects.config_map(map));
    }
    if let Ok(secrets) = Api::<Secret>::namespaced(client, own).list(&trusted).await {
        secrets.items.into_iter().for_each(|secret| objects.secret(secret));
    }
    let namespaces = namespaces.into_iter().map(|it| (it.name_any(), it.metadata.labels.unwrap_or_default()));
    Ok(Live { objects, namespaces: namespaces.collect() })
}

async fn client(target: &Target<'_>) -> Result<Client, String> {
    let Target { context, kubeconfig } = target;
    let options = KubeConfigOptions { context: Some((*context).to_owned()), ..KubeConfigOptions::default() };
    let kubeconfig = match kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.map_err(|error| error.to_string())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| error.to_string())?;
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).map_err(|error| error.to_string())
}

async fn all<K>(client: &Client) -> Result<Vec<K>, LiveError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let list = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    list.map(|list| list.items).map_err(LiveError::unanswered::<K>)
}
