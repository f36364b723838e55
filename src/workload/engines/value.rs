//! What the value of a flag or variable names.

use serde_json::Value;

use super::table::Form;
use super::words::Word;
use crate::api::v1alpha1::UnknownCode;
use crate::model::shown;
use crate::workload::{ModelUri, Unresolved};

/// Something that a value names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workload) enum Target {
    /// What is fetched from elsewhere.
    Uri(ModelUri),
    /// A path in the container, as it is written.
    Path(String),
    /// A folder into which the program fetches what it does not find there.
    Store(String),
    /// What nobody can tell.
    Unresolved(Unresolved),
}

/// Where names of repositories lead.
#[derive(Clone, Debug)]
pub(super) struct Hub<'a> {
    /// Scheme of its URIs.
    pub(super) scheme: &'a str,
    /// The revision that is asked for.
    pub(super) revision: Option<String>,
}

/// What nobody can tell, with what to write instead.
pub(super) fn unresolved(what: String) -> Target {
    let remedy = "name the model itself, by a path below a mounted claim";
    Target::Unresolved(Unresolved { code: UnknownCode::NotVerifiable, what, remedy })
}

/// All that a value names.
pub(super) fn targets(form: Form, word: &Word, hub: &Hub<'_>) -> Vec<Target> {
    let text = word.text.trim();
    // What the kubelet did not expand, an entry point that is a script may.
    if !word.known || text.contains("$(") {
        return vec![unresolved(format!("which model \"{}\" stands for cannot be told from the Pod", shown(text)))];
    }
    match form {
        Form::Hub => vec![anything(text, hub)],
        Form::Guess if text.contains('/') => vec![anything(text, hub)],
        Form::Guess => Vec::new(),
        Form::Path if has_scheme(text) => vec![uri(text)],
        // Several files, as llama.cpp takes them.
        Form::Path => {
            text.split(',').filter(|path| !path.is_empty()).map(|path| Target::Path(path.to_owned())).collect()
        }
        Form::Repository if has_scheme(text) => vec![uri(text)],
        Form::Repository => vec![repository(text, hub).unwrap_or_else(|| unreadable(text))],
        Form::Scheme(scheme) if has_scheme(text) => vec![uri(text.strip_prefix(scheme).unwrap_or(text))],
        Form::Scheme(scheme) => vec![Target::Uri(ModelUri::new(format!("{scheme}://{text}"), None))],
        Form::Adapters => adapters(text, hub),
        Form::Json(keys) => json(text, keys, hub),
        Form::Preset => vec![unresolved(format!("{} fetches a model that only the program knows", shown(text)))],
    }
}

fn unreadable(text: &str) -> Target {
    unresolved(format!("\"{}\" is no name of a model that can be read", shown(text)))
}

/// A path, a URI or a repository, whichever it looks like.
fn anything(text: &str, hub: &Hub<'_>) -> Target {
    if has_scheme(text) {
        return uri(text);
    }
    if text.starts_with(['/', '.']) {
        return Target::Path(text.to_owned());
    }
    repository(text, hub).unwrap_or_else(|| unreadable(text))
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain)
}

/// A URI, with the revision that the hub's own URIs carry: `hf://owner/name:REV` and `hf://owner/name@REV`.
fn uri(text: &str) -> Target {
    if let Some(path) = text.strip_prefix("file://") {
        return Target::Path(format!("/{}", path.trim_start_matches('/')));
    }
    let on_hub = text.strip_prefix("hf://");
    match on_hub.and_then(|name| name.split_once(['@', ':'])) {
        Some((name, revision)) => Target::Uri(ModelUri::new(format!("hf://{name}"), Some(revision.to_owned()))),
        None => Target::Uri(ModelUri::new(text, None)),
    }
}

/// A repository of the hub: a name, or an owner and a name; what stands behind a colon is a variant of it.
fn repository(text: &str, hub: &Hub<'_>) -> Option<Target> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let (name, revision) = text.split_once('@').map_or((text, None), |(name, it)| (name, Some(it.to_owned())));
    let parts: Vec<&str> = name.split('/').collect();
    let proper = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && part.chars().all(plain));
    let uri = || ModelUri::new(format!("{}://{name}", hub.scheme), revision.or_else(|| hub.revision.clone()));
    proper.then(|| Target::Uri(uri()))
}

