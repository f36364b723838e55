//! Whether the models are those that a rollout expects: the digest annotation, which can refuse and never admit.

use std::collections::BTreeMap;

use super::{Facts, Finding, Found};
use crate::api::v1alpha1::{MAX_PARTS, RefusedCode, UseCode};
use crate::model::{Digest, HashAlgorithm, shown};
use crate::policy::CompiledPolicy;
use crate::workload::{DIGEST_ANNOTATION, ModelUse, Mount, Source, is_at_or_below};

/// How much of an annotation is looked at, in bytes: as many paths and digests as a folder may hold models.
const MAX_ANNOTATION_BYTES: usize = 32 << 10;

/// What an annotation expects.
#[derive(Debug, PartialEq)]
enum Expected {
    /// This digest, of the only model.
    Only(Digest),
    /// A digest of each of these models, by their paths in the volume.
    ByPath(BTreeMap<String, Digest>),
}

/// What the policy demands and the annotation leaves out.
pub(super) fn missing(policy: &CompiledPolicy, model_use: &ModelUse, facts: Option<&Facts>) -> Option<Found> {
    // What an argument names has no volume that an annotation could name.
    let annotation = model_use.mount().filter(|_| policy.requires_digest_annotation).map(annotation)?;
    let what = match (&model_use.annotations.digest, facts) {
        (None, _) => {
            format!("the policy wants to be told which model is expected, and there is no annotation {annotation}")
        }
        (Some(text), Some(facts)) => {
            let Ok(Expected::ByPath(listed)) = parse(text) else { return None };
            let unlisted = facts.models.iter().find(|model| !listed.contains_key(&model.path))?;
            format!("the annotation {annotation} does not list the model at `{}`", shown(name(&unlisted.path)))
        }
        (Some(_), None) => return None,
    };
    let fix = format!("add {annotation}: sha256:…, or <path>=sha256:… for each model of the volume");
    Some((UseCode::DigestAnnotationMissing.into(), Finding { what, fix, detail: None }))
}

/// Whether the models are those that the annotation expects. Without one, anything is.
pub(super) fn check(model_use: &ModelUse, facts: &Facts) -> Result<(), (RefusedCode, Finding)> {
    let Some((text, mount)) = model_use.annotations.digest.as_ref().zip(model_use.mount()) else { return Ok(()) };
    let annotation = annotation(mount);
    let refused = |what: String, fix: String| Err((RefusedCode::DigestMismatch, Finding { what, fix, detail: None }));
    let expected = match parse(text) {
        Ok(expected) => expected,
        Err(problem) => {
            let fix = "write sha256: and 64 digits, or <path>=sha256:… for each model, with commas between".to_owned();
            return refused(format!("the annotation {annotation} {problem}"), fix);
        }
    };
    let other = |at: String, found: &str, wanted: &Digest| {
        let what = format!("{at} has the digest {found}, and the annotation {annotation} expects {wanted}");
        refused(what, "put the expected model there, or correct the annotation".to_owned())
    };
    match &expected {
        Expected::Only(wanted) => match facts.models.as_slice() {
            [model] if model.model_digest == wanted.to_string() => Ok(()),
            [model] => other("the model".to_owned(), &model.model_digest, wanted),
            models => {
                let what = format!("the annotation {annotation} expects one model, and {} lie there", models.len());
                refused(what, "write <path>=sha256:… for each, with commas between".to_owned())
            }
        },
        Expected::ByPath(listed) => {
            for model in &facts.models {
                if let Some(wanted) = listed.get(&model.path).filter(|wanted| model.model_digest != wanted.to_string())
                {
                    return other(format!("the model at `{}`", shown(name(&model.path))), &model.model_digest, wanted);
                }
            }
            let used = match &model_use.source {
                Source::Claim { path, .. } => path.as_str(),
                _ => "",
            };
            let known = |path: &str| facts.models.iter().any(|model| model.path == path);
            match listed.iter().find(|(path, _)| is_at_or_below(path, used) && !known(path)) {
                Some((path, wanted)) => {
                    let path = shown(name(path));
                    let what =
                        format!("the annotation {annotation} expects {wanted} at `{path}`, and no model lies there");
                    refused(what, "correct the annotation, or put that model there".to_owned())
                }
                None => Ok(()),
            }
        }
    }
}

fn parse(text: &str) -> Result<Expected, String> {
    if text.len() > MAX_ANNOTATION_BYTES {
        return Err(format!("is longer than {MAX_ANNOTATION_BYTES} bytes"));
    }
    let digest = |text: &str| {
        let digest = text.parse::<Digest>().ok().filter(|digest| digest.algorithm() == HashAlgorithm::Sha256);
        digest.ok_or_else(|| format!("says `{}`, which is no digest", shown(text)))
    };
    if !text.contains('=') {
        return digest(text.trim()).map(Expected::Only);
    }
    let mut listed = BTreeMap::new();
    for item in text.split(',') {
        let (path, wanted) = item.rsplit_once('=').ok_or_else(|| format!("says `{}` without a path", shown(item)))?;
        let path = path.trim().trim_matches('/');
        let path = if path == "." { "" } else { path };
        if listed.insert(path.to_owned(), digest(wanted.trim())?).is_some() {
            return Err(format!("lists `{}` twice", shown(name(path))));
        }
    }
    if listed.len() > MAX_PARTS {
        Err(format!("lists more than {MAX_PARTS} models"))
    } else {
        Ok(Expected::ByPath(listed))
    }
}

/// A path in the volume, as people write it.
fn name(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn annotation(mount: &Mount) -> String {
    format!("{DIGEST_ANNOTATION}{}", mount.volume)
}
