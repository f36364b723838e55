//! Signatures by an identity that Sigstore vouched for.
//!
//! Receives a bundle with its log entries and timestamps and the trust roots that somebody trusts, gives facts about
//! the identity. Which identity may sign is for [`super::authority`] to say. No network: the roots are given.
//!
//! ```text
//!   certificate ── an authority of the root issued it, and it stands in a certificate transparency log
//!   log entry   ── is of this signature, is proved to be in the log, by a checkpoint that the log signed
//!   timestamp   ── is of this signature; it, or the time that a Rekor v1 log signed, lies within the validity of the
//!                  certificate and of everybody above
//!   signature   ── is the certificate's, over this content
//! ```
//!
//! Most of it is [`sigstore_verify`]'s to check; what that leaves open is checked in [`log`] and [`trust`]. It looks at
//! the machine's clock too, to refuse what is not valid yet.

mod error;
mod evidence;
mod log;
mod stamp;
mod trust;

use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::digest::SHA256;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::tsa::TsaAuthority;
use sigstore_verify::types::bundle::TransparencyLogEntry;
use sigstore_verify::types::{Artifact, Bundle as SigstoreBundle, DerPublicKey, Sha256Hash, SignatureContent};
use sigstore_verify::{
    CertificateError, Error, Policy, PublicKeyVerificationPolicy, TimestampError, TransparencyLogError,
    VerificationPolicy, VerificationResult,
};

pub use error::{EvidencePart, KeylessError};
pub(super) use evidence::{Evidence, check_counts};
pub use trust::{KeylessTrust, TrustedRootError};

use super::at_most::AtMost;
use super::bundle::{Bundle, json_error};
use super::dsse::{self, PAYLOAD_TYPE};
use super::statement::StatementError;
use super::verify::{Proved, Rejection};
use crate::model::{Digest, DigestError, HashAlgorithm};

/// How far this machine's clock may be behind the one that gave a signature its time: what machines without a time
/// service drift apart in weeks.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The largest statement that is verified as an envelope, in bytes. The verifier makes a tree of it before it has checked
/// any signature, in which two bytes of the worst text take 32, and twice that while a list grows: this stays within a
/// verifier's 1 GiB. It is enough for some 80,000 files; what Rekor v2 logged is not bound by it.
const MAX_ENVELOPE_BYTES: usize = 16 << 20;

/// The identity that signed, and what proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeylessFacts {
    /// The certificate's subject alternative name: an e-mail address or a URI.
    pub identity: String,
    /// The OIDC issuer that knew the identity.
    pub issuer: String,
    /// When it was signed, by the earliest trusted time.
    pub signed_at: Timestamp,
    /// The digest of the trust root ([`KeylessTrust::digest`]).
    pub trust: Digest,
    /// Id of the transparency log's key that proved the entry, in hexadecimal digits.
    pub log: Option<String>,
    /// The timestamp authority, by the subject of its certificate, where one gave a time.
    pub timestamp_authority: Option<String>,
}

/// The facts of a keyless bundle, once for each trust root under which it holds; at least one.
pub(super) fn verify(
    bundle: &Bundle,
    evidence: &Evidence,
    trust: &[KeylessTrust],
    now: Timestamp,
) -> Result<Proved<KeylessFacts>, Rejection> {
    let (whole, artifact) = whole(bundle, evidence)?;
    let (mut facts, mut not_before) = (Vec::new(), None);
    let mut refusal = KeylessError::NoInstance;
    for root in trust {
        match prove(&whole, Artifact::from(artifact), root, now) {
            Ok(proved) => facts.push(proved),
            Err(error) => {
                not_before = not_before.into_iter().chain(error.not_before()).min();
                refusal = telling(refusal, error);
            }
        }
    }
    if facts.is_empty() { Err(refusal.into()) } else { Ok(Proved { facts, not_before }) }
}

