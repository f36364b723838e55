//! What the webhook configurations should be: pure.
//!
//! ```text
//! policies ──group by selector──▶ scopes ──▶ gates.<policy>.weighbridge.dev      where a policy denies: Fail, once armed
//! namespaces with policies ───────────┘ ├──▶ pods.<policy>.weighbridge.dev       Fail where a policy denies, once armed
//! of their own, by name                 ├──▶ templates.<policy>.weighbridge.dev  Ignore; custom resources too
//!                                       ├──▶ loaders.<policy>.weighbridge.dev    as pods: what loads into running Pods
//!                                       └──▶ cluster.weighbridge.dev             Ignore: what lies in no namespace
//!                                            probe.weighbridge.dev               our own dry-run requests alone
//! ```

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};

use super::{ARMED, CONFIGURATION, Settings};
use crate::api::names::{is_subdomain, with_hash};
use crate::api::probe::PROBE_OBJECT;
use crate::policy::EXEMPT_NAMESPACES;
use crate::workload::CustomResource;

/// The label that the API server itself keeps on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// How many different selectors get entries of their own. The API server evaluates each entry for each request about a
/// Pod, and calls us once for each that matches; beyond this, one entry for all namespaces is cheaper.
pub const MAX_SCOPES: usize = 32;
/// How many namespaces with policies of their own are named in an entry. The API server compares each request about a Pod
/// with all of them, and a name takes 64 bytes of the configuration, of which etcd keeps 1.5 MiB; beyond this, an entry
/// for all namespaces is cheaper.
pub const MAX_NAMED_NAMESPACES: usize = 1000;
/// How long the API server waits for an answer. Ours come in milliseconds, or after half a second where the index lags
/// behind; longer than this, a replica that was killed would hold up everybody whose call it had taken.
const TIMEOUT_SECONDS: i32 = 5;
/// Longest part of an entry's name that comes from a policy: the name of an entry has at most 253 characters.
const MAX_POLICY_IN_NAME: usize = 200;
/// Hex digits of the hash in a name that is cut: 40 bits tell the few policies of a cluster apart.
const NAME_HASH_CHARS: usize = 10;
/// Path of the webhook that judges.
const VALIDATE_PATH: &str = "/validate";
/// Path of the webhook that gates new Pods.
const MUTATE_PATH: &str = "/mutate";
/// Path of the webhook that answers probes.
const PROBE_PATH: &str = "/probe";
/// Port of the Service.
const SERVICE_PORT: i32 = 443;

/// A policy, as far as the webhook configuration is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyScope {
    /// Its name.
    pub name: String,
    /// The namespaces that it selects.
    pub selector: LabelSelector,
    /// Whether it refuses requests.
    pub denies: bool,
}

/// The namespaces of one or more policies.
#[derive(Clone, Debug, PartialEq)]
struct Scope {
    /// What stands between an entry's kind and our domain: a dot and the name of a policy of the cluster. For namespaces
    /// with policies of their own there is no such dot, so that no policy of the cluster can take the name.
    name: String,
    selector: LabelSelector,
    denies: bool,
}

/// What the webhook is to be asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Covered {
    /// The cluster-scoped policies.
    pub policies: Vec<PolicyScope>,
    /// Namespaces that have policies of their own, each with whether one of these refuses requests.
    pub namespaces: BTreeMap<String, bool>,
    /// The custom resources that are judged.
    pub custom: Vec<CustomResource>,
}

/// The configuration as it should be. `ca_bundle` is PEM text. `owner` is an object that takes it along when it goes.
pub fn desired(
    Covered { policies, namespaces, custom }: &Covered,
    ca_bundle: &str,
    armed: bool,
    settings: &Settings,
    owner: Option<OwnerReference>,
) -> ValidatingWebhookConfiguration {
    let scopes = scopes(policies, namespaces);
    let pods = without_covered(&scopes, |scope, other| scope.denies || !other.denies);
    let templates = without_covered(&scopes, |_, _| true);
    let loaders = rules(custom.iter().filter(|it| it.loads && it.namespaced), "Namespaced");
    let early = rules(custom.iter().filter(|it| !it.loads && it.namespaced), "Namespaced");
    let anywhere = rules(custom.iter().filter(|it| !it.namespaced && !policies.is_empty()), "Cluster");
    let entries = (pods.iter().map(|scope| pod_entry(scope, ca_bundle, armed, settings)))
        .chain(pods.iter().map(|scope| loader_entry(scope, &loaders, ca_bundle, armed, settings)))
        .chain(templates.into_iter().map(|scope| template_entry(scope, &early, ca_bundle, settings)))
        .chain([cluster_entry(anywhere, ca_bundle, settings), probe_entry(ca_bundle, settings)])
        // The API server takes no entry without a rule.
        .filter(|entry| entry.rules.as_ref().is_some_and(|rules| !rules.is_empty()));
    ValidatingWebhookConfiguration { metadata: metadata(armed, owner), webhooks: Some(entries.collect()) }
}

