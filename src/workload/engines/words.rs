//! Arguments and variables of a container, as far as a Pod says what they are.
//!
//! Receives `command`, `args`, `env` and `envFrom`; expands `$(NAME)` as the kubelet does, from literal values, the Pod's
//! name and its namespace; keeps whatever else there is as it is written, and says that it is not known. ConfigMaps,
//! Secrets, labels and annotations may change until the container starts, and are never looked up.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};

use crate::workload::FieldPath;

/// What a Pod's own fields are, where the object says so. A template does not: each of its Pods has a name of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::workload) struct PodFields<'a> {
    pub(in crate::workload) name: Option<&'a str>,
    pub(in crate::workload) namespace: Option<&'a str>,
}

/// A word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workload) struct Word {
    /// Its text; what is not known of it stands in it as it is written.
    pub(super) text: String,
    /// Whether that is all of it.
    pub(super) known: bool,
    /// Whether a shell could make several words of what is not known.
    pub(super) splits: bool,
    /// Where in the object it stands.
    pub(super) at: FieldPath,
}

impl Word {
    pub(super) fn literal(text: impl Into<String>, at: &FieldPath) -> Self {
        Word { text: text.into(), known: true, splits: false, at: at.clone() }
    }
}

/// The variables of a container.
#[derive(Clone, Debug, Default)]
pub(in crate::workload) struct Environment {
    variables: BTreeMap<String, Variable>,
    /// The first of `envFrom`, which may set any variable that `env` does not.
    elsewhere: Option<FieldPath>,
}

#[derive(Clone, Debug)]
struct Variable {
    /// `None` where it comes from elsewhere.
    value: Option<String>,
    at: FieldPath,
}

/// What is known of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'a> {
    /// Its value, and where that stands.
    Literal(&'a str, &'a FieldPath),
    /// It comes from a ConfigMap, a Secret or a field that nobody knows here.
    Elsewhere(&'a FieldPath),
    /// `env` does not set it, and `envFrom` might, where there is one.
    Absent(Option<&'a FieldPath>),
}

impl Environment {
    /// The variables, each expanded from those before it.
    pub(in crate::workload) fn of(
        env: &[EnvVar],
        env_from: &[EnvFromSource],
        pod: PodFields<'_>,
        at: &FieldPath,
    ) -> Self {
        let mut found = Environment { variables: BTreeMap::new(), elsewhere: None };
        found.elsewhere = (!env_from.is_empty()).then(|| at.item("envFrom", 0));
        for (index, variable) in env.iter().enumerate() {
            let at = at.item("env", index);
            let value = match &variable.value_from {
                Some(from) => from.field_ref.as_ref().and_then(|field| pod_field(&field.field_path, pod)),
                None => {
                    let expanded = found.expand(variable.value.as_deref().unwrap_or_default(), &at);
                    expanded.known.then_some(expanded.text)
                }
            };
            found.variables.insert(variable.name.clone(), Variable { value, at });
        }
        found
    }

    /// What is known of a variable.
    pub(super) fn get(&self, name: &str) -> Lookup<'_> {
        match self.variables.get(name) {
            Some(Variable { value: Some(value), at }) => Lookup::Literal(value, at),
            Some(Variable { value: None, at }) => Lookup::Elsewhere(at),
            None => Lookup::Absent(self.elsewhere.as_ref()),
        }
    }

    /// The values that are known, and where they stand.
    pub(super) fn literals(&self) -> impl Iterator<Item = (&str, &FieldPath)> {
        self.variables.values().filter_map(|variable| Some((variable.value.as_deref()?, &variable.at)))
    }

    /// Text with `$(NAME)` expanded, as the kubelet does it in arguments and in values: `$$` is a dollar, and a name that is
    /// no variable stays as it is. Whether it is one is not known where `envFrom` or a service of the namespace may set it.
    pub(in crate::workload) fn expand(&self, text: &str, at: &FieldPath) -> Word {
        let mut word = Word::literal(String::with_capacity(text.len()), at);
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            word.text.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                word.text.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
                word.text.push('$');
                continue;
            };
            match self.get(name) {
                Lookup::Literal(value, _) => word.text.push_str(value),
                unset => {
                    word.known &= matches!(unset, Lookup::Absent(from) if !may_be_set(name, from.is_some()));
                    word.text.push_str("$(");
                    word.text.push_str(name);
                    word.text.push(')');
                }
            }
            rest = after;
        }
        word.text.push_str(rest);
        word
    }

    /// The text of a `subPathExpr`, if all of it is known: there the kubelet wants every name to be a variable.
    pub(in crate::workload) fn expand_path(&self, text: &str) -> Option<String> {
        let set = |name: &str| matches!(self.get(name), Lookup::Literal(..));
        let names = text.split("$(").skip(1).filter_map(|rest| rest.split_once(')'));
        let word = self.expand(text, &FieldPath(String::new()));
        (word.known && names.into_iter().all(|(name, _)| set(name))).then_some(word.text)
    }
}

