//! All that a decision about one record rests on.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

use super::verifier_pod::Placement;
use crate::api::v1alpha1::{ModelStatus, ModelVerificationSpec, ModelVerificationStatus, ReadSource, Run, UnknownCode};
use crate::decision::{ClaimFacts, VolumeFacts, check_unsigned, ends, is_intact};
use crate::operator::stores::StoreView;
use crate::policy::IgnoredPaths;
use crate::workload::{Ids, Source};

/// Annotation of a record: anything new in it starts a run now.
pub const REVERIFY: &str = "weighbridge.dev/reverify";

/// One record, and the world as far as it matters to it.
#[derive(Clone, Debug)]
pub struct Situation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// What it is about.
    pub spec: ModelVerificationSpec,
    /// What its status says now.
    pub status: ModelVerificationStatus,
    /// The value of its annotation that asks for a run.
    pub asked: Option<String>,
    /// The claim, if there is one.
    pub claim: Option<Arc<ClaimFacts>>,
    /// The volume that the claim is bound to, by name.
    pub volume: Option<(String, Arc<VolumeFacts>)>,
    /// What is known of writers to it.
    pub store: StoreView,
    /// Why what lies behind the claim cannot be vouched for, under any policy; `None` where it can.
    pub not_verifiable: Option<String>,
    /// What each policy that matches lets lie there although nobody signed it.
    pub ignored: Vec<Arc<IgnoredPaths>>,
    /// From where a read may fetch the bundle.
    pub fetch: Fetch,
    /// What a read is given to check signatures against.
    pub trust: Trust,
    /// When it is to be read again, and how old it may get.
    pub schedule: Schedule,
    /// The ids to read with, the best first; never empty.
    pub ids: Vec<Ids>,
    /// Where a verifier may run.
    pub placement: Placement,
    /// A Pod that has the claim to itself.
    pub exclusive_user: Option<String>,
    /// A Pod that waits for the claim on another node than the verifier's.
    pub waits_elsewhere: Option<String>,
    /// The Pod of the run that is on.
    pub verifier: Option<Arc<Pod>>,
    /// Runs of this source that brought no facts, as this process remembers them: a record that was deleted and made
    /// anew has forgotten.
    pub remembered: Option<(i32, Timestamp)>,
    /// The image of verifiers.
    pub image: String,
    /// What the records of the models below say, where the path holds several.
    pub parts: Vec<Part>,
}

/// What is known of one of several models below a record's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path in the claim.
    pub path: String,
    /// Its record's condition `Verified`: status, reason and message; none while there is no such record.
    pub verified: Option<[String; 3]>,
}

/// From where a read may fetch its bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// From nowhere: it lies in no registry.
    Nothing,
    /// From what this glob lists, of a policy of the cluster that matches.
    From(String),
    /// From nowhere, although it lies in a registry: no policy of the cluster that matches lists this place.
    Unlisted(String),
}

/// Trust material for the reads of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Its digest, `sha256:…`.
    pub digest: String,
    /// The names of its pieces, if a status can hold them all.
    pub names: Vec<String>,
    /// Its pieces, each as JSON, for the environment of a verifier.
    pub pieces: Vec<String>,
}

/// When a source is to be read again. The strictest of the policies that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// How long after the start of a read the next one begins.
    pub reverify_after: Option<SignedDuration>,
    /// How old a read may get.
    pub max_age: Option<SignedDuration>,
}

impl Situation {
    /// Whether what nobody signed is all that is wrong with a model, and every policy that matches lets it lie there.
    pub fn ignores_unsigned(&self, model: &ModelStatus) -> bool {
        let by = |unsigned| self.ignored.iter().all(|ignored| check_unsigned(ignored, unsigned).is_ok());
        is_intact(model) && !self.ignored.is_empty() && model.unsigned.as_ref().is_some_and(by)
    }

    /// Name and path of the claim.
    pub fn claim_path(&self) -> (&str, &str) {
        self.spec.source.claim.as_ref().map_or(("", ""), |claim| (&claim.name, &claim.path))
    }

    /// The source as it is now; nothing while the claim is not there. The volume's name and uid are empty while the
    /// claim is not bound.
    pub fn source(&self) -> Option<ReadSource> {
        let claim = self.claim.as_ref()?;
        let (volume_name, volume_uid) =
            self.volume.as_ref().map(|(name, volume)| (name.clone(), volume.uid.clone())).unwrap_or_default();
        Some(ReadSource {
            namespace: self.namespace.clone(),
            claim_uid: claim.uid.clone(),
            volume_name,
            volume_uid,
            path: self.claim_path().1.to_owned(),
            store: self.store.name.clone(),
            write_epoch: self.store.epoch,
        })
    }

