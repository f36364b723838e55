//! `weighbridge check --context`: a laptop asks a living cluster for its policies, and says what its webhook says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use weighbridge_e2e::{Cluster, Deadline, Key, OWN_NAMESPACE, Tenant, eventually};

/// Contexts of a kubeconfig: the cluster as its administrator, as somebody who may do nothing, and a port where nobody is.
const ADMINISTRATOR: &str = "administrator";
const NOBODY: &str = "nobody";
const NOWHERE: &str = "nowhere";

/// A kubeconfig with these contexts, in a folder.
fn kubeconfig(folder: &TempDir) -> PathBuf {
    let said = Cluster::from_environment().kubectl().run(&["config", "view", "--raw", "--minify", "--output=json"]);
    let mut config: Value = serde_json::from_str(&said.stdout).expect("a kubeconfig");
    let (cluster, user) = (config["clusters"][0]["cluster"].clone(), config["users"][0]["user"].clone());
    let (mut nobody, mut nowhere) = (user.clone(), cluster.clone());
    nobody["as"] = json!("nobody@example.com");
    nowhere["server"] = json!("https://127.0.0.1:9");
    config["clusters"] = json!([{ "name": "here", "cluster": cluster }, { "name": NOWHERE, "cluster": nowhere }]);
    config["users"] = json!([{ "name": ADMINISTRATOR, "user": user }, { "name": NOBODY, "user": nobody }]);
    let context = |name: &str, cluster: &str, user: &str| json!({ "name": name, "context": { "cluster": cluster, "user": user } });
    config["contexts"] = json!([
        context(ADMINISTRATOR, "here", ADMINISTRATOR),
        context(NOBODY, "here", NOBODY),
        context(NOWHERE, NOWHERE, ADMINISTRATOR),
    ]);
    config["current-context"] = json!("");
    written(folder, "kubeconfig", &config)
}

fn written(folder: &TempDir, name: &str, content: &Value) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content.to_string()).expect("a file");
    path
}

/// Exit code, output and errors of a check of manifests by a context.
fn check(manifests: &Path, kubeconfig: &Path, context: &str, more: &[String]) -> (u8, String, String) {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments =
        vec!["weighbridge".to_owned(), "check".into(), text(manifests), "--context".into(), context.into()];
    arguments.extend(["--kubeconfig".into(), text(kubeconfig)]);
    arguments.extend_from_slice(more);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = weighbridge::cli::run(arguments.into_iter().map(Into::into), &mut out, &mut err);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (exit.code(), text(out), text(err))
}

/// Pods and Deployments with a model of each kind of verdict.
fn objects(tenant: &Tenant) -> Vec<Value> {
    let mut objects = Vec::new();
    for claim in ["good", "bare", "missing"] {
        objects.extend([tenant.pod(claim, claim), tenant.deployment(claim, claim)]);
    }
    let mut picture = tenant.pod("picture", "none");
    picture["spec"]["volumes"] = json!([{ "name": "model", "image": { "reference": tenant.cluster().busybox() } }]);
    objects.push(picture);
    let mut writable = tenant.pod("writable", "good");
    writable["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    objects.push(writable);
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(tenant.namespace);
    }
    objects
}

/// The policy of the cluster, with its key in a ConfigMap of ours.
fn enforce(tenant: &Tenant, key: &Key, action: &str) {
    let keys = format!("{}-keys", tenant.namespace);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": keys, "labels": { "weighbridge.dev/trust": "true" } }, "data": { "key.pem": key.pem() },
    });
    tenant.cluster().own().apply(&map).expect_success();
    let mut policy = tenant.policy(key);
    policy["spec"]["validationActions"] = json!([action]);
    policy["spec"]["authorities"][0]["key"] = json!({ "configMapRef": { "name": keys } });
    tenant.enforce(&policy);
}

