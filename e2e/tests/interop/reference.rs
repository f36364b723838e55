//! The Python reference: one process for all tests, see `e2e/interop/driver.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::table::{Case, Method, Signer};
use crate::trees::{Built, Links};

/// A running driver. It ends when it is dropped, with its input.
pub(crate) struct Reference {
    _process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    pub(crate) fn start() -> Self {
        let signer = std::env::var("WEIGHBRIDGE_E2E_SIGNER").expect("WEIGHBRIDGE_E2E_SIGNER: e2e/test sets it");
        let python = Path::new(&signer).with_file_name("venv/bin/python");
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/driver.py");
        let mut process = (Command::new(python).arg(driver))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the reference's Python");
        let requests = process.stdin.take().expect("its input");
        let answers = BufReader::new(process.stdout.take().expect("its output"));
        Reference { _process: process, requests, answers }
    }

    /// Asks, and waits for the answer. An error is the reference's way to refuse.
    pub(crate) fn ask(&mut self, request: Value) -> Result<Value, String> {
        writeln!(self.requests, "{request}").expect("the driver runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        if answer["ok"] == true { Ok(answer) } else { Err(answer["error"].as_str().unwrap_or_default().to_owned()) }
    }

    pub(crate) fn sign(&mut self, keys: &Path, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
        let ignored = bundle.strip_prefix(&tree.model).ok().filter(|_| !tree.single).map(Path::to_owned);
        self.ask(request("sign", keys, case, tree, bundle, ignored)).map(drop)
    }

    pub(crate) fn verify(&mut self, keys: &Path, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
        self.ask(request("verify", keys, case, tree, bundle, None)).map(drop)
    }
}

fn request(what: &str, keys: &Path, case: &Case, tree: &Built, bundle: &Path, ignored: Option<PathBuf>) -> Value {
    let (method, size) = match case.method {
        Method::Files => ("files", 0),
        Method::Shards(size) => ("shards", size),
    };
    let ignore: Vec<PathBuf> = tree.ignore.iter().map(PathBuf::from).chain(ignored).collect();
    let signer = match case.signer {
        Signer::Key(curve) => json!({
            "kind": "key",
            "private": keys.join(format!("{curve}.pem")),
            "public": keys.join(format!("{curve}.pub")),
        }),
        Signer::Certificate { leaf, .. } => json!({
            "kind": "certificate",
            "private": keys.join(format!("{leaf}.pem")),
            "leaf": keys.join(format!("{leaf}.crt")),
            "chain": [keys.join("intermediate.crt")],
            "roots": [keys.join("root.crt")],
        }),
    };
    json!({
        "do": what,
        "model": tree.model,
        "signature": bundle,
        "signer": signer,
        "hashing": {
            "method": method,
            "shard_size": size,
            "hash": case.hash,
            "ignore": ignore,
            "ignore_git": tree.ignore_git,
            "symlinks": tree.links == Links::Allowed,
        },
    })
}
