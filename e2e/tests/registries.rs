//! Bundles in registries: fetched by verifiers, from where a policy of the cluster lists, and from nowhere else.

use std::net::TcpListener;

use serde_json::{Value, json};
use weighbridge::api::v1alpha1::ModelVerificationSpec;
use weighbridge_e2e::{Cluster, Deadline, Key, Model, Registry, Tenant, eventually, record_name, record_of};

const SIGNATURE: &str = "signature.weighbridge.dev/model";
/// Where a test starts a registry of its own. The chart was told that it has no TLS.
const OWN_REGISTRY: &str = "198.18.0.1:5001";
/// How long reading a small model takes at most, with everything that goes before it and a registry that is slow to
/// answer.
const READ: Deadline = Deadline::seconds(120);

/// A tenant whose policy holds what is unknown, and lists these places.
fn tenant(purpose: &str, places: &[&str]) -> (Tenant, Key) {
    let (tenant, key) = (Cluster::from_environment().tenant(purpose, &[]), Key::generate());
    let mut policy = tenant.policy(&key);
    policy["spec"]["unknown"] = json!("Hold");
    policy["spec"]["bundleRegistries"] = json!(places);
    tenant.enforce(&policy);
    (tenant, key)
}

/// A signed model on a claim, and its bundle, which is taken out of it.
fn signed(tenant: &Tenant, claim: &str, key: &Key) -> Vec<u8> {
    tenant.claim(claim).sign(key).take_bundle()
}

fn pod(tenant: &Tenant, name: &str, bundle: &str) -> Value {
    let mut pod = tenant.pod(name, "model");
    pod["metadata"]["annotations"] = json!({ SIGNATURE: bundle });
    pod
}

/// The record of the claim's root whose bundle lies there, as a person would make it.
fn record(bundle: &str) -> Value {
    record_of(&ModelVerificationSpec::of_claim("model", "").signed_at(bundle).expect("a location"))
}

fn read_back(tenant: &Tenant, bundle: &str) -> Value {
    tenant.kubectl().get("modelverification", record(bundle)["metadata"]["name"].as_str().expect("a name"))
}

