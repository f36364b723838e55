//! The flags that say whose signature counts, and what they mean: trust material, and who of those it proves may sign.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::UsageError;
use super::model_flags::shown_path;
use crate::model::{Digest, shown};
use crate::signature::{
    AlternativeName, Authority, CertificatePin, CertificateTrust, IdentityError, IdentityPattern, KeylessTrust,
    Profile, PublicKey, TextPattern, TrustMaterial,
};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileFlag {
    /// Valid now, for signing code, no CA: RFC 5280.
    Strict,
    /// What the Python reference accepts.
    Reference,
}

/// Whose signature counts, and what proves it.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    /// What signatures are checked against.
    pub(super) material: TrustMaterial,
    /// Who of those that it proves may sign, in words and as what is asked; each is enough.
    pub(super) authorities: Vec<(String, Authority)>,
}

impl AuthorityFlags {
    /// Reads all that the flags name.
    pub(super) fn trusted(self) -> Result<Trusted, UsageError> {
        let pin = self.pin()?;
        let identities = self.identities()?;
        let mut trusted = Trusted::default();
        for file in &self.key {
            let key = PublicKey::from_pem(&read("--key", file)?).map_err(|error| wrong("--key", file, &error))?;
            trusted.add_key(key);
        }
        let profile = match self.certificate_profile {
            ProfileFlag::Strict => Profile::Strict,
            ProfileFlag::Reference => Profile::Reference,
        };
        for file in &self.certificate_roots {
            let flag = "--certificate-roots";
            let roots = CertificateTrust::from_pem(&read(flag, file)?, profile);
            trusted.add_roots(roots.map_err(|error| wrong(flag, file, &error))?, pin.iter().cloned().collect());
        }
        if !identities.is_empty() {
            let root = match &self.trusted_root {
                Some(file) => KeylessTrust::from_json(&read("--trusted-root", file)?)
                    .map_err(|error| wrong("--trusted-root", file, &error))?,
                None => KeylessTrust::public_good()
                    .map_err(|error| UsageError(format!("the built-in root of Sigstore cannot be used: {error}")))?,
            };
            trusted.add_instance(root, identities);
        } else if self.trusted_root.is_some() {
            return Err(UsageError("--trusted-root: give --identity and --issuer too: whom it should know".into()));
        }
        Ok(trusted)
    }

    /// What the certificate must say, if anything is asked for.
    fn pin(&self) -> Result<Option<CertificatePin>, UsageError> {
        let fingerprint = self.certificate_fingerprint.as_deref().map(|text| {
            text.parse::<Digest>().map_err(|error| UsageError(format!("--certificate-fingerprint: {error}")))
        });
        let pin = CertificatePin {
            subject: self.certificate_subject.clone(),
            issuer: self.certificate_issuer.clone(),
            name: self.certificate_san.as_deref().map(alternative_name).transpose()?,
            fingerprint: fingerprint.transpose()?,
        };
        let CertificatePin { subject, issuer, name, fingerprint } = &pin;
        let asked = subject.is_some() || issuer.is_some() || name.is_some() || fingerprint.is_some();
        Ok(asked.then_some(pin))
    }

    /// Every identity with the issuer.
    fn identities(&self) -> Result<Vec<IdentityPattern>, UsageError> {
        let unusable = |flag| move |error: IdentityError| UsageError(format!("{flag}: {error}"));
        let exact = self.identity.iter().map(|text| TextPattern::exact(text).map_err(unusable("--identity")));
        let anchored =
            self.identity_regexp.iter().map(|text| TextPattern::anchored(text).map_err(unusable("--identity-regexp")));
        let subjects = exact.chain(anchored).collect::<Result<Vec<_>, _>>()?;
        let issuer = match (&self.issuer, &self.issuer_regexp) {
            (Some(text), _) => Some(TextPattern::exact(text).map_err(unusable("--issuer"))?),
            (None, Some(text)) => Some(TextPattern::anchored(text).map_err(unusable("--issuer-regexp"))?),
            (None, None) => None,
        };
        match issuer {
            Some(_) if subjects.is_empty() => {
                Err(UsageError("--issuer: give --identity too: whom of those that it knows".into()))
            }
            None if !subjects.is_empty() => {
                Err(UsageError("--identity: give --issuer too: anybody can call themselves that elsewhere".into()))
            }
            Some(issuer) => {
                Ok(subjects.into_iter().map(|subject| IdentityPattern { issuer: issuer.clone(), subject }).collect())
            }
            None => Ok(Vec::new()),
        }
    }
}

impl Trusted {
    /// Whether nobody is named.
    pub(super) fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    fn add_key(&mut self, key: PublicKey) {
        let fingerprint = key.fingerprint();
        self.authorities.push((format!("key {fingerprint}"), Authority::Key { fingerprint }));
        self.material.keys.push(key);
    }

    fn add_roots(&mut self, roots: CertificateTrust, pins: Vec<CertificatePin>) {
        let mut name = format!("certificate of the roots {}", roots.digest());
        for CertificatePin { subject, issuer, name: san, fingerprint } in &pins {
            let texts = [("subject", subject), ("issuer", issuer)];
            let texts = texts.into_iter().filter_map(|(what, text)| Some(format!("{what} {}", shown(text.as_ref()?))));
            let san = san.iter().map(|san| shown(&san.to_string()));
            let fingerprint = fingerprint.iter().map(|digest| format!("fingerprint {digest}"));
            name = format!("{name} with {}", texts.chain(san).chain(fingerprint).collect::<Vec<_>>().join(", "));
        }
        let authority = Authority::Certificate { trust: roots.digest(), profile: roots.profile(), pins };
        self.authorities.push((name, authority));
        self.material.certificates.push(roots);
    }

    fn add_instance(&mut self, root: KeylessTrust, identities: Vec<IdentityPattern>) {
        let text = |pattern: &TextPattern| match pattern {
            TextPattern::Exact(text) => shown(text),
            TextPattern::Anchored(regex) => format!("/{}/", shown(regex.as_str())),
        };
        let names: Vec<String> = (identities.iter())
            .map(|IdentityPattern { issuer, subject }| format!("{} of {}", text(subject), text(issuer)))
            .collect();
        let authority = Authority::Keyless { trust: root.digest(), identities };
        self.authorities.push((format!("identity {}", names.join(" or ")), authority));
        self.material.keyless.push(root);
    }
}

fn alternative_name(text: &str) -> Result<AlternativeName, UsageError> {
    match text.split_once(':') {
        Some((_, "")) | None => {}
        Some(("uri", name)) => return Ok(AlternativeName::Uri(name.into())),
        Some(("dns", name)) => return Ok(AlternativeName::Dns(name.into())),
        Some(("email", name)) => return Ok(AlternativeName::Email(name.into())),
        Some(_) => {}
    }
    Err(UsageError("--certificate-san: write it as uri:…, dns:… or email:…".into()))
}

fn read(flag: &str, file: &Path) -> Result<String, UsageError> {
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(MAX_TRUST_BYTES).read_to_string(&mut text));
    read.map_err(|error| wrong(flag, file, &error))?;
    Ok(text)
}

fn wrong(flag: &str, file: &Path, problem: &dyn std::fmt::Display) -> UsageError {
    UsageError(format!("{flag} {}: {problem}", shown_path(file)))
}
