//! What lies in a model unsigned, and symbolic links: facts of a record that each policy judges for itself.

use super::*;
use crate::api::v1alpha1::{ModelStatus, UnsignedFiles};

const NOT_SIGNED: &str = "the files are not what was signed: 2 not signed: .git/HEAD, README.md; remove them";

/// A model in which this is not signed, and which is else what was signed.
fn unsigned(paths: &[&str], more: bool) -> World {
    let found = World::new().found(VerdictKind::Refused, FindingCode::Refused(RefusedCode::UnsignedFiles), NOT_SIGNED);
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    found.model(|model| model.unsigned = Some(UnsignedFiles { paths, more }))
}

fn ignoring(globs: &[&str]) -> serde_json::Value {
    json!({ "content": { "ignorePaths": globs } })
}

/// The same with a model at `llama`, of which a Pod uses this path.
fn used_at(world: World, path: &str) -> World {
    world.with(|world| {
        let mut record = verified_record("llama");
        record.status.models = std::mem::take(&mut world.records[0].status.models);
        record.status.models[0].path = "llama".into();
        world.records = vec![record];
        world.pod["containers"][0]["volumeMounts"][0]["subPath"] = json!(path);
    })
}

/// The same with a server that is given a path in its mount.
fn served_from(world: World, path: &str) -> World {
    world.with(|world| {
        world.pod["containers"][0]["image"] = json!("vllm/vllm-openai:v0.11.0");
        world.pod["containers"][0]["args"] = json!(["--model", path]);
    })
}

#[test]
fn each_policy_says_what_may_lie_there_unsigned() {
    let found = || unsigned(&[".git/", "README.md"], false);
    check("nothing", found(), &["UnsignedFiles"]);
    check("one of two", found().under(ignoring(&[".git/**"])), &["UnsignedFiles"]);
    check("both", found().under(ignoring(&[".git/**", "*.md"])), &[]);
    check("a glob that cannot be read", found().under(ignoring(&[".git/**", "*.md", "[a"])), &["PolicyInvalid"]);
    check("one that is for anything", found().under(ignoring(&["**"])), &["PolicyInvalid"]);
    check("a folder is more than some files", found().under(ignoring(&[".git/*", "*.md"])), &["UnsignedFiles"]);
    check("more than was told", unsigned(&["README.md"], true).under(ignoring(&["*.md"])), &["UnsignedFiles"]);
    let two = found().under(ignoring(&[".git/**", "*.md"])).with(|world| {
        world.policies.push(named_policy("strict", json!({})));
    });
    assert_eq!(two.codes(), ["UnsignedFiles"], "every policy is satisfied, or none");
    assert_eq!(two.decide().violations[0].policy.to_string(), "strict");
}

#[test]
fn a_policy_of_a_namespace_ignores_for_itself_alone() {
    let found = || unsigned(&[".git/"], false);
    let and = |world: World, spec| world.with(|world| world.model_policies = vec![model_policy("own", spec)]);
    check("what the cluster refuses", and(found(), ignoring(&[".git/**"])), &["UnsignedFiles"]);
    let ignored = found().under(ignoring(&[".git/**"]));
    check("what the cluster ignores", and(ignored.clone(), json!({})), &["UnsignedFiles"]);
    check("both ignore", and(ignored, ignoring(&[".git/**"])), &[]);
}

#[test]
fn sentences_about_what_is_not_signed() {
    let of =
        |paths: &[&str], more: bool, globs: &[&str]| deny_text(&unsigned(paths, more).under(ignoring(globs)).decide());
    let lines = [
        of(&[".git/"], false, &[]),
        of(&[".git/"], false, &["*.md"]),
        of(&["a", "b", "c", "d", "e.md"], false, &["*.md"]),
        of(&["e.md"], true, &["*.md"]),
        of(&["a", "b", "c", "d"], true, &["*.md"]),
        of(&["a"], false, &[]),
    ];
    insta::assert_snapshot!("sentences_about_what_is_not_signed", lines.join("\n"));
}

#[test]
fn what_is_ignored_is_no_part_of_the_model() {
    let ignored = || unsigned(&[".git/", "README.md"], false).under(ignoring(&[".git/**", "*.md"]));
    for (path, expected) in [
        ("llama", &[][..]),
        ("llama/weights", &[]),
        ("llama/.git", &["UnsignedFiles"]),
        ("llama/.git/evil", &["UnsignedFiles"]),
        ("llama/README.md", &["UnsignedFiles"]),
        ("llama/.gitx", &[]),
    ] {
        assert_eq!(
            used_at(ignored(), path)
                .with(|w| {
                    // A single file keeps its name.
                    w.pod["containers"][0]["volumeMounts"][0]["mountPath"] = json!(format!("/{path}"));
                })
                .codes(),
            expected,
            "{path}"
        );
    }
    for (path, expected) in [
        ("/models", &[][..]),
        ("/models/weights", &[]),
        ("/models/.git/evil", &["UnsignedFiles"]),
        ("/models/.git", &["UnsignedFiles"]),
        ("/models/README.md", &["UnsignedFiles"]),
    ] {
        let world = served_from(ignored(), path);
        assert_eq!(world.codes(), expected, "{path}");
    }
    let refused = served_from(ignored(), "/models/.git/evil").decide();
    assert!(!refused.allowed());
    assert_eq!(refused.violations[0].at.to_string(), "spec.containers[0].args[1]");
    assert_eq!(refused.worst(), Some(VerdictKind::Refused));
}

