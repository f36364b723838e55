//! From a CRD spec to a policy that can be asked.

use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::core::Duration;

use super::authorities;
use super::ignored::IgnoredPaths;
use super::matching::Matching;
use super::registries::BundleRegistries;
use super::selector::{Selector, understood};
use super::{Actions, CompiledPolicy, ContentRules, PolicyName, Reach, TrustSources};
use crate::api::v1alpha1::{
    Authority, ClusterModelPolicy, ClusterModelPolicySpec, Content, Match, ModelPolicy, UnsignedConfig,
    ValidationAction, WhileServing,
};

/// `maxAge`, where it is not given: so many times `reverifyAfter`, so that a few failed runs make nothing stale.
const MAX_AGE_RUNS: i32 = 7;

/// Compiles a policy of the cluster, and collects what is wrong with it.
pub(super) fn policy(policy: &ClusterModelPolicy, trust: &TrustSources) -> CompiledPolicy {
    compiled(
        PolicyName::Cluster(policy.name_any()),
        &policy.spec,
        Reach { sources: trust, namespaced: false },
        Vec::new(),
    )
}

/// Compiles a policy of a namespace, and collects what is wrong with it.
pub(super) fn namespaced(namespace: &str, policy: &ModelPolicy, trust: &TrustSources) -> CompiledPolicy {
    let name = PolicyName::Namespaced { namespace: namespace.to_owned(), name: policy.name_any() };
    let problems = policy.spec.authorities.iter().filter_map(brings_trust).collect();
    compiled(name, &policy.spec.widened(), Reach { sources: trust, namespaced: true }, problems)
}

/// Why an authority is not one that a namespace may list: what is not a public key comes from the cluster's
/// administrators. The schema says the same.
fn brings_trust(authority: &Authority) -> Option<String> {
    let Authority { name, key: _, certificate, keyless } = authority;
    let roots = certificate.as_ref().is_some_and(|it| it.roots.data.is_some());
    let root = keyless.as_ref().and_then(|it| it.trusted_root.as_ref()).is_some_and(|it| it.data.is_some());
    (roots || root).then(|| format!("authority {name}: a ModelPolicy brings no roots of its own"))
}

fn compiled(
    name: PolicyName,
    spec: &ClusterModelPolicySpec,
    trust: Reach<'_>,
    mut problems: Vec<String>,
) -> CompiledPolicy {
    let ClusterModelPolicySpec {
        matches,
        validation_actions,
        unknown,
        authorities,
        required,
        content,
        require_digest_annotation,
        bundle_registries,
    } = spec;
    let Match { namespace_selector, models, exclude } = matches;
    let (namespaces, errors) = Selector::compile(namespace_selector);
    problems.extend(errors);
    let (matching, errors) = Matching::compile(models.as_deref(), exclude);
    problems.extend(errors);
    let (ignored, errors) = IgnoredPaths::compile(&content.ignore_paths);
    problems.extend(errors);
    let (bundle_registries, errors) = BundleRegistries::compile(bundle_registries);
    problems.extend(errors);
    let authorities = authorities::compile(authorities, trust, &mut problems);
    let required = usize::try_from(*required).unwrap_or(usize::MAX).max(1);
    problems.extend(authorities::unsatisfiable(&authorities, required, problems.is_empty()));
    let strongest = validation_actions.iter().copied().max().unwrap_or(ValidationAction::Deny);
    CompiledPolicy {
        name,
        authorities,
        required,
        actions: Actions { strongest, audit: validation_actions.contains(&ValidationAction::Audit), unknown: *unknown },
        content: rules(content, strongest),
        requires_digest_annotation: *require_digest_annotation,
        bundle_registries,
        namespaces,
        namespace_selector: understood(namespace_selector),
        selection_by_tenant: matching.by_tenant(),
        matching,
        ignored: Arc::new(ignored),
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
        ignore_paths: _,
        allow_symlinks,
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
        allow_symlinks: *allow_symlinks,
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
