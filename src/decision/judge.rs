//! All uses under one policy.

use std::collections::HashSet;

use super::content::{self, Content};
use super::scene::Scene;
use super::text::remedy;
use super::writers::{self, Role as WriterRole};
use super::{Facts, Finding, Found, Verdict, beside, dangers, digests, shadows};
use crate::api::v1alpha1::{ModelVerificationSpec, RefusedCode, UseCode};
use crate::model::shown;
use crate::policy::CompiledPolicy;
use crate::workload::{ContainerRef, FieldPath, ModelUse, Naming, Role, Source, Way};

/// What one policy says of one use.
pub(super) struct Judgement {
    /// What is known of the content.
    pub(super) verdict: Verdict,
    /// What the last read found out.
    pub(super) facts: Option<Facts>,
    /// The authority that satisfied the policy, as `<policy>/<authority>`.
    pub(super) signer: Option<String>,
    /// Whether it is judged as a writer alone.
    pub(super) writer: bool,
    /// What does not comply.
    pub(super) findings: Vec<Found>,
    /// What does not comply elsewhere in its container: once for each container, at its first use.
    pub(super) dangers: Vec<(FieldPath, Found)>,
    /// Records that would be needed to know more.
    pub(super) missing_records: Vec<ModelVerificationSpec>,
}

impl Judgement {
    /// Of a use of which nothing but this is to be said.
    fn refused((code, finding): (RefusedCode, Finding)) -> Self {
        Judgement {
            verdict: Verdict::Refused(code, finding.clone()),
            facts: None,
            signer: None,
            writer: false,
            findings: vec![(code.into(), finding)],
            dangers: Vec::new(),
            missing_records: Vec::new(),
        }
    }
}

/// Judges each use that the policy selects: first what is known of the content, use by use, then the way in which it is
/// used, which depends on what is known of the others.
pub(super) fn uses(scene: &Scene<'_>, policy: &CompiledPolicy) -> Vec<Option<Judgement>> {
    let selected = selection(scene, policy);
    let known = |(model_use, selected): (&ModelUse, &bool)| selected.then(|| content::of(scene, policy, model_use));
    let contents: Vec<Option<Content>> = scene.uses.iter().zip(&selected).map(known).collect();
    let mut containers: HashSet<&ContainerRef> = HashSet::new();
    let mut of = |(model_use, content): (&'_ ModelUse, &Option<Content>)| {
        content.as_ref().map(|content| judge(scene, policy, model_use, content, &contents))
    };
    let mut judged: Vec<Option<Judgement>> = scene.uses.iter().zip(&contents).map(&mut of).collect();
    for (model_use, judgement) in scene.uses.iter().zip(&mut judged) {
        let Some(judgement) = judgement else { continue };
        if containers.insert(&model_use.container) && !judgement.writer {
            judgement.dangers = dangers::of_container(policy, model_use);
        }
    }
    for (at, model_use) in scene.uses.iter().enumerate() {
        if judged[at].is_none()
            && let Some(found) = unsigned_part(model_use, &judged)
        {
            judged[at] = Some(Judgement::refused(found));
        }
    }
    judged
}

/// What is wrong with a path that an argument names in a mount that is Verified: what a policy lets lie there unsigned is
/// no model.
fn unsigned_part(model_use: &ModelUse, judged: &[Option<Judgement>]) -> Option<(RefusedCode, Finding)> {
    let (Way::Named(naming), Source::Claim { path, .. }) = (&model_use.way, &model_use.source) else { return None };
    match judged.get(naming.within?)?.as_ref()? {
        Judgement { verdict: Verdict::Verified(facts), writer: false, .. } => beside::check_named(facts, path).err(),
        _ => None,
    }
}

/// Which uses the policy judges. What an argument names below a mount is judged with the mount, if the policy selects that;
/// configuration that nobody signs is none of its business where it lets that pass.
fn selection(scene: &Scene<'_>, policy: &CompiledPolicy) -> Vec<bool> {
    let uses = scene.uses.iter().zip(&scene.sources);
    let selected: Vec<bool> = uses.map(|(model_use, source)| policy.selects(model_use, source)).collect();
    let by_itself = |model_use: &ModelUse| match &model_use.way {
        Way::Mounted(_) => true,
        Way::Named(Naming { role: Role::Config, .. }) => !policy.content.unsigned_config,
        Way::Named(naming) => !naming.within.and_then(|mount| selected.get(mount)).is_some_and(|selected| *selected),
    };
    scene.uses.iter().zip(&selected).map(|(model_use, selected)| *selected && by_itself(model_use)).collect()
}

/// The checks in their order: writers, shadows, references, content.
fn judge(
    scene: &Scene<'_>,
    policy: &CompiledPolicy,
    model_use: &ModelUse,
    content: &Content,
    contents: &[Option<Content>],
) -> Judgement {
    let role = writers::role(policy, scene.subject, scene.uses, model_use);
    let writer = role == WriterRole::Writer;
    let mut findings = Vec::new();
    if !writer {
        findings.extend(writers::check(policy, scene.subject, model_use, role));
        findings.extend(shadows::check(scene.subject.stage, scene.uses, model_use, contents));
        findings.extend(dangers::of_reference(policy, model_use));
        findings.extend(unsigned_config(model_use).or_else(|| content.finding()));
        findings.extend(digests::missing(policy, model_use, content.facts.as_ref()));
    }
    Judgement {
        verdict: content.verdict(),
        facts: content.facts.clone(),
        signer: content.signer.clone(),
        missing_records: if writer { Vec::new() } else { content.missing_records.clone() },
        writer,
        findings,
        dangers: Vec::new(),
    }
}

/// What is wrong with configuration that nobody signs: not that it cannot be read.
fn unsigned_config(model_use: &ModelUse) -> Option<Found> {
    let Way::Named(Naming { role: Role::Config, path, .. }) = &model_use.way else { return None };
    let what = format!("\"{}\" is configuration that nobody signs", shown(path.as_deref().unwrap_or_default()));
    let code = UseCode::UnsignedConfig.into();
    Some((code, Finding { what, fix: remedy(code).to_owned(), detail: None }))
}
