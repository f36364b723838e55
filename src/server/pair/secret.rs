//! A serving pair from a Secret, watched by its name: the right to read it needs `resourceNames` only.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector::Lookup as _};
use kube::{Api, Client};
use std::convert::Infallible;
use std::pin::pin;

use super::{PairError, PairSlot, ServingPair};

/// Puts the pair into the slot, and again whenever the Secret changes. A Secret that is deleted or cannot be used is
/// logged, and the pair before it is kept: the certificate is good until it expires.
pub async fn follow_secret(client: Client, namespace: String, name: String, slot: PairSlot) -> Infallible {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    loop {
        let mut events = pin!(watcher(api.clone(), only.clone()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => take(&secret, &slot),
                Ok(Event::Delete(_)) => tracing::warn!(namespace, name, "the Secret with the serving pair is deleted"),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => {
                    tracing::warn!(%error, namespace, name, "the Secret with the serving pair is not watched")
                }
            }
        }
        // A watcher ends only where its stream was dropped; begin another.
        tokio::task::yield_now().await;
    }
}

fn take(secret: &Secret, slot: &PairSlot) {
    match parse(secret) {
        Ok(pair) => slot.put(pair),
        Err(error) => tracing::error!(%error, secret = ?secret.name(), "the serving pair cannot be used"),
    }
}

fn parse(secret: &Secret) -> Result<ServingPair, PairError> {
    let part = |key: &'static str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| bytes.0.as_slice()).ok_or(PairError::Missing(key))
    };
    ServingPair::from_pem(part("tls.crt")?, part("tls.key")?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::server::ServerMetrics;
    use crate::telemetry::Registry;

    #[test]
    fn a_secret_without_a_key_replaces_nothing() {
        let slot = PairSlot::new(ServerMetrics::register(&Registry::new()));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let mut secret = Secret::default();
        let data = secret.data.get_or_insert_default();
        data.insert("tls.crt".into(), ByteString(made.cert.pem().into_bytes()));
        assert!(matches!(parse(&secret), Err(PairError::Missing("tls.key"))));
        take(&secret, &slot);
        assert!(slot.get().is_none());
        let key = ByteString(made.signing_key.serialize_pem().into_bytes());
        secret.data.get_or_insert_default().insert("tls.key".into(), key);
        take(&secret, &slot);
        assert!(slot.get().is_some());
    }
}
