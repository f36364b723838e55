//! Writes the two Secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};

use super::material::{self, Authority, Certificate, Data};
use super::{CA_BUNDLE, CERTIFICATE, KEY, PREVIOUS};
use crate::operator::call::{CallFailed, FIELD_MANAGER};

/// Which Secret is written.
pub struct Target<'a> {
    /// Its name.
    pub name: &'a str,
    /// The version that this is based on: the API server refuses what is based on an older one.
    pub version: Option<String>,
    /// Who owns it.
    pub owner: Option<OwnerReference>,
}

/// Writes the authority and the earlier ones.
pub async fn authority(
    secrets: &Api<Secret>,
    target: Target<'_>,
    authority: &Authority,
    previous: &[Certificate],
) -> Result<(), CallFailed> {
    let data = data([
        (CERTIFICATE, authority.certificate.pem()),
        (KEY, authority.key_pem()),
        (PREVIOUS, material::bundle(previous)),
    ]);
    apply(secrets, target, "Opaque", data).await
}

/// Writes the serving pair.
pub async fn pair(
    secrets: &Api<Secret>,
    target: Target<'_>,
    (certificate, key): (String, String),
    authority: &Authority,
) -> Result<(), CallFailed> {
    let data = data([(CERTIFICATE, certificate), (KEY, key), (CA_BUNDLE, authority.certificate.pem())]);
    apply(secrets, target, "kubernetes.io/tls", data).await
}

fn data<const N: usize>(entries: [(&str, String); N]) -> Data {
    entries.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
}

async fn apply(secrets: &Api<Secret>, target: Target<'_>, type_: &str, data: Data) -> Result<(), CallFailed> {
    let metadata = ObjectMeta {
        name: Some(target.name.to_owned()),
        labels: Some([("app.kubernetes.io/part-of".to_owned(), "weighbridge".to_owned())].into()),
        owner_references: target.owner.map(|owner| vec![owner]),
        resource_version: target.version,
        ..ObjectMeta::default()
    };
    let secret = Secret { metadata, data: Some(data), type_: Some(type_.to_owned()), ..Secret::default() };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = secrets.patch(target.name, &params, &Patch::Apply(&secret)).await;
    written.map(|_| ()).map_err(CallFailed::when("write a secret with certificates"))
}
