//! `ModelVerification`, the record: what was found when a source was last read, and who signed it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authority::CertificateProfile;
use super::bundle_location::{BundleLocation, DISCOVERY, LocationError};
use super::bundle_reference::BundleReference;
use super::codes::{BundleIgnored, Code, Detail, RefusedCode, UnknownCode, VerdictKind};
use crate::api::names::with_hash;

/// The record of one source: what was found when it was last read, and who signed it.
///
/// Says whether the content is what a manifest says, and by which signers. Who is *allowed* is not in it: that is
/// decided from the policies, each time. Users may make one ahead of a rollout (`weighbridge record CLAIM PATH`); the
/// operator makes those that workloads need. Only the operator writes its status.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weighbridge.dev",
    version = "v1alpha1",
    kind = "ModelVerification",
    namespaced,
    shortname = "mv",
    category = "weighbridge",
    status = "ModelVerificationStatus",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.source.claim.name"),
    printcolumn(name = "Path", type_ = "string", json_path = ".spec.source.claim.path"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type=='Verified')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Verified')].reason"),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.models[0].modelDigest", priority = 1),
    printcolumn(name = "Read", type_ = "date", json_path = ".status.verifiedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self == oldSelf")
    .message("spec is immutable: its name binds it; make a record for the other source with `weighbridge record`"),
    validation = Rule::new("has(self.bundle) == self.signature.startsWith('inline:')")
    .message("bundle holds what signature names by inline:, and nothing otherwise: set both or none"))]
pub struct ModelVerificationSpec {
    /// What is read.
    pub source: RecordSource,
    /// Where the bundle is. `volume:` and a path inside the model; `volume:` alone looks for `model.sig`, then for exactly
    /// one `*.sig` or `*.sigstore.json`, in the folder and in the nearest one above it, or for several models below.
    /// `configmap:<name>/<key>`: in a ConfigMap of the record's namespace. `inline:sha256:…`: in `bundle`, whose text has
    /// this digest. `oci://<host>/<repository>@sha256:…`: in a registry, which a policy of the cluster that matches the
    /// namespace MUST list in `bundleRegistries`; from any other nothing is fetched (`RegistryUnauthorized`).
    #[serde(default = "discovery")]
    #[schemars(
        length(max = 1024),
        regex(
            pattern = "^(volume:|configmap:[^/]+/[^/]+$|inline:sha256:[0-9a-f]{64}$|oci://[a-z0-9._:/-]+@sha256:[0-9a-f]{64}$)"
        )
    )]
    pub signature: String,
    /// The bundle in base64, gzip allowed, where `signature` is `inline:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072), regex(pattern = "^[A-Za-z0-9+/=]+$"))]
    pub bundle: Option<String>,
}

fn discovery() -> String {
    DISCOVERY.to_owned()
}

/// What a record is about. Exactly one key.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.claim)").message("a source has exactly one key: claim"))]
pub struct RecordSource {
    /// A folder or file of a PersistentVolumeClaim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSource>,
}

/// A folder or file of a PersistentVolumeClaim in the record's namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.path) || !self.path.split('/').exists(part, part == '..' || part == '.')")
    .message("path is relative to the claim's root, without . and .. in it"))]
pub struct ClaimSource {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Path in it, relative, with `/` and without `.` or `..`; empty means the root.
    #[serde(default)]
    #[schemars(length(max = 1024), regex(pattern = "^([^/]+(/[^/]+)*)?$"))]
    pub path: String,
}

/// Longest part of the claim's name in a record's name, so that name, dash and hash fit a label value (63, RFC 1123).
const NAME_CLAIM_CHARS: usize = 40;
/// Hex digits of the hash in a record's name: 40 bits tell the few records of one claim apart.
const NAME_HASH_CHARS: usize = 10;

impl ModelVerificationSpec {
    /// The one name that a record of this source may have; a record of another name is never used.
    ///
    /// `<claim, 40 characters at most>-<first 10 hex digits of SHA-256 over claim, path and signature location>`. The
    /// three are separated by NUL, which none of them can hold.
    pub fn record_name(&self) -> String {
        let ClaimSource { name, path } = self.source.claim.clone().unwrap_or_default();
        let whole = format!("{name}\0{path}\0{}", self.signature);
        with_hash(&name, NAME_CLAIM_CHARS, &whole, NAME_HASH_CHARS)
    }

    /// The record of a model below, whose bundle lies at its own root.
    pub fn of_part(&self, path: impl Into<String>) -> Self {
        let claim = self.source.claim.clone().unwrap_or_default();
        ModelVerificationSpec::of_claim(claim.name, path)
    }

