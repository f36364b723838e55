//! `weighbridge check` as a pipeline meets it: manifests and policies in, exit codes and reports out.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::support::{P256, Signer, weighbridge, write_files};

/// What `kubectl apply` would be given: a namespace, a Deployment with one model, and objects that use none.
const MANIFESTS: &str = "\
# Source: llama/templates/namespace.yaml
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {tier: production}}
---
apiVersion: v1
kind: Service
metadata: {name: llama, namespace: shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: llama, namespace: shop}
  spec:
    selector: {matchLabels: {app: llama}}
    template:
      metadata: {labels: {app: llama}}
      spec:
        containers:
        - {name: server, image: server, volumeMounts: [{name: model, mountPath: /models, readOnly: true}]}
        volumes: [{name: model, persistentVolumeClaim: {claimName: llama}}]
";

/// A folder with the signed model `m`, a policy that trusts its signer, one that refers to a ConfigMap, and manifests.
fn folder() -> TempDir {
    let (dir, signer) = (tempdir().unwrap(), Signer::new(P256));
    write_files(&dir.path().join("m"), &["a", "b/c"]);
    signer.sign_folder(&dir.path().join("m"), &[]);
    let policy = |kind: &str, name: &str, matches: Value, authority: Value| {
        json!({
            "apiVersion": "weighbridge.dev/v1alpha1", "kind": kind, "metadata": { "name": name },
            "spec": { "match": matches, "validationActions": ["Deny"], "authorities": [authority] },
        })
        .to_string()
    };
    let production = || json!({ "namespaceSelector": { "matchLabels": { "tier": "production" } } });
    let key = |pem: &str| json!({ "name": "release-key", "key": { "data": pem } });
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("policy.yaml", &policy("ClusterModelPolicy", "production", production(), key(&signer.pem())));
    let stranger = Signer::new(P256).pem();
    write("mine.yaml", &policy("ModelPolicy", "mine", json!({}), key(&stranger)));
    let referred = json!({ "name": "release-key", "key": { "configMapRef": { "name": "keys" } } });
    let keys = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "keys" }, "data": { "key.pem": signer.pem() },
    });
    let referring = policy("ClusterModelPolicy", "production", production(), referred);
    write("missing.yaml", &referring);
    write("whole.yaml", &format!("{referring}\n---\n{keys}\n"));
    write("all.yaml", MANIFESTS);
    dir
}

fn check(dir: &Path, arguments: &[&str]) -> Assert {
    weighbridge(&["check"]).args(arguments).current_dir(dir).assert()
}

const GOOD: [&str; 4] = ["--policy", "policy.yaml", "--model", "claim/llama=m"];

fn with<'a>(manifests: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[manifests], &GOOD[..], more].concat()
}

#[test]
fn what_a_cluster_would_take_is_0() {
    let dir = folder();
    let summary =
        "1 objects with models that a policy selects: 0 refused, 0 not determined, 1 allowed; 2 other objects";
    let done = check(dir.path(), &with("all.yaml", &[])).code(0);
    done.stdout(contains("shop/Deployment/llama (all.yaml:9): allowed").and(contains(summary))).stderr("");
    let whole = ["all.yaml", "--policy", "whole.yaml", "--model", "claim/llama=m"];
    check(dir.path(), &whole).code(0);
    let mut stdin = weighbridge(&["check", "-"]);
    stdin.args(GOOD).current_dir(dir.path()).write_stdin(MANIFESTS).assert().code(0).stdout(contains("(-:9): allowed"));
    fs::create_dir(dir.path().join("set")).unwrap();
    fs::rename(dir.path().join("all.yaml"), dir.path().join("set/all.yml")).unwrap();
    check(dir.path(), &with("set", &[])).code(0).stdout(contains("(set/all.yml:9): allowed"));
}

