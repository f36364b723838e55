//! What to do about the certificates: pure.
//!
//! The order in which an authority is replaced, so that the API server trusts whatever the webhook serves at any moment:
//!
//! ```text
//! new authority made ─▶ bundle (new + old) applied ─▶ SETTLE ─▶ pair issued by the new one ─▶ DROP_AFTER ─▶ old dropped
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::material::{BACKDATED, Certificate};

/// How long an authority is valid. It is renewed after two thirds, so a pair that it issues on its last day still has
/// four months.
pub const CA_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a serving pair is valid; renewed after 20 days, which leaves 10 for the renewal to fail in.
pub const PAIR_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Time between the moment at which a new bundle was applied and the one at which the webhook may serve a pair that only
/// the new bundle trusts. Every API server follows the configuration by a watch of its own; they lag by seconds.
pub const SETTLE: Duration = Duration::from_secs(60);
/// How long an earlier authority stays trusted after the pair was replaced: replicas load a new pair within seconds, or
/// within two minutes where it comes by a mounted Secret.
pub const DROP_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How often the Secrets are looked at, though nothing is due: somebody may have deleted or changed one.
pub const CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// Earlier authorities that are kept at most: one is the rule, a second where authorities are replaced in a row.
const MAX_PREVIOUS: usize = 4;

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Certificate of the authority; absent too where it or its key is malformed.
    pub authority: Option<Certificate>,
    /// Certificates of earlier authorities.
    pub previous: Vec<Certificate>,
    /// The serving certificate; absent too where it or its key is malformed.
    pub pair: Option<Certificate>,
    /// What the API server trusts by now.
    pub applied: Vec<Certificate>,
    /// For how long that has been known to contain the authority.
    pub applied_for: Option<Duration>,
    /// The names that the webhook is called by, sorted.
    pub names: Vec<String>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an authority, and keep these as earlier ones.
    MakeAuthority {
        /// The earlier ones, the youngest first.
        keep: Vec<Certificate>,
    },
    /// Issue a serving pair.
    IssuePair,
    /// Forget earlier authorities, except for these.
    DropPrevious {
        /// What stays.
        keep: Vec<Certificate>,
    },
}

/// What to publish and to do, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the API server is to trust; empty while there is no authority.
    pub bundle: Vec<Certificate>,
    /// The one step that is due.
    pub step: Option<Step>,
    /// When to plan again at the latest.
    pub again: Timestamp,
}

/// Plans. One step at a time: what follows is seen when it is done.
pub fn plan(state: &State, now: Timestamp) -> Plan {
    let Some(authority) = state.authority.as_ref().filter(|ca| ca.is_valid_at(now) && now < ca.renew_at()) else {
        let keep = keep_for_new_authority(state, now);
        return Plan { bundle: Vec::new(), step: Some(Step::MakeAuthority { keep }), again: now };
    };
    let mut bundle = vec![authority.clone()];
    bundle.extend(state.previous.iter().filter(|it| *it != authority && it.is_valid_at(now)).cloned());
    let latest = now + CHECK_INTERVAL;

    let (step, again) = match serving(state, authority, &bundle, now) {
        Serving::Fine(until) => match drop_previous(state, authority, now) {
            Dropping::Due(keep) => (Some(Step::DropPrevious { keep }), now),
            Dropping::Later(when) => (None, when.min(until).min(latest)),
            Dropping::Nothing => (None, until.min(latest)),
        },
        Serving::Broken => (Some(Step::IssuePair), now),
        Serving::Due => match state.applied_for {
            Some(age) if age >= SETTLE => (Some(Step::IssuePair), now),
            Some(age) => (None, now + (SETTLE - age)),
            None => (None, latest),
        },
    };
    Plan { bundle, step, again }
}

/// How the serving pair is.
enum Serving {
    /// Fine, until then.
    Fine(Timestamp),
    /// It works, and is to be replaced as soon as the API server trusts the authority.
    Due,
    /// Nobody can reach the webhook with it: there is nothing to wait for.
    Broken,
}

fn serving(state: &State, authority: &Certificate, bundle: &[Certificate], now: Timestamp) -> Serving {
    let Some(pair) = &state.pair else { return Serving::Broken };
    let trusted = bundle.iter().any(|ca| ca.has_signed(pair));
    if !pair.is_valid_at(now) || pair.names != state.names || !trusted {
        return Serving::Broken;
    }
    if now >= pair.renew_at() || !authority.has_signed(pair) {
        return Serving::Due;
    }
    Serving::Fine(pair.renew_at().min(authority.renew_at()))
}

/// Whether earlier authorities can go.
enum Dropping {
    Nothing,
    Later(Timestamp),
    Due(Vec<Certificate>),
}

/// The pair is from the authority itself when this is asked.
fn drop_previous(state: &State, authority: &Certificate, now: Timestamp) -> Dropping {
    let Some(pair) = state.pair.as_ref().filter(|_| !state.previous.is_empty()) else { return Dropping::Nothing };
    let made = pair.not_before + BACKDATED;
    let due = made + DROP_AFTER;
    if now >= due && authority.has_signed(pair) { Dropping::Due(Vec::new()) } else { Dropping::Later(due) }
}

/// The authorities that a new one must not push out of the bundle: the present one, earlier ones, and whichever the API
/// server trusts that has issued the pair (should the Secret with the authority have been lost).
fn keep_for_new_authority(state: &State, now: Timestamp) -> Vec<Certificate> {
    let issued_pair = |ca: &&Certificate| state.pair.as_ref().is_some_and(|pair| ca.has_signed(pair));
    let candidates = state.authority.iter().chain(&state.previous).chain(state.applied.iter().filter(issued_pair));
    let mut keep: Vec<Certificate> = Vec::new();
    for candidate in candidates.filter(|ca| ca.is_valid_at(now)) {
        if !keep.contains(candidate) && keep.len() < MAX_PREVIOUS {
            keep.push(candidate.clone());
        }
    }
    keep
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
