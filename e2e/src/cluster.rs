//! The cluster, and what a test has of its own in it.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::{Client, Config};
use serde_json::{Value, json};
use weighbridge::api::v1alpha1::ModelVerificationSpec;

use crate::model::{Key, Model, POD_USER};
use crate::review::{Reviewed, address, review, try_ask};
use crate::wait::{Deadline, eventually};

/// Namespace into which the tests install weighbridge.
pub const OWN_NAMESPACE: &str = "weighbridge-system";

/// A running cluster with weighbridge in it.
#[derive(Clone)]
pub struct Cluster {
    run: PathBuf,
    registry: String,
}

impl Cluster {
    /// The cluster that the environment names.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run e2e/test"));
        Cluster { run: variable("WEIGHBRIDGE_E2E_CLUSTER_RUN").into(), registry: variable("WEIGHBRIDGE_E2E_REGISTRY") }
    }

    /// A client with every right. For the runtime of the test that asks: connections belong to a runtime.
    pub async fn client(&self) -> Client {
        Client::try_from(Config::infer().await.expect("a kubeconfig")).expect("a client")
    }

    /// Where files of volumes lie.
    pub fn volumes(&self) -> PathBuf {
        self.run.join("volumes")
    }

    /// The address of the cluster's registry.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the log of a component lies.
    pub fn log(&self, component: &str) -> PathBuf {
        self.run.join(format!("log/{component}.log"))
    }

    /// The image that test Pods run: static busybox.
    pub fn busybox(&self) -> String {
        format!("{}/busybox:1", self.registry)
    }

    /// `kubectl` as cluster administrator.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::default()
    }

    /// Starts, stops, kills or pauses a component of the cluster, such as `kube-apiserver`.
    pub fn control(&self, verb: &str, component: &str) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/lib/control");
        let status = Command::new(program).args([verb, component]).status().expect("e2e/cluster/lib/control");
        assert!(status.success(), "{verb} {component}: {status}");
    }

    /// `kubectl` in the namespace of weighbridge.
    pub fn own(&self) -> Kubectl {
        Kubectl { prefix: vec!["--namespace".into(), OWN_NAMESPACE.into()] }
    }

    /// The Pods of a component of weighbridge (`webhook` or `operator`) that are ready, as JSON.
    pub fn pods_of(&self, component: &str) -> Vec<Value> {
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|item| item["type"] == "Ready" && item["status"] == "True")
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let selector = format!("app.kubernetes.io/component={component}");
        let said = self.own().run(&["get", "pods", "--selector", &selector, "--output=json"]);
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default().into_iter().filter(ready).collect()
    }

    /// The cluster, whole, for one test of a program at a time, while it keeps its turn.
    pub fn alone() -> (MutexGuard<'static, ()>, Self) {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Cluster::from_environment();
        cluster.whole();
        (turn, cluster)
    }

    /// Waits until both replicas of the webhook and the operator are ready.
    pub fn whole(&self) {
        eventually("weighbridge is whole", Deadline::seconds(120), || {
            let counts = (self.pods_of("webhook").len(), self.pods_of("operator").len());
            if counts == (2, 1) { Ok(()) } else { Err(format!("{counts:?} ready")) }
        });
    }

    /// Sends the operator away, and waits until it is gone.
    pub fn dismiss_operator(&self) {
        self.own().run(&["scale", "deployment", "weighbridge-operator", "--replicas=0"]).expect_success();
        eventually("the operator is gone", Deadline::seconds(90), || {
            let pods = self.own().run(&["get", "pods", "--output=name"]).stdout;
            if pods.contains("operator") { Err(pods) } else { Ok(()) }
        });
    }

    /// Has the operator back.
    pub fn recall_operator(&self) {
        self.own().run(&["scale", "deployment", "weighbridge-operator", "--replicas=1"]).expect_success();
    }

    /// What `/metrics` of every ready Pod of a component says, one after another.
    pub fn metrics(&self, component: &str) -> String {
        let pods = self.pods_of(component);
        let addresses = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str());
        addresses.map(|address| http_get(&format!("http://{address}:8080/metrics")).1).collect()
    }

    /// A namespace with these labels for one test, and what goes with it.
    pub fn tenant(&self, purpose: &str, labels: &[(&str, &str)]) -> Tenant {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("{purpose}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut all =
            json!({ "pod-security.kubernetes.io/enforce": "baseline", "e2e.weighbridge.dev/test": namespace });
        for (key, value) in labels {
            all[*key] = json!(value);
        }
        let tenant = Tenant { cluster: self.clone(), namespace };
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": tenant.namespace, "labels": all } });
        self.kubectl().apply(&object).expect_success();
        tenant
    }
}

