//! Whether a read of a volume on one node holds for every Pod.

use super::{Backing, ClaimFacts, Finding, VolumeFacts};
use crate::api::v1alpha1::{NfsExport, TrustedStorage};
use crate::model::shown;
use crate::workload::is_at_or_below;

/// CSI drivers of block storage that one node writes at a time and that nothing outside of the cluster writes: what was
/// read on one node is what every Pod gets. The published table; a policy adds others by `content.trustedStorage`.
///
/// Some of these also serve shared file systems, as claims with `ReadWriteMany`: those are not vouched for.
pub const SINGLE_WRITER_DRIVERS: &[&str] = &[
    "block.csi.vultr.com",
    "blockvolume.csi.oraclecloud.com",
    "cinder.csi.openstack.org",
    "csi.hetzner.cloud",
    "csi.scaleway.com",
    "csi.vsphere.vmware.com",
    "disk.csi.azure.com",
    "diskplugin.csi.alibabacloud.com",
    "dobs.csi.digitalocean.com",
    "driver.longhorn.io",
    "ebs.csi.aws.com",
    "linodebs.csi.linode.com",
    "linstor.csi.linbit.com",
    "local.csi.openebs.io",
    "pd.csi.storage.gke.io",
    "rbd.csi.ceph.com",
    "topolvm.cybozu.com",
    "topolvm.io",
    "vpc.block.csi.ibm.io",
];

/// Rook puts its own namespace before the name of the driver.
const ROOK_RBD_SUFFIX: &str = ".rbd.csi.ceph.com";

/// Checks that what was read from a volume is what every Pod gets from it.
pub fn check(claim: &ClaimFacts, volume: &VolumeFacts, trusted: &[TrustedStorage]) -> Result<(), Finding> {
    if vouched_for(claim, volume) || trusted.iter().any(|item| is_trusted(item, volume)) {
        return Ok(());
    }
    let (what, fix) = match &volume.backing {
        Backing::Node { .. } => {
            ("its volume is pinned to no single node".to_owned(), "use one whose node affinity names one node")
        }
        Backing::Nfs { server, .. } => (
            format!("NFS (\"{}\") can change from outside the cluster", shown(server)),
            "use block storage, or have it listed in content.trustedStorage",
        ),
        Backing::Csi { driver, .. } => (
            format!("\"{}\" may not answer every node alike", shown(driver)),
            "use block storage, or have it listed in content.trustedStorage",
        ),
        Backing::Other(_) => (
            "its volume is of a kind that cannot be vouched for".to_owned(),
            "use a volume of a CSI driver for block storage",
        ),
    };
    Err(Finding { what, fix: fix.to_owned(), detail: None })
}

/// Whether the code itself vouches for the volume.
fn vouched_for(claim: &ClaimFacts, volume: &VolumeFacts) -> bool {
    match &volume.backing {
        Backing::Node { node, .. } => node.is_some(),
        Backing::Csi { driver, .. } => {
            let listed = SINGLE_WRITER_DRIVERS.contains(&driver.as_str()) || driver.ends_with(ROOK_RBD_SUFFIX);
            listed && !claim.access_modes.iter().any(|mode| mode == "ReadWriteMany")
        }
        Backing::Nfs { .. } | Backing::Other(_) => false,
    }
}

/// Whether an entry of `content.trustedStorage` means the volume. A StorageClass counts only where the volume's
/// provisioner and driver confirm it: anyone who makes a volume by hand can write the name of a class on it.
fn is_trusted(item: &TrustedStorage, volume: &VolumeFacts) -> bool {
    let TrustedStorage { csi_driver, storage_class, nfs } = item;
    match &volume.backing {
        Backing::Csi { driver, .. } => {
            let confirmed = volume.provisioner.as_ref() == Some(driver);
            let by_class = storage_class.is_some() && *storage_class == volume.storage_class && confirmed;
            csi_driver.as_ref() == Some(driver) || by_class
        }
        Backing::Nfs { server, path } => nfs.as_ref().is_some_and(|export| is_below(export, server, path)),
        Backing::Node { .. } | Backing::Other(_) => false,
    }
}

/// Whether a path of a server is an export, or lies below it. A path that climbs is never trusted.
fn is_below(export: &NfsExport, server: &str, path: &str) -> bool {
    let plain = |path: &str| {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
    };
    let (Some(prefix), Some(path)) = (plain(&export.path_prefix), plain(path)) else { return false };
    export.server == server && is_at_or_below(&path, &prefix)
}

#[cfg(test)]
mod tests;