#[test]
fn what_a_cluster_would_refuse_is_1_in_its_own_words() {
    let dir = folder();
    fs::write(dir.path().join("m/a"), "altered").unwrap();
    let sentence = "production: spec.template.spec.containers[0].volumeMounts[0]: the files are not what was signed: 1 \
                    altered: a — put the signed files back, or sign the model again [ContentMismatch]";
    check(dir.path(), &with("all.yaml", &[])).code(1).stdout(contains(sentence));
    fs::remove_file(dir.path().join("m/model.sig")).unwrap();
    check(dir.path(), &with("all.yaml", &[])).code(1).stdout(contains("[Unsigned]"));
}

#[test]
fn every_policy_that_is_not_satisfied_is_named() {
    let dir = folder();
    let arguments = with("all.yaml", &["--policy", "mine.yaml", "--namespace", "shop"]);
    let said = contains("shop/mine: spec.template.spec").and(contains("[UntrustedSigner]"));
    check(dir.path(), &arguments).code(1).stdout(said);
    check(dir.path(), &with("all.yaml", &["--policy", "mine.yaml"])).code(0);
    let verify = ["verify", "m", "--policy"];
    let mine = weighbridge(&[&verify[..], &["mine.yaml"]].concat()).current_dir(dir.path()).assert();
    mine.code(1).stdout(contains("[UntrustedSigner]"));
    let both = fs::read_to_string(dir.path().join("policy.yaml")).unwrap()
        + "\n---\n"
        + &fs::read_to_string(dir.path().join("mine.yaml")).unwrap();
    fs::write(dir.path().join("both.yaml"), both).unwrap();
    let both = weighbridge(&[&verify[..], &["both.yaml"]].concat()).current_dir(dir.path()).assert();
    both.code(1).stdout(contains("default/mine"));
}

/// Whether a policy selects it rests on labels that nobody has named.
#[test]
fn a_namespace_of_which_nothing_is_known_is_2_where_policies_go_by_labels() {
    let dir = folder();
    fs::write(dir.path().join("elsewhere.yaml"), MANIFESTS.replace("name: shop, labels", "name: other, labels"))
        .unwrap();
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: c, volumeMounts: \
               [{name: m, mountPath: /m}]}], volumes: [{name: m, persistentVolumeClaim: {claimName: llama}}]}}";
    fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let said = contains("nothing is known of namespace default — add a Namespace object");
    check(dir.path(), &with("pod.yaml", &[])).code(2).stdout(said.clone());
    check(dir.path(), &with("pod.yaml", &["--output", "json"]))
        .code(2)
        .stdout(contains("nothing is known of namespace"));
    check(dir.path(), &with("pod.yaml", &["--namespace-labels", "tier=test"])).code(0).stdout(said.clone().not());

    // By its name alone a policy selects or does not.
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    policy["spec"]["match"] =
        json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } } });
    fs::write(dir.path().join("by-name.yaml"), policy.to_string()).unwrap();
    let arguments = ["pod.yaml", "--policy", "by-name.yaml", "--model", "claim/llama=m"];
    check(dir.path(), &arguments).code(1).stdout(contains("[Writable]"));
    check(dir.path(), &[&arguments[..], &["--namespace", "other"]].concat()).code(0);
}

/// Else a claim that is misspelt would be missing, and its folder never read.
#[test]
fn a_folder_for_a_claim_that_nobody_mounts_is_said() {
    let dir = folder();
    let said = "warning: --model claim/lama: no manifest mounts that claim; correct its name\n";
    check(dir.path(), &with("all.yaml", &["--model", "claim/lama=m"])).code(0).stderr(said);
}

/// A folder is asked for only where a policy asks about the claim.
#[test]
fn no_folder_is_asked_for_that_changes_nothing() {
    let dir = folder();
    let mounts = "readOnly: true}]}";
    let scratch = "readOnly: true}, {name: scratch, mountPath: /scratch}]}";
    let volumes = "{claimName: llama}}]";
    let claim = "{claimName: llama}}, {name: scratch, persistentVolumeClaim: {claimName: scratch}}]";
    fs::write(dir.path().join("scratch.yaml"), MANIFESTS.replace(mounts, scratch).replace(volumes, claim)).unwrap();
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    policy["spec"]["match"]["models"] = json!([{ "mountPaths": ["/models"] }]);
    fs::write(dir.path().join("models.yaml"), policy.to_string()).unwrap();
    let of_all = check(dir.path(), &with("scratch.yaml", &[]));
    of_all.stdout(contains("no folder stands in for claim scratch"));
    let of_models = ["scratch.yaml", "--policy", "models.yaml", "--model", "claim/llama=m"];
    check(dir.path(), &of_models).code(0).stdout(contains("no folder stands in").not());
}

