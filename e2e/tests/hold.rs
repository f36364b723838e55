//! Pods that wait behind our scheduling gate: who does, who lets them go, and what happens to those that were let go and
//! have not started yet.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Kubectl, OWN_NAMESPACE, Tenant, eventually, record_name};

/// Our scheduling gate.
const GATE: &str = "weighbridge.dev/verification";
/// A scheduling gate of somebody else.
const OTHER_GATE: &str = "example.com/quota";
/// How long reading a small model takes at most, with everything that goes before it.
const READ: Deadline = Deadline::seconds(90);

/// A tenant whose policy trusts the key, and holds what is unknown.
fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    let mut policy = tenant.policy(&key);
    policy["spec"]["unknown"] = json!("Hold");
    tenant.enforce(&policy);
    (tenant, key)
}

/// The names of a Pod's scheduling gates.
fn gates(pod: &Value) -> Vec<String> {
    let gates = pod["spec"]["schedulingGates"].as_array().cloned().unwrap_or_default();
    gates.iter().filter_map(|gate| gate["name"].as_str()).map(str::to_owned).collect()
}

fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

/// The first Pod that is no verifier, once it is as wanted.
fn pod(tenant: &Tenant, what: &str, deadline: Deadline, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, deadline, || {
        let verifier = |pod: &Value| pod["metadata"]["name"].to_string().contains("weighbridge-verifier-");
        let pods: Vec<Value> = tenant.kubectl().list("pods").into_iter().filter(|pod| !verifier(pod)).collect();
        pods.iter().find(|pod| wanted(pod)).cloned().ok_or_else(|| format!("{pods:?}"))
    })
}

/// A Pod that waits behind our gate, as people see it.
fn held(tenant: &Tenant) -> Value {
    pod(tenant, "a Pod that waits behind our gate", Deadline::seconds(30), |pod| {
        gates(pod).contains(&GATE.to_owned()) && condition(pod, "PodScheduled")["reason"] == "SchedulingGated"
    })
}

