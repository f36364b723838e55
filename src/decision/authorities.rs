//! Whether enough of a policy's authorities signed.

use std::collections::BTreeSet;

use super::Finding;
use crate::api::v1alpha1::{SignerKind, SignerStatus};
use crate::model::shown;
use crate::policy::CompiledPolicy;

/// How much of a fingerprint is shown: as much as tells keys apart at a glance. The whole one stands in the status.
const SHOWN_FINGERPRINT_CHARS: usize = "sha256:".len() + 16;

/// The name of the first authority that signed, if enough of them did.
///
/// `required: N` asks for N distinct authorities, each with a signer of its own. An authority has one key, so that is as
/// many distinct keys as are both listed and among the signers.
pub(super) fn check<'a>(policy: &'a CompiledPolicy, signers: &[SignerStatus]) -> Result<&'a str, Finding> {
    let signed: BTreeSet<&str> = signers.iter().filter_map(fingerprint).collect();
    let satisfied = policy.authorities.iter().filter(|authority| signed.contains(authority.key.fingerprint.as_str()));
    let distinct: BTreeSet<&str> = satisfied.clone().map(|authority| authority.key.fingerprint.as_str()).collect();
    match satisfied.clone().next() {
        Some(first) if distinct.len() >= policy.required => Ok(&first.name),
        Some(_) => Err(Finding {
            what: format!("{} of the policy's signers signed it, {} are required", distinct.len(), policy.required),
            fix: format!("have it signed by more of: {}", listed(policy)),
            detail: None,
        }),
        None => Err(Finding {
            what: format!("it is signed by {}, whom the policy does not list", who(&signed)),
            fix: advice(policy),
            detail: None,
        }),
    }
}

/// The fingerprint that a signer is known by; an absent one matches nobody.
fn fingerprint(signer: &SignerStatus) -> Option<&str> {
    let SignerStatus { kind, fingerprint } = signer;
    fingerprint.as_deref().filter(|_| *kind == SignerKind::Key)
}

fn who(signed: &BTreeSet<&str>) -> String {
    let mut names: Vec<String> = signed.iter().take(2).map(|it| short(it)).collect();
    if signed.len() > names.len() {
        names.push(format!("{} more", signed.len() - names.len()));
    }
    if names.is_empty() { "nobody that could be verified".to_owned() } else { names.join(", ") }
}

fn short(fingerprint: &str) -> String {
    let head: String = fingerprint.chars().take(SHOWN_FINGERPRINT_CHARS).collect();
    let cut = if head.len() < fingerprint.len() { "…" } else { "" };
    format!("key {}{cut}", shown(&head))
}

/// What to do where nobody listed has signed.
pub(super) fn advice(policy: &CompiledPolicy) -> String {
    format!("have it signed by one of: {}", listed(policy))
}

fn listed(policy: &CompiledPolicy) -> String {
    let names: Vec<&str> = policy.authorities.iter().map(|authority| authority.name.as_str()).collect();
    names.join(", ")
}
