//! The layers: a module uses only what lies below it, and the pure ones touch no clock, network or runtime.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and what it may use; the README's table of folders, as data. Order: lower layers first.
const MAY_USE: &[(&str, &[&str])] = &[
    // L0
    ("model", &[]),
    ("clock", &[]),
    ("app", &[]), // imports nothing, so that every layer with tasks can be handed its Supervisor
    // L1
    ("api", &["model"]),
    // L2
    ("signature", &["model"]),
    ("workload", &["model", "api"]),
    ("policy", &["model", "api", "workload", "signature"]),
    ("decision", &["model", "api", "workload", "policy", "signature"]),
    // L3
    ("telemetry", &[]),
    ("lease", &["telemetry"]),
    ("registry", &["model", "api"]),
    ("facts", &["model", "api", "signature", "registry"]),
    ("index", &["model", "api", "workload", "policy", "decision", "signature"]),
    // L4
    ("server", &["telemetry", "app"]),
    ("admission", &["api", "workload", "policy", "decision", "index", "telemetry", "clock", "app"]),
    (
        "operator",
        &["model", "api", "workload", "policy", "decision", "index", "lease", "facts", "telemetry", "clock", "app"],
    ),
    ("generate", &["api", "workload", "telemetry", "lease", "server", "operator", "admission"]),
];

/// Modules at the top, which may use everything.
const TOP: &[&str] = &["cli", "main", "lib"];

/// What the pure layers must not touch.
const IMPURE: &[&str] = &["tokio", "kube::Client", "kube::Api", "async fn", "Timestamp::now", "SystemTime", "std::env"];
const PURE: &[&str] = &["model", "signature", "workload", "policy", "decision"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Each source file with the module of the crate that it belongs to and its text.
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    sources(&root).into_iter().map(|path| (module(&path), path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The modules that a text names by `crate::`, outside of comments; macros have no module.
fn used(text: &str) -> Vec<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let rests = code.flat_map(|line| line.split("crate::").skip(1));
    let name = |rest: &str| rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    rests.filter(|rest| !rest[name(rest)..].starts_with('!')).map(|rest| &rest[..name(rest)]).collect()
}

#[test]
fn arrows_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for (module, path, text) in files() {
        if TOP.contains(&module.as_str()) {
            continue;
        }
        let may =
            allowed.get(module.as_str()).unwrap_or_else(|| panic!("src/{module} has no layer: add it to MAY_USE"));
        for other in used(&text) {
            let fine = other == module || may.contains(&other) || other.is_empty();
            assert!(fine, "{}: `{module}` may not use `{other}`", path.display());
        }
    }
}

#[test]
fn the_table_itself_points_down() {
    for (position, (module, uses)) in MAY_USE.iter().enumerate() {
        let below: Vec<&str> = MAY_USE[..position].iter().map(|(name, _)| *name).collect();
        for used in *uses {
            assert!(below.contains(used) || *used == "signature" || *used == "admission", "{module} is above {used}");
        }
    }
}

#[test]
fn the_pure_layers_are_pure() {
    for (module, path, text) in files() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE.iter().filter(|_| PURE.contains(&module.as_str())) {
            let found = code.lines().find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert!(found.is_none(), "{}: `{word}` in a pure layer: {found:?}", path.display());
        }
    }
}
