//! All uses under one policy.

use super::content::{self, Content};
use super::scene::Scene;
use super::writers::{self, Role};
use super::{Facts, Found, Verdict, shadows};
use crate::api::v1alpha1::ModelVerificationSpec;
use crate::policy::CompiledPolicy;
use crate::workload::ModelUse;

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
    /// A record that would be needed to know more.
    pub(super) missing_record: Option<ModelVerificationSpec>,
}

/// Judges each use that the policy selects: first what is known of the content, use by use, then the way in which it is
/// used, which depends on what is known of the others.
pub(super) fn uses(scene: &Scene<'_>, policy: &CompiledPolicy) -> Vec<Option<Judgement>> {
    let known = |model_use: &ModelUse| {
        let facts = model_use.claim().map(|claim| scene.evidence.source_facts(&scene.subject.namespace, claim));
        let selected = policy.selects(model_use, &facts.unwrap_or_default());
        selected.then(|| content::of(scene, policy, model_use))
    };
    let contents: Vec<Option<Content>> = scene.uses.iter().map(known).collect();
    let of = |(model_use, content): (&ModelUse, &Option<Content>)| {
        content.as_ref().map(|content| judge(scene, policy, model_use, content, &contents))
    };
    scene.uses.iter().zip(&contents).map(of).collect()
}

/// The checks in their order: writers, shadows, content.
fn judge(
    scene: &Scene<'_>,
    policy: &CompiledPolicy,
    model_use: &ModelUse,
    content: &Content,
    contents: &[Option<Content>],
) -> Judgement {
    let role = writers::role(policy, scene.subject, model_use);
    let writer = role == Role::Writer;
    let mut findings = Vec::new();
    if !writer {
        findings.extend(writers::check(policy, scene.subject, model_use, role));
        findings.extend(shadows::check(scene.subject.stage, scene.uses, model_use, contents));
        findings.extend(content.finding());
    }
    Judgement {
        verdict: content.verdict(),
        facts: content.facts.clone(),
        signer: content.signer.clone(),
        missing_record: content.missing_record.clone().filter(|_| !writer),
        writer,
        findings,
    }
}
