//! What is known of the content of one use, under one policy: an ordered list of checks, each of which may end it.

use std::sync::Arc;

use super::records::{self, Awaited, Currency, Present, is_intact};
use super::scene::Scene;
use super::text::remedy;
use super::{
    ClaimFacts, Facts, Finding, Found, MAX_EVIDENCE_AGE, ModelFacts, Record, Verdict, VolumeFacts, authorities, beside,
    digests, storage,
};
use crate::api::remedy::of_unsigned;
use crate::api::v1alpha1::{
    Code, FindingCode, LocationError, ModelStatus, ModelVerificationSpec, RefusedCode, UnknownCode, UseCode,
    VerdictKind,
};
use crate::model::{shown, shown_to};
use crate::policy::{CompiledPolicy, PolicyName};
use crate::workload::{ModelUse, SIGNATURE_ANNOTATION, Source, Unresolved};

/// How much of a sentence that a record or the cluster brings is shown: what fits into two lines of a denial.
const MAX_MESSAGE_CHARS: usize = 300;

/// What is known of the content of a use.
pub(super) struct Content {
    outcome: Result<(), Obstacle>,
    /// What the last read found out, whatever follows from it.
    pub(super) facts: Option<Facts>,
    /// The authority that satisfied the policy, as `<policy>/<authority>`.
    pub(super) signer: Option<String>,
    /// Records that do not exist and would be needed to know more.
    pub(super) missing_records: Vec<ModelVerificationSpec>,
}

/// Why it is not Verified.
#[derive(Clone)]
struct Obstacle {
    code: Code,
    finding: Finding,
}

impl Obstacle {
    fn unknown(code: UnknownCode, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let finding = Finding { what: what.into(), fix: fix.into(), detail: None };
        Obstacle { code: code.into(), finding }
    }

    fn refused(code: RefusedCode, finding: Finding) -> Self {
        Obstacle { code: code.into(), finding }
    }

    fn is_refusal(&self) -> bool {
        !matches!(self.code, Code::Unknown(_))
    }
}

impl Content {
    /// The verdict.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.outcome {
            Ok(()) => Verdict::Verified(self.facts.clone().unwrap_or_default()),
            Err(Obstacle { code: Code::Refused(code), finding }) => Verdict::Refused(*code, finding.clone()),
            Err(Obstacle { code: Code::Unknown(code), finding }) => Verdict::Unknown(*code, finding.clone()),
            // The way in which a bundle is named is wrong: no bundle that could be verified.
            Err(Obstacle { code: Code::Use(_) | Code::Request(_), finding }) => {
                Verdict::Refused(RefusedCode::UnsupportedBundle, finding.clone())
            }
        }
    }

    /// Whether it is Verified.
    pub(super) fn is_verified(&self) -> bool {
        self.outcome.is_ok()
    }

    /// What does not comply.
    pub(super) fn finding(&self) -> Option<Found> {
        self.outcome.as_ref().err().map(|obstacle| (obstacle.code, obstacle.finding.clone()))
    }
}

/// Finds out what is known of the content of a use.
pub(super) fn of(scene: &Scene<'_>, policy: &CompiledPolicy, model_use: &ModelUse) -> Content {
    let mut content = Content { outcome: Ok(()), facts: None, signer: None, missing_records: Vec::new() };
    content.outcome = checks(scene, policy, model_use, &mut content);
    content
}

