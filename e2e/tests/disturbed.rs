//! What happens when something is away: the API server, the webhook, one of its replicas.
//!
//! These tests disturb each other and everything else: they have a cluster of their own and run one after another.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use weighbridge_e2e::{
    Cluster, Deadline, Key, OWN_NAMESPACE, Reviewed, Tenant, address, ask, eventually, http_get, record, record_name,
    review,
};

/// The chart's default for the Secret with the serving pair.
const SERVING_SECRET: &str = "weighbridge-webhook-tls";

/// A tenant with a signed claim `good` and an unsigned one `bare`, both read.
fn judged_tenant(cluster: &Cluster, purpose: &str) -> Tenant {
    let (tenant, key) = (cluster.tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("good").sign(&key);
    tenant.claim("bare");
    assert_eq!(tenant.record("good").0, "True");
    assert_eq!(tenant.record("bare").1, "Unsigned");
    tenant
}

#[test]
fn the_webhook_decides_without_the_api_server_and_stops_when_it_knows_too_little() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "offline");
    let replica = address(&cluster.pods_of("webhook")[0]);
    let [good, bare] =
        ["good", "bare"].map(|it| review(Reviewed::Create, &tenant.namespace, &tenant.pod(it, it), None));
    let before = (ask(&replica, &good), ask(&replica, &bare));
    assert_eq!((&before.0["allowed"], &before.1["allowed"]), (&json!(true), &json!(false)));

    cluster.control("kill", "kube-apiserver");
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(60) {
        assert_eq!((ask(&replica, &good), ask(&replica, &bare)), before);
    }
    let stale = eventually("IndexStale", Deadline::seconds(180), || {
        let answer = ask(&replica, &good);
        if answer["allowed"] == json!(true) { Err(answer.to_string()) } else { Ok(answer) }
    });
    assert!(stale.to_string().contains("[IndexStale]"), "{stale}");
    assert!(stopped.elapsed() > Duration::from_secs(60), "{stale}");
    assert_eq!(http_get(&format!("http://{replica}:8080/readyz")).0, 503);

    cluster.control("start", "kube-apiserver");
    eventually("the same answer again", Deadline::seconds(120), || {
        let answer = ask(&replica, &good);
        if answer == before.0 { Ok(()) } else { Err(answer.to_string()) }
    });
    cluster.whole();
}

#[test]
fn a_webhook_that_cannot_watch_is_never_ready() {
    let (_turn, cluster) = Cluster::alone();
    // The same program with an account that may not list anything: a copy of the real Deployment's Pod.
    let pods = cluster.pods_of("webhook");
    let mut pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "blind" }, "spec": pods[0]["spec"] });
    cluster.own().run(&["create", "serviceaccount", "blind"]);
    let spec = pod["spec"].as_object_mut().expect("a spec");
    for assigned in ["nodeName", "volumes", "serviceAccount", "tolerations", "hostname"] {
        spec.remove(assigned);
    }
    spec["serviceAccountName"] = json!("blind");
    spec["containers"][0]["volumeMounts"] = json!([]);
    cluster.own().apply(&pod).expect_success();
    let address = eventually("the blind replica runs", Deadline::seconds(60), || {
        let pod = cluster.own().get("pod", "blind");
        let running = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        if running { Ok(address(&pod)) } else { Err(pod["status"].to_string()) }
    });
    eventually("its health page", Deadline::seconds(30), || {
        let (status, body) = http_get(&format!("http://{address}:8080/livez"));
        if status == 200 { Ok(()) } else { Err(format!("{status} {body}")) }
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        assert_eq!(http_get(&format!("http://{address}:8080/readyz")).0, 503);
    }
    cluster.own().run(&["delete", "pod", "blind", "--wait=false"]).expect_success();
}

#[test]
fn a_restarted_operator_goes_on_with_the_pods_that_wait() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, key) = (cluster.tenant("resumed", &[]), Key::generate());
    let mut policy = tenant.policy(&key);
    policy["spec"]["unknown"] = json!("Hold");
    tenant.enforce(&policy);
    let model = tenant.claim("bare");
    tenant.kubectl().apply(&tenant.pod("chat", "bare")).expect_success();
    tenant
        .kubectl()
        .run(&["wait", "--for=jsonpath={.spec.schedulingGates}", "--timeout=30s", "pod/chat"])
        .expect_success();
    assert_eq!(tenant.settled("bare").1, "Unsigned");
    let uid = tenant.kubectl().get("pod", "chat")["metadata"]["uid"].clone();

    cluster.dismiss_operator();
    model.sign(&key);
    cluster.recall_operator();
    cluster.whole();
    // Nobody watched for a while, so what is on the claim is read again.
    eventually("the Pod that waited runs", Deadline::seconds(120), || {
        let pod = tenant.kubectl().get("pod", "chat");
        let runs = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        if runs && pod["metadata"]["uid"] == uid { Ok(()) } else { Err(pod["status"].to_string()) }
    });
}

