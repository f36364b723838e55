//! From a CRD spec to a policy that can be asked.

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::core::Duration;

use super::authorities;
use super::matching::Matching;
use super::selector::{Selector, understood};
use super::{Actions, CompiledPolicy, ContentRules, TrustSources};
use crate::api::v1alpha1::{
    ClusterModelPolicy, ClusterModelPolicySpec, Content, Match, UnsignedConfig, ValidationAction, WhileServing,
};

/// `maxAge`, where it is not given: so many times `reverifyAfter`, so that a few failed runs make nothing stale.
const MAX_AGE_RUNS: i32 = 7;

/// Compiles one policy, and collects what is wrong with it.
pub(super) fn policy(policy: &ClusterModelPolicy, trust: &TrustSources) -> CompiledPolicy {
    let ClusterModelPolicySpec { matches, validation_actions, unknown, authorities, required, content } = &policy.spec;
    let Match { namespace_selector, models, exclude } = matches;
    let mut problems = Vec::new();
    let (namespaces, errors) = Selector::compile(namespace_selector);
    problems.extend(errors);
    let (matching, errors) = Matching::compile(models.as_deref(), exclude);
    problems.extend(errors);
    let authorities = authorities::compile(authorities, trust, &mut problems);
    let required = usize::try_from(*required).unwrap_or(usize::MAX).max(1);
    problems.extend(authorities::unsatisfiable(&authorities, required, problems.is_empty()));
    let strongest = validation_actions.iter().copied().max().unwrap_or(ValidationAction::Deny);
    CompiledPolicy {
        name: policy.name_any(),
        authorities,
        required,
        actions: Actions { strongest, audit: validation_actions.contains(&ValidationAction::Audit), unknown: *unknown },
        content: rules(content, strongest),
        namespaces,
        namespace_selector: understood(namespace_selector),
        selection_by_tenant: matching.by_tenant(),
        matching,
        problems,
    }
}

fn rules(content: &Content, strongest: ValidationAction) -> ContentRules {
    let Content {
        read_only,
        writers,
        while_serving,
        reverify_after,
        max_age,
        trusted_storage,
        read_as,
        unsigned_config,
        forbid,
    } = content;
    let reverify_after = reverify_after.and_then(positive);
    let by_default = || reverify_after.map(|after| after.saturating_mul(MAX_AGE_RUNS));
    ContentRules {
        read_only: *read_only,
        writers: writers.iter().map(|writer| writer.service_account.clone()).collect(),
        while_serving: while_serving.unwrap_or(match strongest {
            ValidationAction::Deny => WhileServing::Exclusive,
            ValidationAction::Warn | ValidationAction::Audit => WhileServing::Report,
        }),
        reverify_after,
        max_age: max_age.and_then(positive).or_else(by_default),
        trusted_storage: trusted_storage.clone(),
        read_as: read_as.clone(),
        unsigned_config: *unsigned_config == UnsignedConfig::Allow,
        forbid: forbid.clone(),
    }
}

/// A duration that says something; the schema lets none through that is not positive.
fn positive(duration: Duration) -> Option<SignedDuration> {
    let length = SignedDuration::try_from(std::time::Duration::from(duration)).ok()?;
    (!duration.is_negative() && length.is_positive()).then_some(length)
}

#[cfg(test)]
mod tests;