#[test]
fn what_nobody_can_say_is_2() {
    let dir = folder();
    let nothing = ["all.yaml", "--policy", "policy.yaml"];
    let said = contains("Warning: production: ").and(contains("A cluster would take it, but not its Pods:"));
    let said = said.and(contains("[SourceMissing]")).and(contains("add --model claim/llama=DIR"));
    check(dir.path(), &nothing).code(2).stdout(said);
    let missing = ["all.yaml", "--policy", "missing.yaml", "--model", "claim/llama=m"];
    check(dir.path(), &missing).code(2).stdout(contains("ConfigMap keys does not exist"));
    let elsewhere = MANIFESTS.replace("name: shop, labels", "name: other, labels");
    fs::write(dir.path().join("elsewhere.yaml"), elsewhere).unwrap();
    let said = contains("nothing is known of namespace shop");
    check(dir.path(), &with("elsewhere.yaml", &["--explain"])).code(2).stdout(said);
    let labelled = ["--namespace", "shop", "--namespace-labels", "tier=production"];
    check(dir.path(), &with("elsewhere.yaml", &labelled)).code(0);
}

/// Whatever becomes known in a cluster, the manifest itself would have to change; which registries are listed may become
/// known.
#[test]
fn what_nothing_can_cure_is_1() {
    let dir = folder();
    let fetching = MANIFESTS.replace("image: server,", "image: vllm/vllm-openai:v0.11.0, args: [--model, acme/llama],");
    fs::write(dir.path().join("fetching.yaml"), fetching).unwrap();
    for unknown in ["Deny", "Hold"] {
        let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
        let mut policy: Value = serde_json::from_str(&policy).unwrap();
        policy["spec"]["unknown"] = json!(unknown);
        fs::write(dir.path().join("stern.yaml"), policy.to_string()).unwrap();
        let arguments = ["fetching.yaml", "--policy", "stern.yaml", "--model", "claim/llama=m"];
        let said = contains("shop/Deployment/llama (fetching.yaml:9): refused").and(contains("[NotVerifiable]"));
        check(dir.path(), &arguments).code(1).stdout(said);
    }
    let bundle = format!("signature.weighbridge.dev/model: oci://registry.example.com/a@sha256:{}", "0".repeat(64));
    let labels = "metadata: {labels: {app: llama}";
    let placed = MANIFESTS.replace(labels, &format!("{labels}, annotations: {{{bundle}}}"));
    fs::write(dir.path().join("placed.yaml"), placed).unwrap();
    check(dir.path(), &with("placed.yaml", &[])).code(2).stdout(contains("[RegistryUnauthorized]"));
}

/// A policy that selects claims by labels may turn out to leave one alone that is not among the manifests.
#[test]
fn what_the_labels_of_a_claim_could_settle_is_2() {
    let dir = folder();
    let placed = MANIFESTS.replace("readOnly: true}", "readOnly: true, subPathExpr: $(TEAM)}");
    assert_ne!(placed, MANIFESTS);
    fs::write(dir.path().join("placed.yaml"), placed).unwrap();
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    policy["spec"]["match"]["models"] = json!([{ "claims": { "selector": { "matchLabels": { "holds": "models" } } } }]);
    fs::write(dir.path().join("selecting.yaml"), policy.to_string()).unwrap();
    let said = contains("not determined").and(contains("[NotVerifiable]"));
    check(dir.path(), &["placed.yaml", "--policy", "selecting.yaml"]).code(2).stdout(said);
}

