//! Whose signature counts, as the command line is told it: keys, certificates, identities, policies.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use rcgen::{SanType, date_time_ymd};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::pki::{Holder, ca, leaf};
use crate::support::{P256, Signer, files, statement, vectors, weighbridge, write_files};

fn verify(dir: &Path, arguments: &[&str]) -> Assert {
    weighbridge(&["verify"]).args(arguments).current_dir(dir).assert()
}

/// What `--output json` prints.
fn json(dir: &Path, arguments: &[&str], code: i32) -> Value {
    let output = verify(dir, &[arguments, &["--output", "json"]].concat()).code(code).get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

/// A folder with the model `m`, signed by the holder of a certificate with the address `ml@acme.example`; `root.pem` is
/// the root above it, `other.pem` another.
fn certified() -> (TempDir, Holder) {
    let dir = tempdir().unwrap();
    let now = |mut params: rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
        params
    };
    let root = Holder::root(now(ca("root")));
    let intermediate = root.issue(now(ca("intermediate")));
    let mut params = now(leaf("release"));
    params.subject_alt_names = vec![SanType::Rfc822Name("ml@acme.example".try_into().unwrap())];
    let signer = intermediate.issue(params);
    write_files(&dir.path().join("m"), &["a", "b/c"]);
    let bundle = signer.sign(&statement(&files(&["a", "b/c"])), &[&intermediate]);
    fs::write(dir.path().join("m/model.sig"), bundle.to_string()).unwrap();
    fs::write(dir.path().join("root.pem"), root.pem()).unwrap();
    fs::write(dir.path().join("other.pem"), Holder::root(now(ca("other"))).pem()).unwrap();
    (dir, signer)
}

#[test]
fn certificates_count_by_their_roots_and_pins() {
    let (dir, signer) = certified();
    let fingerprint = signer.fingerprint().to_string();
    for pins in [
        &[][..],
        &["--certificate-san", "email:ml@acme.example"],
        &["--certificate-subject", "CN=release"],
        &["--certificate-issuer", "CN=intermediate"],
        &["--certificate-fingerprint", &fingerprint],
        &["--certificate-san", "email:ml@acme.example", "--certificate-subject", "CN=release"],
        &["--certificate-profile", "reference"],
    ] {
        let arguments = [&["m", "--certificate-roots", "root.pem"], pins].concat();
        verify(dir.path(), &arguments).code(0).stdout(contains("CN=release"));
    }
    verify(dir.path(), &["m", "--certificate_chain", "root.pem"]).code(0);
    verify(dir.path(), &["m", "--certificate-roots", "other.pem", "--certificate-roots", "root.pem"]).code(0);
}

#[test]
fn who_is_not_named_is_refused_and_named_before_any_file_is_read() {
    let (dir, _) = certified();
    fs::write(dir.path().join("m/a"), "altered").unwrap();
    for pins in [
        ["--certificate-san", "email:qa@acme.example"],
        ["--certificate-san", "dns:ml@acme.example"],
        ["--certificate-subject", "CN=releas"],
        ["--certificate-issuer", "CN=root"],
        ["--certificate-fingerprint", &format!("sha256:{}", "0".repeat(64))],
    ] {
        let arguments = ["m", "--certificate-roots", "root.pem", pins[0], pins[1]];
        let said = verify(dir.path(), &arguments).code(1);
        let named = contains("email:ml@acme.example").and(contains(pins[1])).and(contains("[UntrustedSigner]"));
        said.stdout(named.and(contains("altered").not()));
        let report = json(dir.path(), &arguments, 1);
        assert_eq!((&report["signatureVerified"], &report["contentVerified"]), (&Value::Bool(true), &Value::Null));
        assert_eq!(report["signers"][0]["names"][0], "email:ml@acme.example");
    }
    verify(dir.path(), &["m", "--certificate-roots", "other.pem"]).code(1).stdout(contains("[UntrustedSigner]"));
}

/// The model that a private Sigstore signed, and its root.
fn keyless() -> std::path::PathBuf {
    vectors().parent().unwrap().join("keyless")
}

#[test]
fn identities_count_with_their_issuer_under_their_root() {
    let issuer = ["--issuer", "http://127.0.0.1:5503"];
    for (named, root) in [
        (["--identity", "alice@example.com"], "trusted_root.json"),
        (["--identity", "alice@example.com"], "trust_config.json"),
        (["--certificate-identity", "alice@example.com"], "trusted_root.json"),
        (["--identity-regexp", r"(alice|bob)@example\.com"], "trusted_root.json"),
    ] {
        let arguments = [&["model", "--trusted-root", root], &named[..], &issuer].concat();
        verify(&keyless(), &arguments).code(0).stdout(contains("alice@example.com (known to http://127.0.0.1:5503)"));
    }
    let by_pattern = ["--issuer-regexp", r"http://127\.0\.0\.1:\d+"];
    let alice = ["model", "--trusted-root", "trusted_root.json", "--identity", "alice@example.com"];
    verify(&keyless(), &[&alice[..], &by_pattern].concat()).code(0);
    verify(&keyless(), &[&alice[..], &["--identity_provider", "http://127.0.0.1:5503"]].concat()).code(0);
    verify(&keyless(), &[&alice[..], &["--identity", "carol@example.com"], &issuer].concat()).code(0);
}

