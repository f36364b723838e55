//! Cells for every row of the table, and what a reader who splits at blanks would see.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::table::{Flag, Form, Means};
use super::*;
use crate::workload::ContainerKind;
use crate::workload::new_pod::read_both_ways;

fn of(container: Value) -> Declared {
    let mut container = container;
    container["name"] = json!("c");
    let container = read_both_ways(json!({ "containers": [container] })).containers.remove(0);
    let at = FieldPath("c".into());
    let environment = Environment::of(
        container.env.as_deref().unwrap_or_default(),
        container.env_from.as_deref().unwrap_or_default(),
        PodFields { name: Some("pod"), namespace: Some("team") },
        &at,
    );
    declared(&AnyContainer::of(ContainerKind::Main, &container, at), &environment)
}

/// What is declared, in short: `hf://…`, a path, `store /path`, `?` for what is unresolved, `!Code` for a danger, `~Code`
/// for one that is possible; configuration is marked with `config`.
fn said(container: Value) -> Vec<String> {
    let Declared { named, hazards } = of(container);
    let named = named.into_iter().map(|it| {
        let role = if it.role == Role::Config { "config " } else { "" };
        match it.target {
            Target::Uri(uri) => format!("{role}{uri}"),
            Target::Path(path) => format!("{role}{path}"),
            Target::Store(path) => format!("{role}store {path}"),
            Target::Unresolved(_) => "?".to_owned(),
        }
    });
    let hazards = hazards.into_iter().map(|it| format!("{}{}", if it.certain { '!' } else { '~' }, it.kind));
    named.chain(hazards).collect()
}

/// Arguments for an image.
fn args(image: &str, args: &str) -> Value {
    json!({ "image": image, "args": args.split_whitespace().collect::<Vec<_>>() })
}

/// A command of its own, in an image that nobody knows.
fn command(words: &str) -> Value {
    json!({ "image": "registry.example/own:1", "command": words.split_whitespace().collect::<Vec<_>>() })
}

/// A script, in an image that nobody knows.
fn script(text: &str) -> Value {
    json!({ "image": "registry.example/own:1", "command": ["/bin/sh", "-c", text] })
}

fn with_env(mut container: Value, env: Value) -> Value {
    let pairs = env.as_object().unwrap().iter();
    container["env"] = pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect();
    container
}

fn with_env_from(mut container: Value) -> Value {
    container["envFrom"] = json!([{ "configMapRef": { "name": "c" } }]);
    container
}

#[track_caller]
fn cells(cells: &[(Value, &[&str])]) {
    for (container, expected) in cells {
        assert_eq!(said(container.clone()), *expected, "{container:#}");
    }
}

/// Kubernetes gives arguments to the entry point of the image, whatever they look like: only a command takes its place.
#[test]
fn flags_behind_a_script_that_an_entry_point_may_take_for_its_own_are_not_missed() {
    let of = |field: &str| json!({ "image": "vllm/vllm-openai:v1", field: ["sh", "-c", "sleep 1", "--model", "acme/llama"] });
    assert_eq!(said(of("args")), ["?"]);
    assert_eq!(said(of("command")), [""; 0]);
}