/// The checks, in their order.
fn checks(
    scene: &Scene<'_>,
    policy: &CompiledPolicy,
    model_use: &ModelUse,
    content: &mut Content,
) -> Result<(), Obstacle> {
    index_is_fresh(scene)?;
    policy_is_understood(policy)?;
    let (name, path) = source_is_a_claim(model_use)?;
    let spec = bundle_is_somewhere(model_use, name, path)?;
    registry_is_listed(scene, policy, model_use, &spec)?;
    let claim = claim_exists(scene, model_use, name)?;
    let all = scene.evidence.records_of(&scene.subject.namespace, name);
    let volume = claim_is_bound(scene, claim, name).inspect_err(|_| {
        let recorded = all.iter().any(|it| it.spec.is_about(&spec));
        content.missing_records.extend((will_be_bound_by_a_read(claim) && !recorded).then(|| spec.clone()));
    })?;
    storage_is_vouched_for(policy, claim, volume, name)?;
    let store = volume.store(&claim.uid);
    let present =
        Present { namespace: &scene.subject.namespace, claim_uid: &claim.uid, volume_uid: &volume.uid, store: &store };
    let look = Look { scene, policy, name, all, present };
    let record = look.record(&spec, path);
    if record.is_none() {
        content.missing_records.push(spec);
    }
    nobody_writes(scene, present, name)?;
    let record = record.ok_or_else(|| pending(name, Currency::Unread, Awaited::Nothing))?;
    let signer = match record.status.parts.as_slice() {
        [] => look.model(record, path, content)?,
        parts => look.models(record, parts, content)?,
    };
    if let Some(facts) = &content.facts {
        digests::check(model_use, facts).map_err(|(code, finding)| Obstacle::refused(code, finding))?;
    }
    content.signer = Some(signer);
    Ok(())
}

/// What records are looked at for, about one claim.
struct Look<'a> {
    scene: &'a Scene<'a>,
    policy: &'a CompiledPolicy,
    name: &'a str,
    all: &'a [Arc<Record>],
    present: Present<'a>,
}

impl<'a> Look<'a> {
    fn record(&self, spec: &ModelVerificationSpec, path: &str) -> Option<&'a Record> {
        records::of_use(self.all, spec, path, |record| self.currency(record))
    }

    fn currency(&self, record: &Record) -> Currency {
        records::currency(record, self.present, self.scene.evidence)
    }

    fn pending(&self, record: &Record) -> Obstacle {
        pending(self.name, self.currency(record), records::awaited(record, self.present))
    }

    /// Who signed the model at a path, as `<policy>/<authority>`, by a record that speaks of it.
    fn model(&self, record: &Record, path: &str, content: &mut Content) -> Result<String, Obstacle> {
        let Look { scene, policy, .. } = *self;
        let currency = self.currency(record);
        let known = records::covering(&record.status.models, path)
            .filter(|_| matches!(currency, Currency::Current | Currency::Written));
        let Some(model) = known else { return Err(self.pending(record)) };
        let facts = content.facts.get_or_insert_default().add(record, model);
        let sound = model_is_sound(scene, policy, record, model)
            .and_then(|()| beside::check_part(facts, path).map_err(|(code, finding)| Obstacle::refused(code, finding)));
        match sound.and_then(|()| signers_are_trusted(scene, policy, record, model)) {
            // What was refused stays so until it was read again: a tenant could bring about Unknown by touching a file.
            Err(obstacle) if obstacle.is_refusal() => Err(obstacle),
            _ if currency == Currency::Written => Err(self.pending(record)),
            Err(obstacle) => Err(obstacle),
            Ok(authority) => {
                record_is_young(scene, policy, record)?;
                Ok(format!("{}/{authority}", policy.name))
            }
        }
    }

    /// The same of a folder that holds several models and nothing beside them: all of them count, and a refused one more
    /// than one of which nothing is known.
    fn models(&self, record: &Record, parts: &[String], content: &mut Content) -> Result<String, Obstacle> {
        let (mut signer, mut first) = (None, None::<Obstacle>);
        for path in parts {
            let spec = record.spec.of_part(path);
            let found = match self.record(&spec, path) {
                Some(part) => self.model(part, path, content),
                None => {
                    content.missing_records.push(spec);
                    Err(pending(self.name, Currency::Unread, Awaited::Nothing))
                }
            };
            match found {
                Ok(authority) => signer = signer.or(Some(authority)),
                Err(mut obstacle) => {
                    obstacle.finding.what = format!("model {}: {}", shown(path), obstacle.finding.what);
                    let worse = first.as_ref().is_none_or(|it| obstacle.is_refusal() && !it.is_refusal());
                    first = if worse { Some(obstacle) } else { first };
                }
            }
        }
        match first {
            Some(obstacle) if obstacle.is_refusal() => Err(obstacle),
            _ if self.currency(record) != Currency::Current => Err(self.pending(record)),
            Some(obstacle) => Err(obstacle),
            None => {
                record_is_young(self.scene, self.policy, record)?;
                signer.ok_or_else(|| self.pending(record))
            }
        }
    }
}

