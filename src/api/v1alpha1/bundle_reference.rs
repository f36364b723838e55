//! The name of a bundle in a registry: which one, where in it, and the digest that it has.

use std::fmt;

use crate::api::names::is_label;
use crate::model::{Digest, HashAlgorithm};

/// How a reference to a registry begins.
pub const REGISTRY_SCHEME: &str = "oci://";

/// Longest name of a host (RFC 1035), and longest repository that registries take.
const MAX_HOST_BYTES: usize = 253;
const MAX_REPOSITORY_BYTES: usize = 255;

/// A manifest in a registry that holds a bundle. By its digest alone: what it names never changes.
///
/// It has one spelling, so that what a policy lists is what is fetched: everything in lower case, the host written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleReference {
    host: String,
    repository: String,
    digest: Digest,
}

/// Why text names no bundle in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// It does not say which of several contents is meant: it has a tag, or nothing, where the digest belongs.
    Mutable,
    /// It is not of the form `<host>/<repository>@sha256:<64 hexadecimal digits>`.
    Malformed,
}

impl BundleReference {
    /// What stands behind `oci://`. It is anybody's text.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (place, digest) = match text.split_once('@') {
            Some((place, digest)) => (place, Some(digest)),
            None => (text, None),
        };
        let (host, repository) = place.split_once('/').ok_or(ReferenceError::Malformed)?;
        let untagged = repository.rsplit_once(':').filter(|(_, tag)| is_tag(tag)).map(|(repository, _)| repository);
        if !is_host(host) || !is_repository(untagged.unwrap_or(repository)) {
            return Err(ReferenceError::Malformed);
        }
        let digest = digest.ok_or(ReferenceError::Mutable)?;
        let spelt = digest.parse::<Digest>().ok().filter(|it| it.to_string() == digest);
        let sha256 = spelt.filter(|digest| digest.algorithm() == HashAlgorithm::Sha256 && untagged.is_none());
        let digest = sha256.ok_or(ReferenceError::Malformed)?;
        Ok(BundleReference { host: host.to_owned(), repository: repository.to_owned(), digest })
    }

    /// The registry: a name or an IPv4 address, and a port if it is not that of HTTPS.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest of the manifest. SHA-256.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// `<host>/<repository>`, as policies list it.
    pub fn place(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

/// As a record keeps it.
impl fmt::Display for BundleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REGISTRY_SCHEME}{}/{}@{}", self.host, self.repository, self.digest)
    }
}

/// Whether text is a DNS name in lower case, or an IPv4 address, with or without a port.
pub fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let number = |port: &str| {
        !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label) && port.is_none_or(number)
}

/// A repository as the distribution specification has it: components of letters, digits and single separators.
fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY_BYTES && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separator = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    let bytes = text.as_bytes();
    let edges = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
    edges && bytes.split(plain).all(separator)
}

