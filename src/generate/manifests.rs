//! The rendered install, for `kubectl apply -f`: what Helm makes of the chart with its default values.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::{Artifact, GenerateError, notice};

/// The namespace that the rendered install goes to.
const NAMESPACE: &str = "weighbridge-system";
/// The image that the chart names by default.
const IMAGE: &str = "ghcr.io/weighbridge/weighbridge";
/// Stands where the digest of the image must be put: a commit cannot hold the digest of the image that is built from
/// it.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Renders the chart below the root with the program `helm`.
pub fn rendered(root: &Path, helm: &OsStr) -> Result<Artifact, GenerateError> {
    let output = Command::new(helm)
        .args(["template", "weighbridge", "charts/weighbridge", "--namespace", NAMESPACE, "--no-hooks"])
        .args(["--set", &format!("image.digest={NO_DIGEST}")])
        .current_dir(root)
        .output()
        .map_err(|source| GenerateError::NoHelm { program: helm.to_string_lossy().into_owned(), source })?;
    if !output.status.success() {
        return Err(GenerateError::Chart(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let chart = String::from_utf8_lossy(&output.stdout);
    let content = format!(
        "{}#\n# Before it is applied, put your image where {IMAGE} stands, and its digest where {} does:\n\
         #   sed 's|{IMAGE}|registry.example.com/weighbridge|; s/{NO_DIGEST}/sha256:…/' \\\n\
         #     manifests/weighbridge.yaml | kubectl apply --server-side -f -\n\
         ---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n{chart}",
        notice("charts/weighbridge"),
        "sha256:000…",
    );
    Ok(Artifact { path: "manifests/weighbridge.yaml".into(), content })
}
