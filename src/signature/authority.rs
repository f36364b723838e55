//! Who may sign: an authority that somebody lists, against a signer whose signature was verified.
//!
//! Pure comparison. A signer satisfies an authority only if the authority's own trust material proved it: the key
//! itself, the same set of roots under the same profile, the same Sigstore instance. An authority without a key, a pin
//! or an identity cannot be made.

use regex::Regex;

use super::certificate::{AlternativeName, CertificateFacts, Profile};
use super::keyless::KeylessFacts;
use super::verify::Signer;
use crate::model::Digest;

/// The longest regular expression, in bytes: identities are URLs, and a pattern of one is not much longer.
const MAX_PATTERN_BYTES: usize = 1024;

/// How much memory a compiled pattern may take, in bytes. What people write takes some 10 KiB; `\w{1000}` would not.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// Somebody whose signature counts.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The holder of a key.
    Key {
        /// SHA-256 of the key's `SubjectPublicKeyInfo`.
        fingerprint: Digest,
    },
    /// Whoever holds a certificate of these roots that one of the pins describes. Without pins: any of them.
    Certificate {
        /// [`super::CertificateTrust::digest`] of the roots.
        trust: Digest,
        /// The profile by which chains are checked.
        profile: Profile,
        /// Alternatives.
        pins: Vec<CertificatePin>,
    },
    /// Whoever a Sigstore instance knows by one of these identities. Without identities: nobody.
    Keyless {
        /// [`super::KeylessTrust::digest`] of the instance's root.
        trust: Digest,
        /// Alternatives.
        identities: Vec<IdentityPattern>,
    },
}

/// A description of certificates. Everything that it names must hold.
#[derive(Clone, Debug, Default)]
pub struct CertificatePin {
    /// The leaf's subject, as RFC 4514 writes it.
    pub subject: Option<String>,
    /// The leaf's issuer, as RFC 4514 writes it.
    pub issuer: Option<String>,
    /// A subject alternative name of the leaf.
    pub name: Option<AlternativeName>,
    /// SHA-256 of the leaf's `SubjectPublicKeyInfo`.
    pub fingerprint: Option<Digest>,
}

/// One thing that a pin names. Not fit to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned<'a> {
    /// The leaf's subject.
    Subject(&'a str),
    /// The leaf's issuer.
    Issuer(&'a str),
    /// A subject alternative name.
    Name(&'a AlternativeName),
    /// SHA-256 of the leaf's `SubjectPublicKeyInfo`.
    Fingerprint(Digest),
}

/// An identity together with the OIDC issuer that vouches for it.
#[derive(Clone, Debug)]
pub struct IdentityPattern {
    /// The OIDC issuer.
    pub issuer: TextPattern,
    /// The subject: an e-mail address or a URI.
    pub subject: TextPattern,
}

/// A text, or a regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub enum TextPattern {
    /// This very text.
    Exact(String),
    /// Any text that the expression matches from its beginning to its end.
    Anchored(Regex),
}

/// Why a regular expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Longer than any that is needed.
    #[error("the regular expression is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// Not one, or one that takes too much memory.
    #[error("the regular expression cannot be used: {0}")]
    Pattern(String),
    /// Empty text would match nobody, or everybody.
    #[error("an identity or issuer is empty")]
    Empty,
}

impl TextPattern {
    /// This very text, which must not be empty.
    pub fn exact(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() { Err(IdentityError::Empty) } else { Ok(TextPattern::Exact(text.to_owned())) }
    }

    /// A regular expression that must match the whole text, whether or not it has anchors of its own.
    pub fn anchored(pattern: &str) -> Result<Self, IdentityError> {
        if pattern.is_empty() {
            return Err(IdentityError::Empty);
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(IdentityError::TooLong);
        }
        let unusable = |error: regex::Error| IdentityError::Pattern(error.to_string());
        // Alone first: `a)|(b` is no expression, and must not become one between our parentheses.
        regex::RegexBuilder::new(pattern).size_limit(MAX_PATTERN_SIZE).build().map_err(unusable)?;
        let whole = format!(r"\A(?:{pattern})\z");
        let anchored = regex::RegexBuilder::new(&whole).size_limit(MAX_PATTERN_SIZE).build();
        anchored.map(TextPattern::Anchored).map_err(unusable)
    }

