//! What to do next about the Lease: pure.

use std::time::{Duration, Instant};

use super::RENEW_DEADLINE;

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` when it was given up.
    pub holder: Option<String>,
    /// How long it protects its holder.
    pub duration: Duration,
    /// Its resourceVersion: it changes with every renewal.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// There is no Lease: make one.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's, or its holder has shown no sign of life for too long: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// The state of one candidate.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    /// The Lease, and when it was first seen as it is.
    observed: Option<(Record, Instant)>,
    /// When the last renewal that succeeded was sent.
    renewed: Option<Instant>,
}

impl Election {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: impl Into<String>) -> Self {
        Election { identity: identity.into(), observed: None, renewed: None }
    }

    /// Takes in the Lease as it was just read, and says what to do.
    pub fn next(&mut self, seen: Option<Record>, now: Instant) -> Attempt {
        let Some(record) = seen else {
            self.observed = None;
            return Attempt::Create;
        };
        let since = match self.observed.take() {
            Some((before, since)) if before == record => since,
            _ => now,
        };
        let expired = now.saturating_duration_since(since) >= record.duration;
        let attempt = match &record.holder {
            None => Attempt::Take,
            Some(holder) if *holder == self.identity => Attempt::Renew,
            Some(_) if expired => Attempt::Take,
            Some(_) => Attempt::Wait,
        };
        if attempt == Attempt::Wait {
            self.renewed = None;
        }
        self.observed = Some((record, since));
        attempt
    }

    /// Notes that a write which was sent at that time has made the Lease ours.
    pub fn won(&mut self, sent: Instant) {
        self.renewed = Some(sent);
    }

    /// Until when this process may act; `None` when it may not.
    pub fn leading_until(&self, now: Instant) -> Option<Instant> {
        self.renewed.map(|sent| sent + RENEW_DEADLINE).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LEASE_DURATION, RETRY_PERIOD};
    use super::*;

    fn held_by(holder: &str, version: u64) -> Option<Record> {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Some(Record { holder, duration: LEASE_DURATION, version: version.to_string() })
    }

    /// One row: seconds on the local clock, the Lease as read, what to do.
    type Row = (u64, Option<Record>, Attempt);

    fn check(name: &str, rows: Vec<Row>) {
        let begin = Instant::now();
        let mut election = Election::new("me");
        for (second, seen, wanted) in rows {
            let attempt = election.next(seen, begin + Duration::from_secs(second));
            assert_eq!(attempt, wanted, "{name}, at {second} s");
        }
    }

    #[test]
    fn what_to_do_next() {
        use Attempt::*;
        check("no lease", vec![(0, None, Create)]);
        check("given up", vec![(0, held_by("", 1), Take)]);
        check("ours, from before a restart", vec![(0, held_by("me", 1), Renew)]);
        check(
            "a live holder",
            vec![(0, held_by("other", 1), Wait), (10, held_by("other", 2), Wait), (24, held_by("other", 2), Wait)],
        );
        check(
            "a dead holder",
            vec![(0, held_by("other", 1), Wait), (14, held_by("other", 1), Wait), (15, held_by("other", 1), Take)],
        );
        check(
            "a holder that came back",
            vec![
                (0, held_by("other", 1), Wait),
                (14, held_by("other", 2), Wait),
                (28, held_by("other", 2), Wait),
                (29, held_by("other", 2), Take),
            ],
        );
        check(
            "one dead holder replaced by another",
            vec![(0, held_by("other", 1), Wait), (15, held_by("third", 2), Wait)],
        );
        check(
            "deleted in between",
            vec![
                (0, held_by("other", 1), Wait),
                (10, None, Create),
                (11, held_by("other", 1), Wait),
                (20, held_by("other", 1), Wait),
            ],
        );
    }

    #[test]
    fn a_leader_stops_before_another_may_begin() {
        let sent = Instant::now();
        let mut leader = Election::new("me");
        leader.won(sent);
        // The other sees the renewal at the very moment at which it was sent: the worst case.
        let mut other = Election::new("other");
        assert_eq!(other.next(held_by("me", 1), sent), Attempt::Wait);
        let taken = (0..)
            .map(|tick| sent + RETRY_PERIOD * tick)
            .find(|now| other.next(held_by("me", 1), *now) == Attempt::Take)
            .unwrap();
        assert!(taken - sent >= LEASE_DURATION);
        assert_eq!(leader.leading_until(sent), Some(sent + RENEW_DEADLINE));
        assert_eq!(leader.leading_until(sent + RENEW_DEADLINE), None);
        assert!(taken - (sent + RENEW_DEADLINE) >= Duration::from_secs(5));
    }

    #[test]
    fn who_sees_another_holder_stops_at_once() {
        let now = Instant::now();
        let mut leader = Election::new("me");
        leader.won(now);
        assert_eq!(leader.next(held_by("other", 7), now), Attempt::Wait);
        assert_eq!(leader.leading_until(now), None);
    }

    #[test]
    fn several_attempts_fit_into_the_deadline() {
        assert!(RETRY_PERIOD * 4 < RENEW_DEADLINE);
        assert!(RENEW_DEADLINE < LEASE_DURATION);
    }
}