/// A Pod that runs, and has no gate.
fn running(tenant: &Tenant, deadline: Deadline) -> Value {
    pod(tenant, "a Pod that runs", deadline, |pod| condition(pod, "Ready")["status"] == "True" && gates(pod).is_empty())
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// Waits for an Event of ours on an object, with one of these reasons.
fn event(tenant: &Tenant, kind: &str, name: &str, reasons: &[&str]) -> String {
    eventually("an Event", READ, || {
        let events = tenant.kubectl().list("events.events.k8s.io");
        let ours = |event: &&Value| {
            event["regarding"]["kind"] == kind
                && event["regarding"]["name"] == name
                && event["reason"].as_str().is_some_and(|reason| reasons.contains(&reason))
                && event["reportingController"].as_str().is_some_and(|name| name.starts_with("weighbridge"))
        };
        let found = events.iter().find(ours).map(|event| event["note"].as_str().unwrap_or_default().to_owned());
        found.ok_or_else(|| format!("{reasons:?} on {kind} {name} not in {events:?}"))
    })
}

/// Takes somebody else's gate off a Pod; its author may.
fn lift_other(tenant: &Tenant, pod: &str) {
    let index = gates(&tenant.kubectl().get("pod", pod)).iter().position(|gate| gate == OTHER_GATE).expect("a gate");
    let at = format!("/spec/schedulingGates/{index}");
    let patch = json!([{ "op": "test", "path": at, "value": { "name": OTHER_GATE } }, { "op": "remove", "path": at }]);
    let said = tenant.kubectl().run(&["patch", "pod", pod, "--type=json", "--patch", &patch.to_string()]);
    said.expect_success();
}

/// Waits until the operator has looked at all Pods of this cluster once more: it lets one go that was made just now.
fn another_round(tenant: &Tenant) {
    let mut probe = tenant.pod("round", "");
    probe["spec"]["volumes"] = json!([]);
    probe["spec"]["containers"][0]["volumeMounts"] = json!([]);
    probe["spec"]["schedulingGates"] = json!([{ "name": GATE }]);
    tenant.kubectl().apply(&probe).expect_success();
    eventually("the operator lets a Pod without models go", Deadline::seconds(60), || {
        let gates = gates(&tenant.kubectl().get("pod", "round"));
        if gates.is_empty() { Ok(()) } else { Err(format!("{gates:?}")) }
    });
    tenant.kubectl().run(&["delete", "pod", "round", "--wait=false"]).expect_success();
}

fn behind_other(mut pod: Value) -> Value {
    pod["spec"]["schedulingGates"] = json!([{ "name": OTHER_GATE }]);
    pod
}

#[test]
fn a_deployment_of_a_model_that_nobody_has_read_starts_by_itself() {
    let (tenant, key) = tenant("waits");
    tenant.claim("good").sign(&key);
    let applied = tenant.kubectl().apply(&tenant.deployment("chat", "good"));
    applied.expect_success();
    let waiting = held(&tenant);
    event(&tenant, "Pod", &name(&waiting), &["NotVerifiedYet", "Verifying"]);
    let running = running(&tenant, READ);
    assert_eq!(running["metadata"]["uid"], waiting["metadata"]["uid"], "the very Pod that waited runs");
    let events = tenant.kubectl().run(&["get", "events", "--output=json"]).stdout;
    assert!(!events.contains("FailedCreate"), "{events}");
    let metrics = tenant.cluster().metrics("operator");
    assert!(metrics.contains("weighbridge_pods_held "), "{metrics}");
}

#[test]
fn a_refused_model_keeps_its_pods_until_it_is_put_right() {
    let (tenant, key) = tenant("refused");
    let model = tenant.claim("bare");
    tenant.kubectl().apply(&tenant.deployment("chat", "bare")).expect_success();
    let waiting = held(&tenant);
    let note = event(&tenant, "Pod", &name(&waiting), &["Unsigned"]);
    assert!(note.starts_with(&format!("held until this is put right: {}: ", tenant.namespace)), "{note}");
    event(&tenant, "Deployment", "chat", &["Unsigned"]);
    eventually("the status of the workload", Deadline::seconds(30), || {
        let status = tenant.kubectl().get("workloadverification", "deployment-chat")["status"].clone();
        let said = status["verdict"] == "Refused" && status["heldPods"] == 1;
        if said { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(held(&tenant)["metadata"]["uid"], waiting["metadata"]["uid"]);
    // A new Pod is refused at once: what is wrong is known.
    tenant.kubectl().apply(&tenant.pod("late", "bare")).expect_refusal(&["[Unsigned]"]);

    model.sign(&key);
    let record = record_name("bare", "");
    tenant.kubectl().run(&["annotate", "modelverification", &record, "weighbridge.dev/reverify=1"]).expect_success();
    assert_eq!(running(&tenant, READ)["metadata"]["uid"], waiting["metadata"]["uid"]);
}

#[test]
fn nobody_but_the_operator_lifts_the_gate() {
    let (tenant, _) = tenant("lifted");
    tenant.claim("bare");
    tenant.kubectl().apply(&tenant.pod("chat", "bare")).expect_success();
    held(&tenant);
    let attacker = tenant.attacker();
    let patch = |kubectl: &Kubectl, kind: &str, patch: &Value, more: &[&str]| {
        let (kind, patch) = (format!("--type={kind}"), patch.to_string());
        let mut arguments = vec!["patch", "pod", "chat", &kind, "--patch", &patch];
        arguments.extend(more);
        kubectl.run(&arguments)
    };
    let remove = json!([{ "op": "remove", "path": "/spec/schedulingGates" }]);
    // The administrator of the cluster too: the gate is no matter of rights.
    for kubectl in [&attacker, &tenant.kubectl()] {
        patch(kubectl, "json", &remove, &[]).expect_refusal(&["guard-gate", "operator alone lifts"]);
        let none = json!({ "spec": { "schedulingGates": null } });
        patch(kubectl, "merge", &none, &[]).expect_refusal(&["guard-gate"]);
    }
    // By way of the status it goes nowhere, and a binding is refused by the API server itself.
    patch(&attacker, "json", &remove, &["--subresource=status"]);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "chat" },
        "target": { "apiVersion": "v1", "kind": "Node", "name": "node-1" },
    });
    let url = format!("/api/v1/namespaces/{}/pods/chat/binding", tenant.namespace);
    let said = attacker.feed(&["create", "--raw", &url, "--filename", "-"], &binding.to_string());
    assert!(!said.success, "{said}");
    let finalizer = json!({ "metadata": { "finalizers": ["weighbridge.dev/writer"] } });
    patch(&attacker, "merge", &finalizer, &[]).expect_refusal(&["guard-gate", "weighbridge.dev/writer"]);
    assert_eq!(gates(&tenant.kubectl().get("pod", "chat")), [GATE]);
    // Who made it may delete it.
    attacker.run(&["delete", "pod", "chat", "--timeout=30s"]).expect_success();
}

#[test]
fn an_administrator_lifts_gates_in_the_name_of_an_operator_that_is_lost() {
    let (tenant, _) = tenant("lost");
    tenant.claim("bare");
    tenant.kubectl().apply(&tenant.pod("chat", "bare")).expect_success();
    held(&tenant);
    let operator = tenant.kubectl_as(&format!("system:serviceaccount:{OWN_NAMESPACE}:weighbridge-operator"));
    // What the README says.
    let patch = json!({
        "metadata": { "$deleteFromPrimitiveList/finalizers": ["weighbridge.dev/writer"] },
        "spec": { "schedulingGates": [{ "name": GATE, "$patch": "delete" }] },
    });
    let said =
        operator.run(&["patch", "pod", "chat", "--type=strategic", "--output=json", "--patch", &patch.to_string()]);
    said.expect_success();
    let lifted: Value = serde_json::from_str(&said.stdout).expect("a Pod");
    assert!(gates(&lifted).is_empty(), "{lifted}");
}

#[test]
fn what_cannot_wait_is_denied() {
    let (tenant, key) = tenant("denied");
    tenant.claim("good").sign(&key);
    let mut named = tenant.pod("named", "good");
    named["spec"]["nodeName"] = json!("node-1");
    tenant.kubectl().apply(&named).expect_refusal(&[
        "cannot wait",
        "leave spec.nodeName to the scheduler",
        "[NotVerifiedYet]",
    ]);
    let mut elsewhere = tenant.pod("elsewhere", "good");
    elsewhere["spec"]["volumes"][0] =
        json!({ "name": "model", "nfs": { "server": "nfs.example.com", "path": "/models" } });
    tenant.kubectl().apply(&elsewhere).expect_refusal(&["[NotVerifiable]"]);
    let mut writable = tenant.pod("writable", "good");
    writable["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    tenant.kubectl().apply(&writable).expect_refusal(&["[WriterNotAllowed]"]);
}

#[test]
fn ours_is_the_last_gate() {
    let (tenant, key) = tenant("last");
    tenant.claim("good").sign(&key);
    assert_eq!(tenant.record("good").0, "True");
    tenant.kubectl().apply(&behind_other(tenant.pod("chat", "good"))).expect_success();
    assert_eq!(gates(&tenant.kubectl().get("pod", "chat")), [OTHER_GATE, GATE]);
    another_round(&tenant);
    assert_eq!(
        gates(&tenant.kubectl().get("pod", "chat")),
        [OTHER_GATE, GATE],
        "it has nothing to wait for but the other"
    );
    lift_other(&tenant, "chat");
    running(&tenant, Deadline::seconds(60));
}

#[test]
fn a_claim_that_is_swapped_behind_a_gate_never_serves() {
    let (tenant, key) = tenant("swapped");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    tenant.kubectl().apply(&behind_other(tenant.pod("chat", "model"))).expect_success();
    let admitted = tenant.kubectl().get("pod", "chat");
    // A Pod without a node does not keep its claim from being deleted.
    tenant.kubectl().run(&["delete", "persistentvolumeclaim", "model", "--timeout=60s"]).expect_success();
    tenant.claim("prepared").write("evil.py", b"import os");
    tenant.swap_in("prepared", "model");
    lift_other(&tenant, "chat");
    event(&tenant, "Pod", "chat", &["Unsigned"]);
    another_round(&tenant);
    let now = tenant.kubectl().get("pod", "chat");
    assert_eq!((&now["metadata"]["uid"], gates(&now)), (&admitted["metadata"]["uid"], vec![GATE.to_owned()]));
    assert_eq!(now["status"]["containerStatuses"], Value::Null, "no kubelet has seen it");
}

#[test]
fn a_claim_that_is_swapped_while_no_node_fits_never_serves() {
    let (tenant, key) = tenant("unplaced");
    tenant.claim("model").sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    let mut pod = tenant.pod("chat", "model");
    pod["spec"]["nodeSelector"] = json!({ "e2e.weighbridge.dev/free-for": tenant.namespace });
    tenant.kubectl().apply(&pod).expect_success();
    assert!(gates(&tenant.kubectl().get("pod", "chat")).is_empty(), "verified, and behind nobody's gate");
    another_round(&tenant);
    assert!(!tenant.kubectl().get("pod", "chat").is_null(), "it complies, and stays");
    tenant.kubectl().run(&["delete", "persistentvolumeclaim", "model", "--timeout=60s"]).expect_success();
    tenant.claim("prepared").write("evil.py", b"import os");
    tenant.swap_in("prepared", "model");
    eventually("the Pod that was let in is deleted before it starts", Deadline::seconds(60), || {
        let pod = tenant.kubectl().get("pod", "chat");
        if pod.is_null() { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    let events = tenant.kubectl().list("events.events.k8s.io");
    let said =
        |event: &Value| event["note"].as_str().is_some_and(|note| note.starts_with("deleted before it started: "));
    assert!(events.iter().any(said), "{events:?}");
}

/// Two policies of the API server. The second marks a Pod. The first, which has run by then, is run once more for that,
/// and adds the volume: after our webhook has been asked.
fn late_mutators(tenant: &Tenant, claim: &str) -> Vec<Value> {
    let namespace = &tenant.namespace;
    let policy = |name: &str, expression: String| {
        let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] });
        let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } });
        let chosen = json!({ "name": "chosen", "expression": "object.metadata.?labels.?late.hasValue()" });
        let name = format!("{namespace}-{name}");
        [
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
                "metadata": { "name": name },
                "spec": {
                    "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
                    "matchConstraints": { "namespaceSelector": selector, "resourceRules": [rule] },
                    "matchConditions": [chosen],
                    "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
                },
            }),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
                "metadata": { "name": name }, "spec": { "policyName": name },
            }),
        ]
    };
    let marked = "object.metadata.?labels.?marked.hasValue()";
    let volume = format!(
        "{marked} && !object.spec.volumes.exists(v, v.name == 'late') ? \
         [JSONPatch{{op: 'add', path: '/spec/volumes/-', value: Object.spec.volumes{{name: 'late', \
         persistentVolumeClaim: Object.spec.volumes.persistentVolumeClaim{{claimName: '{claim}', readOnly: true}}}}}}, \
         JSONPatch{{op: 'add', path: '/spec/containers/0/volumeMounts/-', value: \
         Object.spec.containers.volumeMounts{{name: 'late', mountPath: '/late', readOnly: true}}}}] : []"
    );
    let mark = "[JSONPatch{op: 'add', path: '/metadata/labels/marked', value: 'yes'}]".to_owned();
    [policy("1-volume", volume), policy("2-mark", mark)].into_iter().flatten().collect()
}

