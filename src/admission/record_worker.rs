//! Makes the records that admission misses, one after the other, through the API server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::timeout;

use super::record_queue::{RecordQueue, WantedRecord};
use crate::api::v1alpha1::ModelVerification;

/// How long one creation may take. The next wish waits for it; an API server that needs longer has other worries.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes records, as the queue asks for them. One that cannot be made is logged and forgotten: the next review of a Pod
/// that needs it asks again.
pub async fn create_records(queue: Arc<RecordQueue>, client: Client) -> Infallible {
    loop {
        let wanted = queue.next().await;
        let (namespace, record) = (wanted.namespace.as_str(), record(&wanted));
        let api: Api<ModelVerification> = Api::namespaced(client.clone(), namespace);
        let name = record.metadata.name.as_deref().unwrap_or_default();
        let created = match timeout(CREATE_TIMEOUT, api.create(&PostParams::default(), &record)).await {
            Ok(Ok(_)) => {
                tracing::info!(namespace, name, "a record is made that a workload needs");
                true
            }
            // Another replica was first, or the operator.
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, namespace, name, "a record that a workload needs cannot be made");
                false
            }
            Err(_) => {
                tracing::warn!(namespace, name, "a record that a workload needs could not be made in time");
                false
            }
        };
        queue.done(&wanted, created);
    }
}

/// The record as it is sent: a spec, and the claim as its owner. The name binds it to its source.
fn record(wanted: &WantedRecord) -> ModelVerification {
    let mut record = ModelVerification::new(&wanted.spec.record_name(), wanted.spec.clone());
    record.metadata.namespace = Some(wanted.namespace.clone());
    // `new` puts the definition's own annotations on every object; they are for Helm, about the definition.
    record.metadata.annotations = None;
    record.metadata.owner_references = wanted.spec.source.claim.as_ref().map(|claim| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "PersistentVolumeClaim".to_owned(),
            name: claim.name.clone(),
            uid: wanted.claim_uid.clone(),
            ..OwnerReference::default()
        }]
    });
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::ModelVerificationSpec;

    #[test]
    fn a_record_is_owned_by_its_claim() {
        let spec = ModelVerificationSpec::of_claim("models", "llama");
        let record = record(&WantedRecord { namespace: "ns".into(), claim_uid: "u-1".into(), spec: spec.clone() });
        assert_eq!(record.metadata.name, Some(spec.record_name()));
        let owner = &record.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("PersistentVolumeClaim", "models", "u-1")
        );
        assert_eq!((record.metadata.annotations, record.status), (None, None));
    }
}