    /// Whether the whole text is what was meant.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            TextPattern::Exact(exact) => exact == text,
            TextPattern::Anchored(pattern) => pattern.is_match(text),
        }
    }
}

impl Authority {
    /// Whether this signer is meant, and was proved by this authority's own trust material.
    pub fn accepts(&self, signer: &Signer) -> bool {
        match (self, signer) {
            (Authority::Key { fingerprint }, Signer::Key { fingerprint: signer }) => fingerprint == signer,
            (Authority::Certificate { .. }, _) => self
                .pins_for(signer)
                .is_some_and(|(facts, pins)| pins.is_empty() || pins.iter().any(|pin| pin.describes(facts))),
            (Authority::Keyless { trust, identities }, Signer::Keyless(facts)) => {
                facts.trust == *trust && identities.iter().any(|identity| identity.matches(facts))
            }
            (Authority::Key { .. } | Authority::Keyless { .. }, _) => false,
        }
    }

    /// The pins, where a certificate was proved by this authority's own roots.
    pub fn pins_for<'a>(&'a self, signer: &'a Signer) -> Option<(&'a CertificateFacts, &'a [CertificatePin])> {
        match (self, signer) {
            (Authority::Certificate { trust, profile, pins }, Signer::Certificate(facts))
                if facts.trust == *trust && facts.profile == *profile =>
            {
                Some((facts, pins))
            }
            _ => None,
        }
    }
}

impl CertificatePin {
    fn describes(&self, facts: &CertificateFacts) -> bool {
        self.lacking(facts).next().is_none()
    }

    /// What it names that a certificate does not have.
    pub fn lacking<'a>(&'a self, facts: &CertificateFacts) -> impl Iterator<Item = Pinned<'a>> {
        let CertificatePin { subject, issuer, name, fingerprint } = self;
        let lacking = [
            subject.as_deref().filter(|subject| *subject != facts.subject).map(Pinned::Subject),
            issuer.as_deref().filter(|issuer| *issuer != facts.issuer).map(Pinned::Issuer),
            name.as_ref().filter(|name| !facts.names.contains(name)).map(Pinned::Name),
            fingerprint.filter(|fingerprint| *fingerprint != facts.fingerprint).map(Pinned::Fingerprint),
        ];
        lacking.into_iter().flatten()
    }
}