/// Whether something that does not stand in `env` may set a variable: a ConfigMap or Secret, whose keys are of these
/// characters, or a service.
fn may_be_set(name: &str, elsewhere: bool) -> bool {
    let key = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (elsewhere && key) || name.contains("_SERVICE_HOST") || name.contains("_PORT")
}

/// The fields of a Pod that are fixed once it is admitted. Labels and annotations are not.
fn pod_field(path: &str, pod: PodFields<'_>) -> Option<String> {
    let value = match path {
        "metadata.name" => pod.name,
        "metadata.namespace" => pod.namespace,
        _ => None,
    };
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment() -> Environment {
        let env: Vec<EnvVar> = serde_json::from_value(json!([
            { "name": "ORG", "value": "acme" },
            { "name": "MODEL", "value": "$(ORG)/llama" },
            { "name": "LATER", "value": "$(AFTER)" },
            { "name": "AFTER", "value": "x" },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "NS", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
            { "name": "LABEL", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['a']" } } },
            { "name": "EMPTY" },
        ]))
        .unwrap();
        Environment::of(&env, &[], PodFields { name: Some("p"), namespace: Some("ns") }, &FieldPath("c".into()))
    }

    #[test]
    fn text_is_expanded_as_the_kubelet_does() {
        for (text, expected, known) in [
            ("plain", "plain", true),
            ("$(MODEL)", "acme/llama", true),
            ("a$(ORG)b$(EMPTY)c", "aacmebc", true),
            ("$$(ORG)", "$(ORG)", true),
            ("$$$(ORG)", "$acme", true),
            ("$ORG ${ORG} $", "$ORG ${ORG} $", true),
            ("$(ORG", "$(ORG", true),
            ("$(LATER)", "$(AFTER)", true),
            ("$(SECRET)", "$(SECRET)", false),
            ("$(NOWHERE)/$(ORG)", "$(NOWHERE)/acme", true),
            ("$(HUB_SERVICE_HOST)", "$(HUB_SERVICE_HOST)", false),
            ("$(HUB_PORT_80_TCP)", "$(HUB_PORT_80_TCP)", false),
            ("$(NS)/$(POD)", "ns/p", true),
            ("$(LABEL)", "$(LABEL)", false),
        ] {
            let word = environment().expand(text, &FieldPath(String::new()));
            assert_eq!((word.text.as_str(), word.known), (expected, known), "{text}");
        }
    }

    #[test]
    fn a_template_does_not_know_the_names_of_its_pods() {
        let env: Vec<EnvVar> = serde_json::from_value(json!([
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        ]))
        .unwrap();
        let template = Environment::of(&env, &[], PodFields::default(), &FieldPath(String::new()));
        assert_eq!(template.expand_path("$(POD)"), None);
    }

    #[test]
    fn a_path_is_known_if_every_name_in_it_is() {
        for (text, expected) in [
            ("a/$(NS)/$(POD)", Some("a/ns/p")),
            ("$(MODEL)", Some("acme/llama")),
            ("a$$b", Some("a$b")),
            ("$(NOWHERE)", None),
            ("$(SECRET)", None),
            ("$(LABEL)/a", None),
        ] {
            assert_eq!(environment().expand_path(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_env_does_not_set_env_from_may() {
        let from: Vec<EnvFromSource> = serde_json::from_value(json!([{ "configMapRef": { "name": "c" } }])).unwrap();
        let open = Environment::of(&[], &from, PodFields::default(), &FieldPath("c".into()));
        assert!(!open.expand("$(ANY)", &FieldPath(String::new())).known);
        assert!(open.expand("$(cat /etc/any)", &FieldPath(String::new())).known, "no key has a blank in it");
        assert_eq!(open.get("ANY"), Lookup::Absent(Some(&FieldPath("c.envFrom[0]".into()))));
        assert_eq!(environment().get("ANY"), Lookup::Absent(None));
        assert!(matches!(environment().get("SECRET"), Lookup::Elsewhere(at) if at.0 == "c.env[4]"));
    }
}