/// Waits until a record says this of its model, and gives the words.
fn says(tenant: &Tenant, bundle: &str, status: &str, reason: &str) -> String {
    eventually("what the record says", READ, || {
        let record = read_back(tenant, bundle);
        let conditions = record["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let verified = conditions.into_iter().find(|it| it["type"] == "Verified").unwrap_or_default();
        let words = verified["message"].as_str().unwrap_or_default().to_owned();
        if verified["status"] == status && verified["reason"] == reason { Ok(words) } else { Err(verified.to_string()) }
    })
}

fn runs(tenant: &Tenant, name: &str) {
    eventually("a Pod that runs", READ, || {
        let pod = tenant.kubectl().get("pod", name);
        if pod["status"]["phase"] == "Running" { Ok(()) } else { Err(pod["status"].to_string()) }
    });
}

fn is_held(tenant: &Tenant, name: &str) {
    let pod = tenant.kubectl().get("pod", name);
    assert_eq!(pod["spec"]["schedulingGates"][0]["name"], "weighbridge.dev/verification", "{pod}");
}

#[test]
fn a_bundle_in_a_registry_that_is_listed_is_verified() {
    let cluster = Cluster::from_environment();
    let registry = Registry::of(&cluster);
    let (tenant, key) = tenant("registry", &[&format!("{}/signatures/*", registry.host)]);
    let bundle = signed(&tenant, "model", &key);
    let repository = format!("signatures/{}", tenant.namespace);
    let name = registry.push(&repository, &bundle);
    tenant.kubectl().apply(&pod(&tenant, "server", &name)).expect_success();
    runs(&tenant, "server");
    says(&tenant, &name, "True", "Verified");
    assert!(!registry.asked(&repository).is_empty());
    let kept = read_back(&tenant, &name);
    assert_eq!(kept["status"]["models"][0]["bundle"].as_str().map(|at| &at[..6]), Some("oci://"), "{kept}");
    // Nothing lies beside the model, so that the plain record says that it is not signed.
    assert_eq!(tenant.record("model"), ("False".into(), "Unsigned".into()));

    // The bundle of another model, and one of a stranger, are what they are.
    let other = Model::small(tempfile::tempdir().expect("a folder").keep());
    other.write("config.json", b"{}");
    let foreign = registry.push(&repository, &other.sign(&key).take_bundle());
    let said = eventually("another model's bundle is refused", READ, || {
        let said = tenant.kubectl().apply(&pod(&tenant, "foreign", &foreign));
        tenant.kubectl().run(&["delete", "pod", "foreign", "--ignore-not-found", "--wait=false"]);
        if said.success { Err(said.to_string()) } else { Ok(said) }
    });
    said.expect_refusal(&["[ContentMismatch]"]);
    let noise = registry.push(&repository, b"no bundle");
    tenant.kubectl().apply(&record(&noise)).expect_success();
    says(&tenant, &noise, "False", "MalformedBundle");
}

#[test]
fn from_a_registry_that_is_not_listed_nothing_is_fetched() {
    let cluster = Cluster::from_environment();
    let registry = Registry::of(&cluster);
    let (tenant, key) = tenant("unlisted", &[&format!("{}/listed/**", registry.host), "198.18.0.1:1/**"]);
    let bundle = signed(&tenant, "model", &key);
    let repository = format!("unlisted/{}", tenant.namespace);
    let name = registry.push(&repository, &bundle);
    let pushed = registry.asked(&repository).len();

    let place = format!("{}/{repository}", registry.host);
    let said = tenant.kubectl().apply(&pod(&tenant, "server", &name));
    said.expect_refusal(&["[RegistryUnauthorized]", SIGNATURE, &place, "bundleRegistries"]);
    let by_tag = tenant.kubectl().apply(&pod(&tenant, "tagged", &format!("oci://{place}:latest")));
    by_tag.expect_refusal(&["[MutableReference]", "@sha256:"]);
    let none = read_back(&tenant, &name);
    assert_eq!(none, Value::Null, "no record is made of what may not be fetched");

    // Nor is it fetched for a record that a person makes, which says why. One that is listed is read meanwhile.
    tenant.kubectl().apply(&record(&name)).expect_success();
    let words = says(&tenant, &name, "Unknown", "RegistryUnauthorized");
    assert!(words.contains(&place) && words.contains("bundleRegistries"), "{words}");
    let listed = registry.push(&format!("listed/{}", tenant.namespace), &bundle);
    tenant.kubectl().apply(&record(&listed)).expect_success();
    says(&tenant, &listed, "True", "Verified");
    assert_eq!(registry.asked(&repository).len(), pushed, "{:?}", registry.asked(&repository));

    // What was read of a registry counts only as long as that is listed.
    tenant.kubectl().apply(&pod(&tenant, "served", &listed)).expect_success();
    let mut policy = tenant.policy(&key);
    policy["spec"]["bundleRegistries"] = json!([]);
    tenant.enforce(&policy);
    eventually("the registry is listed no longer", READ, || {
        let said = tenant.kubectl().run(&["delete", "pod", "served", "--ignore-not-found"]);
        said.expect_success();
        let said = tenant.kubectl().apply(&pod(&tenant, "served", &listed));
        if said.success { Err(said.to_string()) } else { Ok(said) }
    })
    .expect_refusal(&["[RegistryUnauthorized]"]);
    says(&tenant, &listed, "Unknown", "RegistryUnauthorized");
}

#[test]
fn a_registry_that_does_not_answer_is_waited_for() {
    let silent = TcpListener::bind(OWN_REGISTRY).expect("an address of the node");
    let (tenant, key) = tenant("silent", &[&format!("{OWN_REGISTRY}/**")]);
    let bundle = signed(&tenant, "model", &key);
    let name = Registry::name(OWN_REGISTRY, "acme/signatures", &bundle);
    tenant.kubectl().apply(&pod(&tenant, "server", &name)).expect_success();
    let words = says(&tenant, &name, "Unknown", "RegistryUnavailable");
    assert!(words.contains(OWN_REGISTRY), "{words}");
    is_held(&tenant, "server");

    // It answers, and has no such manifest.
    drop(silent);
    let _registry = Registry::start(OWN_REGISTRY);
    let words = says(&tenant, &name, "Unknown", "SourceMissing");
    assert!(words.contains("acme/signatures"), "{words}");
    is_held(&tenant, "server");
    let plain = tenant.kubectl().get("modelverification", &record_name("model", ""));
    assert_eq!(plain, Value::Null, "what was not asked for is not read");
}
