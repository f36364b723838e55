//! From the authorities of a spec to those that a signer can be compared with.
//!
//! Receives what a policy lists and the texts that it refers to; an authority of which any part cannot be read is a
//! problem of the policy, never a narrower or a wider authority.

use std::fmt;

use jiff::Timestamp;

use super::trust::{NamedPiece, TrustPiece, profile_of};
use super::{CompiledAuthority, Reach};
use crate::api::v1alpha1::{
    Authority as Listed, CertificateAuthority, CertificateSubject, KeyAuthority, KeyReference, KeylessAuthority,
    KeylessIdentity, Roots, RootsReference, TrustedRoot, TrustedRootReference,
};
use crate::signature::{
    AlternativeName, Authority, CertificatePin, CertificateTrust, IdentityError, IdentityPattern, KeylessTrust,
    PublicKey, TextPattern,
};

/// The authorities that can be read.
pub(super) fn compile(listed: &[Listed], trust: Reach<'_>, problems: &mut Vec<String>) -> Vec<CompiledAuthority> {
    let mut compiled = Vec::with_capacity(listed.len());
    for Listed { name, key, certificate, keyless } in listed {
        let read = match (key, certificate, keyless) {
            (Some(key), None, None) => read_key(key, trust),
            (None, Some(certificate), None) => read_certificate(certificate, trust),
            (None, None, Some(keyless)) => read_keyless(keyless, trust),
            _ => Err("has not exactly one kind".to_owned()),
        };
        match read {
            Ok(Read { authority, piece, ends }) => {
                compiled.push(CompiledAuthority { name: name.clone(), authority, piece, ends });
            }
            Err(error) => problems.push(format!("authority {name}: {error}")),
        }
    }
    compiled
}

/// Why nobody could ever satisfy a policy that requires so many. Not asked while authorities are missing: what is missing
/// was said already. A key has one holder; certificates and identities may have any number.
pub(super) fn unsatisfiable(authorities: &[CompiledAuthority], required: usize, complete: bool) -> Option<String> {
    let mut signers: Vec<&str> = (authorities.iter().map(|it| match it.authority {
        Authority::Key { .. } => it.piece.name.as_str(),
        Authority::Certificate { .. } | Authority::Keyless { .. } => it.name.as_str(),
    }))
    .collect();
    signers.sort_unstable();
    signers.dedup();
    let impossible = complete && signers.len() < required;
    impossible
        .then(|| format!("required is {required}, and the authorities can have {} distinct signers", signers.len()))
}

/// An authority of which every part could be read.
struct Read {
    authority: Authority,
    piece: NamedPiece,
    ends: Option<Timestamp>,
}

fn read_key(key: &KeyAuthority, trust: Reach<'_>) -> Result<Read, String> {
    let KeyAuthority { data, config_map_ref, secret_ref } = key;
    let place = |KeyReference { name, key }| (name, key);
    let source = Source::of("key", data, config_map_ref.clone().map(place), secret_ref.clone().map(place))?;
    let key = PublicKey::from_pem(source.text(trust)?).map_err(|error| source.unusable(&error))?;
    let name = format!("key {}", key.fingerprint());
    let piece = TrustPiece::Key { pem: key.pem().to_owned() };
    let authority = Authority::Key { fingerprint: key.fingerprint() };
    Ok(Read { authority, piece: NamedPiece { name, piece }, ends: None })
}

fn read_certificate(certificate: &CertificateAuthority, trust: Reach<'_>) -> Result<Read, String> {
    let CertificateAuthority { roots: Roots { data, config_map_ref }, profile, subjects } = certificate;
    let pins = subjects
        .iter()
        .enumerate()
        .map(|(at, subject)| pin(subject).map_err(|error| format!("subjects[{at}] {error}")));
    let pins = pins.collect::<Result<_, _>>()?;
    let place = |RootsReference { name, key }| (name, key);
    let source = Source::of("roots", data, config_map_ref.clone().map(place), None)?;
    let pem = source.text(trust)?;
    let roots = CertificateTrust::from_pem(pem, profile_of(*profile)).map_err(|error| source.unusable(&error))?;
    let name = format!("roots {} {}", roots.digest(), roots.profile().as_str());
    let piece = TrustPiece::Roots { pem: pem.to_owned(), profile: *profile };
    let authority = Authority::Certificate { trust: roots.digest(), profile: roots.profile(), pins };
    Ok(Read { authority, piece: NamedPiece { name, piece }, ends: roots.ends() })
}

