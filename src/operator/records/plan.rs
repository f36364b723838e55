//! What is to be done in one round, over all records.
//!
//! Receives the situation of every record and the time; promises one step for each record and the time of the next round.
//! Never acts.

use jiff::Timestamp;

use super::due::{Next, Why, next};
use super::run::{Progress, progress};
use super::schedule::{Limits, choose};
use super::situation::Situation;
use crate::api::v1alpha1::UnknownCode;

/// What to do about one record. Whatever it is, the conditions are put right afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but that.
    Settle,
    /// Show the cluster's words about the run that is on.
    Note(Option<String>),
    /// Start a run.
    Begin {
        /// Why.
        why: Why,
        /// Whether the bundle alone is read.
        signature_only: bool,
    },
    /// Take the result of the run that is on.
    Take,
    /// End the run that is on, without blame.
    Abort(&'static str),
    /// The run that is on brought nothing.
    Fail(UnknownCode, String),
}

/// The steps, one for each situation, and when to look again although nothing has changed.
pub fn plan(situations: &[Situation], limits: Limits, now: Timestamp) -> (Vec<Step>, Option<Timestamp>) {
    let mut wake: Option<Timestamp> = None;
    let mut wait = |until: Option<Timestamp>| wake = wake.into_iter().chain(until).min();
    let mut steps = vec![Step::Settle; situations.len()];
    let mut due = Vec::new();
    for (index, situation) in situations.iter().enumerate() {
        if situation.name != situation.spec.record_name() {
            continue;
        }
        if let Some(run) = situation.active_run() {
            steps[index] = match progress(situation, run, now) {
                Progress::Wait(until, words) => {
                    wait(until);
                    Step::Note(words)
                }
                Progress::Take => Step::Take,
                Progress::Abort(why) => Step::Abort(why),
                Progress::Fail(code, why) => Step::Fail(code, why),
            };
            continue;
        }
        match next(situation, now) {
            Next::Wait(until) => wait(until),
            Next::Read { why, signature_only } => due.push((index, why, signature_only)),
        }
        wait(situation.signer_ends_after(now));
        let ages = situation.status.verified_at.as_ref().zip(situation.schedule.max_age);
        wait(ages.and_then(|(at, limit)| at.0.checked_add(limit).ok()).filter(|until| *until >= now));
    }
    // What was never read comes before what is read again; among equals, what was read longest ago.
    let last = |index: usize| situations[index].status.verified_at.as_ref().map(|at| at.0);
    due.sort_by_key(|(index, why, _)| (*why != Why::Asked, last(*index)));
    let running = situations.iter().filter(|situation| situation.active_run().is_some());
    let running = running.map(|situation| situation.namespace.as_str());
    let queue: Vec<(&str, usize)> =
        due.iter().enumerate().map(|(place, (index, ..))| (situations[*index].namespace.as_str(), place)).collect();
    for place in choose(running, &queue, limits) {
        let (index, why, signature_only) = due[place];
        steps[index] = Step::Begin { why, signature_only };
    }
    (steps, wake)
}

#[cfg(test)]
mod tests {
    use super::super::situation::fixture::{at, unread};
    use super::*;

    const LIMITS: Limits = Limits { total: 2, per_namespace: 1 };

    #[test]
    fn each_namespace_gets_its_turn_and_others_wait() {
        let in_namespace = |namespace: &str| Situation { namespace: namespace.into(), ..unread() };
        let (steps, wake) = plan(&[in_namespace("a"), in_namespace("a"), in_namespace("b")], LIMITS, at(1));
        let begin = Step::Begin { why: Why::Unread, signature_only: false };
        assert_eq!(steps, [begin.clone(), Step::Settle, begin]);
        assert_eq!(wake, None);
    }

    #[test]
    fn a_record_of_another_name_is_never_read() {
        let misnamed = Situation { name: "mine".into(), ..unread() };
        assert_eq!(plan(&[misnamed], LIMITS, at(1)).0, [Step::Settle]);
    }

    #[test]
    fn the_next_round_comes_with_the_first_deadline() {
        let mut held = unread();
        held.remembered = Some((1, at(50)));
        let mut later = unread();
        later.remembered = Some((1, at(70)));
        assert_eq!(plan(&[later, held], LIMITS, at(1)).1, Some(at(50)));
    }
}