/// The bundle as the verifier takes it, with the digest of what it is about.
///
/// Rekor v2 logs a signature over an envelope as one over the bytes that DSSE makes of it. As such it is verified: the
/// verifier would copy the payload, which may have 200 MB, and make a tree of the statement in it, which takes more than
/// a KiB for each file. What Rekor v1 logged it can verify in no other way.
fn whole(bundle: &Bundle, evidence: &Evidence) -> Result<(SigstoreBundle, Sha256Hash), Rejection> {
    if evidence.is_logged_by_hash() {
        let signed = dsse::signed_digest(&SHA256, PAYLOAD_TYPE, &bundle.payload);
        Ok((evidence.with_message(&bundle.signature), hash(signed.as_ref())?))
    } else if bundle.payload.len() > MAX_ENVELOPE_BYTES {
        Err(KeylessError::TooLarge.into())
    } else {
        let whole = evidence.with_envelope(PAYLOAD_TYPE, &bundle.payload, &bundle.signature);
        Ok((whole, subject(&bundle.payload)?))
    }
}

/// Verifies a bundle over any artifact under one root: the one way by which a keyless signature is accepted.
pub(super) fn prove(
    bundle: &SigstoreBundle,
    artifact: Artifact<'_>,
    trust: &KeylessTrust,
    now: Timestamp,
) -> Result<KeylessFacts, KeylessError> {
    let instance = trust.instance();
    let (root, material) = (&instance.root, &bundle.verification_material);
    log::check_known(bundle, instance)?;
    let policy = VerificationPolicy::any_identity();
    let result = call(bundle, artifact, trust, &policy)
        .map_err(|error| too_early(&error, bundle, now).unwrap_or_else(|| explained(&error, bundle, root)))?;
    let times = result.verified_timestamps();
    log::check(&material.tlog_entries, instance, times)?;
    let signed_at = *times.iter().min().ok_or(KeylessError::Missing("trusted time that it was signed at"))?;
    if times.iter().any(|time| time.duration_since(now) > MAX_CLOCK_SKEW) {
        return Err(KeylessError::Future { signed_at, now });
    }
    let nameless = || KeylessError::Malformed("its certificate names no identity and issuer".to_owned());
    Ok(KeylessFacts {
        identity: result.identity().ok_or_else(nameless)?.as_str().to_owned(),
        issuer: result.issuer().ok_or_else(nameless)?.to_owned(),
        signed_at,
        trust: trust.digest(),
        log: material.tlog_entries.first().and_then(id_of),
        timestamp_authority: stamped(bundle, root).first().and_then(|(_, authority)| stamp::subject(authority)),
    })
}

/// Verifies the log entries and timestamps of what a key signed, and that they are of this signature.
pub(super) fn prove_with_key(
    bundle: &SigstoreBundle,
    artifact: Artifact<'_>,
    key: DerPublicKey,
    trust: &KeylessTrust,
) -> Result<(), KeylessError> {
    let instance = trust.instance();
    let entries = &bundle.verification_material.tlog_entries;
    log::check_known(bundle, instance)?;
    let policy = PublicKeyVerificationPolicy::new(key);
    let result = call(bundle, artifact, trust, &policy).map_err(|error| explained(&error, bundle, &instance.root))?;
    log::check(entries, instance, result.verified_timestamps())
}

/// The verifier, which is handed what anybody wrote: a panic of it refuses the bundle.
fn call(
    bundle: &SigstoreBundle,
    artifact: Artifact<'_>,
    trust: &KeylessTrust,
    policy: &dyn Policy,
) -> Result<VerificationResult, Error> {
    let verifier = &trust.instance().verifier;
    catch_unwind(AssertUnwindSafe(|| verifier.verify(artifact, bundle, policy)))
        .unwrap_or_else(|_| Err(Error::InvalidBundle("the verifier broke down over it".to_owned())))
}

/// Whether the verifier did not take it because the log's time is ahead of this machine's clock: it leaves none of the
/// room for clocks that [`MAX_CLOCK_SKEW`] is, and calls that by the name of a certificate that has ended.
fn too_early(error: &Error, bundle: &SigstoreBundle, now: Timestamp) -> Option<KeylessError> {
    let Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)) = error else { return None };
    let logged = bundle.verification_material.tlog_entries.iter().filter_map(|entry| entry.integrated_time);
    let signed_at = logged.max().filter(|time| *time > now)?;
    Some(KeylessError::Future { signed_at, now })
}

