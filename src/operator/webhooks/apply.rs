//! Writes a webhook configuration.

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::CONFIGURATION;
use crate::operator::call::{CallFailed, FIELD_MANAGER};

/// A webhook configuration of either kind.
pub trait Registration: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize {
    /// Whether both have the same entries, whatever their order.
    fn same_entries(&self, other: &Self) -> bool;
}

macro_rules! registration {
    ($kind:ty) => {
        impl Registration for $kind {
            fn same_entries(&self, other: &Self) -> bool {
                let sorted = |it: &Self| {
                    let mut entries = it.webhooks.clone().unwrap_or_default();
                    entries.sort_by(|a, b| a.name.cmp(&b.name));
                    entries
                };
                sorted(self) == sorted(other)
            }
        }
    };
}
registration!(ValidatingWebhookConfiguration);
registration!(MutatingWebhookConfiguration);

/// Brings the configuration to what is wanted, and gives it as the API server keeps it.
///
/// Server-side apply restores what others changed, and leaves what they added: an entry's condition, say, that lets
/// everything through. Where something is left that we did not ask for, the whole object is replaced.
pub async fn apply<K: Registration>(api: &Api<K>, wanted: &K) -> Result<K, CallFailed> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let live = api
        .patch(CONFIGURATION, &params, &Patch::Apply(wanted))
        .await
        .map_err(CallFailed::when("apply the webhook configuration"))?;
    if live.same_entries(wanted) {
        return Ok(live);
    }
    warn!("somebody added to the webhook configuration; replacing it");
    let mut replacement = wanted.clone();
    replacement.meta_mut().resource_version = live.resource_version();
    api.replace(
        CONFIGURATION,
        &PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() },
        &replacement,
    )
    .await
    .map_err(CallFailed::when("replace the webhook configuration"))
}
