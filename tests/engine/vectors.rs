//! Bundles that releases of the Python reference wrote.

use std::fs;

use weighbridge::signature::{Bundle, PublicKey, Signer, TrustMaterial, verify};

use crate::support::vectors;

#[test]
fn bundles_signed_with_a_key_verify() {
    let pem = fs::read_to_string(vectors().join("keys/signing-key-pub.pem")).unwrap();
    let key = PublicKey::from_pem(&pem).unwrap();
    let fingerprint = key.fingerprint();
    let trust = TrustMaterial { keys: vec![key], ..TrustMaterial::default() };
    for (folder, names) in [("v0.3.1-elliptic-key", &["."][..]), ("v1.0.1-elliptic-key", &["signme-1", "signme-2"])] {
        let text = fs::read(vectors().join(folder).join("model.sig")).unwrap();
        let verified = verify(&Bundle::parse(&text).unwrap(), &trust, jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(verified.signers(), [Signer::Key { fingerprint }], "{folder}");
        let listed: Vec<&str> = verified.manifest().files().iter().map(|file| file.name.as_str()).collect();
        assert_eq!(listed, names, "{folder}");
    }
}
