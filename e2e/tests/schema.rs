//! The API server takes what the API's documentation allows, and refuses the rest in words that help.
//!
//! One file for each rule and each bound that matters: those in `fixtures/valid` are taken; each in `fixtures/invalid`
//! is refused with what its first line says, `# expect: FRAGMENT`. Every rule between fields is shown by both.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Key, Kubectl, OWN_NAMESPACE, Said, record, record_name};

/// The account of the operator.
const OPERATOR: &str = "system:serviceaccount:weighbridge-system:weighbridge-operator";

/// The files of a folder of fixtures, with their content.
fn fixtures(folder: &str) -> Vec<(PathBuf, String)> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder))
}

fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).expect("a fixture"))).collect()
}

/// What the API server says to a fixture. Kinds that the operator alone may write are sent in its name.
fn dry_run(kubectl: &Kubectl, fixture: &str) -> Said {
    let of_operator = |kind: &str| [format!("kind: {kind}"), format!("\"kind\":\"{kind}\"")];
    let operators = ["WorkloadVerification", "BackingStore"].into_iter().flat_map(of_operator);
    let user = format!("--as={OPERATOR}");
    let mut arguments = vec!["create", "--dry-run=server", "--filename", "-"];
    arguments.extend(operators.into_iter().any(|kind| fixture.contains(&kind)).then_some(user.as_str()));
    kubectl.feed(&arguments, fixture)
}

#[test]
fn what_is_valid_is_taken() {
    let own = Cluster::from_environment().own();
    for (file, fixture) in fixtures("valid") {
        let said = dry_run(&own, &fixture);
        assert!(said.success, "{}: {said}", file.display());
    }
}

#[test]
fn the_examples_of_the_chart_are_taken() {
    let own = Cluster::from_environment().own();
    let examples = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/weighbridge/examples"));
    assert!(examples.len() >= 5, "{examples:?}");
    for (file, example) in examples {
        let said = dry_run(&own, &example);
        assert!(said.success, "{}: {said}", file.display());
        assert!(said.stdout.contains("created (server dry run)"), "{}: {said}", file.display());
    }
}

#[test]
fn what_is_invalid_is_refused_in_words_that_help() {
    let own = Cluster::from_environment().own();
    for (file, fixture) in fixtures("invalid") {
        let expected = fixture.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let expected = expected.unwrap_or_else(|| panic!("{}: no line `# expect: …`", file.display()));
        let said = dry_run(&own, &fixture);
        assert!(!said.success, "{}: taken", file.display());
        assert!(said.stderr.contains(expected), "{}: no «{expected}» in {said}", file.display());
    }
}

/// A rule of a definition between fields, in CEL.
#[derive(Debug)]
struct Rule {
    kind: String,
    /// Where in an object of the kind it counts; `*` stands for the items of a list.
    at: Vec<String>,
    rule: String,
    message: String,
}

/// The rules of all definitions of ours that the cluster has.
fn rules(own: &Kubectl) -> Vec<Rule> {
    let ours = |definition: &Value| definition["spec"]["group"] == "weighbridge.dev";
    let mut rules = Vec::new();
    for definition in own.list("customresourcedefinitions").into_iter().filter(ours) {
        let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind").to_owned();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        collect(&kind, &mut Vec::new(), schema, &mut rules);
    }
    rules
}

fn collect(kind: &str, at: &mut Vec<String>, schema: &Value, rules: &mut Vec<Rule>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let (rule, message) = (text(&rule["rule"]), text(&rule["message"]));
        rules.push(Rule { kind: kind.to_owned(), at: at.clone(), rule, message });
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let items = ["items", "additionalProperties"].map(|key| ("*".to_owned(), &schema[key]));
    for (name, inner) in fields.map(|(name, inner)| (name.clone(), inner)).chain(items) {
        if inner.is_object() {
            at.push(name);
            collect(kind, at, inner, rules);
            at.pop();
        }
    }
}

impl Rule {
    /// Whether it compares an object with what it was before.
    fn is_about_changes(&self) -> bool {
        self.rule.contains("oldSelf")
    }

