//! A signer for tests, and models on a disk. It writes what the reference writes, or whatever a test wants instead.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weighbridge::model::{Digest, Hasher};
use weighbridge::signature::{Bundle, PAYLOAD_TYPE, PublicKey, Rejection, TrustMaterial, Verified, verify};

pub(crate) const P256: &EcdsaSigningAlgorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
pub(crate) const P384: &EcdsaSigningAlgorithm = &ECDSA_P384_SHA384_ASN1_SIGNING;
pub(crate) const P521: &EcdsaSigningAlgorithm = &ECDSA_P521_SHA512_ASN1_SIGNING;

pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    pub(crate) key: PublicKey,
}

impl Signer {
    pub(crate) fn new(curve: &'static EcdsaSigningAlgorithm) -> Signer {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let key = PublicKey::from_spki_der(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        Signer { pair, key }
    }

    pub(crate) fn pem(&self) -> String {
        let der = self.pair.public_key().as_der().unwrap();
        pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, der.as_ref()).unwrap()
    }

    pub(crate) fn private_pem(&self) -> String {
        let der = self.pair.to_pkcs8v1().unwrap();
        pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, der.as_ref()).unwrap()
    }

    pub(crate) fn trust(&self) -> TrustMaterial {
        TrustMaterial { keys: vec![self.key.clone()], ..TrustMaterial::default() }
    }

    /// A bundle around a payload, as the reference writes it.
    pub(crate) fn bundle(&self, payload: &[u8]) -> Value {
        let material = json!({ "publicKey": { "hint": self.key.oms_hint() }, "tlogEntries": [] });
        envelope(material, payload, &self.sign_bytes(&pae(payload)))
    }

    /// A signature over these very bytes.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
    }

    pub(crate) fn sign(&self, statement: &Value) -> Value {
        self.bundle(statement.to_string().as_bytes())
    }

    /// Signs the files of a folder, all but those below the paths to ignore, into `model.sig`.
    pub(crate) fn sign_folder(&self, dir: &Path, ignore: &[&str]) {
        self.sign_folder_into(dir, "model.sig", ignore);
    }

    /// The same into a file of another name.
    pub(crate) fn sign_folder_into(&self, dir: &Path, bundle: &str, ignore: &[&str]) {
        let mut files = Vec::new();
        collect(dir, dir, &mut files);
        files.retain(|(name, _)| !ignore.iter().any(|path| name == path || name.starts_with(&format!("{path}/"))));
        files.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')));
        let mut statement = statement(&files);
        statement["predicate"]["serialization"]["ignore_paths"] = json!(ignore);
        fs::write(dir.join(bundle), self.sign(&statement).to_string()).unwrap();
    }
}

/// The program itself.
pub(crate) fn weighbridge(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("weighbridge").unwrap();
    command.args(arguments).env_clear();
    command
}

/// What is signed when a payload is (DSSE v1).
pub(crate) fn pae(payload: &[u8]) -> Vec<u8> {
    let mut signed = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    signed.extend(payload);
    signed
}

/// A bundle around a payload, with one signature.
pub(crate) fn envelope(material: Value, payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": STANDARD.encode(signature), "keyid": "" }],
        },
    })
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, Digest)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, Hasher::sha256(&fs::read(path).unwrap())));
        }
    }
}

/// Files whose content is their name.
pub(crate) fn files(names: &[&str]) -> Vec<(String, Digest)> {
    names.iter().map(|name| ((*name).to_owned(), Hasher::sha256(name.as_bytes()))).collect()
}

/// A statement over files in the order given.
pub(crate) fn statement(files: &[(String, Digest)]) -> Value {
    let raw: Vec<u8> = files.iter().flat_map(|(_, digest)| digest.as_bytes().to_vec()).collect();
    let resources: Vec<Value> = (files.iter())
        .map(|(name, digest)| json!({ "name": name, "algorithm": "sha256", "digest": digest.to_hex() }))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "model", "digest": { "sha256": Hasher::sha256(&raw).to_hex() } }],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false },
            "resources": resources,
        },
    })
}

/// Makes files whose content is their name.
pub(crate) fn write_files(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

pub(crate) fn check(bundle: &Value, trust: &TrustMaterial) -> Result<Verified, Rejection> {
    verify(&Bundle::parse(bundle.to_string().as_bytes())?, trust, jiff::Timestamp::UNIX_EPOCH)
}

pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oms")
}
