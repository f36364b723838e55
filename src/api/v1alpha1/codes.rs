//! The closed sets of codes.
//!
//! One word for one finding, wherever it shows: the end of a denial, a condition's reason, a metric label and the
//! verifier's report. A code is never made from text at run time.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares an enum whose variants are spelt the same everywhere: in Rust, in JSON and in a metric label.
macro_rules! closed_set {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[doc = $vdoc])* $variant,)+ }

        impl $name {
            /// Every member, in the order of their declaration.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// The word itself, as it stands in conditions, metrics and messages.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => stringify!($variant),)+ }
            }

            /// What the word means: its documentation, for people who look it up.
            pub fn doc(self) -> &'static str {
                match self { $($name::$variant => concat!($($vdoc),*).trim_start(),)+ }
            }

            /// What the members have in common.
            pub fn about() -> &'static str {
                concat!($($doc),*).trim_start()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

closed_set! {
    /// Why a model is refused: it was read, and it is not what a trusted signer signed.
    RefusedCode {
        /// No bundle lies at the model's root or above it.
        Unsigned,
        /// The bundle is not well-formed: JSON, envelope, statement or a name in it.
        MalformedBundle,
        /// The bundle is well-formed, in a format or with a material that this version does not verify.
        UnsupportedBundle,
        /// The bundle claims a listed signer and the signature does not verify.
        SignatureInvalid,
        /// Nobody whom the policy lists has signed.
        UntrustedSigner,
        /// A signed file is missing or differs from what was signed.
        ContentMismatch,
        /// Files lie in the model that nobody signed.
        UnsignedFiles,
        /// The model is not the one that the rollout's digest annotation expects.
        DigestMismatch,
        /// A symbolic link where the policy or the bundle allows none.
        SymlinkNotAllowed,
        /// The signer's certificate was not valid when it counted.
        SignerExpired,
        /// The model, the signer or the certificate was revoked.
        Revoked,
        /// The tree holds what no model can: a FIFO, a device, a socket, a link that leads nowhere or back to itself, or a
        /// name that cannot be signed; or, when signing, it holds no file, names that differ only in case, or an empty file
        /// under shards.
        MalformedContent,
    }
}

closed_set! {
    /// Why nothing is known about a model. Never a pass, and never an accusation.
    UnknownCode {
        /// Nobody has read this source yet.
        NotVerifiedYet,
        /// It is being read right now.
        Verifying,
        /// What is known is older than the policy's `maxAge`.
        Stale,
        /// The claim, the path or the files in it do not exist.
        SourceMissing,
        /// A Pod that may write to it is running, or vanished without a trace.
        BeingWritten,
        /// The verifier may not read a file or folder.
        Unreadable,
        /// The registry does not answer.
        RegistryUnavailable,
        /// The registry does not let us in, or a policy does not list it.
        RegistryUnauthorized,
        /// Trust material cannot be loaded or handed to a verifier.
        TrustUnavailable,
        /// A limit that protects the gate was exceeded.
        TooLarge,
        /// This kind of source cannot be vouched for.
        NotVerifiable,
        /// The cluster does not let a verifier Pod run.
        VerifierBlocked,
        /// A verifier Pod ran and brought back no usable result.
        VerifierFailed,
        /// A policy that matches refers to something that cannot be read.
        PolicyInvalid,
        /// The gate's own view of the cluster is too old to decide upon.
        IndexStale,
    }
}

closed_set! {
    /// What is wrong with the way a model is used, whatever the model is.
    UseCode {
        /// The model is mounted so that the container may change it.
        Writable,
        /// The model is named by a reference that can point elsewhere tomorrow.
        MutableReference,
        /// The Pod's service account is not one of the policy's writers, or the Pod cannot wait as a writer must.
        WriterNotAllowed,
        /// The policy requires a digest annotation and there is none for this model.
        DigestAnnotationMissing,
        /// Another mount hides a part of the model, or mount propagation could.
        Shadowed,
        /// Configuration for the model comes from a source that nobody signs.
        UnsignedConfig,
        /// The server runs code that comes with the model it fetches.
        RemoteCode,
        /// The server loads models or adapters on request while it runs, which no admission sees.
        RuntimeAdapters,
        /// The server offers functions for developers that can change it while it runs.
        DeveloperMode,
        /// Models come from another hub than the one that their names are of.
        HubRedirect,
    }
}

closed_set! {
    /// What a policy may forbid, because it is dangerous in itself, whatever model is used. Each is a code as well.
    Forbidden {
        /// A model named by a reference that can point elsewhere tomorrow: no whole commit, no digest.
        MutableReference,
        /// Running code that comes with the model: `--trust-remote-code`, `TRUST_REMOTE_CODE`.
        RemoteCode,
        /// Loading models or adapters on request: `VLLM_ALLOW_RUNTIME_LORA_UPDATING`, Triton's control modes `explicit` and `poll`.
        RuntimeAdapters,
        /// Functions for developers: `VLLM_SERVER_DEV_MODE`.
        DeveloperMode,
        /// Another hub: `HF_ENDPOINT`.
        HubRedirect,
    }
}

