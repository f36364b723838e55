//! The table of engines: data alone.
//!
//! Sources are the programs' own argument parsers. A row needs what names models, code and configuration, and of the rest
//! only what could be mistaken for a model because its value has a slash in it.

use super::table::Default as Otherwise;
use super::table::Form::{Adapters, Guess, Hub, Json, Path, Preset, Repository, Scheme};
use super::table::Means::{self, Config, Danger, Hides, Model, Plain, Revision, RevisionOf, Weights};
use super::table::When::{OneOf, Set, True};
use super::table::{Engine, Flag, Operands, Variable, Verb};
use crate::api::v1alpha1::Forbidden::{DeveloperMode, HubRedirect, RemoteCode, RuntimeAdapters};

/// A flag that engines share by name.
const fn flag(names: &'static [&'static str], means: Means) -> Flag {
    Flag { names, means, tells: false }
}

/// A flag that no other kind of program has.
const fn telling(names: &'static [&'static str], means: Means) -> Flag {
    Flag { names, means, tells: true }
}

const fn variable(name: &'static str, means: Means) -> Variable {
    Variable { name, means, tells: false }
}

const fn telling_variable(name: &'static str, means: Means) -> Variable {
    Variable { name, means, tells: true }
}

const fn verb(word: &'static str, operands: Operands) -> Verb {
    Verb { word, operands }
}

/// All engines, in the order in which an image or a command is looked for.
pub(super) const ENGINES: &[Engine] =
    &[VLLM, TGI, TEI, SGLANG, TRITON, LLAMA_CPP, OLLAMA, NIM, KSERVE_HUGGING_FACE, KSERVE_INITIALIZER, HUGGING_FACE];