/// The configuration of the webhook that gates new Pods: where a policy denies, and nowhere else. It fails closed
/// together with the one above.
pub fn desired_gates(
    Covered { policies, namespaces, custom: _ }: &Covered,
    ca_bundle: &str,
    armed: bool,
    settings: &Settings,
    owner: Option<OwnerReference>,
) -> MutatingWebhookConfiguration {
    let mut scopes = scopes(policies, namespaces);
    scopes.retain(|scope| scope.denies);
    let entries = without_covered(&scopes, |_, _| true);
    let entries = entries.into_iter().map(|scope| gate_entry(scope, ca_bundle, armed, settings));
    MutatingWebhookConfiguration { metadata: metadata(armed, owner), webhooks: Some(entries.collect()) }
}

fn metadata(armed: bool, owner: Option<OwnerReference>) -> ObjectMeta {
    ObjectMeta {
        name: Some(CONFIGURATION.to_owned()),
        labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "weighbridge".to_owned())])),
        annotations: Some(BTreeMap::from([(ARMED.to_owned(), armed.to_string())])),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Policies by what they select. Too many selectors become one that selects everything, as does one that the API server
/// would not take: a single bad selector must not keep all others from being applied, and must not leave a hole either.
fn scopes(policies: &[PolicyScope], namespaces: &BTreeMap<String, bool>) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for policy in policies {
        let selector = if is_valid(&policy.selector) { normal(&policy.selector) } else { LabelSelector::default() };
        match scopes.iter_mut().find(|scope| scope.selector == selector) {
            Some(scope) => scope.denies |= policy.denies,
            None => {
                scopes.push(Scope { name: format!(".{}", name_part(&policy.name)), selector, denies: policy.denies })
            }
        }
    }
    if scopes.len() > MAX_SCOPES {
        let denies = scopes.iter().any(|scope| scope.denies);
        scopes = vec![Scope { name: ".all".to_owned(), selector: LabelSelector::default(), denies }];
    }
    scopes.extend(by_names(namespaces));
    scopes
}

/// The namespaces that have policies of their own: those where one denies fail closed, all others never do.
fn by_names(namespaces: &BTreeMap<String, bool>) -> Vec<Scope> {
    let named = |wanted: bool| namespaces.iter().filter(move |(_, denies)| **denies == wanted);
    let scope = |(name, denies): (&str, bool)| {
        let names: Vec<String> = named(denies).map(|(name, _)| name.clone()).collect();
        let selector = match names.len() {
            0 => return None,
            1..=MAX_NAMED_NAMESPACES => {
                LabelSelector { match_expressions: Some(vec![by_name("In", names)]), match_labels: None }
            }
            _ => LabelSelector::default(),
        };
        Some(Scope { name: name.to_owned(), selector, denies })
    };
    [("", true), ("-lax", false)].into_iter().filter_map(scope).collect()
}

/// Leaves out scopes that lie in one which selects everything and is strict enough for them.
fn without_covered(scopes: &[Scope], strict_enough: impl Fn(&Scope, &Scope) -> bool) -> Vec<&Scope> {
    let everything = scopes.iter().find(|scope| scope.selector == LabelSelector::default());
    let covered = |other: &Scope| everything.is_some_and(|scope| scope != other && strict_enough(scope, other));
    scopes.iter().filter(|scope| !covered(scope)).collect()
}

