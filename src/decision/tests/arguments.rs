//! What arguments and variables name, and what is dangerous in itself.

use super::*;

/// A server of vLLM with these arguments beside its verified claim, and a ConfigMap, an emptyDir and a writable cache.
fn serves(arguments: &[&str]) -> World {
    World::new().with(|world| {
        let container = &mut world.pod["containers"][0];
        container["image"] = json!("vllm/vllm-openai:v0.11.0");
        container["args"] = json!(arguments);
        container["volumeMounts"].as_array_mut().unwrap().extend([
            json!({ "name": "config", "mountPath": "/config" }),
            json!({ "name": "tmp", "mountPath": "/tmp" }),
        ]);
        world.pod["volumes"].as_array_mut().unwrap().extend([
            json!({ "name": "config", "configMap": { "name": "c" } }),
            json!({ "name": "tmp", "emptyDir": {} }),
        ]);
    })
}

fn selecting(models: serde_json::Value) -> serde_json::Value {
    json!({ "match": { "models": models } })
}

fn forbidding(codes: &[&str]) -> serde_json::Value {
    json!({ "content": { "forbid": codes } })
}

#[test]
fn what_is_named_elsewhere_cannot_be_verified() {
    check("below the verified mount", serves(&["--model", "/models/llama"]), &[]);
    check("the mount itself", serves(&["/models"]), &[]);
    check("a hub", serves(&["--model", "acme/llama"]), &["NotVerifiable"]);
    check("the default of the engine", serves(&[]), &["NotVerifiable"]);
    check("an emptyDir", serves(&["--model", "/tmp/llama"]), &["NotVerifiable"]);
    check("the image", serves(&["--model", "/opt/llama"]), &["NotVerifiable"]);
    check(
        "a file that hides all",
        serves(&["--model", "/models/llama", "--config", "/models/c.yaml"]),
        &["NotVerifiable"],
    );
    check("an adapter", serves(&["/models/llama", "--lora-modules", "a=acme/a"]), &["NotVerifiable"]);
}

#[test]
fn policies_select_by_uri_and_image() {
    let hub = |models| serves(&["--model", "acme/llama"]).under(selecting(models));
    check("any URI", hub(json!([{ "uris": ["**"] }])), &["NotVerifiable"]);
    check("this owner", hub(json!([{ "uris": ["hf://acme/**"] }])), &["NotVerifiable"]);
    check("another owner", hub(json!([{ "uris": ["hf://other/**"] }])), &[]);
    check("only paths", hub(json!([{ "mountPaths": ["/data/**"] }])), &[]);
    let local = |models| serves(&["--model", "/tmp/llama"]).under(selecting(models));
    check("a path as a URI", local(json!([{ "uris": ["file:///tmp/**"] }])), &["NotVerifiable"]);
    check("a path as a mount path", local(json!([{ "mountPaths": ["/tmp/**"] }])), &["NotVerifiable"]);
    let hidden = serves(&["--config", "/x.yaml"]).under(selecting(json!([{ "uris": ["hf://other/**"] }])));
    check("what cannot be told is matched by any glob", hidden, &["NotVerifiable"]);
    let image = |glob: &str| {
        World::new().under(selecting(json!([{ "images": [glob] }]))).with(|world| {
            world.pod["volumes"][0] =
                json!({ "name": "models", "image": { "reference": "r.example/models/llama:8b" } });
        })
    };
    check("an image", image("r.example/models/*"), &["NotVerifiable"]);
    check("another image", image("r.example/other/*"), &[]);
}

#[test]
fn weights_in_a_volume_that_is_left_out_are_a_use_all_the_same() {
    let cache = |arguments: &[&str]| {
        serves(arguments)
            .under(json!({ "match": { "exclude": [{ "storageClasses": ["fast"] }] } }))
            .with(|world| world.records.clear())
    };
    check("the cache itself is none", cache(&["--model", "/opt/x"]), &["NotVerifiable"]);
    let named = cache(&["--model", "/models/llama"]);
    check("what an argument names in it is", named.clone(), &["NotVerifiedYet"]);
    let missing = named.decide().missing_records;
    assert_eq!(missing, [ModelVerificationSpec::of_claim("models", "llama")]);
    check("and it may be verified", named.with(|world| world.records = vec![verified_record("llama")]), &[]);
}

#[test]
fn configuration_that_nobody_signs() {
    let template = |path: &str| serves(&["--model", "/models/llama", "--chat-template", path]);
    check("a ConfigMap", template("/config/t.jinja"), &["UnsignedConfig"]);
    let allowed = template("/config/t.jinja").under(json!({ "content": { "unsignedConfig": "Allow" } }));
    check("which the policy allows", allowed, &[]);
    check("the signed model", template("/models/t.jinja"), &[]);
    check("the image", template("/vllm-workspace/t.jinja"), &[]);
    let elsewhere = template("/tmp/t.jinja").under(json!({ "content": { "unsignedConfig": "Allow" } }));
    check("an emptyDir is no API object", elsewhere, &["NotVerifiable"]);
    check(
        "weights in a ConfigMap are no configuration",
        serves(&["/config/m"]).under(json!({ "content": { "unsignedConfig": "Allow" } })),
        &["NotVerifiable"],
    );
}

