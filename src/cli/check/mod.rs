//! `weighbridge check`: what would the webhook say to these manifests?
//!
//! The same decision as in a cluster, from manifests and policies in files, with folders in place of claims.
//!
//! ```text
//! manifests ──┐
//! policies ───┼──▶ World ──read the folders──▶ decide ──▶ text, JSON, SARIF, JUnit
//! folders ────┘
//! ```

mod explain;
mod judge;
mod junit;
mod live;
mod manifests;
mod output;
mod sarif;
mod text;
mod world;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::policy_file::DEFAULT_NAMESPACE;
use super::{Exit, UsageError};
use crate::clock;
use crate::facts::default_threads;
use crate::model::shown;
use crate::workload::CustomKinds;
use judge::Checked;
use live::{Live, LiveError, Target};
pub(super) use output::schema;
use world::World;

/// Check manifests against policies, as the webhook of a cluster would.
///
/// Manifests are what one applies: files, folders, or what `helm template` and `kustomize build` print. Folders stand in
/// for the claims that they mount. A template that a cluster would take although its Pods would be refused there counts as
/// refused.
///
/// Exit codes: 0 nothing would be refused, 1 something would, 2 not determined, 64 usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weighbridge check deploy.yaml --policy policies.yaml --namespace-labels tier=production --model claim/llama=./llama
  helm template charts/llama | weighbridge check - --policy policies.yaml --namespace shop --namespace-labels tier=production
  kustomize build overlays/production | weighbridge check - --context production --explain
  weighbridge check manifests/ --policy policies.yaml --output sarif > weighbridge.sarif")]
pub(super) struct Flags {
    /// Files, folders (their *.yaml, *.yml and *.json), or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    manifests: Vec<PathBuf>,

    /// A file of ClusterModelPolicy and ModelPolicy documents, with the ConfigMaps and Secrets that they refer to. May be
    /// given several times.
    #[arg(long, value_name = "FILE", required_unless_present = "context")]
    policy: Vec<PathBuf>,

    /// Check against the policies and namespaces of a live cluster: the name of a context of the kubeconfig.
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    context: Option<String>,

    /// The kubeconfig with that context. Default: that of kubectl.
    #[arg(long, value_name = "FILE", requires = "context")]
    kubeconfig: Option<PathBuf>,

    /// A folder that stands in for a claim, whatever namespace it is used in. May be given several times.
    #[arg(long = "model", value_name = "claim/NAME=DIR")]
    models: Vec<String>,

    /// The namespace of manifests that name none. Default: default.
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,

    /// Labels of that namespace. Those of Namespace objects among the manifests are known.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    namespace_labels: Vec<String>,

    /// The namespace of weighbridge itself, which no policy matches.
    #[arg(long, value_name = "NAME", default_value = "weighbridge-system")]
    own_namespace: String,

    /// Also print which models were found where, which policies are about them and why, and what is missing.
    #[arg(long)]
    explain: bool,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,

    /// How many threads hash; at most eight are used. Default: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: an object in one line.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For test reports.
    Junit,
}

impl Flags {
    pub(super) fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, UsageError> {
        let live = match self.context.as_deref().map(|context| self.live(context)).transpose() {
            Ok(live) => live,
            Err(error @ LiveError::Unusable(_)) => return Err(UsageError(self.about_cluster(&error))),
            Err(error @ LiveError::Unanswered { .. }) => {
                // Nobody is left to tell if this fails.
                let _ = writeln!(err, "not determined: {}", self.about_cluster(&error));
                return Ok(Exit::Undetermined);
            }
        };
        let (world, default_namespace) = self.world(live)?;
        let manifests = manifests::read(&self.manifests, io::stdin())?;
        if manifests.is_empty() {
            return Err(UsageError("there is no object in what is to be checked".into()));
        }
        let checked = judge::check(world, manifests, &default_namespace)?;
        for claim in &checked.unused {
            let claim = shown(claim);
            // Nobody is left to tell if this fails.
            let _ = writeln!(err, "warning: --model claim/{claim}: no manifest mounts that claim; correct its name");
        }
        // A reader that has gone away does not change what was found.
        drop(self.print(out, &checked));
        Ok(checked.exit())
    }

    fn live(&self, context: &str) -> Result<Live, LiveError> {
        live::read(&Target { context, kubeconfig: self.kubeconfig.as_deref() }, &self.own_namespace)
    }

    fn about_cluster(&self, error: &LiveError) -> String {
        format!("--context {}: {error}", self.context.as_deref().unwrap_or_default())
    }

    /// Policies, the namespaces that flags or a live cluster name, and folders; and the namespace of manifests without one.
    fn world(&self, live: Option<Live>) -> Result<(World, String), UsageError> {
        let (mut objects, live) = live.map_or_else(Default::default, |live| (live.objects, live.namespaces));
        for file in &self.policy {
            objects.read(file)?;
        }
        let folders = self.models.iter().map(|model| folder(model)).collect::<Result<_, _>>()?;
        let labels = self.namespace_labels.iter().map(|label| pair(label)).collect::<Result<Vec<_>, _>>()?;
        let default_namespace = self.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        objects.complete(&default_namespace);
        let threads = self.threads.unwrap_or_else(default_threads);
        let kinds = CustomKinds::with(objects.kinds.iter().map(|kind| &kind.spec));
        let policies = objects.compiled(&self.own_namespace);
        let mut world = World::new(policies, kinds, folders, threads, clock::now());
        live.into_iter().for_each(|(name, labels)| world.namespace(&name, labels));
        if !labels.is_empty() {
            world.namespace(&default_namespace, labels);
        }
        Ok((world, default_namespace))
    }

    fn print(&self, out: &mut dyn Write, checked: &Checked) -> io::Result<()> {
        match self.output {
            Format::Text => text::print(out, checked, self.explain),
            Format::Json => writeln!(out, "{}", output::json(checked)),
            Format::Sarif => writeln!(out, "{}", sarif::json(checked)),
            Format::Junit => write!(out, "{}", junit::xml(checked)),
        }
    }
}

/// `claim/NAME=DIR`
fn folder(text: &str) -> Result<(String, PathBuf), UsageError> {
    let wrong = || UsageError(format!("--model {text}: write it as claim/NAME=DIR"));
    let (claim, folder) = text.split_once('=').ok_or_else(wrong)?;
    let name = claim.strip_prefix("claim/").filter(|name| !name.is_empty() && !name.contains('/')).ok_or_else(wrong)?;
    if folder.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), PathBuf::from(folder))) }
}

/// `KEY=VALUE`
fn pair(text: &str) -> Result<(String, String), UsageError> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| UsageError(format!("--namespace-labels {text}: write it as KEY=VALUE")))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_claims() {
        assert_eq!(folder("claim/llama=./m=1").unwrap(), ("llama".into(), PathBuf::from("./m=1")));
        for wrong in ["llama=m", "claim/=m", "claim/a/b=m", "claim/llama=", "claim/llama"] {
            assert!(folder(wrong).unwrap_err().0.contains("claim/NAME=DIR"), "{wrong}");
        }
        assert!(pair("tier").is_err() && pair("=x").is_err());
        assert_eq!(pair("a=").unwrap(), ("a".into(), String::new()));
    }
}
