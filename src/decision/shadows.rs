//! Whether something hides, or could hide, a part of a model.

use super::content::Content;
use super::{Finding, Found, waiting_cures};
use crate::api::v1alpha1::UseCode;
use crate::workload::{Access, ModelUse, Shadow, ShadowedBy, Stage};

/// Finds the first thing that hides a part of a use. A mount below it that is itself a Verified, read-only use hides
/// nothing that was not signed; on a template that may still become so. `contents` are those of all uses; the ones that
/// the policy does not select are `None`.
pub(super) fn check(
    stage: Stage,
    uses: &[ModelUse],
    model_use: &ModelUse,
    contents: &[Option<Content>],
) -> Option<Found> {
    let fine = |content: &Content| match stage {
        Stage::Pod => content.is_verified(),
        Stage::Template => content.finding().is_none_or(|(code, _)| waiting_cures(code)),
    };
    let harmless = |shadow: &&Shadow| match shadow.by {
        ShadowedBy::Mount | ShadowedBy::OtherName | ShadowedBy::Propagation => false,
        ShadowedBy::Use(index) => {
            let fine = contents.get(index).and_then(Option::as_ref).is_some_and(fine);
            fine && uses.get(index).is_some_and(|other| other.access == Access::ReadOnly)
        }
    };
    let shadow = model_use.shadows.iter().find(|shadow| !harmless(shadow))?;
    let finding = match shadow.by {
        ShadowedBy::Propagation => Finding {
            what: "mount propagation could hide a part of the model".to_owned(),
            fix: "remove mountPropagation from this mount".to_owned(),
            detail: None,
        },
        ShadowedBy::OtherName => Finding {
            what: "one file is mounted at another path than the one by which it was signed".to_owned(),
            fix: "mount its folder, or the file under its own name".to_owned(),
            detail: None,
        },
        ShadowedBy::Mount | ShadowedBy::Use(_) => Finding {
            what: format!("{} hides a part of the model", shadow.at),
            fix: "mount it outside of the model's path".to_owned(),
            detail: None,
        },
    };
    Some((UseCode::Shadowed.into(), finding))
}
