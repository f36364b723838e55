//! Who may sign: certificates of one's own PKI, Sigstore identities, and several signers at once.

use serde_json::{Value, json};
use weighbridge_e2e::{Cluster, Deadline, Key, Leaf, Model, Pki, Tenant, eventually, record_name};

/// The genuine keyless vector, signed with the public-good instance.
const VECTOR: &str = "tests/vectors/oms/v1.0.1-sigstore";
const IDENTITY: &str = "stefanb@us.ibm.com";
const ISSUER: &str = "https://sigstore.verify.ibm.com/oauth2";
const SPIFFE: &str = "spiffe://acme/ml-release";

fn tenant(purpose: &str) -> Tenant {
    Cluster::from_environment().tenant(purpose, &[])
}

/// A policy that denies in this tenant's namespace and trusts these authorities.
fn policy(tenant: &Tenant, required: u32, authorities: &Value) -> Value {
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy",
        "metadata": { "name": tenant.namespace },
        "spec": {
            "match": { "namespaceSelector": { "matchLabels": { "e2e.weighbridge.dev/test": tenant.namespace } } },
            "validationActions": ["Deny"], "authorities": authorities, "required": required,
        },
    })
}

fn enforce(tenant: &Tenant, required: u32, authorities: &Value) {
    tenant.enforce(&policy(tenant, required, authorities));
}

fn keyless(subject: &str) -> Value {
    json!([{ "name": "release-ci", "keyless": { "identities": [{ "issuer": ISSUER, "subject": subject }] } }])
}

fn pki(roots: &Value, subject: &Value) -> Value {
    json!([{ "name": "corporate-pki", "certificate": { "roots": roots, "subjects": [subject] } }])
}

fn inline(pki: &Pki) -> Value {
    json!({ "data": pki.root() })
}

fn signed_by(tenant: &Tenant, leaf: &Leaf) -> Model {
    let model = tenant.claim("model");
    model.certify_into("model.sig", leaf);
    model
}

/// What the record says of the one model in it.
fn found(tenant: &Tenant) -> Value {
    tenant.kubectl().get("modelverification", &record_name("model", ""))["status"].clone()
}

/// Waits until a Pod is let in: a policy that trusts somebody new has the bundle read again.
fn served(tenant: &Tenant, pod: &str) {
    eventually("a Pod is let in", Deadline::seconds(60), || {
        tenant.kubectl().apply(&tenant.pod(pod, "model")).succeeded()
    });
}

#[test]
fn a_genuine_keyless_model_serves_for_its_identity_and_no_other() {
    let tenant = tenant("keyless");
    enforce(&tenant, 1, &keyless(IDENTITY));
    // `ignore-me` was not signed.
    tenant.empty_claim("model").copy(VECTOR, &["model.sig", "signme-1", "signme-2"]);
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let before = found(&tenant);
    let signer = &before["models"][0]["signers"][0];
    assert_eq!(
        (&signer["kind"], &signer["identity"], &signer["issuer"]),
        (&json!("Keyless"), &json!(IDENTITY), &json!(ISSUER))
    );
    for proof in ["signedAt", "trust", "log"] {
        assert!(signer["proofs"][0][proof].is_string(), "no {proof} in {signer}");
    }
    served(&tenant, "chat");

    enforce(&tenant, 1, &keyless("somebody@us.ibm.com"));
    let refused = tenant.kubectl().apply(&tenant.pod("another", "model"));
    refused.expect_refusal(&["[UntrustedSigner]", IDENTITY, ISSUER, "release-ci"]);

    let expression = json!([{ "name": "release-ci", "keyless": {
        "identities": [{ "issuerRegExp": ".+/oauth2", "subjectRegExp": "stefan" }, { "issuer": ISSUER, "subjectRegExp": ".+@us[.]ibm" }],
    } }]);
    enforce(&tenant, 1, &expression);
    let refused = tenant.kubectl().apply(&tenant.pod("another", "model"));
    refused.expect_refusal(&["[UntrustedSigner]"]);
    enforce(
        &tenant,
        1,
        &json!([{ "name": "release-ci", "keyless": {
        "identities": [{ "issuerRegExp": ".+/oauth2", "subjectRegExp": "stefanb@us[.]ibm[.]com" }] } }]),
    );
    served(&tenant, "another");
    // Who is allowed was decided anew each time, and nothing was read for it.
    assert_eq!(found(&tenant)["verifiedAt"], before["verifiedAt"]);
}

