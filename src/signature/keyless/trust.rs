//! Trust roots: which certificate authorities, logs and timestamp authorities make up a Sigstore instance.

use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::trusted_root::PublicKey;
use sigstore_verify::trust_root::{
    CertificateTransparencyLog, SIGSTORE_PRODUCTION_TRUSTED_ROOT, TransparencyLog, TrustedRoot,
};
use sigstore_verify::types::{DerCertificate, LogKeyId, TimeRange};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::model::{Digest, Hasher, shown, shown_to};
use crate::signature::bundle::json_error;

/// The largest trust root that is read, in bytes: what a ConfigMap can hold. That of the public-good instance has 8 KiB.
const MAX_ROOT_BYTES: usize = 1 << 20;

const ROOT_MEDIA_TYPES: &[&str] = &[
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];
const CLIENT_TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// A Sigstore instance that somebody trusts: its `trusted_root.json`. Cheap to clone.
#[derive(Clone)]
pub struct KeylessTrust {
    digest: Digest,
    instance: Arc<Instance>,
}

/// A trust root together with what is made of it once for all bundles.
pub(super) struct Instance {
    pub(super) root: TrustedRoot,
    /// The logs as the trust root lists them: one may stand there several times, each time for another while.
    pub(super) logs: Vec<TransparencyLog>,
    pub(super) verifier: Verifier,
}

impl fmt::Debug for KeylessTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeylessTrust").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Why text is no trust root that anything could verify under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedRootError {
    /// Larger than any that is needed.
    #[error("it is larger than {MAX_ROOT_BYTES} bytes, which no Sigstore trusted root is")]
    TooLarge,
    /// Not the JSON of a `trusted_root.json`.
    #[error("it is not the JSON of a Sigstore trusted root: {0}; give the instance's trusted_root.json")]
    Json(String),
    /// JSON of something else.
    #[error("its mediaType is `{0}`; give the instance's trusted_root.json, or the ClientTrustConfig that holds it")]
    MediaType(String),
    /// A root under which nothing could ever verify.
    #[error("it names no {0}, so that nothing can be verified with it; give the complete trusted_root.json")]
    Empty(&'static str),
    /// Its keys or certificates are none.
    #[error("its keys and certificates cannot be used: {0}; get the trusted_root.json anew")]
    Unusable(String),
}

impl KeylessTrust {
    /// The public-good instance of Sigstore, as it was when this program was made.
    pub fn public_good() -> Result<Self, TrustedRootError> {
        KeylessTrust::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Reads a `trusted_root.json`, or the one inside a ClientTrustConfig (what the Python tools call a trust config).
    pub fn from_json(text: &str) -> Result<Self, TrustedRootError> {
        if text.len() > MAX_ROOT_BYTES {
            return Err(TrustedRootError::TooLarge);
        }
        let json = |error: serde_json::Error| TrustedRootError::Json(json_error(&error));
        let value = unwrapped(serde_json::from_str(text).map_err(json)?)?;
        let digest = canonical_digest(&value);
        let mut root: TrustedRoot = serde_json::from_value(value).map_err(json)?;
        narrow(&mut root);
        refuse_empty(&root)?;
        let logs = root.tlogs.clone();
        join_logs(&mut root);
        let verifier =
            Verifier::new(&root).map_err(|error| TrustedRootError::Unusable(shown_to(&error.to_string(), 120)))?;
        Ok(KeylessTrust { digest, instance: Arc::new(Instance { root, logs, verifier }) })
    }

    /// SHA-256 of the root as JSON, written in one way whatever its layout was: names this root. The same for a root
    /// and for a ClientTrustConfig that holds it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn instance(&self) -> &Instance {
        &self.instance
    }
}

/// The root itself, also where it came in a ClientTrustConfig. That one read as a root would be an empty root.
fn unwrapped(mut value: Value) -> Result<Value, TrustedRootError> {
    if media_type(&value) == CLIENT_TRUST_CONFIG {
        value = value["trustedRoot"].take();
    }
    match media_type(&value) {
        known if ROOT_MEDIA_TYPES.contains(&known) => Ok(value),
        other => Err(TrustedRootError::MediaType(shown(other))),
    }
}

fn media_type(value: &Value) -> &str {
    value["mediaType"].as_str().unwrap_or_default()
}

/// Every signature has to be in a log, by a certificate that is in a certificate log.
fn refuse_empty(root: &TrustedRoot) -> Result<(), TrustedRootError> {
    for (what, count) in [
        ("certificate authority that is valid at any time", root.certificate_authorities.len()),
        ("transparency log", root.tlogs.len()),
        ("certificate transparency log", root.ctlogs.len()),
    ] {
        if count == 0 {
            return Err(TrustedRootError::Empty(what));
        }
    }
    Ok(())
}

