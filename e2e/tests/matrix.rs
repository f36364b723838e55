//! The whole matrix: each kind, with a model of each verdict, under each action, in each operation.
//!
//! What is to be expected is computed here by a few rules, and compared with what `kubectl` says: whether the request is let
//! through, the sentence of the denial, the warnings, the audit annotations. Most of it is asked as a dry run. Then
//! `weighbridge check` is asked about the same objects, with folders in place of claims, and has to say the same words; and
//! each kind runs once for real.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Said, Tenant, eventually};

const KINDS: [&str; 7] = ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
const VERDICTS: [Verdict; 5] =
    [Verdict::Verified, Verdict::Refused, Verdict::Unverifiable, Verdict::Unread, Verdict::Missing];
const ACTIONS: [&str; 3] = ["Deny", "Warn", "Audit"];
const OPERATIONS: [Operation; 5] =
    [Operation::Create, Operation::TemplateChanged, Operation::Scaled, Operation::MetadataOnly, Operation::Deleted];

/// The cells that mean nothing whatever the verdict is, and why.
const MEANINGLESS: [(&str, Operation, &str); 5] = [
    ("Pod", Operation::Scaled, "a Pod is one"),
    ("DaemonSet", Operation::Scaled, "a DaemonSet has as many Pods as there are nodes"),
    ("CronJob", Operation::Scaled, "a CronJob is not scaled, its Jobs are"),
    ("Job", Operation::TemplateChanged, "the template of a Job cannot be changed"),
    ("Pod", Operation::TemplateChanged, "of a Pod only the image can be changed, which in_place.rs does"),
];
/// Those that mean nothing for a claim that was never read: what an object that exists uses is read within seconds.
const NEVER_UNREAD: [Operation; 3] = [Operation::Scaled, Operation::MetadataOnly, Operation::Deleted];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A claim whose files a listed signer signed.
    Verified,
    /// A claim without any signature.
    Refused,
    /// Unknown for good: an image volume, of which nobody can say anything; the same on a laptop.
    Unverifiable,
    /// Unknown for now: a claim with a signed model that nobody has looked at.
    Unread,
    /// Unknown for now: a claim that does not exist, or that is being deleted under an object that exists.
    Missing,
}

impl Verdict {
    /// Its code; a model that is verified has none.
    fn code(self) -> Option<&'static str> {
        match self {
            Verdict::Verified => None,
            Verdict::Refused => Some("Unsigned"),
            Verdict::Unverifiable => Some("NotVerifiable"),
            Verdict::Unread => Some("NotVerifiedYet"),
            Verdict::Missing => Some("SourceMissing"),
        }
    }

    fn is_unknown(self) -> bool {
        !matches!(self, Verdict::Verified | Verdict::Refused)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    TemplateChanged,
    Scaled,
    MetadataOnly,
    Deleted,
}

/// What a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Nothing at all.
    Silence,
    /// It is let through, with a warning of this code.
    Warned(&'static str),
    /// It is refused, with this code.
    Denied(&'static str),
}

/// The rules, in words: scaling, metadata and deletion always pass; so does what is verified; what is unknown only warns on
/// a template; else the action of the policy follows.
fn expected(kind: &str, verdict: Verdict, action: &str, operation: Operation) -> Expected {
    let judged = matches!(operation, Operation::Create | Operation::TemplateChanged);
    let Some(code) = verdict.code().filter(|_| judged) else { return Expected::Silence };
    match action {
        "Deny" if kind != "Pod" && verdict.is_unknown() => Expected::Warned(code),
        "Deny" => Expected::Denied(code),
        "Warn" => Expected::Warned(code),
        _ => Expected::Silence,
    }
}

fn meaningless(kind: &str, verdict: Verdict, operation: Operation) -> bool {
    let never = verdict == Verdict::Unread && NEVER_UNREAD.contains(&operation);
    never || MEANINGLESS.iter().any(|(of, what, _)| *of == kind && *what == operation)
}

/// A namespace with a policy of one action, and the folders of its claims.
struct Stage {
    tenant: Tenant,
    action: &'static str,
    policy: Value,
    folders: BTreeMap<&'static str, PathBuf>,
}

/// A namespace with objects of every kind and verdict in it, which were made before the policy came.
fn stage(action: &'static str) -> Stage {
    let tenant = Cluster::from_environment().tenant(&format!("matrix-{}", action.to_lowercase()), &[]);
    let key = Key::generate();
    let [good, bare, going, unread] = ["good", "bare", "going", "unread"].map(|name| tenant.claim(name));
    for model in [&good, &going, &unread] {
        model.sign(&key);
    }
    let folders = BTreeMap::from([("good", good.root().to_owned()), ("bare", bare.root().to_owned())]);
    let objects: Vec<Value> = cells().map(|(kind, verdict)| object(&tenant, "old", kind, verdict)).collect();
    tenant.kubectl().apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects })).expect_success();
    for verdict in VERDICTS {
        let running = ["wait", "--for=condition=Ready", "--timeout=90s", "pod", &name("old", "Pod", verdict)];
        tenant.kubectl().run(&running).expect_success();
    }
    // The Pod that runs keeps it from going.
    tenant.kubectl().run(&["delete", "persistentvolumeclaim", "going", "--wait=false"]).expect_success();
    let mut policy = tenant.policy(&key);
    let actions = if action == "Audit" { json!(["Audit"]) } else { json!([action, "Audit"]) };
    policy["spec"]["validationActions"] = actions;
    tenant.enforce(&policy);
    assert_eq!(tenant.record("good"), ("True".into(), "Verified".into()));
    assert_eq!(tenant.record("bare"), ("False".into(), "Unsigned".into()));
    Stage { tenant, action, policy, folders }
}

