//! Writes the webhook configuration.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use tracing::warn;

use super::CONFIGURATION;
use crate::operator::call::{CallFailed, FIELD_MANAGER};

/// Brings the configuration to what is wanted, and gives it as the API server keeps it.
///
/// Server-side apply restores what others changed, and leaves what they added: an entry's condition, say, that lets
/// everything through. Where something is left that we did not ask for, the whole object is replaced.
pub async fn apply(
    api: &Api<ValidatingWebhookConfiguration>,
    wanted: &ValidatingWebhookConfiguration,
) -> Result<ValidatingWebhookConfiguration, CallFailed> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let live = api
        .patch(CONFIGURATION, &params, &Patch::Apply(wanted))
        .await
        .map_err(CallFailed::when("apply the webhook configuration"))?;
    if same(&live, wanted) {
        return Ok(live);
    }
    warn!("somebody added to the webhook configuration; replacing it");
    let mut replacement = wanted.clone();
    replacement.metadata.resource_version = live.resource_version();
    api.replace(
        CONFIGURATION,
        &PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() },
        &replacement,
    )
    .await
    .map_err(CallFailed::when("replace the webhook configuration"))
}

fn same(live: &ValidatingWebhookConfiguration, wanted: &ValidatingWebhookConfiguration) -> bool {
    entries(live) == entries(wanted)
}

fn entries(configuration: &ValidatingWebhookConfiguration) -> BTreeMap<&str, &ValidatingWebhook> {
    configuration.webhooks.iter().flatten().map(|entry| (entry.name.as_str(), entry)).collect()
}
