//! Writes the two Secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};

use super::material::{self, Authority, Certificate, Data};
use super::{CA_BUNDLE, CERTIFICATE, KEY, PREVIOUS};
use crate::operator::call::{CallFailed, FIELD_MANAGER};

/// Writes the authority and the earlier ones. `version` is that of the Secret that this is based on.
pub async fn authority(
    secrets: &Api<Secret>,
    name: &str,
    authority: &Authority,
    previous: &[Certificate],
    version: Option<String>,
) -> Result<(), CallFailed> {
    let data = data([
        (CERTIFICATE, authority.certificate.pem()),
        (KEY, authority.key_pem()),
        (PREVIOUS, material::bundle(previous)),
    ]);
    apply(secrets, secret(name, "Opaque", data, version)).await
}

/// Writes the serving pair.
pub async fn pair(
    secrets: &Api<Secret>,
    name: &str,
    (certificate, key): (String, String),
    authority: &Authority,
    version: Option<String>,
) -> Result<(), CallFailed> {
    let data = data([(CERTIFICATE, certificate), (KEY, key), (CA_BUNDLE, authority.certificate.pem())]);
    apply(secrets, secret(name, "kubernetes.io/tls", data, version)).await
}

fn data<const N: usize>(entries: [(&str, String); N]) -> Data {
    entries.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
}

fn secret(name: &str, type_: &str, data: Data, version: Option<String>) -> Secret {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([("app.kubernetes.io/part-of".to_owned(), "weighbridge".to_owned())].into()),
        resource_version: version,
        ..ObjectMeta::default()
    };
    Secret { metadata, data: Some(data), type_: Some(type_.to_owned()), ..Secret::default() }
}

/// A version makes the API server refuse what is based on an older one.
async fn apply(secrets: &Api<Secret>, secret: Secret) -> Result<(), CallFailed> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    secrets
        .patch(&name, &params, &Patch::Apply(&secret))
        .await
        .map_err(CallFailed::when("write a secret with certificates"))?;
    Ok(())
}
