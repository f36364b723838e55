//! Which records are made and which go.
//!
//! Receives who uses what; promises that a namespace has no more records than its limit, and that a record which a
//! person made never goes. Never acts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::usage::{RecordKey, Usage};
use crate::api::v1alpha1::{ModelVerification, ModelVerificationSpec};
use crate::index::Snapshot;

/// Annotation that says who made a record.
pub const CREATED_BY: &str = "weighbridge.dev/created-by";
/// Its value on records that the operator made.
pub const OPERATOR: &str = "operator";
/// How long a record that the operator made and nobody needs is kept: a rollout that is undone the next morning finds it.
pub const KEEP_UNUSED: SignedDuration = SignedDuration::from_hours(24);
/// Most records in one namespace: each takes a few KiB in every replica of the webhook, and a tenant decides how many
/// claims and paths there are.
pub const MAX_RECORDS_PER_NAMESPACE: usize = 500;

/// A record to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Its namespace.
    pub namespace: String,
    /// What it is about.
    pub spec: ModelVerificationSpec,
    /// Name of its claim.
    pub claim: String,
    /// Uid of its claim, which owns it.
    pub claim_uid: String,
}

/// The records to be made.
pub fn create(snapshot: &Snapshot, usage: &Usage) -> Vec<Create> {
    let mut room: BTreeMap<&str, usize> = BTreeMap::new();
    for (namespace, _) in snapshot.objects.records.keys() {
        *room.entry(namespace).or_default() += 1;
    }
    let mut create = Vec::new();
    for ((namespace, name), spec) in &usage.needed {
        let exists = snapshot.objects.records.contains_key(&(namespace.clone(), name.clone()));
        let count = room.entry(namespace).or_default();
        let Some(source) = spec.source.claim.as_ref().filter(|_| !exists && *count < MAX_RECORDS_PER_NAMESPACE) else {
            continue;
        };
        if let Some(claim) = snapshot.evidence.claim(namespace, &source.name) {
            *count += 1;
            let (claim, claim_uid) = (source.name.clone(), claim.uid.clone());
            create.push(Create { namespace: namespace.clone(), spec: spec.clone(), claim, claim_uid });
        }
    }
    create
}

/// What becomes of a record for want of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It stays until this time at least: it has been unused since that other one.
    Unused {
        /// Since when.
        since: Timestamp,
        /// Until when it is kept.
        until: Timestamp,
    },
    /// It goes.
    Goes,
}

/// What becomes of a record.
pub fn fate(record: &ModelVerification, used: &BTreeSet<RecordKey>, now: Timestamp) -> Fate {
    let key = (record.namespace().unwrap_or_default(), record.name_any());
    let ours = record.annotations().get(CREATED_BY).is_some_and(|maker| maker == OPERATOR);
    if !ours || used.contains(&key) {
        return Fate::Stays;
    }
    let status = record.status.as_ref();
    let since = status.and_then(|status| status.unused_since.as_ref()).map_or(now, |since| since.0);
    match since.checked_add(KEEP_UNUSED) {
        Ok(until) if until > now => Fate::Unused { since, until },
        _ => Fate::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn record(maker: Option<&str>, unused_since: Option<i64>) -> ModelVerification {
        let mut record = ModelVerification::new("r", ModelVerificationSpec::of_claim("models", ""));
        record.metadata.namespace = Some("ns".into());
        record.metadata.annotations = maker.map(|maker| [(CREATED_BY.to_owned(), maker.to_owned())].into());
        let unused_since = unused_since.map(|second| Time(Timestamp::from_second(second).unwrap()));
        record.status = Some(crate::api::v1alpha1::ModelVerificationStatus { unused_since, ..Default::default() });
        record
    }

    #[test]
    fn only_what_the_operator_made_goes_and_only_after_a_day_without_use() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let day = 24 * 3600;
        let used = BTreeSet::from([("ns".to_owned(), "r".to_owned())]);
        let none = BTreeSet::new();
        let ours = Some(OPERATOR);
        let table = [
            ("used", record(ours, Some(0)), &used, Fate::Stays),
            ("made by a person", record(None, Some(0)), &none, Fate::Stays),
            ("newly unused", record(ours, None), &none, Fate::Unused { since: at(2 * day), until: at(3 * day) }),
            ("unused for long", record(ours, Some(day)), &none, Fate::Goes),
        ];
        for (name, record, used, expected) in table {
            assert_eq!(fate(&record, used, at(2 * day)), expected, "{name}");
        }
    }
}
