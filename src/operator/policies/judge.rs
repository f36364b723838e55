//! What a policy's conditions should say: pure.

use std::collections::BTreeSet;

use crate::lease::Replica;
use crate::operator::conditions::Wanted;
use crate::operator::webhooks::{Applied, Report};
use crate::operator::workloads::Tally;
use crate::policy::PolicyName;

/// How many names a message lists before it only counts.
const MAX_NAMES: usize = 5;

/// What is known about one policy.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a PolicyName,
    /// Its generation.
    pub generation: i64,
    /// Whether it was understood, or what is wrong with it.
    pub accepted: Result<(), Unaccepted>,
    /// Whether it refuses what violates it.
    pub denies: bool,
    /// Whether it refuses that and lets through what is unknown.
    pub unknown_admits: bool,
    /// Whether tenants can change what it selects by.
    pub selection_by_tenant: bool,
    /// The namespaces that it matches and that do not enforce a Pod Security level; sorted.
    pub weak_namespaces: Vec<&'a str>,
    /// How many namespaces it matches.
    pub namespaces: usize,
    /// Its authorities by whom nothing can be signed any more.
    pub ended_authorities: Vec<&'a str>,
    /// What becomes of workloads under it; nothing while that is not known.
    pub tally: Option<Tally>,
    /// The replicas of the webhook that may be answering.
    pub replicas: &'a [Replica],
    /// The hash of the policies as they are now.
    pub policy_hash: &'a str,
    /// What the API server was told.
    pub applied: Option<&'a Applied>,
    /// What the last probe found.
    pub report: Option<&'a Report>,
}

/// Why a policy is not accepted, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// It is in force, and something about it cannot be understood: nothing satisfies it.
    Invalid(String),
    /// Nothing is decided by it.
    NotInForce(String),
}

/// The conditions of a policy, in the order in which they build upon each other.
pub fn conditions(facts: &Facts<'_>) -> [Wanted; 6] {
    let programmed = programmed(facts);
    let enforcing = enforcing(facts, &programmed);
    [accepted(facts), programmed, enforcing, hardened(facts), selection(facts), effective(facts)]
}

fn accepted(facts: &Facts<'_>) -> Wanted {
    match &facts.accepted {
        Ok(()) => Wanted::yes("Accepted", "Accepted", "understood, with all that it refers to"),
        Err(Unaccepted::Invalid(problem)) => Wanted::no("Accepted", "PolicyInvalid", problem),
        Err(Unaccepted::NotInForce(why)) => Wanted::no("Accepted", "NotInForce", why),
    }
}

fn programmed(facts: &Facts<'_>) -> Wanted {
    let no = |reason, message: String| Wanted::no("Programmed", reason, message);
    if let Err(Unaccepted::NotInForce(why)) = &facts.accepted {
        return no("NotInForce", why.clone());
    }
    let Some(applied) = facts.applied.filter(|it| it.policies.get(facts.name) == Some(&facts.generation)) else {
        return no("WebhookNotApplied", "the API server has not been told yet which namespaces it selects".to_owned());
    };
    if facts.replicas.is_empty() {
        return no("NoReplicas", "no replica of the webhook is ready".to_owned());
    }
    let behind = |replica: &&Replica| replica.policy_hash.as_deref() != Some(facts.policy_hash);
    let behind: Vec<&str> = facts.replicas.iter().filter(behind).map(|replica| replica.name.as_str()).collect();
    if !behind.is_empty() {
        return no("ReplicasBehind", format!("replicas that have not seen it yet: {}", list(&behind)));
    }
    if facts.denies && !applied.armed {
        return no("NotArmed", "the webhook has not been reached through the API server yet".to_owned());
    }
    if let Some(missing) = unreached(facts.report, facts.replicas).filter(|_| applied.armed) {
        return no("ProbeFailed", format!("replicas that the API server cannot reach: {}", list(&missing)));
    }
    Wanted::yes("Programmed", "Programmed", format!("all {} ready replicas serve it", facts.replicas.len()))
}

fn enforcing(facts: &Facts<'_>, programmed: &Wanted) -> Wanted {
    let no = |reason, message: &str| Wanted::no("Enforcing", reason, message);
    if let Err(Unaccepted::NotInForce(why)) = &facts.accepted {
        return no("NotInForce", why);
    }
    if !facts.denies {
        return no("NothingDenied", "validationActions does not contain Deny: violations get in");
    }
    if facts.unknown_admits {
        return no("UnknownAdmits", "unknown is weaker than Deny, and tenants can make any model unknown: remove it");
    }
    match (programmed.holds, programmed.reason) {
        (Some(true), _) => Wanted::yes("Enforcing", "Enforcing", "nothing that violates it, or is unknown, gets in"),
        // Requests that do not reach the webhook are refused.
        (_, "ProbeFailed") => Wanted::yes("Enforcing", "FailingClosed", "requests that cannot be judged are refused"),
        (_, "NotArmed") => no("NotArmed", "requests pass while the webhook is out of reach: it is not armed yet"),
        _ => no("NotProgrammed", &programmed.message),
    }
}

