//! Which record speaks of a use, and whether it still does.

use std::sync::Arc;

use super::{Evidence, Record};
use crate::api::v1alpha1::{
    BackingStoreSpec, FindingCode, ModelStatus, ModelVerificationSpec, ReadSource, RefusedCode, Run, UnknownCode,
    VerdictKind,
};
use crate::model::is_in_system_folder;
use crate::workload::{BackingStore, is_at_or_below};

/// The source of a use as it is now.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    pub(super) namespace: &'a str,
    pub(super) claim_uid: &'a str,
    pub(super) volume_uid: &'a str,
    pub(super) store: &'a BackingStore,
}

/// How what a record says relates to the source as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Currency {
    /// It is about this very source, and nothing can have written to it since.
    Current,
    /// It is about this source, and something may have written to it since.
    Written,
    /// It is about another source of the same name, which this one has replaced.
    Replaced,
    /// It says nothing yet.
    Unread,
}

/// The record of a use: the one of this very path; else one of a model that was found intact and in which the path
/// lies (every file of it is signed then), the nearest such root first.
pub(super) fn of_use<'a>(
    records: &'a [Arc<Record>],
    spec: &ModelVerificationSpec,
    path: &str,
    currency: impl Fn(&Record) -> Currency,
) -> Option<&'a Record> {
    if let Some(exact) = records.iter().find(|record| record.spec.is_about(spec)) {
        return Some(exact);
    }
    // Whoever says where the bundle is wants that one.
    let alike = records.iter().filter(|record| record.spec.signature == spec.signature);
    let around = alike.filter_map(|record| {
        let model = covering(&record.status.models, path)
            .filter(|model| model.verdict == VerdictKind::Verified || is_intact(model))?;
        let currency = currency(record);
        let counts = matches!(currency, Currency::Current | Currency::Written);
        counts.then_some((record, (model.path.len(), currency == Currency::Current, record.status.verified_at.clone())))
    });
    around.max_by(|(_, a), (_, b)| a.cmp(b)).map(|(record, _)| record.as_ref())
}

/// The model in which a path lies: the one with the nearest root.
pub(super) fn covering<'a>(models: &'a [ModelStatus], path: &str) -> Option<&'a ModelStatus> {
    let around = models.iter().filter(|model| is_at_or_below(path, &model.path) && !leaves_out(&model.path, path));
    around.max_by_key(|model| model.path.len())
}

/// Whether a read of a model leaves this path in it out: at the top of a volume, the folders of the file system.
pub(super) fn leaves_out(root: &str, path: &str) -> bool {
    root.is_empty() && is_in_system_folder(path)
}

/// Whether all that was signed is there as it was signed, whatever lies beside it.
pub fn is_intact(model: &ModelStatus) -> bool {
    match (model.verdict, model.reason) {
        (VerdictKind::Verified, _) => model.content_verified,
        (VerdictKind::Refused, Some(FindingCode::Refused(RefusedCode::UnsignedFiles))) => {
            model.signature_verified && model.unsigned.is_some()
        }
        (VerdictKind::Refused | VerdictKind::Unknown, _) => false,
    }
}

/// How what a record says relates to the source as it is now.
pub(super) fn currency(record: &Record, present: Present<'_>, evidence: &Evidence) -> Currency {
    let status = &record.status;
    let counts = status.observed_generation == Some(record.generation) && status.verified_at.is_some();
    let Some(source) = status.source.as_ref().filter(|_| counts) else { return Currency::Unread };
    let ReadSource { namespace, claim_uid, volume_name: _, volume_uid, path, store, write_epoch } = source;
    let same = namespace == present.namespace
        && claim_uid == present.claim_uid
        && volume_uid == present.volume_uid
        && record.spec.source.claim.as_ref().is_some_and(|claim| claim.path == *path);
    if !same {
        return Currency::Replaced;
    }
    let name = BackingStoreSpec { identity: present.store.to_string() }.store_name();
    let untouched = *store == name && *write_epoch == evidence.write_epoch(present.store);
    if untouched { Currency::Current } else { Currency::Written }
}

/// What became of the run that should say more.
pub(super) enum Awaited<'a> {
    /// Nobody has asked for one.
    Nothing,
    /// It is on.
    Running,
    /// It brought no facts.
    Failed(UnknownCode, Option<&'a str>),
}

/// The run of a record, as far as it is about the source as it is now.
pub(super) fn awaited<'a>(record: &'a Record, present: Present<'_>) -> Awaited<'a> {
    let Some(Run { code, message, source, .. }) = &record.status.run else { return Awaited::Nothing };
    let about = |source: &ReadSource| source.claim_uid == present.claim_uid && source.volume_uid == present.volume_uid;
    match code {
        None => Awaited::Running,
        Some(code) if source.as_ref().is_none_or(about) => Awaited::Failed(*code, message.as_deref()),
        Some(_) => Awaited::Nothing,
    }
}
