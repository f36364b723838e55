//! What policies trust, and the set of it that a read is given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CompiledPolicy, PolicyName};
use crate::api::v1alpha1::CertificateProfile;
use crate::model::{HashAlgorithm, Hasher};
use crate::signature::{
    CertificateTrust, KeyError, KeylessTrust, Profile, PublicKey, RootsError, TrustMaterial, TrustedRootError,
};

/// One piece of trust material, in the form in which a verifier is given it. Text in it was read once already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum TrustPiece {
    /// A public key.
    Key {
        /// The key in PEM.
        pem: String,
    },
    /// Roots of certificate chains.
    Roots {
        /// The certificates in PEM.
        pem: String,
        /// By which rules chains to them are checked.
        profile: CertificateProfile,
    },
    /// A Sigstore instance.
    TrustedRoot {
        /// Its `trusted_root.json`.
        json: String,
    },
    /// The public-good instance of Sigstore, whose root is in the program.
    PublicGood {},
}

/// Why a piece of trust material cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is no public key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is no set of roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// It is no trusted root.
    #[error(transparent)]
    TrustedRoot(#[from] TrustedRootError),
}

impl TrustPiece {
    /// Reads the piece, and adds it to what signatures are checked against.
    pub fn add_to(&self, material: &mut TrustMaterial) -> Result<(), TrustError> {
        match self {
            TrustPiece::Key { pem } => material.keys.push(PublicKey::from_pem(pem)?),
            TrustPiece::Roots { pem, profile } => {
                material.certificates.push(CertificateTrust::from_pem(pem, profile_of(*profile))?);
            }
            TrustPiece::TrustedRoot { json } => material.keyless.push(KeylessTrust::from_json(json)?),
            TrustPiece::PublicGood {} => material.keyless.push(KeylessTrust::public_good()?),
        }
        Ok(())
    }
}

/// The engine's name of a profile.
pub(super) fn profile_of(profile: CertificateProfile) -> Profile {
    match profile {
        CertificateProfile::Strict => Profile::Strict,
        CertificateProfile::Reference => Profile::Reference,
    }
}

/// A piece with the name that it is known by, whatever its layout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPiece {
    /// Its kind, its digest and, for roots, the profile.
    pub(super) name: String,
    /// The piece.
    pub(super) piece: TrustPiece,
}

/// What the bundles of a namespace are checked against: the trust material of all policies that match it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustSet {
    /// Pieces of policies of the cluster, by name.
    pieces: BTreeMap<String, TrustPiece>,
    /// Pieces that only policies of the namespace bring.
    namespaced: BTreeMap<String, TrustPiece>,
}

/// What stands between the digests of both halves of a set.
const HALVES: char = '+';

impl TrustSet {
    pub(super) fn of_policies<'a>(policies: impl IntoIterator<Item = &'a CompiledPolicy>) -> Self {
        let mut set = TrustSet::default();
        for policy in policies {
            let half = match policy.name {
                PolicyName::Cluster(_) => &mut set.pieces,
                PolicyName::Namespaced { .. } => &mut set.namespaced,
            };
            half.extend(policy.pieces().map(|NamedPiece { name, piece }| (name.clone(), piece.clone())));
        }
        set.namespaced.retain(|name, _| !set.pieces.contains_key(name));
        set
    }

    /// The pieces, each once, in an order that is always the same.
    pub fn pieces(&self) -> impl Iterator<Item = &TrustPiece> {
        self.pieces.values().chain(self.namespaced.values())
    }

    /// The names of the pieces, in the same order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pieces.keys().map(String::as_str)
    }

    /// Whether there is nothing at all in it.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.namespaced.is_empty()
    }

    /// `sha256:…` over the sorted names of the pieces; behind a `+` the same of those that only policies of the namespace
    /// bring, if there are any. Two sets have the same digest if and only if they trust the same.
    pub fn digest(&self) -> String {
        let cluster = digest(&self.pieces);
        if self.namespaced.is_empty() { cluster } else { format!("{cluster}{HALVES}{}", digest(&self.namespaced)) }
    }

    /// The part of a digest that policies of the cluster alone can change.
    pub fn cluster_half(digest: &str) -> &str {
        digest.split(HALVES).next().unwrap_or_default()
    }

    /// What signatures are checked against: all pieces, read.
    pub fn material(&self) -> Result<TrustMaterial, TrustError> {
        let mut material = TrustMaterial::default();
        self.pieces().try_for_each(|piece| piece.add_to(&mut material))?;
        Ok(material)
    }
}