fn hardened(facts: &Facts<'_>) -> Wanted {
    if !facts.denies {
        return Wanted::yes("Hardened", "NothingDenied", "it refuses nothing, so nothing needs to withstand it");
    }
    if facts.weak_namespaces.is_empty() {
        let message = "every namespace that it matches enforces Pod Security baseline or restricted";
        return Wanted::yes("Hardened", "PodSecurityEnforced", message);
    }
    let message = format!(
        "privileged Pods can get round it in: {}; label them pod-security.kubernetes.io/enforce: baseline",
        list(&facts.weak_namespaces)
    );
    Wanted::no("Hardened", "PodSecurityWeak", message)
}

fn selection(facts: &Facts<'_>) -> Wanted {
    if facts.selection_by_tenant {
        let message =
            "it selects or excludes by claim labels or mount paths, which those who make claims and Pods choose";
        return Wanted::yes("SelectionByTenant", "TenantChooses", message);
    }
    Wanted::no("SelectionByTenant", "ClusterChooses", "tenants cannot change what it selects by")
}

/// Whether it is about anything, and about all that it seems to be about.
fn effective(facts: &Facts<'_>) -> Wanted {
    let no = |reason, message: String| Wanted::no("Effective", reason, message);
    if let Err(Unaccepted::NotInForce(why)) = &facts.accepted {
        return no("NotInForce", why.clone());
    }
    if !facts.ended_authorities.is_empty() {
        let ended = list(&facts.ended_authorities);
        return no("AuthorityEnded", format!("all roots have ended, so that no signature counts, of: {ended}"));
    }
    if facts.namespaces == 0 {
        return no("NoNamespace", "no namespace has labels that match.namespaceSelector selects".to_owned());
    }
    let namespaces = facts.namespaces;
    match facts.tally.as_ref().map(|tally| tally.counts.matched) {
        None => Wanted::unknown("Effective", "NotCounted", "workloads have not been counted yet"),
        Some(0) => {
            let message =
                format!("no workload in the {namespaces} namespaces that it matches uses a model that it selects");
            no("NoModel", message)
        }
        Some(matched) => {
            let message = format!("{matched} workloads in {namespaces} namespaces use models that it selects");
            Wanted::yes("Effective", "Effective", message)
        }
    }
}

/// Replicas that the last probe missed and that are still there.
fn unreached<'a>(report: Option<&Report>, replicas: &'a [Replica]) -> Option<Vec<&'a str>> {
    let missing: &BTreeSet<String> = &report?.missing;
    let names: Vec<&str> = replicas.iter().map(|it| it.name.as_str()).filter(|name| missing.contains(*name)).collect();
    (!names.is_empty()).then_some(names)
}

