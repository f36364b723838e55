//! The way in which a model is used.

use super::*;

fn mounts(world: World, mounts: serde_json::Value) -> World {
    world.with(|world| {
        world.pod["containers"][0]["volumeMounts"] = mounts;
        world.pod["volumes"].as_array_mut().unwrap().extend([
            json!({ "name": "tmp", "emptyDir": {} }),
            json!({ "name": "image", "image": { "reference": "r/m:1" } }),
        ]);
    })
}

fn writable(content: serde_json::Value, account: &str) -> World {
    let world = World::new().under(json!({ "content": content }));
    let world = mounts(world, json!([{ "name": "models", "mountPath": "/models" }]));
    world.with(|world| world.pod["serviceAccountName"] = json!(account))
}

#[test]
fn who_may_write() {
    let writers = json!({ "writers": [{ "serviceAccount": "loader" }] });
    check("nobody", writable(json!({}), "server"), &["Writable"]);
    check("not this one", writable(writers.clone(), "server"), &["WriterNotAllowed"]);
    check("this one", writable(writers.clone(), "loader"), &[]);
    check("anybody", writable(json!({ "readOnly": false }), "server"), &[]);

    let unread = |world: World| world.with(|world| world.records.clear());
    check("a writer needs no record", unread(writable(writers.clone(), "loader")), &[]);
    assert_eq!(unread(writable(writers.clone(), "loader")).decide().missing_records, []);
    assert!(writable(writers.clone(), "loader").decide().models[0].writer);
    let open = json!({ "readOnly": false });
    check("any other writer does", unread(writable(open, "server")), &["NotVerifiedYet"]);
    check("all violations are listed", unread(writable(json!({}), "server")), &["Writable", "NotVerifiedYet"]);

    let reader = World::new().under(json!({ "content": writers })).with(|world| {
        world.pod["serviceAccountName"] = json!("loader");
    });
    check("a writer's account that mounts read-only reads", unread(reader.clone()), &["NotVerifiedYet"]);
    let fills = unread(reader).with(|world| {
        let mounts = json!([{ "name": "models", "mountPath": "/models" }]);
        world.pod["initContainers"] = json!([{ "name": "loader", "volumeMounts": mounts }]);
    });
    check("what it fills itself it may read", fills.clone(), &[]);
    check(
        "unless it may not write",
        fills.with(|world| world.pod["serviceAccountName"] = json!("x")),
        &["WriterNotAllowed", "NotVerifiedYet", "NotVerifiedYet"],
    );
}

#[test]
fn privileges_write_whatever_the_mount_says() {
    let privileged = |world: World| {
        world.with(|world| {
            world.pod["initContainers"] = json!([{ "name": "i", "securityContext": { "privileged": true } }]);
        })
    };
    check("privileged", privileged(World::new()), &["Writable"]);
}

#[test]
fn an_ephemeral_container_never_writes() {
    for content in [json!({ "readOnly": false }), json!({ "writers": [{ "serviceAccount": "default" }] })] {
        let world = World::new().under(json!({ "content": content })).with(|world| {
            let mounts = json!([{ "name": "models", "mountPath": "/models" }]);
            world.pod["ephemeralContainers"] = json!([{ "name": "debugger", "volumeMounts": mounts }]);
        });
        check("ephemeral", world, &["Writable"]);
    }
    let mighty = World::new().under(json!({ "content": { "writers": [{ "serviceAccount": "default" }] } }));
    let mighty = mighty.with(|world| {
        let privileged = json!({ "privileged": true });
        world.pod["ephemeralContainers"] = json!([{ "name": "debugger", "securityContext": privileged }]);
    });
    check("one that lets the others write", mighty, &["Writable"]);
}

#[test]
fn a_template_may_wait_for_the_model_that_is_mounted_into_another() {
    let nested = json!([
        { "name": "models", "mountPath": "/models", "readOnly": true, "subPath": "a" },
        { "name": "models", "mountPath": "/models/adapter", "readOnly": true, "subPath": "b" },
    ]);
    let world = mounts(World::new(), nested).with(|world| world.records = vec![verified_record("a")]);
    check("a Pod may not", world.clone(), &["Shadowed", "NotVerifiedYet"]);
    check("a template may", world.with(|world| world.stage = Stage::Template), &["NotVerifiedYet"]);
}

#[test]
fn writers_of_what_is_no_claim_are_judged_as_readers() {
    let writers = json!({ "content": { "writers": [{ "serviceAccount": "loader" }] } });
    let world = World::new().under(writers).with(|world| {
        world.pod["serviceAccountName"] = json!("loader");
        world.pod["volumes"][0] = json!({ "name": "models", "hostPath": { "path": "/m" } });
        world.pod["containers"][0]["volumeMounts"][0]["readOnly"] = json!(false);
    });
    check("hostPath", world, &["NotVerifiable"]);
}

