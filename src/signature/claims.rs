//! What a bundle says of its signer, before anybody has checked it.
//!
//! Receives a parsed bundle, gives names and dates for people who look into it. Nothing here is proof of anything: none of
//! it becomes a [`super::Signer`], and nothing decides by it.

use jiff::Timestamp;

use super::bundle::{Bundle, Material};
use super::certificate;

/// The signer that a bundle names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The holder of a key.
    Key {
        /// The OMS hint: SHA-256 of the key's PEM text. Old bundles have none.
        hint: Option<String>,
    },
    /// The holder of a certificate.
    Certificate {
        /// The leaf, if it can be read.
        leaf: Option<ClaimedCertificate>,
        /// How many certificates follow it.
        above: usize,
    },
    /// An identity of a Sigstore instance.
    Keyless {
        /// The certificate, if it can be read.
        leaf: Option<ClaimedCertificate>,
        /// Entries of transparency logs.
        entries: Vec<ClaimedEntry>,
        /// How many timestamps there are.
        timestamps: usize,
    },
}

/// What a certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedCertificate {
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// The issuer, as RFC 4514 writes it.
    pub issuer: String,
    /// The alternative names: `uri:…`, `dns:…`, `email:…`.
    pub names: Vec<String>,
    /// The OIDC issuer, in certificates of Sigstore.
    pub oidc_issuer: Option<String>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// An entry of a transparency log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedEntry {
    /// Its number in the log.
    pub index: u64,
    /// When the log took it in. Rekor v2 does not say.
    pub at: Option<Timestamp>,
}

impl Bundle {
    /// The signer that the bundle names. Nobody checked it.
    pub fn claimed_signer(&self) -> Claimed {
        match &self.material {
            Material::PublicKey { hint, .. } => Claimed::Key { hint: hint.clone() },
            Material::CertificateChain(chain) => Claimed::Certificate {
                leaf: chain.first().and_then(|leaf| certificate::claimed(leaf)),
                above: chain.len().saturating_sub(1),
            },
            Material::Keyless(evidence) => Claimed::Keyless {
                leaf: evidence.leaf().and_then(certificate::claimed),
                entries: evidence.entries().map(|(index, at)| ClaimedEntry { index, at }).collect(),
                timestamps: evidence.timestamps(),
            },
        }
    }
}
