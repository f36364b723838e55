//! What a volume brings into a container, kind by kind.

use k8s_openapi::api::core::v1::Volume;

use super::OpaqueSource;

/// What a volume brings in from outside the Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// Nothing: it is empty at first, or holds what Kubernetes itself made of API objects.
    Nothing(Holds),
    /// What lies in a claim.
    Claim {
        /// Its name.
        name: String,
        /// Whether the volume is read-only for every container.
        read_only: bool,
    },
    /// What nobody can vouch for.
    Opaque {
        /// What it is.
        source: OpaqueSource,
        /// Whether the volume is read-only for every container.
        read_only: bool,
    },
}

impl Brought {
    /// What the volume holds, if that is nothing from outside.
    pub(super) fn holds(&self) -> Option<Holds> {
        match self {
            Brought::Nothing(holds) => Some(*holds),
            Brought::Claim { .. } | Brought::Opaque { .. } => None,
        }
    }
}

/// What a volume holds that brings in nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// What containers of the Pod have written.
    EmptyDir,
    /// The same, on a volume of its own.
    Ephemeral,
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// Fields of the Pod.
    DownwardApi,
    /// Several of these.
    Projected,
}

/// An opaque source, with nothing known but its kind.
pub(super) fn opaque(kind: &'static str, target: &str, remedy: &'static str) -> OpaqueSource {
    let target = target.to_owned();
    OpaqueSource { kind, target, csi_driver: None, image: None, storage_class: None, claim: None, remedy }
}

/// What an image holds.
pub(super) fn image_volume(reference: &str) -> OpaqueSource {
    OpaqueSource { image: Some(reference.to_owned()), ..opaque("image volume", reference, USE_A_CLAIM) }
}

/// What to use instead, where only the kind of the volume stands in the way.
pub(super) const USE_A_CLAIM: &str = "put the model into a PersistentVolumeClaim and mount that";
/// A volume of a kind that is newer than the types that this was built with.
pub(super) const UNKNOWN_KIND: &str = "volume of an unknown kind";

