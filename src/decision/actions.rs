//! What follows from a finding.

use super::{Action, Found, Violation};
use crate::api::v1alpha1::{Code, UnknownAction, UnknownCode, ValidationAction};
use crate::policy::{Actions, CompiledPolicy};
use crate::workload::{FieldPath, Stage};

/// The findings about a place in an object as violations of a policy.
pub(super) fn violations(policy: &CompiledPolicy, stage: Stage, at: &FieldPath, findings: &[Found]) -> Vec<Violation> {
    let of = |(code, finding): &Found| {
        let (action, audit) = follows(policy.actions, stage, *code);
        Violation { policy: policy.name.clone(), at: at.clone(), code: *code, finding: finding.clone(), action, audit }
    };
    findings.iter().map(of).collect()
}

/// The strongest action that applies to a code, and whether it goes to the audit log as well. On a template an Unknown
/// only warns: the volume may not exist yet.
fn follows(actions: Actions, stage: Stage, code: Code) -> (Action, bool) {
    let strongest = match actions.strongest {
        ValidationAction::Audit => Action::Audit,
        ValidationAction::Warn => Action::Warn,
        ValidationAction::Deny => Action::Deny,
    };
    let Code::Unknown(unknown) = code else { return (strongest, actions.audit) };
    let action = match actions.unknown {
        None => strongest,
        Some(UnknownAction::Audit) => Action::Audit,
        Some(UnknownAction::Warn) => Action::Warn,
        Some(UnknownAction::Hold) if can_end(unknown) => Action::Hold,
        Some(UnknownAction::Hold | UnknownAction::Deny) => Action::Deny,
    };
    let audit = actions.audit || action == Action::Audit;
    match stage {
        Stage::Pod => (action, audit),
        Stage::Template => (action.min(Action::Warn), audit),
    }
}

/// Whether this can come to an end for a Pod as it is: by itself, or by what somebody puts right elsewhere. A Pod that
/// could only be made anew is not held.
fn can_end(unknown: UnknownCode) -> bool {
    match unknown {
        UnknownCode::NotVerifiedYet
        | UnknownCode::Verifying
        | UnknownCode::Stale
        | UnknownCode::SourceMissing
        | UnknownCode::BeingWritten
        | UnknownCode::Unreadable
        | UnknownCode::RegistryUnavailable
        | UnknownCode::TrustUnavailable
        | UnknownCode::VerifierBlocked
        | UnknownCode::VerifierFailed
        | UnknownCode::PolicyInvalid
        | UnknownCode::IndexStale => true,
        UnknownCode::RegistryUnauthorized | UnknownCode::TooLarge | UnknownCode::NotVerifiable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{RefusedCode, UseCode};

    #[test]
    fn what_follows_from_what() {
        use Stage::{Pod, Template};
        use ValidationAction::{Audit, Deny, Warn};
        let unknown: Code = UnknownCode::NotVerifiedYet.into();
        let refused: Code = RefusedCode::Unsigned.into();
        let writable: Code = UseCode::Writable.into();
        for (strongest, audit, weaker, stage, code, expected) in [
            (Deny, false, None, Pod, refused, (Action::Deny, false)),
            (Deny, false, None, Template, refused, (Action::Deny, false)),
            (Deny, true, None, Template, writable, (Action::Deny, true)),
            (Deny, false, None, Pod, unknown, (Action::Deny, false)),
            (Deny, false, None, Template, unknown, (Action::Warn, false)),
            (Deny, false, Some(UnknownAction::Warn), Pod, unknown, (Action::Warn, false)),
            (Deny, false, Some(UnknownAction::Warn), Pod, refused, (Action::Deny, false)),
            (Deny, false, Some(UnknownAction::Audit), Template, unknown, (Action::Audit, true)),
            (Deny, false, Some(UnknownAction::Hold), Pod, unknown, (Action::Hold, false)),
            (Deny, true, Some(UnknownAction::Hold), Pod, UnknownCode::PolicyInvalid.into(), (Action::Hold, true)),
            (Deny, false, Some(UnknownAction::Hold), Pod, UnknownCode::Unreadable.into(), (Action::Hold, false)),
            (Deny, false, Some(UnknownAction::Hold), Pod, UnknownCode::NotVerifiable.into(), (Action::Deny, false)),
            (Deny, false, Some(UnknownAction::Hold), Pod, UnknownCode::TooLarge.into(), (Action::Deny, false)),
            (Deny, false, Some(UnknownAction::Hold), Pod, refused, (Action::Deny, false)),
            (Deny, false, Some(UnknownAction::Hold), Pod, writable, (Action::Deny, false)),
            (Deny, false, Some(UnknownAction::Hold), Template, unknown, (Action::Warn, false)),
            (Warn, false, Some(UnknownAction::Deny), Template, unknown, (Action::Warn, false)),
            (Warn, true, None, Pod, unknown, (Action::Warn, true)),
            (Audit, true, None, Pod, refused, (Action::Audit, true)),
        ] {
            let actions = Actions { strongest, audit, unknown: weaker };
            assert_eq!(follows(actions, stage, code), expected, "{strongest:?} {weaker:?} {stage:?} {code}");
        }
    }
}
