//! Label selectors, understood once.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::sort_out;

/// Labels of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// A label selector: all of its requirements must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    DoesNotExist(String),
}

impl Selector {
    /// The requirements that can be understood, and what was wrong with the others. Leaving one out selects more, never
    /// less: whoever meant to be selected still is.
    pub(super) fn compile(selector: &LabelSelector) -> (Self, Vec<String>) {
        let exact = selector.match_labels.iter().flatten();
        let exact = exact.map(|(key, value)| Ok(Requirement::In(key.clone(), BTreeSet::from([value.clone()]))));
        let expressions = selector.match_expressions.iter().flatten().map(requirement);
        let (requirements, errors) = sort_out(exact.chain(expressions));
        (Selector { requirements }, errors)
    }

    /// Whether it asks for a label other than this one.
    pub(super) fn asks_beside(&self, label: &str) -> bool {
        self.requirements.iter().any(|requirement| match requirement {
            Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::Exists(key)
            | Requirement::DoesNotExist(key) => key != label,
        })
    }

    /// Whether an object with these labels is selected.
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => !labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

/// The selector without the expressions that nobody understands, for the API server, which refuses them.
pub(super) fn understood(selector: &LabelSelector) -> LabelSelector {
    let expressions = selector.match_expressions.iter().flatten();
    let expressions: Vec<_> = expressions.filter(|expression| requirement(expression).is_ok()).cloned().collect();
    LabelSelector {
        match_labels: selector.match_labels.clone(),
        match_expressions: (!expressions.is_empty()).then_some(expressions),
    }
}

fn requirement(expression: &LabelSelectorRequirement) -> Result<Requirement, String> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    let values: BTreeSet<String> = values.iter().flatten().cloned().collect();
    let key = key.clone();
    match (operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Requirement::In(key, values)),
        ("NotIn", false) => Ok(Requirement::NotIn(key, values)),
        ("Exists", true) => Ok(Requirement::Exists(key)),
        ("DoesNotExist", true) => Ok(Requirement::DoesNotExist(key)),
        ("In" | "NotIn", true) => Err(format!("a label selector has {operator} without values")),
        ("Exists" | "DoesNotExist", false) => Err(format!("a label selector has {operator} with values")),
        _ => Err("a label selector has an operator other than In, NotIn, Exists and DoesNotExist".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn compile(selector: Value) -> (Selector, Vec<String>) {
        Selector::compile(&serde_json::from_value(selector).unwrap())
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        json!({ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }] })
    }

    #[test]
    fn operators_mean_what_kubernetes_means() {
        let (prod, dev, none) =
            (json!({ "tier": "prod" }), json!({ "tier": "dev" }), json!({ "team": "x", "tierx": "prod" }));
        for (selector, expected) in [
            (json!({}), [true, true, true]),
            (json!({ "matchLabels": { "tier": "prod" } }), [true, false, false]),
            (expression("In", &["prod", "qa"]), [true, false, false]),
            (expression("NotIn", &["prod"]), [false, true, true]),
            (expression("Exists", &[]), [true, true, false]),
            (expression("DoesNotExist", &[]), [false, false, true]),
        ] {
            let (compiled, errors) = compile(selector.clone());
            assert_eq!(errors, [""; 0], "{selector}");
            let found = [&prod, &dev, &none]
                .map(|labels| compiled.matches(&serde_json::from_value::<Labels>(labels.clone()).unwrap()));
            assert_eq!(found, expected, "{selector}");
        }
    }

    #[test]
    fn what_is_not_understood_selects_more_and_is_said() {
        for broken in [expression("in", &["a"]), expression("In", &[]), expression("Exists", &["a"])] {
            let (compiled, errors) = compile(broken.clone());
            assert_eq!(errors.len(), 1, "{broken}");
            assert!(compiled.matches(&Labels::new()));
            assert_eq!(understood(&serde_json::from_value(broken).unwrap()), LabelSelector::default());
        }
    }
}
