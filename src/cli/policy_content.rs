//! What the policies of a cluster say of the content of a model on this machine, as they would there.
//!
//! Receives what was found, gives it back as the policies take it: unsigned files that all of them ignore count as left
//! out, and links that one of them does not allow are refused. Who signed was asked before.

use super::authority_flags::COMMAND_LINE;
use crate::api::v1alpha1::{RefusedCode, UnsignedFiles};
use crate::decision::{Finding, check_links, check_unsigned};
use crate::facts::{Examined, Outcome, Report};
use crate::model::{NAMES_SHOWN, shown};
use crate::policy::{CompiledPolicies, CompiledPolicy};

/// What was found, under policies.
pub(super) fn judged(policies: &CompiledPolicies, examined: Examined) -> Examined {
    let Examined { mut report, mut mismatch } = examined;
    if matches!(report.outcome, Outcome::Refused { code: RefusedCode::UnsignedFiles, .. })
        && let Some(unsigned) = report.unsigned.clone()
    {
        match first_against(policies, |policy| check_unsigned(&policy.ignored, &unsigned)) {
            None => {
                leave_out(&mut report, &unsigned);
                mismatch = None;
            }
            // What was found says itself what a policy without globs has against it.
            Some((policy, refused)) if !policy.ignored.is_empty() => report.outcome = outcome(policy, refused),
            Some(_) => {}
        }
    }
    if matches!(report.outcome, Outcome::Verified {}) {
        let links = |policy: &CompiledPolicy| check_links(policy, report.allow_symlinks, report.symlinks);
        if let Some((policy, refused)) = first_against(policies, links) {
            report.outcome = outcome(policy, refused);
        }
    }
    Examined { report, mismatch }
}

/// What a policy has against something, in words that name the policy.
pub(super) fn sentence(policy: &CompiledPolicy, finding: &Finding) -> String {
    let name = policy.name.to_string();
    let of = if name == COMMAND_LINE { String::new() } else { format!("policy {}: ", shown(&name)) };
    format!("{of}{}; {}", finding.what, finding.fix)
}

type Refused = (RefusedCode, Finding);

fn first_against(
    policies: &CompiledPolicies,
    check: impl Fn(&CompiledPolicy) -> Result<(), Refused>,
) -> Option<(&CompiledPolicy, Refused)> {
    policies.iter().find_map(|policy| Some((policy, check(policy).err()?)))
}

fn outcome(policy: &CompiledPolicy, (code, finding): Refused) -> Outcome {
    Outcome::Refused { code, detail: finding.detail, message: sentence(policy, &finding) }
}

fn leave_out(report: &mut Report, unsigned: &UnsignedFiles) {
    report.outcome = Outcome::Verified {};
    report.content_verified = Some(true);
    let room = NAMES_SHOWN.saturating_sub(report.left_out.first.len());
    report.left_out.first.extend(unsigned.paths.iter().take(room).cloned());
    report.left_out.count += unsigned.paths.len() as u64;
}