#[test]
fn a_volume_that_is_added_after_us_is_waited_for() {
    let (tenant, _) = tenant("added");
    tenant.claim("bad");
    let objects = late_mutators(&tenant, "bad");
    for object in &objects {
        tenant.cluster().kubectl().apply(object).expect_success();
    }
    let mut pod = tenant.pod("chat", "");
    pod["metadata"]["labels"] = json!({ "late": "yes" });
    pod["spec"]["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/scratch" }]);
    // The API server takes a while to heed a new policy; a dry run shows when it does.
    eventually("the late volume", Deadline::seconds(60), || {
        let create = ["create", "--dry-run=server", "--output=json", "--filename", "-"];
        let said = tenant.kubectl().feed(&create, &pod.to_string());
        if said.stdout.contains("\"late\"") && said.stdout.contains("claimName") {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });
    tenant.kubectl().apply(&pod).expect_success();
    let made = tenant.kubectl().get("pod", "chat");
    for object in &objects {
        let (kind, name) = (object["kind"].as_str().expect("a kind"), name(object));
        tenant.cluster().kubectl().run(&["delete", kind, &name, "--wait=false"]).expect_success();
    }
    let volumes = made["spec"]["volumes"].as_array().expect("volumes");
    assert!(volumes.iter().any(|volume| volume["name"] == "late"), "{made}");
    assert_eq!(gates(&made), [GATE], "{made}");
    event(&tenant, "Pod", "chat", &["Unsigned"]);
    assert_eq!(gates(&tenant.kubectl().get("pod", "chat")), [GATE]);
}