fn pin(subject: &CertificateSubject) -> Result<CertificatePin, String> {
    let CertificateSubject { uri, dns, email, subject, issuer, fingerprint } = subject;
    let mut names = [
        uri.clone().map(AlternativeName::Uri),
        dns.clone().map(AlternativeName::Dns),
        email.clone().map(AlternativeName::Email),
    ]
    .into_iter()
    .flatten();
    let (name, another) = (names.next(), names.next());
    if another.is_some() {
        return Err("has more than one of uri, dns and email".to_owned());
    }
    let fingerprint = fingerprint.as_ref().map(|text| text.parse()).transpose();
    let fingerprint = fingerprint.map_err(|error| format!("has a fingerprint that is none: {error}"))?;
    let texts = [subject, issuer].into_iter().flatten().map(String::as_str);
    let names = [uri, dns, email].into_iter().flatten().map(String::as_str);
    if texts.chain(names).any(str::is_empty) {
        return Err("has an empty text".to_owned());
    }
    let pin = CertificatePin { subject: subject.clone(), issuer: issuer.clone(), name, fingerprint };
    let CertificatePin { subject, issuer, name, fingerprint } = &pin;
    if subject.is_none() && issuer.is_none() && name.is_none() && fingerprint.is_none() {
        return Err("names nothing".to_owned());
    }
    Ok(pin)
}

fn read_keyless(keyless: &KeylessAuthority, trust: Reach<'_>) -> Result<Read, String> {
    let KeylessAuthority { identities, trusted_root } = keyless;
    if identities.is_empty() {
        return Err("lists no identity".to_owned());
    }
    let identities = identities
        .iter()
        .enumerate()
        .map(|(at, one)| identity(one).map_err(|error| format!("identities[{at}] {error}")));
    let identities = identities.collect::<Result<_, _>>()?;
    let (root, piece) = match trusted_root {
        None => {
            let root = KeylessTrust::public_good();
            (root.map_err(|error| format!("the public-good root cannot be used: {error}"))?, TrustPiece::PublicGood {})
        }
        Some(TrustedRoot { data, config_map_ref }) => {
            let place = |TrustedRootReference { name, key }| (name, key);
            let source = Source::of("trusted root", data, config_map_ref.clone().map(place), None)?;
            let json = source.text(trust)?;
            let root = KeylessTrust::from_json(json).map_err(|error| source.unusable(&error))?;
            (root, TrustPiece::TrustedRoot { json: json.to_owned() })
        }
    };
    let name = format!("sigstore {}", root.digest());
    let authority = Authority::Keyless { trust: root.digest(), identities };
    Ok(Read { authority, piece: NamedPiece { name, piece }, ends: None })
}

fn identity(identity: &KeylessIdentity) -> Result<IdentityPattern, String> {
    let KeylessIdentity { issuer, issuer_reg_exp, subject, subject_reg_exp } = identity;
    Ok(IdentityPattern {
        issuer: pattern("issuer", issuer.as_deref(), issuer_reg_exp.as_deref())?,
        subject: pattern("subject", subject.as_deref(), subject_reg_exp.as_deref())?,
    })
}

fn pattern(what: &str, exact: Option<&str>, anchored: Option<&str>) -> Result<TextPattern, String> {
    let of = |error: IdentityError, field: &str| {
        // What is wrong with an expression takes several lines, with a mark below the place.
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| *line != "^").collect();
        format!("has an unusable {field}: {}", lines.join(" "))
    };
    match (exact, anchored) {
        (Some(text), None) => TextPattern::exact(text).map_err(|error| of(error, what)),
        (None, Some(pattern)) => TextPattern::anchored(pattern).map_err(|error| of(error, &format!("{what}RegExp"))),
        _ => Err(format!("has not exactly one of {what} and {what}RegExp")),
    }
}

/// Where a text stands.
enum Source<'a> {
    Inline { what: &'static str, text: &'a str },
    ConfigMap { name: String, key: String },
    Secret { name: String, key: String },
}

impl<'a> Source<'a> {
    fn of(
        what: &'static str,
        data: &'a Option<String>,
        config_map: Option<(String, String)>,
        secret: Option<(String, String)>,
    ) -> Result<Self, String> {
        match (data, config_map, secret) {
            (Some(text), None, None) => Ok(Source::Inline { what, text }),
            (None, Some((name, key)), None) => Ok(Source::ConfigMap { name, key }),
            (None, None, Some((name, key))) => Ok(Source::Secret { name, key }),
            _ => Err(format!("has not exactly one source for its {what}")),
        }
    }

    fn text<'b>(&self, trust: Reach<'b>) -> Result<&'b str, String>
    where
        'a: 'b,
    {
        let text = match self {
            Source::Inline { text, .. } => Some(*text),
            Source::ConfigMap { name, key } => {
                trust.config_map(name).and_then(|data| data.get(key)).map(String::as_str)
            }
            Source::Secret { name, key } => trust.secret(name).and_then(|data| data.get(key)).map(String::as_str),
        };
        text.ok_or_else(|| {
            format!("{self} does not exist in the namespace of weighbridge, or lacks {}", trust.wanted())
        })
    }

    fn unusable(&self, error: &dyn std::error::Error) -> String {
        format!("{self} cannot be used: {error}")
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Inline { what, .. } => write!(f, "its {what}"),
            Source::ConfigMap { name, key } => write!(f, "key {key} of ConfigMap {name}"),
            Source::Secret { name, key } => write!(f, "key {key} of Secret {name}"),
        }
    }
}
