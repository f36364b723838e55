use super::*;
use serde_json::json;

fn volume(backing: Backing) -> VolumeFacts {
    VolumeFacts {
        uid: "v".into(),
        claim_uid: Some("c".into()),
        backing,
        provisioner: Some("nfs.csi.k8s.io".into()),
        storage_class: Some("shared".into()),
    }
}

fn csi(driver: &str) -> VolumeFacts {
    volume(Backing::Csi { driver: driver.into(), handle: "h".into() })
}

fn nfs(path: &str) -> VolumeFacts {
    volume(Backing::Nfs { server: "nfs.example".into(), path: path.into() })
}

fn node(node: Option<&str>) -> VolumeFacts {
    volume(Backing::Node { path: "/m".into(), node: node.map(str::to_owned) })
}

fn trusted(volume: &VolumeFacts, items: serde_json::Value) -> bool {
    let items: Vec<TrustedStorage> = serde_json::from_value(items).unwrap();
    check(&ClaimFacts::default(), volume, &items).is_ok()
}

#[test]
fn what_the_code_vouches_for() {
    for (volume, expected) in [
        (csi("ebs.csi.aws.com"), true),
        (csi("rbd.csi.ceph.com"), true),
        (csi("rook-ceph.rbd.csi.ceph.com"), true),
        (csi("cephfs.csi.ceph.com"), false),
        (csi("evil-rbd.csi.ceph.com"), false),
        (csi("s3.csi.aws.com"), false),
        (csi("hostpath.csi.k8s.io"), false),
        (nfs("/m"), false),
        (node(Some("n")), true),
        (node(None), false),
        (volume(Backing::Other("iscsi".into())), false),
    ] {
        assert_eq!(trusted(&volume, json!([])), expected, "{volume:?}");
    }
}

#[test]
fn shared_volumes_of_block_drivers_are_not_vouched_for() {
    let claim = |mode: &str| ClaimFacts { access_modes: vec![mode.to_owned()], ..Default::default() };
    let volume = csi("csi.vsphere.vmware.com");
    assert!(check(&claim("ReadWriteOnce"), &volume, &[]).is_ok());
    assert!(check(&claim("ReadOnlyMany"), &volume, &[]).is_ok());
    assert!(check(&claim("ReadWriteMany"), &volume, &[]).is_err());
}

#[test]
fn what_a_policy_trusts() {
    let share = |server: &str, prefix: &str| json!([{ "nfs": { "server": server, "pathPrefix": prefix } }]);
    for (volume, items, expected) in [
        (csi("nfs.csi.k8s.io"), json!([{ "csiDriver": "nfs.csi.k8s.io" }]), true),
        (csi("nfs.csi.k8s.io"), json!([{ "csiDriver": "efs.csi.aws.com" }]), false),
        (csi("nfs.csi.k8s.io"), json!([{ "storageClass": "shared" }]), true),
        (csi("nfs.csi.k8s.io"), json!([{ "storageClass": "other" }]), false),
        // The class says one thing, the driver another.
        (csi("efs.csi.aws.com"), json!([{ "storageClass": "shared" }]), false),
        (nfs("/export/models"), json!([{ "storageClass": "shared" }]), false),
        (nfs("/export/models"), share("nfs.example", "/export"), true),
        (nfs("/export"), share("nfs.example", "/export/"), true),
        (nfs("/export2"), share("nfs.example", "/export"), false),
        (nfs("/"), share("nfs.example", "/export"), false),
        (nfs("/export/../etc"), share("nfs.example", "/export"), false),
        (nfs("/export"), share("other.example", "/export"), false),
        (nfs("/any"), share("nfs.example", "/"), true),
        (node(None), json!([{ "storageClass": "shared" }]), false),
        (volume(Backing::Other("iscsi".into())), json!([{ "storageClass": "shared" }]), false),
    ] {
        assert_eq!(trusted(&volume, items.clone()), expected, "{volume:?} {items}");
    }
}

#[test]
fn the_table_is_sorted_and_has_no_name_twice() {
    assert!(SINGLE_WRITER_DRIVERS.is_sorted_by(|a, b| a < b));
}
