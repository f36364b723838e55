//! Whether enough of a policy's authorities signed.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Finding;
use super::signers::{ends, has_expired, is_valid, marks, proved, words};
use crate::api::v1alpha1::{OtherBundle, RefusedCode, SignerProof, SignerStatus};
use crate::model::shown;
use crate::policy::CompiledPolicy;
use crate::signature::{AlternativeName, Pinned, Signer};

/// How many signers a sentence names before it counts the rest.
const NAMED_SIGNERS: usize = 2;

/// The name of the first authority that signed, if enough of them did; else the code and what is wrong.
///
/// `required: N` asks for N distinct authorities, each with a signer of its own: as many pairs of authority and signer
/// as can be made with neither in two pairs. Signers whose certificate has ended do not count.
pub fn check<'a>(
    policy: &'a CompiledPolicy,
    signers: &[SignerStatus],
    other_bundles: &[OtherBundle],
    now: Timestamp,
) -> Result<&'a str, (RefusedCode, Finding)> {
    let (satisfied, first) = count(policy, signers, |signer, proof| is_valid(signer, proof, now));
    if let Some(first) = first.filter(|_| satisfied >= policy.required) {
        return Ok(first);
    }
    if count(policy, signers, |_, _| true).0 >= policy.required {
        return Err((RefusedCode::SignerExpired, ended(signers, now)));
    }
    let valid: Vec<&SignerStatus> = signers.iter().filter(|signer| !has_expired(signer, now)).collect();
    let finding = match first {
        Some(_) => Finding {
            what: format!(
                "{satisfied} of the policy's signers signed it, {} are required{}",
                policy.required,
                ignored(other_bundles)
            ),
            fix: format!("have it signed by more of: {}", listed(policy)),
            detail: None,
        },
        None => Finding {
            what: format!("it is signed by {}, whom the policy does not list{}", who(&valid), unlike(policy, &valid)),
            fix: advice(policy),
            detail: None,
        },
    };
    Err((RefusedCode::UntrustedSigner, finding))
}

/// How many authorities have a signer of their own, and the first that has any.
fn count<'a>(
    policy: &'a CompiledPolicy,
    signers: &[SignerStatus],
    counts: impl Fn(&SignerStatus, &SignerProof) -> bool,
) -> (usize, Option<&'a str>) {
    let known: Vec<Signer> = signers.iter().flat_map(|status| proved(status, |proof| counts(status, proof))).collect();
    let holders = distinct(&known);
    let accepts: Vec<Vec<bool>> = (policy.authorities.iter())
        .map(|authority| {
            holders.iter().map(|holder| holder.iter().any(|signer| authority.authority.accepts(signer))).collect()
        })
        .collect();
    let first = accepts.iter().position(|holders| holders.contains(&true));
    (pairs(&accepts, holders.len()), first.map(|at| policy.authorities[at].name.as_str()))
}

/// The signers, with those together that are one.
fn distinct(signers: &[Signer]) -> Vec<Vec<&Signer>> {
    let mut holders: Vec<(BTreeSet<String>, Vec<&Signer>)> = Vec::new();
    for signer in signers {
        let mut joined = (marks(signer), vec![signer]);
        let (same, others): (Vec<_>, Vec<_>) = holders.into_iter().partition(|(seen, _)| !seen.is_disjoint(&joined.0));
        for (seen, signers) in same {
            joined.0.extend(seen);
            joined.1.extend(signers);
        }
        holders = others;
        holders.push(joined);
    }
    holders.into_iter().map(|(_, signers)| signers).collect()
}

/// The largest number of pairs of a row and a column that `accepts` holds for, with no row or column in two of them
/// (Kuhn's algorithm: each row in turn takes a free column, or one whose row can move on).
fn pairs(accepts: &[Vec<bool>], columns: usize) -> usize {
    fn place(row: usize, accepts: &[Vec<bool>], seen: &mut [bool], taken: &mut [Option<usize>]) -> bool {
        for column in 0..taken.len() {
            if accepts[row][column] && !std::mem::replace(&mut seen[column], true) {
                let free = match taken[column] {
                    None => true,
                    Some(other) => place(other, accepts, seen, taken),
                };
                if free {
                    taken[column] = Some(row);
                    return true;
                }
            }
        }
        false
    }
    let mut taken = vec![None; columns];
    (0..accepts.len()).filter(|row| place(*row, accepts, &mut vec![false; columns], &mut taken)).count()
}