#[test]
fn what_a_policy_forbids() {
    let dangerous = || serves(&["--model", "/models/llama", "--trust-remote-code"]);
    check("nothing is forbidden unless it is said", dangerous(), &[]);
    check("remote code", dangerous().under(forbidding(&["RemoteCode"])), &["RemoteCode"]);
    check("something else", dangerous().under(forbidding(&["DeveloperMode"])), &[]);
    let decision = dangerous().under(forbidding(&["RemoteCode"])).decide();
    assert_eq!(decision.violations[0].at.0, "spec.containers[0].args[2]");

    let variable = |name: &str, value: &str| {
        serves(&["/models/llama"])
            .with(|world| world.pod["containers"][0]["env"] = json!([{ "name": name, "value": value }]))
            .under(forbidding(&["RuntimeAdapters", "DeveloperMode", "HubRedirect"]))
    };
    check("adapters", variable("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1"), &["RuntimeAdapters"]);
    check("developers", variable("VLLM_SERVER_DEV_MODE", "1"), &["DeveloperMode"]);
    check("another hub", variable("HF_ENDPOINT", "https://mirror.example"), &["HubRedirect"]);
    check("switched off", variable("VLLM_SERVER_DEV_MODE", "0"), &[]);
    let from_elsewhere = variable("A", "b").with(|world| {
        world.pod["containers"][0]["envFrom"] = json!([{ "secretRef": { "name": "s" } }]);
    });
    check("what may come from elsewhere", from_elsewhere, &["RuntimeAdapters", "DeveloperMode", "HubRedirect"]);

    let mutable = |arguments: &[&str]| serves(arguments).under(forbidding(&["MutableReference"]));
    check("a branch", mutable(&["--model", "acme/llama"]), &["MutableReference", "NotVerifiable"]);
    let commit = "0123456789012345678901234567890123456789";
    check("a commit", mutable(&["--model", "acme/llama", "--revision", commit]), &["NotVerifiable"]);
    let image = |reference: &str| {
        World::new().under(forbidding(&["MutableReference"])).with(|world| {
            world.pod["volumes"][0] = json!({ "name": "models", "image": { "reference": reference } });
        })
    };
    check("a tag", image("r.example/m:1"), &["MutableReference", "NotVerifiable"]);
    check("a digest", image(&format!("r.example/m@sha256:{}", "0".repeat(64))), &["NotVerifiable"]);
}

#[test]
fn a_danger_is_found_once_for_each_container() {
    let twice = serves(&["--model", "/models/llama", "--tokenizer", "acme/t", "--trust-remote-code"]);
    check("two uses", twice.under(forbidding(&["RemoteCode"])), &["RemoteCode", "NotVerifiable"]);
}

#[test]
fn what_a_writer_fetches_goes_into_its_claim() {
    let loads = |account: &str, read_only: bool| {
        World::new().under(json!({ "content": { "writers": [{ "serviceAccount": "loader" }] } })).with(|world| {
            world.pod["serviceAccountName"] = json!(account);
            let container = &mut world.pod["containers"][0];
            container["command"] = json!(["hf", "download", "acme/llama", "--local-dir", "/models"]);
            container["volumeMounts"][0]["readOnly"] = json!(read_only);
        })
    };
    check("a writer", loads("loader", false), &[]);
    check("anybody else", loads("default", false), &["WriterNotAllowed", "NotVerifiable"]);
    check("a writer that writes nothing", loads("loader", true), &["NotVerifiable"]);
}

#[test]
fn sentences_about_arguments() {
    let forbid = json!({ "content": { "forbid": ["RemoteCode", "MutableReference", "HubRedirect", "RuntimeAdapters", "DeveloperMode"] } });
    let env_from = |world: World| {
        world.with(|world| world.pod["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "c" } }]))
    };
    let texts: Vec<String> = [
        ("hub", serves(&["--model", "acme/llama"])),
        ("default", serves(&[])),
        ("emptyDir", serves(&["--model", "/tmp/llama"])),
        ("image", serves(&["--model", "/opt/llama"])),
        ("another process", serves(&["--model", "/proc/1/root/m"])),
        ("config file", serves(&["--config", "/config/vllm.yaml"])),
        ("unknown variable", env_from(serves(&["--model", "$(MODEL)"]))),
        ("climbing", serves(&["--model", "/models/../tmp/m"])),
        ("template", serves(&["/models/m", "--chat-template", "/config/t.jinja"])),
        ("remote code", serves(&["/models/m", "--trust-remote-code"]).under(forbid.clone())),
        ("branch", serves(&["acme/llama"]).under(forbid.clone())),
        ("from elsewhere", env_from(serves(&["/models/m"])).under(forbid)),
        ("Ollama", World::new().with(|world| world.pod["containers"][0]["image"] = json!("ollama/ollama:0.12"))),
    ]
    .iter()
    .map(|(name, world)| format!("## {name}\n{}\n", deny_text(&world.decide())))
    .collect();
    insta::assert_snapshot!("sentences_about_arguments", texts.join("\n"));
}
