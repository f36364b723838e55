//! What becomes of workloads, policy by policy.
//!
//! Receives the decision about each workload; counts every workload once for each policy that selects one of its models,
//! whatever the policy's actions are; keeps the worst few by name. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::gather::Workload;
use crate::api::v1alpha1::{Code, FailingWorkload, MAX_FAILING, WorkloadCounts};
use crate::decision::{Decision, Violation};
use crate::model::shown_to;
use crate::policy::PolicyName;

/// How long a sentence about a workload may be, in characters: as long as one in its own status, as a rule.
const MAX_MESSAGE_CHARS: usize = 300;

/// What becomes of workloads under each policy that selects a model of theirs.
pub type Tallies = BTreeMap<PolicyName, Tally>;

/// What becomes of workloads under one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there are.
    pub counts: WorkloadCounts,
    /// Those that do not comply, in the order in which they were added.
    failing: Vec<(Badness, FailingWorkload)>,
}

/// How bad a code is; ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Badness {
    Unknown,
    Refused,
}

fn badness(code: Code) -> Badness {
    match code {
        Code::Unknown(_) => Badness::Unknown,
        Code::Refused(_) | Code::Use(_) | Code::Request(_) => Badness::Refused,
    }
}

/// Counts a workload, given the decision about its Pods.
pub fn add(tallies: &mut Tallies, workload: &Workload, decision: &Decision) {
    for policy in &decision.policies {
        let Tally { counts, failing } = tallies.entry(policy.clone()).or_default();
        counts.matched += 1;
        let violations = decision.violations.iter().filter(|violation| violation.policy == *policy);
        // The first of the worst, in the order of the object.
        let worst = violations.rev().max_by_key(|violation| badness(violation.code));
        let Some(worst) = worst else {
            counts.compliant += 1;
            continue;
        };
        let badness = badness(worst.code);
        match badness {
            Badness::Unknown => counts.unknown += 1,
            Badness::Refused => counts.refused += 1,
        }
        failing.push((badness, entry(workload, worst)));
    }
}

impl Tally {
    /// The worst few, by namespace, kind and name.
    pub fn worst(&self) -> Vec<FailingWorkload> {
        let mut failing: Vec<&(Badness, FailingWorkload)> = self.failing.iter().collect();
        failing.sort_by_key(|(badness, it)| (Reverse(*badness), &it.namespace, &it.kind, &it.name));
        failing.into_iter().take(MAX_FAILING).map(|(_, workload)| workload.clone()).collect()
    }
}

fn entry(workload: &Workload, violation: &Violation) -> FailingWorkload {
    let Violation { at, code, finding, .. } = violation;
    FailingWorkload {
        namespace: workload.namespace.clone(),
        kind: workload.reference.kind.clone(),
        name: workload.reference.name.clone(),
        reason: code.to_string(),
        message: shown_to(&format!("{at}: {} — {}", finding.what, finding.fix), MAX_MESSAGE_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{RefusedCode, UnknownCode, WorkloadReference};
    use crate::decision::{Action, Finding};
    use crate::workload::{Extract, FieldPath, Ids, Stage, Subject};

    fn workload(name: &str) -> Workload {
        let subject = Subject {
            namespace: "team".into(),
            kind: "Deployment".into(),
            name: name.into(),
            stage: Stage::Pod,
            service_account: "default".into(),
            ids: Ids::default(),
            stray_annotations: Vec::new(),
        };
        Workload {
            namespace: "team".into(),
            reference: WorkloadReference { kind: "Deployment".into(), name: name.into(), ..Default::default() },
            generation: None,
            extract: Extract { subject, uses: Vec::new() },
            made: Vec::new(),
            held: 0,
        }
    }

    fn policy(name: &str) -> PolicyName {
        PolicyName::Cluster(name.into())
    }

    /// A decision of the policies `a` and `b`, of which `a` finds these codes.
    fn decision(codes: &[Code]) -> Decision {
        let violation = |(at, code): (usize, &Code)| Violation {
            policy: policy("a"),
            at: FieldPath(format!("spec.containers[{at}]")),
            code: *code,
            finding: Finding { what: "wrong".into(), fix: "put it right".into(), detail: None },
            action: Action::Audit,
            audit: true,
        };
        let violations = codes.iter().enumerate().map(violation).collect();
        Decision { violations, policies: vec![policy("a"), policy("b")], ..Decision::default() }
    }

    #[test]
    fn each_workload_counts_once_for_each_policy_and_the_worst_come_first() {
        let (refused, unknown) = (Code::from(RefusedCode::Unsigned), Code::from(UnknownCode::NotVerifiedYet));
        let mut tallies = Tallies::new();
        for (name, codes) in [("fine", vec![]), ("a-new", vec![unknown]), ("odd", vec![unknown, refused, refused])] {
            add(&mut tallies, &workload(name), &decision(&codes));
        }
        let counts = |matched, compliant, refused, unknown| WorkloadCounts { matched, compliant, refused, unknown };
        assert_eq!(tallies[&policy("a")].counts, counts(3, 1, 1, 1));
        assert_eq!(tallies[&policy("b")].counts, counts(3, 3, 0, 0));
        let worst = tallies[&policy("a")].worst();
        let named: Vec<(&str, &str)> = worst.iter().map(|it| (it.name.as_str(), it.reason.as_str())).collect();
        assert_eq!(named, [("odd", "Unsigned"), ("a-new", "NotVerifiedYet")]);
        assert_eq!(worst[0].message, "spec.containers[1]: wrong — put it right");
    }

    #[test]
    fn a_status_names_few_and_counts_all() {
        let mut tallies = Tallies::new();
        for number in 0..100 {
            let codes =
                if number < 97 { vec![UnknownCode::Verifying.into()] } else { vec![RefusedCode::Revoked.into()] };
            add(&mut tallies, &workload(&format!("w{number:02}")), &decision(&codes));
        }
        let tally = &tallies[&policy("a")];
        let worst = tally.worst();
        assert_eq!((tally.counts.unknown, worst.len()), (97, MAX_FAILING));
        assert_eq!((worst[0].name.as_str(), worst[3].name.as_str()), ("w97", "w00"));
    }
}