#[test]
fn a_laptop_says_what_the_webhook_of_the_cluster_says() {
    let (tenant, key) = (Cluster::from_environment().tenant("laptop", &[]), Key::generate());
    let (good, bare) = (tenant.claim("good"), tenant.claim("bare"));
    good.sign(&key);
    enforce(&tenant, &key, "Deny");
    assert_eq!((tenant.record("good").1, tenant.record("bare").1), ("Verified".into(), "Unsigned".into()));

    let folder = tempfile::tempdir().expect("a folder");
    let config = kubeconfig(&folder);
    let objects = objects(&tenant);
    let manifests = written(&folder, "all.json", &json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    let mut more = vec!["--output".to_owned(), "json".into(), "--own-namespace".into(), OWN_NAMESPACE.into()];
    for (claim, model) in [("good", &good), ("bare", &bare)] {
        more.extend(["--model".to_owned(), format!("claim/{claim}={}", model.root().display())]);
    }
    let compare = |wanted: u8| {
        let (exit, out, err) = check(&manifests, &config, ADMINISTRATOR, &more);
        let output: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
        // Policies of other tests may be there, and be broken: they leave open what is not refused.
        assert!(exit == wanted || wanted == 0 && exit == 2, "{exit} {output}");
        let checked = output["objects"].as_array().cloned().unwrap_or_default();
        assert_eq!(checked.len(), objects.len(), "{output}");
        for (object, checked) in objects.iter().zip(&checked) {
            let said = tenant.kubectl().feed(&["create", "--dry-run=server", "--filename", "-"], &object.to_string());
            let decision = &checked["decision"];
            let listed = decision["warnings"].as_array().cloned().unwrap_or_default();
            let ours: BTreeSet<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let theirs: BTreeSet<String> = said.warnings(&tenant.namespace).into_iter().collect();
            let expected = (Some(said.success), theirs, said.denial());
            let found = (decision["allowed"].as_bool(), ours, decision["message"].as_str());
            assert_eq!(found, expected, "{object}: {said}");
        }
        checked
    };
    let codes = |checked: &[Value]| -> Vec<String> {
        let code = |it: &Value| it["decision"]["violations"][0]["code"].as_str().unwrap_or("none").to_owned();
        checked.iter().map(code).collect()
    };
    let unsigned = ["Unsigned", "Unsigned", "SourceMissing", "SourceMissing", "NotVerifiable", "WriterNotAllowed"];
    assert_eq!(codes(&compare(1)), [&["none", "none"], &unsigned[..]].concat());

    // A policy of the namespace is read as well, and so is what becomes of the cluster's.
    let mine = json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelPolicy", "metadata": { "name": "mine" },
        "spec": {
            "validationActions": ["Deny"], "requireDigestAnnotation": true,
            "authorities": [{ "name": "ours", "key": { "data": key.pem() } }],
        },
    });
    tenant.kubectl().apply(&mine).expect_success();
    let programmed = ["wait", "--for=condition=Programmed", "--timeout=60s", "modelpolicy", "mine"];
    tenant.kubectl().run(&programmed).expect_success();
    let checked = compare(1);
    assert_eq!(codes(&checked)[0], "DigestAnnotationMissing", "{checked:?}");
    tenant.kubectl().run(&["delete", "modelpolicy", "mine"]).expect_success();
    enforce(&tenant, &key, "Audit");
    assert_eq!(codes(&compare(0))[2], "Unsigned");
}

#[test]
fn a_cluster_that_says_nothing_leaves_all_open() {
    let cluster = Cluster::from_environment();
    let tenant = cluster.tenant("silent", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let config = kubeconfig(&folder);
    let manifests = written(&folder, "pod.json", &tenant.pod("server", "model"));
    let ask = |context: &str| check(&manifests, &config, context, &[]);

    let (exit, out, err) = ask(NOWHERE);
    assert_eq!((exit, out.as_str()), (2, ""), "{err}");
    assert!(err.starts_with("not determined: --context nowhere: clustermodelpolicies cannot be listed: "), "{err}");
    assert!(err.contains("onnection refused") && err.contains(" — see that its API server can be reached"), "{err}");

    let (exit, out, err) = ask(NOBODY);
    assert_eq!((exit, out.as_str()), (2, ""), "{err}");
    let forbidden = "\"nobody@example.com\" cannot list resource \"clustermodelpolicies\"";
    assert!(err.contains(forbidden) && err.contains(" — have somebody grant that"), "{err}");
    // The policies of the cluster alone are not all.
    let name = format!("{}-policies", tenant.namespace);
    let resource = "--resource=clustermodelpolicies.weighbridge.dev";
    cluster.kubectl().run(&["create", "clusterrole", &name, "--verb=list", resource]).expect_success();
    let (role, user) = (format!("--clusterrole={name}"), "--user=nobody@example.com");
    cluster.kubectl().run(&["create", "clusterrolebinding", &name, &role, user]).expect_success();
    let (exit, _, err) = eventually("the right counts", Deadline::seconds(30), || {
        let said = ask(NOBODY);
        if said.2.contains(forbidden) { Err(said.2) } else { Ok(said) }
    });
    for kind in ["clusterrolebinding", "clusterrole"] {
        cluster.kubectl().run(&["delete", kind, &name]).expect_success();
    }
    assert_eq!(exit, 2, "{err}");
    assert!(err.contains("cannot list resource \"modelpolicies\""), "{err}");

    let (exit, _, err) = ask("no-such-context");
    assert_eq!(exit, 64, "{err}");
    assert!(err.contains("--context no-such-context: the kubeconfig cannot be used"), "{err}");
}
