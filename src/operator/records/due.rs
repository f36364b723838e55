//! Whether a record must be read, and what stands in the way.
//!
//! Receives a [`Situation`] and the time; each obstacle and each reason is a named check in an ordered list. Never acts.

use jiff::{SignedDuration, Timestamp};

use super::situation::{Fetch, Situation};
use super::verifier_pod::{MAX_TRUST_BYTES, MAX_TRUST_PIECE_BYTES};
use crate::api::v1alpha1::UnknownCode;
use crate::decision::is_intact;
use crate::model::shown;

/// Why a record must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A person asks for it.
    Asked,
    /// It was never read, or its last read brought nothing.
    Unread,
    /// The claim, its volume or the storage behind it is another one.
    Moved,
    /// Something may have written to it.
    Written,
    /// The trust material is another one.
    TrustChanged,
    /// A signature that did not count yet may count now.
    Begins,
    /// Its time has come.
    Scheduled,
}

/// What keeps a record from being read, or from being believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What it is called.
    pub code: UnknownCode,
    /// What is wrong and how to put it right.
    pub message: String,
    /// Whether it also takes away what was known.
    pub ends_facts: bool,
}

/// What is to be done about a record on which no run is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read it.
    Read {
        /// Why.
        why: Why,
        /// Whether the bundle alone needs to be read.
        signature_only: bool,
    },
    /// Nothing, until something changes or this time comes.
    Wait(Option<Timestamp>),
}

type ObstacleCheck = fn(&Situation) -> Option<Obstacle>;
type ReasonCheck = fn(&Situation, Timestamp) -> bool;

/// In the order in which they are told.
const OBSTACLES: [ObstacleCheck; 9] = [
    claim_is_missing,
    claim_goes,
    storage_is_not_verifiable,
    registry_is_not_listed,
    something_writes,
    claim_is_empty,
    no_signer_is_listed,
    trust_is_too_large,
    claim_is_taken,
];

/// The first that holds.
const REASONS: [(Why, ReasonCheck); 7] = [
    (Why::Asked, is_asked),
    (Why::Unread, is_unread),
    (Why::Moved, has_moved),
    (Why::Written, was_written),
    (Why::TrustChanged, trust_changed),
    (Why::Begins, has_begun),
    (Why::Scheduled, is_scheduled),
];

/// The first thing that stands in the way.
pub fn obstacle(situation: &Situation) -> Option<Obstacle> {
    OBSTACLES.iter().find_map(|check| check(situation))
}

/// Whether a record on which no run is on must be read now.
pub fn next(situation: &Situation, now: Timestamp) -> Next {
    if obstacle(situation).is_some() || situation.store.unsettled {
        return Next::Wait(None);
    }
    let Some((why, _)) = REASONS.iter().find(|(_, check)| check(situation, now)) else {
        return Next::Wait(next_time(situation));
    };
    match held_back(situation, *why).filter(|until| *until > now) {
        Some(until) => Next::Wait(Some(until)),
        None => Next::Read { why: *why, signature_only: about_signers(*why) && bundle_suffices(situation) },
    }
}

fn about_signers(why: Why) -> bool {
    matches!(why, Why::TrustChanged | Why::Begins)
}

fn obstacle_of(code: UnknownCode, message: impl Into<String>) -> Option<Obstacle> {
    Some(Obstacle { code, message: message.into(), ends_facts: false })
}

fn ends_facts(obstacle: Option<Obstacle>) -> Option<Obstacle> {
    obstacle.map(|obstacle| Obstacle { ends_facts: true, ..obstacle })
}

fn claim_is_missing(situation: &Situation) -> Option<Obstacle> {
    let message = || format!("there is no claim {}; create it", shown(situation.claim_path().0));
    situation.claim.is_none().then(|| ends_facts(obstacle_of(UnknownCode::SourceMissing, message())))?
}

fn claim_goes(situation: &Situation) -> Option<Obstacle> {
    let goes = situation.claim.as_ref().is_some_and(|claim| claim.deleting);
    let message = "the claim is being deleted; wait until it is gone, then create it anew";
    goes.then(|| ends_facts(obstacle_of(UnknownCode::SourceMissing, message)))?
}

fn storage_is_not_verifiable(situation: &Situation) -> Option<Obstacle> {
    let why = situation.not_verifiable.as_ref()?;
    ends_facts(obstacle_of(UnknownCode::NotVerifiable, why.clone()))
}

fn registry_is_not_listed(situation: &Situation) -> Option<Obstacle> {
    let Fetch::Unlisted(place) = &situation.fetch else { return None };
    let message = format!(
        "the bundle lies in {}, which no policy that matches this namespace lists in bundleRegistries; list it there, or \
         keep the bundle elsewhere",
        shown(place)
    );
    ends_facts(obstacle_of(UnknownCode::RegistryUnauthorized, message))
}

fn something_writes(situation: &Situation) -> Option<Obstacle> {
    let writer = situation.store.writers.first()?;
    let more = match situation.store.writers.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("Pod {}{more} may be writing to it; it is read when the writer has ended", shown(writer));
    ends_facts(obstacle_of(UnknownCode::BeingWritten, message))
}