    /// The run that is on.
    pub fn active_run(&self) -> Option<&Run> {
        self.status.run.as_ref().filter(|run| run.pod.is_some() && run.code.is_none())
    }

    /// The last run, if it brought no facts.
    pub fn failed_run(&self) -> Option<&Run> {
        self.status.run.as_ref().filter(|run| run.code.is_some())
    }

    /// Whether the facts are about the source as it is now, and nothing can have written to it since.
    pub fn facts_hold(&self) -> bool {
        let status = &self.status;
        let counts = status.observed_generation == self.generation && status.verified_at.is_some();
        counts && status.source.is_some() && status.source == self.source()
    }

    /// Whether the last read is older than the policies allow.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let age = self.status.verified_at.as_ref().map(|at| now.duration_since(at.0));
        age.zip(self.schedule.max_age).is_some_and(|(age, limit)| age > limit)
    }

    /// The first moment after now at which a signer's certificate has ended. A certificate counts up to the second that it
    /// names.
    pub fn signer_ends_after(&self, now: Timestamp) -> Option<Timestamp> {
        let signers = self.status.models.iter().flat_map(|model| &model.signers);
        let ends = signers.flat_map(ends).filter_map(|end| end.checked_add(SignedDuration::from_secs(1)).ok());
        ends.filter(|end| *end > now).min()
    }

    /// The ids that the next run reads with, with those that were tried: the first set that was not tried since the last
    /// read that could; all over again when each was.
    pub fn next_ids(&self) -> (Ids, Vec<String>, bool) {
        let unreadable = self.failed_run().filter(|run| run.code == Some(UnknownCode::Unreadable));
        let tried: BTreeSet<&str> = unreadable.iter().flat_map(|run| &run.tried_ids).map(String::as_str).collect();
        let fresh = self.ids.iter().find(|ids| !tried.contains(words(ids).as_str()));
        match fresh {
            Some(ids) => {
                let mut all: Vec<String> = tried.iter().map(|&ids| ids.to_owned()).collect();
                all.push(words(ids));
                (ids.clone(), all, true)
            }
            None => {
                let ids = self.ids.first().cloned().unwrap_or_default();
                (ids.clone(), vec![words(&ids)], false)
            }
        }
    }
}

/// Ids as a status shows them: user, group, further groups, SELinux label.
pub fn words(ids: &Ids) -> String {
    let id = |id: Option<i64>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let groups: Vec<String> = ids.groups.iter().map(i64::to_string).collect();
    let label = ids.selinux.as_ref().map(|parts| parts.join("/")).unwrap_or_default();
    format!("{}:{}:{}:{label}", id(ids.user), id(ids.group), groups.join(","))
}

/// Name and path of the claim that a use is about.
pub fn claim_of(source: &Source) -> Option<(&str, &str)> {
    match source {
        Source::Claim { name, path } => Some((name, path)),
        Source::Uri(_) | Source::Unresolved(_) | Source::Opaque(_) => None,
    }
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;
    use crate::decision::Backing;

    pub(in crate::operator::records) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A claim that is bound to a block device, without writers, that nobody has read yet.
    pub(in crate::operator::records) fn unread() -> Situation {
        let claim = ClaimFacts {
            uid: "claim-uid".into(),
            volume_name: Some("pv".into()),
            bound: true,
            ..ClaimFacts::default()
        };
        let volume = VolumeFacts {
            uid: "pv-uid".into(),
            claim_uid: Some("claim-uid".into()),
            backing: Backing::Csi { driver: "ebs.csi.aws.com".into(), handle: "h".into() },
            provisioner: None,
            storage_class: None,
        };
        let spec = ModelVerificationSpec::of_claim("models", "llama");
        Situation {
            namespace: "serving".into(),
            name: spec.record_name(),
            uid: "record-uid".into(),
            generation: Some(1),
            spec,
            status: ModelVerificationStatus::default(),
            asked: None,
            claim: Some(Arc::new(claim)),
            volume: Some(("pv".into(), Arc::new(volume))),
            store: StoreView { name: "store-x".into(), ..StoreView::default() },
            not_verifiable: None,
            ignored: Vec::new(),
            fetch: Fetch::Nothing,
            trust: Trust { digest: "sha256:t".into(), names: vec!["key sha256:k".into()], pieces: vec!["{}".into()] },
            schedule: Schedule::default(),
            ids: vec![Ids::default()],
            placement: Placement::default(),
            exclusive_user: None,
            waits_elsewhere: None,
            verifier: None,
            remembered: None,
            image: "repo@sha256:00".into(),
            parts: Vec::new(),
        }
    }
}