/// Adapters: alone, as `name=…`, with commas, or as JSON.
fn adapters(text: &str, hub: &Hub<'_>) -> Vec<Target> {
    if text.starts_with(['{', '[']) {
        return json(text, &["path", "local_path", "model", "lora_path"], hub);
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| anything(part.split_once('=').map_or(part, |(_, value)| value), hub)).collect()
}

/// The values of these keys in JSON, at any depth.
fn json(text: &str, keys: &[&str], hub: &Hub<'_>) -> Vec<Target> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return vec![unresolved(format!("\"{}\" is no JSON that can be read", shown(text)))];
    };
    let mut found = Vec::new();
    let mut rest = vec![&value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => {
                let revision = fields.get("revision").and_then(Value::as_str).map(str::to_owned);
                let hub = Hub { scheme: hub.scheme, revision };
                for (key, value) in fields {
                    match value.as_str().filter(|_| keys.contains(&key.as_str())) {
                        Some(text) => found.push(anything(text, &hub)),
                        None => rest.push(value),
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::FieldPath;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn named(form: Form, text: &str) -> Vec<String> {
        let hub = Hub { scheme: "hf", revision: Some(COMMIT.to_owned()) };
        let word = Word::literal(text, &FieldPath(String::new()));
        let said = |target: Target| match target {
            Target::Uri(uri) => uri.to_string().replace(COMMIT, "commit"),
            Target::Path(path) => path,
            Target::Store(path) => format!("store {path}"),
            Target::Unresolved(_) => "?".to_owned(),
        };
        targets(form, &word, &hub).into_iter().map(said).collect()
    }

    #[test]
    fn values_name_what_engines_take_them_for() {
        use Form::{Adapters, Guess, Hub, Json, Path, Preset, Repository, Scheme};
        let keys = Json(&["model"]);
        for (form, text, expected) in [
            (Hub, "acme/llama", &["hf://acme/llama@commit"][..]),
            (Hub, "gpt2", &["hf://gpt2@commit"]),
            (Hub, "acme/llama@main", &["hf://acme/llama@main"]),
            (Hub, "/models/llama", &["/models/llama"]),
            (Hub, "./llama", &["./llama"]),
            (Hub, "s3://bucket/llama", &["s3://bucket/llama"]),
            (Hub, "hf://acme/llama:main", &["hf://acme/llama@main"]),
            (Hub, "file:///models/llama", &["/models/llama"]),
            (Hub, "a/b/c", &["?"]),
            (Hub, "~/llama", &["?"]),
            (Hub, "two words", &["?"]),
            (Hub, "", &["?"]),
            (Path, "llama.gguf", &["llama.gguf"]),
            (Path, "/a.gguf,/b.gguf", &["/a.gguf", "/b.gguf"]),
            (Path, "s3://bucket/repository", &["s3://bucket/repository"]),
            (Path, "https://h/m.gguf", &["https://h/m.gguf"]),
            (Repository, "acme/llama:Q4_K_M", &["hf://acme/llama:Q4_K_M@commit"]),
            (Repository, "/etc/llama", &["?"]),
            (Scheme("ollama"), "llama3:8b", &["ollama://llama3:8b"]),
            (Scheme("docker"), "ai/smollm2", &["docker://ai/smollm2"]),
            (Adapters, "a=acme/a", &["hf://acme/a@commit"]),
            (Adapters, "acme/a,b=/lora/b", &["hf://acme/a@commit", "/lora/b"]),
            (Adapters, r#"{"name":"a","path":"/lora/a"}"#, &["/lora/a"]),
            (keys, r#"{"model":"acme/draft","num_speculative_tokens":5}"#, &["hf://acme/draft"]),
            (keys, r#"{"model":"acme/draft","revision":"main"}"#, &["hf://acme/draft@main"]),
            (keys, r#"{"method":"ngram"}"#, &[]),
            (keys, r#"{"outer":{"model":"/m"}}"#, &["/m"]),
            (keys, "{", &["?"]),
            (Guess, "prod", &[]),
            (Guess, "acme/llama", &["hf://acme/llama@commit"]),
            (Guess, "/models/llama", &["/models/llama"]),
            (Preset, "--gpt-oss-20b-default", &["?"]),
        ] {
            assert_eq!(named(form, text), expected, "{form:?} {text}");
        }
    }

    #[test]
    fn what_is_not_known_names_nothing() {
        let hub = Hub { scheme: "hf", revision: None };
        let word = Word { known: false, ..Word::literal("/models/$(X)", &FieldPath(String::new())) };
        assert!(matches!(&targets(Form::Hub, &word, &hub)[..], [Target::Unresolved(_)]));
    }
}
