//! `weighbridge record`: prints the record of a source, to be applied ahead of a rollout.

use std::io::Write;

use clap::Args;
use kube::Resource;
use serde_json::json;

use super::{Exit, UsageError};
use crate::api::names::{MAX_LABEL_BYTES, MAX_SUBDOMAIN_BYTES, is_label, is_subdomain};
use crate::api::v1alpha1::{DISCOVERY, ModelVerification, ModelVerificationSpec};
use crate::model::shown;

/// Print the record of a claim's path, to be applied ahead of a rollout.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  weighbridge record models llama/8b | kubectl apply --namespace shop -f -")]
pub(super) struct Flags {
    /// Name of the PersistentVolumeClaim.
    claim: String,
    /// Path of the model in the claim; the claim's root if left out.
    #[arg(default_value = "")]
    path: String,
    /// Where the bundle is, as in the annotation of a Pod: `volume:` and a path inside the model, `volume:` alone to look
    /// for it, `configmap:<name>/<key>`, `oci://<host>/<repository>@sha256:<digits>`, or `inline:` and the bundle in base64.
    #[arg(long, default_value = DISCOVERY)]
    signature: String,
    /// Namespace of the claim; left out of the object if not given.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Print JSON instead of YAML.
    #[arg(long)]
    json: bool,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, UsageError> {
        if !is_subdomain(&self.claim) {
            return Err(not_a_name("claim", &self.claim, "`-` and `.`", MAX_SUBDOMAIN_BYTES));
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|namespace| !is_label(namespace)) {
            return Err(not_a_name("namespace", namespace, "`-`", MAX_LABEL_BYTES));
        }
        let spec = ModelVerificationSpec::of_claim(self.claim, normal(&self.path)?);
        let spec = spec.signed_at(&self.signature).map_err(|error| UsageError(format!("--signature {error}")))?;
        let mut record = json!({
            "apiVersion": ModelVerification::api_version(&()),
            "kind": ModelVerification::kind(&()),
            "metadata": { "name": spec.record_name() },
            "spec": spec,
        });
        if let Some(namespace) = self.namespace {
            record["metadata"]["namespace"] = json!(namespace);
        }
        let text =
            if self.json { serde_json::to_string_pretty(&record).ok() } else { serde_saphyr::to_string(&record).ok() };
        let text = text.ok_or_else(|| UsageError("the record cannot be printed".to_owned()))?;
        // A reader that goes away has seen enough.
        let _ = writeln!(out, "{}", text.trim_end());
        Ok(Exit::Success)
    }
}

/// The API server would refuse the record, and say so after everything else was set up.
fn not_a_name(what: &str, name: &str, signs: &str, most: usize) -> UsageError {
    UsageError(format!(
        "`{}` is no name that a {what} can have; name it by lower-case letters and digits, with {signs} between them, and \
         {most} characters at most",
        shown(name)
    ))
}

/// A path relative to the claim's root, by components.
fn normal(path: &str) -> Result<String, UsageError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(UsageError(format!("`{path}` leads out of the claim: name a path without `..`")));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_many_spellings_and_one_name() {
        for path in ["", "/", ".", "./"] {
            assert_eq!(normal(path).unwrap(), "");
        }
        assert_eq!(normal("/llama//8b/").unwrap(), "llama/8b");
    }

    #[test]
    fn a_path_that_leads_out_is_wrong_usage() {
        assert!(normal("a/../../b").is_err());
    }

    fn flags(claim: &str, namespace: Option<&str>) -> Flags {
        Flags {
            claim: claim.into(),
            path: "/llama".into(),
            signature: DISCOVERY.into(),
            namespace: namespace.map(str::to_owned),
            json: true,
        }
    }

    #[test]
    fn a_name_that_kubernetes_refuses_is_wrong_usage() {
        let said = |claim, namespace| flags(claim, namespace).run(&mut Vec::new()).map_err(|error| error.0);
        assert!(said("llama.8b", Some("shop")).is_ok());
        for (claim, namespace, expected) in [
            ("Llama", None, "`Llama` is no name that a claim can have"),
            ("claim/llama", None, "`claim/llama` is no name that a claim can have"),
            ("", None, "`` is no name that a claim can have"),
            ("llama", Some("shop.eu"), "`shop.eu` is no name that a namespace can have"),
            ("llama", Some(""), "`` is no name that a namespace can have"),
        ] {
            assert!(said(claim, namespace).unwrap_err().starts_with(expected), "{claim} {namespace:?}");
        }
    }

    #[test]
    fn what_is_printed_is_a_record_under_its_own_name() {
        let mut out = Vec::new();
        flags("models", None).run(&mut out).unwrap();
        let record: ModelVerification = serde_json::from_slice(&out).unwrap();
        assert_eq!(record.metadata.name, Some(record.spec.record_name()));
    }
}