#[test]
fn a_certificate_serves_for_its_name_and_no_other() {
    let (tenant, ca) = (tenant("certificate"), Pki::generate());
    enforce(&tenant, 1, &pki(&inline(&ca), &json!({ "uri": SPIFFE, "issuer": "CN=Issuing CA,O=Acme" })));
    signed_by(&tenant, &ca.issue(&format!("URI:{SPIFFE}"), "codeSigning"));
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let model = found(&tenant)["models"][0].clone();
    let signer = &model["signers"][0];
    assert_eq!(
        (&signer["kind"], &signer["names"], &signer["proofs"][0]["profile"]),
        (&json!("Certificate"), &json!([format!("uri:{SPIFFE}")]), &json!("Strict"))
    );
    assert_eq!(signer["subject"], "CN=leaf,O=Acme");
    assert!(signer["fingerprint"].is_string(), "{signer}");
    for field in ["notAfter", "root", "trust"] {
        assert!(signer["proofs"][0][field].is_string(), "no {field} in {signer}");
    }
    assert_eq!(signer["proofs"][0]["chain"].as_array().map(Vec::len), Some(1), "{signer}");
    assert_eq!(model["signerExpiresAt"], signer["proofs"][0]["notAfter"]);
    let metrics = tenant.cluster().metrics("operator");
    let expiry =
        metrics.lines().find_map(|line| line.strip_prefix("weighbridge_signer_certificate_expiry_timestamp_seconds "));
    assert!(expiry.and_then(|value| value.parse::<f64>().ok()).is_some_and(|end| end > 0.0), "{expiry:?}");
    served(&tenant, "chat");

    enforce(&tenant, 1, &pki(&inline(&ca), &json!({ "uri": "spiffe://acme/web" })));
    let refused = tenant.kubectl().apply(&tenant.pod("another", "model"));
    refused.expect_refusal(&["[UntrustedSigner]", SPIFFE, "corporate-pki"]);
    // The roots alone: whoever they let sign code.
    let any = json!([{ "name": "corporate-pki", "certificate": { "roots": inline(&ca) } }]);
    enforce(&tenant, 1, &any);
    served(&tenant, "another");
    // The same name under roots that the policy does not list.
    enforce(&tenant, 1, &pki(&inline(&Pki::generate()), &json!({ "uri": SPIFFE })));
    eventually("the signer of other roots is refused", Deadline::seconds(60), || {
        let said = tenant.kubectl().apply(&tenant.pod("third", "model"));
        assert!(!said.success, "{said}");
        if said.stderr.contains("[UntrustedSigner]") { Ok(()) } else { Err(said.to_string()) }
    });
}

#[test]
fn a_certificate_for_a_server_signs_no_model() {
    let (tenant, ca) = (tenant("server"), Pki::generate());
    enforce(&tenant, 1, &json!([{ "name": "corporate-pki", "certificate": { "roots": inline(&ca) } }]));
    signed_by(&tenant, &ca.issue("DNS:chat.acme.example.com", "serverAuth"));
    assert_eq!(tenant.record("model"), ("False".into(), "UntrustedSigner".into()));
    assert_eq!(found(&tenant)["models"][0]["detail"], "CertificatePurpose");
    let refused = tenant.kubectl().apply(&tenant.pod("chat", "model"));
    refused.expect_refusal(&["[UntrustedSigner]", "codeSigning"]);
    // Whoever asks for what the reference checks gets what the reference checks.
    let lax = json!([{ "name": "of-old", "certificate": {
        "roots": inline(&ca), "profile": "Reference", "subjects": [{ "dns": "chat.acme.example.com" }] } }]);
    enforce(&tenant, 1, &lax);
    served(&tenant, "chat");
}