fn ended(signers: &[SignerStatus], now: Timestamp) -> Finding {
    let ended = signers.iter().flat_map(|signer| ends(signer).map(move |end| (end, signer)));
    let first = ended.filter(|(end, _)| *end < now).min_by_key(|(end, _)| *end);
    let end = first.map(|(end, _)| format!(" on {}", end.strftime("%Y-%m-%d")));
    let holder = first.map(|(_, signer)| format!(" of {}", words(signer)));
    Finding {
        what: format!("the certificate{} ended{}", holder.unwrap_or_default(), end.unwrap_or_default()),
        fix: "have it signed again, with a certificate that is valid".to_owned(),
        detail: None,
    }
}

/// The bundles that do not count, for whoever wonders why there are too few signers.
fn ignored(other_bundles: &[OtherBundle]) -> String {
    let ignored = other_bundles.iter().filter_map(|it| Some((&it.name, it.ignored?)));
    let named: Vec<String> =
        ignored.take(NAMED_SIGNERS).map(|(name, why)| format!("{} does not count ({why})", shown(name))).collect();
    if named.is_empty() { String::new() } else { format!("; {}", named.join(", ")) }
}

fn who(signers: &[&SignerStatus]) -> String {
    let mut all: Vec<String> = Vec::new();
    for signer in signers.iter().map(|signer| words(signer)) {
        if !all.contains(&signer) {
            all.push(signer);
        }
    }
    let more = all.len().saturating_sub(NAMED_SIGNERS);
    all.truncate(NAMED_SIGNERS);
    all.extend((more > 0).then(|| format!("{more} more")));
    if all.is_empty() { "nobody that could be verified".to_owned() } else { all.join(", ") }
}

/// What a certificate of an authority's own roots has other than what the authority lists, where there is such a one: a
/// signer's name in words is not always what was compared.
fn unlike(policy: &CompiledPolicy, signers: &[&SignerStatus]) -> String {
    let known: Vec<Signer> = signers.iter().flat_map(|status| proved(status, |_| true)).collect();
    let certificates = policy.authorities.iter().flat_map(|listed| {
        let own = known.iter().filter_map(|signer| listed.authority.pins_for(signer));
        own.map(|(facts, pins)| (listed.name.as_str(), facts, pins))
    });
    let pins = certificates.flat_map(|(name, facts, pins)| pins.iter().map(move |pin| (name, facts, pin)));
    // The one that comes closest is most likely the one that was meant.
    let closest = pins.min_by_key(|(_, facts, pin)| pin.lacking(facts).count());
    let lacking = closest.and_then(|(name, facts, pin)| Some((name, facts, pin.lacking(facts).next()?)));
    let Some((name, facts, pinned)) = lacking else { return String::new() };
    // Two that are cut to the same beginning tell nobody anything.
    let instead = |wanted: &str, has: &str| {
        let (wanted, has) = (shown(wanted), shown(has));
        if wanted == has { "and its own differs further on".to_owned() } else { format!("not {has}") }
    };
    let (what, wanted, has) = match pinned {
        Pinned::Subject(wanted) => ("subject", shown(wanted), instead(wanted, &facts.subject)),
        Pinned::Issuer(wanted) => ("issuer", shown(wanted), instead(wanted, &facts.issuer)),
        Pinned::Name(wanted) => ("name", shown(&wanted.to_string()), names(&facts.names)),
        Pinned::Fingerprint(wanted) => ("fingerprint", wanted.to_string(), format!("not {}", facts.fingerprint)),
    };
    format!(": {name} wants the {what} {wanted}, {has}")
}

/// The names that a certificate gives instead, escaped.
fn names(all: &[AlternativeName]) -> String {
    let more = all.len().saturating_sub(NAMED_SIGNERS);
    let mut names: Vec<String> = all.iter().take(NAMED_SIGNERS).map(|name| shown(&name.to_string())).collect();
    names.extend((more > 0).then(|| format!("{more} more")));
    if names.is_empty() { "and it has none".to_owned() } else { format!("not {}", names.join(", ")) }
}

/// What to do where nobody listed has signed.
pub(super) fn advice(policy: &CompiledPolicy) -> String {
    format!("have it signed by one of: {}", listed(policy))
}

fn listed(policy: &CompiledPolicy) -> String {
    let names: Vec<&str> = policy.authorities.iter().map(|authority| authority.name.as_str()).collect();
    names.join(", ")
}