#[test]
fn nothing_else_stops_when_weighbridge_is_away() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "away");
    tenant.kubectl().apply(&tenant.deployment("chat", "good")).expect_success();
    tenant.kubectl().run(&["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"]).expect_success();
    let bystander = cluster.tenant("bystander", &[]);
    let tried = ["Audit", "Warn"].map(|action| {
        let tried = cluster.tenant(&format!("tried-{}", action.to_lowercase()), &[]);
        let mut policy = tried.policy(&Key::generate());
        policy["spec"]["validationActions"] = json!([action]);
        tried.enforce(&policy);
        tried.claim("bare");
        tried
    });

    cluster.own().run(&["scale", "deployment", "--all", "--replicas=0"]).expect_success();
    // API servers keep idle connections for 90 s, and replicas wait for them: 140 s is what the chart grants.
    eventually("all Pods of weighbridge are gone", Deadline::seconds(180), || {
        let pods = cluster.own().list("pods");
        if pods.is_empty() { Ok(()) } else { Err(format!("{} Pods", pods.len())) }
    });

    // Where no policy looks, and in the system's own namespace, Pods start.
    let mut pod = bystander.pod("free", "none");
    pod["spec"]["volumes"] = json!([]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
    bystander.kubectl().apply(&pod).expect_success();
    let ready = ["wait", "--for=condition=Ready", "--timeout=60s", "pod/free"];
    bystander.kubectl().run(&ready).expect_success();
    // And where one is tried out.
    for tried in &tried {
        let said = tried.kubectl().create(&tried.pod("free", "bare"));
        assert!(said.success && said.stderr.is_empty(), "{said}");
        tried.kubectl().run(&ready).expect_success();
        tried.kubectl().create(&tried.deployment("chat", "bare")).expect_success();
    }
    let system = cluster.kubectl().run(&[
        "--namespace=kube-system",
        "run",
        "free",
        "--image",
        &cluster.busybox(),
        "--",
        "sleep",
        "1000",
    ]);
    system.expect_success();
    cluster
        .kubectl()
        .run(&["--namespace=kube-system", "wait", "--for=condition=Ready", "--timeout=60s", "pod/free"])
        .expect_success();
    cluster.kubectl().run(&["--namespace=kube-system", "delete", "pod", "free", "--wait=false"]).expect_success();

    // Where a policy looks, new Pods wait; all else goes on.
    tenant.kubectl().create(&tenant.pod("new", "good")).expect_refusal(&["failed calling webhook"]);
    let annotate = ["annotate", "deployment/chat", "note=updated", "--overwrite"];
    tenant.kubectl().run(&annotate).expect_success();
    eventually("its controller updates the Deployment", Deadline::seconds(30), || {
        let chat = tenant.kubectl().get("deployment", "chat");
        let seen = (chat["metadata"]["generation"].clone(), chat["status"]["observedGeneration"].clone());
        if seen.0 == seen.1 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    tenant.kubectl().run(&["scale", "deployment/chat", "--replicas=0"]).expect_success();
    eventually("it is scaled down", Deadline::seconds(60), || {
        let pods = tenant.kubectl().list("pods");
        if pods.is_empty() { Ok(()) } else { Err(format!("{} Pods", pods.len())) }
    });
    tenant.kubectl().run(&["delete", "deployment", "chat", "--timeout=60s"]).expect_success();

    cluster.own().run(&["scale", "deployment", "weighbridge-webhook", "--replicas=2"]).expect_success();
    cluster.recall_operator();
    cluster.whole();
    // Nobody watched for a while, so what is on the claim is read again first.
    eventually("a signed model is admitted again", Deadline::seconds(60), || {
        tenant.kubectl().apply(&tenant.pod("new", "good")).succeeded()
    });
}

#[test]
fn all_pods_deleted_at_once_come_back_by_themselves() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "wiped");
    cluster.own().run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"]).expect_success();
    cluster.whole();
    eventually("a signed model is admitted again", Deadline::seconds(60), || {
        tenant.kubectl().apply(&tenant.pod("chat", "good")).succeeded()
    });
    assert!(!tenant.kubectl().apply(&tenant.pod("other", "bare")).success);
}