fn cells() -> impl Iterator<Item = (&'static str, Verdict)> {
    KINDS.into_iter().flat_map(|kind| VERDICTS.into_iter().map(move |verdict| (kind, verdict)))
}

/// `old-statefulset-refused`
fn name(age: &str, kind: &str, verdict: Verdict) -> String {
    format!("{age}-{kind}-{verdict:?}").to_lowercase()
}

/// An object that makes few Pods by itself: nothing is scaled up, jobs are suspended.
fn object(tenant: &Tenant, age: &str, kind: &str, verdict: Verdict) -> Value {
    let name = name(age, kind, verdict);
    let claim = match (verdict, age) {
        (Verdict::Missing, "old") => "going",
        (Verdict::Missing, _) => "missing",
        (Verdict::Unread, "old") | (Verdict::Verified, _) => "good",
        (Verdict::Unread, _) => "unread",
        (Verdict::Refused | Verdict::Unverifiable, _) => "bare",
    };
    let mut pod = tenant.pod(&name, claim)["spec"].clone();
    if verdict == Verdict::Unverifiable {
        pod["volumes"] = json!([{ "name": "model", "image": { "reference": tenant.cluster().busybox() } }]);
    }
    let labels = json!({ "app": name });
    let template = json!({ "metadata": { "labels": labels }, "spec": pod });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let job = json!({ "suspend": true, "template": once });
    let (version, spec) = match kind {
        "Pod" => ("v1", pod),
        "Job" => ("batch/v1", job),
        "CronJob" => ("batch/v1", json!({ "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": { "spec": job } })),
        "DaemonSet" => ("apps/v1", json!({ "selector": { "matchLabels": labels }, "template": template })),
        "StatefulSet" => {
            let selector = json!({ "matchLabels": labels });
            ("apps/v1", json!({ "replicas": 0, "serviceName": name, "selector": selector, "template": template }))
        }
        _ => ("apps/v1", json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template })),
    };
    let metadata = json!({ "name": name, "namespace": tenant.namespace });
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec })
}

/// Asks the API server, as a dry run.
fn ask(stage: &Stage, kind: &str, verdict: Verdict, operation: Operation) -> Said {
    let kubectl = stage.tenant.kubectl();
    let old = name("old", kind, verdict);
    let patch = |patch: Value| {
        kubectl.run(&["patch", kind, &old, "--dry-run=server", "--type=merge", "--patch", &patch.to_string()])
    };
    match operation {
        Operation::Create => {
            let object = object(&stage.tenant, "new", kind, verdict).to_string();
            kubectl.feed(&["create", "--dry-run=server", "--filename", "-"], &object)
        }
        Operation::TemplateChanged => {
            let mut template = json!({ "metadata": { "annotations": { "changed": "yes" } } });
            if verdict == Verdict::Unread {
                template["spec"]["volumes"] = stage.tenant.pod("new", "unread")["spec"]["volumes"].clone();
            }
            match kind {
                "CronJob" => patch(json!({ "spec": { "jobTemplate": { "spec": { "template": template } } } })),
                _ => patch(json!({ "spec": { "template": template } })),
            }
        }
        Operation::Scaled if kind == "Job" => patch(json!({ "spec": { "parallelism": 2 } })),
        Operation::Scaled => kubectl.run(&["scale", kind, &old, "--dry-run=server", "--replicas=2"]),
        Operation::MetadataOnly => kubectl.run(&["label", kind, &old, "--dry-run=server", "changed=yes"]),
        Operation::Deleted => kubectl.run(&["delete", kind, &old, "--dry-run=server"]),
    }
}

