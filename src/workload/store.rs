//! The storage behind a claim, as something that two claims can have in common.

use std::fmt;
use std::str::FromStr;

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

/// Whether one path is the other or lies below it, by components. Nobody can say where one that climbs leads (a Pod may
/// mount such a path of an NFS server).
fn nested(x: &str, y: &str) -> bool {
    if [x, y].iter().any(|path| path.split('/').any(|part| part == "..")) {
        return true;
    }
    let parts = |path| str::split(path, '/').filter(|part| !part.is_empty() && *part != ".");
    parts(x).zip(parts(y)).all(|(a, b)| a == b)
}

impl fmt::Display for BackingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csi { driver, handle } => write!(f, "csi:{driver}/{handle}"),
            Self::Nfs { server, path } => write!(f, "nfs:{server}/{}", path.trim_start_matches('/')),
            Self::Node { node, path } => write!(f, "node:{node}/{}", path.trim_start_matches('/')),
            Self::Claim { uid } => write!(f, "claim:{uid}"),
        }
    }
}

/// Text that is not the printed form of a [`BackingStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a backing store is written as csi:<driver>/<handle>, nfs:<server>/<path>, node:<node>/<path> or claim:<uid>")]
pub struct NotAStore;

impl FromStr for BackingStore {
    type Err = NotAStore;

    fn from_str(text: &str) -> Result<Self, NotAStore> {
        let (kind, rest) = text.split_once(':').ok_or(NotAStore)?;
        if kind == "claim" {
            return Ok(Self::Claim { uid: rest.to_owned() });
        }
        let (first, second) = rest.split_once('/').ok_or(NotAStore)?;
        let (first, path) = (first.to_owned(), format!("/{second}"));
        match kind {
            "csi" => Ok(Self::Csi { driver: first, handle: second.to_owned() }),
            "nfs" => Ok(Self::Nfs { server: first, path }),
            "node" => Ok(Self::Node { node: first, path }),
            _ => Err(NotAStore),
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

    #[test]
    fn a_path_that_climbs_may_lead_anywhere_on_its_server() {
        let nfs = |server: &str, path: &str| BackingStore::Nfs { server: server.into(), path: path.into() };
        assert!(nfs("s", "/scratch/../models").overlaps(&nfs("s", "/models")));
        assert!(!nfs("s", "/scratch/../models").overlaps(&nfs("t", "/models")));
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let stores = [
            node("/a/b"),
            BackingStore::Nfs { server: "s".into(), path: "/".into() },
            BackingStore::Csi { driver: "ebs.csi.aws.com".into(), handle: "a/b:c".into() },
            BackingStore::Claim { uid: "u".into() },
        ];
        for store in stores {
            assert_eq!(store.to_string().parse(), Ok(store));
        }
        assert_eq!("ebs".parse::<BackingStore>(), Err(NotAStore));
        assert_eq!("disk:a/b".parse::<BackingStore>(), Err(NotAStore));
    }
}