/// Installs the chart again with other values on top of those that it has.
fn reinstall(cluster: &Cluster, values: &[&str]) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weighbridge");
    let mut helm = Command::new("helm");
    helm.args([
        "upgrade",
        "weighbridge",
        chart,
        "--namespace",
        OWN_NAMESPACE,
        "--reuse-values",
        "--wait",
        "--timeout=3m",
    ]);
    let output = helm.args(values.iter().flat_map(|value| ["--set", value])).output().expect("helm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.whole();
    eventually("the operator with these values leads", Deadline::seconds(60), || {
        let holder = cluster.own().get("lease", "weighbridge-operator")["spec"]["holderIdentity"].clone();
        let operators = cluster.pods_of("operator");
        let leads = operators.iter().any(|pod| pod["metadata"]["name"] == holder);
        if leads { Ok(()) } else { Err(holder.to_string()) }
    });
}

#[test]
fn a_verifier_that_takes_too_long_or_too_much_has_failed_and_says_why() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, key) = (cluster.tenant("exhausted", &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("slow").sign(&key);
    // What is read as a bundle is held in memory.
    tenant.claim("large").write("model.sig", &vec![b' '; 128 << 20]);
    const USUAL: [&str; 2] = ["verifier.resources.requests.memory=128Mi", "verifier.resources.limits.memory=1Gi"];
    const SMALL: [&str; 2] = ["verifier.resources.requests.memory=32Mi", "verifier.resources.limits.memory=32Mi"];
    let failed = |claim: &str, words: &str| {
        let name = record_name(claim, "");
        tenant.kubectl().apply(&record(claim, "")).expect_success();
        eventually("VerifierFailed", Deadline::seconds(120), || {
            let (status, reason) = tenant.condition("modelverification", &name, "Verified");
            let record = tenant.kubectl().get("modelverification", &name)["status"].to_string();
            let said = (status.as_str(), reason.as_str()) == ("Unknown", "VerifierFailed") && record.contains(words);
            if said { Ok(()) } else { Err(record) }
        });
    };
    reinstall(&cluster, &["verifier.deadline=5s", "verifier.ioLimit=1000", USUAL[0], USUAL[1]]);
    failed("slow", "DeadlineExceeded");
    reinstall(&cluster, &["verifier.deadline=6h", "verifier.ioLimit=0", SMALL[0], SMALL[1]]);
    failed("large", "OOMKilled");
    reinstall(&cluster, &USUAL);
    // Tried again by itself, with growing pauses.
    assert_eq!(tenant.settled("slow").0, "True");
}

#[test]
fn a_result_about_a_claim_that_was_swapped_since_is_thrown_away() {
    let (_turn, cluster) = Cluster::alone();
    let (tenant, key) = (cluster.tenant("swapped-late", &[]), Key::generate());
    let attacker = tenant.attacker();
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("model").sign(&key);
    tenant.claim("prepared").write("evil.py", b"import os");
    // The verifier follows its workload, which asks for a node that does not exist, until the operator is away.
    let nowhere = format!("{}/here", tenant.namespace);
    let mut deployment = tenant.deployment("chat", "model");
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({ &nowhere: "yes" });
    tenant.kubectl().apply(&deployment).expect_success();
    let verifier = tenant.verifier();
    cluster.dismiss_operator();
    cluster.kubectl().run(&["label", "node", "node-1", &format!("{nowhere}=yes")]).expect_success();
    let phase = "--for=jsonpath={.status.phase}=Succeeded";
    tenant.kubectl().run(&["wait", phase, "--timeout=60s", "pod", &verifier]).expect_success();

    // The verifier protects its claim and would go with the record; whoever has every right gets around both.
    let uid = || tenant.kubectl().get("persistentvolumeclaim", "model")["metadata"]["uid"].clone();
    let before = uid();
    attacker.run(&["delete", "persistentvolumeclaim", "model", "--cascade=orphan", "--wait=false"]).expect_success();
    eventually("its record is orphaned", Deadline::seconds(60), || {
        let record = tenant.kubectl().get("modelverification", &record_name("model", ""));
        let metadata = &record["metadata"];
        if metadata["uid"].is_string() && metadata["ownerReferences"].is_null() {
            Ok(())
        } else {
            Err(record.to_string())
        }
    });
    let unprotected = json!({ "metadata": { "finalizers": null } }).to_string();
    attacker
        .run(&["patch", "persistentvolumeclaim", "model", "--type=merge", "--patch", &unprotected])
        .expect_success();
    tenant.swap_in("prepared", "model");
    assert_ne!(uid(), before);
    let report = tenant.kubectl().get("pod", &verifier)["status"]["containerStatuses"][0]["state"].to_string();
    assert!(report.contains("Verified"), "nothing to believe: {report}");

    cluster.recall_operator();
    let read = eventually("the claim that is there now is read", Deadline::seconds(120), || {
        let (verified, reason) = tenant.condition("modelverification", &record_name("model", ""), "Verified");
        let record = tenant.kubectl().get("modelverification", &record_name("model", ""));
        assert_ne!(verified, "True", "{record}");
        if verified == "False" { Ok(record) } else { Err(format!("Verified={verified} ({reason}): {record}")) }
    });
    assert_eq!(read["status"]["source"]["claimUid"], uid(), "{read}");
    tenant.kubectl().apply(&tenant.pod("other", "model")).expect_refusal(&["[Unsigned]"]);
    cluster.kubectl().run(&["label", "node", "node-1", &format!("{nowhere}-")]).expect_success();
    cluster.whole();
}

/// A call that failed.
#[derive(Debug)]
struct Failure {
    at: Instant,
    said: String,
}

/// A steady stream of dry-run creations through the API server.
struct Stream {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    callers: Vec<JoinHandle<Vec<Failure>>>,
}

impl Stream {
    fn start(tenant: &Tenant) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let caller = |name: &str| {
            let (stop, calls, kubectl) = (Arc::clone(&stop), Arc::clone(&calls), tenant.kubectl());
            let pod = tenant.pod(name, "good").to_string();
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let said = kubectl.feed(&["create", "--dry-run=server", "--filename", "-"], &pod);
                    calls.fetch_add(1, Ordering::Relaxed);
                    if !said.success {
                        failed.push(Failure { at: Instant::now(), said: said.to_string() });
                    }
                }
                failed
            })
        };
        let callers = ["one", "two", "three"].map(caller).into();
        Stream { stop, calls, callers }
    }

    /// Waits until so many more calls have been made.
    fn pass(&self, more: u32) {
        let goal = self.calls.load(Ordering::Relaxed) + more;
        eventually("the stream flows", Deadline::seconds(120), || {
            let calls = self.calls.load(Ordering::Relaxed);
            if calls >= goal { Ok(()) } else { Err(format!("{calls} of {goal} calls")) }
        });
    }

    /// The calls that failed.
    fn end(self) -> Vec<Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    }
}

