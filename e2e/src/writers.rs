//! What tests of writers have in common.

use serde_json::{Value, json};

use crate::cluster::Tenant;

impl Tenant {
    /// A claim over the very folder that a claim of another namespace has.
    pub fn mirror(&self, name: &str, other: &Tenant, claim: &str) {
        let volume = format!("{}-{name}", self.namespace);
        let mut persistent = self.kubectl().get("persistentvolume", &format!("{}-{claim}", other.namespace));
        persistent["metadata"] = json!({ "name": volume });
        persistent["spec"]["claimRef"] = json!({ "namespace": self.namespace, "name": name });
        persistent["status"] = Value::Null;
        self.kubectl().apply(&persistent).expect_success();
        self.bind(name, &volume);
    }

    /// The object of the store behind a claim.
    pub fn store(&self, claim: &str) -> Value {
        let folder = format!("/{}-{claim}", self.namespace);
        let ours = |store: &Value| store["spec"]["identity"].as_str().is_some_and(|it| it.ends_with(&folder));
        self.cluster().own().list("backingstores").into_iter().find(ours).unwrap_or_default()
    }

    /// The epoch of the store behind a claim; 0 while nobody was seen to write.
    pub fn epoch(&self, claim: &str) -> i64 {
        self.store(claim)["status"]["writeEpoch"].as_i64().unwrap_or_default()
    }

    /// Who may be writing to the store behind a claim.
    pub fn writers(&self, claim: &str) -> Vec<Value> {
        self.store(claim)["status"]["writers"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a Pod is in a phase.
    pub fn phase(&self, pod: &str, phase: &str) {
        let phase = format!("--for=jsonpath={{.status.phase}}={phase}");
        self.kubectl().run(&["wait", &phase, "--timeout=90s", &format!("pod/{pod}")]).expect_success();
    }
}