fn claim_is_empty(situation: &Situation) -> Option<Obstacle> {
    let claim = situation.claim.as_ref()?;
    let message = "the claim is not bound, and nothing fills it; start the workload that writes the model";
    (situation.volume.is_none() && !claim.has_data_source)
        .then(|| ends_facts(obstacle_of(UnknownCode::SourceMissing, message)))?
}

fn no_signer_is_listed(situation: &Situation) -> Option<Obstacle> {
    let message = "no policy that matches this namespace lists an authority that can be read; list one";
    situation.trust.pieces.is_empty().then(|| obstacle_of(UnknownCode::TrustUnavailable, message))?
}

fn trust_is_too_large(situation: &Situation) -> Option<Obstacle> {
    let sizes = situation.trust.pieces.iter().map(String::len);
    let (largest, all) = (sizes.clone().max().unwrap_or_default(), sizes.sum::<usize>());
    let message = if largest > MAX_TRUST_PIECE_BYTES {
        format!("a set of roots of {largest} bytes is listed, and a verifier takes {MAX_TRUST_PIECE_BYTES}; list fewer")
    } else if all > MAX_TRUST_BYTES {
        format!(
            "the policies of this namespace list {all} bytes of keys and roots, and a verifier takes {MAX_TRUST_BYTES}; \
             list fewer"
        )
    } else {
        return None;
    };
    obstacle_of(UnknownCode::TrustUnavailable, message)
}

fn claim_is_taken(situation: &Situation) -> Option<Obstacle> {
    let user = situation.exclusive_user.as_ref()?;
    let message =
        format!("Pod {} has this ReadWriteOncePod claim to itself; it is read when that Pod is gone", shown(user));
    obstacle_of(UnknownCode::VerifierBlocked, message)
}

fn is_asked(situation: &Situation, _: Timestamp) -> bool {
    situation.asked.is_some() && situation.asked != situation.status.reverify
}

fn is_unread(situation: &Situation, _: Timestamp) -> bool {
    situation.status.verified_at.is_none() || situation.status.observed_generation != situation.generation
}

fn has_moved(situation: &Situation, _: Timestamp) -> bool {
    let (Some(read), Some(now)) = (&situation.status.source, situation.source()) else { return true };
    (&read.namespace, &read.claim_uid, &read.volume_uid, &read.path)
        != (&now.namespace, &now.claim_uid, &now.volume_uid, &now.path)
}

fn was_written(situation: &Situation, _: Timestamp) -> bool {
    situation.status.source != situation.source()
}

fn trust_changed(situation: &Situation, _: Timestamp) -> bool {
    situation.status.trust_digest.as_ref() != Some(&situation.trust.digest)
}

fn has_begun(situation: &Situation, now: Timestamp) -> bool {
    begins(situation).is_some_and(|at| at <= now)
}

fn is_scheduled(situation: &Situation, now: Timestamp) -> bool {
    scheduled(situation).is_some_and(|at| at <= now)
}

/// When it is to be read again although nothing has changed.
pub fn next_time(situation: &Situation) -> Option<Timestamp> {
    scheduled(situation).into_iter().chain(begins(situation)).min()
}

/// When a signature may count that does not count yet.
fn begins(situation: &Situation) -> Option<Timestamp> {
    situation.status.models.iter().filter_map(|model| model.not_before.as_ref()).map(|at| at.0).min()
}

fn scheduled(situation: &Situation) -> Option<Timestamp> {
    let started = situation.status.verified_at.as_ref()?.0;
    let scheduled = situation.schedule.reverify_after.map(|after| spread(situation, started, after));
    scheduled.or_else(|| started.checked_add(situation.schedule.max_age?).ok())
}

/// Records that were made together are not read together: up to a tenth of the interval earlier, by their uid.
pub fn spread(situation: &Situation, started: Timestamp, after: SignedDuration) -> Timestamp {
    const STEPS: i32 = 64;
    let step = situation.uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 64;
    let earlier = after / (10 * STEPS) * i32::try_from(step).unwrap_or_default();
    started.checked_add(after.checked_sub(earlier).unwrap_or(after)).unwrap_or(started)
}

/// Until when it is held back because earlier runs brought nothing. Another source, other trust material, other ids and a
/// person's wish are worth a run at once.
fn held_back(situation: &Situation, why: Why) -> Option<Timestamp> {
    if why == Why::Asked {
        return None;
    }
    let Some(run) = situation.failed_run() else { return situation.remembered.map(|(_, until)| until) };
    let same = run.source == situation.source() && run.trust_digest.as_ref() == Some(&situation.trust.digest);
    let (_, _, fresh_ids) = situation.next_ids();
    let new_ids = run.code == Some(UnknownCode::Unreadable) && fresh_ids;
    (same && !new_ids).then(|| run.retry_at.as_ref().map(|at| at.0))?
}

/// Whether the bundle alone can say what the new trust material makes of the model: its files are what a manifest says,
/// nothing can have written to them since, and that was not tried already with this trust material.
fn bundle_suffices(situation: &Situation) -> bool {
    let models = &situation.status.models;
    let tried = situation
        .status
        .run
        .as_ref()
        .is_some_and(|run| run.signature_only && run.trust_digest.as_ref() == Some(&situation.trust.digest));
    situation.facts_hold()
        && !tried
        && !models.is_empty()
        && models.iter().all(|model| is_intact(model) && model.manifest_digest.is_some())
}

#[cfg(test)]
mod tests;
