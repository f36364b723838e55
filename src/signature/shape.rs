//! The fields that Sigstore's part of a bundle has (its protobuf specification, version 0.5), and no others.
//!
//! Nothing is kept of what is read here, however long it is; what the fields hold is for [`super::keyless`] to say.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::at_most::AtMost;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificate {
    #[serde(rename = "rawBytes")]
    _raw_bytes: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timestamps {
    #[serde(rename = "rfc3161Timestamps")]
    _rfc3161: Option<AtMost<0, Timestamp>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamp {
    #[serde(rename = "signedTimestamp")]
    _signed: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogEntry {
    #[serde(rename = "logIndex")]
    _log_index: Option<Unread>,
    #[serde(rename = "logId")]
    _log_id: Option<LogId>,
    #[serde(rename = "kindVersion")]
    _kind_version: Option<KindVersion>,
    #[serde(rename = "integratedTime")]
    _integrated_time: Option<Unread>,
    #[serde(rename = "inclusionPromise")]
    _inclusion_promise: Option<InclusionPromise>,
    #[serde(rename = "inclusionProof")]
    _inclusion_proof: Option<InclusionProof>,
    #[serde(rename = "canonicalizedBody")]
    _canonicalized_body: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogId {
    #[serde(rename = "keyId")]
    _key_id: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    #[serde(rename = "kind")]
    _kind: Option<Unread>,
    #[serde(rename = "version")]
    _version: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InclusionPromise {
    #[serde(rename = "signedEntryTimestamp")]
    _signed_entry_timestamp: Option<Unread>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InclusionProof {
    #[serde(rename = "logIndex")]
    _log_index: Option<Unread>,
    #[serde(rename = "rootHash")]
    _root_hash: Option<Unread>,
    #[serde(rename = "treeSize")]
    _tree_size: Option<Unread>,
    #[serde(rename = "hashes")]
    _hashes: Option<AtMost<0, Unread>>,
    #[serde(rename = "checkpoint")]
    _checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    #[serde(rename = "envelope")]
    _envelope: Option<Unread>,
}

/// A text, number, truth or null that is not kept. No list or object: what is not read is not nested either.
pub(super) struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnreadVisitor)
    }
}

struct UnreadVisitor;

impl Visitor<'_> for UnreadVisitor {
    type Value = Unread;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Unread, E> {
        Ok(Unread)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Unread, E> {
        Ok(Unread)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Unread, E> {
        Ok(Unread)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Unread, E> {
        Ok(Unread)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Unread, E> {
        Ok(Unread)
    }

    fn visit_unit<E: Error>(self) -> Result<Unread, E> {
        Ok(Unread)
    }
}