/// A read names files while there is room for them, so that the folder around them may not be named.
#[test]
fn a_folder_of_ignored_files_is_no_part_of_the_model() {
    let ignored = || unsigned(&[".git/config.json", ".git/model.safetensors"], false).under(ignoring(&[".git/**"]));
    for (path, expected) in [("llama/.git", &["UnsignedFiles"][..]), ("llama/weights", &[])] {
        assert_eq!(used_at(ignored(), path).codes(), expected, "{path}");
    }
    for (path, expected) in [("/models/.git", &["UnsignedFiles"][..]), ("/models/weights", &[])] {
        assert_eq!(served_from(ignored(), path).codes(), expected, "{path}");
    }
}

#[test]
fn only_what_is_whole_is_judged_by_what_lies_beside_it() {
    let ignored = || unsigned(&[".git/"], false).under(ignoring(&[".git/**"]));
    check("all is well", ignored(), &[]);
    check("nobody signed", ignored().model(|model| model.signature_verified = false), &["UnsignedFiles"]);
    check("nothing is said", ignored().model(|model| model.unsigned = None), &["UnsignedFiles"]);
    let altered = |model: &mut ModelStatus| {
        model.reason = Some(FindingCode::Refused(RefusedCode::ContentMismatch));
    };
    check("altered", ignored().model(altered), &["ContentMismatch"]);
    let foreign = |model: &mut ModelStatus| model.signers = vec![signed_by(fixtures::KEY_B)];
    check("somebody else signed", ignored().model(foreign), &["UntrustedSigner"]);
    check(
        "written since",
        ignored().with(|world| {
            world.stores.push(StoreFacts { identity: store().to_string(), epoch: 1, writers: Vec::new() });
        }),
        &["NotVerifiedYet"],
    );
}

/// A model with so many links, whose signer followed them.
fn linked(count: Option<i64>) -> World {
    World::new().model(|model| (model.allow_symlinks, model.symlinks) = (true, count))
}

#[test]
fn each_policy_says_whether_links_may_be() {
    let allowed = json!({ "content": { "allowSymlinks": true } });
    check("links", linked(Some(2)), &["SymlinkNotAllowed"]);
    check("links that may be", linked(Some(2)).under(allowed.clone()), &[]);
    check("none", linked(Some(0)), &[]);
    check("nobody knows", linked(None), &["SymlinkNotAllowed"]);
    check("odd", linked(Some(-1)), &["SymlinkNotAllowed"]);
    check("nobody knows, and they may be", linked(None).under(allowed.clone()), &[]);
    check("the signer followed none", linked(Some(2)).model(|model| model.allow_symlinks = false), &[]);
    check("a part of it", used_at(linked(Some(2)).under(allowed.clone()), "llama/weights"), &["SymlinkNotAllowed"]);
    check("a part of one without", used_at(linked(Some(0)).under(allowed.clone()), "llama/weights"), &[]);
    check("the whole", used_at(linked(Some(2)).under(allowed.clone()), "llama"), &[]);
    check("a path in it that is named", served_from(linked(Some(2)).under(allowed), "/models/weights"), &[]);

    let both = json!({ "content": { "allowSymlinks": true, "ignorePaths": [".git/**"] } });
    let linked = || unsigned(&[".git/"], false).model(|model| (model.allow_symlinks, model.symlinks) = (true, Some(1)));
    check("ignored, and links that may not be", linked().under(ignoring(&[".git/**"])), &["SymlinkNotAllowed"]);
    check("both may be", linked().under(both.clone()), &[]);
    check("a link may lead to what is ignored", served_from(linked().under(both), "/models/x"), &["SymlinkNotAllowed"]);
}

/// Nobody compares what lies in the folders that a file system keeps at the top of a volume.
#[test]
fn what_an_argument_names_in_a_folder_of_the_file_system_is_not_signed() {
    for (path, expected) in [("/models/weights", &[][..]), ("/models/lost+found/evil", &["UnsignedFiles"])] {
        assert_eq!(served_from(World::new(), path).codes(), expected, "{path}");
    }
}