/// A tag as the distribution specification has it.
fn is_tag(text: &str) -> bool {
    const MAX_TAG_BYTES: usize = 128;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= MAX_TAG_BYTES && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::MAX_LABEL_BYTES;
    use proptest::prelude::*;

    #[test]
    fn what_names_a_bundle() {
        use ReferenceError::{Malformed, Mutable};
        let hex = "0a".repeat(32);
        for (text, expected) in [
            ("registry.example.com/acme/signatures@D", Ok(("registry.example.com", "acme/signatures"))),
            ("registry.example.com:5000/a@D", Ok(("registry.example.com:5000", "a"))),
            ("198.18.0.1:5000/a/b-c/d__e/f.g@D", Ok(("198.18.0.1:5000", "a/b-c/d__e/f.g"))),
            ("localhost/a---b@D", Ok(("localhost", "a---b"))),
            ("registry.example.com/a", Err(Mutable)),
            ("registry.example.com/a:latest", Err(Mutable)),
            ("registry.example.com:5000/a:v1.0", Err(Mutable)),
            ("registry.example.com/a:latest@D", Err(Malformed)),
            ("registry.example.com/a@sha256:00", Err(Malformed)),
            ("registry.example.com/a@D@D", Err(Malformed)),
            ("registry.example.com/a@latest", Err(Malformed)),
            ("registry.example.com/@D", Err(Malformed)),
            ("registry.example.com@D", Err(Malformed)),
            ("/a@D", Err(Malformed)),
            ("user:secret@registry.example.com/a@D", Err(Malformed)),
            ("user@registry.example.com/a", Err(Malformed)),
            ("registry.example.com:/a@D", Err(Malformed)),
            ("registry.example.com:0/a@D", Err(Malformed)),
            ("registry.example.com:65536/a@D", Err(Malformed)),
            ("registry.example.com:+80/a@D", Err(Malformed)),
            ("registry..example.com/a@D", Err(Malformed)),
            ("-registry.example.com/a@D", Err(Malformed)),
            ("Registry.example.com/a@D", Err(Malformed)),
            ("registry.example.com./a@D", Err(Malformed)),
            ("[::1]:5000/a@D", Err(Malformed)),
            ("registry.example.com/A@D", Err(Malformed)),
            ("registry.example.com/a//b@D", Err(Malformed)),
            ("registry.example.com/../b@D", Err(Malformed)),
            ("registry.example.com/a..b@D", Err(Malformed)),
            ("registry.example.com/a/@D", Err(Malformed)),
            ("registry.example.com/a?x=y@D", Err(Malformed)),
            ("registry.example.com/a%2fb@D", Err(Malformed)),
            ("registry.example.com/a b@D", Err(Malformed)),
            ("registry.example.com/$(NONCE)@D", Err(Malformed)),
            ("", Err(Malformed)),
            ("\u{1b}[2J/a@D", Err(Malformed)),
        ] {
            let text = text.replace('D', &format!("sha256:{hex}"));
            let parsed = BundleReference::parse(&text);
            let said = parsed.as_ref().map(|it| (it.host(), it.repository())).map_err(|error| *error);
            assert_eq!(said, expected, "{text}");
        }
        let upper = format!("registry.example.com/a@sha256:{}", hex.to_uppercase());
        assert_eq!(BundleReference::parse(&upper), Err(Malformed), "one spelling for one record");
        let other = format!("registry.example.com/a@blake3:{hex}");
        assert_eq!(BundleReference::parse(&other), Err(Malformed));
    }

    #[test]
    fn long_names_are_refused() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let label = "a".repeat(MAX_LABEL_BYTES);
        for (place, fits) in [
            (format!("{label}.example.com/a"), true),
            (format!("a{label}.example.com/a"), false),
            (format!("{}.example.com/a", [label.as_str(); 4].join(".")), false),
            (format!("example.com/{}", "a".repeat(MAX_REPOSITORY_BYTES)), true),
            (format!("example.com/{}", "a".repeat(MAX_REPOSITORY_BYTES + 1)), false),
        ] {
            assert_eq!(BundleReference::parse(&format!("{place}@{digest}")).is_ok(), fits, "{place}");
        }
    }

    /// Pieces that references are made of, and such as break them.
    fn texts() -> impl Strategy<Value = String> {
        let hex = "[0-9a-f]{64}".prop_map(|hex| format!("sha256:{hex}"));
        let piece = prop_oneof![
            4 => "[a-z0-9]{1,5}".prop_map(String::from),
            3 => "[./:@_-]{1,2}".prop_map(String::from),
            2 => hex,
            1 => "\\PC{0,3}".prop_map(String::from),
            1 => Just("%2e".to_owned()),
        ];
        let anything = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
        let nearly = ("[a-z0-9.:-]{1,20}", "[a-z0-9._/-]{1,20}", "[0-9a-f]{64}")
            .prop_map(|(host, repository, hex)| format!("{host}/{repository}@sha256:{hex}"));
        prop_oneof![anything, nearly]
    }

    proptest! {
        /// What is taken for a reference is spelt in one way, and nothing in it means something else in a URL, in a glob,
        /// in an argument that a kubelet expands or on a terminal.
        #[test]
        fn a_reference_is_what_it_says(text in texts()) {
            let Ok(reference) = BundleReference::parse(&text) else { return Ok(()) };
            prop_assert_eq!(reference.to_string(), format!("oci://{text}"));
            let place = reference.place();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"./:_-".contains(&byte);
            prop_assert!(place.bytes().all(plain), "{}", place);
            prop_assert!(!place.contains("..") && !place.contains("//") && !reference.repository().contains(':'));
            prop_assert!(place.split('/').all(|part| !part.is_empty() && part != "."));
        }
    }
}