/// The verifier's error in our words. Where it has one kind for two things, a closer look tells them apart.
fn explained(error: &Error, bundle: &SigstoreBundle, root: &TrustedRoot) -> KeylessError {
    let stamps = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    match error {
        Error::Timestamp(TimestampError::Invalid(_)) if !stamp::claim_known(stamps, root) => {
            KeylessError::Unknown { part: EvidencePart::Timestamp, detail: "it names none of them".to_owned() }
        }
        Error::Certificate(CertificateError::ChainInvalid(_)) => {
            used_too_late(bundle, root).unwrap_or_else(|| KeylessError::of_verifier(error))
        }
        error => KeylessError::of_verifier(error),
    }
}

/// Whether the certificate was used outside of its time, by times that the verifier has found to be signed.
fn used_too_late(bundle: &SigstoreBundle, root: &TrustedRoot) -> Option<KeylessError> {
    let window = trust::validity(bundle.signing_certificate()?)?;
    let stamped = stamped(bundle, root).into_iter().map(|(time, _)| time);
    let logged = bundle.verification_material.tlog_entries.iter().filter_map(|entry| entry.integrated_time);
    let used_at = stamped.chain(logged).find(|time| !window.contains(*time))?;
    let until = window.end.map_or_else(String::new, |end| format!(" to {end}"));
    Some(KeylessError::CertificateExpired(format!("at {used_at}, while it was valid from {}{until}", window.start)))
}

fn stamped(bundle: &SigstoreBundle, root: &TrustedRoot) -> Vec<(Timestamp, TsaAuthority)> {
    let stamps = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    match &bundle.content {
        SignatureContent::MessageSignature(message) => stamp::verified(stamps, &message.signature, root),
        SignatureContent::DsseEnvelope(envelope) => stamp::verified(stamps, &envelope.signature.sig, root),
        _ => Vec::new(),
    }
}

/// A log's id in hexadecimal digits. Ids of logs that a root knows are SHA-256 digests.
fn id_of(entry: &TransparencyLogEntry) -> Option<String> {
    Some(Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).ok()?.to_hex())
}

/// Of two refusals the one that says more: that of a root which knows who signed.
fn telling(first: KeylessError, second: KeylessError) -> KeylessError {
    match (&first, &second) {
        (KeylessError::NoInstance, _) => second,
        (KeylessError::Unknown { .. }, KeylessError::Unknown { .. }) => first,
        (KeylessError::Unknown { .. }, _) => second,
        _ => first,
    }
}

/// The digest that a statement is about, which the verifier asks for. That it is the model's is checked later, with the
/// whole statement.
fn subject(payload: &[u8]) -> Result<Sha256Hash, StatementError> {
    #[derive(Deserialize)]
    struct Statement {
        subject: AtMost<1, Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: SubjectDigest,
    }
    #[derive(Deserialize)]
    struct SubjectDigest {
        sha256: String,
    }
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| StatementError::Json(json_error(&error)))?;
    let subject = statement.subject.items.first().ok_or(StatementError::Subjects(0))?;
    let digest = Digest::from_hex(HashAlgorithm::Sha256, &subject.digest.sha256);
    let digest = digest.map_err(StatementError::SubjectDigest)?;
    hash(digest.as_bytes())
}

/// Of 32 bytes.
fn hash(sha256: &[u8]) -> Result<Sha256Hash, StatementError> {
    Sha256Hash::try_from(sha256).map_err(|_| StatementError::SubjectDigest(DigestError::Hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verifier asks the machine's own clock, so that no time can be given to it here.
    #[test]
    fn a_log_time_that_is_ahead_is_told_from_a_certificate_that_has_ended() {
        let text = include_str!("../../../tests/vectors/oms/v1.0.1-sigstore/model.sig");
        let bundle = Bundle::parse(text.as_bytes()).unwrap();
        let super::super::bundle::Material::Keyless(evidence) = &bundle.material else { panic!("keyless") };
        let (whole, _) = whole(&bundle, evidence).unwrap();
        let logged = whole.verification_material.tlog_entries[0].integrated_time.unwrap();
        let ahead = Error::TransparencyLog(TransparencyLogError::IntegratedTime("in the future".to_owned()));
        let second = SignedDuration::from_secs(1);
        let early = too_early(&ahead, &whole, logged - second);
        assert_eq!(early.and_then(|error| error.not_before()), Some(logged));
        assert_eq!(too_early(&ahead, &whole, logged + second), None);
        assert_eq!(too_early(&Error::InvalidBundle(String::new()), &whole, logged - second), None);
    }
}
