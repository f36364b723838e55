//! Where a bundle is: what the annotation of a volume says, and what a record keeps of it.

use std::fmt;

use super::bundle_reference::{BundleReference, REGISTRY_SCHEME, ReferenceError};
use crate::api::names::is_subdomain;
use crate::model::{Hasher, ResourceName, shown};

/// The location that looks for the bundle itself.
pub const DISCOVERY: &str = "volume:";

/// The longest bundle that stands in an annotation, in bytes of its text: half of what the API server takes for all
/// annotations of an object.
pub const MAX_INLINE_BYTES: usize = 128 << 10;
/// Longest location that a record keeps, in bytes: a path, two names, or a host, a repository and a digest.
const MAX_LOCATION_BYTES: usize = 1024;
/// Longest key of a ConfigMap that the API server takes.
const MAX_KEY_BYTES: usize = 253;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleLocation {
    /// In the model: looked for there and in the nearest folder above.
    Discover,
    /// In the model, at this path.
    Volume(ResourceName),
    /// In a ConfigMap of the same namespace.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key under which the bundle stands.
        key: String,
    },
    /// In the annotation, and then in the record: known by the SHA-256 of its text.
    Inline {
        /// `sha256:` and the digits.
        digest: String,
    },
    /// In a registry.
    Registry(BundleReference),
}

/// Why an annotation says of no bundle where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing that is known.
    #[error("says `{0}`, which is no place of a bundle")]
    Unknown(String),
    /// A path that leads out of the model, or is none.
    #[error("says `{0}`, and that is no path inside the model")]
    Path(String),
    /// Not a name and a key, or those of another namespace.
    #[error("says `{0}`, and a ConfigMap of the Pod's own namespace is named by configmap:<name>/<key>")]
    ConfigMap(String),
    /// Not base64, or nothing.
    #[error("holds a bundle that is not written in base64")]
    Inline,
    /// Longer than [`MAX_INLINE_BYTES`].
    #[error("holds a bundle of {0} bytes, and {MAX_INLINE_BYTES} are read; keep it in the volume or in a ConfigMap")]
    TooLong(usize),
    /// In a registry, under a name that can mean something else tomorrow.
    #[error("names `{0}` by no digest, so that it can be another one tomorrow")]
    Mutable(String),
    /// Nothing that names a bundle in a registry.
    #[error("says `{0}`, and a bundle in a registry is named by oci://<host>/<repository>@sha256:<64 digits>")]
    Registry(String),
}

impl BundleLocation {
    /// What an annotation says, and the text of the bundle if it stands in it. An annotation is anybody's text.
    pub fn of_annotation(text: &str) -> Result<(BundleLocation, Option<&str>), LocationError> {
        if let Some(inline) = text.strip_prefix("inline:") {
            if inline.len() > MAX_INLINE_BYTES {
                return Err(LocationError::TooLong(inline.len()));
            }
            let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            if inline.is_empty() || !inline.bytes().all(base64) {
                return Err(LocationError::Inline);
            }
            let digest = Hasher::sha256(inline.as_bytes()).to_string();
            return Ok((BundleLocation::Inline { digest }, Some(inline)));
        }
        if text.len() > MAX_LOCATION_BYTES {
            return Err(LocationError::Unknown(shown(text)));
        }
        BundleLocation::kept(text).map(|location| (location, None))
    }

    /// What a record keeps.
    pub fn of_record(text: &str) -> Result<BundleLocation, LocationError> {
        let Some(digest) = text.strip_prefix("inline:") else { return BundleLocation::kept(text) };
        let known = digest.parse::<crate::model::Digest>().is_ok_and(|it| it.to_string() == digest);
        let digest = digest.to_owned();
        if known { Ok(BundleLocation::Inline { digest }) } else { Err(LocationError::Unknown(shown(text))) }
    }

    fn kept(text: &str) -> Result<BundleLocation, LocationError> {
        if let Some(path) = text.strip_prefix("volume:") {
            if path.is_empty() {
                return Ok(BundleLocation::Discover);
            }
            let name = ResourceName::parse(path).ok().filter(|name| !name.is_root());
            return name.map(BundleLocation::Volume).ok_or_else(|| LocationError::Path(shown(text)));
        }
        if let Some(place) = text.strip_prefix("configmap:") {
            let parts = place.split_once('/').filter(|(name, key)| is_subdomain(name) && is_key(key));
            let (name, key) = parts.ok_or_else(|| LocationError::ConfigMap(shown(text)))?;
            return Ok(BundleLocation::ConfigMap { name: name.to_owned(), key: key.to_owned() });
        }
        if let Some(reference) = text.strip_prefix(REGISTRY_SCHEME) {
            return BundleReference::parse(reference).map(BundleLocation::Registry).map_err(|error| match error {
                ReferenceError::Mutable => LocationError::Mutable(shown(text)),
                ReferenceError::Malformed => LocationError::Registry(shown(text)),
            });
        }
        Err(LocationError::Unknown(shown(text)))
    }
}

