//! What to do about some codes, for the layers that say the same about one: the verifier in a report, the gate in a denial.

use crate::model::is_git_path;

/// About signed files that are missing or altered.
pub const OF_MISMATCH: &str = "put the signed files back, or sign the model again";

/// About files that nobody signed.
pub const OF_UNSIGNED: &str = "remove them, or sign the model with them";

/// About files in a volume that nobody signed, where these are all of them. Git's are seldom left out on purpose; whoever
/// finds anything else among them is not told to let it pass.
pub fn of_unsigned<'a>(names: impl IntoIterator<Item = &'a str>) -> &'static str {
    let mut names = names.into_iter().peekable();
    if names.peek().is_some() && names.all(is_git_path) {
        "remove or ignore them, or sign with --no-ignore-git-paths"
    } else {
        OF_UNSIGNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_gits_files_is_not_let_pass_with_them() {
        assert!(of_unsigned([".gitattributes", ".git/HEAD"]).contains("--no-ignore-git-paths"));
        assert_eq!(of_unsigned([".gitattributes", "payload.py"]), OF_UNSIGNED);
        assert_eq!(of_unsigned([]), OF_UNSIGNED);
    }
}
