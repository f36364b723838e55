//! Why: which models were found where, which policies are about them, and what is missing.

use std::io::{self, Write};

use super::judge::{Checked, Object, unknown_namespace};
use crate::api::v1alpha1::VerdictKind;
use crate::decision::{JudgedUse, Verdict};
use crate::policy::{CompiledPolicy, PolicyName};
use crate::workload::{Access, ModelUse, Way};

/// Prints, for each use of a model, what was found, by whom it is judged, and what is missing.
pub(super) fn print(out: &mut dyn Write, checked: &Checked, object: &Object) -> io::Result<()> {
    for model_use in &object.extract.uses {
        writeln!(out, "  container {}: {}", model_use.container.name, found(model_use))?;
        for reason in reasons(checked, object, model_use) {
            writeln!(out, "    {reason}")?;
        }
    }
    Ok(())
}

fn found(model_use: &ModelUse) -> String {
    let way = match &model_use.way {
        Way::Mounted(mount) => {
            let access = match model_use.access {
                Access::ReadOnly => "read-only",
                Access::ReadWrite => "writable",
            };
            format!("at {}, {access}", mount.path)
        }
        Way::Named(_) => "named by what the container is told".to_owned(),
    };
    format!("{} {way} ({})", model_use.source, model_use.at)
}

/// Each policy and what it says of a use; then what was found out about it.
pub(super) fn reasons(checked: &Checked, object: &Object, model_use: &ModelUse) -> Vec<String> {
    let namespace = &object.extract.subject.namespace;
    let Some(labels) = checked.world.labels(namespace) else {
        return vec![unknown_namespace(namespace).join(": ")];
    };
    let about = |policy: &CompiledPolicy| {
        if !checked.world.policies.matching(namespace, labels).any(|it| it.name == policy.name) {
            return format!("policy {} does not match namespace {namespace}", policy.name);
        }
        let place = match policy.name {
            PolicyName::Cluster(_) => "selects the namespace by its labels",
            PolicyName::Namespaced { .. } => "is one of the namespace",
        };
        let facts = model_use.claim().map(|claim| checked.evidence.source_facts(namespace, claim)).unwrap_or_default();
        let selects = if policy.selects(model_use, &facts) { "and selects this use" } else { "but not this use" };
        format!("policy {} {place}, {selects}", policy.name)
    };
    let policies = checked.world.policies.iter().map(about);
    let judged = object.decision.models.iter().find(|judged| judged.model_use.at == model_use.at);
    policies.chain(judged.map(|judged| evidence(checked, judged))).collect()
}

fn evidence(checked: &Checked, judged: &JudgedUse) -> String {
    let missing = judged.model_use.claim().filter(|claim| !checked.world.has_folder(claim));
    match (&judged.verdict, missing) {
        (Verdict::Verified(facts), _) => {
            let signer = judged.signer.as_deref().unwrap_or("nobody");
            let digests: Vec<&str> = facts.models.iter().map(|model| model.model_digest.as_str()).collect();
            format!("verified: signed by {signer}, {}", digests.join(", "))
        }
        (verdict, Some(claim)) if verdict.kind() == VerdictKind::Unknown => {
            format!("nothing is known of its content: add --model claim/{claim}=DIR")
        }
        (Verdict::Refused(code, finding), _) => format!("refused: {} [{code}]", finding.what),
        (Verdict::Unknown(code, finding), _) => format!("unknown: {} [{code}]", finding.what),
    }
}