fn pod_entry(scope: &Scope, ca_bundle: &str, armed: bool, settings: &Settings) -> ValidatingWebhook {
    ValidatingWebhook {
        name: format!("pods{}.weighbridge.dev", scope.name),
        failure_policy: Some(failure_policy(scope, armed)),
        namespace_selector: Some(outside_exempt(&scope.selector, &settings.namespace)),
        rules: Some(vec![
            rule("", &["CREATE", "UPDATE"], &["pods"]),
            rule("", &["UPDATE"], &["pods/ephemeralcontainers"]),
        ]),
        match_conditions: Some(vec![not_the_operator(settings)]),
        ..entry(ca_bundle, VALIDATE_PATH, settings)
    }
}

/// Asked again when a later webhook has changed the Pod: what that adds may have to wait for.
fn gate_entry(scope: &Scope, ca_bundle: &str, armed: bool, settings: &Settings) -> MutatingWebhook {
    MutatingWebhook {
        name: format!("gates{}.weighbridge.dev", scope.name),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config(ca_bundle, MUTATE_PATH, settings),
        failure_policy: Some(failure_policy(scope, armed)),
        match_conditions: Some(vec![not_the_operator(settings)]),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(outside_exempt(&scope.selector, &settings.namespace)),
        object_selector: Some(LabelSelector::default()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![rule("", &["CREATE"], &["pods"])]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
    }
}

/// Verifier Pods use models before anybody has read them; a policy of the API server limits what the operator may create
/// under this account.
fn not_the_operator(settings: &Settings) -> MatchCondition {
    MatchCondition {
        name: "not-the-operator".to_owned(),
        expression: format!("request.userInfo.username != {:?}", settings.operator_account),
    }
}

fn template_entry(
    scope: &Scope,
    custom: &[RuleWithOperations],
    ca_bundle: &str,
    settings: &Settings,
) -> ValidatingWebhook {
    let known = [
        rule("apps", &["CREATE", "UPDATE"], &["daemonsets", "deployments", "replicasets", "statefulsets"]),
        rule("batch", &["CREATE", "UPDATE"], &["cronjobs", "jobs"]),
    ];
    ValidatingWebhook {
        name: format!("templates{}.weighbridge.dev", scope.name),
        failure_policy: Some("Ignore".to_owned()),
        namespace_selector: Some(outside_exempt(&scope.selector, &settings.namespace)),
        rules: Some(known.into_iter().chain(custom.iter().cloned()).collect()),
        ..entry(ca_bundle, VALIDATE_PATH, settings)
    }
}

/// What loads models into Pods that run: no Pod will be judged for it, so it is treated as one.
fn loader_entry(
    scope: &Scope,
    rules: &[RuleWithOperations],
    ca_bundle: &str,
    armed: bool,
    settings: &Settings,
) -> ValidatingWebhook {
    ValidatingWebhook {
        name: format!("loaders{}.weighbridge.dev", scope.name),
        failure_policy: Some(failure_policy(scope, armed)),
        namespace_selector: Some(outside_exempt(&scope.selector, &settings.namespace)),
        rules: Some(rules.to_vec()),
        ..entry(ca_bundle, VALIDATE_PATH, settings)
    }
}

/// What lies in no namespace, whatever the policies select.
fn cluster_entry(rules: Vec<RuleWithOperations>, ca_bundle: &str, settings: &Settings) -> ValidatingWebhook {
    ValidatingWebhook {
        name: "cluster.weighbridge.dev".to_owned(),
        failure_policy: Some("Ignore".to_owned()),
        namespace_selector: Some(LabelSelector::default()),
        rules: Some(rules),
        ..entry(ca_bundle, VALIDATE_PATH, settings)
    }
}

/// One rule for each group, for every version: what is read of an object is the same in all of them.
fn rules<'a>(resources: impl Iterator<Item = &'a CustomResource>, scope: &str) -> Vec<RuleWithOperations> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in resources {
        groups.entry(&resource.group).or_default().push(&resource.resource);
    }
    let rule = |(group, resources): (&str, Vec<&str>)| RuleWithOperations {
        api_versions: Some(vec!["*".to_owned()]),
        scope: Some(scope.to_owned()),
        ..rule(group, &["CREATE", "UPDATE"], &resources)
    };
    groups.into_iter().map(rule).collect()
}

fn failure_policy(scope: &Scope, armed: bool) -> String {
    if scope.denies && armed { "Fail" } else { "Ignore" }.to_owned()
}

