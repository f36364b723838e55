//! The storage behind a claim, as something that two claims can have in common.

use std::fmt;

/// The storage behind a volume: what a writer writes to, whatever claim or namespace it comes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackingStore {
    /// A volume of a CSI driver.
    Csi {
        /// Name of the driver.
        driver: String,
        /// The volume's handle.
        handle: String,
    },
    /// A path of an NFS server; covers what lies below it.
    Nfs {
        /// The server.
        server: String,
        /// The exported path.
        path: String,
    },
    /// A path of one node (hostPath and `local` volumes pinned to it); covers what lies below it.
    Node {
        /// Name of the node.
        node: String,
        /// The path.
        path: String,
    },
    /// A claim that is not bound yet, or a volume of a kind without identity: by the claim's uid.
    Claim {
        /// Uid of the claim.
        uid: String,
    },
}

impl BackingStore {
    /// Whether writing to one can change what is read from the other: the same store, or one path inside the other.
    pub fn overlaps(&self, other: &BackingStore) -> bool {
        match (self, other) {
            (Self::Nfs { server: a, path: x }, Self::Nfs { server: b, path: y })
            | (Self::Node { node: a, path: x }, Self::Node { node: b, path: y }) => a == b && nested(x, y),
            _ => self == other,
        }
    }
}

/// Whether one path is the other or lies below it, by components.
fn nested(x: &str, y: &str) -> bool {
    let parts =
        |path: &str| path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
    let (x, y): (Vec<String>, Vec<String>) = (parts(x), parts(y));
    x.iter().zip(&y).all(|(a, b)| a == b)
}

impl fmt::Display for BackingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csi { driver, handle } => write!(f, "csi:{driver}/{handle}"),
            Self::Nfs { server, path } => write!(f, "nfs:{server}{path}"),
            Self::Node { node, path } => write!(f, "node:{node}{path}"),
            Self::Claim { uid } => write!(f, "claim:{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str) -> BackingStore {
        BackingStore::Node { node: "n".into(), path: path.into() }
    }

    #[test]
    fn a_path_inside_the_other_is_the_same_store() {
        assert!(node("/a/b").overlaps(&node("/a")));
        assert!(node("/a").overlaps(&node("/a/b")));
        assert!(node("/").overlaps(&node("/a")));
        assert!(!node("/ab").overlaps(&node("/a")));
        assert!(!BackingStore::Node { node: "m".into(), path: "/a".into() }.overlaps(&node("/a")));
    }
}
