//! Which uses a policy is about.

use super::CompiledPolicy;
use super::globs::{Globs, ReferenceGlobs};
use super::selector::{Labels, Selector};
use crate::api::v1alpha1::{ClaimSelector, Exclusion, ModelSelector};
use crate::workload::{ModelUse, Mount, Naming, Source, Way};

/// What is known of a source that policies select by. What is not known excludes nothing and selects everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceFacts<'a> {
    /// Labels of the claim.
    pub labels: Option<&'a Labels>,
    /// StorageClass of the claim, where its volume has the same or none is bound yet.
    pub storage_class: Option<&'a str>,
    /// CSI driver of the volume behind the claim.
    pub csi_driver: Option<&'a str>,
    /// Whether a record names the claim: then every mount of it is a model, whatever its path.
    pub recorded: bool,
}

/// `match.models` and `match.exclude`.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// Absent: everything.
    models: Option<Vec<Models>>,
    exclude: Vec<Excluded>,
}

#[derive(Clone, Debug)]
enum Models {
    Claims(Selector),
    MountPaths(Globs),
    Images(ReferenceGlobs),
    Uris(ReferenceGlobs),
    /// An item that nobody understands selects everything.
    Everything,
}

#[derive(Clone, Debug)]
enum Excluded {
    StorageClasses(Vec<String>),
    CsiDrivers(Vec<String>),
    Claims(Selector),
    MountPaths(Globs),
}

impl Matching {
    /// What can be understood, and what was wrong with the rest.
    pub(super) fn compile(models: Option<&[ModelSelector]>, exclude: &[Exclusion]) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let models = models.map(|models| models.iter().map(|item| Models::compile(item, &mut problems)).collect());
        let exclude = exclude.iter().filter_map(|item| Excluded::compile(item, &mut problems)).collect();
        (Matching { models, exclude }, problems)
    }

    /// See [`CompiledPolicy::selection_by_tenant`].
    pub(super) fn by_tenant(&self) -> bool {
        let excluded = |item: &Excluded| matches!(item, Excluded::Claims(_) | Excluded::MountPaths(_));
        self.models.is_some() || self.exclude.iter().any(excluded)
    }

    /// See [`CompiledPolicy::selects`].
    fn selects(&self, model_use: &ModelUse, facts: &SourceFacts<'_>) -> bool {
        let facts = with_inline(model_use, facts);
        // What an argument names is a use also where its volume is left out as a cache.
        let excluded = |mount: &Mount| self.exclude.iter().any(|item| item.holds(&facts, &mount.paths));
        if model_use.mount().is_some_and(excluded) {
            return false;
        }
        let Some(models) = &self.models else { return true };
        facts.recorded || models.iter().any(|item| item.selects(model_use, &facts))
    }

    /// See [`CompiledPolicy::selects_claim_ahead`].
    pub(super) fn selects_claim_ahead(&self, facts: &SourceFacts<'_>) -> bool {
        let labels = |item: &Models| matches!(item, Models::Claims(selector) if facts.labels.is_some_and(|labels| selector.matches(labels)));
        let excluded = self.exclude.iter().any(|item| item.holds(facts, &[]));
        !excluded && self.models.iter().flatten().any(labels)
    }
}

impl Models {
    fn compile(item: &ModelSelector, problems: &mut Vec<String>) -> Self {
        let ModelSelector { claims, images, mount_paths, uris } = item;
        match (claims, images, mount_paths, uris) {
            (Some(ClaimSelector { selector }), None, None, None) => {
                let (selector, errors) = Selector::compile(selector);
                problems.extend(errors);
                Models::Claims(selector)
            }
            (None, None, Some(globs), None) => understood(Globs::compile(globs), Models::MountPaths, problems),
            (None, Some(globs), None, None) => {
                understood(ReferenceGlobs::compile(globs, "images"), Models::Images, problems)
            }
            (None, None, None, Some(globs)) => {
                understood(ReferenceGlobs::compile(globs, "uris"), Models::Uris, problems)
            }
            _ => {
                problems.push("an item of match.models has not exactly one key".to_owned());
                Models::Everything
            }
        }
    }

