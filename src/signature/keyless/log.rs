//! What the verifier leaves open about log entries.
//!
//! A Rekor v2 entry says root, tree size, index and log id twice: once in a checkpoint that the log signed, once beside
//! it for nobody's signature to cover. The verifier takes the signed ones and does not look at the others, nor at the
//! end of the log key's validity. What the others say gets into records and in front of people, so that it has to be
//! true as well.

use jiff::Timestamp;
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::trust_root::TransparencyLog;
use sigstore_verify::types::bundle::{InclusionProof, TransparencyLogEntry};
use sigstore_verify::types::{Bundle, Checkpoint, KindVersion, MediaType};

use super::error::{EvidencePart, KeylessError};
use super::trust::Instance;
use crate::model::shown;

/// Refuses a bundle whose entries could not prove anything: none, of a log that the root does not know, or without a
/// proof. To be called first, so that the code says which of them it is.
pub(super) fn check_known(bundle: &Bundle, instance: &Instance) -> Result<(), KeylessError> {
    let entries = &bundle.verification_material.tlog_entries;
    if entries.is_empty() {
        return Err(KeylessError::Missing("log entry"));
    }
    for entry in entries {
        logs_of(entry, instance)?;
        // The first version had the log's promise to take the entry in place of the proof that it did.
        if bundle.media_type() != MediaType::Bundle0_1 || entry.inclusion_promise.is_none() {
            proof_of(entry)?;
        }
    }
    Ok(())
}

/// Checks entries whose proofs the verifier found to hold, against the times at which the bundle was signed.
pub(super) fn check(
    entries: &[TransparencyLogEntry],
    instance: &Instance,
    times: &[Timestamp],
) -> Result<(), KeylessError> {
    for entry in entries {
        let logs = logs_of(entry, instance)?;
        if let Ok((proof, checkpoint)) = proof_of(entry) {
            check_proof(entry, &logs, proof, checkpoint)?;
        }
        check_key_validity(&logs, times)?;
    }
    Ok(())
}

fn check_proof(
    entry: &TransparencyLogEntry,
    logs: &[&TransparencyLog],
    proof: &InclusionProof,
    checkpoint: &Checkpoint,
) -> Result<(), KeylessError> {
    if !logs.iter().any(|log| signed_by(log, checkpoint)) {
        return Err(KeylessError::Contradiction("log id"));
    }
    if proof.root_hash != *checkpoint.root_hash() {
        return Err(KeylessError::Contradiction("root hash"));
    }
    if proof.tree_size != checkpoint.tree_size() {
        return Err(KeylessError::Contradiction("tree size"));
    }
    if entry.kind_version == KindVersion::HashedRekordV002 { check_second_version(entry, proof) } else { Ok(()) }
}

/// In Rekor v1 the outer index counts over all shards of a log, the inner one within a shard; in v2 they are one. Nor
/// does v2 know of times.
fn check_second_version(entry: &TransparencyLogEntry, proof: &InclusionProof) -> Result<(), KeylessError> {
    if proof.log_index != entry.log_index {
        return Err(KeylessError::Contradiction("index"));
    }
    if entry.integrated_time.is_some() {
        return Err(KeylessError::Contradiction("time"));
    }
    Ok(())
}

/// A key whose time had ended is one that may be out of its owner's hands. A root may give it several times.
fn check_key_validity(logs: &[&TransparencyLog], times: &[Timestamp]) -> Result<(), KeylessError> {
    let trusted =
        |time: &Timestamp| logs.iter().any(|log| log.public_key.valid_for.is_none_or(|window| window.contains(*time)));
    match times.iter().find(|time| !trusted(time)) {
        Some(signed_at) => Err(KeylessError::NotValidThen { part: EvidencePart::LogEntry, signed_at: *signed_at }),
        None => Ok(()),
    }
}

/// The log of an entry, once for each time for which the root trusts it; at least one.
fn logs_of<'a>(entry: &TransparencyLogEntry, instance: &'a Instance) -> Result<Vec<&'a TransparencyLog>, KeylessError> {
    let id = &entry.log_id.key_id;
    let logs: Vec<&TransparencyLog> = instance.logs.iter().filter(|log| log.log_id.key_id == *id).collect();
    if logs.is_empty() {
        let detail = format!("log {}", shown(&id.to_string()));
        return Err(KeylessError::Unknown { part: EvidencePart::LogEntry, detail });
    }
    Ok(logs)
}

fn proof_of(entry: &TransparencyLogEntry) -> Result<(&InclusionProof, &Checkpoint), KeylessError> {
    let proof = entry.inclusion_proof.as_ref().ok_or(KeylessError::Missing("inclusion proof"))?;
    let checkpoint = proof.checkpoint.checkpoint().ok_or(KeylessError::Missing("checkpoint"))?;
    Ok((proof, checkpoint))
}

/// Whether the log whose id the entry names signed the checkpoint. A signature's key id is the log id's beginning.
fn signed_by(log: &TransparencyLog, checkpoint: &Checkpoint) -> bool {
    let Ok(key) = VerificationKey::from_spki(&log.public_key.raw_bytes) else {
        return false;
    };
    let mut signatures = checkpoint.signatures().iter();
    signatures.any(|signature| {
        log.log_id.key_id.as_bytes().starts_with(signature.key_id.as_bytes())
            && key.verify(checkpoint.signed_data(), &signature.signature).is_ok()
    })
}
