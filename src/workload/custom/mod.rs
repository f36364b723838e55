//! Custom resources of serving stacks as the models that they name.
//!
//! Receives objects as JSON, and says by a table of paths what they use: the kinds in `known.yaml`, and those that
//! platform engineers add as `ModelKind`. Promises that a path which finds something of another form than expected is a
//! use that nobody can vouch for, never nothing; knows no kind by code.

mod extract;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::Kind;
use crate::api::v1alpha1::{KindPaths, KindScope, ModelKindSpec};
use path::ModelPath;

/// The kinds that are known without a `ModelKind`, each as the spec of one.
const KNOWN: &str = include_str!("known.yaml");

/// The kinds of custom resources that are judged; immutable, cheap to clone.
#[derive(Clone, Debug)]
pub struct CustomKinds(Arc<Kinds>);

/// By group and kind. Several rows of one kind add to each other.
type Kinds = BTreeMap<(String, String), Vec<CustomKind>>;

/// Where objects of one kind name models.
#[derive(Clone, Debug, PartialEq)]
struct CustomKind {
    resource: String,
    scope: KindScope,
    versions: Vec<String>,
    loads: bool,
    paths: Vec<(Role, ModelPath)>,
    /// Paths that nobody understands. The API server takes none; should one come by all the same, it is not passed over.
    broken: Vec<String>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    PodTemplate,
    PodSpec,
    Container,
    Claim,
    Image,
    Uri,
    Reference,
}

/// A resource that the webhook is to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomResource {
    /// Its API group.
    pub group: String,
    /// Its plural name.
    pub resource: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// Whether its controller loads into Pods that run: then requests about it fail closed.
    pub loads: bool,
}

/// A kind whose objects lie in namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedKind<'a> {
    /// Its API group.
    pub group: &'a str,
    /// Its name.
    pub kind: &'a str,
    /// The plural names that its rows give it, which is one, as a rule.
    pub resources: BTreeSet<&'a str>,
    /// The versions that its paths were written for.
    pub versions: BTreeSet<&'a str>,
}

static KNOWN_KINDS: LazyLock<CustomKinds> = LazyLock::new(|| {
    let mut kinds = Kinds::new();
    known().iter().for_each(|spec| add(&mut kinds, spec));
    CustomKinds(Arc::new(kinds))
});