#[test]
fn usage_is_64() {
    let dir = folder();
    fs::write(dir.path().join("broken.yaml"), "a: [").unwrap();
    let pod = "{apiVersion: v1, kind: Pod, spec: {containers: 1}}";
    fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    fs::write(dir.path().join("empty.yaml"), "---\n").unwrap();
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    fs::write(dir.path().join("typo.yaml"), policy.replace("matchLabels", "matchLabel")).unwrap();
    fs::write(dir.path().join("later.yaml"), policy.replace("v1alpha1", "v2")).unwrap();
    for (arguments, said) in [
        (with("broken.yaml", &[]), "broken.yaml: the document in line 1"),
        (with("pod.yaml", &[]), "pod.yaml:1: the Pod cannot be read"),
        (with("nowhere.yaml", &[]), "nowhere.yaml: "),
        (with("all.yaml", &["--model", "llama=m"]), "write it as claim/NAME=DIR"),
        (with("empty.yaml", &[]), "there is no object in what is to be checked"),
        (vec!["all.yaml", "--policy", "typo.yaml"], "unknown field spec.match.namespaceSelector.matchLabel;"),
        (vec!["all.yaml", "--policy", "later.yaml"], "weighbridge.dev/v2, which is no policy that is understood here"),
        (vec!["all.yaml"], "--policy"),
        (vec!["all.yaml", "--policy", "all.yaml"], "no ClusterModelPolicy or ModelPolicy in it"),
    ] {
        check(dir.path(), &arguments).code(64).stderr(contains(said));
    }
}

#[test]
fn it_says_why() {
    let dir = folder();
    let said = contains("container server: claim/llama at /models, read-only (spec.template")
        .and(contains("policy production selects the namespace by its labels, and selects this use"))
        .and(contains("verified: signed by production/release-key, sha256:"));
    check(dir.path(), &with("all.yaml", &["--explain"])).code(0).stdout(said);
    let missing = contains("add --model claim/llama=DIR");
    check(dir.path(), &["all.yaml", "--policy", "policy.yaml", "--explain"]).code(2).stdout(missing);
}

#[test]
fn reports_for_programs_say_the_same() {
    let dir = folder();
    fs::write(dir.path().join("m/a"), "<altered>").unwrap();
    let stdout = |format: &str| {
        let done = check(dir.path(), &with("all.yaml", &["--output", format])).code(1);
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    };
    let output: Value = serde_json::from_str(&stdout("json")).unwrap();
    let object = &output["objects"][0];
    assert_eq!(
        (&output["version"], &output["outcome"], &output["otherObjects"]),
        (&json!(1), &json!("refused"), &json!(2))
    );
    assert_eq!((&object["kind"], &object["line"]), (&json!("Deployment"), &json!(9)));
    assert_eq!(object["decision"]["violations"][0]["code"], "ContentMismatch");
    assert_eq!(object["models"][0]["source"], "claim/llama");
    let sarif: Value = serde_json::from_str(&stdout("sarif")).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("ContentMismatch"), &json!("error")));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 9);
    let junit = stdout("junit");
    assert!(junit.contains("tests=\"1\" failures=\"1\" errors=\"0\""), "{junit}");
    assert!(junit.contains("<failure message=\"production: spec.template"), "{junit}");
}

/// A template whose Pods are held is no more silent than one whose Pods are refused.
#[test]
fn a_test_report_says_what_is_waited_for() {
    let dir = folder();
    let stern = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    let mut holding: Value = serde_json::from_str(&stern).unwrap();
    holding["spec"]["unknown"] = json!("Hold");
    fs::write(dir.path().join("holding.yaml"), holding.to_string()).unwrap();
    let sentence = "claim &quot;llama&quot; does not exist — create it, or correct claimName [SourceMissing]";
    for policy in ["policy.yaml", "holding.yaml"] {
        let done = check(dir.path(), &["all.yaml", "--policy", policy, "--output", "junit"]).code(2);
        let message =
            format!("<error message=\"production: spec.template.spec.containers[0].volumeMounts[0]: {sentence}\">");
        done.stdout(contains(message));
    }
}

