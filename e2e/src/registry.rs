//! Registries inside the cluster's network: the one that every test shares, and those that a test starts for itself.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use weighbridge::model::Hasher;

use crate::cluster::Cluster;
use crate::wait::{Deadline, eventually};

/// How bundles call themselves in manifests.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A registry.
pub struct Registry {
    /// Its address.
    pub host: String,
    log: PathBuf,
    own: Option<(Child, tempfile::TempDir)>,
}

impl Registry {
    /// The one of the cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Registry { host: cluster.registry().to_owned(), log: cluster.log("registry"), own: None }
    }

    /// One of the test's own at an address of the node, empty. It ends with the test.
    pub fn start(host: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let output = fs::File::create(&log).expect("a log");
        let mut command = Command::new("registry");
        command.args(["--address", host, "--blobs"]).arg(folder.path().join("blobs"));
        let child = command.stdout(Stdio::null()).stderr(output).spawn().expect("the cluster's program");
        let registry = Registry { host: host.to_owned(), log, own: Some((child, folder)) };
        eventually("the registry listens", Deadline::seconds(10), || {
            TcpStream::connect(host).map(drop).map_err(|error| error.to_string())
        });
        registry
    }

    /// Pushes a bundle as the only layer of an artifact, and gives the name of that as annotations have it.
    pub fn push(&self, repository: &str, bundle: &[u8]) -> String {
        let (layer, config) = (self.blob(repository, bundle), self.blob(repository, b"{}"));
        let manifest = manifest(&layer, bundle.len(), &config);
        let digest = Hasher::sha256(manifest.as_bytes()).to_string();
        let content_type = "content-type: application/vnd.oci.image.manifest.v1+json";
        let at = format!("/v2/{repository}/manifests/{digest}");
        self.send(&["--request", "PUT", "--header", content_type], &at, manifest.as_bytes());
        format!("oci://{}/{repository}@{digest}", self.host)
    }

    /// The name that [`Registry::push`] would give, of a bundle that is nowhere yet.
    pub fn name(host: &str, repository: &str, bundle: &[u8]) -> String {
        let digest = |bytes: &[u8]| Hasher::sha256(bytes).to_string();
        let manifest = manifest(&digest(bundle), bundle.len(), &digest(b"{}"));
        format!("oci://{host}/{repository}@{}", digest(manifest.as_bytes()))
    }

    /// What was asked of it about a repository, a line each.
    pub fn asked(&self, repository: &str) -> Vec<String> {
        let log = fs::read_to_string(&self.log).expect("the registry's log");
        let about = format!("/v2/{repository}/");
        log.lines().filter(|line| line.contains(&about)).map(str::to_owned).collect()
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = Hasher::sha256(bytes).to_string();
        self.send(&["--request", "POST"], &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), bytes);
        digest
    }

    fn send(&self, arguments: &[&str], path: &str, bytes: &[u8]) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("body");
        fs::write(&file, bytes).expect("a file");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "15"]).args(arguments);
        command.arg("--data-binary").arg(at(&file)).arg(format!("http://{}{path}", self.host));
        crate::model::run(&mut command);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn at(file: &Path) -> String {
    format!("@{}", file.display())
}

fn manifest(layer: &str, size: usize, config: &str) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": BUNDLE_TYPE,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": BUNDLE_TYPE, "digest": layer, "size": size }],
    })
    .to_string()
}