#[test]
fn another_identity_issuer_or_root_is_refused() {
    for (identity, issuer, root) in [
        (["--identity", "bob@example.com"], ["--issuer", "http://127.0.0.1:5503"], "trusted_root.json"),
        (["--identity", "alice@example.co"], ["--issuer", "http://127.0.0.1:5503"], "trusted_root.json"),
        (["--identity-regexp", "alice"], ["--issuer", "http://127.0.0.1:5503"], "trusted_root.json"),
        (["--identity", "alice@example.com"], ["--issuer", "http://127.0.0.1:55"], "trusted_root.json"),
        (["--identity", "alice@example.com"], ["--issuer-regexp", "http://127"], "trusted_root.json"),
        (["--identity", "alice@example.com"], ["--issuer", "http://127.0.0.1:5503"], "other_root.json"),
    ] {
        let arguments = [&["model", "--trusted-root", root], &identity[..], &issuer].concat();
        verify(&keyless(), &arguments).code(1).stdout(contains("Refused: "));
    }
    // Without a root, it is that of the public instance, which does not know this log.
    let alice = ["model", "--identity", "alice@example.com", "--issuer", "http://127.0.0.1:5503"];
    verify(&keyless(), &alice).code(1);
}

#[test]
fn half_an_authority_is_wrong_usage() {
    let (dir, _) = certified();
    let mistyped = "apiVersion: weighbridge.dev/v1alpha1\nkind: ClusterModelPolcy\n";
    fs::write(dir.path().join("mistyped.yaml"), mistyped).unwrap();
    for (arguments, text) in [
        (&["--identity", "a"][..], "give --issuer too"),
        (&["--identity-regexp", "a"], "give --issuer too"),
        (&["--issuer", "a"], "give --identity too"),
        (&["--issuer", "a", "--issuer-regexp", "b", "--identity", "c"], "cannot be used with"),
        (&["--trusted-root", "root.pem"], "give --identity and --issuer too"),
        (&["--identity", "", "--issuer", "b"], "empty"),
        (&["--identity-regexp", "a)|(b", "--issuer", "b"], "regular expression"),
        (&["--identity", "a", "--issuer", "b", "--trusted-root", "root.pem"], "trusted root"),
        (&["--certificate-san", "email:x"], "--certificate-roots"),
        (&["--certificate-roots", "root.pem", "--certificate-san", "x"], "uri:…, dns:… or email:…"),
        (&["--certificate-roots", "root.pem", "--certificate-fingerprint", "x"], "fingerprint"),
        (&["--certificate-roots", "m/a"], "BEGIN CERTIFICATE"),
        (&["--certificate-roots", "nothing.pem"], "nothing.pem"),
        (&["--policy", "m/a"], "no ClusterModelPolicy"),
        (&["--policy", "mistyped.yaml"], "ClusterModelPolcy"),
        (&["--policy", "nothing.yaml"], "nothing.yaml"),
        (&["--policy", "nothing.yaml", "--key", "root.pem"], "cannot be used with"),
    ] {
        verify(dir.path(), &[&["m"], arguments].concat()).code(64).stdout("").stderr(contains(text));
    }
}

/// A model signed by two keys, `one.pub` and `two.pub`, into a bundle each.
fn twice_signed() -> TempDir {
    let dir = tempdir().unwrap();
    write_files(&dir.path().join("m"), &["a", "b/c"]);
    for (name, bundle) in [("one", "model.sig"), ("two", "second.sig")] {
        let signer = Signer::new(P256);
        fs::write(dir.path().join(format!("{name}.pub")), signer.pem()).unwrap();
        let signed = signer.sign(&statement(&files(&["a", "b/c"]))).to_string();
        fs::write(dir.path().join("m").join(bundle), signed).unwrap();
    }
    dir
}

/// Policies as `kubectl get --output yaml` writes them.
fn listed(policies: &[String]) -> String {
    let items: String = (policies.iter())
        .map(|policy| {
            let lines = policy.lines().filter(|line| *line != "---");
            lines
                .enumerate()
                .map(|(at, line)| format!("{}{line}\n", if at == 0 { "- " } else { "  " }))
                .collect::<String>()
        })
        .collect();
    format!("apiVersion: v1\nkind: List\nitems:\n{items}")
}

/// A policy of that name, in YAML.
fn policy(name: &str, required: u32, authorities: &[&str]) -> String {
    format!(
        "apiVersion: weighbridge.dev/v1alpha1\nkind: ClusterModelPolicy\nmetadata: {{ name: {name} }}\nspec:\n  match: {{ \
         namespaceSelector: {{}} }}\n  validationActions: [Deny]\n  required: {required}\n  authorities:\n{}---\n",
        authorities.concat()
    )
}

