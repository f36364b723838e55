//! Whether a policy lets lie in a model what nobody signed, and symbolic links.
//!
//! Receives what a read found, which is the same whatever policies say. It never lets a signed file differ: a read that
//! found more than files beside what was signed says nothing here.

use super::records::leaves_out;
use super::{Facts, Finding, ModelFacts};
use crate::api::remedy;
use crate::api::v1alpha1::{Detail, RefusedCode, UnsignedFiles};
use crate::model::shown;
use crate::policy::{CompiledPolicy, IgnoredPaths};
use crate::workload::is_at_or_below;

/// How many paths a sentence names before it counts the rest.
const NAMED_PATHS: usize = 3;

/// Whether what is not signed may lie there.
pub fn check_unsigned(ignored: &IgnoredPaths, unsigned: &UnsignedFiles) -> Result<(), (RefusedCode, Finding)> {
    let UnsignedFiles { paths, more } = unsigned;
    let others: Vec<&str> = paths.iter().map(String::as_str).filter(|path| !ignored.contain(path)).collect();
    if others.is_empty() && !more {
        return Ok(());
    }
    let first = others.iter().take(NAMED_PATHS).map(|path| shown(path)).collect::<Vec<String>>().join(", ");
    let what = match (others.len().saturating_sub(NAMED_PATHS), more) {
        (0, false) => format!("not signed, and not in the policy's content.ignorePaths: {first}"),
        (left, false) => format!("not signed, and not in the policy's content.ignorePaths: {first} and {left} more"),
        (_, true) if first.is_empty() => "more is not signed than a record can name".to_owned(),
        (_, true) => format!("more is not signed than a record can name, such as {first}"),
    };
    let fix = if *more { remedy::OF_UNSIGNED } else { remedy::of_unsigned(others) };
    Err((RefusedCode::UnsignedFiles, Finding { what, fix: fix.to_owned(), detail: None }))
}

/// Whether symbolic links may lie there, as many as were counted; of a signer who followed none, none was.
pub fn check_links(
    policy: &CompiledPolicy,
    signer_followed: bool,
    count: Option<u64>,
) -> Result<(), (RefusedCode, Finding)> {
    if !signer_followed || count == Some(0) || policy.content.allow_symlinks {
        return Ok(());
    }
    let what = "symbolic links lie in the model, and the policy does not allow them".to_owned();
    let fix = "put the files in place of the links, and sign the model again".to_owned();
    Err((RefusedCode::SymlinkNotAllowed, Finding { what, fix, detail: None }))
}

/// Whether a path of a volume, at or below a model's root, is a part of what was signed.
pub(super) fn check_part(model: &ModelFacts, path: &str) -> Result<(), (RefusedCode, Finding)> {
    let within = path.strip_prefix(model.path.as_str()).unwrap_or(path).trim_matches('/');
    if within.is_empty() {
        return Ok(());
    }
    let refused = |what: String| {
        let fix = "use a part of the model that is signed".to_owned();
        Err((RefusedCode::UnsignedFiles, Finding { what, fix, detail: None }))
    };
    if leaves_out(&model.path, within) {
        return refused(format!(
            "`{}` lies in a folder of the file system's own, which nobody compares",
            shown(within)
        ));
    }
    // Around the part, or in it: a folder of which only files are named may hold nothing else.
    let near = |unsigned: &&String| is_at_or_below(within, unsigned) || is_at_or_below(unsigned, within);
    if let Some(unsigned) = model.unsigned.iter().find(near) {
        return refused(format!("`{}` lies in the model, and nobody signed it", shown(unsigned)));
    }
    // Where a link leads that lies in a part, the whole tells; seen from the part it may lead out.
    if model.has_links {
        let what = format!("`{}` is a part of a model with symbolic links, which may lead out of it", shown(within));
        let fix = "use the model as a whole".to_owned();
        return Err((RefusedCode::SymlinkNotAllowed, Finding { what, fix, detail: Some(Detail::PathEscapes) }));
    }
    Ok(())
}

/// Whether a path that an argument names in a mount whose models these are is signed: what a policy lets lie there
/// unsigned is not, and a link could lead there; what lies in a folder of the file system's own was not compared.
pub(super) fn check_named(facts: &Facts, path: &str) -> Result<(), (RefusedCode, Finding)> {
    let around = facts.models.iter().filter(|model| is_at_or_below(path, &model.path));
    let is_to_check = |model: &&ModelFacts| !model.unsigned.is_empty() || leaves_out(&model.path, path);
    around.filter(is_to_check).try_for_each(|model| check_part(model, path))
}