fn list(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn replica(name: &str, hash: &str) -> Replica {
        Replica { name: name.to_owned(), policy_hash: Some(hash.to_owned()), stores: None }
    }

    fn applied(armed: bool, generation: i64) -> Applied {
        Applied { armed, policies: BTreeMap::from([(production(), generation)]), ..Applied::default() }
    }

    fn report(missing: &[&str]) -> Report {
        let missing = missing.iter().map(|name| (*name).to_owned()).collect();
        Report { configuration: "u".to_owned(), reached: BTreeSet::from(["a".to_owned()]), missing, error: None }
    }

    fn production() -> PolicyName {
        PolicyName::Cluster("production".to_owned())
    }

    fn facts<'a>(name: &'a PolicyName, replicas: &'a [Replica], applied: &'a Applied) -> Facts<'a> {
        Facts {
            name,
            generation: 2,
            accepted: Ok(()),
            denies: true,
            unknown_admits: false,
            selection_by_tenant: false,
            weak_namespaces: Vec::new(),
            namespaces: 2,
            ended_authorities: Vec::new(),
            tally: None,
            replicas,
            policy_hash: "now",
            applied: Some(applied),
            report: None,
        }
    }

    /// Status and reason of each condition, as a person would read them.
    fn read(facts: &Facts<'_>) -> String {
        let word = |wanted: &Wanted| match wanted.holds {
            Some(true) => format!("{}={}", wanted.kind, wanted.reason),
            _ => format!("{}!={}", wanted.kind, wanted.reason),
        };
        conditions(facts)[..3].iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn programmed_and_enforcing() {
        let name = production();
        let (current, behind) =
            (vec![replica("a", "now"), replica("b", "now")], vec![replica("a", "now"), replica("b", "old")]);
        let (armed, unarmed, older) = (applied(true, 2), applied(false, 2), applied(true, 1));
        let missed = report(&["b"]);
        let gone = report(&["c"]);
        let base = facts(&name, &current, &armed);
        let rows = [
            (base.clone(), "Accepted=Accepted Programmed=Programmed Enforcing=Enforcing"),
            (
                Facts { accepted: Err(Unaccepted::Invalid("no key".to_owned())), ..base.clone() },
                "Accepted!=PolicyInvalid Programmed=Programmed Enforcing=Enforcing",
            ),
            (
                Facts { accepted: Err(Unaccepted::NotInForce("too many".to_owned())), ..base.clone() },
                "Accepted!=NotInForce Programmed!=NotInForce Enforcing!=NotInForce",
            ),
            (
                Facts { applied: None, ..base.clone() },
                "Accepted=Accepted Programmed!=WebhookNotApplied Enforcing!=NotProgrammed",
            ),
            (
                facts(&name, &current, &older),
                "Accepted=Accepted Programmed!=WebhookNotApplied Enforcing!=NotProgrammed",
            ),
            (facts(&name, &[], &armed), "Accepted=Accepted Programmed!=NoReplicas Enforcing!=NotProgrammed"),
            (facts(&name, &behind, &armed), "Accepted=Accepted Programmed!=ReplicasBehind Enforcing!=NotProgrammed"),
            (facts(&name, &current, &unarmed), "Accepted=Accepted Programmed!=NotArmed Enforcing!=NotArmed"),
            (
                Facts { denies: false, ..facts(&name, &current, &unarmed) },
                "Accepted=Accepted Programmed=Programmed Enforcing!=NothingDenied",
            ),
            (
                Facts { unknown_admits: true, ..base.clone() },
                "Accepted=Accepted Programmed=Programmed Enforcing!=UnknownAdmits",
            ),
            (
                Facts { report: Some(&missed), ..base.clone() },
                "Accepted=Accepted Programmed!=ProbeFailed Enforcing=FailingClosed",
            ),
            (
                Facts { report: Some(&gone), ..base.clone() },
                "Accepted=Accepted Programmed=Programmed Enforcing=Enforcing",
            ),
        ];
        for (facts, wanted) in rows {
            assert_eq!(read(&facts), wanted);
        }
    }

    #[test]
    fn weak_namespaces_are_named_and_counted() {
        let (name, replicas, applied) = (production(), vec![replica("a", "now")], applied(true, 2));
        let weak =
            Facts { weak_namespaces: vec!["a", "b", "c", "d", "e", "f", "g"], ..facts(&name, &replicas, &applied) };
        let found = &conditions(&weak)[3];
        assert_eq!((found.holds, found.reason), (Some(false), "PodSecurityWeak"));
        assert!(found.message.contains("in: a, b, c, d, e and 2 more;"), "{}", found.message);
        let lax = Facts { denies: false, ..weak };
        assert_eq!(conditions(&lax)[3].holds, Some(true));
    }

    #[test]
    fn what_a_policy_is_about_is_said() {
        let (name, replicas, applied) = (production(), vec![replica("a", "now")], applied(true, 2));
        let base = facts(&name, &replicas, &applied);
        let counted = |matched| {
            let mut tally = Tally::default();
            tally.counts.matched = matched;
            Some(tally)
        };
        for (facts, wanted) in [
            (base.clone(), (None, "NotCounted")),
            (Facts { tally: counted(0), ..base.clone() }, (Some(false), "NoModel")),
            (Facts { tally: counted(3), ..base.clone() }, (Some(true), "Effective")),
            (Facts { namespaces: 0, tally: counted(0), ..base.clone() }, (Some(false), "NoNamespace")),
            (Facts { ended_authorities: vec!["pki"], tally: counted(3), ..base }, (Some(false), "AuthorityEnded")),
        ] {
            let found = &conditions(&facts)[5];
            assert_eq!((found.holds, found.reason), wanted, "{}", found.message);
        }
    }

    #[test]
    fn selection_by_tenant_is_said() {
        let (name, replicas, applied) = (production(), vec![replica("a", "now")], applied(true, 2));
        let facts = Facts { selection_by_tenant: true, ..facts(&name, &replicas, &applied) };
        assert_eq!(conditions(&facts)[4].holds, Some(true));
    }
}
