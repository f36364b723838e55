//! Pods that wait: who must, and what is said where one cannot.
//!
//! Receives a decision and what a Pod carries; promises that whoever must be held and is not is refused. Never takes a
//! gate off: that is for whoever has looked again.

use std::collections::BTreeMap;

use super::{Action, Decision, Finding, Violation};
use crate::api::gate::{GATE, WRITER_FINALIZER};
use crate::api::v1alpha1::{Code, RequestCode, UseCode};
use crate::model::shown;
use crate::policy::PolicyName;
use crate::workload::{Access, FieldPath};

/// What a Pod carries that says whether, and behind whom, it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Our scheduling gate.
    pub ours: bool,
    /// Scheduling gates of others.
    pub others: bool,
    /// Our finalizer.
    pub finalizer: bool,
    /// A node that was chosen by whoever made the Pod, or by a scheduler since.
    pub node: bool,
}

impl Gates {
    /// Of the names of a Pod's scheduling gates and finalizers, and of its node.
    pub fn of<'a>(
        gates: impl IntoIterator<Item = &'a str>,
        finalizers: impl IntoIterator<Item = &'a str>,
        node: Option<&str>,
    ) -> Self {
        let (ours, others): (Vec<&str>, Vec<&str>) = gates.into_iter().partition(|gate| *gate == GATE);
        Gates {
            ours: !ours.is_empty(),
            others: !others.is_empty(),
            finalizer: finalizers.into_iter().any(|finalizer| finalizer == WRITER_FINALIZER),
            node: node.is_some_and(|node| !node.is_empty()),
        }
    }
}

/// What a Pod must carry from its creation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gating {
    /// Beside the gate our finalizer: it may write to a model, and how that ends must be seen.
    pub finalizer: bool,
}

/// What a new Pod must carry, if anything.
///
/// It is held while what must be known is not; behind other gates, so that ours is the last and nothing is known of old
/// when it goes; and whenever it may write to a model. Where no policy that matches refuses anything, nothing is due.
pub fn gate_due(decision: &Decision, gates: Gates) -> Option<Gating> {
    if decision.enforced_by.is_none() || !decision.allowed() {
        return None;
    }
    let finalizer = writes(decision);
    (decision.holds() || gates.others || finalizer).then_some(Gating { finalizer })
}

/// Whether a container may write to a claim that a policy selects.
fn writes(decision: &Decision) -> bool {
    let writes = |it: &crate::workload::ModelUse| it.access == Access::ReadWrite && it.claim().is_some();
    decision.models.iter().any(|judged| writes(&judged.model_use))
}

/// Why a Pod that must be held is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheld {
    /// It names its node, and the API takes no gate on such a Pod.
    Node,
    /// It comes without what the mutating webhook puts on such Pods.
    Missing,
    /// It was let go before.
    LetGo,
}

/// The decision about a new Pod as it will be stored: refused where it must be held and is not.
pub fn demand_gate(mut decision: Decision, gates: Gates) -> Decision {
    let due = gate_due(&decision, gates).zip(decision.enforced_by.clone());
    let Some((gating, policy)) = due else { return decision };
    if gates.ours && (gates.finalizer || !gating.finalizer) {
        return decision;
    }
    let why = if gates.node { Unheld::Node } else { Unheld::Missing };
    if !refuse_held(&mut decision, why) {
        decision.violations.insert(0, without_gate(policy, gates, gating));
    }
    decision
}

/// The decision about a change of a Pod that exists: one that was let go cannot be held again.
pub fn demand_gate_of_old(mut decision: Decision, gates: Gates) -> Decision {
    if !gates.ours {
        refuse_held(&mut decision, Unheld::LetGo);
    }
    decision
}

/// The decision about a change of a Pod that starts containers again which had ended their writing: refused, for nobody
/// would know when they write. `revived` are the claims, each with such a container.
pub fn demand_end(mut decision: Decision, revived: &BTreeMap<String, String>) -> Decision {
    let Some(policy) = decision.enforced_by.clone() else { return decision };
    for (claim, container) in revived {
        let mut uses = decision.models.iter().map(|judged| &judged.model_use);
        let Some(written) = uses.find(|it| it.access == Access::ReadWrite && it.claim() == Some(claim)) else {
            continue;
        };
        let what =
            format!("container \"{}\" has ended its writing, and another image starts it again", shown(container));
        let finding = Finding { what, fix: "make a new Pod, which waits for its turn".to_owned(), detail: None };
        decision.violations.push(Violation {
            policy: policy.clone(),
            at: written.at.clone(),
            code: UseCode::WriterNotAllowed.into(),
            finding,
            action: Action::Deny,
            audit: false,
        });
    }
    decision.violations.sort_by_key(|violation| std::cmp::Reverse(violation.action));
    decision
}

/// Every violation that holds denies, with what stands in the way. False where there is none.
fn refuse_held(decision: &mut Decision, why: Unheld) -> bool {
    let mut any = false;
    for violation in decision.violations.iter_mut().filter(|violation| violation.action == Action::Hold) {
        let Finding { what, fix, .. } = &mut violation.finding;
        let (reason, remedy) = match why {
            Unheld::Node => (", and a Pod that names its node cannot wait", Some(LEAVE_NODE)),
            Unheld::Missing => (", and our scheduling gate is missing", Some(CREATE_AGAIN)),
            Unheld::LetGo => (", and a Pod that was let go cannot wait again", None),
        };
        what.push_str(reason);
        if let Some(remedy) = remedy {
            remedy.clone_into(fix);
        }
        violation.action = Action::Deny;
        any = true;
    }
    any
}

