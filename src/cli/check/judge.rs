//! Manifests in, decisions out.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Value;

use super::super::{Exit, UsageError};
use super::manifests::Manifest;
use super::world::World;
use crate::api::names::MAX_LABEL_BYTES;
use crate::api::v1alpha1::{Code, UnknownCode};
use crate::decision::{Action, Decision, Evidence, Violation};
use crate::model::shown_to;
use crate::workload::{CustomKinds, Extract, Kind, Stage};

/// How much of what is wrong with an object is shown, in characters.
const MAX_PROBLEM_CHARS: usize = 300;

/// All that was found.
pub(super) struct Checked {
    /// What it was decided by.
    pub(super) world: World,
    /// The same, as the decisions saw it.
    pub(super) evidence: Evidence,
    /// Objects that use models which a policy selects, in the order of the manifests.
    pub(super) objects: Vec<Object>,
    /// How many other objects there were.
    pub(super) others: usize,
    /// Claims that a folder was named for and that no object uses.
    pub(super) unused: Vec<String>,
    /// Policies that cannot be understood, with what is wrong.
    pub(super) problems: Vec<(String, String)>,
}

/// One object.
pub(super) struct Object {
    /// Where it stands.
    pub(super) file: String,
    /// The line in which its document begins.
    pub(super) line: usize,
    /// Who asks for what.
    pub(super) extract: Extract,
    /// What the webhook would say to it.
    pub(super) decision: Decision,
    /// What it would say to a Pod of its, where that is worse than what it says to the object itself.
    pub(super) pods: Option<Decision>,
}

/// What a check comes to; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It would run.
    Allowed,
    /// Nobody can say from here.
    Undetermined,
    /// It would be refused, whatever becomes known.
    Refused,
}

/// What is said where nothing is known of a namespace.
const UNSEEN: Code = Code::Unknown(UnknownCode::IndexStale);

impl Outcome {
    /// One word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Undetermined => "not determined",
            Outcome::Refused => "refused",
        }
    }
}

impl Object {
    /// `namespace/Kind/name`
    pub(super) fn name(&self) -> String {
        let subject = &self.extract.subject;
        let name = if subject.name.is_empty() { "(generated name)" } else { &subject.name };
        format!("{}/{}/{name}", subject.namespace, subject.kind)
    }

    /// What the object comes to, with the Pods that it makes. Only what is refused or held counts.
    pub(super) fn outcome(&self) -> Outcome {
        let decisions = [Some(&self.decision), self.pods.as_ref()];
        let violations = decisions.into_iter().flatten().flat_map(|decision| &decision.violations);
        let stopping: Vec<&Violation> = violations.filter(|violation| violation.action >= Action::Hold).collect();
        if stopping.iter().any(|violation| violation.code == UNSEEN) {
            // Nobody can say which policies match.
            return Outcome::Undetermined;
        }
        let outcome = |violation: &Violation| match violation.code {
            // Of a claim the cluster may know more: labels by which a policy leaves it alone.
            Code::Unknown(UnknownCode::NotVerifiable) if self.claim_of(violation).is_none() => Outcome::Refused,
            Code::Unknown(_) => Outcome::Undetermined,
            Code::Refused(_) | Code::Use(_) | Code::Request(_) => Outcome::Refused,
        };
        stopping.into_iter().map(outcome).max().unwrap_or(Outcome::Allowed)
    }

    /// The claim behind the use that a violation is about.
    pub(super) fn claim_of(&self, violation: &Violation) -> Option<&str> {
        self.extract.uses.iter().find(|it| it.at == violation.at && it.claim().is_some())?.claim()
    }
}

impl Checked {
    /// What it all comes to: a policy that nobody understands leaves all open that is not refused by others.
    pub(super) fn outcome(&self) -> Outcome {
        let open = if self.problems.is_empty() { Outcome::Allowed } else { Outcome::Undetermined };
        self.objects.iter().map(Object::outcome).max().unwrap_or(Outcome::Allowed).max(open)
    }

    /// The exit code that says so.
    pub(super) fn exit(&self) -> Exit {
        match self.outcome() {
            Outcome::Allowed => Exit::Success,
            Outcome::Refused => Exit::Refused,
            Outcome::Undetermined => Exit::Undetermined,
        }
    }
}

