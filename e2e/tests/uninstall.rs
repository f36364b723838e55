//! What `helm uninstall` leaves behind: nothing that stops anybody.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use weighbridge_e2e::{Cluster, Deadline, Key, OWN_NAMESPACE, eventually};

#[test]
fn uninstalling_lets_go_of_everything() {
    let cluster = Cluster::from_environment();
    let (tenant, key) = (cluster.tenant("leftover", &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("bare");
    let refused_at = Instant::now();
    tenant.kubectl().apply(&tenant.deployment("chat", "bare")).expect_success();
    eventually("its Pods are refused", Deadline::seconds(60), || {
        let sets = tenant.kubectl().list("replicasets");
        let text = sets.first().map(|set| set["status"].to_string()).unwrap_or_default();
        if text.contains("ReplicaFailure") { Ok(()) } else { Err(text) }
    });

    let (holding, key) = (cluster.tenant("held", &[]), Key::generate());
    let mut policy = holding.policy(&key);
    policy["spec"]["unknown"] = json!("Hold");
    holding.enforce(&policy);
    holding.claim("bare");
    holding.kubectl().apply(&holding.deployment("chat", "bare")).expect_success();
    let mut stuck = holding.writer("stuck", "bare", "true");
    stuck["spec"]["nodeSelector"] = json!({ "no.such/node": "exists" });
    holding.kubectl().apply(&stuck).expect_success();
    let all_pods = || cluster.kubectl().run(&["get", "pods", "--all-namespaces", "--output=json"]).stdout;
    eventually("a Pod that waits, and a writer with our finalizer", Deadline::seconds(60), || {
        let pods = all_pods();
        let marked = pods.contains("weighbridge.dev/verification") && pods.contains("weighbridge.dev/writer");
        if marked { Ok(()) } else { Err(pods) }
    });

    let refused_for = refused_at.elapsed();
    let output =
        Command::new("helm").args(["uninstall", "weighbridge", "--namespace", OWN_NAMESPACE, "--wait"]).output();
    let output = output.expect("helm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let configurations = cluster.kubectl().list("validatingwebhookconfigurations,mutatingwebhookconfigurations");
    assert!(!format!("{configurations:?}").contains("weighbridge"), "{configurations:?}");
    let policies = cluster.kubectl().list("validatingadmissionpolicies,validatingadmissionpolicybindings");
    assert!(!format!("{policies:?}").contains("weighbridge"), "{policies:?}");
    for line in all_pods().lines() {
        assert!(!line.contains("weighbridge.dev/verification") && !line.contains("weighbridge.dev/writer"), "{line}");
    }
    let available = ["wait", "--for=condition=Available", "--timeout=60s", "deployment/chat"];
    holding.kubectl().run(&available).expect_success();
    for kind in ["modelverifications", "workloadverifications", "clustermodelpolicies", "backingstores"] {
        let objects = cluster.kubectl().run(&["get", kind, "--all-namespaces", "--output=json"]).stdout;
        assert!(!objects.contains("\"finalizers\""), "{objects}");
    }

    // Its controller tries again by itself, at intervals that have grown with the time that it was refused.
    let deadline = Deadline(refused_for * 2 + Duration::from_secs(60));
    eventually("the Deployment that was refused starts", deadline, || {
        let said =
            tenant.kubectl().run(&["get", "deployment", "chat", "--output=jsonpath={.status.availableReplicas}"]);
        if said.stdout == "1" { Ok(()) } else { Err(said.to_string()) }
    });
}
