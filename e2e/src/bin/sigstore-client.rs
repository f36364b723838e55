//! What the conformance suite of Sigstore clients drives: `verify-bundle` of its command-line protocol, through the
//! functions that verify models. It signs nothing, so that of the suite only the tests of verification apply.
//!
//! Exit status: 0 if the bundle verifies, 1 if not, 2 for wrong usage.

#![expect(clippy::print_stderr, reason = "the suite shows what a client says")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use jiff::Timestamp;
use weighbridge::model::Digest;
use weighbridge::signature::{
    Artifact, Authority, BlobBundle, IdentityPattern, KeylessTrust, PublicKey, Signer, TextPattern,
};

#[derive(Parser)]
#[command(about = "A client for the Sigstore conformance suite")]
enum Command {
    VerifyBundle(VerifyBundle),
}

/// Verifies a bundle over a blob, or over a statement about one.
#[derive(Parser)]
#[command(group = ArgGroup::new("signer").required(true).args(["key", "certificate_identity"]))]
struct VerifyBundle {
    /// Not supported: give the staging instance's root with --trusted-root.
    #[arg(long)]
    staging: bool,
    /// The bundle.
    #[arg(long)]
    bundle: PathBuf,
    /// The certificate's subject alternative name.
    #[arg(long, requires = "certificate_oidc_issuer", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// The OIDC issuer that the certificate names.
    #[arg(long, requires = "certificate_identity", conflicts_with = "key")]
    certificate_oidc_issuer: Option<String>,
    /// A public key in PEM, instead of an identity.
    #[arg(long)]
    key: Option<PathBuf>,
    /// The instance's trusted_root.json; without it the public-good instance's.
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    /// What was signed: a file, or `sha256:` and 64 hexadecimal digits that are no file.
    artifact: String,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Command::VerifyBundle(arguments) = Command::parse();
    match verify(&arguments, Timestamp::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn verify(arguments: &VerifyBundle, now: Timestamp) -> Result<(), Failure> {
    let trust = match &arguments.trusted_root {
        Some(file) => KeylessTrust::from_json(&fs::read_to_string(file)?)?,
        None if arguments.staging => return Err("give the staging instance's root with --trusted-root".into()),
        None => KeylessTrust::public_good()?,
    };
    let bundle = BlobBundle::parse(&fs::read(&arguments.bundle)?)?;
    let content;
    let artifact = match arguments.artifact.parse::<Digest>() {
        Ok(digest) if !Path::new(&arguments.artifact).exists() => Artifact::Sha256(digest),
        _ => {
            content = fs::read(&arguments.artifact)?;
            Artifact::Content(&content)
        }
    };
    if let Some(file) = &arguments.key {
        let key = PublicKey::from_pem(&fs::read_to_string(file)?)?;
        return Ok(bundle.verify_with_key(&artifact, &key, &trust)?);
    }
    let identity = IdentityPattern {
        issuer: TextPattern::exact(arguments.certificate_oidc_issuer.as_deref().unwrap_or_default())?,
        subject: TextPattern::exact(arguments.certificate_identity.as_deref().unwrap_or_default())?,
    };
    let allowed = Authority::Keyless { trust: trust.digest(), identities: vec![identity] };
    let facts = bundle.verify_keyless(&artifact, &trust, now)?;
    let signed_by = format!("signed by {} (issuer {})", facts.identity, facts.issuer);
    if allowed.accepts(&Signer::Keyless(facts)) { Ok(()) } else { Err(signed_by.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &[&str] =
        &["--certificate-identity", "alice@example.com", "--certificate-oidc-issuer", "http://127.0.0.1:5503"];
    const BLOB_SHA256: &str = "sha256:817cc117411702c36923100d38a1813c1172dbd61b48ca389a9cd2af00102f66";

    /// The root digest of the model in the vectors.
    const SUBJECT: &str = "sha256:fcce6c0686205486ae36a52382bd36fa1cd043f453465b6cd64bac66011c4239";

    fn vector(name: &str) -> String {
        format!("{}/../tests/vectors/keyless/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn run(bundle: &str, signer: &[&str], artifact: &str) -> Result<(), String> {
        let (bundle, root) = (vector(bundle), vector("trusted_root.json"));
        let mut arguments = vec!["client", "verify-bundle", "--bundle", &bundle];
        arguments.extend(signer);
        arguments.extend(["--trusted-root", &root, artifact]);
        let Command::VerifyBundle(arguments) =
            Command::try_parse_from(arguments).map_err(|error| format!("usage: {error}"))?;
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        verify(&arguments, now).map_err(|failure| failure.to_string())
    }

    fn assert_fails(bundle: &str, signer: &[&str], artifact: &str, part: &str) {
        let failure = run(bundle, signer, artifact).unwrap_err();
        assert!(failure.contains(part), "{bundle} {signer:?} {artifact}: {failure}");
    }

    #[test]
    fn a_blob_that_an_identity_signed() {
        let (bundle, blob) = ("blob-keyless.sigstore.json", &*vector("blob.txt"));
        assert_eq!(run(bundle, ALICE, blob), Ok(()));
        assert_eq!(run(bundle, ALICE, BLOB_SHA256), Ok(()));
        let as_bob = ["--certificate-identity", "bob@example.com", ALICE[2], ALICE[3]];
        assert_fails(bundle, &as_bob, blob, "signed by alice@example.com");
        let elsewhere = [ALICE[0], ALICE[1], ALICE[2], "https://127.0.0.1:5503"];
        assert_fails(bundle, &elsewhere, blob, "signed by alice@example.com");
        assert_fails(bundle, ALICE, &vector("cosign.pub"), "another artifact");
        assert_fails(bundle, ALICE, &BLOB_SHA256.replace("81", "82"), "another artifact");
        assert_fails(bundle, ALICE, &BLOB_SHA256[..70], "No such file");
        assert_fails(bundle, &["--key", &vector("cosign.pub")], blob, "a certificate, where a key is expected");
    }

    #[test]
    fn a_statement_that_an_identity_signed() {
        assert_eq!(run("model/model.sig", ALICE, SUBJECT), Ok(()));
        assert_fails("model/model.sig", ALICE, BLOB_SHA256, "another artifact");
    }

    #[test]
    fn what_a_key_signed() {
        let key = ["--key", &vector("cosign.pub")];
        let blob = vector("blob.txt");
        for bundle in ["blob-key.sigstore.json", "blob-key-alone.sigstore.json"] {
            assert_eq!(run(bundle, &key, &blob), Ok(()), "{bundle}");
            assert_eq!(run(bundle, &key, BLOB_SHA256), Ok(()), "{bundle}");
            assert_fails(bundle, &key, &vector("cosign.pub"), "its signature is not");
            assert_fails(bundle, ALICE, &blob, "");
        }
        assert_eq!(run("model-key-alone.sig", &key, SUBJECT), Ok(()));
        assert_fails("model-key-alone.sig", &key, BLOB_SHA256, "another artifact");
        let other = ["--key", &*vector("../oms/keys/signing-key-pub.pem")];
        assert_fails("blob-key.sigstore.json", &other, &blob, "its signature is not");
    }

    #[test]
    fn an_identity_with_its_issuer_or_a_key_has_to_be_named() {
        let blob = vector("blob.txt");
        let key = vector("cosign.pub");
        let both = [ALICE, &["--key", &key]].concat();
        for signer in [&[][..], &ALICE[..2], &ALICE[2..], &both] {
            assert_fails("blob-keyless.sigstore.json", signer, &blob, "usage");
        }
    }
}
