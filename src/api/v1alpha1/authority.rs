//! Authorities: the signers that a policy trusts.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signer that the policy trusts. Exactly one kind beside the name.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.key) ? 1 : 0) + (has(self.certificate) ? 1 : 0) + (has(self.keyless) ? 1 : 0) == 1")
    .message("an authority has exactly one kind beside its name, key, certificate or keyless: write two authorities for alternatives"))]
pub struct Authority {
    /// Name of the authority in messages and status; unique in the policy.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAuthority>,
    /// Holders of certificates of one's own PKI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateAuthority>,
    /// Identities that a Sigstore instance vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<KeylessAuthority>,
}

/// A public key: ECDSA on P-256, P-384 or P-521, PEM (`BEGIN PUBLIC KEY`). Exactly one source.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.data) ? 1 : 0) + (has(self.configMapRef) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) == 1")
    .message("a key has exactly one source: data, configMapRef or secretRef"))]
pub struct KeyAuthority {
    /// The key itself, as PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub data: Option<String>,
    /// A ConfigMap in the namespace of weighbridge that carries the label `weighbridge.dev/trust: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
    /// A Secret in the namespace of weighbridge that carries the label `weighbridge.dev/trust: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
}

/// A key of a ConfigMap or Secret in the namespace of weighbridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data. Default `key.pem`.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_key() -> String {
    "key.pem".to_owned()
}

/// Holders of X.509 certificates whose chain, as the bundle carries it, ends in one of these roots.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthority {
    /// The roots. Roots of the system or of the web are never used.
    pub roots: Roots,
    /// By which rules chains are checked. Default `Strict`.
    #[serde(default)]
    pub profile: CertificateProfile,
    /// Which holders; items are alternatives. Absent: whoever holds a certificate of these roots that the profile lets
    /// sign. Under `Reference` that is every holder, a web server's too: list subjects there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub subjects: Vec<CertificateSubject>,
}

/// Certificates of roots, PEM (`BEGIN CERTIFICATE`), one or more. Exactly one source.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.data) != has(self.configMapRef)")
    .message("roots have exactly one source: data or configMapRef"))]
pub struct Roots {
    /// The certificates themselves, as PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub data: Option<String>,
    /// A ConfigMap in the namespace of weighbridge that carries the label `weighbridge.dev/trust: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<RootsReference>,
}

/// A key of a ConfigMap in the namespace of weighbridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootsReference {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data. Default `ca.crt`.
    #[serde(default = "default_roots_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_roots_key() -> String {
    "ca.crt".to_owned()
}

/// By which rules a certificate chain is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CertificateProfile {
    /// RFC 5280 for code signing: a leaf that is no CA and is made for code signing, valid now. When the leaf ends, its
    /// signatures become `SignerExpired`.
    #[default]
    Strict,
    /// What the Python reference checks: the chain at the time of the leaf's beginning, whatever the leaf is for. For
    /// signatures that exist already.
    Reference,
}

/// A holder of certificates. All that it names MUST hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.uri) || has(self.dns) || has(self.email) || has(self.subject) || has(self.issuer) || has(self.fingerprint)")
        .message("an item of subjects names something: uri, dns, email, subject, issuer or fingerprint"),
    validation = Rule::new("(has(self.uri) ? 1 : 0) + (has(self.dns) ? 1 : 0) + (has(self.email) ? 1 : 0) <= 1")
        .message("an item of subjects has at most one of uri, dns and email: write two items for alternatives")
)]
pub struct CertificateSubject {
    /// A subject alternative name of the leaf of the kind URI, such as `spiffe://acme/ml-release`; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// A subject alternative name of the leaf of the kind DNS; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub dns: Option<String>,
    /// A subject alternative name of the leaf of the kind e-mail; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub email: Option<String>,
    /// The leaf's subject as RFC 4514 writes it, such as `CN=release,O=Acme`; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// The leaf's issuer as RFC 4514 writes it; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: Option<String>,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo in DER: `sha256:` and 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub fingerprint: Option<String>,
}

/// Identities that a Sigstore instance vouches for.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeylessAuthority {
    /// Who may sign; items are alternatives. Never empty: a Sigstore instance vouches for everybody who has an account.
    #[schemars(length(min = 1, max = 16))]
    pub identities: Vec<KeylessIdentity>,
    /// The instance: its `trusted_root.json`. Absent: the public-good instance, as it was when this version of
    /// weighbridge was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<TrustedRoot>,
}

/// An identity and the OIDC issuer that knows it. Exactly one key of each.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.issuer) != has(self.issuerRegExp)")
        .message("an identity has exactly one of issuer and issuerRegExp: who vouches for a subject is a part of it"),
    validation = Rule::new("has(self.subject) != has(self.subjectRegExp)")
        .message("an identity has exactly one of subject and subjectRegExp")
)]
pub struct KeylessIdentity {
    /// The OIDC issuer, such as `https://token.actions.githubusercontent.com`; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: Option<String>,
    /// A regular expression that MUST match the whole issuer, with or without anchors of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer_reg_exp: Option<String>,
    /// The subject, an e-mail address or a URI; spelt the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// A regular expression that MUST match the whole subject, with or without anchors of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_reg_exp: Option<String>,
}

/// A `trusted_root.json` of Sigstore (or a ClientTrustConfig, whose root is taken). Exactly one source.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.data) != has(self.configMapRef)")
    .message("a trusted root has exactly one source, data or configMapRef: leave trustedRoot out for the public-good instance"))]
pub struct TrustedRoot {
    /// The JSON itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub data: Option<String>,
    /// A ConfigMap in the namespace of weighbridge that carries the label `weighbridge.dev/trust: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<TrustedRootReference>,
}

/// A key of a ConfigMap in the namespace of weighbridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedRootReference {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data. Default `trusted_root.json`.
    #[serde(default = "default_trusted_root_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_trusted_root_key() -> String {
    "trusted_root.json".to_owned()
}
