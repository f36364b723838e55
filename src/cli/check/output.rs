//! What `weighbridge check --output json` prints, and its schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::Serialize;

use super::explain;
use super::judge::{Checked, Object, Outcome};
use crate::api::v1alpha1::{Code, WorkloadModel};
use crate::decision::{Action, Decision, JudgedUse, Violation, deny_text, warnings};
use crate::facts::whole;
use crate::generate::Artifact;

/// The version of the form. Fields may be added to it; one that is taken away or means something else makes a new one.
const VERSION: u32 = 1;

/// The result of `weighbridge check --output json`: one object in one line. Fields that do not apply are absent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CheckOutput {
    /// Version of this form: 1.
    version: u32,
    /// When it was checked.
    #[schemars(with = "String")]
    checked_at: Time,
    /// What it all comes to, as the exit code says.
    outcome: OutputOutcome,
    /// Policies that cannot be understood.
    problems: Vec<Problem>,
    /// Objects with models that a policy selects, in the order of the manifests.
    objects: Vec<OutputObject>,
    /// How many other objects there were.
    other_objects: usize,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum OutputOutcome {
    /// Nothing would be refused.
    Allowed,
    /// Something would be refused.
    Refused,
    /// Nobody can say from here.
    Undetermined,
}

/// A policy that cannot be understood.
#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    /// Its name; `namespace/name` for one of a namespace.
    policy: String,
    /// What is wrong with it.
    message: String,
}

/// An object with models.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OutputObject {
    /// The file, as it was named on the command line.
    file: String,
    /// The line in which its document begins.
    line: usize,
    /// Its namespace.
    namespace: String,
    /// Its kind.
    kind: String,
    /// Its name.
    name: String,
    /// What it comes to, with the Pods that it makes.
    outcome: OutputOutcome,
    /// What a cluster would say to the object itself.
    decision: OutputDecision,
    /// What a cluster would say to its Pods, where that is worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<OutputDecision>,
    /// Its models.
    models: Vec<OutputModel>,
}

/// A decision, in the words of the webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OutputDecision {
    /// Whether the request is let through, if only to be held.
    allowed: bool,
    /// The text of the denial.
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    /// The warnings.
    warnings: Vec<String>,
    /// All violations.
    violations: Vec<OutputViolation>,
}

/// One way in which an object does not comply with one policy.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OutputViolation {
    /// The policy; `namespace/name` for one of a namespace.
    policy: String,
    /// Where in the object.
    path: String,
    /// See the reference of codes.
    #[schemars(with = "String")]
    code: Code,
    /// What follows: `Deny`, `Hold`, `Warn` or `Audit`.
    action: String,
    /// What is wrong.
    what: String,
    /// How to put it right.
    fix: String,
}

/// A model that a policy selects.
#[derive(Debug, Serialize, JsonSchema)]
struct OutputModel {
    /// What is known of it, as in the status of a workload.
    #[serde(flatten)]
    model: WorkloadModel,
    /// Where in the object it is used.
    path: String,
    /// Each policy with what it has to do with it, then what was found out.
    explanation: Vec<String>,
}

/// One line of JSON.
pub(super) fn json(checked: &Checked) -> String {
    let problem = |(policy, message): &(String, String)| Problem { policy: policy.clone(), message: message.clone() };
    let output = CheckOutput {
        version: VERSION,
        checked_at: whole(checked.world.now),
        outcome: outcome(checked.outcome()),
        problems: checked.problems.iter().map(problem).collect(),
        objects: checked.objects.iter().map(|it| object(checked, it)).collect(),
        other_objects: checked.others,
    };
    serde_json::to_string(&output).unwrap_or_default()
}

/// The schema of the form, for the reference pages.
pub(in super::super) fn schema() -> Artifact {
    Artifact::schema_of::<CheckOutput>("docs/reference/check-output.schema.json")
}

fn outcome(outcome: Outcome) -> OutputOutcome {
    match outcome {
        Outcome::Allowed => OutputOutcome::Allowed,
        Outcome::Refused => OutputOutcome::Refused,
        Outcome::Undetermined => OutputOutcome::Undetermined,
    }
}

fn object(checked: &Checked, object: &Object) -> OutputObject {
    let subject = &object.extract.subject;
    let models = |judged: &JudgedUse| -> Vec<OutputModel> {
        let of = |model: WorkloadModel| OutputModel {
            model,
            path: judged.model_use.at.to_string(),
            explanation: explain::reasons(checked, object, &judged.model_use),
        };
        judged.statuses().into_iter().map(of).collect()
    };
    OutputObject {
        file: object.file.clone(),
        line: object.line,
        namespace: subject.namespace.clone(),
        kind: subject.kind.clone(),
        name: subject.name.clone(),
        outcome: outcome(object.outcome()),
        decision: decision(&object.decision),
        pods: object.pods.as_ref().map(decision),
        models: object.decision.models.iter().flat_map(models).collect(),
    }
}

fn decision(decision: &Decision) -> OutputDecision {
    OutputDecision {
        allowed: decision.allowed(),
        message: deny_text(decision),
        warnings: warnings(decision),
        violations: decision.violations.iter().map(violation).collect(),
    }
}

fn violation(violation: &Violation) -> OutputViolation {
    OutputViolation {
        policy: violation.policy.to_string(),
        path: violation.at.to_string(),
        code: violation.code,
        action: action(violation.action).to_owned(),
        what: violation.finding.what.clone(),
        fix: violation.finding.fix.clone(),
    }
}

/// An action in the words of a policy.
fn action(action: Action) -> &'static str {
    match action {
        Action::Audit => "Audit",
        Action::Warn => "Warn",
        Action::Hold => "Hold",
        Action::Deny => "Deny",
    }
}