/// As a record keeps it.
impl fmt::Display for BundleLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleLocation::Discover => f.write_str(DISCOVERY),
            BundleLocation::Volume(path) => write!(f, "volume:{path}"),
            BundleLocation::ConfigMap { name, key } => write!(f, "configmap:{name}/{key}"),
            BundleLocation::Inline { digest } => write!(f, "inline:{digest}"),
            BundleLocation::Registry(reference) => reference.fmt(f),
        }
    }
}

/// A key of a ConfigMap, as the API server takes it.
fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.starts_with("..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_annotations_say() {
        let digest = Hasher::sha256(b"eyJ9").to_string();
        let long = format!("inline:{}", "A".repeat(MAX_INLINE_BYTES + 1));
        let ok = |text: &str| Ok(text.to_owned());
        let oci = format!("oci://registry.example.com:5000/acme/signatures@sha256:{}", "0".repeat(64));
        let table: [(&str, Result<String, &str>); 26] = [
            ("volume:", ok("volume:")),
            ("volume:model.sig", ok("volume:model.sig")),
            ("volume:signatures/release.sig", ok("volume:signatures/release.sig")),
            ("configmap:bundles/model.sig", ok("configmap:bundles/model.sig")),
            ("inline:eyJ9", Ok(format!("inline:{digest}"))),
            ("volume:.", Err("no path inside the model")),
            ("volume:/etc/passwd", Err("no path inside the model")),
            ("volume:../../other/model.sig", Err("no path inside the model")),
            ("volume:a/../../b.sig", Err("no path inside the model")),
            ("volume:a//b.sig", Err("no path inside the model")),
            ("configmap:other-tenant/bundles/model.sig", Err("of the Pod's own namespace")),
            ("configmap:bundles", Err("of the Pod's own namespace")),
            ("configmap:bundles/", Err("of the Pod's own namespace")),
            ("configmap:/model.sig", Err("of the Pod's own namespace")),
            ("configmap:bundles/..", Err("of the Pod's own namespace")),
            ("configmap:Bundles/model.sig", Err("of the Pod's own namespace")),
            (&oci, ok(&oci)),
            ("oci://evil.example/model@sha256:00", Err("is named by oci://<host>/<repository>@sha256:")),
            ("oci://evil.example/model:latest", Err("by no digest")),
            ("inline:", Err("not written in base64")),
            ("inline:-----BEGIN PUBLIC KEY-----", Err("not written in base64")),
            (&long, Err("are read")),
            ("-----BEGIN PUBLIC KEY-----", Err("no place of a bundle")),
            ("https://evil.example/model.sig", Err("no place of a bundle")),
            ("", Err("no place of a bundle")),
            ("\u{1b}[2J", Err("no place of a bundle")),
        ];
        for (text, expected) in table {
            let said = BundleLocation::of_annotation(text).map(|(location, _)| location.to_string());
            match (&said, &expected) {
                (Ok(said), Ok(expected)) => assert_eq!(said, expected, "{text}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{text}: {error}");
                    assert!(!error.to_string().contains('\u{1b}') && error.to_string().len() < 300, "{error}");
                }
                _ => panic!("{text}: {said:?}"),
            }
        }
    }

    #[test]
    fn what_a_record_keeps_is_read_again() {
        let oci = format!("oci://registry.example.com/a@sha256:{}", "0".repeat(64));
        for text in ["volume:", "volume:a/b.sig", "configmap:x/y", "inline:eyJ9", &oci] {
            let kept = BundleLocation::of_annotation(text).unwrap().0;
            assert_eq!(BundleLocation::of_record(&kept.to_string()), Ok(kept), "{text}");
        }
        for text in ["inline:eyJ9", "inline:sha256:00", "oci://x", "volume:../x", ""] {
            assert!(BundleLocation::of_record(text).is_err(), "{text}");
        }
    }
}