fn index_is_fresh(scene: &Scene<'_>) -> Result<(), Obstacle> {
    let age = scene.evidence.observed_at.map(|seen| scene.now.duration_since(seen));
    if age.is_none_or(|age| age > MAX_EVIDENCE_AGE) {
        let what = "the gate has lost sight of the cluster, so nothing can be decided";
        return Err(Obstacle::unknown(UnknownCode::IndexStale, what, remedy(UnknownCode::IndexStale.into())));
    }
    if scene.namespace.is_none() {
        let what = "the gate has not seen this namespace yet";
        return Err(Obstacle::unknown(UnknownCode::IndexStale, what, remedy(UnknownCode::IndexStale.into())));
    }
    Ok(())
}

fn policy_is_understood(policy: &CompiledPolicy) -> Result<(), Obstacle> {
    policy.accepted().map_err(|_| {
        let what = "the policy cannot be read in full, so nothing satisfies it";
        Obstacle::unknown(UnknownCode::PolicyInvalid, what, remedy(UnknownCode::PolicyInvalid.into()))
    })
}

fn source_is_a_claim(model_use: &ModelUse) -> Result<(&str, &str), Obstacle> {
    match &model_use.source {
        Source::Claim { name, path } => Ok((name, path)),
        Source::Uri(uri) => {
            let what =
                format!("the container fetches \"{}\" by itself, so nobody can verify it", shown(&uri.to_string()));
            Err(Obstacle::unknown(UnknownCode::NotVerifiable, what, remedy(UnknownCode::NotVerifiable.into())))
        }
        Source::Unresolved(Unresolved { code, what, remedy }) => Err(Obstacle::unknown(*code, what.as_str(), *remedy)),
        Source::Opaque(opaque) => {
            let target =
                if opaque.target.is_empty() { String::new() } else { format!(" \"{}\"", shown(&opaque.target)) };
            let what = format!("{}{target} cannot be verified", opaque.kind);
            Err(Obstacle::unknown(UnknownCode::NotVerifiable, what, opaque.remedy))
        }
    }
}

/// The record that is asked for: of this path, with the bundle where the annotation says. It can say where to look, and
/// nothing else.
fn bundle_is_somewhere(model_use: &ModelUse, name: &str, path: &str) -> Result<ModelVerificationSpec, Obstacle> {
    let spec = ModelVerificationSpec::of_claim(name, path);
    let Some((annotation, mount)) = model_use.annotations.signature.as_ref().zip(model_use.mount()) else {
        return Ok(spec);
    };
    spec.signed_at(annotation).map_err(|error| {
        let what = format!("the annotation {SIGNATURE_ANNOTATION}{} {error}", mount.volume);
        let anywhere = "write volume:<path in the model>, configmap:<name>/<key>, inline:<base64> or \
                        oci://<host>/<repository>@sha256:<digits>, or leave it out";
        let (code, fix): (Code, &str) = match error {
            LocationError::Mutable(_) => (UseCode::MutableReference.into(), "name it by @sha256: and its digest"),
            LocationError::TooLong(_) => (UnknownCode::TooLarge.into(), anywhere),
            LocationError::Unknown(_)
            | LocationError::Path(_)
            | LocationError::ConfigMap(_)
            | LocationError::Inline
            | LocationError::Registry(_) => (RefusedCode::UnsupportedBundle.into(), anywhere),
        };
        Obstacle { code, finding: Finding { what, fix: fix.to_owned(), detail: None } }
    })
}

