//! The flags that say whose signature counts, and what they mean: a policy.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::model_flags::shown_path;
use super::{UsageError, policy_file, text_file};
use crate::api::v1alpha1::{
    Authority, CertificateAuthority, CertificateProfile, CertificateSubject, ClusterModelPolicy,
    ClusterModelPolicySpec, Content, KeyAuthority, KeylessAuthority, KeylessIdentity, Match, Roots, TrustedRoot,
    ValidationAction,
};
use crate::model::shown;
use crate::policy::{CompiledPolicies, TrustSources};

/// The name of the policy that flags make.
pub(super) const COMMAND_LINE: &str = "command line";

/// The longest file that is read as trust material, in bytes. Sigstore's public-good root takes 7 KiB, all the roots of a
/// web browser 250.
const MAX_TRUST_BYTES: u64 = 4 << 20;

/// Whose signature counts. Each authority is enough.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whose signature counts")]
pub(super) struct AuthorityFlags {
    /// A public key (PEM) whose signature counts. May be given several times.
    #[arg(long, value_name = "FILE", aliases = ["public-key", "public_key"])]
    key: Vec<PathBuf>,

    /// The roots (PEM) of certificates whose signature counts. May be given several times.
    #[arg(
        long, value_name = "FILE",
        aliases = ["certificate_roots", "certificate-chain", "certificate_chain"]
    )]
    certificate_roots: Vec<PathBuf>,

    /// By which rules a chain is checked. The reference's accept a signature at any time and whatever its certificate is
    /// for.
    #[arg(long, value_enum, default_value_t = ProfileFlag::Strict, requires = "certificate_roots")]
    certificate_profile: ProfileFlag,

    /// The certificate's subject, as RFC 4514 writes it (CN=release,O=Example).
    #[arg(long, value_name = "NAME", requires = "certificate_roots")]
    certificate_subject: Option<String>,

    /// A subject alternative name of the certificate: uri:…, dns:… or email:….
    #[arg(long, value_name = "KIND:NAME", requires = "certificate_roots")]
    certificate_san: Option<String>,

    /// The certificate's issuer, as RFC 4514 writes it.
    #[arg(long, value_name = "NAME", requires = "certificate_roots")]
    certificate_issuer: Option<String>,

    /// SHA-256 of the certificate's public key (SubjectPublicKeyInfo, DER): sha256:….
    #[arg(long, value_name = "DIGEST", requires = "certificate_roots")]
    certificate_fingerprint: Option<String>,

    /// An identity (e-mail address or URI) whose keyless signature counts, together with the issuer that knows it. May be
    /// given several times.
    #[arg(long, value_name = "TEXT", alias = "certificate-identity")]
    identity: Vec<String>,

    /// As --identity, with a regular expression that must match all of it.
    #[arg(long, value_name = "REGEXP", aliases = ["identity_regexp", "certificate-identity-regexp"])]
    identity_regexp: Vec<String>,

    /// The OIDC issuer that knows the identity.
    #[arg(
        long, value_name = "URL", conflicts_with = "issuer_regexp",
        aliases = ["identity-provider", "identity_provider", "certificate-oidc-issuer"]
    )]
    issuer: Option<String>,

    /// As --issuer, with a regular expression that must match all of it.
    #[arg(long, value_name = "REGEXP", aliases = ["issuer_regexp", "certificate-oidc-issuer-regexp"])]
    issuer_regexp: Option<String>,

    /// The trusted_root.json of the Sigstore instance. Default: the public-good instance, built in.
    #[arg(long, value_name = "FILE", aliases = ["trusted_root", "trust-config", "trust_config"])]
    trusted_root: Option<PathBuf>,

    /// The policies of a cluster: a file of ClusterModelPolicy documents, with the ConfigMaps and Secrets that they refer
    /// to. The authorities of every policy in it must be satisfied, whatever it matches, and what may lie in the model
    /// unsigned, or be a symbolic link, is what all of them let lie there.
    #[arg(
        long, value_name = "FILE",
        conflicts_with_all = [
            "key", "certificate_roots", "identity", "identity_regexp", "issuer", "issuer_regexp", "trusted_root",
            "ignore", "ignore_git_paths", "allow_symlinks",
        ]
    )]
    policy: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileFlag {
    /// Valid now, for signing code, no CA: RFC 5280.
    Strict,
    /// What the Python reference accepts.
    Reference,
}

impl AuthorityFlags {
    /// Whether the policies of a cluster say whose signature counts, and all else that they say of a model's content.
    pub(super) fn are_policies(&self) -> bool {
        self.policy.is_some()
    }

    /// Whose signature counts. The flags make a policy, so that they mean what the same words mean in a cluster; each of
    /// its authorities is enough.
    pub(super) fn policies(self) -> Result<CompiledPolicies, UsageError> {
        if let Some(file) = &self.policy {
            return policy_file::read(file);
        }
        let authorities = self.authorities()?;
        if authorities.is_empty() {
            let message = "no authority is named: give --key FILE with a public key that you trust, --certificate-roots \
                           FILE, --identity with --issuer, or --policy FILE";
            return Err(UsageError(message.into()));
        }
        let spec = ClusterModelPolicySpec {
            matches: Match::default(),
            validation_actions: vec![ValidationAction::Deny],
            unknown: None,
            authorities,
            required: 1,
            content: Content::default(),
            require_digest_annotation: false,
            bundle_registries: Vec::new(),
        };
        let policy = ClusterModelPolicy::new(COMMAND_LINE, spec);
        let compiled = CompiledPolicies::compile([&policy], &TrustSources::default(), "");
        let problem = compiled.iter().find_map(|policy| policy.accepted().err());
        problem.map_or(Ok(compiled), |problem| Err(UsageError(problem)))
    }

