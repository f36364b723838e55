//! Paths into objects whose types this program does not know.

use std::str::FromStr;

use serde_json::Value;

use crate::workload::FieldPath;

/// How many places one path may lead to in one object. A custom resource has at most 1.5 MiB (the bound of etcd), and one
/// that names a thousand models in one list is not a serving workload.
const MAX_PLACES: usize = 1024;

/// A path with wildcards: see [`crate::api::v1alpha1::KindPaths`] for how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// One of these fields of a map, each that is there.
    Fields(Vec<String>),
    /// Every value of a map.
    Values,
    /// Every item of a list.
    Items,
    /// What a string holds as YAML.
    Yaml,
}

/// What a path leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Place<'a> {
    /// A value.
    Found(FieldPath, &'a Value),
    /// Something of another form than the path expects: a word for what was expected.
    Misfit(FieldPath, &'static str),
}

/// Text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no path: write fields with dots between them, such as spec.model.uri")]
pub(super) struct NotAPath(String);

impl ModelPath {
    /// Calls `visit` for every place in the object to which the path leads, in the order of the object. A field that is
    /// absent or null leads nowhere.
    pub(super) fn visit(&self, object: &Value, mut visit: impl FnMut(Place<'_>)) {
        let mut left = MAX_PLACES;
        walk(&self.0, object, FieldPath(String::new()), &mut |place| {
            match left {
                0 => return,
                1 => visit(Place::Misfit(place.at(), "fewer places")),
                _ => visit(place),
            }
            left -= 1;
        });
    }
}

impl Place<'_> {
    fn at(self) -> FieldPath {
        match self {
            Place::Found(at, _) | Place::Misfit(at, _) => at,
        }
    }
}

fn walk(steps: &[Step], value: &Value, at: FieldPath, visit: &mut dyn FnMut(Place<'_>)) {
    if value.is_null() {
        return;
    }
    let Some((step, rest)) = steps.split_first() else { return visit(Place::Found(at, value)) };
    match (step, value) {
        (Step::Fields(names), Value::Object(map)) => {
            for (name, value) in names.iter().filter_map(|name| map.get_key_value(name)) {
                walk(rest, value, at.field(name), visit);
            }
        }
        (Step::Values, Value::Object(map)) => {
            map.iter().for_each(|(name, value)| walk(rest, value, at.field(name), visit));
        }
        (Step::Items, Value::Array(items)) => {
            let item = |index: usize| FieldPath(format!("{at}[{index}]"));
            items.iter().enumerate().for_each(|(index, value)| walk(rest, value, item(index), visit));
        }
        (Step::Yaml, Value::String(text)) => match serde_saphyr::from_str::<Value>(text) {
            Ok(value) => walk(rest, &value, at, visit),
            Err(_) => visit(Place::Misfit(at, "YAML")),
        },
        (Step::Fields(_) | Step::Values, _) => visit(Place::Misfit(at, "a map")),
        (Step::Items, _) => visit(Place::Misfit(at, "a list")),
        (Step::Yaml, _) => visit(Place::Misfit(at, "a string")),
    }
}

impl FromStr for ModelPath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let steps: Option<Vec<Vec<Step>>> = split(text).into_iter().map(component).collect();
        steps.map(|steps| ModelPath(steps.concat())).ok_or_else(|| NotAPath(text.to_owned()))
    }
}

/// The components of a path: what stands between dots. A set of fields holds none.
fn split(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// A component: fields or `*`, then any number of `[*]`, then perhaps `|yaml`.
fn component(text: &str) -> Option<Vec<Step>> {
    let (text, yaml) = text.strip_suffix("|yaml").map_or((text, None), |text| (text, Some(Step::Yaml)));
    let name = text.trim_end_matches("[*]");
    let lists = (text.len() - name.len()) / "[*]".len();
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let first = match name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(names) => Step::Fields(names.split(',').map(str::to_owned).collect()),
        None if name == "*" => Step::Values,
        None => Step::Fields(vec![name.to_owned()]),
    };
    if let Step::Fields(names) = &first
        && !names.iter().all(|name| is_name(name))
    {
        return None;
    }
    Some([first].into_iter().chain(std::iter::repeat_n(Step::Items, lists)).chain(yaml).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn visited(path: &str, object: &Value) -> Vec<String> {
        let mut seen = Vec::new();
        path.parse::<ModelPath>().unwrap().visit(object, |place| {
            seen.push(match place {
                Place::Found(at, value) => format!("{at}={value}"),
                Place::Misfit(at, expected) => format!("{at}: not {expected}"),
            });
        });
        seen
    }

    #[test]
    fn paths_lead_to_every_place_they_stand_for() {
        let object = json!({ "spec": {
            "model": { "uri": "hf://a/b", "none": null },
            "parts": [{ "uri": 1 }, { "uri": 2 }, {}],
            "nodes": { "x": { "uri": 3 }, "y": { "uri": 4 } },
            "text": "llm: [{id: a}, {id: b}]",
        }});
        for (path, expected) in [
            ("spec.model.uri", vec!["spec.model.uri=\"hf://a/b\""]),
            ("spec.model.none", vec![]),
            ("spec.model.absent.uri", vec![]),
            ("spec.parts[*].uri", vec!["spec.parts[0].uri=1", "spec.parts[1].uri=2"]),
            ("spec.nodes.*.uri", vec!["spec.nodes.x.uri=3", "spec.nodes.y.uri=4"]),
            ("spec.{absent,model}.uri", vec!["spec.model.uri=\"hf://a/b\""]),
            ("spec.text|yaml.llm[*].id", vec!["spec.text.llm[0].id=\"a\"", "spec.text.llm[1].id=\"b\""]),
        ] {
            assert_eq!(visited(path, &object), expected, "{path}");
        }
    }

    #[test]
    fn what_has_another_form_is_said() {
        let object = json!({ "spec": { "uri": "x", "list": {}, "text": "a: [", "number": 1, "deep": "a: {b: c}" } });
        for (path, expected) in [
            ("spec.uri.deeper", "spec.uri: not a map"),
            ("spec.uri.*", "spec.uri: not a map"),
            ("spec.list[*].uri", "spec.list: not a list"),
            ("spec.text|yaml.a", "spec.text: not YAML"),
            ("spec.number|yaml.a", "spec.number: not a string"),
            ("spec.deep|yaml.a[*]", "spec.deep.a: not a list"),
        ] {
            assert_eq!(visited(path, &object), [expected], "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_to_too_many_places_says_so() {
        let object = json!({ "list": vec![0; MAX_PLACES + 10] });
        let seen = visited("list[*]", &object);
        assert_eq!(seen.len(), MAX_PLACES);
        assert!(seen.last().unwrap().ends_with("not fewer places"), "{:?}", seen.last());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", "a..b", "a[0]", "a[*", "{}", "{a,}", "a b", "a|json", "a.{b.c}", "$.a"] {
            assert_eq!(text.parse::<ModelPath>(), Err(NotAPath(text.to_owned())), "{text}");
        }
    }
}
