//! What a policy is called.

use std::fmt;

use crate::model::shown_to;

/// The name of a policy of either kind. It is written as `name` for a [`crate::api::v1alpha1::ClusterModelPolicy`] and as
/// `namespace/name` for a [`crate::api::v1alpha1::ModelPolicy`]: no name of an object has a slash in it, so that nobody
/// mistakes one for the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// One of the cluster.
    Cluster(String),
    /// One of a namespace.
    Namespaced {
        /// The namespace.
        namespace: String,
        /// Its name in there.
        name: String,
    },
}

impl PolicyName {
    /// The name where there is room for so many characters. Of one of a namespace either part is cut by itself: what is
    /// left still is one of a namespace.
    pub fn shown(&self, chars: usize) -> String {
        match self {
            PolicyName::Cluster(name) => shown_to(name, chars),
            PolicyName::Namespaced { namespace, name } => {
                let half = chars.saturating_sub(1) / 2;
                format!("{}/{}", shown_to(namespace, half), shown_to(name, half))
            }
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyName::Cluster(name) => f.write_str(name),
            PolicyName::Namespaced { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_a_namespace_is_never_mistaken_for_one_of_the_cluster() {
        let long = "n".repeat(63);
        let ours = PolicyName::Namespaced { namespace: long.clone(), name: long.clone() };
        assert_eq!(ours.to_string(), format!("{long}/{long}"));
        let shown = ours.shown(40);
        assert!(shown.contains('/') && shown.chars().count() <= 40, "{shown}");
        assert!(!PolicyName::Cluster(long).shown(40).contains('/'));
    }
}
