//! What a policy forbids because it is dangerous in itself, whatever the model is.

use super::text::remedy;
use super::{Finding, Found};
use crate::api::v1alpha1::{Forbidden, UseCode};
use crate::model::shown;
use crate::policy::CompiledPolicy;
use crate::workload::{FieldPath, Hazard, ModelUse};

/// What the policy forbids and the use's container has, each with its own place in the object.
pub(super) fn of_container(policy: &CompiledPolicy, model_use: &ModelUse) -> Vec<(FieldPath, Found)> {
    let forbidden = model_use.hazards.iter().filter(|hazard| policy.content.forbid.contains(&hazard.kind));
    forbidden.map(|hazard| (hazard.at.clone(), (UseCode::from(hazard.kind).into(), finding(hazard)))).collect()
}

/// Whether the policy forbids references that can point elsewhere tomorrow, and this is one.
pub(super) fn of_reference(policy: &CompiledPolicy, model_use: &ModelUse) -> Option<Found> {
    let forbidden = policy.content.forbid.contains(&Forbidden::MutableReference);
    let reference = model_use.source.mutable_reference().filter(|_| forbidden)?;
    let what = format!("\"{}\" can point to something else tomorrow", shown(&reference));
    let code = UseCode::MutableReference.into();
    Some((code, Finding { what, fix: remedy(code).to_owned(), detail: None }))
}

fn finding(hazard: &Hazard) -> Finding {
    let code = UseCode::from(hazard.kind);
    let (verb, consequence) = match hazard.kind {
        Forbidden::RemoteCode => ("run", "code that comes with the model"),
        Forbidden::RuntimeAdapters => ("load", "models or adapters on request, which no admission sees"),
        Forbidden::DeveloperMode => ("offer", "functions for developers, which can change it while it runs"),
        Forbidden::HubRedirect => ("fetch", "models from another hub than their names are of"),
        Forbidden::MutableReference => ("use", "a reference that can point to something else tomorrow"),
    };
    let by = shown(&hazard.by);
    if hazard.certain {
        let what = format!("{by} makes the server {verb} {consequence}");
        return Finding { what, fix: remedy(code.into()).to_owned(), detail: None };
    }
    Finding {
        what: format!("{by} may be set here, and would make the server {verb} {consequence}"),
        fix: "set it to a value of its own under env".to_owned(),
        detail: None,
    }
}