#[test]
fn two_signers_are_required_and_both_must_sign() {
    let (tenant, ca, key) = (tenant("both"), Pki::generate(), Key::generate());
    let mut authorities = pki(&inline(&ca), &json!({ "uri": SPIFFE }));
    let listed = authorities.as_array_mut().expect("a list");
    listed.push(json!({ "name": "release", "key": { "data": key.pem() } }));
    listed.push(json!({ "name": "qa", "key": { "data": Key::generate().pem() } }));
    enforce(&tenant, 2, &authorities);
    let model = signed_by(&tenant, &ca.issue(&format!("URI:{SPIFFE}"), "codeSigning"));
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    let refused = tenant.kubectl().apply(&tenant.pod("chat", "model"));
    refused.expect_refusal(&["[UntrustedSigner]", "1 of the policy's signers signed it, 2 are required"]);

    model.sign_into("release.sig", &key).sign_into("stranger.sig", &Key::generate());
    let again = "weighbridge.dev/reverify=now";
    tenant.kubectl().run(&["annotate", "modelverification", &record_name("model", ""), again]).expect_success();
    served(&tenant, "chat");
    let status = found(&tenant);
    let others = json!([{ "name": "release.sig" }, { "name": "stranger.sig", "ignored": "UntrustedSigner" }]);
    assert_eq!(status["models"][0]["otherBundles"], others);
    assert_eq!(status["models"][0]["signers"].as_array().map(Vec::len), Some(2), "{status}");
    // A third of whom nobody signed.
    enforce(&tenant, 3, &authorities);
    let refused = tenant.kubectl().apply(&tenant.pod("another", "model"));
    refused.expect_refusal(&["2 of the policy's signers signed it, 3 are required", "stranger.sig does not count"]);
}

#[test]
fn roots_come_from_a_config_map_and_go_with_it() {
    let (tenant, ca) = (tenant("referred"), Pki::generate());
    let own = tenant.cluster().own();
    let name = tenant.namespace.clone();
    let config_map = |roots: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "labels": { "weighbridge.dev/trust": "true" } }, "data": { "ca.crt": roots },
        })
    };
    own.apply(&config_map(&ca.root())).expect_success();
    enforce(&tenant, 1, &pki(&json!({ "configMapRef": { "name": name } }), &json!({ "uri": SPIFFE })));
    signed_by(&tenant, &ca.issue(&format!("URI:{SPIFFE}"), "codeSigning"));
    assert_eq!(tenant.record("model"), ("True".into(), "Verified".into()));
    served(&tenant, "chat");

    own.apply(&config_map("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")).expect_success();
    eventually("the policy says so", Deadline::seconds(30), || {
        match tenant.condition("clustermodelpolicy", &name, "Accepted") {
            (status, reason) if status == "False" && reason == "PolicyInvalid" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let policy = tenant.cluster().kubectl().get("clustermodelpolicy", &name).to_string();
    assert!(policy.contains(&format!("key ca.crt of ConfigMap {name} cannot be used")), "{policy}");
    eventually("nothing is let in", Deadline::seconds(30), || {
        let said = tenant.kubectl().apply(&tenant.pod("another", "model"));
        if said.stderr.contains("[PolicyInvalid]") { Ok(()) } else { Err(said.to_string()) }
    });
    own.apply(&config_map(&ca.root())).expect_success();
    served(&tenant, "another");
    own.run(&["delete", "configmap", &name]).expect_success();
}

#[test]
fn an_authority_that_cannot_be_read_lets_nothing_in() {
    let (tenant, key) = (tenant("unreadable"), Key::generate());
    let broken = [
        json!({ "certificate": { "roots": { "data": "no certificate" } } }),
        json!({ "keyless": { "identities": [{ "issuer": "i", "subject": "s" }], "trustedRoot": { "data": "{}" } } }),
        json!({ "keyless": { "identities": [{ "issuer": "i", "subjectRegExp": "a)|(b" }] } }),
    ];
    tenant.claim("model").sign(&key);
    enforce(&tenant, 1, &json!([{ "name": "release", "key": { "data": key.pem() } }]));
    assert_eq!(tenant.record("model").0, "True");
    for (at, mut authority) in broken.into_iter().enumerate() {
        authority["name"] = json!("broken");
        // Beside one that is good and has signed.
        enforce(&tenant, 1, &json!([{ "name": "release", "key": { "data": key.pem() } }, authority]));
        let refused = tenant.kubectl().apply(&tenant.pod("chat", "model"));
        refused.expect_refusal(&["[PolicyInvalid]"]);
        let accepted = tenant.condition("clustermodelpolicy", &tenant.namespace, "Accepted");
        assert_eq!(accepted, ("False".into(), "PolicyInvalid".into()), "{at}");
    }
}