    /// Whether it counts somewhere in an object.
    fn counts_in(&self, object: &Value) -> bool {
        fn reaches(value: &Value, at: &[String]) -> bool {
            match at {
                [] => !value.is_null(),
                [first, rest @ ..] if first == "*" => match value {
                    Value::Array(items) => items.iter().any(|item| reaches(item, rest)),
                    Value::Object(items) => items.values().any(|item| reaches(item, rest)),
                    _ => false,
                },
                [first, rest @ ..] => reaches(&value[first], rest),
            }
        }
        object["kind"] == self.kind && reaches(object, &self.at)
    }
}

/// The objects of a folder of fixtures; a policy of the cluster also as one of a namespace, which has the same fields but one.
fn objects(own: &Kubectl, folder: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    for (file, fixture) in fixtures(folder) {
        let print = ["create", "--dry-run=client", "--validate=false", "--output=json", "--filename", "-"];
        let said = own.feed(&print, &fixture);
        let object: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}: {said}", file.display()));
        if object["kind"] == "ClusterModelPolicy" {
            let mut namespaced = object.clone();
            namespaced["kind"] = json!("ModelPolicy");
            namespaced["metadata"]["namespace"] = json!(OWN_NAMESPACE);
            if let Some(matched) = namespaced["spec"]["match"].as_object_mut() {
                matched.remove("namespaceSelector");
            }
            objects.push(namespaced);
        }
        objects.push(object);
    }
    objects
}

#[test]
fn every_rule_between_fields_is_shown_by_what_it_takes_and_what_it_refuses() {
    let own = Cluster::from_environment().own();
    let said = |object: &Value| dry_run(&own, &object.to_string());
    let taken: Vec<Value> = objects(&own, "valid").into_iter().filter(|object| said(object).success).collect();
    let refused = objects(&own, "invalid").into_iter().map(|object| (said(&object), object));
    let refused: Vec<(Said, Value)> = refused.filter(|(said, _)| !said.success).collect();
    let (changes, rules): (Vec<Rule>, Vec<Rule>) = rules(&own).into_iter().partition(Rule::is_about_changes);
    assert!(rules.len() > 30, "{rules:?}");
    let mut bare = Vec::new();
    for rule in &rules {
        if !taken.iter().any(|object| rule.counts_in(object)) {
            bare.push(format!("nothing in fixtures/valid that it counts in: {rule:?}"));
        }
        let in_full =
            |(said, object): &(Said, Value)| object["kind"] == rule.kind && said.stderr.contains(&rule.message);
        if !refused.iter().any(in_full) {
            bare.push(format!("nothing in fixtures/invalid that it refuses: {rule:?}"));
        }
    }
    assert!(bare.is_empty(), "{} of {} rules:\n{}", bare.len(), rules.len(), bare.join("\n"));
    // Those about changes want an object that is there: the next test.
    let of: Vec<&str> = changes.iter().map(|rule| rule.kind.as_str()).collect();
    assert_eq!(of, ["BackingStore", "ModelVerification"]);
}

#[test]
fn what_a_record_is_about_never_changes() {
    let tenant = Cluster::from_environment().tenant("immutable", &[]);
    tenant.kubectl().apply(&record("model", "")).expect_success();
    let patch = |patch: Value| {
        let name = record_name("model", "");
        tenant.kubectl().run(&["patch", "mv", &name, "--type=merge", "--patch", &patch.to_string()])
    };
    patch(json!({ "spec": { "source": { "claim": { "path": "other" } } } })).expect_refusal(&["spec is immutable"]);
    patch(json!({ "spec": { "signature": "volume:other.sig" } })).expect_refusal(&["spec is immutable"]);
    patch(json!({ "metadata": { "annotations": { "weighbridge.dev/reverify": "now" } } })).expect_success();
}

#[test]
fn what_a_store_is_never_changes() {
    let tenant = Cluster::from_environment().tenant("immutable-store", &[]);
    let key = Key::generate();
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("model");
    tenant.kubectl().apply(&tenant.writer("loader", "model", "true")).expect_success();
    tenant.phase("loader", "Succeeded");
    let name = tenant.store("model")["metadata"]["name"].as_str().expect("the store of a writer").to_owned();
    let patch = json!({ "spec": { "identity": "csi:example.com/other" } }).to_string();
    let own = tenant.cluster().own();
    let said = own.run(&["patch", "backingstore", &name, "--type=merge", "--patch", &patch]);
    said.expect_refusal(&["a backing store is what it is: spec is immutable"]);
}