/// Fails closed, so that a probe which is not answered is not mistaken for one that is; for one name in our namespace.
fn probe_entry(ca_bundle: &str, settings: &Settings) -> ValidatingWebhook {
    ValidatingWebhook {
        name: "probe.weighbridge.dev".to_owned(),
        failure_policy: Some("Fail".to_owned()),
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(vec![by_name("In", vec![settings.namespace.clone()])]),
            match_labels: None,
        }),
        rules: Some(vec![rule("", &["CREATE"], &["configmaps"])]),
        match_conditions: Some(vec![MatchCondition {
            name: "probe".to_owned(),
            expression: format!("has(request.name) && request.name == {PROBE_OBJECT:?}"),
        }]),
        ..entry(ca_bundle, PROBE_PATH, settings)
    }
}

/// What all entries have in common. Nothing is left to defaults: a field that we do not set, others may.
fn entry(ca_bundle: &str, path: &str, settings: &Settings) -> ValidatingWebhook {
    ValidatingWebhook {
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config(ca_bundle, path, settings),
        match_policy: Some("Equivalent".to_owned()),
        object_selector: Some(LabelSelector::default()),
        side_effects: "NoneOnDryRun".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..ValidatingWebhook::default()
    }
}

fn client_config(ca_bundle: &str, path: &str, settings: &Settings) -> WebhookClientConfig {
    WebhookClientConfig {
        ca_bundle: Some(ByteString(ca_bundle.as_bytes().to_vec())),
        service: Some(ServiceReference {
            name: settings.service.clone(),
            namespace: settings.namespace.clone(),
            path: Some(path.to_owned()),
            port: Some(SERVICE_PORT),
        }),
        url: None,
    }
}

fn rule(group: &str, operations: &[&str], resources: &[&str]) -> RuleWithOperations {
    let owned = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    RuleWithOperations {
        api_groups: owned(&[group]),
        api_versions: owned(&["v1"]),
        operations: owned(operations),
        resources: owned(resources),
        scope: Some("Namespaced".to_owned()),
    }
}

fn outside_exempt(selector: &LabelSelector, own: &str) -> LabelSelector {
    let mut selector = selector.clone();
    let exempt = EXEMPT_NAMESPACES.into_iter().chain([own]).map(str::to_owned).collect();
    selector.match_expressions.get_or_insert_default().push(by_name("NotIn", exempt));
    selector
}

fn by_name(operator: &str, values: Vec<String>) -> LabelSelectorRequirement {
    LabelSelectorRequirement { key: NAMESPACE_NAME.to_owned(), operator: operator.to_owned(), values: Some(values) }
}

/// The part of an entry's name that stands for a policy.
fn name_part(policy: &str) -> String {
    if policy.len() <= MAX_POLICY_IN_NAME {
        return policy.to_owned();
    }
    with_hash(policy, MAX_POLICY_IN_NAME - 1 - NAME_HASH_CHARS, policy, NAME_HASH_CHARS)
}

/// The same selector, spelt in the one way in which equal ones are equal.
fn normal(selector: &LabelSelector) -> LabelSelector {
    let mut expressions = selector.match_expressions.clone().unwrap_or_default();
    for expression in &mut expressions {
        expression.values = expression.values.take().filter(|values| !values.is_empty()).map(|mut values| {
            values.sort();
            values.dedup();
            values
        });
    }
    expressions.sort_by(|a, b| (&a.key, &a.operator, &a.values).cmp(&(&b.key, &b.operator, &b.values)));
    expressions.dedup();
    LabelSelector {
        match_expressions: Some(expressions).filter(|expressions| !expressions.is_empty()),
        match_labels: selector.match_labels.clone().filter(|labels| !labels.is_empty()),
    }
}

/// Whether the API server takes this selector.
pub fn is_valid(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.iter().flatten().all(|(key, value)| is_key(key) && is_value(value));
    labels
        && selector.match_expressions.iter().flatten().all(|expression| {
            let values = expression.values.as_deref().unwrap_or_default();
            let fits = match expression.operator.as_str() {
                "In" | "NotIn" => !values.is_empty(),
                "Exists" | "DoesNotExist" => values.is_empty(),
                _ => false,
            };
            fits && is_key(&expression.key) && values.iter().all(|value| is_value(value))
        })
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_subdomain)
}

fn is_value(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63
        && value.chars().all(inner)
        && value.chars().next().is_none_or(outer)
        && value.chars().last().is_none_or(outer)
}

#[cfg(test)]
#[path = "configuration_tests.rs"]
mod tests;