const VLLM: Engine = Engine {
    name: "vLLM",
    images: &["vllm"],
    commands: &[
        "vllm",
        "vllm.entrypoints.openai.api_server",
        "vllm.entrypoints.api_server",
        "vllm.entrypoints.cli.main",
    ],
    flags: &[
        flag(&["--model"], Model(Hub)),
        flag(&["--tokenizer"], Weights(Hub)),
        telling(&["--hf-config-path"], Weights(Hub)),
        telling(&["--lora-modules"], Weights(Adapters)),
        telling(&["--prompt-adapters"], Weights(Adapters)),
        telling(&["--qlora-adapter-name-or-path"], Weights(Hub)),
        telling(&["--speculative-config", "-sc"], Weights(Json(&["model", "tokenizer"]))),
        telling(&["--speculative-config.model", "-sc.model", "--speculative-model"], Weights(Hub)),
        telling(&["--speculative-config.tokenizer", "-sc.tokenizer"], Weights(Hub)),
        telling(&["--speculative-config.revision", "-sc.revision"], RevisionOf("--speculative-config.model")),
        telling(&["--tool-parser-plugin", "--reasoning-parser-plugin"], Weights(Path)),
        flag(&["--config"], Hides),
        flag(&["--chat-template", "--generation-config"], Config),
        flag(&["--revision"], Revision),
        flag(&["--code-revision"], Plain),
        flag(&["--tokenizer-revision"], RevisionOf("--tokenizer")),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
        flag(&["--served-model-name", "--download-dir", "--root-path", "--uds", "--allowed-local-media-path"], Plain),
        flag(
            &["--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--log-config-file", "--otlp-traces-endpoint"],
            Plain,
        ),
        flag(&["--host", "--port", "--dtype", "--max-model-len", "--tensor-parallel-size", "-tp", "--api-key"], Plain),
    ],
    variables: &[
        variable("VLLM_USE_MODELSCOPE", Means::Hub("modelscope")),
        telling_variable("VLLM_ALLOW_RUNTIME_LORA_UPDATING", Danger(RuntimeAdapters, True)),
        telling_variable("VLLM_LORA_RESOLVER_CACHE_DIR", Danger(RuntimeAdapters, Set)),
        telling_variable("VLLM_SERVER_DEV_MODE", Danger(DeveloperMode, True)),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[
        verb("serve", Operands::First(Hub)),
        verb("run-batch", Operands::None),
        verb("launch", Operands::None),
        verb("chat", Operands::Inert),
        verb("complete", Operands::Inert),
        verb("bench", Operands::Inert),
        verb("collect-env", Operands::Inert),
    ],
    default: Otherwise::Repository("Qwen/Qwen3-0.6B"),
    abbreviates: true,
};

const TGI: Engine = Engine {
    name: "Text Generation Inference",
    images: &["text-generation-inference", "tgi"],
    commands: &["text-generation-launcher", "text-generation-server"],
    flags: &[
        flag(&["--model-id"], Model(Hub)),
        flag(&["--tokenizer-name", "--tokenizer-config-path"], Weights(Hub)),
        telling(&["--lora-adapters"], Weights(Adapters)),
        flag(&["--revision"], Revision),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
        flag(&["--huggingface-hub-cache", "--weights-cache-override", "--hostname", "--shard-uds-path"], Plain),
        flag(&["--otlp-endpoint", "--watermark-gamma", "--port"], Plain),
    ],
    variables: &[
        variable("MODEL_ID", Model(Hub)),
        variable("TOKENIZER_CONFIG_PATH", Weights(Hub)),
        variable("LORA_ADAPTERS", Weights(Adapters)),
        variable("REVISION", Revision),
        variable("TRUST_REMOTE_CODE", Danger(RemoteCode, True)),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[
        verb("", Operands::None),
        verb("serve", Operands::First(Hub)),
        verb("download-weights", Operands::First(Hub)),
    ],
    default: Otherwise::Repository("bigscience/bloom-560m"),
    abbreviates: false,
};

const TEI: Engine = Engine {
    name: "Text Embeddings Inference",
    images: &["text-embeddings-inference", "tei"],
    commands: &["text-embeddings-router", "python-text-embeddings-server"],
    flags: &[
        flag(&["--model-id"], Model(Hub)),
        telling(&["--dense-path"], Plain),
        flag(&["--revision"], Revision),
        flag(&["--huggingface-hub-cache", "--hostname", "--uds-path", "--otlp-endpoint", "--port"], Plain),
    ],
    variables: &[
        variable("MODEL_ID", Model(Hub)),
        variable("REVISION", Revision),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Repository("BAAI/bge-large-en-v1.5"),
    abbreviates: false,
};

const SGLANG: Engine = Engine {
    name: "SGLang",
    images: &["sglang"],
    commands: &["sglang", "sglang.launch_server", "launch_server.py"],
    flags: &[
        flag(&["--model-path", "--model"], Model(Hub)),
        flag(&["--tokenizer-path"], Weights(Hub)),
        telling(&["--lora-paths"], Weights(Adapters)),
        telling(&["--speculative-draft-model-path", "--speculative-draft-model"], Weights(Hub)),
        telling(&["--speculative-draft-model-revision"], RevisionOf("--speculative-draft-model-path")),
        telling(&["--speculative-token-map"], Weights(Hub)),
        flag(&["--config"], Hides),
        flag(&["--chat-template", "--completion-template", "--hf-chat-template-name"], Config),
        flag(&["--revision"], Revision),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
        flag(&["--enable-lora"], Danger(RuntimeAdapters, True)),
        flag(&["--served-model-name", "--download-dir", "--file-storage-path", "--storage-path"], Plain),
        flag(&["--host", "--port", "--dist-init-addr", "--nccl-init-addr", "--tp", "--tp-size"], Plain),
    ],
    variables: &[
        variable("SGLANG_USE_MODELSCOPE", Means::Hub("modelscope")),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[verb("", Operands::None), verb("serve", Operands::None)],
    default: Otherwise::Unresolved,
    abbreviates: true,
};

const TRITON: Engine = Engine {
    name: "Triton",
    images: &["tritonserver"],
    commands: &["tritonserver"],
    flags: &[
        telling(&["--model-repository", "--model-store"], Model(Path)),
        telling(&["--model-control-mode"], Danger(RuntimeAdapters, OneOf(&["explicit", "poll"]))),
        flag(&["--backend-directory", "--repoagent-directory", "--cache-directory"], Plain),
        flag(&["--backend-config", "--log-file", "--trace-config", "--load-model", "--id"], Plain),
    ],
    variables: &[],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Unresolved,
    abbreviates: false,
};

const LLAMA_CPP: Engine = Engine {
    name: "llama.cpp",
    images: &["llama.cpp", "llama-cpp", "llama-server"],
    commands: &["llama-server", "llama-cli", "llama-run", "llama.cpp", "llama_cpp.server", "llama-server.exe"],
    flags: &[
        flag(&["-m", "--model"], Model(Path)),
        flag(&["-mu", "--model-url"], Model(Path)),
        telling(&["-hf", "-hfr", "--hf-repo"], Model(Repository)),
        telling(&["-hff", "--hf-file"], Plain),
        telling(&["-dr", "--docker-repo"], Model(Scheme("docker"))),
        flag(&["--models-dir"], Model(Path)),
        flag(&["--models-preset"], Hides),
        flag(&["*-default"], Model(Preset)),
        telling(&["-md", "--model-draft", "--spec-draft-model"], Weights(Path)),
        telling(&["-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"], Weights(Repository)),
        telling(&["-hfv", "-hfrv", "--hf-repo-v"], Weights(Repository)),
        telling(&["-mv", "--model-vocoder"], Weights(Path)),
        telling(&["-mm", "--mmproj"], Weights(Path)),
        telling(&["-mmu", "--mmproj-url"], Weights(Path)),
        flag(&["--lora", "--lora-scaled"], Weights(Path)),
        telling(&["--control-vector", "--control-vector-scaled"], Weights(Path)),
        flag(&["--chat-template-file", "--grammar-file"], Config),
        flag(&["--hf-token", "-hft", "--alias", "-a", "--api-key", "--api-key-file", "--ssl-key-file"], Plain),
        flag(
            &["--ssl-cert-file", "--slot-save-path", "--path", "--api-prefix", "--log-file", "--host", "--port"],
            Plain,
        ),
        flag(
            &["-c", "--ctx-size", "-ngl", "--n-gpu-layers", "-t", "--threads", "-p", "--prompt", "-f", "--file"],
            Plain,
        ),
    ],
    variables: &[
        telling_variable("LLAMA_ARG_MODEL", Model(Path)),
        telling_variable("LLAMA_ARG_MODEL_URL", Model(Path)),
        telling_variable("LLAMA_ARG_HF_REPO", Model(Repository)),
        telling_variable("LLAMA_ARG_DOCKER_REPO", Model(Scheme("docker"))),
        telling_variable("LLAMA_ARG_MODELS_DIR", Model(Path)),
        telling_variable("LLAMA_ARG_MODELS_PRESET", Hides),
        telling_variable("LLAMA_ARG_MMPROJ", Weights(Path)),
        telling_variable("LLAMA_ARG_MMPROJ_URL", Weights(Path)),
        telling_variable("LLAMA_ARG_MODEL_DRAFT", Weights(Path)),
        telling_variable("LLAMA_ARG_HFD_REPO", Weights(Repository)),
        telling_variable("LLAMA_ARG_HF_REPO_V", Weights(Repository)),
        variable("LLAMA_ARG_CHAT_TEMPLATE_FILE", Config),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
        variable("MODEL_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Unresolved,
    abbreviates: false,
};

const OLLAMA: Engine = Engine {
    name: "Ollama",
    images: &["ollama"],
    commands: &["ollama"],
    flags: &[],
    variables: &[telling_variable("OLLAMA_MODELS", Plain)],
    verbs: &[
        verb("serve", Operands::None),
        verb("start", Operands::None),
        verb("pull", Operands::All(Scheme("ollama"))),
        verb("run", Operands::First(Scheme("ollama"))),
        verb("create", Operands::First(Scheme("ollama"))),
        verb("list", Operands::Inert),
        verb("ls", Operands::Inert),
        verb("ps", Operands::Inert),
        verb("show", Operands::Inert),
        verb("stop", Operands::Inert),
        verb("rm", Operands::Inert),
    ],
    default: Otherwise::Store("OLLAMA_MODELS", "/root/.ollama/models"),
    abbreviates: false,
};

const NIM: Engine = Engine {
    name: "NIM",
    images: &["nim/"],
    commands: &["start_server.sh", "nim_llm.entrypoints.openai.api_server", "download-to-cache", "create-model-store"],
    flags: &[
        flag(&["--model", "--model-path"], Model(Hub)),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
    ],
    variables: &[
        telling_variable("NIM_MODEL_NAME", Model(Hub)),
        telling_variable("NIM_MODEL_PATH", Model(Hub)),
        telling_variable("NIM_TOKENIZER", Weights(Hub)),
        telling_variable("NIM_PEFT_SOURCE", Weights(Hub)),
        telling_variable("NIM_PEFT_REFRESH_INTERVAL", Danger(RuntimeAdapters, Set)),
        telling_variable("NIM_FORCE_TRUST_REMOTE_CODE", Danger(RemoteCode, True)),
        telling_variable("NIM_CHAT_TEMPLATE", Config),
        telling_variable("NIM_CACHE_PATH", Plain),
        telling_variable("NIM_MODEL_PROFILE", Plain),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
        variable("NIM_REPOSITORY_OVERRIDE", Danger(HubRedirect, Set)),
    ],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Store("NIM_CACHE_PATH", "/opt/nim/.cache"),
    abbreviates: true,
};

const KSERVE_HUGGING_FACE: Engine = Engine {
    name: "KServe's Hugging Face server",
    images: &["huggingfaceserver"],
    commands: &["huggingfaceserver"],
    flags: &[
        flag(&["--model-id"], Model(Hub)),
        flag(&["--model-dir"], Model(Path)),
        flag(&["--model"], Model(Hub)),
        flag(&["--tokenizer"], Weights(Hub)),
        telling(&["--lora-modules"], Weights(Adapters)),
        flag(&["--config"], Hides),
        flag(&["--chat-template"], Config),
        flag(&["--model-revision", "--revision"], Revision),
        flag(&["--tokenizer-revision"], RevisionOf("--tokenizer")),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
        flag(&["--model-name", "--served-model-name", "--predictor-host", "--task", "--backend"], Plain),
    ],
    variables: &[variable("MODEL_ID", Model(Hub)), variable("HF_ENDPOINT", Danger(HubRedirect, Set))],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Unresolved,
    abbreviates: true,
};

const KSERVE_INITIALIZER: Engine = Engine {
    name: "KServe's storage initializer",
    images: &["storage-initializer"],
    commands: &["initializer-entrypoint"],
    flags: &[],
    variables: &[variable("HF_ENDPOINT", Danger(HubRedirect, Set))],
    verbs: &[verb("", Operands::Pairs(Hub))],
    default: Otherwise::Unresolved,
    abbreviates: false,
};

const HUGGING_FACE: Engine = Engine {
    name: "a Hugging Face client",
    images: &[],
    commands: &["hf", "huggingface-cli"],
    flags: &[
        flag(&["--revision"], Revision),
        flag(&["--local-dir", "--cache-dir", "--include", "--exclude", "--repo-type", "--token"], Plain),
    ],
    variables: &[variable("HF_ENDPOINT", Danger(HubRedirect, Set))],
    verbs: &[
        verb("download", Operands::First(Repository)),
        verb("upload", Operands::Inert),
        verb("login", Operands::Inert),
        verb("auth", Operands::Inert),
        verb("whoami", Operands::Inert),
        verb("env", Operands::Inert),
        verb("version", Operands::Inert),
        verb("cache", Operands::Inert),
    ],
    default: Otherwise::Nothing,
    abbreviates: true,
};

/// What is looked for in a program that nobody knows, besides what is telling in the other rows.
pub(super) const ANY_PROGRAM: Engine = Engine {
    name: "a program",
    images: &[],
    commands: &[],
    flags: &[
        flag(&["--model", "--model-id", "--model-path", "--model-dir", "--tokenizer"], Model(Guess)),
        flag(&["--model-name-or-path", "--pretrained-model-name-or-path", "--repo-id", "--base-model"], Model(Guess)),
        flag(&["--revision"], Revision),
        telling(&["--trust-remote-code"], Danger(RemoteCode, True)),
    ],
    variables: &[
        variable("MODEL_ID", Model(Guess)),
        variable("MODEL_PATH", Model(Guess)),
        variable("MODEL_DIR", Model(Guess)),
        variable("MODEL_NAME_OR_PATH", Model(Guess)),
        variable("HF_MODEL_ID", Model(Guess)),
        variable("HF_MODEL_DIR", Model(Guess)),
        variable("STORAGE_URI", Model(Guess)),
        variable("TRUST_REMOTE_CODE", Danger(RemoteCode, True)),
        variable("HF_TRUST_REMOTE_CODE", Danger(RemoteCode, True)),
        variable("HF_ENDPOINT", Danger(HubRedirect, Set)),
    ],
    verbs: &[verb("", Operands::None)],
    default: Otherwise::Nothing,
    abbreviates: false,
};

/// Variables that give a container access to a hub: it fetches something, whatever that is.
pub(super) const HUB_TOKENS: &[&str] =
    &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACEHUB_API_TOKEN"];

/// Schemes that are of models alone, whatever argument they stand in.
pub(super) const MODEL_SCHEMES: &[&str] =
    &["hf", "ollama", "ngc", "modelscope", "model-registry", "oci+native", "pvc+hf"];

/// Programs that load no model, so that an engine's image may run them: those of a shell, of the usual small tools, and
/// those that install packages.
pub(super) const HARMLESS: &[&str] = &[
    "[",
    "[[",
    ":",
    "apk",
    "apt",
    "apt-get",
    "basename",
    "break",
    "case",
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "chown",
    "continue",
    "cp",
    "curl",
    "cut",
    "date",
    "declare",
    "df",
    "dirname",
    "du",
    "echo",
    "exit",
    "export",
    "false",
    "for",
    "free",
    "grep",
    "head",
    "hostname",
    "id",
    "jq",
    "kill",
    "ln",
    "local",
    "ls",
    "md5sum",
    "mkdir",
    "mv",
    "nc",
    "nproc",
    "nslookup",
    "nvidia-smi",
    "pip",
    "pip3",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "read",
    "readlink",
    "return",
    "rm",
    "rmdir",
    "sed",
    "set",
    "sha256sum",
    "shift",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "trap",
    "true",
    "ulimit",
    "umask",
    "uname",
    "uniq",
    "unset",
    "wait",
    "wc",
    "wget",
    "which",
    "whoami",
    "yum",
];