/// Lets no authority be valid for longer than each certificate of its chain. Roots and intermediates are trust anchors
/// to the verifier, which looks at the time that the trust root gives them (often: no end), never at the one in them.
fn narrow(root: &mut TrustedRoot) {
    root.certificate_authorities.retain_mut(|authority| {
        let chain = authority.cert_chain.certificates.iter().map(|entry| &entry.raw_bytes);
        narrowed(&mut authority.valid_for, chain)
    });
    root.timestamp_authorities.retain_mut(|authority| {
        let chain = authority.cert_chain.certificates.iter().map(|entry| &entry.raw_bytes);
        narrowed(&mut authority.valid_for, chain)
    });
}

/// Whether any time is left. A certificate that cannot be read changes nothing: the verifier refuses the root for it.
fn narrowed<'a>(window: &mut Option<TimeRange>, chain: impl Iterator<Item = &'a DerCertificate>) -> bool {
    for validity in chain.filter_map(validity) {
        let TimeRange { start, end } = window.unwrap_or(validity);
        let end = end.into_iter().chain(validity.end).min();
        *window = Some(TimeRange::new(start.max(validity.start), end));
    }
    window.is_none_or(|window| window.end.is_none_or(|end| window.start <= end))
}

/// Joins what a root lists several times for successive times into one log each, which is all that the verifier takes.
///
/// It then trusts a transparency log from the first of its times to the last; that a time lies within one of them is
/// checked by us. Of logs of certificates it checks the time itself, so that only times without a gap are joined there.
fn join_logs(root: &mut TrustedRoot) {
    let mut tlogs: Vec<TransparencyLog> = Vec::new();
    for log in root.tlogs.drain(..) {
        match tlogs
            .iter_mut()
            .find(|known| same_log((&known.log_id.key_id, &known.public_key), (&log.log_id.key_id, &log.public_key)))
        {
            Some(known) => known.public_key.valid_for = hull(known.public_key.valid_for, log.public_key.valid_for),
            None => tlogs.push(log),
        }
    }
    root.tlogs = tlogs;
    root.ctlogs.sort_by_key(|log| log.public_key.valid_for.map(|window| window.start));
    let mut ctlogs: Vec<CertificateTransparencyLog> = Vec::new();
    for log in root.ctlogs.drain(..) {
        let known = ctlogs.iter_mut().find(|known| {
            same_log((&known.log_id.key_id, &known.public_key), (&log.log_id.key_id, &log.public_key))
                && without_gap(known.public_key.valid_for, log.public_key.valid_for)
        });
        match known {
            Some(known) => known.public_key.valid_for = hull(known.public_key.valid_for, log.public_key.valid_for),
            None => ctlogs.push(log),
        }
    }
    root.ctlogs = ctlogs;
}

/// The same id with the same key. The same id with another key is for the verifier to refuse.
fn same_log(a: (&LogKeyId, &PublicKey), b: (&LogKeyId, &PublicKey)) -> bool {
    a.0 == b.0 && a.1.raw_bytes == b.1.raw_bytes
}

/// From the first time to the last; no window is all times.
fn hull(a: Option<TimeRange>, b: Option<TimeRange>) -> Option<TimeRange> {
    let (a, b) = (a?, b?);
    Some(TimeRange::new(a.start.min(b.start), a.end.zip(b.end).map(|(a, b)| a.max(b))))
}

/// Whether the second begins, at the latest, a second after the first ends: trust roots give whole seconds.
fn without_gap(first: Option<TimeRange>, second: Option<TimeRange>) -> bool {
    let Some((end, start)) = first.and_then(|window| window.end).zip(second.map(|window| window.start)) else {
        return true;
    };
    start.duration_since(end) <= SignedDuration::from_secs(1)
}

/// From when to when a certificate says that it is valid, if it can be read.
pub(super) fn validity(certificate: &DerCertificate) -> Option<TimeRange> {
    let validity = Certificate::from_der(certificate.as_bytes()).ok()?.tbs_certificate.validity;
    let start = validity.not_before.to_system_time().try_into().ok()?;
    Some(TimeRange::new(start, Some(validity.not_after.to_system_time().try_into().ok()?)))
}

/// SHA-256 of JSON without white space and with the keys of each object sorted.
fn canonical_digest(value: &Value) -> Digest {
    let mut text = String::new();
    write_canonical(value, &mut text);
    Hasher::sha256(text.as_bytes())
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (position, (key, value)) in entries.into_iter().enumerate() {
                text.push_str(if position == 0 { "" } else { "," });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { "," });
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}
