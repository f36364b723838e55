//! Several models below one folder: where they are, and that nothing lies beside them.
//!
//! A folder that neither holds a bundle nor lies below one may hold models, each in a folder with a bundle of its own.
//! Here they are found, and no file is read: each model is read by a run for itself. The outermost folder with a bundle
//! is a model, and whatever lies in it is a part of it, bundles further down included: so every file belongs to exactly
//! one bundle, or to none, which is refused.

use std::cell::RefCell;

use super::finding::Finding;
use super::locate::{candidates, is_system_folder};
use crate::api::v1alpha1::{MAX_PARTS, RefusedCode, UnknownCode};
use crate::model::{Folder, Kind, Links, ResourceName, Visit, shown, walk};

/// The most that the paths of the models may take, in bytes of JSON: what a report has room for beside what it always
/// says.
const MAX_PATHS_BYTES: usize = 1400;

/// The models below a folder, sorted, by their paths beneath the request's root; none where no bundle lies below it.
pub(super) fn survey(root: &Folder, at: &ResourceName) -> Result<Vec<ResourceName>, Finding> {
    let folder = root.folder(at)?;
    let models: RefCell<Vec<ResourceName>> = RefCell::default();
    let failed: RefCell<Option<Finding>> = RefCell::default();
    let leave_out = |visit: &Visit<'_>| {
        if visit.kind != Kind::Folder || failed.borrow().is_some() {
            return false;
        }
        if at.is_root() && visit.owner == 0 && is_system_folder(visit.name, visit.kind) {
            return true;
        }
        match holds_bundle(&folder, visit.name) {
            Ok(false) => false,
            Ok(true) => {
                models.borrow_mut().push(visit.name.clone());
                true
            }
            Err(finding) => {
                failed.borrow_mut().get_or_insert(finding);
                true
            }
        }
    };
    let walked = walk(&folder, Links::Refuse, &leave_out);
    if let Some(finding) = failed.into_inner() {
        return Err(finding);
    }
    let models = models.into_inner();
    if models.is_empty() {
        return Ok(models);
    }
    let tree = walked?;
    let mut beside = tree.unsignable;
    tree.files.iter().for_each(|file| beside.add(file.name.as_str()));
    if !beside.is_empty() {
        let message = format!(
            "files lie beside the models in `{}` and belong to none: {beside}; remove them, or sign them with a model",
            shown(at.as_str())
        );
        return Err(Finding::new(RefusedCode::UnsignedFiles, message));
    }
    let mut paths: Vec<ResourceName> = models.iter().filter_map(|name| at.join(name).ok()).collect();
    paths.sort();
    let bytes: usize =
        paths.iter().map(|path| serde_json::to_string(path.as_str()).map_or(0, |json| json.len() + 1)).sum();
    if paths.len() != models.len() || paths.len() > MAX_PARTS || bytes > MAX_PATHS_BYTES {
        let message = format!(
            "`{}` holds {} models, and no more than {MAX_PARTS} with {MAX_PATHS_BYTES} bytes of paths can be told apart; \
             mount them one by one",
            shown(at.as_str()),
            models.len()
        );
        return Err(Finding::new(UnknownCode::TooLarge, message));
    }
    Ok(paths)
}

fn holds_bundle(folder: &Folder, name: &ResourceName) -> Result<bool, Finding> {
    Ok(!candidates(&folder.folder(name)?)?.is_empty())
}
