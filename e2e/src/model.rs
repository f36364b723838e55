//! Models and keys: small real folders, signed by the real Python reference.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key pair, made by openssl.
#[derive(Debug)]
pub struct Key {
    folder: tempfile::TempDir,
}

impl Key {
    /// A new pair on P-256.
    pub fn generate() -> Self {
        let key = Key { folder: tempfile::tempdir().expect("a temporary folder") };
        run(Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(key.private()));
        run(Command::new("openssl").args(["ec", "-pubout", "-in"]).arg(key.private()).arg("-out").arg(key.public()));
        key
    }

    fn private(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("key.pub")
    }

    /// The public key as PEM text.
    pub fn pem(&self) -> String {
        fs::read_to_string(self.public()).expect("the public key")
    }
}

/// The user of the tests' Pods.
pub(crate) const POD_USER: u32 = 1000;

/// A model: a folder of files, anywhere on this machine.
#[derive(Clone, Debug)]
pub struct Model {
    root: PathBuf,
}

impl Model {
    /// Files of a small model in `root`.
    pub fn small(root: impl Into<PathBuf>) -> Self {
        let model = Model { root: root.into() };
        model.write("config.json", br#"{"architectures":["Tiny"]}"#);
        model.write("weights/model-00001.safetensors", &[7; 70_000]);
        model.write("weights/model-00002.safetensors", &[9; 10]);
        model
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes one of its files, readable by all and owned by the user of the tests' Pods.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        chown(&path, Some(POD_USER), Some(POD_USER)).expect("its owner");
    }

    /// Signs it with the reference, into `model.sig` inside.
    pub fn sign(&self, key: &Key) -> &Self {
        let signer = std::env::var("WEIGHBRIDGE_E2E_SIGNER").expect("WEIGHBRIDGE_E2E_SIGNER: e2e/test sets it");
        let signature = self.root.join("model.sig");
        let mut command = Command::new(signer);
        command.args(["sign", "key", "--no-ignore-git-paths", "--private_key"]).arg(key.private());
        run(command.arg("--signature").arg(&signature).arg("--ignore-paths").arg(&signature).arg(&self.root));
        self
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