#[test]
fn a_replica_that_is_deleted_in_order_loses_no_call() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "rolling");
    let stream = Stream::start(&tenant);
    stream.pass(20);
    let victim = cluster.pods_of("webhook")[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    // API servers keep idle connections for 90 s, and it waits for them.
    cluster.own().run(&["delete", "pod", &victim, "--timeout=180s"]).expect_success();
    cluster.whole();
    stream.pass(20);
    let failed = stream.end();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_replica_that_is_killed_fails_closed_and_not_for_long() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "killed");
    let stream = Stream::start(&tenant);
    stream.pass(20);
    let victim = cluster.pods_of("webhook")[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.own().run(&["delete", "pod", &victim, "--grace-period=0", "--force", "--wait=false"]).expect_success();
    cluster.whole();
    stream.pass(20);
    let failed = stream.end();
    assert!(failed.iter().all(|call| call.said.contains("failed calling webhook")), "{failed:?}");
    let (first, last) = (failed.iter().map(|call| call.at).min(), failed.iter().map(|call| call.at).max());
    let span = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    println!("{} calls failed within {span:?}", failed.len());
    assert!(span <= Duration::from_secs(5), "calls failed for {span:?}: {failed:?}");
}

#[test]
fn the_serving_pair_is_renewed_under_load_without_a_failed_call() {
    let (_turn, cluster) = Cluster::alone();
    let tenant = judged_tenant(&cluster, "renewed");
    let stream = Stream::start(&tenant);
    stream.pass(20);
    let serial = || {
        let secret = cluster.own().get("secret", SERVING_SECRET);
        secret["data"]["tls.crt"].as_str().map(str::to_owned)
    };
    let before = serial().expect("a serving pair");
    // The operator issues another in its place, as it does when one is about to expire.
    cluster.own().run(&["delete", "secret", SERVING_SECRET]).expect_success();
    // It looks once a minute.
    eventually("a new pair", Deadline::seconds(120), || match serial() {
        Some(now) if now != before => Ok(()),
        _ => Err("the same pair".to_owned()),
    });
    stream.pass(60);
    let failed = stream.end();
    assert!(failed.is_empty(), "{failed:?}");
}