#[test]
fn a_writer_is_gated_and_its_end_is_seen() {
    let (tenant, _) = tenant("writer");
    tenant.empty_claim("model");
    tenant.kubectl().apply(&tenant.writer("loader", "model", "true")).expect_success();
    let made = tenant.kubectl().get("pod", "loader");
    assert_eq!(made["metadata"]["finalizers"], json!(["weighbridge.dev/writer"]), "{made}");
    pod(&tenant, "a writer that has ended, and is free", Deadline::seconds(60), |pod| {
        pod["status"]["phase"] == "Succeeded" && pod["metadata"]["finalizers"].is_null() && gates(pod).is_empty()
    });
    // One that never runs goes as well.
    let mut stuck = tenant.writer("stuck", "model", "true");
    stuck["spec"]["nodeSelector"] = json!({ "no.such/node": "exists" });
    tenant.kubectl().apply(&stuck).expect_success();
    tenant.kubectl().run(&["delete", "pod", "stuck", "--timeout=60s"]).expect_success();
    // So does one that runs.
    tenant.kubectl().apply(&tenant.writer("busy", "model", "sleep 1000000")).expect_success();
    pod(&tenant, "a writer that runs", Deadline::seconds(60), |pod| {
        name(pod) == "busy" && condition(pod, "Ready")["status"] == "True"
    });
    tenant.kubectl().run(&["delete", "pod", "busy", "--timeout=60s"]).expect_success();
}