    /// The authorities, each by the name of the flag that it stands for.
    fn authorities(&self) -> Result<Vec<Authority>, UsageError> {
        let named = |name: String| Authority { name, key: None, certificate: None, keyless: None };
        let mut authorities = Vec::new();
        for file in &self.key {
            let key = KeyAuthority { data: Some(read("--key", file)?), ..KeyAuthority::default() };
            authorities.push(Authority { key: Some(key), ..named(format!("--key {}", shown_path(file))) });
        }
        let subjects = self.subject()?;
        for file in &self.certificate_roots {
            let flag = "--certificate-roots";
            let certificate = CertificateAuthority {
                roots: Roots { data: Some(read(flag, file)?), config_map_ref: None },
                profile: match self.certificate_profile {
                    ProfileFlag::Strict => CertificateProfile::Strict,
                    ProfileFlag::Reference => CertificateProfile::Reference,
                },
                subjects: subjects.iter().cloned().collect(),
            };
            let name = format!("{flag} {}{}", shown_path(file), self.pins());
            authorities.push(Authority { certificate: Some(certificate), ..named(name) });
        }
        let identities = self.identities()?;
        if !identities.is_empty() {
            let data = self.trusted_root.as_ref().map(|file| read("--trusted-root", file)).transpose()?;
            let trusted_root = data.map(|data| TrustedRoot { data: Some(data), config_map_ref: None });
            let subjects: Vec<String> = self.identity.iter().chain(&self.identity_regexp).map(|it| shown(it)).collect();
            let issuer = self.issuer.as_ref().or(self.issuer_regexp.as_ref()).map(|it| shown(it)).unwrap_or_default();
            let name = format!("{}, known to {issuer}", subjects.join(" or "));
            authorities.push(Authority { keyless: Some(KeylessAuthority { identities, trusted_root }), ..named(name) });
        } else if self.trusted_root.is_some() {
            return Err(UsageError("--trusted-root: give --identity and --issuer too: whom it should know".into()));
        }
        Ok(authorities)
    }

    /// What the certificate must say, if anything is asked for.
    fn subject(&self) -> Result<Option<CertificateSubject>, UsageError> {
        let mut wanted = CertificateSubject {
            subject: self.certificate_subject.clone(),
            issuer: self.certificate_issuer.clone(),
            fingerprint: self.certificate_fingerprint.clone(),
            ..CertificateSubject::default()
        };
        let name = self.certificate_san.as_deref().map(|san| san.split_once(':').unwrap_or((san, "")));
        match name {
            None => {}
            Some(("uri", name)) => wanted.uri = Some(name.into()),
            Some(("dns", name)) => wanted.dns = Some(name.into()),
            Some(("email", name)) => wanted.email = Some(name.into()),
            Some(_) => return Err(UsageError("--certificate-san: write it as uri:…, dns:… or email:…".into())),
        }
        Ok((wanted != CertificateSubject::default()).then_some(wanted))
    }

    /// What the certificate must say, in words.
    fn pins(&self) -> String {
        let pins = [
            ("subject", &self.certificate_subject),
            ("name", &self.certificate_san),
            ("issuer", &self.certificate_issuer),
            ("fingerprint", &self.certificate_fingerprint),
        ];
        pins.iter().filter_map(|(what, text)| Some(format!(" with {what} {}", shown(text.as_ref()?)))).collect()
    }

    /// Every identity with the issuer.
    fn identities(&self) -> Result<Vec<KeylessIdentity>, UsageError> {
        let named = !self.identity.is_empty() || !self.identity_regexp.is_empty();
        match (named, self.issuer.is_some() || self.issuer_regexp.is_some()) {
            (false, true) => {
                return Err(UsageError("--issuer: give --identity too: whom of those that it knows".into()));
            }
            (true, false) => {
                let message = "--identity: give --issuer too: elsewhere anybody can call themselves that";
                return Err(UsageError(message.into()));
            }
            _ => {}
        }
        let issuer = KeylessIdentity {
            issuer: self.issuer.clone(),
            issuer_reg_exp: self.issuer_regexp.clone(),
            ..KeylessIdentity::default()
        };
        let exact = |it: &String| KeylessIdentity { subject: Some(it.clone()), ..issuer.clone() };
        let anchored = |it: &String| KeylessIdentity { subject_reg_exp: Some(it.clone()), ..issuer.clone() };
        Ok(self.identity.iter().map(exact).chain(self.identity_regexp.iter().map(anchored)).collect())
    }
}

fn read(flag: &str, file: &Path) -> Result<String, UsageError> {
    let read = File::open(file).and_then(|open| text_file::read(open, MAX_TRUST_BYTES));
    read.map_err(|error| UsageError(format!("{flag} {}: {error}", shown_path(file))))
}
