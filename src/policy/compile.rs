//! From a CRD spec to a policy that can be asked.

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::core::Duration;

use super::keys::{self, TrustedKey};
use super::matching::Matching;
use super::selector::{Selector, understood};
use super::{Actions, CompiledAuthority, CompiledPolicy, ContentRules, TrustSources};
use crate::api::v1alpha1::{
    Authority, ClusterModelPolicy, ClusterModelPolicySpec, Content, KeyAuthority, Match, ValidationAction,
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
    let authorities = compile_authorities(authorities, trust, &mut problems);
    let required = usize::try_from(*required).unwrap_or(usize::MAX).max(1);
    problems.extend(unsatisfiable(&authorities, required, problems.is_empty()));
    CompiledPolicy {
        name: policy.name_any(),
        authorities,
        required,
        actions: Actions {
            strongest: validation_actions.iter().copied().max().unwrap_or(ValidationAction::Deny),
            audit: validation_actions.contains(&ValidationAction::Audit),
            unknown: *unknown,
        },
        content: rules(content),
        namespaces,
        namespace_selector: understood(namespace_selector),
        selection_by_tenant: matching.by_tenant(),
        matching,
        problems,
    }
}

/// The authorities whose keys can be read.
fn compile_authorities(
    authorities: &[Authority],
    trust: &TrustSources,
    problems: &mut Vec<String>,
) -> Vec<CompiledAuthority> {
    let mut compiled = Vec::with_capacity(authorities.len());
    for Authority { name, key } in authorities {
        let key = key.as_ref().ok_or_else(|| "has no key".to_owned());
        match key.and_then(|key| read_key(key, trust)) {
            Ok(key) => compiled.push(CompiledAuthority { name: name.clone(), key }),
            Err(error) => problems.push(format!("authority {name}: {error}")),
        }
    }
    compiled
}

/// The key of an authority, wherever it stands.
fn read_key(key: &KeyAuthority, trust: &TrustSources) -> Result<TrustedKey, String> {
    let KeyAuthority { data, config_map_ref, secret_ref } = key;
    let (what, text) = match (data, config_map_ref, secret_ref) {
        (Some(data), None, None) => ("its key".to_owned(), Some(data)),
        (None, Some(it), None) => {
            let text = trust.config_maps.get(&it.name).and_then(|data| data.get(&it.key));
            (format!("key {} of ConfigMap {}", it.key, it.name), text)
        }
        (None, None, Some(it)) => {
            let text = trust.secrets.get(&it.name).and_then(|data| data.get(&it.key));
            (format!("key {} of Secret {}", it.key, it.name), text)
        }
        _ => return Err("has not exactly one source for its key".to_owned()),
    };
    let text = text.ok_or_else(|| {
        format!(
            "{what} does not exist in the namespace of weighbridge, or lacks the label weighbridge.dev/trust: \"true\""
        )
    })?;
    keys::parse(text).map_err(|error| format!("{what} cannot be used: {error}"))
}

/// Why nobody could ever satisfy the policy. Not asked while keys are missing: what is missing was said already.
fn unsatisfiable(authorities: &[CompiledAuthority], required: usize, complete: bool) -> Option<String> {
    let mut keys: Vec<&str> = authorities.iter().map(|authority| authority.key.fingerprint.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let impossible = complete && keys.len() < required;
    impossible.then(|| format!("required is {required}, and the authorities hold {} distinct keys", keys.len()))
}

fn rules(content: &Content) -> ContentRules {
    let Content { read_only, writers, reverify_after, max_age, trusted_storage, read_as } = content;
    let reverify_after = reverify_after.and_then(positive);
    let by_default = || reverify_after.map(|after| after.saturating_mul(MAX_AGE_RUNS));
    ContentRules {
        read_only: *read_only,
        writers: writers.iter().map(|writer| writer.service_account.clone()).collect(),
        reverify_after,
        max_age: max_age.and_then(positive).or_else(by_default),
        trusted_storage: trusted_storage.clone(),
        read_as: read_as.clone(),
    }
}

/// A duration that says something; the schema lets none through that is not positive.
fn positive(duration: Duration) -> Option<SignedDuration> {
    let length = SignedDuration::try_from(std::time::Duration::from(duration)).ok()?;
    (!duration.is_negative() && length.is_positive()).then_some(length)
}

#[cfg(test)]
mod tests;
