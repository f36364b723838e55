//! The objects of one kind, by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use jiff::Timestamp;

use super::watch::Event;

/// The objects of one kind, as facts, by key. Copied on the first write after a snapshot has taken it.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: Arc<HashMap<K, Arc<V>>>,
    seen: Option<Timestamp>,
    changed: bool,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { rows: Arc::default(), seen: None, changed: false }
    }
}

impl<K: Eq + Hash + Clone, V> Table<K, V> {
    /// Takes in what happened to the objects, by key. One without facts (it does not parse) is as good as none.
    pub(super) fn take(&mut self, event: Event<(K, Option<V>)>, now: Timestamp) {
        self.seen = Some(now);
        match event {
            Event::Alive => return,
            Event::Reset(rows) => {
                let rows = rows.into_iter().filter_map(|(key, facts)| Some((key, Arc::new(facts?))));
                self.rows = Arc::new(rows.collect());
            }
            Event::Apply((key, Some(facts))) => drop(Arc::make_mut(&mut self.rows).insert(key, Arc::new(facts))),
            Event::Apply((key, None)) | Event::Delete((key, _)) => drop(Arc::make_mut(&mut self.rows).remove(&key)),
        }
        self.changed = true;
    }

    /// The rows as they are now.
    pub(super) fn rows(&self) -> Arc<HashMap<K, Arc<V>>> {
        Arc::clone(&self.rows)
    }

    /// Whether something changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When the watch last showed a sign of life; `None` before the first list.
    pub(super) fn seen(&self) -> Option<Timestamp> {
        self.seen
    }

    /// Marks a kind that is not followed as known to be empty.
    pub(super) fn never_followed(&mut self) {
        self.seen = Some(Timestamp::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(n: i32) -> (i32, Option<i32>) {
        (n, Some(n))
    }

    #[test]
    fn a_snapshot_does_not_change_under_its_reader() {
        let mut table = Table::default();
        table.take(Event::Reset(vec![row(1)]), at(1));
        let before = table.rows();
        table.take(Event::Delete(row(1)), at(2));
        assert_eq!((before.len(), table.rows().len()), (1, 0));
    }

    #[test]
    fn a_bookmark_is_life_and_no_change() {
        let mut table: Table<i32, i32> = Table::default();
        table.take(Event::Reset(vec![]), at(1));
        assert!(table.take_changed());
        table.take(Event::Alive, at(9));
        assert!(!table.take_changed());
        assert_eq!(table.seen(), Some(at(9)));
    }

    #[test]
    fn an_object_that_no_longer_parses_is_gone() {
        let mut table = Table::default();
        table.take(Event::Reset(vec![row(1)]), at(1));
        table.take(Event::Apply((1, None)), at(2));
        assert!(table.rows().is_empty());
    }

    #[test]
    fn a_list_forgets_what_is_not_in_it() {
        let mut table = Table::default();
        table.take(Event::Reset(vec![row(1), row(2)]), at(1));
        table.take(Event::Reset(vec![row(2), row(3)]), at(2));
        let mut keys: Vec<i32> = table.rows().keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(keys, [2, 3]);
    }
}