#[test]
fn vllm() {
    const IMAGE: &str = "docker.io/vllm/vllm-openai:v0.11.0";
    let commit = "0123456789012345678901234567890123456789";
    cells(&[
        (json!({ "image": IMAGE }), &["hf://Qwen/Qwen3-0.6B"]),
        (args(IMAGE, "--model acme/llama"), &["hf://acme/llama"]),
        (args(IMAGE, "--model=acme/llama --port 80"), &["hf://acme/llama"]),
        (args(IMAGE, "acme/llama --port 80"), &["hf://acme/llama"]),
        (args(IMAGE, "serve acme/llama"), &["hf://acme/llama"]),
        (args(IMAGE, "/models/llama"), &["/models/llama"]),
        (args(IMAGE, "--model /models/llama --served-model-name acme/llama"), &["/models/llama"]),
        (args(IMAGE, &format!("--model acme/llama --revision {commit}")), &[&format!("hf://acme/llama@{commit}")]),
        (args(IMAGE, "--model acme/llama --revision main"), &["hf://acme/llama@main"]),
        (args(IMAGE, "--model /m --tokenizer acme/t --tokenizer-revision v1"), &["/m", "hf://acme/t@v1"]),
        (args(IMAGE, "--model /m --lora-modules a=acme/a b=/lora/b --port 1"), &["/m", "hf://acme/a", "/lora/b"]),
        (args(IMAGE, r#"--model /m --speculative-config {"model":"acme/d"}"#), &["/m", "hf://acme/d"]),
        (args(IMAGE, "--model /m --speculative-config.model acme/d"), &["/m", "hf://acme/d"]),
        (args(IMAGE, "--model /m --speculative_config.model=acme/d"), &["/m", "hf://acme/d"]),
        (args(IMAGE, "--model s3://bucket/llama --load-format runai_streamer"), &["s3://bucket/llama"]),
        (args(IMAGE, "--model /m --trust-remote-code"), &["/m", "!RemoteCode"]),
        (args(IMAGE, "--model /m --trust_remote_code"), &["/m", "!RemoteCode"]),
        (args(IMAGE, "--model /m --trust-remote"), &["/m", "!RemoteCode"]),
        (args(IMAGE, "--mod acme/llama"), &["hf://acme/llama"]),
        (args(IMAGE, "--config /etc/vllm.yaml"), &["?"]),
        (args(IMAGE, "--model /m --config=/models/vllm.yaml"), &["/m", "?"]),
        (args(IMAGE, "--model /m --chat-template /etc/t.jinja"), &["/m", "config /etc/t.jinja"]),
        (args(IMAGE, "--model /m --chat-template {{messages}}"), &["/m"]),
        (args(IMAGE, "--model $(MODEL)"), &["?"]),
        (with_env(args(IMAGE, "--model $(MODEL)"), json!({ "MODEL": "acme/llama" })), &["hf://acme/llama"]),
        (with_env(args(IMAGE, "--model a/b"), json!({ "VLLM_USE_MODELSCOPE": "True" })), &["modelscope://a/b"]),
        (with_env(args(IMAGE, "--model a/b"), json!({ "VLLM_USE_MODELSCOPE": "0" })), &["hf://a/b"]),
        (
            with_env(args(IMAGE, "--model /m"), json!({ "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1" })),
            &["/m", "!RuntimeAdapters"],
        ),
        (with_env(args(IMAGE, "--model /m"), json!({ "VLLM_SERVER_DEV_MODE": "1" })), &["/m", "!DeveloperMode"]),
        (with_env(args(IMAGE, "--model /m"), json!({ "VLLM_SERVER_DEV_MODE": "0" })), &["/m"]),
        (with_env(args(IMAGE, "--model /m"), json!({ "HF_ENDPOINT": "https://mirror" })), &["/m", "!HubRedirect"]),
        (command("vllm serve acme/llama"), &["hf://acme/llama"]),
        (command("vllm serve --enable-prefix-caching acme/llama"), &["hf://acme/llama"]),
        (command("vllm serve --port 8000"), &["hf://Qwen/Qwen3-0.6B"]),
        (command("vllm serve"), &["hf://Qwen/Qwen3-0.6B"]),
        (command("vllm bench serve --model acme/llama"), &[]),
        (command("python3 -m vllm.entrypoints.openai.api_server --model acme/llama"), &["hf://acme/llama"]),
        (command("/usr/bin/env python -m vllm.entrypoints.api_server --model=/m"), &["/m"]),
        (json!({ "image": IMAGE, "command": ["python3", "/app/serve.py"] }), &["?"]),
        (json!({ "image": IMAGE, "command": ["sleep", "infinity"] }), &[]),
        (json!({ "image": IMAGE, "command": ["sh", "-c", "ls -l /models && sleep 1"] }), &[]),
        (json!({ "image": IMAGE, "command": ["sh", "-c", "/start.sh"] }), &["?"]),
    ]);
}

#[test]
fn what_env_from_could_set_is_possible() {
    let hazards = of(with_env_from(args("vllm/vllm-openai", "--model /m"))).hazards;
    let possible: Vec<&str> = hazards.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(possible, ["RuntimeAdapters", "DeveloperMode", "HubRedirect"]);
    assert!(hazards.iter().all(|it| !it.certain && it.at.0 == "c.envFrom[0]"));
}

#[test]
fn text_generation_and_embeddings() {
    const TGI: &str = "ghcr.io/huggingface/text-generation-inference:3.3";
    const TEI: &str = "ghcr.io/huggingface/text-embeddings-inference:1.8";
    cells(&[
        (json!({ "image": TGI }), &["hf://bigscience/bloom-560m"]),
        (args(TGI, "--model-id acme/llama"), &["hf://acme/llama"]),
        (args(TGI, "--model-id=/data/llama --trust-remote-code"), &["/data/llama", "!RemoteCode"]),
        (with_env(json!({ "image": TGI }), json!({ "MODEL_ID": "acme/llama" })), &["hf://acme/llama"]),
        (
            with_env(json!({ "image": TGI }), json!({ "MODEL_ID": "acme/llama", "REVISION": "main" })),
            &["hf://acme/llama@main"],
        ),
        (
            with_env(json!({ "image": TGI }), json!({ "MODEL_ID": "/m", "LORA_ADAPTERS": "acme/a,b=/lora/b" })),
            &["/m", "hf://acme/a", "/lora/b"],
        ),
        (
            with_env(json!({ "image": TGI }), json!({ "MODEL_ID": "/m", "TRUST_REMOTE_CODE": "true" })),
            &["/m", "!RemoteCode"],
        ),
        (with_env(json!({ "image": TGI }), json!({ "MODEL_ID": "/m", "TRUST_REMOTE_CODE": "false" })), &["/m"]),
        (command("text-generation-server download-weights acme/llama"), &["hf://acme/llama"]),
        (script("MODEL_ID=acme/llama text-generation-launcher"), &["hf://acme/llama"]),
        (script("export MODEL_ID=acme/llama; exec text-generation-launcher --port 80"), &["hf://acme/llama"]),
        (json!({ "image": TEI }), &["hf://BAAI/bge-large-en-v1.5"]),
        (args(TEI, "--model-id acme/e --revision main"), &["hf://acme/e@main"]),
        (with_env(json!({ "image": TEI }), json!({ "MODEL_ID": "/m" })), &["/m"]),
    ]);
    assert_eq!(said(with_env_from(json!({ "image": TGI })))[0], "?", "the model may come from there");
    let from = json!([{ "name": "MODEL_ID", "valueFrom": { "configMapKeyRef": { "name": "c", "key": "k" } } }]);
    assert_eq!(said(json!({ "image": TGI, "env": from })), ["?"]);
}

#[test]
fn sglang_and_triton() {
    const SGLANG: &str = "lmsysorg/sglang:v0.5";
    const TRITON: &str = "nvcr.io/nvidia/tritonserver:25.01-py3";
    cells(&[
        (json!({ "image": SGLANG }), &["?"]),
        (command("python3 -m sglang.launch_server --model-path acme/llama"), &["hf://acme/llama"]),
        (command("python3 -m sglang.launch_server --model acme/llama --revision main"), &["hf://acme/llama@main"]),
        (command("sglang serve --model_path=/m --lora-paths a=acme/a /lora/b"), &["/m", "hf://acme/a", "/lora/b"]),
        (command("sglang serve --model-path /m --speculative-draft-model-path acme/d"), &["/m", "hf://acme/d"]),
        (command("sglang serve --model-path /m --enable-lora"), &["/m", "!RuntimeAdapters"]),
        (command("sglang serve --model-path /m --trust-remote-code"), &["/m", "!RemoteCode"]),
        (command("sglang serve --config /etc/c.yaml"), &["?"]),
        (
            with_env(command("sglang serve --model-path a/b"), json!({ "SGLANG_USE_MODELSCOPE": "1" })),
            &["modelscope://a/b"],
        ),
        (json!({ "image": TRITON, "command": ["tritonserver"] }), &["?"]),
        (command("tritonserver --model-repository=/models"), &["/models"]),
        (command("tritonserver --model-repository /a --model-repository=s3://bucket/b"), &["/a", "s3://bucket/b"]),
        (command("tritonserver --model-store=/a"), &["/a"]),
        (command("tritonserver --model-repository=/a --model-control-mode=none"), &["/a"]),
        (command("tritonserver --model-repository=/a --model-control-mode=explicit"), &["/a", "!RuntimeAdapters"]),
        (command("tritonserver --model-repository=/a --model-control-mode poll"), &["/a", "!RuntimeAdapters"]),
    ]);
}

#[test]
fn llama_cpp_and_ollama() {
    const LLAMA: &str = "ghcr.io/ggml-org/llama.cpp:server";
    const OLLAMA: &str = "ollama/ollama:0.12";
    cells(&[
        (json!({ "image": LLAMA }), &["?"]),
        (args(LLAMA, "-m /models/llama.gguf"), &["/models/llama.gguf"]),
        (args(LLAMA, "--model llama.gguf"), &["llama.gguf"]),
        (args(LLAMA, "-hf acme/llama-GGUF:Q4_K_M --port 80"), &["hf://acme/llama-GGUF:Q4_K_M"]),
        (args(LLAMA, "-mu https://example.com/llama.gguf"), &["https://example.com/llama.gguf"]),
        (args(LLAMA, "-dr ai/smollm2"), &["docker://ai/smollm2"]),
        (args(LLAMA, "-m /m.gguf --mmproj /p.gguf -md /d.gguf"), &["/m.gguf", "/p.gguf", "/d.gguf"]),
        (args(LLAMA, "-m /m.gguf --lora /a.gguf"), &["/m.gguf", "/a.gguf"]),
        (args(LLAMA, "--models-dir /models"), &["/models"]),
        (args(LLAMA, "--models-preset /etc/p.ini"), &["?"]),
        (args(LLAMA, "--gpt-oss-20b-default"), &["?"]),
        (args(LLAMA, "-m /m.gguf --chat-template-file /t.jinja"), &["/m.gguf", "config /t.jinja"]),
        (with_env(json!({ "image": LLAMA }), json!({ "LLAMA_ARG_HF_REPO": "acme/llama" })), &["hf://acme/llama"]),
        (with_env(command("/app/own"), json!({ "LLAMA_ARG_MODEL": "/m.gguf" })), &["/m.gguf"]),
        (json!({ "image": OLLAMA }), &["store /root/.ollama/models"]),
        (args(OLLAMA, "serve"), &["store /root/.ollama/models"]),
        (with_env(json!({ "image": OLLAMA }), json!({ "OLLAMA_MODELS": "/models" })), &["store /models"]),
        (command("ollama pull llama3:8b"), &["ollama://llama3:8b"]),
        (command("ollama run llama3"), &["ollama://llama3"]),
        (command("ollama list"), &[]),
        (
            script("ollama serve & sleep 5; ollama pull llama3:8b; wait"),
            &["store /root/.ollama/models", "ollama://llama3:8b"],
        ),
    ]);
    let hook = json!({
        "image": OLLAMA, "env": [{ "name": "OLLAMA_MODELS", "value": "/models" }],
        "lifecycle": { "postStart": { "exec": { "command": ["/bin/sh", "-c", "sleep 5 && ollama pull llama3:8b"] } } },
    });
    assert_eq!(said(hook.clone()), ["store /models", "ollama://llama3:8b"]);
    assert_eq!(of(hook).named[1].at.0, "c.lifecycle.postStart.exec.command[2]");
}

#[test]
fn nim_kserve_and_clients() {
    const NIM: &str = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8";
    cells(&[
        (json!({ "image": NIM }), &["store /opt/nim/.cache"]),
        (with_env(json!({ "image": NIM }), json!({ "NIM_CACHE_PATH": "/cache" })), &["store /cache"]),
        (with_env(json!({ "image": NIM }), json!({ "NIM_MODEL_NAME": "hf://acme/llama" })), &["hf://acme/llama"]),
        (with_env(json!({ "image": NIM }), json!({ "NIM_MODEL_NAME": "/models/llama" })), &["/models/llama"]),
        (
            with_env(json!({ "image": NIM }), json!({ "NIM_MODEL_NAME": "/m", "NIM_PEFT_SOURCE": "/lora" })),
            &["/m", "/lora"],
        ),
        (args("kserve/huggingfaceserver:v0.15", "--model_name=x --model_id=acme/llama"), &["hf://acme/llama"]),
        (args("kserve/huggingfaceserver:v0.15", "--model_dir=/mnt/models"), &["/mnt/models"]),
        (args("kserve/storage-initializer:v0.15", "s3://bucket/llama /mnt/models"), &["s3://bucket/llama"]),
        (
            args("kserve/storage-initializer:v0.15", "hf://acme/a /mnt/a hf://acme/b /mnt/b"),
            &["hf://acme/a", "hf://acme/b"],
        ),
        (command("hf download acme/llama --local-dir /models"), &["hf://acme/llama"]),
        (command("huggingface-cli download acme/llama --revision main"), &["hf://acme/llama@main"]),
        (script("pip install huggingface_hub && hf download acme/llama"), &["hf://acme/llama"]),
        (command("hf auth login"), &[]),
    ]);
}

#[test]
fn programs_that_nobody_knows() {
    cells(&[
        (json!({ "image": "nginx:1" }), &[]),
        (args("nginx:1", "-g daemon"), &[]),
        (args("registry.example/own:1", "--model prod --config /etc/own.yaml -m x"), &[]),
        (args("registry.example/own:1", "--model acme/llama"), &["hf://acme/llama"]),
        (args("registry.example/own:1", "--model_name_or_path=/scratch/llama"), &["/scratch/llama"]),
        (args("registry.example/own:1", "--model $(MODEL)"), &["?"]),
        (args("registry.example/own:1", "--source hf://acme/llama"), &["hf://acme/llama"]),
        (args("registry.example/own:1", "--bucket s3://backups/db"), &[]),
        (args("registry.example/own:1", "--lora-modules a=acme/a"), &["hf://acme/a"]),
        (args("registry.example/own:1", "--trust-remote-code"), &["!RemoteCode"]),
        (with_env(command("own"), json!({ "MODEL_ID": "acme/llama" })), &["hf://acme/llama"]),
        (with_env(command("own"), json!({ "MODEL_ID": "7" })), &[]),
        (with_env(command("own"), json!({ "HF_TOKEN": "x" })), &["?"]),
        (with_env(command("own --model /m/x"), json!({ "HF_TOKEN": "x" })), &["/m/x"]),
        (with_env(command("own"), json!({ "HF_HOME": "/cache" })), &[]),
        (with_env_from(command("own")), &[]),
        (args("vllm/vllm-router:1", "--service-discovery k8s"), &[]),
        (args("registry.example/ollama-webui:1", "serve"), &[]),
        (script("cp -r /a /b && echo vllm"), &[]),
    ]);
}

#[test]
fn scripts() {
    cells(&[
        (script("vllm serve acme/llama"), &["hf://acme/llama"]),
        (script("exec vllm serve 'acme/llama' --port \"80\""), &["hf://acme/llama"]),
        (script("cd /x && A=b vllm serve acme/llama | tee /log"), &["hf://acme/llama"]),
        (
            script("set -e\n# a comment with --model other/name\nvllm serve \\\n  --model acme/llama"),
            &["hf://acme/llama"],
        ),
        (script("MODEL=acme/llama; vllm serve $MODEL"), &["hf://acme/llama"]),
        (script("MODEL=acme/llama\nvllm serve \"${MODEL}\""), &["hf://acme/llama"]),
        (script("vllm serve ${MODEL:-acme/llama}"), &["?"]),
        (script("if [ -d /m ]; then MODEL=/m; else MODEL=acme/x; fi; vllm serve \"$MODEL\""), &["?"]),
        (script("vllm serve /m $EXTRA"), &["/m", "?"]),
        (with_env(script("vllm serve $ARGS"), json!({ "ARGS": "/m --tokenizer acme/t" })), &["hf://acme/t", "/m"]),
        (script("vllm serve $(cat /etc/model)"), &["?"]),
        (script("eval vllm serve /m"), &["?", "/m"]),
        (script("bash -c 'vllm serve acme/llama'"), &["hf://acme/llama"]),
        (script("nohup timeout 10 vllm serve acme/llama > /log 2>&1 &"), &["hf://acme/llama"]),
        (script("vllm serve /m --tokenizer \"unclosed"), &["?", "hf://unclosed", "/m"]),
        (script("pip install vllm"), &[]),
        (script("python3 -c 'import vllm; run(\"--model\", \"acme/llama\")'"), &[]),
        (
            json!({ "command": ["sh", "-c", "exec vllm serve \"$@\"", "--", "--model", "acme/llama"] }),
            &["hf://acme/llama"],
        ),
        (json!({ "command": ["bash", "-euo", "pipefail", "-c", "vllm serve /m"] }), &["/m"]),
        (json!({ "command": ["/usr/bin/tini", "--", "sh", "-lc", "vllm serve /m"] }), &["/m"]),
        (
            json!({ "command": ["sh", "-c", "vllm serve $(MODEL)"], "env": [{ "name": "MODEL", "value": "/m" }] }),
            &["/m"],
        ),
    ]);
}

/// Each flag that names a model, in each way to write it, by image and by command: nothing is lost.
#[test]
fn every_flag_in_every_way_to_write_it() {
    let mut cells = 0;
    for engine in ENGINES {
        let counts = |flag: &&Flag| flag.means.names_models() && flag.means.takes_value();
        for flag in engine.flags.iter().filter(counts) {
            for name in flag.names {
                for (way, container) in ways(engine, name, value_of(flag.means)) {
                    let found = of(container);
                    assert!(!found.named.is_empty(), "{} {name}, {way}", engine.name);
                    let seen = found.named.iter().any(|named| match &named.target {
                        Target::Uri(uri) => uri.uri().contains("acme/llama"),
                        Target::Path(path) => path.contains("acme/llama"),
                        Target::Unresolved(_) => true,
                        Target::Store(_) => false,
                    });
                    assert!(seen, "{} {name}, {way}: {:?}", engine.name, found.named);
                    cells += 1;
                }
            }
        }
    }
    assert!(cells > 300, "{cells}");
}

fn value_of(means: Means) -> &'static str {
    match means {
        Means::Model(Form::Json(_)) | Means::Weights(Form::Json(_)) => r#"{"model":"acme/llama"}"#,
        _ => "acme/llama",
    }
}

fn ways(engine: &Engine, name: &str, value: &str) -> Vec<(&'static str, Value)> {
    let run = engine.commands[0];
    let hyphens = name.len() - name.trim_start_matches('-').len();
    let underscores = format!("{}{}", &name[..hyphens], name[hyphens..].replace('-', "_"));
    let verb = engine.verbs[0].word;
    let mut words = vec![run];
    words.extend(Some(verb).filter(|verb| !verb.is_empty()));
    let line = words.join(" ");
    let with = |more: &[&str]| {
        let all: Vec<&str> = words.iter().copied().chain(more.iter().copied()).collect();
        json!({ "image": "own", "command": all })
    };
    let env = |value: Value| json!([{ "name": "V", "value": value }]);
    let mut by_variable = with(&[name, "$(V)"]);
    by_variable["env"] = env(json!(value));
    let mut ways = vec![
        ("apart", with(&[name, value])),
        ("joined", with(&[&format!("{name}={value}")])),
        ("underscores", with(&[&underscores, value])),
        ("a variable", by_variable),
        ("an unknown variable", with(&[name, "$(V)"])),
        ("a script", script(&format!("{line} {name} '{value}'"))),
        ("a script with more", script(&format!("cd / && A=b exec {line} --x y \\\n {name}='{value}' | tee /log"))),
        ("a shell in a shell", script(&format!("bash -c \"{line} {name} {}\"", value.replace('"', "\\\"")))),
    ];
    if let Some(image) = engine.images.first().filter(|image| !image.ends_with('/')) {
        ways.push(("the image", json!({ "image": format!("r.example/{image}:1"), "args": [name, value] })));
    }
    ways
}

#[test]
fn images_are_known_by_their_names() {
    for (image, expected) in [
        ("vllm/vllm-openai:latest", Some("vLLM")),
        ("registry.local:5000/mirror/vllm-cpu@sha256:00", Some("vLLM")),
        ("rocm/vllm", Some("vLLM")),
        ("lmsysorg/sglang", Some("SGLang")),
        ("nvcr.io/nim/meta/llama3", Some("NIM")),
        ("nvcr.io/nvidia/tritonserver", Some("Triton")),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", Some("llama.cpp")),
        ("ollama/ollama", Some("Ollama")),
        ("vllm-router", None),
        ("novllms", None),
        ("open-webui:ollama", None),
        ("nginx", None),
        ("", None),
    ] {
        assert_eq!(by_image(image).map(|engine| engine.name), expected, "{image}");
    }
}

#[test]
fn what_is_too_much_is_said() {
    let many = json!({ "image": "nginx", "args": vec!["x"; MAX_ARGUMENTS + 1] });
    let long = json!({ "image": "nginx", "args": ["x".repeat(MAX_WORD_BYTES + 1)] });
    let adapters: Vec<String> = (0..MAX_NAMED + 2).map(|index| format!("a{index}=acme/a{index}")).collect();
    let mut lora = vec!["--lora-modules".to_owned()];
    lora.extend(adapters);
    let named = json!({ "image": "vllm", "args": lora });
    for (container, count) in [(many, 1), (long, 1), (named, MAX_NAMED + 1)] {
        let found = of(container).named;
        let Target::Unresolved(last) = &found.last().unwrap().target else { panic!("{found:?}") };
        assert_eq!((found.len(), last.code), (count, UnknownCode::TooLarge));
    }
}

proptest! {
    /// Whatever quotes, operators and blanks stand around it: a flag that names a model and that a reader who splits at
    /// blanks would see is declared, at least as something that cannot be told. (Comments begin with a character that is left
    /// out; commands that load nothing do not count.)
    #[test]
    fn no_flag_is_lost(before in "[ -\"$-9;-Z\\\\-~\n]{0,40}", after in "[ -~\n]{0,40}", telling in proptest::sample::select(
        vec!["--lora-modules", "--hf-repo", "--model-repository", "--speculative-config", "--docker-repo"],
    )) {
        let words = before.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        prop_assume!(!words.into_iter().any(|word| HARMLESS.contains(&word)));
        let text = format!("{before} {telling} acme/llama {after}");
        let found = of(script(&text));
        prop_assert!(!found.named.is_empty(), "{text}");
    }

    /// Any words at all: no panic, and no more than the bound.
    #[test]
    fn any_words_can_be_read(words in proptest::collection::vec("[ -~\n\u{e9}]{0,30}", 0..12), image in "[a-z/:@.-]{0,20}") {
        let container = json!({ "image": image, "command": words.clone(), "args": words });
        prop_assert!(of(container).named.len() <= MAX_NAMED + 1);
    }
}
