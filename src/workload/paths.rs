//! Paths in containers and in claims, made comparable.

use std::fmt::Write as _;

/// The longest path in a claim that a record can name (the schema of `ModelVerification`).
const MAX_CLAIM_PATH: usize = 1024;

/// The path at which a container sees a mount: absolute, with `.` and `..` resolved by text alone, as the kubelet and
/// the container runtime do before they mount.
pub fn mount_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for part in &parts {
        let _ = write!(out, "/{part}");
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// A path in a claim: relative, without empty components and `.`. `None` if it holds `..` or is longer than a record
/// can name.
pub(super) fn claim_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let path = parts.join("/");
    (!parts.contains(&"..") && path.len() <= MAX_CLAIM_PATH).then_some(path)
}

/// Whether a normalised path is another one, or lies below it, by components. Both absolute, or both relative.
pub fn is_at_or_below(path: &str, root: &str) -> bool {
    let root = root.trim_end_matches('/');
    root.is_empty() || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_are_absolute_and_plain() {
        for (given, expected) in [
            ("/models", "/models"),
            ("/models/", "/models"),
            ("//models/./a/../b", "/models/b"),
            ("models", "/models"),
            ("/../..", "/"),
            ("", "/"),
        ] {
            assert_eq!(mount_path(given), expected, "{given}");
        }
    }

    #[test]
    fn claim_paths_are_relative_and_stay_inside() {
        for (given, expected) in [
            ("", Some("")),
            ("/", Some("")),
            ("./a//b/", Some("a/b")),
            ("a/..", None),
            ("..", None),
            ("..a", Some("..a")),
        ] {
            assert_eq!(claim_path(given).as_deref(), expected, "{given}");
        }
        assert_eq!(claim_path(&"a".repeat(MAX_CLAIM_PATH + 1)), None);
    }

    #[test]
    fn below_goes_by_components() {
        assert!(is_at_or_below("/a/b", "/a"));
        assert!(is_at_or_below("/a", "/a"));
        assert!(is_at_or_below("/a", "/"));
        assert!(is_at_or_below("a/b", ""));
        assert!(!is_at_or_below("/ab", "/a"));
        assert!(!is_at_or_below("/a", "/a/b"));
    }
}