#[test]
fn a_gate_that_no_policy_asks_for_is_lifted() {
    let tenant = Cluster::from_environment().tenant("unmatched", &[]);
    another_round(&tenant);
    let key = Key::generate();
    let mut policy = tenant.policy(&key);
    policy["spec"]["validationActions"] = json!(["Warn"]);
    tenant.enforce(&policy);
    tenant.claim("bare");
    // Trying a policy out changes nothing: no gate where others are, and ours goes where somebody put it.
    tenant.kubectl().apply(&behind_other(tenant.pod("tried", "bare"))).expect_success();
    assert_eq!(gates(&tenant.kubectl().get("pod", "tried")), [OTHER_GATE]);
    tenant.kubectl().run(&["delete", "pod", "tried", "--wait=false"]).expect_success();

    policy["spec"]["validationActions"] = json!(["Deny"]);
    policy["spec"]["unknown"] = json!("Hold");
    tenant.enforce(&policy);
    // Where nothing can be read, everything stays unknown.
    let pod = tenant.pod("chat", "no-such-claim");
    eventually("the policy holds", Deadline::seconds(60), || {
        tenant.kubectl().apply(&pod).expect_success();
        let gates = gates(&tenant.kubectl().get("pod", "chat"));
        if gates == [GATE] {
            return Ok(());
        }
        tenant.kubectl().run(&["delete", "pod", "chat", "--timeout=30s"]).expect_success();
        Err(format!("{gates:?}"))
    });
    let name = policy["metadata"]["name"].as_str().expect("a name");
    tenant.cluster().kubectl().run(&["delete", "clustermodelpolicy", name]).expect_success();
    eventually("nobody holds it any more", Deadline::seconds(60), || {
        let gates = gates(&tenant.kubectl().get("pod", "chat"));
        if gates.is_empty() { Ok(()) } else { Err(format!("{gates:?}")) }
    });
}
