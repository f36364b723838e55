//! The result for people.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::explain;
use super::judge::{Checked, Object, Outcome};
use crate::api::v1alpha1::{Code, UnknownCode};
use crate::decision::{Action, Decision, Violation, deny_text, warnings};
use crate::model::shown;

/// What is said where a claim is not there, or has no content.
const MISSING: Code = Code::Unknown(UnknownCode::SourceMissing);

/// Prints each object that uses models, with the sentences that a cluster would say, and a summary.
pub(super) fn print(out: &mut dyn Write, checked: &Checked, with_reasons: bool) -> io::Result<()> {
    for (policy, problem) in &checked.problems {
        writeln!(out, "policy {policy} cannot be read in full: {problem}")?;
    }
    for object in &checked.objects {
        writeln!(out, "{} ({}:{}): {}", object.name(), object.file, object.line, object.outcome().as_str())?;
        said(out, object)?;
        if with_reasons {
            explain::print(out, checked, object)?;
        }
    }
    writeln!(out, "{}", summary(checked))?;
    folders_that_are_missing(checked).iter().try_for_each(|claim| {
        let claim = shown(claim);
        writeln!(out, "no folder stands in for claim {claim}: add --model claim/{claim}=DIR to have its model verified")
    })
}

/// The claims that a policy asks about, and of which nothing can be said without their content.
fn folders_that_are_missing(checked: &Checked) -> BTreeSet<&str> {
    fn of_object(object: &Object) -> impl Iterator<Item = &str> {
        let decisions = [Some(&object.decision), object.pods.as_ref()].into_iter().flatten();
        let missing = decisions.flat_map(|decision| &decision.violations).filter(|it| it.code == MISSING);
        missing.filter_map(|violation| object.claim_of(violation))
    }
    checked.objects.iter().flat_map(of_object).filter(|claim| !checked.world.has_folder(claim)).collect()
}

fn said(out: &mut dyn Write, object: &Object) -> io::Result<()> {
    let denied = deny_text(&object.decision);
    denied.lines().try_for_each(|line| writeln!(out, "  {line}"))?;
    warnings(&object.decision).iter().try_for_each(|line| writeln!(out, "  Warning: {line}"))?;
    held(&object.decision).try_for_each(|line| writeln!(out, "  Held: {line}"))?;
    let Some(pods) = &object.pods else { return Ok(()) };
    if !pods.allowed() {
        writeln!(out, "  A cluster would take it, but not its Pods:")?;
    }
    deny_text(pods).lines().try_for_each(|line| writeln!(out, "    {line}"))?;
    held(pods).try_for_each(|line| writeln!(out, "  Its Pods are held: {line}"))
}

/// What a Pod waits for.
pub(super) fn held(decision: &Decision) -> impl Iterator<Item = String> {
    let held = decision.violations.iter().filter(|violation| violation.action == Action::Hold);
    held.map(|Violation { policy, at, code, finding, .. }| {
        format!("{policy}: {at}: {} — {} [{code}]", finding.what, finding.fix)
    })
}

fn summary(checked: &Checked) -> String {
    let count = |outcome: Outcome| checked.objects.iter().filter(|object| object.outcome() == outcome).count();
    let judged = [Outcome::Refused, Outcome::Undetermined, Outcome::Allowed];
    let judged = judged.map(|outcome| format!("{} {}", count(outcome), outcome.as_str())).join(", ");
    format!(
        "{} objects with models that a policy selects: {judged}; {} other objects",
        checked.objects.len(),
        checked.others
    )
}
