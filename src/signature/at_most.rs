//! Lists in JSON that somebody else wrote, and that may be longer than anybody needs.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// A list that keeps the first `LIMIT` items, and reads and counts the others, so that a long list costs no memory.
pub(super) struct AtMost<const LIMIT: usize, T> {
    /// The first of them.
    pub(super) items: Vec<T>,
    /// All of them, counted.
    pub(super) count: usize,
}

impl<const LIMIT: usize, T> Default for AtMost<LIMIT, T> {
    fn default() -> Self {
        AtMost { items: Vec::new(), count: 0 }
    }
}

impl<'de, const LIMIT: usize, T: Deserialize<'de>> Deserialize<'de> for AtMost<LIMIT, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AtMostVisitor(AtMost::default()))
    }
}

struct AtMostVisitor<const LIMIT: usize, T>(AtMost<LIMIT, T>);

impl<'de, const LIMIT: usize, T: Deserialize<'de>> Visitor<'de> for AtMostVisitor<LIMIT, T> {
    type Value = AtMost<LIMIT, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let AtMost { mut items, mut count } = self.0;
        while count < LIMIT {
            match list.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(AtMost { items, count }),
            }
            count += 1;
        }
        while list.next_element::<T>()?.is_some() {
            count += 1;
        }
        Ok(AtMost { items, count })
    }
}
