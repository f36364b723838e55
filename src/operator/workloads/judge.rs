//! What is said of a workload and of all that it makes, as one decision.
//!
//! Receives a workload; promises the verdict and the violations of everything in it, with the name of whatever it made
//! where that is at fault. Pure.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::gather::Workload;
use crate::decision::{Decision, decide};
use crate::index::Snapshot;
use crate::workload::{Extract, FieldPath, Stage, Subject};

/// What the Pods of a workload would be told now.
pub(super) fn judge(snapshot: &Snapshot, workload: &Workload, now: Timestamp) -> Decision {
    let mut all = of(snapshot, &workload.extract, now);
    for made in &workload.made {
        let mut decision = of(snapshot, made, now);
        let Subject { kind, name, .. } = &made.subject;
        for violation in &mut decision.violations {
            violation.at = FieldPath(format!("{kind} {name}: {}", violation.at));
        }
        add(&mut all, decision);
    }
    // Stable: among equals, the workload before what it makes.
    all.violations.sort_by_key(|violation| Reverse(violation.action));
    all
}

fn of(snapshot: &Snapshot, extract: &Extract, now: Timestamp) -> Decision {
    // What its Pods would be told counts, not what is said early of a template.
    let subject = Subject { stage: Stage::Pod, ..extract.subject.clone() };
    decide(&snapshot.policies, &subject, &extract.uses, &snapshot.evidence, now)
}

fn add(all: &mut Decision, decision: Decision) {
    let Decision { violations, models, missing_records, policies, enforced_by, notes } = decision;
    all.violations.extend(violations);
    all.models.extend(models);
    all.missing_records.extend(missing_records);
    for policy in policies {
        if !all.policies.contains(&policy) {
            all.policies.push(policy);
        }
    }
    all.enforced_by = all.enforced_by.take().or(enforced_by);
    all.notes.extend(notes);
}

#[cfg(test)]
mod tests;
