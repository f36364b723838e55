//! The API server takes what the API's documentation allows, and refuses the rest in words that help.
//!
//! One file for each rule and each bound that matters: those in `fixtures/valid` are taken; each in `fixtures/invalid`
//! is refused with what its first line says, `# expect: FRAGMENT`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use weighbridge_e2e::{Cluster, Kubectl, OWN_NAMESPACE, Said, record, record_name};

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
    let operators = ["kind: WorkloadVerification", "kind: BackingStore"].iter().any(|kind| fixture.contains(kind));
    let user = format!("--as=system:serviceaccount:{OWN_NAMESPACE}:weighbridge-operator");
    let mut arguments = vec!["create", "--dry-run=server", "--filename", "-"];
    arguments.extend(operators.then_some(user.as_str()));
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

#[test]
fn what_a_record_is_about_never_changes() {
    let tenant = Cluster::from_environment().tenant("immutable", &[]);
    tenant.kubectl().apply(&record("model", "")).expect_success();
    let patch = |patch: serde_json::Value| {
        let name = record_name("model", "");
        tenant.kubectl().run(&["patch", "mv", &name, "--type=merge", "--patch", &patch.to_string()])
    };
    patch(json!({ "spec": { "source": { "claim": { "path": "other" } } } })).expect_refusal(&["spec is immutable"]);
    patch(json!({ "spec": { "signature": "volume:other.sig" } })).expect_refusal(&["spec is immutable"]);
    patch(json!({ "metadata": { "annotations": { "weighbridge.dev/reverify": "now" } } })).expect_success();
}