#[test]
fn what_hides_a_part_of_a_model() {
    let model = json!({ "name": "models", "mountPath": "/models", "readOnly": true });
    let nested = |mount: serde_json::Value| mounts(World::new(), json!([model, mount]));
    check("an emptyDir", nested(json!({ "name": "tmp", "mountPath": "/models/x" })), &["Shadowed"]);
    let image = nested(json!({ "name": "image", "mountPath": "/models/x" }));
    check("what cannot be verified", image, &["Shadowed", "NotVerifiable"]);
    let same = json!({ "name": "models", "mountPath": "/models/x", "readOnly": true });
    check("a verified model", nested(same), &[]);
    let rw = json!({ "name": "models", "mountPath": "/models/x" });
    check("one that can be written", nested(rw), &["Shadowed", "Writable"]);
    let propagated =
        json!({ "name": "models", "mountPath": "/models", "readOnly": true, "mountPropagation": "HostToContainer" });
    check("propagation", mounts(World::new(), json!([propagated])), &["Shadowed"]);
}

#[test]
fn a_nested_mount_that_the_policy_does_not_select_hides() {
    let world = mounts(
        World::new().under(json!({ "match": { "models": [{ "mountPaths": ["/models"] }] } })),
        json!([
            { "name": "models", "mountPath": "/models", "readOnly": true },
            { "name": "image", "mountPath": "/models/x", "readOnly": true },
        ]),
    );
    check("not selected", world, &["Shadowed"]);
}

#[test]
fn what_is_not_a_claim_cannot_be_verified() {
    let image = json!([{ "name": "image", "mountPath": "/models" }]);
    check("an image volume", mounts(World::new(), image), &["NotVerifiable"]);
    let expression = json!([{ "name": "models", "mountPath": "/m", "subPathExpr": "$(X)", "readOnly": true }]);
    check("subPathExpr", mounts(World::new(), expression), &["NotVerifiable"]);
}

#[test]
fn a_record_makes_every_mount_of_its_claim_a_model() {
    let elsewhere = |records: bool| {
        let world = World::new().under(json!({ "match": { "models": [{ "mountPaths": ["/weights/**"] }] } }));
        world.with(|world| {
            if !records {
                world.records.clear();
            }
        })
    };
    assert_eq!(elsewhere(false).decide().models.len(), 0);
    assert_eq!(elsewhere(true).decide().models.len(), 1);
}

#[test]
fn exclusions_hold_for_what_is_known() {
    let excluded = |item: serde_json::Value| World::new().under(json!({ "match": { "exclude": [item] } }));
    let judged = |world: World| world.decide().models.len();
    assert_eq!(judged(excluded(json!({ "storageClasses": ["fast"] }))), 0);
    assert_eq!(judged(excluded(json!({ "csiDrivers": ["ebs.csi.aws.com"] }))), 0);
    assert_eq!(judged(excluded(json!({ "mountPaths": ["/models/**"] }))), 0);
    assert_eq!(judged(excluded(json!({ "mountPaths": ["/models/x/**"] }))), 1);
    let of_claim = excluded(json!({ "claims": { "selector": { "matchLabels": { "scratch": "yes" } } } }));
    assert_eq!(judged(of_claim.clone()), 1);
    let labelled = of_claim.with(|world| {
        world.claim.as_mut().unwrap().labels.insert("scratch".into(), "yes".into());
    });
    assert_eq!(judged(labelled), 0);
    let unknown = excluded(json!({ "storageClasses": ["fast"] })).with(|world| world.claim = None);
    check("an unknown claim is not excluded", unknown, &["SourceMissing"]);
    let other_class = excluded(json!({ "storageClasses": ["fast"] })).with(|world| {
        world.volume.as_mut().unwrap().storage_class = Some("slow".into());
    });
    assert_eq!(judged(other_class), 1);
}

#[test]
fn a_mount_path_exclusion_must_cover_every_mount_of_the_claim() {
    let world = World::new().under(json!({ "match": { "exclude": [{ "mountPaths": ["/cache/**"] }] } }));
    let both = json!([
        { "name": "models", "mountPath": "/cache/hf", "readOnly": true },
        { "name": "models", "mountPath": "/models", "readOnly": true },
    ]);
    assert_eq!(mounts(world.clone(), both).decide().models.len(), 2);
    let one = json!([{ "name": "models", "mountPath": "/cache/hf", "readOnly": true }]);
    assert_eq!(mounts(world, one).decide().models.len(), 0);
}
