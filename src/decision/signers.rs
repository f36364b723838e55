//! Signers of a record, as the engine knows them: for comparison with authorities, and in words.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::v1alpha1::{CertificateProfile, SignerKind, SignerProof, SignerStatus};
use crate::model::{Digest, shown};
use crate::signature::{AlternativeName, CertificateFacts, KeylessFacts, Profile, Signer};

/// How much of a fingerprint is shown: as much as tells keys apart at a glance. The whole one stands in the status.
const SHOWN_FINGERPRINT_CHARS: usize = "sha256:".len() + 16;

/// The signer that a record speaks of, once for each proof of it that `counts`. A field that is absent, or that cannot be
/// read, makes it nobody.
pub(super) fn proved(status: &SignerStatus, counts: impl Fn(&SignerProof) -> bool) -> Vec<Signer> {
    match status.kind {
        SignerKind::Key => {
            digest(&status.fingerprint).map(|fingerprint| Signer::Key { fingerprint }).into_iter().collect()
        }
        SignerKind::Certificate => {
            let proofs = status.proofs.iter().filter(|proof| counts(proof));
            proofs.filter_map(|proof| certificate(status, proof)).map(Signer::Certificate).collect()
        }
        SignerKind::Keyless => {
            let proofs = status.proofs.iter().filter(|proof| counts(proof));
            proofs.filter_map(|proof| keyless(status, proof)).map(Signer::Keyless).collect()
        }
    }
}

fn certificate(status: &SignerStatus, proof: &SignerProof) -> Option<CertificateFacts> {
    Some(CertificateFacts {
        fingerprint: digest(&status.fingerprint)?,
        subject: status.subject.clone()?,
        issuer: status.issuer.clone()?,
        names: status.names.iter().map(|name| alternative_name(name)).collect::<Option<_>>()?,
        not_after: proof.not_after.as_ref()?.0,
        chain: proof.chain.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?,
        root: digest(&proof.root)?,
        trust: digest(&proof.trust)?,
        profile: match proof.profile? {
            CertificateProfile::Strict => Profile::Strict,
            CertificateProfile::Reference => Profile::Reference,
        },
    })
}

fn keyless(status: &SignerStatus, proof: &SignerProof) -> Option<KeylessFacts> {
    Some(KeylessFacts {
        identity: status.identity.clone()?,
        issuer: status.issuer.clone()?,
        signed_at: proof.signed_at.as_ref()?.0,
        trust: digest(&proof.trust)?,
        log: proof.log.clone(),
        timestamp_authority: proof.timestamp_authority.clone(),
    })
}

fn digest(text: &Option<String>) -> Option<Digest> {
    text.as_ref()?.parse().ok()
}

fn alternative_name(text: &str) -> Option<AlternativeName> {
    let (kind, name) = text.split_once(':')?;
    let name = name.to_owned();
    match kind {
        "uri" => Some(AlternativeName::Uri(name)),
        "dns" => Some(AlternativeName::Dns(name)),
        "email" => Some(AlternativeName::Email(name)),
        _ => None,
    }
}

/// When each proof of a signer stops to count by itself, if it does.
pub fn ends(signer: &SignerStatus) -> impl Iterator<Item = Timestamp> {
    signer.proofs.iter().filter_map(|proof| end_of(signer, proof))
}

/// When a proof stops to count by itself: a certificate of the profile `Strict` is one that is valid now. A certificate
/// without an end has ended.
fn end_of(signer: &SignerStatus, proof: &SignerProof) -> Option<Timestamp> {
    let strict = signer.kind == SignerKind::Certificate && proof.profile != Some(CertificateProfile::Reference);
    strict.then(|| proof.not_after.as_ref().map_or(Timestamp::MIN, |end| end.0))
}

/// Whether a proof still counts (RFC 5280, 4.1.2.5: the last moment is still within).
pub(super) fn is_valid(signer: &SignerStatus, proof: &SignerProof, now: Timestamp) -> bool {
    end_of(signer, proof).is_none_or(|end| end >= now)
}

/// Whether no proof of a signer counts any longer.
pub fn has_expired(signer: &SignerStatus, now: Timestamp) -> bool {
    let certified = signer.kind == SignerKind::Certificate;
    certified && !signer.proofs.iter().any(|proof| is_valid(signer, proof, now))
}

/// By what one signer is told from another: those who share any of this are taken for one. The key, and the names that a
/// certificate gives (its subject only where it gives no other: that of a SPIFFE certificate is the same for everybody):
/// who renews a certificate, or has one of a company's PKI and one of Sigstore for the same address, stays one signer.
pub(super) fn marks(signer: &Signer) -> BTreeSet<String> {
    match signer {
        Signer::Key { fingerprint } => BTreeSet::from([fingerprint.to_string()]),
        Signer::Certificate(facts) => {
            let name = |name: &AlternativeName| match name {
                AlternativeName::Uri(name) => name.clone(),
                // Neither a host's name nor, in practice, an address depends on case.
                AlternativeName::Dns(name) | AlternativeName::Email(name) => name.to_lowercase(),
            };
            let mut marks: BTreeSet<String> = facts.names.iter().map(name).collect();
            if marks.is_empty() {
                marks.insert(format!("{} {}", facts.issuer, facts.subject));
            }
            marks.insert(facts.fingerprint.to_string());
            marks
        }
        Signer::Keyless(facts) if facts.identity.contains("://") => BTreeSet::from([facts.identity.clone()]),
        Signer::Keyless(facts) => BTreeSet::from([facts.identity.to_lowercase()]),
    }
}

/// A signer in words. What it says of itself is somebody else's text, and escaped.
pub(super) fn words(signer: &SignerStatus) -> String {
    let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(shown);
    let nobody = || "somebody without a name".to_owned();
    match signer.kind {
        SignerKind::Key => signer.fingerprint.as_deref().map_or_else(nobody, |it| format!("key {}", short(it))),
        SignerKind::Certificate => {
            let name = signer.names.first().map(|name| shown(name)).or_else(|| text(&signer.subject));
            let issuer = text(&signer.issuer).map(|issuer| format!(" (issued by {issuer})")).unwrap_or_default();
            format!("{}{issuer}", name.unwrap_or_else(nobody))
        }
        SignerKind::Keyless => {
            let issuer = text(&signer.issuer).map(|issuer| format!(" (known to {issuer})")).unwrap_or_default();
            format!("{}{issuer}", text(&signer.identity).unwrap_or_else(nobody))
        }
    }
}

fn short(fingerprint: &str) -> String {
    let head: String = fingerprint.chars().take(SHOWN_FINGERPRINT_CHARS).collect();
    let cut = if head.len() < fingerprint.len() { "…" } else { "" };
    format!("{}{cut}", shown(&head))
}