fn inline(name: &str, pem: &str) -> String {
    format!("  - {{ name: {name}, key: {{ data: {} }} }}\n", serde_json::to_string(pem).unwrap())
}

#[test]
fn a_policy_means_what_it_means_in_a_cluster() {
    let dir = twice_signed();
    let pem = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let (one, two, third) =
        (inline("one", &pem("one.pub")), inline("two", &pem("two.pub")), inline("third", &Signer::new(P256).pem()));
    for (policies, code, text) in [
        (policy("p", 1, &[&one]), 0, "Verified"),
        (policy("p", 2, &[&one, &two]), 0, "Verified"),
        (policy("p", 2, &[&one, &third]), 1, "policy p: 1 of the policy's signers signed it, 2 are required"),
        (policy("p", 1, &[&third]), 1, "[UntrustedSigner]"),
        (policy("p", 1, &[&one]) + &policy("q", 1, &[&two]), 0, "Verified"),
        (policy("p", 1, &[&one]) + &policy("q", 1, &[&third]), 1, "policy q: "),
        (policy("p", 1, &[&inline("x", "no key")]), 2, "[PolicyInvalid]"),
        (policy("p", 1, &[&one, &inline("x", "no key")]), 2, "[PolicyInvalid]"),
        (listed(&[policy("p", 1, &[&one]), policy("q", 1, &[&third])]), 1, "policy q: "),
    ] {
        fs::write(dir.path().join("policy.yaml"), &policies).unwrap();
        verify(dir.path(), &["m", "--policy", "policy.yaml"]).code(code).stdout(contains(text));
    }
    let report = json(dir.path(), &["m", "--key", "two.pub"], 0);
    assert_eq!(report["satisfied"][0]["policy"], "command line");
    assert_eq!(report["satisfied"][0]["authority"], "--key two.pub");
}

#[test]
fn a_policy_file_may_hold_what_its_policies_refer_to() {
    use base64::Engine as _;
    let dir = twice_signed();
    let pem = fs::read_to_string(dir.path().join("one.pub")).unwrap();
    let quoted = serde_json::to_string(&pem).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&pem);
    let map =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: keys }}\ndata: {{ key.pem: {quoted} }}\n---\n");
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: keys }}\ndata: {{ key.pem: {encoded} }}\n---\n");
    let clear =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: keys }}\nstringData: {{ key.pem: {quoted} }}\n---\n");
    let refers = |kind: &str| policy("p", 1, &[&format!("  - {{ name: one, key: {{ {kind}: {{ name: keys }} }} }}\n")]);
    let other = "apiVersion: v1\nkind: Namespace\nmetadata: { name: x }\n";
    for (file, code) in [
        (refers("configMapRef") + &map + other, 0),
        (map.clone() + &refers("configMapRef"), 0),
        (refers("secretRef") + &secret, 0),
        (refers("secretRef") + &clear, 0),
        (refers("secretRef") + &map, 2),
        (refers("configMapRef"), 2),
    ] {
        fs::write(dir.path().join("policy.yaml"), &file).unwrap();
        let said = verify(dir.path(), &["m", "--policy", "policy.yaml"]).code(code);
        said.stdout(
            contains(if code == 0 { "Verified" } else { "of ConfigMap keys" }.to_owned())
                .or(contains("of Secret keys")),
        );
    }
    for wrong in ["{", "kind: ClusterModelPolicy\nspec: { nonsense: 1 }\n", "kind: Secret\ndata: { a: 1 }\n"] {
        fs::write(dir.path().join("policy.yaml"), wrong).unwrap();
        verify(dir.path(), &["m", "--policy", "policy.yaml"]).code(64).stderr(contains("policy.yaml"));
    }
}

#[test]
fn json_names_every_file_and_text_the_first() {
    let dir = tempdir().unwrap();
    let signer = Signer::new(P256);
    let names = ["a", "b", "c", "d", "e"];
    write_files(&dir.path().join("m"), &names);
    fs::write(dir.path().join("key.pub"), signer.pem()).unwrap();
    fs::write(dir.path().join("m/model.sig"), signer.sign(&statement(&files(&names))).to_string()).unwrap();
    for name in names {
        fs::write(dir.path().join("m").join(name), "altered").unwrap();
    }
    fs::remove_file(dir.path().join("m/e")).unwrap();
    let strange = format!("\u{1b}[2J{}", "x".repeat(100));
    write_files(&dir.path().join("m"), &[&strange, "y\\z"]);
    let report = json(dir.path(), &["m", "--key", "key.pub"], 1);
    assert_eq!(report["differences"]["altered"], serde_json::json!(["a", "b", "c", "d"]));
    assert_eq!(report["differences"]["missing"], serde_json::json!(["e"]));
    let mut unsigned: Vec<&str> =
        report["differences"]["unsigned"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    unsigned.sort_unstable();
    assert_eq!(unsigned, [&strange, "y\\z"]);
    let text = verify(dir.path(), &["m", "--key", "key.pub"]).code(1);
    text.stdout(contains("4 altered: a, b, c and 1 more").and(contains("\u{1b}").not()));
}
