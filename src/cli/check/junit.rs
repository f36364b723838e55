//! The result as JUnit's XML, which build servers show as tests: one for each object.

use super::judge::{Checked, Object, Outcome};
use super::text::held;
use crate::decision::{deny_text, warnings};

/// The report: what is refused has failed, what is not determined is an error.
pub(super) fn xml(checked: &Checked) -> String {
    let count = |outcome: Outcome| checked.objects.iter().filter(|object| object.outcome() == outcome).count();
    let problems: String = checked.problems.iter().map(problem).collect();
    let cases: String = checked.objects.iter().map(case).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"weighbridge check\" tests=\"{}\" \
         failures=\"{}\" errors=\"{}\">\n{problems}{cases}</testsuite></testsuites>\n",
        checked.objects.len() + checked.problems.len(),
        count(Outcome::Refused),
        count(Outcome::Undetermined) + checked.problems.len(),
    )
}

fn problem((policy, problem): &(String, String)) -> String {
    let (policy, problem) = (escaped(policy), escaped(problem));
    format!("<testcase classname=\"policies\" name=\"{policy}\"><error message=\"{problem}\"/></testcase>\n")
}

fn case(object: &Object) -> String {
    let decision = object.pods.as_ref().unwrap_or(&object.decision);
    let denied = Some(deny_text(decision)).filter(|text| !text.is_empty());
    let said = escaped(&denied.into_iter().chain(held(decision)).collect::<Vec<_>>().join("\n"));
    let message = said.lines().next().unwrap_or_default();
    let ending = match object.outcome() {
        Outcome::Allowed => String::new(),
        Outcome::Refused => format!("<failure message=\"{message}\">{said}</failure>"),
        Outcome::Undetermined => format!("<error message=\"{message}\">{said}</error>"),
    };
    let warned = escaped(&warnings(&object.decision).join("\n"));
    let warned = if warned.is_empty() { String::new() } else { format!("<system-out>{warned}</system-out>") };
    format!(
        "<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\">{ending}{warned}</testcase>\n",
        escaped(&format!("{}.{}", object.extract.subject.namespace, object.extract.subject.kind)),
        escaped(&object.extract.subject.name),
        escaped(&object.file),
        object.line,
    )
}

/// Text in XML. What XML has no spelling for is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(char),
            _ if char.is_control() || matches!(char, '\u{FFFE}' | '\u{FFFF}') => {}
            _ => out.push(char),
        }
    }
    out
}
