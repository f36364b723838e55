//! Conditions, as every status of ours carries them.
//!
//! Receives the conditions that an object has and those that it should have; promises that `lastTransitionTime` moves
//! only when a condition's status does, so that an unchanged state is an unchanged object; never decides what is true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message that the API server takes in a condition (`maxLength` of `metav1.Condition`).
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// What a condition should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its type, such as `Accepted`.
    pub kind: &'static str,
    /// Whether it holds; `None` is `Unknown`.
    pub holds: Option<bool>,
    /// Why, as one word of a closed set.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Wanted {
    /// A condition that holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Wanted {
        Wanted { kind, holds: Some(true), reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Wanted {
        Wanted { kind, holds: Some(false), reason, message: message.into() }
    }

    /// A condition of which nothing can be said yet.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Wanted {
        Wanted { kind, holds: None, reason, message: message.into() }
    }

    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions to write: those that are wanted, in that order, each with the time since when its status is what it is.
/// Conditions of other types are dropped: a status has one author.
pub fn merge(
    existing: &[Condition],
    wanted: impl IntoIterator<Item = Wanted>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |wanted: Wanted| {
        let before = existing.iter().find(|one| one.type_ == wanted.kind && one.status == wanted.status());
        Condition {
            last_transition_time: before.map_or_else(|| whole_seconds(now), |one| one.last_transition_time.clone()),
            message: cut(&wanted.message, MAX_MESSAGE_BYTES).to_owned(),
            observed_generation: generation,
            reason: wanted.reason.to_owned(),
            status: wanted.status().to_owned(),
            type_: wanted.kind.to_owned(),
        }
    };
    wanted.into_iter().map(condition).collect()
}

/// The API server keeps whole seconds: anything finer would look like a change on the next comparison.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The beginning of a text, at most `max` bytes of it, cut between characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 500_000_000).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let first = merge(&[], [Wanted::no("Programmed", "NoReplicas", "none is ready")], Some(1), at(10));
        assert_eq!(first[0].last_transition_time.0, Timestamp::from_second(10).unwrap());

        let again = merge(&first, [Wanted::no("Programmed", "ReplicasBehind", "a")], Some(2), at(20));
        assert_eq!(again[0].last_transition_time, first[0].last_transition_time);
        assert_eq!((again[0].reason.as_str(), again[0].observed_generation), ("ReplicasBehind", Some(2)));

        let other = merge(&again, [Wanted::yes("Programmed", "Programmed", "")], Some(2), at(30));
        assert_eq!(other[0].last_transition_time.0, Timestamp::from_second(30).unwrap());
    }

    #[test]
    fn an_unchanged_state_is_an_unchanged_list() {
        let wanted = || [Wanted::yes("Accepted", "Accepted", "x"), Wanted::unknown("Programmed", "Pending", "y")];
        let first = merge(&[], wanted(), Some(1), at(10));
        let read_back: Vec<Condition> = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(merge(&read_back, wanted(), Some(1), at(99)), first);
    }

    #[test]
    fn what_is_no_longer_wanted_goes_and_long_messages_are_cut_between_characters() {
        let old = merge(&[], [Wanted::yes("Gone", "Gone", "")], None, at(1));
        let new = merge(&old, [Wanted::yes("Accepted", "Accepted", "ä".repeat(MAX_MESSAGE_BYTES))], None, at(2));
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].message.len(), MAX_MESSAGE_BYTES);
    }
}
