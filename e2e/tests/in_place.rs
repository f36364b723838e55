//! Pods that are there already: nothing that is changed in place brings in, or exposes, a model that admission refused.
//!
//! A table of changes and one of ephemeral containers, each asked for real under every action: what is refused leaves the
//! Pod as it was, and what is not has really happened. The Pods were made before the policy came.

use std::fs;

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Key, Kubectl, Reviewed, Said, Tenant, address, ask, record_name, review};

/// The Pods that are changed, each with the one model that it uses.
const PODS: [&str; 3] = ["verified", "refused", "unknown"];
/// The Pod that gets ephemeral containers: it has the volumes, and no container of its own mounts one.
const HOST: &str = "host";
const NODE: &str = "node-1";

const OURS: &str = "weighbridge.dev/note";
const FOREIGN: &str = "example.com/note";
const DIGEST: &str = "digest.weighbridge.dev/model";
const SIGNATURE: &str = "signature.weighbridge.dev/model";

/// What a Pod gets whose model is verified, refused, unknown, where the whole Pod is judged afresh.
const JUDGED: Codes = [None, Some("Unsigned"), Some("NotVerifiable")];
/// What it gets where nothing is judged.
const IGNORED: Codes = [None; 3];

/// The codes for the three Pods; `None`: it happens without a word.
type Codes = [Option<&'static str>; 3];

/// What is done to a Pod, in this order. What stays under Warn and Audit does not change what the next ones lead to.
const CHANGES: [(Change, Codes); 12] = [
    (Change::Copy, JUDGED),
    (Change::Mirror, JUDGED),
    (Change::Debug, IGNORED),
    (Change::Image("server"), JUDGED),
    (Change::Image("prepare"), JUDGED),
    (Change::Resize, IGNORED),
    (Change::Annotation(FOREIGN, Some("x")), IGNORED),
    (Change::Annotation(FOREIGN, None), IGNORED),
    (Change::Annotation(OURS, None), JUDGED),
    (Change::Digest, JUDGED),
    (Change::Annotation(DIGEST, Some(OTHER_DIGEST)), [Some("DigestMismatch"), Some("Unsigned"), Some("NotVerifiable")]),
    // What was found so far was found by another bundle.
    (
        Change::Annotation(SIGNATURE, Some("volume:model.sig")),
        [Some("NotVerifiedYet"), Some("NotVerifiedYet"), Some("NotVerifiable")],
    ),
];
const OTHER_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Ephemeral containers of the host: name, the volume that one mounts, whether read-only, and the code.
const EPHEMERAL: [(&str, &str, bool, Option<&str>); 5] = [
    ("reads-verified", "good", true, None),
    ("reads-refused", "bare", true, Some("Unsigned")),
    ("reads-unknown", "picture", true, Some("NotVerifiable")),
    ("reads-unread", "unread", true, Some("NotVerifiedYet")),
    // No Pod comes with it whose end anybody could wait for: it never writes, whoever asks.
    ("writes-verified", "written", false, Some("Writable")),
];

#[derive(Clone, Copy, Debug)]
enum Change {
    /// `kubectl debug --copy-to`: a copy is a Pod like any other.
    Copy,
    /// A Pod like this one that a tenant calls a mirror: the annotation proves nothing.
    Mirror,
    /// `kubectl debug`: an ephemeral container that mounts nothing.
    Debug,
    /// `kubectl set image` of a container.
    Image(&'static str),
    /// More CPU for its container.
    Resize,
    /// An annotation is set, or taken off.
    Annotation(&'static str, Option<&'static str>),
    /// The annotation that names the digest of the verified model.
    Digest,
}

/// A namespace under a policy of one action.
struct Stage {
    tenant: Tenant,
    action: &'static str,
    /// An account that has every right in the namespace.
    attacker: Kubectl,
    /// The digest of the model that is verified.
    digest: String,
}

/// The Pods run before the policy comes.
fn stage(action: &'static str) -> Stage {
    let tenant = Cluster::from_environment().tenant(&format!("in-place-{}", action.to_lowercase()), &[]);
    let key = Key::generate();
    for (claim, signed) in [("good", true), ("bare", false), ("unread", true), ("written", true)] {
        let model = tenant.claim(claim);
        if signed {
            model.sign(&key);
        }
    }
    let mut pods: Vec<Value> = PODS.iter().map(|name| pod(&tenant, name)).collect();
    pods.push(host(&tenant));
    tenant.kubectl().apply(&json!({ "apiVersion": "v1", "kind": "List", "items": pods })).expect_success();
    for name in PODS.into_iter().chain([HOST]) {
        let ready = ["wait", "--for=condition=Ready", "--timeout=120s", "pod", name];
        tenant.kubectl().run(&ready).expect_success();
    }
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!([action]);
    tenant.enforce(&policy);
    for (claim, reason) in [("good", "Verified"), ("bare", "Unsigned"), ("written", "Verified")] {
        assert_eq!(tenant.record(claim).1, reason);
    }
    let record = tenant.kubectl().get("modelverification", &record_name("good", ""));
    let digest = record["status"]["models"][0]["modelDigest"].as_str().expect("a digest").to_owned();
    Stage { attacker: tenant.attacker(), tenant, action, digest }
}

/// A Pod with an init container, and with something to change.
fn pod(tenant: &Tenant, name: &str) -> Value {
    let mut pod = tenant.pod(name, if name == "verified" { "good" } else { "bare" });
    if name == "unknown" {
        pod["spec"]["volumes"][0] = picture(tenant, "model");
    }
    pod["metadata"]["annotations"] = json!({ OURS: "x" });
    let container = &mut pod["spec"]["containers"][0];
    container["resources"] = json!({ "requests": { "cpu": "1m" } });
    let mut prepare = container.clone();
    prepare["name"] = json!("prepare");
    prepare["command"] = json!(["true"]);
    prepare["volumeMounts"] = json!([]);
    pod["spec"]["initContainers"] = json!([prepare]);
    pod
}

/// A volume of which nobody can say anything.
fn picture(tenant: &Tenant, name: &str) -> Value {
    json!({ "name": name, "image": { "reference": tenant.cluster().busybox() } })
}

fn host(tenant: &Tenant) -> Value {
    let mut pod = tenant.pod(HOST, "good");
    pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
    let claim = |name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
    let mut volumes = ["good", "bare", "unread", "written"].map(claim).to_vec();
    volumes.push(picture(tenant, "picture"));
    pod["spec"]["volumes"] = json!(volumes);
    pod
}

impl Change {
    /// Asks for it.
    fn ask(self, stage: &Stage, name: &str) -> Said {
        let kubectl = stage.tenant.kubectl();
        match self {
            Change::Copy => {
                debug(stage, name, &[&format!("--copy-to={name}-copy"), "--container=added"], &["sleep", "1000"])
            }
            Change::Mirror => stage.attacker.create(&mirror(stage, name)),
            Change::Debug => debug(stage, name, &["--container=added"], &["sleep", "1000"]),
            Change::Image(container) => {
                kubectl.run(&["set", "image", &format!("pod/{name}"), &format!("{container}={}", other_image(stage))])
            }
            Change::Resize => {
                let more = json!([{ "name": "server", "resources": { "requests": { "cpu": "2m" } } }]);
                let patch = json!({ "spec": { "containers": more } }).to_string();
                kubectl.run(&["patch", "pod", name, "--subresource=resize", "--patch", &patch])
            }
            Change::Annotation(key, value) => annotate(stage, name, key, value),
            Change::Digest => annotate(stage, name, DIGEST, Some(&stage.digest)),
        }
    }

    /// Whether it has happened.
    fn is_seen(self, stage: &Stage, name: &str, said: &Said) -> bool {
        let pod = || stage.tenant.kubectl().get("pod", name);
        let annotation = |key: &str| pod()["metadata"]["annotations"][key].as_str().map(str::to_owned);
        match self {
            Change::Copy => !stage.tenant.kubectl().get("pod", &format!("{name}-copy")).is_null(),
            // Its kubelet takes it away at once: it runs no such Pod.
            Change::Mirror => said.stdout.contains("created"),
            Change::Debug => container(&pod(), "ephemeralContainers", "added").is_some(),
            Change::Image(which) => {
                let list = if which == "prepare" { "initContainers" } else { "containers" };
                container(&pod(), list, which).is_some_and(|it| it["image"] == other_image(stage))
            }
            Change::Resize => pod()["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2m",
            Change::Annotation(key, value) => annotation(key).as_deref() == value,
            Change::Digest => annotation(DIGEST).as_deref() == Some(&stage.digest),
        }
    }

    /// Where what is wrong is said to be.
    fn path(self) -> &'static str {
        "spec.containers[0].volumeMounts[0]"
    }
}

fn annotate(stage: &Stage, name: &str, key: &str, value: Option<&str>) -> Said {
    let change = value.map_or(format!("{key}-"), |value| format!("{key}={value}"));
    stage.tenant.kubectl().run(&["annotate", "--overwrite", "pod", name, &change])
}

/// `kubectl debug`, with flags, and the command of the container that it adds.
fn debug(stage: &Stage, name: &str, flags: &[&str], command: &[&str]) -> Said {
    let image = format!("--image={}", stage.tenant.cluster().busybox());
    let fixed = ["debug", name, &image, "--profile=restricted"];
    stage.tenant.kubectl().run(&[&fixed[..], flags, &["--"], command].concat())
}

fn other_image(stage: &Stage) -> String {
    stage.tenant.cluster().busybox().replace("busybox", "other")
}

/// What a node shows of a Pod that it runs from a file, like this one.
fn mirror(stage: &Stage, name: &str) -> Value {
    let mut pod = pod(&stage.tenant, name);
    pod["metadata"] =
        json!({ "name": format!("{name}-mirror"), "annotations": { "kubernetes.io/config.mirror": "4a8f" } });
    pod["spec"]["nodeName"] = json!(NODE);
    pod
}

fn container(pod: &Value, list: &str, name: &str) -> Option<Value> {
    pod["spec"][list].as_array().into_iter().flatten().find(|it| it["name"] == name).cloned()
}

/// Whether what was said is what the action makes of a code: refused, warned of in a whole sentence, or nothing. `done` is
/// whether what was asked for has happened.
fn is_as_expected(stage: &Stage, said: &Said, path: &str, code: Option<&str>, done: bool) -> bool {
    let start = format!("{}: {path}", stage.tenant.namespace);
    let warned = said.warnings(&stage.tenant.namespace);
    let sentence = |line: &str, code: &str| {
        line.starts_with(&start) && line.contains(" — ") && line.ends_with(&format!("[{code}]"))
    };
    match (stage.action, code) {
        ("Deny", Some(code)) => {
            let first = said.denial().and_then(|message| message.lines().next()).unwrap_or_default();
            !said.success && !done && sentence(first, code)
        }
        ("Warn", Some(code)) => said.success && done && warned.first().is_some_and(|line| sentence(line, code)),
        _ => said.success && done && warned.is_empty(),
    }
}

/// Asks for all changes of a stage, and says which did not go as the tables say.
fn changes(stage: &Stage) -> Vec<String> {
    let mut wrong = Vec::new();
    for (change, codes) in CHANGES {
        for (name, code) in PODS.into_iter().zip(codes) {
            let said = change.ask(stage, name);
            let done = change.is_seen(stage, name, &said);
            if !is_as_expected(stage, &said, change.path(), code, done) {
                wrong.push(format!("{change:?} of {name}: {code:?}, but done={done} {said}"));
            }
        }
    }
    wrong
}

/// Adds all ephemeral containers of a stage to the host, and says which did not go as the table says.
fn ephemeral(stage: &Stage) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    let mut add = |name: &str, custom: &Value, command: &[&str], within: &str, code: Option<&str>| {
        let file = folder.path().join("custom.json");
        fs::write(&file, custom.to_string()).expect("a file");
        let list = stage.tenant.kubectl().get("pod", HOST)["spec"]["ephemeralContainers"].clone();
        let path = format!("spec.ephemeralContainers[{}].{within}", list.as_array().map_or(0, Vec::len));
        let flags = [&format!("--container={name}"), &format!("--custom={}", file.display())];
        let said = debug(stage, HOST, &flags.map(String::as_str), command);
        let done = container(&stage.tenant.kubectl().get("pod", HOST), "ephemeralContainers", name).is_some();
        if !is_as_expected(stage, &said, &path, code, done) {
            wrong.push(format!("{name}: {code:?} at {path}, but done={done} {said}"));
        }
    };
    for (name, volume, read_only, code) in EPHEMERAL {
        let mount = json!({ "name": volume, "mountPath": "/models", "readOnly": read_only });
        add(name, &json!({ "volumeMounts": [mount] }), &["sleep", "1000"], "volumeMounts[0]", code);
    }
    // One that loads its model by itself, whatever it mounts.
    add("fetches", &json!({}), &["vllm", "serve", "acme/llama"], "command", Some("NotVerifiable"));
    wrong
}

/// A node shows what it runs, and passes; the API server itself says who is a node and what it may show.
fn mirrors_of_nodes(stage: &Stage) -> Vec<String> {
    let node = stage.tenant.cluster().kubectl().get("node", NODE);
    let mut pod = mirror(stage, "unknown");
    pod["metadata"]["name"] = json!("shown-by-its-node");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": NODE, "uid": node["metadata"]["uid"], "controller": true,
    }]);
    let of_node = stage.tenant.kubectl_as(&format!("system:node:{NODE}"));
    let create =
        |pod: &Value| of_node.feed(&["create", "--as-group=system:nodes", "--filename", "-"], &pod.to_string());
    let said = create(&pod);
    let mut wrong = Vec::new();
    if !is_as_expected(stage, &said, "", None, said.stdout.contains("created")) {
        wrong.push(format!("a mirror of its node: {said}"));
    }
    // Without the annotation no node makes a Pod, and with it none that mounts a claim.
    let mut plain = pod.clone();
    plain["metadata"]["annotations"] = json!({});
    let mut claims = pod.clone();
    claims["spec"]["volumes"] = stage.tenant.pod("x", "bare")["spec"]["volumes"].clone();
    for (pod, words) in [(&plain, "mirror pods"), (&claims, "persistentvolumeclaims")] {
        let said = create(pod);
        if said.success || !said.stderr.contains(words) {
            wrong.push(format!("{words}: {said}"));
        }
    }
    wrong
}

