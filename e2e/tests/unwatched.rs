//! Writers whom nobody watched: what they may have left counts for nothing until it was read anew.
//!
//! These tests send the operator away: they have a cluster of their own and run one after another.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Model, Reviewed, Tenant, address, ask, eventually, review};

/// Time in which a new operator leads, and has done what it does at once, on a busy machine.
const SOON: Deadline = Deadline::seconds(120);
/// What a writer does when it is told to: the folder of its claim is this machine's too.
const WHEN_TOLD: &str = "until [ -e /models/go ]; do sleep 0.2; done; rm /models/go; ";
/// A script that makes one file another one.
const ALTER: &str = "printf X | dd of=/models/weights/model-00001.safetensors bs=1 seek=7 conv=notrunc";

/// A tenant under a policy that denies, with a signed claim `model` that was verified.
fn verified(cluster: &Cluster, purpose: &str) -> (Tenant, Model) {
    let (tenant, key) = (cluster.tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    let model = tenant.claim("model");
    model.sign(&key);
    assert_eq!(tenant.record("model").0, "True");
    (tenant, model)
}

/// What every replica of the webhook says to a Pod that reads the claim.
fn answers(tenant: &Tenant) -> Vec<Value> {
    let review = review(Reviewed::Create, &tenant.namespace, &tenant.pod("reader", "model"), None);
    let replicas = tenant.cluster().pods_of("webhook");
    assert_eq!(replicas.len(), 2);
    replicas.iter().map(|replica| ask(&address(replica), &review)).collect()
}

/// Waits until the store's epoch is later than it was and no replica lets a reader in.
fn advanced(tenant: &Tenant, before: i64) {
    eventually("a later epoch, and refusals", SOON, || {
        let (now, answers) = (tenant.epoch("model"), answers(tenant));
        let refused = answers.iter().all(|answer| answer["allowed"] == false);
        if now > before && refused { Ok(()) } else { Err(format!("{before} {now} {answers:?}")) }
    });
}

/// Waits until every replica refuses a reader with this code, and sees that until then none lets one in.
fn refused_until(tenant: &Tenant, code: &str) {
    eventually(code, SOON, || {
        let answers = answers(tenant);
        assert!(answers.iter().all(|answer| answer["allowed"] == false), "a reader is let in: {answers:?}");
        let found = answers.iter().all(|answer| answer.to_string().contains(&format!("[{code}]")));
        if found { Ok(()) } else { Err(format!("{answers:?}")) }
    });
}

/// A writer in the tenant's namespace that alters the model when it is told to, running.
fn writer(tenant: &Tenant) {
    tenant.kubectl().apply(&tenant.writer("loader", "model", &format!("{WHEN_TOLD}{ALTER}"))).expect_success();
    tenant.phase("loader", "Running");
}

#[test]
fn a_writer_that_ended_while_nobody_watched() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, model) = verified(&cluster, "ended-unseen");
    writer(&tenant);
    assert_eq!(tenant.writers("model").len(), 1);
    let before = tenant.epoch("model");

    cluster.dismiss_operator();
    model.write("go", b"");
    tenant.phase("loader", "Succeeded");
    // Nobody says that it has ended, so it may be writing.
    refused_until(&tenant, "BeingWritten");

    cluster.recall_operator();
    refused_until(&tenant, "ContentMismatch");
    assert!(tenant.epoch("model") > before);
    assert!(tenant.writers("model").is_empty());
    eventually("its end was seen", SOON, || {
        let loader = tenant.kubectl().get("pod", "loader");
        if loader["metadata"]["finalizers"].is_null() { Ok(()) } else { Err(loader.to_string()) }
    });
}

