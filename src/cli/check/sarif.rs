//! The result as SARIF 2.1.0, which code hosts show beside the lines of a change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::judge::{Checked, Object};
use crate::decision::{Action, Violation};

/// Where the form is described.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The log, as JSON: one result for each violation, of an object itself or of its Pods.
pub(super) fn json(checked: &Checked) -> String {
    let violations = checked.objects.iter().flat_map(|object| all(object).map(move |violation| (object, violation)));
    let rules: BTreeSet<String> = violations.clone().map(|(_, violation)| violation.code.to_string()).collect();
    let results: Vec<Value> = violations.map(|(object, violation)| result(object, violation)).collect();
    let notifications: Vec<Value> = (checked.problems.iter())
        .map(|(policy, problem)| json!({ "level": "error", "message": { "text": format!("policy {policy}: {problem}") } }))
        .collect();
    let rules: Vec<Value> = rules.into_iter().map(|code| json!({ "id": code })).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "weighbridge", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "invocations": [{ "executionSuccessful": true, "toolConfigurationNotifications": notifications }],
            "results": results,
        }],
    })
    .to_string()
}

/// The violations of an object, and of its Pods where these fare worse.
fn all(object: &Object) -> impl Iterator<Item = &Violation> + Clone {
    object.pods.as_ref().unwrap_or(&object.decision).violations.iter()
}

fn result(object: &Object, violation: &Violation) -> Value {
    let level = match violation.action {
        Action::Deny | Action::Hold => "error",
        Action::Warn => "warning",
        Action::Audit => "note",
    };
    let (what, fix) = (&violation.finding.what, &violation.finding.fix);
    json!({
        "ruleId": violation.code.to_string(),
        "level": level,
        "message": { "text": format!("{}: {}: {what} — {fix}", violation.policy, violation.at) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": object.file },
                "region": { "startLine": object.line },
            },
            "logicalLocations": [{ "fullyQualifiedName": format!("{}: {}", object.name(), violation.at) }],
        }],
    })
}