impl CustomKinds {
    /// The kinds that are known, and those that were added. One that is added for a known kind adds to it.
    pub fn with<'a>(added: impl IntoIterator<Item = &'a ModelKindSpec>) -> Self {
        let mut kinds = KNOWN_KINDS.clone();
        added.into_iter().for_each(|spec| add(Arc::make_mut(&mut kinds.0), spec));
        kinds
    }

    /// Whether objects of a kind are judged.
    pub fn contains(&self, group: &str, kind: &str) -> bool {
        self.0.contains_key(&(group.to_owned(), kind.to_owned()))
    }

    /// Whether objects of a kind lie in no namespace.
    pub fn is_cluster_scoped(&self, group: &str, kind: &str) -> bool {
        self.of(group, kind).iter().any(|row| row.scope == KindScope::Cluster)
    }

    /// The resources of all kinds, each once, by group and name.
    pub fn resources(&self) -> Vec<CustomResource> {
        let mut resources: BTreeMap<(&str, &str), CustomResource> = BTreeMap::new();
        for ((group, _), rows) in self.0.iter() {
            for row in rows {
                let resource = resources.entry((group, &row.resource)).or_insert_with(|| CustomResource {
                    group: group.clone(),
                    resource: row.resource.clone(),
                    namespaced: row.scope == KindScope::Namespaced,
                    loads: false,
                });
                resource.loads |= row.loads;
            }
        }
        resources.into_values().collect()
    }

    /// The kinds whose objects lie in namespaces, each once.
    pub fn namespaced(&self) -> impl Iterator<Item = NamespacedKind<'_>> {
        let namespaced = |rows: &Vec<CustomKind>| rows.iter().all(|row| row.scope == KindScope::Namespaced);
        self.0.iter().filter(move |(_, rows)| namespaced(rows)).map(|((group, kind), rows)| NamespacedKind {
            group,
            kind,
            resources: rows.iter().map(|row| row.resource.as_str()).collect(),
            versions: rows.iter().flat_map(|row| &row.versions).map(String::as_str).collect(),
        })
    }

    /// Whether two sets of kinds are one and the same.
    pub fn is_same(&self, other: &CustomKinds) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether objects of a kind are read as they would be by another set of kinds.
    pub fn reads_as(&self, other: &CustomKinds, group: &str, kind: &str) -> bool {
        self.of(group, kind) == other.of(group, kind)
    }

    /// Whether a kind is known without a `ModelKind`.
    pub fn is_known(group: &str, kind: &str) -> bool {
        KNOWN_KINDS.contains(group, kind)
    }

    /// Whether the name of a kind means the one of this group where no group is given: no built-in kind has it, and among
    /// those that are known, or failing that among those that were added, it is the only one.
    pub fn means(&self, group: &str, kind: &str) -> bool {
        let groups = |kinds: &CustomKinds| -> Vec<String> {
            kinds.0.keys().filter(|(_, other)| other == kind).map(|(group, _)| group.clone()).collect()
        };
        let known = groups(&KNOWN_KINDS);
        let candidates = if known.is_empty() { groups(self) } else { known };
        !Kind::ALL.iter().any(|built_in| built_in.as_str() == kind) && candidates == [group]
    }

    fn of(&self, group: &str, kind: &str) -> &[CustomKind] {
        self.0.get(&(group.to_owned(), kind.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Default for CustomKinds {
    fn default() -> Self {
        CustomKinds::with([])
    }
}

/// The specs of the kinds that are known.
pub fn known() -> Vec<ModelKindSpec> {
    serde_saphyr::from_str(KNOWN).expect("known.yaml is a part of this program, and a test reads it")
}

fn add(kinds: &mut Kinds, spec: &ModelKindSpec) {
    kinds.entry((spec.group.clone(), spec.kind.clone())).or_default().push(CustomKind::compile(spec));
}

impl CustomKind {
    fn compile(spec: &ModelKindSpec) -> Self {
        let KindPaths { pod_templates, pod_specs, containers, claims, images, uris, references } = &spec.paths;
        let lists = [
            (Role::PodTemplate, pod_templates),
            (Role::PodSpec, pod_specs),
            (Role::Container, containers),
            (Role::Claim, claims),
            (Role::Image, images),
            (Role::Uri, uris),
            (Role::Reference, references),
        ];
        let mut kind = CustomKind {
            resource: spec.resource.clone(),
            scope: spec.scope,
            versions: spec.versions.clone(),
            loads: spec.loads_into_running_pods,
            paths: Vec::new(),
            broken: Vec::new(),
        };
        for (role, text) in lists.into_iter().flat_map(|(role, list)| list.iter().map(move |text| (role, text))) {
            match text.parse() {
                Ok(path) => kind.paths.push((role, path)),
                Err(_) => kind.broken.push(text.clone()),
            }
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_a_person_could_have_added() {
        let known = known();
        assert!(known.len() > 30);
        for spec in &known {
            let kind = CustomKind::compile(spec);
            assert_eq!(kind.broken, [""; 0], "{} {}", spec.group, spec.kind);
            assert!(!kind.paths.is_empty() && !kind.versions.is_empty(), "{} {}", spec.group, spec.kind);
        }
    }

    #[test]
    fn what_is_added_adds_to_what_is_known() {
        let spec = |json: &str| serde_json::from_str::<ModelKindSpec>(json).unwrap();
        let own = spec(
            r#"{"group": "example.com", "kind": "Server", "resource": "servers", "loadsIntoRunningPods": true,
                "paths": {"uris": ["spec.uri"]}}"#,
        );
        let more = spec(
            r#"{"group": "serving.kserve.io", "kind": "InferenceService", "resource": "inferenceservices",
                "loadsIntoRunningPods": true, "paths": {"uris": ["spec.x"]}}"#,
        );
        let kinds = CustomKinds::with([&own, &more]);
        let all: Vec<NamespacedKind<'_>> = kinds.namespaced().collect();
        assert!(all.iter().any(|it| it.kind == "Server") && all.iter().all(|it| it.kind != "LocalModelCache"));
        assert!(!kinds.reads_as(&CustomKinds::default(), "serving.kserve.io", "InferenceService"));
        assert!(kinds.reads_as(&CustomKinds::default(), "serving.kserve.io", "TrainedModel"));
        assert!(kinds.contains("example.com", "Server") && !CustomKinds::default().contains("example.com", "Server"));
        assert_eq!(kinds.of("serving.kserve.io", "InferenceService").len(), 2);
        let resources = kinds.resources();
        let services: Vec<&CustomResource> = resources.iter().filter(|it| it.resource == "inferenceservices").collect();
        assert!(matches!(services[..], [CustomResource { loads: true, namespaced: true, .. }]), "{services:?}");
    }

    #[test]
    fn the_name_of_a_kind_alone_means_one_group_at_most() {
        let spec = |group: &str, kind: &str| -> ModelKindSpec {
            let spec =
                serde_json::json!({ "group": group, "kind": kind, "resource": "x", "paths": { "uris": ["spec.x"] } });
            serde_json::from_value(spec).unwrap()
        };
        let added = [
            spec("ome.io", "InferenceService"),
            spec("a.example.com", "Server"),
            spec("b.example.com", "Server"),
            spec("a.example.com", "Deployment"),
            spec("a.example.com", "Agent"),
        ];
        let kinds = CustomKinds::with(&added);
        for (group, kind, expected) in [
            ("serving.kserve.io", "InferenceService", true),
            ("ome.io", "InferenceService", false),
            ("kubeai.org", "Model", false),
            ("a.example.com", "Server", false),
            ("a.example.com", "Agent", true),
            ("a.example.com", "Deployment", false),
            ("b.example.com", "Agent", false),
        ] {
            assert_eq!(kinds.means(group, kind), expected, "{group} {kind}");
        }
    }
}