    fn selects(&self, model_use: &ModelUse, facts: &SourceFacts<'_>) -> bool {
        match self {
            Models::Everything => true,
            Models::Images(globs) => model_use.source.image().is_some_and(|image| globs.match_image(image)),
            Models::Uris(globs) => match (&model_use.source, &model_use.way) {
                (Source::Unresolved(_), _) => true,
                (Source::Uri(uri), _) => globs.matches(uri.uri()),
                (_, Way::Named(Naming { path: Some(path), .. })) => globs.matches(&format!("file://{path}")),
                _ => false,
            },
            Models::MountPaths(globs) => model_use.path().is_some_and(|path| globs.touch(path)),
            Models::Claims(selector) => {
                model_use.claim().is_some() && facts.labels.is_none_or(|labels| selector.matches(labels))
            }
        }
    }
}

/// The globs of an item; one that nobody understands in full selects everything.
fn understood<G>((globs, errors): (G, Vec<String>), models: fn(G) -> Models, problems: &mut Vec<String>) -> Models {
    let broken = !errors.is_empty();
    problems.extend(errors);
    if broken { Models::Everything } else { models(globs) }
}

impl Excluded {
    /// An item that nobody understands excludes nothing.
    fn compile(item: &Exclusion, problems: &mut Vec<String>) -> Option<Self> {
        let Exclusion { storage_classes, csi_drivers, claims, mount_paths } = item;
        let (compiled, errors) = match (storage_classes, csi_drivers, claims, mount_paths) {
            (Some(names), None, None, None) => (Excluded::StorageClasses(names.clone()), Vec::new()),
            (None, Some(names), None, None) => (Excluded::CsiDrivers(names.clone()), Vec::new()),
            (None, None, Some(ClaimSelector { selector }), None) => {
                let (selector, errors) = Selector::compile(selector);
                (Excluded::Claims(selector), errors)
            }
            (None, None, None, Some(globs)) => {
                let (globs, errors) = Globs::compile(globs);
                (Excluded::MountPaths(globs), errors)
            }
            _ => {
                problems.push("an item of match.exclude has not exactly one key".to_owned());
                return None;
            }
        };
        let understood = errors.is_empty();
        problems.extend(errors);
        understood.then_some(compiled)
    }

    /// Whether it holds for a source that is mounted at these paths.
    fn holds(&self, facts: &SourceFacts<'_>, mount_paths: &[String]) -> bool {
        let named = |names: &[String], name: Option<&str>| name.is_some_and(|name| names.iter().any(|it| it == name));
        match self {
            Excluded::StorageClasses(names) => named(names, facts.storage_class),
            Excluded::CsiDrivers(names) => named(names, facts.csi_driver),
            Excluded::Claims(selector) => facts.labels.is_some_and(|labels| selector.matches(labels)),
            Excluded::MountPaths(globs) => !mount_paths.is_empty() && mount_paths.iter().all(|path| globs.cover(path)),
        }
    }
}

impl CompiledPolicy {
    /// Whether the policy is about a use, of a claim of which this much is known.
    pub fn selects(&self, model_use: &ModelUse, facts: &SourceFacts<'_>) -> bool {
        self.matching.selects(model_use, facts)
    }
}

/// What the use itself says of its source, where there is no claim.
fn with_inline<'a>(model_use: &'a ModelUse, facts: &SourceFacts<'a>) -> SourceFacts<'a> {
    match &model_use.source {
        Source::Claim { .. } | Source::Uri(_) | Source::Unresolved(_) => *facts,
        Source::Opaque(opaque) => SourceFacts {
            storage_class: facts.storage_class.or(opaque.storage_class.as_deref()),
            csi_driver: facts.csi_driver.or(opaque.csi_driver.as_deref()),
            ..*facts
        },
    }
}

#[cfg(test)]
mod tests;