/// A namespace of one test. It and what belongs to it go with the test.
pub struct Tenant {
    cluster: Cluster,
    /// The namespace.
    pub namespace: String,
}

impl Tenant {
    /// The cluster that it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl { prefix: vec!["--namespace".into(), self.namespace.clone()] }
    }

    /// `kubectl` in this namespace as somebody else.
    pub fn kubectl_as(&self, user: &str) -> Kubectl {
        let mut kubectl = self.kubectl();
        kubectl.prefix.extend(["--as".into(), user.into()]);
        kubectl
    }

    /// A policy that denies in this namespace alone, trusts `key` and lets the account `loader` write.
    pub fn policy(&self, key: &Key) -> Value {
        json!({
            "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy",
            "metadata": { "name": self.namespace },
            "spec": {
                "match": { "namespaceSelector": { "matchLabels": { "e2e.weighbridge.dev/test": self.namespace } } },
                "validationActions": ["Deny"],
                "authorities": [{ "name": "release", "key": { "data": key.pem() } }],
                "content": { "writers": [{ "serviceAccount": "loader" }] },
            },
        })
    }

    /// Applies a policy and waits until every replica of the webhook has it.
    pub fn enforce(&self, policy: &Value) {
        self.cluster.kubectl().apply(policy).expect_success();
        let name = policy["metadata"]["name"].as_str().expect("a name");
        let condition = "--for=condition=Programmed";
        self.cluster.kubectl().run(&["wait", condition, "--timeout=60s", "clustermodelpolicy", name]).expect_success();
    }

    /// A claim over a folder of this node with a small model in it, bound, and the folder.
    pub fn claim(&self, name: &str) -> Model {
        Model::small(self.empty_claim(name).root())
    }

    /// The same without any file.
    pub fn empty_claim(&self, name: &str) -> Model {
        let folder = self.cluster.volumes().join(format!("{}-{name}", self.namespace));
        fs::create_dir_all(&folder).expect("a folder for the volume");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&folder, permissions).expect("a folder that Pods may write");
        let volume = format!("{}-{name}", self.namespace);
        let affinity = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"] });
        self.kubectl()
            .apply(&json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume },
                "spec": {
                    "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": "",
                    "persistentVolumeReclaimPolicy": "Retain", "local": { "path": folder },
                    "claimRef": { "namespace": self.namespace, "name": name },
                    "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [affinity] }] } },
                },
            }))
            .expect_success();
        self.bind(name, &volume);
        Model::empty(folder)
    }

    /// A claim bound to a volume that exists.
    pub fn bind(&self, name: &str, volume: &str) {
        self.kubectl()
            .apply(&json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
                "spec": {
                    "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume,
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }))
            .expect_success();
        let phase = "--for=jsonpath={.status.phase}=Bound";
        self.kubectl().run(&["wait", phase, "--timeout=180s", "persistentvolumeclaim", name]).expect_success();
    }

    /// Puts the volume of another claim, which goes, behind the name of a claim that is gone.
    pub fn swap_in(&self, other: &str, name: &str) {
        let volume = format!("{}-{other}", self.namespace);
        self.kubectl().run(&["delete", "persistentvolumeclaim", other, "--timeout=60s"]).expect_success();
        let anew = json!({ "spec": { "claimRef": { "namespace": self.namespace, "name": name, "uid": null } } });
        let patch = ["patch", "persistentvolume", &volume, "--type=merge", "--patch", &anew.to_string()];
        self.cluster.kubectl().run(&patch).expect_success();
        self.bind(name, &volume);
    }

    /// An account that has every right in this namespace: `admin`, and a Role with `*` on everything.
    pub fn attacker(&self) -> Kubectl {
        let account = format!("{}:attacker", self.namespace);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" },
            "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }],
        });
        self.kubectl().apply(&role).expect_success();
        for arguments in [
            &["create", "serviceaccount", "attacker"][..],
            &["create", "rolebinding", "admin", "--clusterrole=admin", "--serviceaccount", &account],
            &["create", "rolebinding", "all", "--role=all", "--serviceaccount", &account],
        ] {
            self.kubectl().run(arguments).expect_success();
        }
        self.kubectl_as(&format!("system:serviceaccount:{account}"))
    }

    /// The verifier Pod of this namespace, once there is one.
    pub fn verifier(&self) -> String {
        eventually("a verifier Pod", Deadline::seconds(60), || {
            let names = self.kubectl().run(&["get", "pods", "--output=name"]).stdout;
            let found = names.lines().find_map(|line| line.strip_prefix("pod/weighbridge-verifier-"));
            found.map(|rest| format!("weighbridge-verifier-{rest}")).ok_or(names)
        })
    }

    /// A Pod that mounts a claim at `/models`, sleeps, and complies with the level `restricted`.
    pub fn pod(&self, name: &str, claim: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": self.pod_spec(claim) })
    }

    /// Waits until a Pod is let in: the first that asks has records made.
    pub fn served(&self, pod: &Value) {
        eventually("a Pod is let in", Deadline::seconds(90), || self.kubectl().apply(pod).succeeded());
    }

    /// Waits until a Pod is refused for this reason. It is never let in meanwhile.
    pub fn refused(&self, pod: &Value, fragments: &[&str]) {
        eventually("a Pod is refused", Deadline::seconds(90), || {
            let said = self.kubectl().apply(pod);
            assert!(!said.success, "let in: {said}");
            if fragments.iter().all(|part| said.stderr.contains(part)) { Ok(()) } else { Err(said.to_string()) }
        });
    }

    /// A Deployment of one such Pod.
    pub fn deployment(&self, name: &str, claim: &str) -> Value {
        let labels = json!({ "app": name });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": self.pod_spec(claim) },
            },
        })
    }

    fn pod_spec(&self, claim: &str) -> Value {
        json!({
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "runAsUser": POD_USER, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "server", "image": self.cluster.busybox(), "command": ["sleep", "1000000"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [{ "name": "model", "mountPath": "/models", "readOnly": true }],
            }],
            "volumes": [{ "name": "model", "persistentVolumeClaim": { "claimName": claim } }],
        })
    }

    /// A Pod of the account `loader` that runs `script` with the claim writable at `/models`.
    pub fn writer(&self, name: &str, claim: &str, script: &str) -> Value {
        self.kubectl()
            .apply(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "loader" } }))
            .expect_success();
        let mut pod = self.pod(name, claim);
        pod["spec"]["serviceAccountName"] = json!("loader");
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
        pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
        pod
    }

    /// The record of a claim's root, made as a person would make it, once it has a verdict. Gives status and reason of
    /// the condition `Verified`.
    pub fn record(&self, claim: &str) -> (String, String) {
        self.kubectl().apply(&record(claim, "")).expect_success();
        self.settled(claim)
    }

    /// Status and reason of the record's condition `Verified`, once it says something about the source and every replica
    /// of the webhook knows that the source was read.
    pub fn settled(&self, claim: &str) -> (String, String) {
        let name = record_name(claim, "");
        let verdict = eventually("a verdict in the record", Deadline::seconds(60), || {
            let (status, reason) = self.condition("modelverification", &name, "Verified");
            match status.as_str() {
                "True" | "False" => Ok((status, reason)),
                _ => Err(format!("Verified={status} ({reason})")),
            }
        });
        let question = review(Reviewed::Create, &self.namespace, &self.pod("asks", claim), None);
        eventually("every replica knows it", Deadline::seconds(60), || {
            let answers = self.cluster.pods_of("webhook").into_iter().map(|it| try_ask(&address(&it), &question));
            let unread =
                |answer: &String| ["[NotVerifiedYet]", "[NotObservedYet]"].iter().any(|it| answer.contains(it));
            match answers.collect::<Result<Vec<_>, _>>()?.into_iter().map(|it| it.to_string()).find(unread) {
                Some(answer) => Err(answer),
                None => Ok(()),
            }
        });
        verdict
    }

    /// Status and reason of a condition; `Absent` where there is none.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> (String, String) {
        let object = self.kubectl().get(kind, name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|item| item["type"] == condition);
        let text = |key: &str| found.as_ref().and_then(|item| item[key].as_str()).unwrap_or("Absent").to_owned();
        (text("status"), text("reason"))
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        // What is in it is deleted in the background; nothing of another test depends on that.
        let ours = format!("--field-selector=metadata.name={}", self.namespace);
        self.cluster.kubectl().run(&[
            "delete",
            "clustermodelpolicies",
            "--ignore-not-found",
            "--wait=false",
            &self.namespace,
        ]);
        self.cluster.kubectl().run(&["delete", "namespaces", "--wait=false", &ours]);
    }
}