    /// The record of a claim's path whose bundle is looked for.
    pub fn of_claim(name: impl Into<String>, path: impl Into<String>) -> Self {
        let claim = ClaimSource { name: name.into(), path: path.into() };
        ModelVerificationSpec { source: RecordSource { claim: Some(claim) }, signature: discovery(), bundle: None }
    }

    /// The same with the bundle where an annotation says that it is.
    pub fn signed_at(self, annotation: &str) -> Result<Self, LocationError> {
        let (location, bundle) = BundleLocation::of_annotation(annotation)?;
        Ok(ModelVerificationSpec { signature: location.to_string(), bundle: bundle.map(str::to_owned), ..self })
    }

    /// The bundle's name in a registry, if it lies in one.
    pub fn registry(&self) -> Option<BundleReference> {
        match BundleLocation::of_record(&self.signature) {
            Ok(BundleLocation::Registry(reference)) => Some(reference),
            _ => None,
        }
    }

    /// Whether both are about the same source and bundle. The bundle's own text is not kept everywhere; its digest is.
    pub fn is_about(&self, other: &Self) -> bool {
        (&self.source, &self.signature) == (&other.source, &other.signature)
    }
}

/// What was found when the source was last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelVerificationStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: the record is one that can be used. `ContentVerified`: the files are what a manifest says.
    /// `SignatureVerified`: a listed signer signed that manifest. `Verified`: both. `LastRunFailed`: the last run brought
    /// no facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The source as it was read. Facts count for this very source alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ReadSource>,
    /// When the read that these facts come from *started*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// When it is due to be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// Digest of the trust material that the read was given, `sha256:…`; behind a `+` the same of what only policies of the
    /// namespace bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_digest: Option<String>,
    /// The names of its pieces, such as `key sha256:…`: what is not among them, the read cannot have found. Empty where
    /// there are more than a status should hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub trust: Vec<String>,
    /// How long the last complete read took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_duration_seconds: Option<i64>,
    /// The run that is on, or the last one if it brought no facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The value of the annotation `weighbridge.dev/reverify` that was served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverify: Option<String>,
    /// Since when no workload and no policy needs this record, which the operator made. It goes after a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Time>,
    /// What was found, by path in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub models: Vec<ModelStatus>,
    /// Where no bundle lies at the path or above: the models below it, by their paths in the source. Each has a bundle and
    /// a record of its own, and nothing lies beside them. `models` is empty then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parts: Vec<String>,
}

/// A source as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadSource {
    /// Namespace of the claim.
    pub namespace: String,
    /// Uid of the claim.
    pub claim_uid: String,
    /// Name of the PersistentVolume.
    pub volume_name: String,
    /// Uid of the PersistentVolume.
    pub volume_uid: String,
    /// The path that was read.
    pub path: String,
    /// The backing store, as its object in the namespace of weighbridge is named.
    pub store: String,
    /// The store's write epoch when the read began.
    pub write_epoch: i64,
}

/// A run of a verifier Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The verifier Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// What binds the result to this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// The source as it was when the run was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ReadSource>,
    /// Digest of the trust material that it was given, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_digest: Option<String>,
    /// Why it brought no facts, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<UnknownCode>,
    /// The cluster's or the verifier's own words about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many runs in a row brought no facts.
    #[serde(default)]
    pub failures: i32,
    /// Digest of those parts of the verifier Pod that must not change, as it was sent, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_digest: Option<String>,
    /// Whether the bundle alone is read, because only the trust material has changed.
    #[serde(default)]
    pub signature_only: bool,
    /// The ids that the verifier reads with, and those before it that could not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tried_ids: Vec<String>,
    /// Not before this time is it tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
}

/// What was found at one path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// Root of the model in the source: the folder or file that the manifest speaks of; empty means the claim's root.
    pub path: String,
    /// The verdict on content and signature, before any policy.
    pub verdict: VerdictKind,
    /// Why it is not Verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FindingCode>,
    /// A closer look at the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// What is wrong, in a sentence that names the first files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The OMS root digest, `sha256:…`. It binds no names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// Digest of the whole manifest, names and digests, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<String>,
    /// How many files were read.
    #[serde(default)]
    pub files: i64,
    /// How many bytes were read.
    #[serde(default)]
    pub bytes: i64,
    /// The bundle that was used, as a path in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Whether the files are what the manifest says, and there are no others.
    #[serde(default)]
    pub content_verified: bool,
    /// What lies in the model and is not signed, where everything else is what the manifest says. Whether it may lie there
    /// is for policies to say (`content.ignorePaths`). Absent: nothing, or it is not all that is wrong with the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<UnsignedFiles>,
    /// Whether the manifest's signature verified under the trust material that the read was given.
    #[serde(default)]
    pub signature_verified: bool,
    /// Other bundles at the model's root, and which of them count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_bundles: Vec<OtherBundle>,
    /// Whether the signer followed symbolic links.
    #[serde(default)]
    pub allow_symlinks: bool,
    /// How many symbolic links lie in the model. Whether they may is for policies to say (`content.allowSymlinks`). Absent:
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlinks: Option<i64>,
    /// Who signed, and what proves each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<SignerStatus>,
    /// From when on a signature may count that does not count yet: it is read again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// The earliest end of a signer's certificate that counts only while it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer_expires_at: Option<Time>,
}