impl From<Forbidden> for UseCode {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::MutableReference => UseCode::MutableReference,
            Forbidden::RemoteCode => UseCode::RemoteCode,
            Forbidden::RuntimeAdapters => UseCode::RuntimeAdapters,
            Forbidden::DeveloperMode => UseCode::DeveloperMode,
            Forbidden::HubRedirect => UseCode::HubRedirect,
        }
    }
}

closed_set! {
    /// What is wrong with a request to the webhook itself.
    RequestCode {
        /// The request is not an AdmissionReview that can be understood.
        MalformedRequest,
        /// The request is larger than the limit.
        RequestTooLarge,
        /// The request is about a kind that is not judged here.
        UnsupportedKind,
        /// The namespace has not reached the index yet, or the Pod not the webhook that gates it.
        NotObservedYet,
        /// The answer would have come after the deadline.
        DeadlineExceeded,
    }
}

closed_set! {
    /// A closer look at a refusal, beside its code; never a metric label.
    Detail {
        /// A path or link leads outside of the model.
        PathEscapes,
        /// The folder's links form a loop.
        LinkLoop,
        /// A file changed while it was read.
        ChangedWhileRead,
        /// The root digest in the statement is not that of the listed resources.
        RootDigestMismatch,
        /// A resource is listed twice, or two names differ only in case.
        DuplicateName,
        /// A name that no model may have: absolute, `..`, NUL, backslash.
        InvalidName,
        /// The resources are in no order that the format allows.
        Unsorted,
        /// Bytes of a file belong to two shards.
        ShardOverlap,
        /// Bytes of a file belong to no shard.
        ShardGap,
        /// A shard has another length than all have, or none; or a file is listed whole among shards.
        ShardRange,
        /// More than one bundle could be meant.
        AmbiguousBundle,
        /// The statement lists no file at all.
        EmptyModel,
        /// The signer's certificate is not one that models are signed with: a CA, or made for something else.
        CertificatePurpose,
        /// The signer's certificate or its chain breaks a rule: a signature, a length, an issuer that is no CA.
        CertificateChain,
        /// A name in the chain that an issuer may not vouch for, or a constraint that is not supported.
        NameConstraints,
    }
}

closed_set! {
    /// Why the signer of another bundle at the model's root does not count.
    BundleIgnored {
        /// It is over other files or other content than the bundle that was used, or lets links in where that does not.
        OtherManifest,
        /// Nobody whom the trust material knows signed it.
        UntrustedSigner,
        /// It claims a signer of the trust material, and the signature is not theirs.
        SignatureInvalid,
        /// Its signer's certificate was not valid when it counted.
        SignerExpired,
        /// It is in a format that this version does not verify.
        UnsupportedBundle,
    }
}

closed_set! {
    /// The three answers about a model.
    VerdictKind {
        /// It is what a trusted signer signed.
        Verified,
        /// It is not.
        Refused,
        /// Not determined.
        Unknown,
    }
}

/// Any code that can stand at the end of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Code {
    /// The model is refused.
    Refused(RefusedCode),
    /// Nothing is known about the model.
    Unknown(UnknownCode),
    /// The use is refused.
    Use(UseCode),
    /// The request is refused.
    Request(RequestCode),
}

impl Code {
    /// The word itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::Refused(code) => code.as_str(),
            Code::Unknown(code) => code.as_str(),
            Code::Use(code) => code.as_str(),
            Code::Request(code) => code.as_str(),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! into_code {
    ($($set:ident => $variant:ident),+) => {
        $(impl From<$set> for Code { fn from(code: $set) -> Self { Code::$variant(code) } })+
    };
}
into_code!(RefusedCode => Refused, UnknownCode => Unknown, UseCode => Use, RequestCode => Request);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_word_means_one_thing() {
        let words: Vec<&str> = (RefusedCode::ALL.iter().map(|code| code.as_str()))
            .chain(UnknownCode::ALL.iter().map(|code| code.as_str()))
            .chain(UseCode::ALL.iter().map(|code| code.as_str()))
            .chain(RequestCode::ALL.iter().map(|code| code.as_str()))
            .collect();
        let distinct: BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(words.len(), distinct.len());
    }

    #[test]
    fn what_a_policy_forbids_is_called_as_its_code_is() {
        for forbidden in Forbidden::ALL {
            assert_eq!(forbidden.as_str(), UseCode::from(*forbidden).as_str());
        }
    }

    #[test]
    fn json_spells_a_code_as_text_does() {
        for code in UnknownCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