/// Status and body of a page. Status 0: nobody answered.
pub fn http_get(url: &str) -> (u16, String) {
    curl(&[url], "")
}

/// Posts JSON over TLS and gives status and body; whose certificate it is does not matter here. Status 0: nobody answered.
pub fn https_post(url: &str, body: &str) -> (u16, String) {
    curl(&["--insecure", "--header", "content-type: application/json", "--data-binary", "@-", url], body)
}

fn curl(arguments: &[&str], input: &str) -> (u16, String) {
    let fixed = ["--silent", "--max-time", "15", "--write-out", "\n%{http_code}"];
    let said = Kubectl::default().program("curl", &[&fixed[..], arguments].concat(), input);
    let (body, status) = said.stdout.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or_default(), body.to_owned())
}

/// The record of a path in a claim, as `weighbridge record` prints it.
pub fn record(claim: &str, path: &str) -> Value {
    record_of(&ModelVerificationSpec::of_claim(claim, path))
}

/// The record of a source.
pub fn record_of(spec: &ModelVerificationSpec) -> Value {
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelVerification",
        "metadata": { "name": spec.record_name() }, "spec": spec,
    })
}

/// Name of that record.
pub fn record_name(claim: &str, path: &str) -> String {
    ModelVerificationSpec::of_claim(claim, path).record_name()
}