/// A verifier fetches from where a policy of the cluster lets it, and nobody waits for a bundle from elsewhere. Each such
/// policy speaks for itself; one of a namespace has no say, and goes by theirs.
fn registry_is_listed(
    scene: &Scene<'_>,
    policy: &CompiledPolicy,
    model_use: &ModelUse,
    spec: &ModelVerificationSpec,
) -> Result<(), Obstacle> {
    let Some(reference) = spec.registry() else { return Ok(()) };
    let lists = |policy: &CompiledPolicy| policy.bundle_registries.listing(&reference).is_some();
    let (listed, who) = match policy.name {
        PolicyName::Cluster(_) => (lists(policy), "the policy does not list"),
        PolicyName::Namespaced { .. } => (scene.policies().into_iter().any(lists), "no policy of the cluster lists"),
    };
    if listed {
        return Ok(());
    }
    let volume = model_use.mount().map(|mount| mount.volume.as_str()).unwrap_or_default();
    let place = shown(&reference.place());
    let what = format!("the annotation {SIGNATURE_ANNOTATION}{volume} names {place}, which {who} in bundleRegistries");
    let fix = "keep the bundle in the volume or in a ConfigMap, or have the platform team list the registry";
    Err(Obstacle::unknown(UnknownCode::RegistryUnauthorized, what, fix))
}

fn claim_exists<'a>(scene: &Scene<'a>, model_use: &ModelUse, name: &str) -> Result<&'a ClaimFacts, Obstacle> {
    let missing = |what: String, fix: &str| Obstacle::unknown(UnknownCode::SourceMissing, what, fix);
    let claim = scene.claim(model_use);
    let claim = claim.ok_or_else(|| {
        missing(format!("claim \"{}\" does not exist", shown(name)), "create it, or correct claimName")
    })?;
    if claim.deleting {
        let what = format!("claim \"{}\" is being deleted", shown(name));
        return Err(missing(what, "wait until it is gone, and create it anew"));
    }
    Ok(claim)
}

fn claim_is_bound<'a>(scene: &Scene<'a>, claim: &ClaimFacts, name: &str) -> Result<&'a VolumeFacts, Obstacle> {
    let name = shown(name);
    let missing = |what: String, fix: &str| Obstacle::unknown(UnknownCode::SourceMissing, what, fix);
    if !claim.bound {
        let fix = if will_be_bound_by_a_read(claim) {
            "wait: a verifier has it bound and filled, and reads it"
        } else {
            "fill it first, by a Pod of one of the policy's writers"
        };
        return Err(missing(format!("claim \"{name}\" is not bound to a volume yet"), fix));
    }
    let volume = scene.evidence.volume_of(claim);
    if volume.is_none() {
        return Err(missing(format!("the volume of claim \"{name}\" does not exist"), "create the claim anew"));
    }
    scene.evidence.bound_volume(claim).ok_or_else(|| {
        missing(format!("the volume of claim \"{name}\" is bound to another claim"), "create the claim anew")
    })
}

/// Whether a claim that is not bound is filled when its first Pod comes, so that a verifier may be that Pod.
fn will_be_bound_by_a_read(claim: &ClaimFacts) -> bool {
    claim.has_data_source && !claim.bound
}

fn storage_is_vouched_for(
    policy: &CompiledPolicy,
    claim: &ClaimFacts,
    volume: &VolumeFacts,
    name: &str,
) -> Result<(), Obstacle> {
    storage::check(claim, volume, &policy.content.trusted_storage).map_err(|finding| {
        let what = format!("claim \"{}\": {}", shown(name), finding.what);
        Obstacle::unknown(UnknownCode::NotVerifiable, what, finding.fix)
    })
}