/// Objects that miss a field which the schema demands.
fn incomplete(schema: &Value, root: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
        incomplete(&root["$defs"][name], root, value, at, found);
    }
    match value {
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            found.extend(required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}.{name}")));
            for (name, value) in fields {
                incomplete(&schema["properties"][name], root, value, &format!("{at}.{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| incomplete(&schema["items"], root, item, at, found)),
        _ => {}
    }
}

#[test]
fn what_is_printed_has_all_that_its_schema_demands() {
    let dir = folder();
    let run = |arguments: &[&str]| {
        let output = weighbridge(arguments).current_dir(dir.path()).output().unwrap().stdout;
        serde_json::from_slice::<Value>(&output).unwrap()
    };
    let verify = ["verify", "m", "--output", "json", "--policy", "policy.yaml"];
    let mut outputs = vec![
        ("verify", run(&verify)),
        ("check", run(&[&["check"], &with("all.yaml", &["--output", "json"])[..]].concat())),
    ];
    fs::remove_file(dir.path().join("m/model.sig")).unwrap();
    outputs.push(("verify", run(&verify)));
    outputs.push(("check", run(&[&["check"], &with("all.yaml", &["--output", "json"])[..]].concat())));
    for (what, output) in outputs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/reference/{what}-output.schema.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut found = Vec::new();
        incomplete(&schema, &schema, &output, what, &mut found);
        assert_eq!(found, [""; 0], "{output}");
        assert!(!schema["required"].as_array().unwrap().is_empty(), "{what} demands something");
    }
}

#[test]
fn custom_resources_are_judged_by_what_they_name() {
    let dir = folder();
    let service = |api: &str, kind: &str, uri: &str| {
        format!(
            "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: llama, namespace: shop}}\nspec: \
             {{predictor: {{model: {{storageUri: {uri}}}}}}}\n"
        )
    };
    let write = |object: String| fs::write(dir.path().join("all.yaml"), format!("{MANIFESTS}{object}")).unwrap();
    write(service("serving.kserve.io/v1beta1", "InferenceService", "pvc://llama"));
    check(dir.path(), &with("all.yaml", &[]))
        .code(0)
        .stdout(contains("shop/InferenceService/llama (all.yaml:24): allowed"));
    write(service("serving.kserve.io/v1beta1", "InferenceService", "hf://acme/llama"));
    let said = || contains("production: spec.predictor.model.storageUri: ").and(contains("[NotVerifiable]"));
    check(dir.path(), &with("all.yaml", &[])).code(1).stdout(said());

    write(service("example.com/v1", "Server", "hf://acme/llama"));
    check(dir.path(), &with("all.yaml", &[])).code(0);
    let kind = "apiVersion: weighbridge.dev/v1alpha1\nkind: ModelKind\nmetadata: {name: servers.example.com}\nspec: \
                {group: example.com, kind: Server, resource: servers, paths: {uris: [spec.predictor.model.storageUri]}}\n";
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    fs::write(dir.path().join("policy.yaml"), format!("{policy}\n---\n{kind}")).unwrap();
    check(dir.path(), &with("all.yaml", &[])).code(1).stdout(said());
}

/// The chart's examples, with the ConfigMaps that their comments make, are policies that are understood.
#[test]
fn the_examples_of_the_chart_are_understood() {
    let (dir, signer) = (tempdir().unwrap(), Signer::new(P256));
    fs::write(dir.path().join("all.yaml"), MANIFESTS).unwrap();
    let map = |name: &str, key: &str, text: &str| {
        let labels = json!({ "weighbridge.dev/trust": "true", "weighbridge.dev/model-policies": "true" });
        let metadata = json!({ "name": name, "labels": labels });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { key: text } }).to_string()
    };
    let root = include_str!("../vectors/oms/keys/ca-cert.pem");
    let maps = [map("release-key", "key.pem", &signer.pem()), map("nvidia-ngc", "ca.crt", root)].join("\n---\n");
    let mut count = 0;
    for example in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/weighbridge/examples")).unwrap() {
        let text = fs::read_to_string(example.unwrap().path()).unwrap();
        fs::write(dir.path().join("policy.yaml"), format!("{text}\n---\n{maps}\n")).unwrap();
        let done = check(dir.path(), &["all.yaml", "--policy", "policy.yaml", "--output", "json"]);
        let output: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
        assert_eq!(output["problems"], json!([]), "{text}");
        count += 1;
    }
    assert_eq!(count, 5);
}
