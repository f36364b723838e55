//! Keys that policies trust, and the set of them that a read is given.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::signature::{KeyError, PublicKey};

/// A public key that a policy trusts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustedKey {
    /// SHA-256 of the SubjectPublicKeyInfo in DER, `sha256:…`.
    pub fingerprint: String,
    /// The key in PEM, always written the same way.
    pub pem: String,
}

/// The keys against which the bundles of a namespace are checked: those of all policies that match it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustSet {
    keys: BTreeMap<String, String>,
}

impl TrustSet {
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a TrustedKey>) -> Self {
        TrustSet { keys: keys.into_iter().map(|key| (key.fingerprint.clone(), key.pem.clone())).collect() }
    }

    /// Fingerprint and PEM of each key, by fingerprint.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.keys.iter().map(|(fingerprint, pem)| (fingerprint.as_str(), pem.as_str()))
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// `sha256:…` over the sorted fingerprints: two sets have the same digest if and only if they hold the same keys.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for fingerprint in self.keys.keys() {
            hash.update(fingerprint);
            hash.update("\n");
        }
        sha256_text(hash)
    }
}

/// Reads one public key. The error is a sentence that names nothing but what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<TrustedKey, KeyError> {
    let key = PublicKey::from_pem(text)?;
    Ok(TrustedKey { fingerprint: key.fingerprint().to_string(), pem: canonical(text) })
}

/// The PEM block in a text in which a key was found, without what stands around it, at 64 columns.
fn canonical(text: &str) -> String {
    let (begin, end) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");
    let body = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(body, _)| body);
    let body: Vec<char> = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    let lines: Vec<String> = body.chunks(64).map(|line| line.iter().collect()).collect();
    format!("{begin}\n{}\n{end}\n", lines.join("\n"))
}

fn sha256_text(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Public keys made with OpenSSL for tests; nobody has the private halves.

    /// ECDSA on P-256.
    pub(crate) const KEY_A: &str = include_str!("fixtures/a.pub");
    /// Another one on P-256.
    pub(crate) const KEY_B: &str = include_str!("fixtures/b.pub");
    /// ECDSA on P-384.
    pub(crate) const KEY_C: &str = include_str!("fixtures/c.pub");
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    #[test]
    fn spaces_around_a_key_change_nothing() {
        let padded = format!("The release key:\n{}\n\n", KEY_A.replace('\n', "\r\n"));
        assert_eq!(parse(&padded), parse(KEY_A));
        assert_eq!(parse(KEY_A).unwrap().pem, KEY_A);
        assert_eq!(
            PublicKey::from_pem(&parse(&padded).unwrap().pem).unwrap().fingerprint().to_string(),
            parse(KEY_A).unwrap().fingerprint
        );
        assert_ne!(parse(KEY_A), parse(KEY_B));
    }

    #[test]
    fn what_is_no_key_is_said() {
        for text in ["", "ssh-ed25519 AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&KEY_A.replace("PUBLIC KEY", "CERTIFICATE")).is_err());
    }

    #[test]
    fn the_digest_of_a_set_is_that_of_its_keys() {
        let (a, b) = (parse(KEY_A).unwrap(), parse(KEY_B).unwrap());
        assert_eq!(TrustSet::of([&a, &b, &a]), TrustSet::of([&b, &a]));
        assert_eq!(TrustSet::of([&a, &b]).digest(), TrustSet::of([&b, &a]).digest());
        assert_ne!(TrustSet::of([&a]).digest(), TrustSet::of([&b]).digest());
        assert_eq!(TrustSet::of([&a, &b, &a]).keys().len(), 2);
    }
}