/// Where in an object of this kind its model is used.
fn path(kind: &str) -> &'static str {
    match kind {
        "Pod" => "spec.containers[0].volumeMounts[0]",
        "CronJob" => "spec.jobTemplate.spec.template.spec.containers[0].volumeMounts[0]",
        _ => "spec.template.spec.containers[0].volumeMounts[0]",
    }
}

/// Whether a line is a whole sentence about the cell: policy, path, what, remedy and code.
fn is_sentence(line: &str, policy: &str, kind: &str, code: &str) -> bool {
    line.starts_with(&format!("{policy}: {}: ", path(kind)))
        && line.contains(" — ")
        && line.ends_with(&format!("[{code}]"))
        && line.chars().count() < 250
}

fn matches(said: &Said, policy: &str, kind: &str, expected: Expected) -> bool {
    let warned = said.warnings(policy);
    match expected {
        Expected::Silence => said.success && warned.is_empty(),
        Expected::Warned(code) => {
            said.success && matches!(warned.as_slice(), [line] if is_sentence(line, policy, kind, code))
        }
        Expected::Denied(code) => {
            let first = said.denial().and_then(|message| message.lines().next()).unwrap_or_default();
            !said.success && is_sentence(first, policy, kind, code)
        }
    }
}

#[test]
fn every_cell_is_as_the_rules_say() {
    let mut asked = 0;
    let mut wrong = Vec::new();
    for stage in ACTIONS.map(stage) {
        for (kind, verdict) in cells() {
            for operation in OPERATIONS.into_iter().filter(|operation| !meaningless(kind, verdict, *operation)) {
                let said = ask(&stage, kind, verdict, operation);
                let expected = expected(kind, verdict, stage.action, operation);
                asked += 1;
                if !matches(&said, &stage.tenant.namespace, kind, expected) {
                    wrong.push(format!("{kind} {verdict:?} {} {operation:?}: {expected:?}, but {said}", stage.action));
                }
            }
        }
        the_audit_log_tells(&stage, &mut wrong);
        a_laptop_says_the_same(&stage, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    // Of the operations that mean nothing for what was never read, scaling means nothing for three kinds in any case.
    let meaningless = MEANINGLESS.len() * VERDICTS.len() + NEVER_UNREAD.len() * KINDS.len() - 3;
    assert_eq!(asked, ACTIONS.len() * (KINDS.len() * VERDICTS.len() * OPERATIONS.len() - meaningless));
}

/// What the audit log says of the objects that were to be made.
fn the_audit_log_tells(stage: &Stage, wrong: &mut Vec<String>) {
    let run = std::env::var("WEIGHBRIDGE_E2E_CLUSTER_RUN").expect("WEIGHBRIDGE_E2E_CLUSTER_RUN: e2e/test sets it");
    for (kind, verdict) in cells() {
        let name = name("new", kind, verdict);
        let annotations = eventually("the request in the audit log", Deadline::seconds(30), || {
            let log = fs::read_to_string(Path::new(&run).join("log/audit.log")).map_err(|error| error.to_string())?;
            let events = log.lines().filter(|line| line.contains(&stage.tenant.namespace) && line.contains(&name));
            let mut events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let created = |event: &Value| {
                event["verb"] == "create"
                    && event["stage"] == "ResponseComplete"
                    && event["objectRef"]["namespace"] == stage.tenant.namespace
                    && event["objectRef"]["name"] == name
            };
            events.rfind(created).map(|event| event["annotations"].clone()).ok_or(format!("no {name}"))
        });
        let ours = |key: &str| {
            let of_key = |(name, value): (&String, &Value)| {
                name.ends_with(&format!(".weighbridge.dev/{key}"))
                    .then(|| value.as_str().unwrap_or_default().to_owned())
            };
            annotations.as_object().into_iter().flatten().find_map(of_key).unwrap_or_default()
        };
        let found = (ours("policy"), ours("code"), ours("model-digest").starts_with("sha256:"));
        let policy = stage.tenant.namespace.clone();
        let wanted = match verdict.code() {
            None => (String::new(), String::new(), true),
            Some(code) => (policy, code.to_owned(), false),
        };
        if found != wanted {
            wrong.push(format!("audit of {name} under {}: {wanted:?}, but {annotations}", stage.action));
        }
    }
}

/// `weighbridge check` about the objects that were to be made: the same decisions in the same words. On a laptop there is no
/// claim that nobody has looked at: it has a folder, or it is missing.
fn a_laptop_says_the_same(stage: &Stage, wrong: &mut Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let namespace = &stage.tenant.namespace;
    let cells: Vec<_> = cells().filter(|(_, verdict)| *verdict != Verdict::Unread).collect();
    let objects: Vec<Value> =
        cells.iter().map(|(kind, verdict)| object(&stage.tenant, "new", kind, *verdict)).collect();
    let manifests = write("all.json", &json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    let policy = write("policy.json", &stage.policy);
    let labels = format!("e2e.weighbridge.dev/test={namespace}");
    let mut arguments = vec!["weighbridge".to_owned(), "check".into(), manifests, "--policy".into(), policy];
    arguments.extend(["--namespace".into(), namespace.clone(), "--namespace-labels".into(), labels]);
    arguments.extend(["--output".into(), "json".into()]);
    for (claim, folder) in &stage.folders {
        arguments.extend(["--model".into(), format!("claim/{claim}={}", folder.display())]);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    weighbridge::cli::run(arguments.into_iter().map(Into::into), &mut out, &mut err);
    let output: Value = serde_json::from_slice(&out).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&err)));
    let checked = output["objects"].as_array().cloned().unwrap_or_default();
    assert_eq!(checked.len(), cells.len(), "{output}");
    for (object, (kind, verdict)) in checked.iter().zip(cells) {
        let said = ask(stage, kind, verdict, Operation::Create);
        let decision = &object["decision"];
        let theirs: BTreeSet<String> = said.warnings(namespace).into_iter().collect();
        let listed = decision["warnings"].as_array().cloned().unwrap_or_default();
        let ours: BTreeSet<String> = listed.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect();
        let message = decision["message"].as_str();
        if (decision["allowed"] == said.success, ours, message) != (true, theirs, said.denial()) {
            wrong.push(format!("check of {kind} {verdict:?} {}: {object}, but {said}", stage.action));
        }
    }
}

/// Each kind runs once for real, under a policy that denies.
#[test]
fn every_kind_runs_with_a_model_that_is_verified() {
    let tenant = Cluster::from_environment().tenant("matrix-live", &[]);
    let key = Key::generate();
    tenant.claim("good").sign(&key);
    tenant.enforce(&tenant.policy(&key));
    assert_eq!(tenant.record("good"), ("True".into(), "Verified".into()));
    for kind in KINDS {
        let mut live = object(&tenant, "live", kind, Verdict::Verified);
        for (field, value) in [("/spec/replicas", json!(1)), ("/spec/suspend", json!(false))] {
            if let Some(found) = live.pointer_mut(field) {
                *found = value;
            }
        }
        if kind == "CronJob" {
            live["spec"]["suspend"] = json!(true);
            live["spec"]["jobTemplate"]["spec"]["suspend"] = json!(false);
        }
        tenant.kubectl().apply(&live).expect_success();
        let name = name("live", kind, Verdict::Verified);
        if kind == "CronJob" {
            let from = format!("--from=cronjob/{name}");
            tenant.kubectl().run(&["create", "job", "live-from-cronjob", &from]).expect_success();
        }
        let labelled = format!("app={name}");
        eventually("a running Pod", Deadline::seconds(90), || {
            let phases = "--output=jsonpath={.items[*].status.phase}";
            let said = match kind {
                "Pod" => tenant.kubectl().run(&["get", "pod", &name, "--output=jsonpath={.status.phase}"]),
                _ => tenant.kubectl().run(&["get", "pods", "--selector", &labelled, phases]),
            };
            if said.stdout.contains("Running") { Ok(()) } else { Err(format!("{kind}: {said}")) }
        });
    }
}
