//! Label values that come from users, bounded.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// How many names that users chose one label may show. A series costs Prometheus a few KiB, and a histogram multiplies
/// it by its buckets: with 100 names, 40 codes and 3 actions the largest counter stays at 12,000 series in theory and at
/// a few hundred in practice.
pub const MAX_NAMES: usize = 100;

/// What stands for every further name.
pub const OTHER: &str = "other";

/// The names that a label has shown: the first [`MAX_NAMES`] keep theirs, all others are [`OTHER`].
#[derive(Debug, Default)]
pub struct BoundedNames {
    seen: Mutex<BTreeSet<String>>,
}

impl BoundedNames {
    /// What to write for a name.
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(name) {
            return name;
        }
        if seen.len() >= MAX_NAMES {
            return OTHER;
        }
        seen.insert(name.to_owned());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_keep_their_names() {
        let names = BoundedNames::default();
        for number in 0..MAX_NAMES {
            let name = format!("policy-{number}");
            assert_eq!(names.label(&name), name);
        }
        assert_eq!(names.label("one too many"), OTHER);
        assert_eq!(names.label("policy-7"), "policy-7");
    }
}