fn all(action: &'static str) {
    let stage = stage(action);
    let wrong = [changes(&stage), ephemeral(&stage), mirrors_of_nodes(&stage)].concat();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_changed_in_place_under_a_policy_that_denies() {
    all("Deny");
}

#[test]
fn what_is_changed_in_place_under_a_policy_that_warns() {
    all("Warn");
}

#[test]
fn what_is_changed_in_place_under_a_policy_that_audits() {
    all("Audit");
}

/// A replica that has not seen a namespace does not know that no policy is about it.
#[test]
fn what_was_not_seen_yet_is_not_nothing() {
    let cluster = Cluster::from_environment();
    let tenant = cluster.tenant("not-seen", &[]);
    let old = tenant.pod("server", "model");
    let mut other = old.clone();
    other["spec"]["containers"][0]["image"] = json!("other:1");
    let mut debugged = old.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{
        "name": "late", "image": "busybox:1",
        "volumeMounts": [{ "name": "model", "mountPath": "/models", "readOnly": true }],
    }]);
    let replicas = cluster.pods_of("webhook");
    assert_eq!(replicas.len(), 2);
    for replica in &replicas {
        for (change, pod) in [(Reviewed::Create, &old), (Reviewed::Update, &other), (Reviewed::Debug, &debugged)] {
            let before = (change != Reviewed::Create).then_some(&old);
            let said = ask(&address(replica), &review(change, "made-a-moment-ago", pod, before));
            assert_eq!(said["allowed"], false, "{change:?}: {said}");
            assert!(said.to_string().contains("[NotObservedYet]"), "{change:?}: {said}");
            // One that was seen and that no policy is about is let through.
            let said = ask(&address(replica), &review(change, &tenant.namespace, pod, before));
            assert_eq!(said["allowed"], true, "{change:?}: {said}");
        }
    }
    // A claim that was not seen is none that was verified.
    let key = Key::generate();
    tenant.enforce(&tenant.policy(&key));
    for replica in &replicas {
        let said = ask(&address(replica), &review(Reviewed::Debug, &tenant.namespace, &debugged, Some(&old)));
        assert!(said.to_string().contains("[SourceMissing]"), "{said}");
    }
}
