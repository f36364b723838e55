//! Who may mount a model so that it can be written.

use super::{Finding, Found};
use crate::api::v1alpha1::UseCode;
use crate::model::shown;
use crate::policy::CompiledPolicy;
use crate::workload::{Access, ContainerKind, ModelUse, Subject};

/// As what a use is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It cannot write.
    Reader,
    /// It can, and its account is one that may: nothing needs to be known of the content.
    Writer,
    /// It can, and the policy asks nobody to mount models read-only: the content counts as for a reader.
    WritingReader,
    /// It can, and may not.
    Intruder,
}

/// As what a use is judged under a policy. Only a claim has writers: elsewhere nobody could say when it was written. An
/// ephemeral container never is one: it comes without a Pod that anybody could wait for.
///
/// What a writer's container fetches by itself goes into the claim that it writes, and is judged when that is read.
pub(super) fn role(policy: &CompiledPolicy, subject: &Subject, uses: &[ModelUse], model_use: &ModelUse) -> Role {
    let is_writer = || policy.content.writers.contains(&subject.service_account);
    if model_use.mount().is_none() && is_writer() && writes_a_claim(uses, model_use) {
        return Role::Writer;
    }
    if model_use.access == Access::ReadOnly {
        return Role::Reader;
    }
    if model_use.container.kind == ContainerKind::Ephemeral {
        return Role::Intruder;
    }
    if is_writer() {
        return if model_use.claim().is_some() { Role::Writer } else { Role::WritingReader };
    }
    if policy.content.read_only { Role::Intruder } else { Role::WritingReader }
}

/// Whether the container of a use, one of the Pod's own, may write to a claim.
fn writes_a_claim(uses: &[ModelUse], model_use: &ModelUse) -> bool {
    let own = model_use.container.kind != ContainerKind::Ephemeral;
    let writes =
        |other: &ModelUse| other.mount().is_some() && other.claim().is_some() && other.access == Access::ReadWrite;
    own && uses.iter().any(|other| other.container == model_use.container && writes(other))
}

/// Whether the use may write what it can write.
pub(super) fn check(policy: &CompiledPolicy, subject: &Subject, model_use: &ModelUse, role: Role) -> Option<Found> {
    if role != Role::Intruder {
        return None;
    }
    let (what, fix) = match &model_use.privileged_by {
        Some(field) => (
            format!("{field} lets the Pod write the model, however it is mounted"),
            "remove that privilege, or mount the model in a Pod without it".to_owned(),
        ),
        None => ("the container may write the model".to_owned(), "set readOnly: true on this mount".to_owned()),
    };
    let account_matters = model_use.container.kind != ContainerKind::Ephemeral;
    if policy.content.writers.is_empty() || !account_matters {
        return Some((UseCode::Writable.into(), Finding { what, fix, detail: None }));
    }
    let what = format!("{what}, and service account \"{}\" is no writer", shown(&subject.service_account));
    Some((UseCode::WriterNotAllowed.into(), Finding { what, fix, detail: None }))
}
