//! Names of files in a model: relative paths that mean the same on every machine.

use std::cmp::Ordering;
use std::fmt;

/// The longest name that is accepted, in bytes: what Linux accepts as a path (`PATH_MAX`, less the final NUL). A file
/// with a longer name could be signed, but not opened by that name.
pub const MAX_NAME_BYTES: usize = 4095;

/// The path of a file or folder relative to the model's root, with `/` between its components.
///
/// It never leads out of the root: no `..`, no leading `/`, no NUL, no backslash, no empty or `.` component. The one
/// exception is the name `.` alone, which is the root itself: what OMS calls the file of a single-file model.
/// Names are ordered by their components, as the reference orders them: `a/b` comes before `a.b`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResourceName(Box<str>);

/// Why text is not a name that a model may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or two slashes follow each other, or the last one ends it.
    #[error("has an empty component")]
    Empty,
    /// It begins with a slash.
    #[error("is absolute")]
    Absolute,
    /// A component is `..`.
    #[error("contains `..`")]
    Parent,
    /// A component is `.`, and the name is more than that.
    #[error("contains the component `.`")]
    Current,
    /// It contains a backslash, which separates components elsewhere.
    #[error("contains a backslash")]
    Backslash,
    /// It contains a NUL.
    #[error("contains a NUL character")]
    Nul,
    /// It is longer than [`MAX_NAME_BYTES`].
    #[error("is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
}

impl ResourceName {
    /// Checks the rules above.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(ResourceName(text.into()))
    }

    /// The root itself, `.`.
    pub fn root() -> Self {
        ResourceName(".".into())
    }

    /// Whether it is the root itself.
    pub fn is_root(&self) -> bool {
        &*self.0 == "."
    }

    /// The name as OMS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component; for the root, `.`.
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder that it lies in, or nothing for the root itself.
    pub fn parent(&self) -> Option<ResourceName> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or_else(ResourceName::root, |(parent, _)| ResourceName(parent.into())))
    }

    /// Its name in the folder that it lies in.
    pub(super) fn in_parent(&self) -> ResourceName {
        ResourceName(self.base().into())
    }

    /// Whether it is a name in this folder itself, not further below.
    pub(super) fn is_one_component(&self) -> bool {
        !self.0.contains('/')
    }

    /// `name` below this folder.
    pub fn join(&self, name: &ResourceName) -> Result<ResourceName, NameError> {
        match (self.is_root(), name.is_root()) {
            (true, _) => Ok(name.clone()),
            (_, true) => Ok(self.clone()),
            _ => ResourceName::parse(&format!("{self}/{name}")),
        }
    }

    /// Whether it is `folder` itself or lies somewhere below it.
    pub fn is_at_or_below(&self, folder: &ResourceName) -> bool {
        folder.is_root()
            || self.0.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    if text.contains('\0') {
        return Err(NameError::Nul);
    }
    if text.contains('\\') {
        return Err(NameError::Backslash);
    }
    if text.starts_with('/') {
        return Err(NameError::Absolute);
    }
    if text == "." {
        return Ok(());
    }
    text.split('/').try_for_each(|component| match component {
        "" => Err(NameError::Empty),
        "." => Err(NameError::Current),
        ".." => Err(NameError::Parent),
        _ => Ok(()),
    })
}

impl Ord for ResourceName {
    /// Byte by byte, except that `/` comes before any other byte of a name: a component that ends is less than one that
    /// goes on, and no component is empty. Models are looked up by name, so that this is asked for millions of times.
    fn cmp(&self, other: &Self) -> Ordering {
        let (bytes, others) = (self.0.as_bytes(), other.0.as_bytes());
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        match bytes.iter().zip(others).find(|(byte, other)| byte != other) {
            Some((byte, other)) => rank(*byte).cmp(&rank(*other)),
            None => bytes.len().cmp(&others.len()),
        }
    }
}

impl PartialOrd for ResourceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::parse(text).unwrap()
    }

    #[test]
    fn names_that_a_model_may_not_have() {
        for (text, error) in [
            ("", NameError::Empty),
            ("/etc/passwd", NameError::Absolute),
            ("/", NameError::Absolute),
            ("..", NameError::Parent),
            ("a/../../b", NameError::Parent),
            ("a/..", NameError::Parent),
            ("./a", NameError::Current),
            ("a/./b", NameError::Current),
            ("a//b", NameError::Empty),
            ("a/", NameError::Empty),
            ("a\\b", NameError::Backslash),
            ("..\\b", NameError::Backslash),
            ("a\0b", NameError::Nul),
            (&"x".repeat(MAX_NAME_BYTES + 1), NameError::TooLong),
        ] {
            assert_eq!(ResourceName::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn names_that_look_odd_and_are_fine() {
        for text in [".", "...", "..a", "a..", ".git", "a b", "模型/é", "a:0:10", "a\nb", "~", "-rf"] {
            assert_eq!(name(text).as_str(), text);
        }
    }

    #[test]
    fn order_is_by_components() {
        assert!(name("a/b") < name("a.b"));
        assert!("a/b" > "a.b");
        assert!(name("a") < name("a/b"));
    }

    #[test]
    fn below_is_by_components() {
        assert!(name("a/b").is_at_or_below(&name("a")));
        assert!(name("a").is_at_or_below(&name("a")));
        assert!(!name("ab").is_at_or_below(&name("a")));
        assert!(name("ab").is_at_or_below(&ResourceName::root()));
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(name("a/b").parent(), Some(name("a")));
        assert_eq!(name("a").parent(), Some(ResourceName::root()));
        assert_eq!(ResourceName::root().parent(), None);
        assert_eq!(name("a").join(&name("b/c")).unwrap(), name("a/b/c"));
        assert_eq!(ResourceName::root().join(&name("b")).unwrap(), name("b"));
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_inside(text in "[a./\\\\\0]{0,12}") {
            if let Ok(name) = ResourceName::parse(&text) {
                let joined = std::path::Path::new("/root").join(name.as_str());
                prop_assert!(joined.starts_with("/root"));
                prop_assert!(!joined.components().any(|c| c == std::path::Component::ParentDir));
            }
        }

        #[test]
        fn order_is_that_of_the_components(a in "[ab.é\u{1}/]{1,6}", b in "[ab.é\u{1}/]{1,6}") {
            if let (Ok(a), Ok(b)) = (ResourceName::parse(&a), ResourceName::parse(&b)) {
                prop_assert_eq!(a.cmp(&b), a.as_str().split('/').cmp(b.as_str().split('/')));
            }
        }
    }
}
