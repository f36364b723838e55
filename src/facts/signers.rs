//! Who signed a model and what proved it, as a verifier reports it: nothing stands in it twice.
//!
//! A signer is proved by each set of roots and each Sigstore instance that leads to it, and several signers by the same
//! ones. A report has little room, so that a signer is written once with its proofs, a way from a leaf to a root once
//! for all who came by it, and digests in the shortest text that JSON can hold.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::report::whole;
use crate::api::v1alpha1::{CertificateProfile, SignerKind, SignerProof, SignerStatus};
use crate::model::Digest;
use crate::signature::{CertificateFacts, KeylessFacts, Profile, Signer};

/// The signers of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signers {
    who: Vec<Who>,
    /// Ways from a leaf to a root, by which certificates are proved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ways: Vec<Way>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Who {
    Key {
        fingerprint: Short,
    },
    Certificate {
        fingerprint: Short,
        subject: String,
        issuer: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
        proofs: Vec<OfCertificate>,
    },
    Keyless {
        identity: String,
        issuer: String,
        proofs: Vec<OfIdentity>,
    },
}

/// A certificate is proved by a way. `not_after` is when the first certificate on it ends, the leaf included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfCertificate {
    not_after: Timestamp,
    way: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfIdentity {
    signed_at: Timestamp,
    trust: Short,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_authority: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Way {
    /// The certificates between leaf and root, from the leaf on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chain: Vec<Short>,
    root: Short,
    /// The set of roots.
    trust: Short,
    profile: CertificateProfile,
}

/// A SHA-256 digest in base64url: 43 characters, where `sha256:` with its digits takes 71.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short(Digest);

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| D::Error::custom("a digest of another length"))?;
        Ok(Short(Digest::sha256(bytes)))
    }
}

impl From<Vec<Signer>> for Signers {
    fn from(signers: Vec<Signer>) -> Self {
        let mut all = Signers::default();
        signers.into_iter().for_each(|signer| all.add(signer));
        all
    }
}

impl Signers {
    /// Whether nobody signed.
    pub fn is_empty(&self) -> bool {
        self.who.is_empty()
    }

    /// How many signed.
    pub fn len(&self) -> usize {
        self.who.len()
    }

    /// As a record keeps them.
    pub fn statuses(&self) -> Vec<SignerStatus> {
        self.who.iter().map(|who| self.status(who)).collect()
    }

    fn add(&mut self, signer: Signer) {
        match signer {
            Signer::Key { fingerprint } => {
                let who = Who::Key { fingerprint: Short(fingerprint) };
                if !self.who.contains(&who) {
                    self.who.push(who);
                }
            }
            Signer::Certificate(facts) => self.add_certificate(facts),
            Signer::Keyless(KeylessFacts { identity, issuer, signed_at, trust, log, timestamp_authority }) => {
                let proof = OfIdentity { signed_at, trust: Short(trust), log, timestamp_authority };
                let known = self.who.iter_mut().find_map(|who| match who {
                    Who::Keyless { identity: i, issuer: j, proofs } if (&*i, &*j) == (&identity, &issuer) => {
                        Some(proofs)
                    }
                    _ => None,
                });
                match known {
                    Some(proofs) if proofs.contains(&proof) => {}
                    Some(proofs) => proofs.push(proof),
                    None => self.who.push(Who::Keyless { identity, issuer, proofs: vec![proof] }),
                }
            }
        }
    }

    fn add_certificate(&mut self, facts: CertificateFacts) {
        let CertificateFacts { fingerprint, subject, issuer, names, not_after, chain, root, trust, profile } = facts;
        let profile = match profile {
            Profile::Strict => CertificateProfile::Strict,
            Profile::Reference => CertificateProfile::Reference,
        };
        let chain = chain.into_iter().map(Short).collect();
        let way = Way { chain, root: Short(root), trust: Short(trust), profile };
        let at = self.ways.iter().position(|known| *known == way).unwrap_or_else(|| {
            self.ways.push(way);
            self.ways.len() - 1
        });
        let proof = OfCertificate { not_after, way: at };
        let fingerprint = Short(fingerprint);
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let known = self.who.iter_mut().find_map(|who| match who {
            Who::Certificate { fingerprint: f, subject: s, issuer: i, names: n, proofs }
                if (&*f, &*s, &*i, &*n) == (&fingerprint, &subject, &issuer, &names) =>
            {
                Some(proofs)
            }
            _ => None,
        });
        match known {
            Some(proofs) if proofs.contains(&proof) => {}
            Some(proofs) => proofs.push(proof),
            None => self.who.push(Who::Certificate { fingerprint, subject, issuer, names, proofs: vec![proof] }),
        }
    }

    fn status(&self, who: &Who) -> SignerStatus {
        let text = |digest: &Short| digest.0.to_string();
        match who {
            Who::Key { fingerprint } => {
                SignerStatus { fingerprint: Some(text(fingerprint)), ..SignerStatus::of(SignerKind::Key) }
            }
            Who::Certificate { fingerprint, subject, issuer, names, proofs } => {
                let proof = |OfCertificate { not_after, way }: &OfCertificate| {
                    let Way { chain, root, trust, profile } = self.ways.get(*way)?;
                    Some(SignerProof {
                        trust: Some(text(trust)),
                        profile: Some(*profile),
                        chain: chain.iter().map(text).collect(),
                        root: Some(text(root)),
                        not_after: Some(whole(*not_after)),
                        ..SignerProof::default()
                    })
                };
                SignerStatus {
                    fingerprint: Some(text(fingerprint)),
                    subject: Some(subject.clone()),
                    issuer: Some(issuer.clone()),
                    names: names.clone(),
                    proofs: proofs.iter().filter_map(proof).collect(),
                    ..SignerStatus::of(SignerKind::Certificate)
                }
            }
            Who::Keyless { identity, issuer, proofs } => {
                let proof = |OfIdentity { signed_at, trust, log, timestamp_authority }: &OfIdentity| SignerProof {
                    trust: Some(text(trust)),
                    signed_at: Some(whole(*signed_at)),
                    log: log.clone(),
                    timestamp_authority: timestamp_authority.clone(),
                    ..SignerProof::default()
                };
                SignerStatus {
                    identity: Some(identity.clone()),
                    issuer: Some(issuer.clone()),
                    proofs: proofs.iter().map(proof).collect(),
                    ..SignerStatus::of(SignerKind::Keyless)
                }
            }
        }
    }

    /// Whether each signer has a proof, each proof is one of those that are listed, and all text can be shown.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        for who in &self.who {
            let proved = match who {
                Who::Key { .. } => true,
                Who::Certificate { proofs, .. } => {
                    !proofs.is_empty() && proofs.iter().all(|proof| proof.way < self.ways.len())
                }
                Who::Keyless { proofs, .. } => !proofs.is_empty(),
            };
            if !proved {
                return Err("a signer is proved by something");
            }
            if who.texts().into_iter().flat_map(str::chars).any(char::is_control) {
                return Err("a signer's text is not fit to be shown");
            }
        }
        Ok(())
    }
}

impl Who {
    /// What certificates say: somebody else's text.
    fn texts(&self) -> Vec<&str> {
        match self {
            Who::Key { .. } => Vec::new(),
            Who::Certificate { subject, issuer, names, .. } => {
                names.iter().chain([subject, issuer]).map(String::as_str).collect()
            }
            Who::Keyless { identity, issuer, proofs } => {
                let logs = proofs.iter().flat_map(|proof| proof.log.iter().chain(&proof.timestamp_authority));
                [identity, issuer].into_iter().chain(logs).map(String::as_str).collect()
            }
        }
    }
}