/// What a volume brings in. Every kind that this version of the API knows is named, so that a new one fails to compile;
/// a kind that it does not know arrives as a volume without any source and is opaque.
pub(super) fn brought(volume: &Volume) -> Brought {
    let Volume {
        name: _,
        persistent_volume_claim,
        image,
        ephemeral,
        csi,
        nfs,
        host_path,
        empty_dir,
        config_map,
        secret,
        downward_api,
        projected,
        aws_elastic_block_store,
        azure_disk,
        azure_file,
        cephfs,
        cinder,
        fc,
        flex_volume,
        flocker,
        gce_persistent_disk,
        git_repo,
        glusterfs,
        iscsi,
        photon_persistent_disk,
        portworx_volume,
        quobyte,
        rbd,
        scale_io,
        storageos,
        vsphere_volume,
    } = volume;
    if let Some(claim) = persistent_volume_claim {
        return Brought::Claim { name: claim.claim_name.clone(), read_only: claim.read_only == Some(true) };
    }
    // The kubelet mounts an image read-only, whatever the mount says.
    if let Some(image) = image {
        let source = image_volume(image.reference.as_deref().unwrap_or_default());
        return Brought::Opaque { source, read_only: true };
    }
    if let Some(csi) = csi {
        let source = OpaqueSource { csi_driver: Some(csi.driver.clone()), ..opaque("csi", &csi.driver, USE_A_CLAIM) };
        return Brought::Opaque { source, read_only: csi.read_only == Some(true) };
    }
    if let Some(nfs) = nfs {
        let source = opaque("nfs", &format!("{}:{}", nfs.server, nfs.path), USE_A_CLAIM);
        return Brought::Opaque { source, read_only: nfs.read_only == Some(true) };
    }
    if let Some(host_path) = host_path {
        return Brought::Opaque { source: opaque("hostPath", &host_path.path, USE_A_CLAIM), read_only: false };
    }
    let in_tree = [
        (aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (azure_disk.is_some(), "azureDisk"),
        (azure_file.is_some(), "azureFile"),
        (cephfs.is_some(), "cephfs"),
        (cinder.is_some(), "cinder"),
        (fc.is_some(), "fc"),
        (flex_volume.is_some(), "flexVolume"),
        (flocker.is_some(), "flocker"),
        (gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (git_repo.is_some(), "gitRepo"),
        (glusterfs.is_some(), "glusterfs"),
        (iscsi.is_some(), "iscsi"),
        (photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (portworx_volume.is_some(), "portworxVolume"),
        (quobyte.is_some(), "quobyte"),
        (rbd.is_some(), "rbd"),
        (scale_io.is_some(), "scaleIO"),
        (storageos.is_some(), "storageos"),
        (vsphere_volume.is_some(), "vsphereVolume"),
    ];
    if let Some((_, kind)) = in_tree.into_iter().find(|(present, _)| *present) {
        return Brought::Opaque { source: opaque(kind, "", USE_A_CLAIM), read_only: false };
    }
    if let Some(ephemeral) = ephemeral {
        let spec = ephemeral.volume_claim_template.as_ref().map(|template| &template.spec);
        // Made for this Pod and gone with it. Without a data source it is as empty as an emptyDir.
        if spec.is_some_and(|spec| spec.data_source.is_none() && spec.data_source_ref.is_none()) {
            return Brought::Nothing(Holds::Ephemeral);
        }
        let storage_class = spec.and_then(|spec| spec.storage_class_name.clone());
        let source = OpaqueSource { storage_class, ..opaque("generic ephemeral volume", "", USE_A_CLAIM) };
        return Brought::Opaque { source, read_only: false };
    }
    let made_by_kubernetes = [
        (empty_dir.is_some(), Holds::EmptyDir),
        (config_map.is_some(), Holds::ConfigMap),
        (secret.is_some(), Holds::Secret),
        (downward_api.is_some(), Holds::DownwardApi),
        (projected.is_some(), Holds::Projected),
    ];
    if let Some((_, holds)) = made_by_kubernetes.into_iter().find(|(present, _)| *present) {
        return Brought::Nothing(holds);
    }
    Brought::Opaque { source: opaque(UNKNOWN_KIND, "", USE_A_CLAIM), read_only: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(source: serde_json::Value) -> Brought {
        let mut volume = source;
        volume["name"] = json!("v");
        brought(&serde_json::from_value(volume).unwrap())
    }

    #[test]
    fn what_kubernetes_itself_makes_brings_in_nothing() {
        for source in [
            json!({ "emptyDir": {} }),
            json!({ "configMap": { "name": "c" } }),
            json!({ "secret": { "secretName": "s" } }),
            json!({ "downwardAPI": { "items": [] } }),
            json!({ "projected": { "sources": [] } }),
            json!({ "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": ["ReadWriteOnce"] } } } }),
        ] {
            assert!(matches!(of(source.clone()), Brought::Nothing(_)), "{source}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_opaque() {
        for (source, kind, target) in [
            (json!({ "image": { "reference": "r.example/m:1" } }), "image volume", "r.example/m:1"),
            (json!({ "csi": { "driver": "d" } }), "csi", "d"),
            (json!({ "nfs": { "server": "s", "path": "/p" } }), "nfs", "s:/p"),
            (json!({ "hostPath": { "path": "/p" } }), "hostPath", "/p"),
            (json!({ "gitRepo": { "repository": "r" } }), "gitRepo", ""),
            (json!({ "rbd": { "image": "i", "monitors": [] } }), "rbd", ""),
            (json!({ "ephemeral": {} }), "generic ephemeral volume", ""),
            (json!({ "someKindOfTomorrow": {} }), UNKNOWN_KIND, ""),
        ] {
            let Brought::Opaque { source: found, .. } = of(source.clone()) else { panic!("{source}") };
            assert_eq!((found.kind, found.target.as_str()), (kind, target));
        }
    }

    #[test]
    fn an_ephemeral_volume_with_a_data_source_brings_that_in() {
        let spec = json!({ "storageClassName": "fast", "dataSource": { "kind": "VolumeSnapshot", "name": "s" } });
        let found = of(json!({ "ephemeral": { "volumeClaimTemplate": { "spec": spec } } }));
        let Brought::Opaque { source, .. } = found else { panic!("{found:?}") };
        assert_eq!(source.storage_class.as_deref(), Some("fast"));
    }

    #[test]
    fn a_source_that_counts_hides_one_that_does_not() {
        let both = json!({ "emptyDir": {}, "hostPath": { "path": "/p" } });
        assert!(matches!(of(both), Brought::Opaque { .. }));
    }
}
