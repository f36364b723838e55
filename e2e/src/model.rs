//! Models and keys: small real folders, signed by the real Python reference.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pki::Leaf;

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
    /// A folder without files yet.
    pub fn empty(root: impl Into<PathBuf>) -> Self {
        Model { root: root.into() }
    }

    /// Files of a small model in `root`.
    pub fn small(root: impl Into<PathBuf>) -> Self {
        let model = Model::empty(root);
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

    /// Files of a model that others have signed, from a folder of the project.
    pub fn copy(&self, from: &str, names: &[&str]) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from);
        for name in names {
            self.write(name, &fs::read(from.join(name)).expect("a file of the project"));
        }
    }

    /// Signs it with the reference, into `model.sig` inside.
    pub fn sign(&self, key: &Key) -> &Self {
        self.sign_into("model.sig", key)
    }

    /// The same into another file.
    pub fn sign_into(&self, bundle: &str, key: &Key) -> &Self {
        let mut command = signer("key");
        self.signed(bundle, command.arg("--private_key").arg(key.private()))
    }

    /// The same, with symbolic links followed.
    pub fn sign_links(&self, key: &Key) -> &Self {
        let mut command = signer("key");
        self.signed("model.sig", command.arg("--allow_symlinks").arg("--private_key").arg(key.private()))
    }

    /// Signs all of it but these.
    pub fn sign_without(&self, ignored: &[&str], key: &Key) -> &Self {
        let mut command = signer("key");
        for path in ignored {
            command.arg("--ignore-paths").arg(self.root.join(path));
        }
        self.signed("model.sig", command.arg("--private_key").arg(key.private()))
    }

    /// Makes one of its files a symbolic link.
    pub fn link(&self, name: &str, target: &str) {
        let path = self.root.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).expect("to remove what was there");
        }
        symlink(target, path).expect("a link");
    }

    /// Signs it with the reference and a certificate.
    pub fn certify_into(&self, bundle: &str, leaf: &Leaf) -> &Self {
        let mut command = signer("certificate");
        command.arg("--private_key").arg(&leaf.key).arg("--signing_certificate").arg(&leaf.certificate);
        self.signed(bundle, command.arg("--certificate_chain").arg(&leaf.chain))
    }

    /// Takes its bundle, `model.sig`, out of it.
    pub fn take_bundle(&self) -> Vec<u8> {
        let path = self.root.join("model.sig");
        let bundle = fs::read(&path).expect("the bundle");
        fs::remove_file(&path).expect("to take it out");
        bundle
    }

    /// Every signer leaves out the bundles of all.
    fn signed(&self, bundle: &str, command: &mut Command) -> &Self {
        let entries = fs::read_dir(&self.root).expect("the model's folder");
        let bundles = entries.map(|entry| entry.expect("an entry").path());
        for other in bundles.filter(|path| path.extension().is_some_and(|extension| extension == "sig")) {
            command.arg("--ignore-paths").arg(other);
        }
        let signature = self.root.join(bundle);
        run(command.arg("--signature").arg(&signature).arg("--ignore-paths").arg(&signature).arg(&self.root));
        self
    }
}

/// The reference, about to sign by that method.
fn signer(method: &str) -> Command {
    let mut command = Command::new(std::env::var("WEIGHBRIDGE_E2E_SIGNER").expect("e2e/test sets it"));
    command.args(["sign", method, "--no-ignore-git-paths"]);
    command
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
