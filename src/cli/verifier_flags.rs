//! What the operator is told about verifier Pods.

use std::num::NonZeroU64;

use clap::Args;
use k8s_openapi::api::core::v1::ResourceRequirements;

use super::UsageError;
use crate::api::v1alpha1::is_host;
use crate::operator::records::{Limits, VerifierSettings};

/// What fits a verifier that reads with as many threads as it has processors: the chart's default.
const RESOURCES: &str = r#"{"requests":{"cpu":"500m","memory":"128Mi"},"limits":{"cpu":"2","memory":"1Gi"}}"#;

/// Flags about verifier Pods.
#[derive(Args, Debug)]
pub(super) struct VerifierFlags {
    /// The image of verifier Pods, with its digest: `repository@sha256:…`. A result counts only if this very image ran.
    #[arg(long, env = "WEIGHBRIDGE_IMAGE", value_name = "IMAGE")]
    image: String,

    /// Requests and limits of verifiers, as JSON.
    #[arg(long, env = "WEIGHBRIDGE_VERIFIER_RESOURCES", value_name = "JSON", default_value = RESOURCES)]
    verifier_resources: String,

    /// A Secret in the workloads' namespaces with which the image is pulled; may be repeated.
    #[arg(
        long = "verifier-image-pull-secret",
        env = "WEIGHBRIDGE_VERIFIER_IMAGE_PULL_SECRETS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    verifier_image_pull_secrets: Vec<String>,

    /// Most bytes that a verifier reads in a second.
    #[arg(long, env = "WEIGHBRIDGE_VERIFIER_IO_LIMIT", value_name = "BYTES")]
    verifier_io_limit: Option<NonZeroU64>,

    /// How many verifiers may run at a time in the whole cluster.
    #[arg(long, env = "WEIGHBRIDGE_VERIFIER_MAX_CONCURRENT", value_name = "COUNT", default_value_t = 4)]
    verifier_max_concurrent: usize,

    /// How many verifiers may run at a time in one namespace.
    #[arg(long, env = "WEIGHBRIDGE_VERIFIER_MAX_CONCURRENT_PER_NAMESPACE", value_name = "COUNT", default_value_t = 2)]
    verifier_max_concurrent_per_namespace: usize,

    /// How long one verifier may run, such as `6h`.
    #[arg(long, env = "WEIGHBRIDGE_VERIFIER_DEADLINE", value_name = "DURATION", default_value = "6h")]
    verifier_deadline: String,

    /// A registry, with its port, that verifiers speak to without TLS when they fetch bundles; may be repeated. For tests
    /// and closed networks: what such a registry gives is still checked by its digest, and so is who signed it.
    #[arg(
        long = "verifier-insecure-registry",
        env = "WEIGHBRIDGE_VERIFIER_INSECURE_REGISTRIES",
        value_name = "HOST",
        value_delimiter = ','
    )]
    verifier_insecure_registries: Vec<String>,
}

impl VerifierFlags {
    pub(super) fn limits(&self) -> Limits {
        Limits { total: self.verifier_max_concurrent, per_namespace: self.verifier_max_concurrent_per_namespace }
    }

    pub(super) fn settings(&self) -> Result<VerifierSettings, UsageError> {
        let digest = self.image.rsplit_once("@sha256:").map(|(_, hex)| hex);
        if !digest.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(UsageError(format!("--image {}: it must end with @sha256: and 64 hex digits", self.image)));
        }
        let resources: ResourceRequirements = serde_json::from_str(&self.verifier_resources)
            .map_err(|error| UsageError(format!("--verifier-resources: {error}")))?;
        Ok(VerifierSettings {
            image: self.image.clone(),
            image_pull_secrets: self.verifier_image_pull_secrets.clone(),
            resources,
            io_limit: self.verifier_io_limit.map(NonZeroU64::get),
            deadline_seconds: self.deadline_seconds()?,
            insecure_registries: self.insecure_registries()?,
        })
    }

    fn insecure_registries(&self) -> Result<Vec<String>, UsageError> {
        let all = &self.verifier_insecure_registries;
        match all.iter().find(|host| !is_host(host)) {
            None => Ok(all.clone()),
            Some(host) => {
                Err(UsageError(format!("--verifier-insecure-registry {host}: it must be a host, or host:port")))
            }
        }
    }

    fn deadline_seconds(&self) -> Result<i64, UsageError> {
        let text = &self.verifier_deadline;
        let duration: jiff::SignedDuration =
            text.parse().map_err(|error| UsageError(format!("--verifier-deadline {text}: {error}")))?;
        if duration.as_secs() < 1 {
            return Err(UsageError(format!("--verifier-deadline {text}: it must be a second or more")));
        }
        Ok(duration.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: VerifierFlags,
    }

    fn settings(arguments: &[&str]) -> Result<VerifierSettings, UsageError> {
        Cli::try_parse_from(["x"].iter().chain(arguments)).unwrap().flags.settings()
    }

    fn image() -> String {
        format!("--image=registry.example.com:5000/weighbridge@sha256:{}", "ab".repeat(32))
    }

    #[test]
    fn the_defaults_are_settings() {
        let settings = settings(&[&image()]).unwrap();
        assert_eq!(settings.deadline_seconds, 6 * 3600);
        assert!(settings.resources.limits.unwrap().contains_key("memory"));
    }

    /// The chart sets the environment alone; a name that it spells otherwise would be ignored without a word.
    #[test]
    fn the_chart_sets_what_is_read() {
        use clap::CommandFactory as _;
        let chart = include_str!("../../charts/weighbridge/templates/operator.yaml");
        let command = Cli::command();
        let read: Vec<&str> = command.get_arguments().filter_map(|it| it.get_env()?.to_str()).collect();
        let set: Vec<&str> =
            chart.split_whitespace().filter(|word| word.starts_with("WEIGHBRIDGE_VERIFIER_")).collect();
        assert!(set.len() >= 5, "{set:?}");
        for name in set {
            assert!(read.contains(&name), "{name} is set by the chart and read by nobody");
        }
    }

    #[test]
    fn what_is_no_setting_is_said() {
        let table: [&[&str]; 6] = [
            &["--image=weighbridge:latest"],
            &["--image=weighbridge@sha256:ab"],
            &[&image(), "--verifier-resources={"],
            &[&image(), "--verifier-deadline=soon"],
            &[&image(), "--verifier-deadline=0s"],
            &[&image(), "--verifier-insecure-registry=http://registry.example.com"],
        ];
        for arguments in table {
            assert!(settings(arguments).is_err(), "{arguments:?}");
        }
    }
}