/// What lies in a model and is not signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnsignedFiles {
    /// Paths in the model. One that ends in `/` is a folder in which nothing is signed, and stands for all that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 80)))]
    pub paths: Vec<String>,
    /// Whether there is more than that: it has names that cannot be shown, or is too much for a report.
    pub more: bool,
}

impl UnsignedFiles {
    /// Leaves the last path away, which then is one of more; false if there is none.
    pub fn shorten(&mut self) -> bool {
        let shorter = self.paths.pop().is_some();
        self.more |= shorter;
        shorter
    }
}

/// A bundle at the model's root beside the one that was used. It is left out of the comparison of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherBundle {
    /// Its name at the root, fit to be shown.
    pub name: String,
    /// Why its signer does not count; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<BundleIgnored>,
}

/// A code that a read can end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FindingCode {
    /// The model is refused.
    Refused(RefusedCode),
    /// Nothing is known.
    Unknown(UnknownCode),
}

impl From<FindingCode> for Code {
    fn from(code: FindingCode) -> Self {
        match code {
            FindingCode::Refused(code) => code.into(),
            FindingCode::Unknown(code) => code.into(),
        }
    }
}

impl JsonSchema for FindingCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FindingCode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<&str> = (RefusedCode::ALL.iter().map(|code| code.as_str()))
            .chain(UnknownCode::ALL.iter().map(|code| code.as_str()))
            .collect();
        schemars::json_schema!({ "type": "string", "enum": words })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A signer, and what proved it. A field that the kind does not have is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignerStatus {
    /// The kind of signer.
    pub kind: SignerKind,
    /// Of a key and of a certificate's leaf: SHA-256 of the SubjectPublicKeyInfo in DER, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The leaf's subject, as RFC 4514 writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The leaf's issuer, as RFC 4514 writes it; of an identity, the OIDC issuer that knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The leaf's alternative names: `uri:…`, `dns:…`, `email:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The identity: an e-mail address or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What proved it: each set of roots, or Sigstore instance, that did. A key proves itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<SignerProof>,
}

/// What proved a signer. A field that the kind of signer does not have is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignerProof {
    /// Digest of the set of roots, or of the Sigstore instance's root, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// By which rules the chain was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<CertificateProfile>,
    /// SHA-256 of the SubjectPublicKeyInfo of each certificate between leaf and root, `sha256:…`, from the leaf on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the root that the chain ends in, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// When the first certificate of the chain ends: the leaf, or one above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When it was signed, by the earliest trusted time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Time>,
    /// Id of the transparency log's key that proved it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The timestamp authority that gave the time, by the subject of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_authority: Option<String>,
}

impl SignerStatus {
    /// A signer of which nothing but its kind is known yet.
    pub fn of(kind: SignerKind) -> Self {
        SignerStatus {
            kind,
            fingerprint: None,
            subject: None,
            issuer: None,
            names: Vec::new(),
            identity: None,
            proofs: Vec::new(),
        }
    }
}

/// The kinds of signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignerKind {
    /// A public key.
    Key,
    /// A certificate of a chain to a listed root.
    Certificate,
    /// An identity that Sigstore vouched for.
    Keyless,
}

/// How many models one folder may hold that is no model itself: as many paths of some 80 bytes as fit into the report of a
/// verifier.
pub const MAX_PARTS: usize = 16;

/// How many names of pieces of trust material a status holds: eight policies with as many authorities as there may be.
pub const MAX_TRUST_NAMES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_binds_claim_path_and_signature() {
        let names = [
            ModelVerificationSpec::of_claim("models", "").record_name(),
            ModelVerificationSpec::of_claim("models", "a").record_name(),
            ModelVerificationSpec::of_claim("model", "s").record_name(),
        ];
        assert!(names.iter().all(|name| name.len() <= NAME_CLAIM_CHARS + 1 + NAME_HASH_CHARS));
        assert_ne!(names[0], names[1]);
        assert_ne!(names[0], names[2]);
    }

    #[test]
    fn a_cut_name_does_not_end_in_punctuation() {
        let claim = format!("{}.{}", "a".repeat(NAME_CLAIM_CHARS - 1), "b");
        let name = ModelVerificationSpec::of_claim(claim, "").record_name();
        assert!(name.starts_with(&format!("{}-", "a".repeat(NAME_CLAIM_CHARS - 1))), "{name}");
    }
}
