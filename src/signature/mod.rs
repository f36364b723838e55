//! Signatures over models, in the format of OpenSSF Model Signing (OMS). All cryptography is here.
//!
//! Receives the bytes of a bundle, trust material and the time; gives a [`Verified`], which cannot be made otherwise,
//! or a typed rejection. It reads no file, asks no server and no clock.
//!
//! ```text
//!   bytes ─ Bundle::parse ─► Bundle ─ verify(trust, now) ─► Verified { manifest, serialization, signers }
//! ```
//!
//! Verified are the bundles of every release of the Python reference since 0.2: signed with a key, by the holder of a
//! certificate or by a Sigstore identity, over whole files or shards, hashed with SHA-256, BLAKE2b or BLAKE3. What else
//! there is of the format is recognised and rejected as unsupported, by name.

mod at_most;
mod authority;
mod blob;
mod bundle;
mod certificate;
mod claims;
mod dsse;
mod key;
mod keyless;
mod pem;
mod release_02;
mod shape;
mod sign;
mod signing_key;
mod statement;
mod verify;

pub use authority::{Authority, CertificatePin, IdentityError, IdentityPattern, Pinned, TextPattern};
pub use blob::{Artifact, BlobBundle};
pub use bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES};
pub use certificate::{
    AlternativeName, CertificateError, CertificateFacts, CertificateTrust, Profile, RootsError, Unfit,
};
pub use claims::{Claimed, ClaimedCertificate, ClaimedEntry};
pub use dsse::PAYLOAD_TYPE;
pub use key::{Curve, KeyError, PublicKey};
pub use keyless::{EvidencePart, KeylessError, KeylessFacts, KeylessTrust, TrustedRootError};
pub use sign::{Credential, CredentialError, SignError, sign};
pub use signing_key::{SigningKey, SigningKeyError};
pub use statement::{MAX_IGNORE_PATHS, PREDICATE_TYPE, Serialization, Statement, StatementError};
pub use verify::{Rejection, RejectionCode, Signer, TrustMaterial, Verified, claimed, verify};