fn nobody_writes(scene: &Scene<'_>, present: Present<'_>, name: &str) -> Result<(), Obstacle> {
    let Some(writer) = scene.evidence.writer_of(present.store) else { return Ok(()) };
    // A Pod of another namespace is not the reader's business.
    let own = writer.split_once('/').filter(|(namespace, _)| *namespace == present.namespace);
    let who = own.map_or("a Pod of another namespace".to_owned(), |(_, pod)| format!("Pod \"{}\"", shown(pod)));
    let what = format!("{who} may be writing to claim \"{}\"", shown(name));
    Err(Obstacle::unknown(UnknownCode::BeingWritten, what, remedy(UnknownCode::BeingWritten.into())))
}

/// Nothing is known that counts; says why, and what is being done about it.
fn pending(name: &str, currency: Currency, awaited: Awaited<'_>) -> Obstacle {
    let name = shown(name);
    let because = match currency {
        Currency::Current | Currency::Unread => "was never read",
        Currency::Written => "may have been written to since it was read",
        Currency::Replaced => "is not the one that was read",
    };
    match awaited {
        Awaited::Nothing => {
            let code = UnknownCode::NotVerifiedYet;
            Obstacle::unknown(code, format!("claim \"{name}\" {because}"), remedy(code.into()))
        }
        Awaited::Running => {
            let code = UnknownCode::Verifying;
            Obstacle::unknown(code, format!("claim \"{name}\" {because}; it is being read now"), remedy(code.into()))
        }
        Awaited::Failed(code, message) => {
            let said = message.map(|message| format!(": {}", shown_to(message, MAX_MESSAGE_CHARS))).unwrap_or_default();
            Obstacle::unknown(code, format!("claim \"{name}\" could not be read{said}"), remedy(code.into()))
        }
    }
}

/// What the record says of content and signature, and of what lies beside what was signed. An absent field is never a
/// pass.
fn model_is_sound(
    scene: &Scene<'_>,
    policy: &CompiledPolicy,
    record: &Record,
    model: &ModelStatus,
) -> Result<(), Obstacle> {
    let finding = |fallback: &str, fix: &str| Finding {
        what: model.message.as_deref().map_or_else(|| fallback.to_owned(), without_advice),
        fix: fix.to_owned(),
        detail: model.detail,
    };
    match (model.verdict, model.reason, &model.unsigned) {
        (VerdictKind::Verified, ..) if model.content_verified && model.signature_verified => {
            links_are_allowed(policy, model)
        }
        (VerdictKind::Refused, _, Some(unsigned)) if is_intact(model) && !policy.ignored.is_empty() => {
            let ignored = beside::check_unsigned(&policy.ignored, unsigned);
            ignored.map_err(|(code, finding)| Obstacle::refused(code, finding))?;
            links_are_allowed(policy, model)
        }
        (VerdictKind::Refused, Some(FindingCode::Refused(RefusedCode::UntrustedSigner)), _)
            if was_listed_since(scene, policy, record) =>
        {
            Err(listed_since())
        }
        (VerdictKind::Refused, Some(FindingCode::Refused(RefusedCode::UntrustedSigner)), _) => {
            let code = RefusedCode::UntrustedSigner;
            Err(Obstacle::refused(code, finding("no listed signer signed it", &authorities::advice(policy))))
        }
        (VerdictKind::Refused, Some(FindingCode::Refused(code @ RefusedCode::UnsignedFiles)), Some(unsigned))
            if !unsigned.more =>
        {
            let fix = of_unsigned(unsigned.paths.iter().map(String::as_str));
            Err(Obstacle::refused(code, finding("files lie in it that nobody signed", fix)))
        }
        (VerdictKind::Refused, Some(FindingCode::Refused(code)), _) => {
            Err(Obstacle::refused(code, finding("the model was refused when it was read", remedy(code.into()))))
        }
        (VerdictKind::Unknown, Some(FindingCode::Unknown(code)), _) => {
            let finding = finding("it could not be read", remedy(code.into()));
            Err(Obstacle { code: code.into(), finding })
        }
        _ => {
            let code = UnknownCode::VerifierFailed;
            Err(Obstacle::unknown(code, "what was found when it was read cannot be understood", remedy(code.into())))
        }
    }
}

