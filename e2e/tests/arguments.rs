//! Models that containers fetch or open by themselves, as arguments and variables name them: one Pod for each engine, and
//! what a policy forbids. Pods are judged by dry runs: nothing of what they name is ever fetched.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Said, Tenant, eventually};

/// A tenant whose policy trusts the key, with a verified model on the claim `good`.
fn tenant(purpose: &str) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    tenant.enforce(&tenant.policy(&key));
    tenant.claim("good").sign(&key);
    assert_eq!(tenant.record("good"), ("True".into(), "Verified".into()));
    (tenant, key)
}

/// A Pod with the verified model at `/models`, an emptyDir at `/tmp`, a ConfigMap at `/config`, and these fields of its
/// container.
fn pod(tenant: &Tenant, container: &Value) -> Value {
    let mut pod = tenant.pod("chat", "good");
    let own = &mut pod["spec"]["containers"][0];
    own.as_object_mut().expect("a container").remove("command");
    for (field, value) in container.as_object().expect("fields") {
        own[field] = value.clone();
    }
    let mounts = own["volumeMounts"].as_array_mut().expect("mounts");
    mounts.push(json!({ "name": "tmp", "mountPath": "/tmp" }));
    mounts.push(json!({ "name": "config", "mountPath": "/config" }));
    let volumes = pod["spec"]["volumes"].as_array_mut().expect("volumes");
    volumes.push(json!({ "name": "tmp", "emptyDir": {} }));
    volumes.push(json!({ "name": "config", "configMap": { "name": "config", "optional": true } }));
    pod
}