fn digest(pieces: &BTreeMap<String, TrustPiece>) -> String {
    let mut hash = Hasher::new(HashAlgorithm::Sha256);
    for name in pieces.keys() {
        hash.update(name.as_bytes());
        hash.update(b"\n");
    }
    hash.finish().to_string()
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Public keys made with OpenSSL for tests; nobody has the private halves.

    /// ECDSA on P-256.
    pub(crate) const KEY_A: &str = include_str!("fixtures/a.pub");
    /// Another one on P-256.
    pub(crate) const KEY_B: &str = include_str!("fixtures/b.pub");
    /// ECDSA on P-384.
    pub(crate) const KEY_C: &str = include_str!("fixtures/c.pub");
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;
    use crate::api::v1alpha1::ClusterModelPolicy;

    fn set(policies: &[&[&str]]) -> TrustSet {
        let key = |(at, pem): (usize, &&str)| serde_json::json!({ "name": format!("k{at}"), "key": { "data": pem } });
        let policy = |keys: &&[&str]| {
            let authorities: Vec<_> = keys.iter().enumerate().map(key).collect();
            let spec = serde_json::json!({
                "match": { "namespaceSelector": {} }, "validationActions": ["Deny"], "authorities": authorities,
            });
            CompiledPolicy::of(&ClusterModelPolicy::new("p", serde_json::from_value(spec).unwrap()))
        };
        let policies: Vec<CompiledPolicy> = policies.iter().map(policy).collect();
        TrustSet::of_policies(&policies)
    }

    #[test]
    fn spaces_around_a_key_change_nothing() {
        let padded = format!("The release key:\n{}\n\n", KEY_A.replace('\n', "\r\n"));
        assert_eq!(set(&[&[&padded]]), set(&[&[KEY_A]]));
        assert_eq!(PublicKey::from_pem(&padded).unwrap().pem(), KEY_A);
        assert_ne!(set(&[&[KEY_A]]), set(&[&[KEY_B]]));
    }

    #[test]
    fn the_digest_of_a_set_is_that_of_its_pieces() {
        let twice = set(&[&[KEY_A, KEY_B], &[KEY_A]]);
        assert_eq!(twice, set(&[&[KEY_B, KEY_A]]));
        assert_eq!(twice.digest(), set(&[&[KEY_B], &[KEY_A]]).digest());
        assert_ne!(set(&[&[KEY_A]]).digest(), set(&[&[KEY_B]]).digest());
        assert_eq!(twice.pieces().count(), 2);
        assert_eq!(twice.material().unwrap().keys.len(), 2);
    }

    #[test]
    fn a_piece_is_read_as_it_was_written() {
        let pieces = [
            TrustPiece::Key { pem: KEY_A.into() },
            TrustPiece::Roots { pem: "x".into(), profile: CertificateProfile::Reference },
            TrustPiece::TrustedRoot { json: "{}".into() },
            TrustPiece::PublicGood {},
        ];
        for piece in pieces {
            let json = serde_json::to_string(&piece).unwrap();
            assert_eq!(serde_json::from_str::<TrustPiece>(&json).unwrap(), piece, "{json}");
        }
        for foreign in [r#"{"key":{"pem":"x","weaker":true}}"#, r#"{"roots":{"pem":"x"}}"#, r#""publicGood""#, "{}"] {
            assert!(serde_json::from_str::<TrustPiece>(foreign).is_err(), "{foreign}");
        }
    }
}