/// The real `kubectl`: tests assert what its user sees.
#[derive(Clone, Debug, Default)]
pub struct Kubectl {
    prefix: Vec<String>,
}

/// What a command said.
#[derive(Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it succeeded.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.feed(arguments, "")
    }

    /// Applies an object.
    pub fn apply(&self, object: &Value) -> Said {
        self.feed(&["apply", "--filename", "-"], &object.to_string())
    }

    /// Creates an object.
    pub fn create(&self, object: &Value) -> Said {
        self.feed(&["create", "--filename", "-"], &object.to_string())
    }

    /// An object as JSON; null where it does not exist.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        let said = self.run(&["get", kind, name, "--ignore-not-found", "--output=json"]);
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }

    /// All objects of a kind as JSON.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let said = self.run(&["get", kind, "--output=json"]);
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs a command with something on its standard input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Said {
        self.program("kubectl", arguments, input)
    }

    fn program(&self, program: &str, arguments: &[&str], input: &str) -> Said {
        let mut command = Command::new(program);
        command.args(&self.prefix).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().expect("its input");
        let input = input.to_owned();
        let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("its output");
        // A command that ends before it has read everything is judged by its exit code.
        let _ = feeder.join().expect("the feeder");
        Said {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Nothing if it succeeded, or else all that it said: what [`eventually`] asks for.
    pub fn succeeded(&self) -> Result<(), String> {
        if self.success { Ok(()) } else { Err(self.to_string()) }
    }

    /// Panics unless it succeeded.
    #[track_caller]
    pub fn expect_success(&self) -> &Self {
        assert!(self.success, "{self}");
        self
    }

    /// What a webhook said in its denial.
    pub fn denial(&self) -> Option<&str> {
        self.stderr.split_once(" denied the request: ").map(|(_, message)| message.trim_end())
    }

    /// The warnings that begin with the name of a policy.
    pub fn warnings(&self, policy: &str) -> Vec<String> {
        let lines = self.stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
        lines.filter(|line| line.starts_with(policy)).map(str::to_owned).collect()
    }

    /// Panics unless it failed and said all of `fragments` on standard error.
    #[track_caller]
    pub fn expect_refusal(&self, fragments: &[&str]) -> &Self {
        assert!(!self.success, "not refused: {self}");
        for fragment in fragments {
            assert!(self.stderr.contains(fragment), "no «{fragment}» in: {self}");
        }
        self
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "success={}\n{}\n{}", self.success, self.stdout, self.stderr)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