fn dry_run(tenant: &Tenant, container: &Value) -> Said {
    let arguments = ["create", "--dry-run=server", "--filename", "-"];
    tenant.kubectl().feed(&arguments, &pod(tenant, container).to_string())
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// One Pod for each engine that fetches its model: the image or the command, and what the denial names.
fn fetching() -> Vec<(Value, &'static str, &'static str)> {
    let args = |image: &str, args: &str| json!({ "image": image, "args": words(args) });
    let run = |command: &str| json!({ "image": "registry.example/own:1", "command": words(command) });
    let script = |text: &str| json!({ "image": "registry.example/own:1", "command": ["sh", "-c", text] });
    let pull = json!({ "exec": { "command": ["sh", "-c", "sleep 5; ollama pull llama3:8b"] } });
    vec![
        (args("vllm/vllm-openai:v1", "--model acme/llama"), "args[1]", "hf://acme/llama"),
        (args("vllm/vllm-openai:v1", "--port 80"), "image", "hf://Qwen/Qwen3-0.6B"),
        (args("vllm/vllm-openai:v1", "--config /config/vllm.yaml"), "args[1]", "cannot be told"),
        (args("ghcr.io/huggingface/text-generation-inference:3", ""), "image", "hf://bigscience/bloom-560m"),
        (args("ghcr.io/huggingface/text-embeddings-inference:1", "--model-id acme/e"), "args[1]", "hf://acme/e"),
        (run("python3 -m sglang.launch_server --model-path=acme/llama"), "command[3]", "hf://acme/llama"),
        (run("tritonserver --model-repository=s3://bucket/models"), "command[1]", "s3://bucket/models"),
        (args("ghcr.io/ggml-org/llama.cpp:server", "-hf acme/llama"), "args[1]", "hf://acme/llama"),
        (json!({ "image": "ollama/ollama:1" }), "image", "/root/.ollama/models"),
        (
            json!({ "image": "registry.example/own:1", "lifecycle": { "postStart": pull } }),
            "lifecycle.postStart.exec.command[2]",
            "ollama://llama3:8b",
        ),
        (json!({ "image": "nvcr.io/nim/meta/llama:1" }), "image", "/opt/nim/.cache"),
        (run("hf download acme/llama"), "command[2]", "hf://acme/llama"),
        (script("A=b exec vllm serve 'acme/llama' | tee /log"), "command[2]", "hf://acme/llama"),
        (
            json!({ "image": "registry.example/own:1", "env": [{ "name": "MODEL_ID", "value": "acme/llama" }] }),
            "env[0]",
            "hf://acme/llama",
        ),
        (args("vllm/vllm-openai:v1", "--model /tmp/llama"), "args[1]", "model in an emptyDir"),
        (args("vllm/vllm-openai:v1", "--model /opt/llama"), "args[1]", "model in the container's image"),
        (args("vllm/vllm-openai:v1", "--model /proc/1/root/m"), "args[1]", "another process's files"),
        (args("vllm/vllm-openai:v1", "--model /config/llama"), "args[1]", "model in a ConfigMap"),
    ]
}

#[test]
fn what_a_container_fetches_by_itself_is_refused_by_name() {
    let (tenant, _) = tenant("fetching");
    for (container, place, name) in fetching() {
        let said = dry_run(&tenant, &container);
        let start = format!("{}: spec.containers[0].{place}: ", tenant.namespace);
        said.expect_refusal(&[&start, name, "[NotVerifiable]"]);
    }
}

#[test]
fn what_lies_in_the_verified_model_is_let_in_for_every_engine() {
    let (tenant, _) = tenant("local");
    let args = |image: &str, args: &str| json!({ "image": image, "args": words(args) });
    let env = |image: &str, name: &str| json!({ "image": image, "env": [{ "name": name, "value": "/models" }] });
    for container in [
        args("vllm/vllm-openai:v1", "--model /models/llama --served-model-name acme/llama"),
        args("vllm/vllm-openai:v1", "/models --tokenizer=/models/tokenizer --port 80"),
        env("ghcr.io/huggingface/text-generation-inference:3", "MODEL_ID"),
        env("ghcr.io/huggingface/text-embeddings-inference:1", "MODEL_ID"),
        json!({ "image": "own", "command": words("python3 -m sglang.launch_server --model-path /models") }),
        json!({ "image": "own", "command": words("tritonserver --model-repository=/models") }),
        args("ghcr.io/ggml-org/llama.cpp:server", "-m /models/llama.gguf --host 0.0.0.0"),
        env("ollama/ollama:1", "OLLAMA_MODELS"),
        env("nvcr.io/nim/meta/llama:1", "NIM_CACHE_PATH"),
        json!({ "image": "own", "command": ["sh", "-c", "cd /models && exec vllm serve /models/llama"] }),
        args("nginx:1", "-g daemon"),
        json!({ "image": "own", "command": ["sh", "-c", "echo hello; sleep 5"], "env": [{ "name": "MODE", "value": "a/b" }] }),
    ] {
        let said = dry_run(&tenant, &container);
        assert!(said.success, "{container}: {said}");
    }
}

#[test]
fn a_policy_forbids_what_is_dangerous_in_itself_and_unsigned_configuration() {
    let (tenant, key) = tenant("dangers");
    let serves =
        |arguments: &str, env: Value| json!({ "image": "vllm/vllm-openai:v1", "args": words(arguments), "env": env });
    let remote_code = serves("--model /models --trust-remote-code", json!([]));
    let adapters = serves("--model /models", json!([{ "name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "1" }]));
    let template = serves("--model /models --chat-template /config/t.jinja", json!([]));
    dry_run(&tenant, &remote_code).expect_success();
    dry_run(&tenant, &adapters).expect_success();
    dry_run(&tenant, &template).expect_refusal(&["args[3]: ", "[UnsignedConfig]"]);

    let mut policy = tenant.policy(&key);
    policy["spec"]["content"]["forbid"] = json!(["RemoteCode", "RuntimeAdapters", "MutableReference"]);
    policy["spec"]["content"]["unsignedConfig"] = json!("Allow");
    tenant.enforce(&policy);
    dry_run(&tenant, &remote_code).expect_refusal(&["args[2]: ", "[RemoteCode]"]);
    dry_run(&tenant, &adapters).expect_refusal(&["env[0]: ", "[RuntimeAdapters]"]);
    dry_run(&tenant, &template).expect_success();
    let branch = serves("--model acme/llama --revision main", json!([]));
    dry_run(&tenant, &branch).expect_refusal(&["hf://acme/llama@main", "[MutableReference]", "[NotVerifiable]"]);
}

#[test]
fn a_policy_selects_by_uri() {
    let (tenant, key) = tenant("selected");
    let mut policy = tenant.policy(&key);
    policy["spec"]["match"]["models"] = json!([{ "uris": ["hf://acme/**"] }]);
    tenant.enforce(&policy);
    let serves = |model: &str| json!({ "image": "vllm/vllm-openai:v1", "args": ["--model", model] });
    dry_run(&tenant, &serves("acme/llama")).expect_refusal(&["hf://acme/llama", "[NotVerifiable]"]);
    dry_run(&tenant, &serves("other/llama")).expect_success();
}

#[test]
fn a_workload_that_fetches_its_model_shows_it() {
    let (tenant, _) = tenant("shown");
    let mut deployment = tenant.deployment("chat", "good");
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["args"] = json!(["vllm", "serve", "acme/llama"]);
    container["command"] = json!(["echo-of-own"]);
    deployment["spec"]["replicas"] = json!(0);
    let said = tenant.kubectl().apply(&deployment);
    said.expect_success();
    assert!(said.stderr.contains("Warning: ") && said.stderr.contains("[NotVerifiable]"), "{said}");
    eventually("the model in the status", Deadline::seconds(30), || {
        let models = tenant.kubectl().get("workloadverification", "deployment-chat")["status"]["models"].clone();
        let shown = models.as_array().into_iter().flatten().any(|model| model["source"] == "hf://acme/llama");
        if shown { Ok(()) } else { Err(models.to_string()) }
    });
}
