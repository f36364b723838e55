//! Which of the records that are due are read now.
//!
//! Receives who is due and what runs; promises that neither the whole nor one namespace has more runs than its limit, and
//! that namespaces take turns. Never acts.

use std::collections::{BTreeMap, VecDeque};

/// How many runs there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In the whole cluster.
    pub total: usize,
    /// In one namespace.
    pub per_namespace: usize,
}

/// Chooses among those that are due, as indices. `running` and `due` are the namespaces of runs and of records; those
/// due come in the order in which a namespace is served.
pub fn choose<'a>(running: impl Iterator<Item = &'a str>, due: &[(&'a str, usize)], limits: Limits) -> Vec<usize> {
    let mut active: BTreeMap<&str, usize> = BTreeMap::new();
    let mut total = 0;
    for namespace in running {
        *active.entry(namespace).or_default() += 1;
        total += 1;
    }
    let mut queues: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (namespace, index) in due {
        queues.entry(namespace).or_default().push_back(*index);
    }
    let mut chosen = Vec::new();
    while total < limits.total {
        // The namespace with the fewest runs has its turn.
        let waiting = queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(namespace, _)| *namespace);
        let open =
            waiting.filter(|namespace| active.get(namespace).copied().unwrap_or_default() < limits.per_namespace);
        let Some(next) = open.min_by_key(|namespace| active.get(namespace).copied().unwrap_or_default()) else { break };
        chosen.extend(queues.get_mut(next).and_then(VecDeque::pop_front));
        *active.entry(next).or_default() += 1;
        total += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total: 4, per_namespace: 2 };

    #[test]
    fn namespaces_take_turns() {
        let due = [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("c", 4)];
        assert_eq!(choose(std::iter::empty(), &due, LIMITS), [0, 3, 4, 1]);
    }

    #[test]
    fn what_runs_counts() {
        let due = [("a", 0), ("b", 1)];
        assert_eq!(choose(["a", "a"].into_iter(), &due, LIMITS), [1]);
        assert_eq!(choose(["a", "b", "c", "d"].into_iter(), &due, LIMITS), Vec::<usize>::new());
    }
}