fn links_are_allowed(policy: &CompiledPolicy, model: &ModelStatus) -> Result<(), Obstacle> {
    let count = model.symlinks.and_then(|count| u64::try_from(count).ok());
    beside::check_links(policy, model.allow_symlinks, count).map_err(|(code, finding)| Obstacle::refused(code, finding))
}

/// Whether a policy of the cluster lists somebody whom the read was not given, so that nobody can say whether he has
/// signed. What a namespace's own policies list makes nothing unknown: else whoever writes one could have a model let in
/// that is refused. Under these it stays refused until it was read again.
fn was_listed_since(scene: &Scene<'_>, policy: &CompiledPolicy, record: &Record) -> bool {
    matches!(policy.name, PolicyName::Cluster(_)) && !scene.was_given(&record.status, policy)
}

/// What a verifier says is wrong, without what it says to do about that after the last semicolon: a denial has advice of
/// its own, which no name of a file can have a part in.
fn without_advice(message: &str) -> String {
    let what = message.rsplit_once("; ").map_or(message, |(what, _)| what);
    shown_to(what, MAX_MESSAGE_CHARS)
}

/// The signers that were found satisfy only who is listed now: one that was taken off the list counts no longer, at once.
/// Whether somebody who was listed since has signed, only another look at the bundle can tell.
fn signers_are_trusted<'a>(
    scene: &Scene<'_>,
    policy: &'a CompiledPolicy,
    record: &Record,
    model: &ModelStatus,
) -> Result<&'a str, Obstacle> {
    authorities::check(policy, &model.signers, &model.other_bundles, scene.now).map_err(|(code, finding)| {
        if was_listed_since(scene, policy, record) { listed_since() } else { Obstacle::refused(code, finding) }
    })
}

fn listed_since() -> Obstacle {
    let what = "no listed signer had signed it, and others were listed since it was read";
    let code = UnknownCode::NotVerifiedYet;
    Obstacle::unknown(code, what, remedy(code.into()))
}

fn record_is_young(scene: &Scene<'_>, policy: &CompiledPolicy, record: &Record) -> Result<(), Obstacle> {
    let Some(max_age) = policy.content.max_age else { return Ok(()) };
    let age = record.status.verified_at.as_ref().map(|read| scene.now.duration_since(read.0));
    if age.is_some_and(|age| age <= max_age) {
        return Ok(());
    }
    let what = format!("it was last read more than {max_age:#} ago, which is too long for this policy");
    Err(Obstacle::unknown(UnknownCode::Stale, what, remedy(UnknownCode::Stale.into())))
}

impl Facts {
    /// What a record says of a model. They are as old as the oldest read.
    fn add(&mut self, record: &Record, model: &ModelStatus) -> &ModelFacts {
        let read = record.status.verified_at.as_ref().map(|read| read.0);
        self.verified_at = if self.models.is_empty() { read } else { self.verified_at.min(read) };
        let facts = ModelFacts {
            path: model.path.clone(),
            model_digest: model.model_digest.clone().unwrap_or_default(),
            manifest_digest: model.manifest_digest.clone().unwrap_or_default(),
            signers: model.signers.clone(),
            unsigned: model.unsigned.iter().flat_map(|unsigned| &unsigned.paths).cloned().collect(),
            has_links: model.allow_symlinks && model.symlinks != Some(0),
        };
        self.models.push(facts);
        &self.models[self.models.len() - 1]
    }
}