/// Decides about every object, after the folders that it uses were read.
pub(super) fn check(mut world: World, manifests: Vec<Manifest>, namespace: &str) -> Result<Checked, UsageError> {
    let total = manifests.len();
    for manifest in &manifests {
        learn(&mut world, manifest, namespace)?;
    }
    let mut extracts = Vec::new();
    for manifest in manifests {
        if let Some(extract) = extract(&world.kinds, &manifest, namespace)? {
            extracts.push((manifest.file, manifest.line, extract));
        }
    }
    let claims = extracts.iter().flat_map(|(_, _, extract)| extract.uses.iter().filter_map(|it| it.claim()));
    let unused = world.folders_beside(&claims.collect());
    extracts.iter().for_each(|(_, _, extract)| world.namespace_by_name(&extract.subject.namespace));
    extracts.iter().for_each(|(_, _, extract)| world.bind(extract));
    extracts.iter().for_each(|(_, _, extract)| world.read_missing(extract));
    let evidence = world.evidence();
    let objects: Vec<Object> = (extracts.into_iter())
        .map(|(file, line, extract)| object(&world, &evidence, file, line, extract))
        .filter(|object| !object.decision.policies.is_empty())
        .collect();
    let problems = world.policies.iter().filter_map(|it| Some((it.name.to_string(), it.accepted().err()?))).collect();
    Ok(Checked { others: total - objects.len(), unused, world, evidence, objects, problems })
}

fn object(world: &World, evidence: &Evidence, file: String, line: usize, extract: Extract) -> Object {
    let decide = |extract: &Extract| {
        let mut decision = world.decide(extract, evidence);
        decision.violations.iter_mut().for_each(|violation| say_what_is_missing(violation, &extract.subject.namespace));
        decision
    };
    let decision = decide(&extract);
    let mut as_pod = extract.clone();
    as_pod.subject.stage = Stage::Pod;
    let pods = decide(&as_pod);
    let pods = Some(pods).filter(|pods| pods.strongest() > decision.strongest());
    Object { file, line, extract, decision, pods }
}

/// In a cluster a namespace that was not seen yet will be; here somebody has to say what its labels are.
fn say_what_is_missing(violation: &mut Violation, namespace: &str) {
    if violation.code == UNSEEN {
        [violation.finding.what, violation.finding.fix] = unknown_namespace(namespace);
    }
}

/// What is missing where nothing is known of a namespace, and what to do.
pub(super) fn unknown_namespace(namespace: &str) -> [String; 2] {
    let name = shown_to(namespace, MAX_LABEL_BYTES);
    let fix = format!("add a Namespace object, or --namespace {name} with --namespace-labels");
    [format!("nothing is known of namespace {name}"), fix]
}

/// Takes in what a manifest says of namespaces and claims.
fn learn(world: &mut World, manifest: &Manifest, namespace: &str) -> Result<(), UsageError> {
    let object = &manifest.object;
    match (text(object, "/apiVersion"), text(object, "/kind")) {
        ("v1", "Namespace") => {
            let labels = object.pointer("/metadata/labels").map(BTreeMap::deserialize).transpose();
            let labels: BTreeMap<String, String> = labels.map_err(|error| wrong(manifest, &error))?.unwrap_or_default();
            world.namespace(text(object, "/metadata/name"), labels);
        }
        ("v1", "PersistentVolumeClaim") => {
            let claim = serde_json::from_value(object.clone()).map_err(|error| wrong(manifest, &error))?;
            world.claim(namespace_of(object, namespace), claim);
        }
        _ => {}
    }
    Ok(())
}

/// What an object asks for, if it is of a kind that can use models.
fn extract(kinds: &CustomKinds, manifest: &Manifest, namespace: &str) -> Result<Option<Extract>, UsageError> {
    let object = &manifest.object;
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let found = match Kind::of(group, version, kind) {
        Some(kind) => Some(kind.extract(object).map_err(|error| wrong(manifest, &error))?),
        None => kinds.extract(group, version, kind, object),
    };
    let Some(mut extract) = found else { return Ok(None) };
    let default = if kinds.is_cluster_scoped(group, kind) { "" } else { namespace };
    extract.subject.namespace = namespace_of(object, default).to_owned();
    if extract.subject.name.is_empty() {
        extract.subject.name = text(object, "/metadata/generateName").to_owned();
    }
    Ok(Some(extract))
}

fn namespace_of<'a>(object: &'a Value, default: &'a str) -> &'a str {
    let named = text(object, "/metadata/namespace");
    if named.is_empty() { default } else { named }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn wrong(manifest: &Manifest, error: &serde_json::Error) -> UsageError {
    let Manifest { file, line, object } = manifest;
    let kind = shown_to(text(object, "/kind"), 63);
    let what = shown_to(&error.to_string(), MAX_PROBLEM_CHARS);
    UsageError(format!("{file}:{line}: the {kind} cannot be read: {what}"))
}
