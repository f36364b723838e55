//! The decision: pure, and the only one.
//!
//! Receives compiled policies, the uses found in an object, what is known of the cluster and the time; promises the
//! same answer for the same arguments; never waits, reads a clock or looks anything up elsewhere. The webhook, the
//! operator and the command line all call [`decide`], so they cannot disagree.
//!
//! ```text
//! ModelUse ──matching──▶ policies ──checks──▶ Violation ─┐
//!    └────evidence────▶ Verdict ───authorities──▶        ├─▶ Decision
//! ```

mod actions;
mod authorities;
mod beside;
mod content;
mod dangers;
mod digests;
mod evidence;
mod hold;
mod judge;
mod notes;
mod records;
mod scene;
mod shadows;
mod signers;
mod status;
mod storage;
mod text;
mod writers;

pub use authorities::check as check_signers;
pub use beside::{check_links, check_unsigned};
pub use evidence::*;
pub use hold::{Gates, Gating, demand_end, demand_gate, demand_gate_of_old, gate_due};
pub use records::is_intact;
pub use signers::{ends, has_expired};
pub use storage::{SINGLE_WRITER_DRIVERS, check as check_storage};
pub use text::{audit_annotations, deny_text, waiting_cures, warnings};

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::{Code, Detail, ModelVerificationSpec, RefusedCode, SignerStatus, UnknownCode, VerdictKind};
use crate::policy::{CompiledPolicies, PolicyName};
use crate::workload::{FieldPath, ModelUse, Subject};

/// How old the view of the cluster may be before nothing is decided upon it any more. An API server sends a bookmark on
/// an idle watch about once a minute: one may be late, two are a watch that has died.
pub const MAX_EVIDENCE_AGE: SignedDuration = SignedDuration::from_secs(120);

/// What is known of one use of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its files are what a manifest says, and enough listed authorities signed that.
    Verified(Facts),
    /// It was read, and it is not.
    Refused(RefusedCode, Finding),
    /// Nobody can say.
    Unknown(UnknownCode, Finding),
}

impl Verdict {
    /// Which of the three it is.
    pub fn kind(&self) -> VerdictKind {
        match self {
            Verdict::Verified(_) => VerdictKind::Verified,
            Verdict::Refused(..) => VerdictKind::Refused,
            Verdict::Unknown(..) => VerdictKind::Unknown,
        }
    }
}

/// What reads found out about the models of a use: one, or several below a folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The models, by their paths.
    pub models: Vec<ModelFacts>,
    /// When the oldest of the reads started.
    pub verified_at: Option<Timestamp>,
}

/// What a read found out about a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelFacts {
    /// Its root in the source; empty means the source's own.
    pub path: String,
    /// The OMS root digest, `sha256:…`.
    pub model_digest: String,
    /// The manifest's digest, `sha256:…`.
    pub manifest_digest: String,
    /// Who signed it.
    pub signers: Vec<SignerStatus>,
    /// What lies in it unsigned, by paths in it; behind a folder's stands a `/`.
    pub unsigned: Vec<String>,
    /// Whether symbolic links lie in it.
    pub has_links: bool,
}

/// What is wrong, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong; half a sentence without a full stop.
    pub what: String,
    /// How to put it right; half a sentence that begins with a verb.
    pub fix: String,
    /// A closer look at the code.
    pub detail: Option<Detail>,
}

/// One way in which an object does not comply with one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The policy.
    pub policy: PolicyName,
    /// Where in the object.
    pub at: FieldPath,
    /// What it is called.
    pub code: Code,
    /// What is wrong and how to put it right.
    pub finding: Finding,
    /// What follows: the strongest of the policy's actions that applies to this code and stage.
    pub action: Action,
    /// Whether the policy wants it in the audit log as well.
    pub audit: bool,
}

/// What follows from a violation; ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is written to the audit log.
    Audit,
    /// The client is warned.
    Warn,
    /// The Pod is made and waits behind our scheduling gate.
    Hold,
    /// The request is refused.
    Deny,
}

/// The answer about one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// All violations, the strongest action first, then in the order of the object.
    pub violations: Vec<Violation>,
    /// Each use that at least one policy selects, with the worst verdict over those policies.
    pub models: Vec<JudgedUse>,
    /// Records that would be needed to know more and that do not exist.
    pub missing_records: Vec<ModelVerificationSpec>,
    /// The policies that select at least one use.
    pub policies: Vec<PolicyName>,
    /// The first of these that refuses what violates it. Where none does, nothing is held, changed or deleted.
    pub enforced_by: Option<PolicyName>,
    /// What whoever sent it should know, although it is no violation.
    pub notes: Vec<String>,
}

