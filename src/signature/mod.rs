//! Signatures over models, in the format of OpenSSF Model Signing (OMS). All cryptography is here.
//!
//! Receives the bytes of a bundle, trust material and the time; gives a [`Verified`], which cannot be made otherwise,
//! or a typed rejection. It reads no file, asks no server and no clock.
//!
//! ```text
//!   bytes ─ Bundle::parse ─► Bundle ─ verify(trust, now) ─► Verified { manifest, serialization, signers }
//! ```

mod at_most;
mod authority;
mod bundle;
mod certificate;
mod dsse;
mod key;
mod keyless;
mod pem;
mod sign;
mod signing_key;
mod statement;
mod verify;

pub use authority::{Authority, CertificatePin, IdentityError, IdentityPattern, TextPattern};
pub use bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES};
pub use certificate::{
    AlternativeName, CertificateError, CertificateFacts, CertificateTrust, Profile, RootsError, Unfit,
};
pub use dsse::PAYLOAD_TYPE;
pub use key::{Curve, KeyError, PublicKey};
pub use keyless::{EvidencePart, KeylessError, KeylessFacts, KeylessTrust, TrustedRootError};
pub use sign::{Credential, CredentialError, SignError, sign};
pub use signing_key::{SigningKey, SigningKeyError};
pub use statement::{MAX_IGNORE_PATHS, PREDICATE_TYPE, Serialization, Statement, StatementError};
pub use verify::{Rejection, RejectionCode, Signer, TrustMaterial, Verified, claimed, verify};
