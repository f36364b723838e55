//! Whether the webhook is armed: pure.
//!
//! Armed is what the live configuration says, so a restart of the operator changes nothing. It becomes armed when a probe
//! that went through this very configuration reached every ready replica; it stays armed until somebody deletes the
//! configuration (that is how people disarm it in an emergency) or uninstalls weighbridge. A configuration that was
//! deleted comes back unarmed, and must be proven again.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::ResourceExt;

use super::ARMED;
use super::probe::Report;

/// Whether the configuration should be armed. `live` is the configuration as it was just read, `replicas` are those that
/// hold a Lease.
pub fn is_armed(
    live: Option<&ValidatingWebhookConfiguration>,
    report: Option<&Report>,
    replicas: &BTreeSet<String>,
) -> bool {
    let Some(live) = live else { return false };
    was_armed(live) || report.is_some_and(|report| proves(report, live.uid().as_deref(), replicas))
}

fn was_armed(live: &ValidatingWebhookConfiguration) -> bool {
    let pods = |name: &str| name.starts_with("pods.");
    let fails = |policy: &Option<String>| policy.as_deref() == Some("Fail");
    live.annotations().get(ARMED).is_some_and(|armed| armed == "true")
        || live.webhooks.iter().flatten().any(|entry| pods(&entry.name) && fails(&entry.failure_policy))
}

fn proves(report: &Report, configuration: Option<&str>, replicas: &BTreeSet<String>) -> bool {
    report.complete()
        && Some(report.configuration.as_str()) == configuration
        && !replicas.is_empty()
        && replicas.is_subset(&report.reached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live(armed: Option<&str>, policy: &str) -> Option<ValidatingWebhookConfiguration> {
        let annotations = armed.map(|armed| json!({ "weighbridge.dev/armed": armed }));
        let object = json!({
            "metadata": { "name": "weighbridge", "uid": "u", "annotations": annotations },
            "webhooks": [
                { "name": "pods.a.weighbridge.dev", "failurePolicy": policy, "clientConfig": {},
                  "admissionReviewVersions": ["v1"], "sideEffects": "None" },
                { "name": "probe.weighbridge.dev", "failurePolicy": "Fail", "clientConfig": {},
                  "admissionReviewVersions": ["v1"], "sideEffects": "None" },
            ],
        });
        Some(serde_json::from_value(object).unwrap())
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn report(uid: &str, reached: &[&str], missing: &[&str]) -> Option<Report> {
        Some(Report { configuration: uid.to_owned(), reached: set(reached), missing: set(missing), error: None })
    }

    #[test]
    fn armed_is_what_was_proven_once() {
        let fresh = || live(Some("false"), "Ignore");
        let rows = [
            ("there is none", None, report("u", &["a"], &[]), &["a"][..], false),
            ("never probed", fresh(), None, &["a"], false),
            ("probed", fresh(), report("u", &["a", "b"], &[]), &["a", "b"], true),
            ("one did not answer", fresh(), report("u", &["a"], &["b"]), &["a", "b"], false),
            ("one is new since", fresh(), report("u", &["a"], &[]), &["a", "b"], false),
            ("one is gone since", fresh(), report("u", &["a", "b"], &[]), &["a"], true),
            ("all are gone since", fresh(), report("u", &["a"], &[]), &[], false),
            ("nobody there", fresh(), report("u", &[], &[]), &[], false),
            ("the configuration is another one", fresh(), report("t", &["a"], &[]), &["a"], false),
            ("armed, after a restart", live(Some("true"), "Fail"), None, &[], true),
            ("armed, and no probe comes back", live(Some("true"), "Fail"), report("u", &[], &["a"]), &["a"], true),
            ("armed, and somebody set Ignore", live(Some("true"), "Ignore"), None, &["a"], true),
            ("armed, and somebody removed the annotation", live(None, "Fail"), None, &["a"], true),
        ];
        for (name, live, report, replicas, wanted) in rows {
            assert_eq!(is_armed(live.as_ref(), report.as_ref(), &set(replicas)), wanted, "{name}");
        }
    }
}