/// One finding about one use under one policy: what a [`Violation`] is made of.
type Found = (Code, Finding);

impl Decision {
    /// Whether the request is let through, if only to be held.
    pub fn allowed(&self) -> bool {
        self.strongest() < Some(Action::Deny)
    }

    /// Whether the Pod must wait behind our scheduling gate.
    pub fn holds(&self) -> bool {
        self.strongest() == Some(Action::Hold)
    }

    /// Whether the Pod may run: neither refused nor held.
    pub fn runs(&self) -> bool {
        self.strongest() < Some(Action::Hold)
    }

    /// What follows from all violations together.
    pub fn strongest(&self) -> Option<Action> {
        self.violations.iter().map(|violation| violation.action).max()
    }

    /// Whether the object complies with every policy that matches, whatever the policies' actions are.
    pub fn complies(&self) -> bool {
        self.violations.is_empty()
    }

    /// The worst verdict of its models; `None` if it uses none that a policy selects.
    pub fn worst(&self) -> Option<VerdictKind> {
        self.models.iter().map(|judged| judged.verdict.kind()).max_by_key(|kind| severity(*kind))
    }
}

/// A use that a policy selects, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedUse {
    /// The use.
    pub model_use: ModelUse,
    /// The worst verdict over the policies that select it.
    pub verdict: Verdict,
    /// The authority that satisfied the first policy, as `<policy>/<authority>`.
    pub signer: Option<String>,
    /// Whether it is judged as a writer alone, by every policy that selects it: nothing needs to be known of the content.
    pub writer: bool,
    /// What the last read found out, also where that is not enough to be Verified.
    pub facts: Option<Facts>,
    /// What does not comply, the worst first: [`Decision::violations`] of this use, without policies and actions.
    pub findings: Vec<(Code, Finding)>,
}

/// Decides about one object. See the module's documentation.
///
/// `uses` are those of the object, as [`crate::workload`] finds them; `evidence` is what is known; `now` is compared with
/// the age of records and of the evidence itself.
pub fn decide(
    policies: &CompiledPolicies,
    subject: &Subject,
    uses: &[ModelUse],
    evidence: &Evidence,
    now: Timestamp,
) -> Decision {
    let scene = scene::Scene::new(policies, subject, uses, evidence, now);
    let mut decision = Decision::default();
    let mut models: Vec<Option<JudgedUse>> = uses.iter().map(|_| None).collect();
    for policy in scene.policies() {
        let judged = judge::uses(&scene, policy);
        let selects = judged.iter().any(Option::is_some);
        decision.policies.extend(selects.then(|| policy.name.clone()));
        if selects && policy.actions.enforces() && decision.enforced_by.is_none() {
            decision.enforced_by = Some(policy.name.clone());
        }
        for ((judgement, model_use), model) in judged.into_iter().zip(uses).zip(&mut models) {
            let Some(judgement) = judgement else { continue };
            let violations = |at, found| actions::violations(policy, subject.stage, at, found);
            decision.violations.extend(violations(&model_use.at, &judgement.findings));
            for (at, found) in &judgement.dangers {
                decision.violations.extend(violations(at, std::slice::from_ref(found)));
            }
            decision.missing_records.extend(judgement.missing_records.iter().cloned());
            status::merge(model, model_use, judgement);
        }
    }
    decision.violations.sort_by_key(|violation| {
        let is_of = |model_use: &ModelUse| {
            model_use.at == violation.at || model_use.hazards.iter().any(|hazard| hazard.at == violation.at)
        };
        let place = uses.iter().position(is_of);
        (std::cmp::Reverse(violation.action), place)
    });
    decision.missing_records.sort_by_key(ModelVerificationSpec::record_name);
    decision.missing_records.dedup();
    decision.models = models.into_iter().flatten().collect();
    decision.notes = if scene.policies().is_empty() { Vec::new() } else { notes::of(&scene) };
    decision
}

/// How bad a verdict is.
fn severity(kind: VerdictKind) -> u8 {
    match kind {
        VerdictKind::Verified => 0,
        VerdictKind::Unknown => 1,
        VerdictKind::Refused => 2,
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