#[test]
fn a_writer_that_was_force_deleted_while_nobody_watched() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, model) = verified(&cluster, "forced-unseen");
    writer(&tenant);
    let before = tenant.epoch("model");

    cluster.dismiss_operator();
    let force = ["delete", "pod", "loader", "--grace-period=0", "--force", "--wait=false"];
    tenant.attacker().run(&force).expect_success();
    // Our finalizer keeps it, so that what its kubelet says of its end is not lost.
    eventually("its kubelet has ended it", SOON, || {
        let pod = tenant.kubectl().get("pod", "loader");
        assert!(!pod.is_null(), "it is gone, and nobody saw how");
        let ended = pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
        if ended { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    model.write("weights/model-00001.safetensors", b"other");
    refused_until(&tenant, "BeingWritten");

    cluster.recall_operator();
    refused_until(&tenant, "ContentMismatch");
    assert!(tenant.epoch("model") > before);
    eventually("it is gone", SOON, || {
        let pod = tenant.kubectl().get("pod", "loader");
        if pod.is_null() { Ok(()) } else { Err(pod.to_string()) }
    });
    assert!(tenant.writers("model").is_empty());
}

#[test]
fn a_writer_from_before_that_vanished_while_nobody_watched() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, key) = (cluster.tenant("vanished-unseen", &[]), Key::generate());
    let model = tenant.claim("model");
    model.sign(&key);
    // It runs when the policy comes, so it has no finalizer of ours.
    writer(&tenant);
    tenant.enforce(&tenant.policy(&key));
    refused_until(&tenant, "BeingWritten");

    cluster.dismiss_operator();
    tenant.kubectl().run(&["delete", "pod", "loader", "--grace-period=0", "--force"]).expect_success();
    cluster.recall_operator();
    eventually("it has vanished", SOON, || {
        let writers = tenant.writers("model");
        if writers.iter().any(|writer| writer["vanished"] == true) { Ok(()) } else { Err(format!("{writers:?}")) }
    });
    refused_until(&tenant, "BeingWritten");
}

/// A Pod that alters what lies in a volume, at once. It runs as the user of the tests' Pods, to whom the files belong.
fn altering(tenant: &Tenant, volume: &Value) -> Value {
    let mut pod = tenant.pod("alter", "none");
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", ALTER]);
    pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    pod["spec"]["volumes"] = json!([volume]);
    pod
}

/// Lets a Pod of another namespace come and go while nobody watches, and then has the operator back.
fn comes_and_goes(cluster: &Cluster, purpose: &str, volume: impl FnOnce(&Tenant, &Tenant, &Model) -> Value) {
    let (tenant, model) = verified(cluster, purpose);
    // No policy is about it: nothing there is gated, nor kept by a finalizer.
    let other = cluster.tenant(&format!("{purpose}-from"), &[("pod-security.kubernetes.io/enforce", "privileged")]);
    let volume = volume(&tenant, &other, &model);
    let before = tenant.epoch("model");

    cluster.dismiss_operator();
    other.kubectl().apply(&altering(&other, &volume)).expect_success();
    other.phase("alter", "Succeeded");
    other.kubectl().run(&["delete", "pod", "alter", "--grace-period=0", "--force"]).expect_success();
    assert_eq!(tenant.epoch("model"), before, "nobody has seen it");

    cluster.recall_operator();
    advanced(&tenant, before);
    refused_until(&tenant, "ContentMismatch");
}

#[test]
fn a_writer_by_another_claim_that_came_and_went_while_nobody_watched() {
    let (_turn, cluster) = Cluster::alone();
    comes_and_goes(&cluster, "claim-unseen", |tenant, other, _| {
        other.mirror("mirror", tenant, "model");
        json!({ "name": "model", "persistentVolumeClaim": { "claimName": "mirror" } })
    });
}

#[test]
fn a_writer_by_a_path_of_the_node_that_came_and_went_while_nobody_watched() {
    let (_turn, cluster) = Cluster::alone();
    comes_and_goes(
        &cluster,
        "path-unseen",
        |_, _, model| json!({ "name": "model", "hostPath": { "path": model.root(), "type": "Directory" } }),
    );
}