const LEAVE_NODE: &str = "leave spec.nodeName to the scheduler";
const CREATE_AGAIN: &str = "create it again; should that not help, another webhook takes our gate away";

/// A Pod of which all is known that must wait all the same.
fn without_gate(policy: PolicyName, gates: Gates, gating: Gating) -> Violation {
    let who = if gating.finalizer { "a Pod that may write a model" } else { "a Pod with scheduling gates of others" };
    let (at, code, what, fix): (_, Code, _, _) = if gates.node {
        (
            "spec.nodeName",
            UseCode::WriterNotAllowed.into(),
            format!("{who} must wait until that is known everywhere, and one that names its node cannot"),
            LEAVE_NODE,
        )
    } else {
        (
            "spec.schedulingGates",
            RequestCode::NotObservedYet.into(),
            format!("{who} needs weighbridge.dev/verification too, and it is missing"),
            CREATE_AGAIN,
        )
    };
    Violation {
        policy,
        at: FieldPath(at.to_owned()),
        code,
        finding: Finding { what, fix: fix.to_owned(), detail: None },
        action: Action::Deny,
        audit: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::World;
    use super::*;
    use crate::decision::deny_text;
    use serde_json::json;

    /// A Pod with these gates and finalizers.
    fn with(gates: &[&str], finalizers: &[&str], node: Option<&str>) -> Gates {
        Gates::of(gates.iter().copied(), finalizers.iter().copied(), node)
    }

    fn unknown(spec: serde_json::Value) -> Decision {
        World::new().under(spec).with(|world| world.records.clear()).decide()
    }

    fn writer() -> Decision {
        let world = World::new().under(json!({ "content": { "writers": [{ "serviceAccount": "default" }] } }));
        world.with(|world| world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false)).decide()
    }

    #[test]
    fn who_must_wait() {
        let (free, behind) = (Gates::default(), with(&["example.com/quota"], &[], None));
        let gate = Some(Gating { finalizer: false });
        for (what, decision, gates, due) in [
            ("unknown, held", unknown(json!({ "unknown": "Hold" })), free, gate),
            ("unknown, denied", unknown(json!({})), free, None),
            ("unknown, let in", unknown(json!({ "unknown": "Warn" })), free, None),
            ("unknown, let in behind another's gate", unknown(json!({ "unknown": "Warn" })), behind, gate),
            ("unknown, tried out", unknown(json!({ "validationActions": ["Warn"] })), behind, None),
            ("verified", World::new().decide(), free, None),
            ("verified, behind another's gate", World::new().decide(), behind, gate),
            ("a writer", writer(), free, Some(Gating { finalizer: true })),
        ] {
            assert_eq!(gate_due(&decision, gates), due, "{what}");
        }
    }

    #[test]
    fn who_must_wait_and_does_not_is_refused() {
        let held = || unknown(json!({ "unknown": "Hold" }));
        let ours = with(&["example.com/quota", GATE], &[], None);
        assert!(demand_gate(held(), ours).holds());
        assert!(demand_gate(World::new().decide(), ours).runs());
        assert!(demand_gate(writer(), with(&[GATE], &[WRITER_FINALIZER], None)).runs());
        assert!(!demand_gate(writer(), ours).allowed(), "a writer needs the finalizer too");
        assert!(demand_gate_of_old(held(), ours).holds());
        assert!(demand_gate_of_old(World::new().decide(), Gates::default()).runs());
    }

    #[test]
    fn what_has_written_is_not_started_again() {
        let revived = BTreeMap::from([("models".to_owned(), "server".to_owned())]);
        let refused = demand_end(writer(), &revived);
        let line = deny_text(&refused);
        assert!(line.contains("\"server\" has ended its writing") && line.contains("[WriterNotAllowed]"), "{line}");
        assert!(demand_end(writer(), &BTreeMap::new()).allowed());
        let elsewhere = BTreeMap::from([("scratch".to_owned(), "server".to_owned())]);
        assert!(demand_end(writer(), &elsewhere).allowed(), "no policy is about that claim");
        let tried = unknown(json!({ "validationActions": ["Warn"] }));
        assert!(demand_end(tried, &revived).allowed());
    }

    #[test]
    fn a_refusal_says_what_stands_in_the_way() {
        let (free, node) = (Gates::default(), with(&[], &[], Some("node-1")));
        let held = || unknown(json!({ "unknown": "Hold" }));
        let texts = [
            ("a node is named", demand_gate(held(), node)),
            ("the gate is missing", demand_gate(held(), free)),
            ("it was let go", demand_gate_of_old(held(), node)),
            ("a writer names its node", demand_gate(writer(), node)),
            ("a writer without gate", demand_gate(writer(), free)),
            ("gates of others alone", demand_gate(World::new().decide(), with(&["example.com/quota"], &[], None))),
        ]
        .map(|(name, decision)| {
            assert!(!decision.allowed(), "{name}");
            format!("## {name}\n{}\n", deny_text(&decision))
        });
        insta::assert_snapshot!("unheld", texts.join("\n"));
    }
}