impl IdentityPattern {
    fn matches(&self, facts: &KeylessFacts) -> bool {
        self.issuer.matches(&facts.issuer) && self.subject.matches(&facts.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hasher;
    use jiff::Timestamp;

    fn digest(of: &str) -> Digest {
        Hasher::sha256(of.as_bytes())
    }

    fn anchored(pattern: &str) -> TextPattern {
        TextPattern::anchored(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, matching, others) in [
            ("a", &["a"][..], &["", "ab", "ba", "A", "a\n", "\na"][..]),
            ("a|b", &["a", "b"], &["ab", "ax", "xb", "a|b"]),
            ("^a$", &["a"], &["ab", "a\n"]),
            ("(?m)^a$", &["a"], &["a\nb", "b\na"]),
            ("(?i)a", &["a", "A"], &["aA"]),
            (
                ".*@example\\.com",
                &["x@example.com", "@example.com"],
                &["x@example.com.evil.org", "x@exampleXcom", "x\n@example.com"],
            ),
            (
                "https://github\\.com/acme/.+",
                &["https://github.com/acme/x"],
                &["https://github.com/acme/", "http://github.com/acme/x"],
            ),
            ("a|", &["a", ""], &["b"]),
        ] {
            let pattern = anchored(pattern);
            assert!(matching.iter().all(|text| pattern.matches(text)), "{pattern:?}");
            assert!(!others.iter().any(|text| pattern.matches(text)), "{pattern:?}");
        }
    }

    #[test]
    fn what_cannot_be_anchored_is_refused() {
        assert_eq!(TextPattern::anchored("").unwrap_err(), IdentityError::Empty);
        assert_eq!(TextPattern::exact("").unwrap_err(), IdentityError::Empty);
        assert_eq!(TextPattern::anchored(&"a".repeat(MAX_PATTERN_BYTES + 1)).unwrap_err(), IdentityError::TooLong);
        // The last one comments out whatever follows it.
        for pattern in ["a)|(b", "(", "a\\", "[a", "(?P<", "\\w{1000}{1000}", "(?x)a # b"] {
            let error = TextPattern::anchored(pattern).unwrap_err();
            assert!(matches!(error, IdentityError::Pattern(_)), "{pattern}: {error}");
        }
    }

    #[test]
    fn an_exact_text_is_no_pattern() {
        let exact = TextPattern::exact("a.c").unwrap();
        assert!(exact.matches("a.c"));
        assert!(!exact.matches("abc") && !exact.matches("a.c ") && !exact.matches("A.C"));
    }

    fn keyless(issuer: &str, identity: &str) -> Signer {
        Signer::Keyless(KeylessFacts {
            identity: identity.into(),
            issuer: issuer.into(),
            signed_at: Timestamp::UNIX_EPOCH,
            trust: digest("instance"),
            log: None,
            timestamp_authority: None,
        })
    }

    #[test]
    fn an_identity_counts_with_its_issuer_and_instance() {
        let known = |issuer: &str, subject: &str| {
            let exact = |text| TextPattern::exact(text).unwrap();
            IdentityPattern { issuer: exact(issuer), subject: exact(subject) }
        };
        let authority =
            |trust, identities: &[IdentityPattern]| Authority::Keyless { trust, identities: identities.to_vec() };
        let both = [known("i", "alice"), known("j", "bob")];
        let either = authority(digest("instance"), &both);
        assert!(either.accepts(&keyless("i", "alice")) && either.accepts(&keyless("j", "bob")));
        assert!(!either.accepts(&keyless("j", "alice")) && !either.accepts(&keyless("i", "bob")));
        assert!(!authority(digest("another"), &both).accepts(&keyless("i", "alice")));
        assert!(!authority(digest("instance"), &[]).accepts(&keyless("i", "alice")), "nobody is named");
    }

    fn certificate() -> CertificateFacts {
        CertificateFacts {
            fingerprint: digest("key"),
            subject: "CN=signer".into(),
            issuer: "CN=issuer".into(),
            names: vec![AlternativeName::Uri("spiffe://a".into()), AlternativeName::Email("a@b".into())],
            not_after: Timestamp::UNIX_EPOCH,
            chain: Vec::new(),
            root: digest("root"),
            trust: digest("roots"),
            profile: Profile::Strict,
        }
    }

    #[test]
    fn all_of_a_pin_and_any_of_the_pins() {
        let signer = Signer::Certificate(certificate());
        let accepts = |pins: &[CertificatePin]| {
            let authority =
                Authority::Certificate { trust: digest("roots"), profile: Profile::Strict, pins: pins.to_vec() };
            authority.accepts(&signer)
        };
        let subject = |text: &str| CertificatePin { subject: Some(text.into()), ..CertificatePin::default() };
        assert!(accepts(&[]), "any holder");
        assert!(accepts(&[subject("CN=signer")]) && !accepts(&[subject("CN=other")]));
        assert!(accepts(&[subject("CN=other"), subject("CN=signer")]), "one of them");
        let name = |name| CertificatePin { name: Some(name), ..subject("CN=signer") };
        assert!(accepts(&[name(AlternativeName::Email("a@b".into()))]), "any of its names");
        assert!(!accepts(&[name(AlternativeName::Dns("a@b".into()))]), "of that kind");
        assert!(!accepts(&[CertificatePin { issuer: Some("CN=x".into()), ..subject("CN=signer") }]), "and all it says");
    }

    #[test]
    fn no_kind_of_signer_stands_for_another() {
        let pins = Vec::new();
        let authorities = [
            Authority::Key { fingerprint: digest("key") },
            Authority::Certificate { trust: digest("roots"), profile: Profile::Strict, pins },
            Authority::Keyless {
                trust: digest("instance"),
                identities: vec![IdentityPattern { issuer: anchored(".*"), subject: anchored(".*") }],
            },
        ];
        let signers =
            [Signer::Key { fingerprint: digest("key") }, Signer::Certificate(certificate()), keyless("i", "alice")];
        for (row, authority) in authorities.iter().enumerate() {
            for (column, signer) in signers.iter().enumerate() {
                assert_eq!(authority.accepts(signer), row == column, "{authority:?} {signer:?}");
            }
        }
        assert!(!Authority::Key { fingerprint: digest("other") }.accepts(&signers[0]));
        let other = Authority::Certificate { trust: digest("roots"), profile: Profile::Reference, pins: Vec::new() };
        assert!(!other.accepts(&signers[1]), "proved by another profile");
    }
}
