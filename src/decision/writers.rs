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

/// As what a use is judged under a policy. Only a claim has writers: elsewhere nobody could say when it was written. Of a
/// claim that one of its containers may write the whole Pod is a writer: it fills what it reads. An ephemeral container
/// never makes it one: it comes without a Pod that anybody could wait for.
///
/// What a writer's container fetches by itself goes into the claim that it writes, and is judged when that is read.
pub(super) fn role(policy: &CompiledPolicy, subject: &Subject, uses: &[ModelUse], model_use: &ModelUse) -> Role {
    let may_write = policy.content.writers.contains(&subject.service_account);
    if model_use.mount().is_none() && may_write && writes_a_claim(uses, model_use) {
        return Role::Writer;
    }
    if model_use.access == Access::ReadOnly {
        let fills = model_use.claim().is_some_and(|claim| uses.iter().any(|it| writes(it, claim)));
        return if may_write && fills { Role::Writer } else { Role::Reader };
    }
    if is_ephemeral(model_use) {
        return Role::Intruder;
    }
    if may_write {
        return if model_use.claim().is_some() { Role::Writer } else { Role::WritingReader };
    }
    if policy.content.read_only { Role::Intruder } else { Role::WritingReader }
}

/// Whether the container of a use, one of the Pod's own, may write to a claim.
fn writes_a_claim(uses: &[ModelUse], model_use: &ModelUse) -> bool {
    let of_same = |it: &&ModelUse| it.container == model_use.container;
    !is_ephemeral(model_use) && uses.iter().filter(of_same).any(|it| it.claim().is_some_and(|claim| writes(it, claim)))
}

/// Whether one of the Pod's own containers may write to a claim by this use.
fn writes(model_use: &ModelUse, claim: &str) -> bool {
    let mounts = model_use.mount().is_some() && model_use.claim() == Some(claim);
    mounts && model_use.access == Access::ReadWrite && !is_ephemeral(model_use)
}

/// Whether it is an ephemeral container that mounts, or that lets the others write.
fn is_ephemeral(model_use: &ModelUse) -> bool {
    let list = format!("{}[", ContainerKind::Ephemeral.field());
    model_use.container.kind == ContainerKind::Ephemeral
        || model_use.privileged_by.as_ref().is_some_and(|field| field.0.contains(&list))
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
    if policy.content.writers.is_empty() || is_ephemeral(model_use) {
        return Some((UseCode::Writable.into(), Finding { what, fix, detail: None }));
    }
    let what = format!("{what}, and service account \"{}\" is no writer", shown(&subject.service_account));
    Some((UseCode::WriterNotAllowed.into(), Finding { what, fix, detail: None }))
}
