//! A public key infrastructure of a test, made by openssl: a root, a CA below it, and leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::model::run;

/// How long certificates are valid, in days: longer than any test.
const DAYS: &str = "30";
/// How long those are that have ended before anybody looks.
const NO_DAYS: &str = "0";

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
const LEAF: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n";

/// A root and a CA below it.
#[derive(Debug)]
pub struct Pki {
    folder: tempfile::TempDir,
}

/// A leaf with its key and the CA above it.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The private key.
    pub(crate) key: PathBuf,
    /// Its certificate.
    pub(crate) certificate: PathBuf,
    /// The certificates above it, without the root.
    pub(crate) chain: PathBuf,
}

impl Pki {
    /// A new one.
    pub fn generate() -> Self {
        let pki = Pki { folder: tempfile::tempdir().expect("a temporary folder") };
        pki.certify("root", "/O=Acme/CN=Root", CA, DAYS, None);
        pki.certify("issuing", "/O=Acme/CN=Issuing CA", CA, DAYS, Some("root"));
        pki
    }

    /// One of which nothing is left but a root that has ended.
    pub fn ended() -> Self {
        let pki = Pki { folder: tempfile::tempdir().expect("a temporary folder") };
        pki.certify("root", "/O=Acme/CN=Old root", CA, NO_DAYS, None);
        pki
    }

    /// The root's certificate in PEM.
    pub fn root(&self) -> String {
        fs::read_to_string(self.path("root.crt")).expect("the root")
    }

    /// A leaf of that alternative name (`URI:…`, `DNS:…`, `email:…`) for a purpose such as `codeSigning`.
    pub fn issue(&self, name: &str, purpose: &str) -> Leaf {
        let file: String = format!("{purpose}-{name}").chars().filter(char::is_ascii_alphanumeric).collect();
        let extensions = format!("{LEAF}extendedKeyUsage={purpose}\nsubjectAltName={name}\n");
        self.certify(&file, "/O=Acme/CN=leaf", &extensions, DAYS, Some("issuing"));
        Leaf {
            key: self.path(&format!("{file}.key")),
            certificate: self.path(&format!("{file}.crt")),
            chain: self.path("issuing.crt"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `NAME.key` and `NAME.crt`, signed by the issuer's key or by its own.
    fn certify(&self, name: &str, subject: &str, extensions: &str, days: &str, issuer: Option<&str>) {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        fs::write(self.path("extensions"), extensions).expect("a file");
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
        self.openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &request]);
        let sign = ["x509", "-req", "-in", &request, "-days", days, "-extfile", "extensions", "-out", &certificate];
        match issuer {
            None => self.openssl(&[&sign[..], &["-signkey", &key]].concat()),
            Some(issuer) => {
                let (by, with) = (format!("{issuer}.crt"), format!("{issuer}.key"));
                self.openssl(&[&sign[..], &["-CA", &by, "-CAkey", &with, "-CAcreateserial"]].concat());
            }
        }
    }

    fn openssl(&self, arguments: &[&str]) {
        let folder: &Path = self.folder.path();
        run(Command::new("openssl").args(arguments).current_dir(folder));
    }
}
