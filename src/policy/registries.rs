//! From where bundles may be fetched.

use globset::GlobMatcher;

use super::globs::{collect, matcher};
use crate::api::v1alpha1::{BundleReference, is_host};

/// Places in registries from which bundles may be fetched: globs over `<host>/<repository>`. A host is written out; in
/// the repository `*` does not match `/`.
#[derive(Clone, Debug, Default)]
pub struct BundleRegistries {
    places: Vec<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    /// As the policy writes it.
    glob: String,
    host: String,
    repositories: GlobMatcher,
}

impl BundleRegistries {
    /// The globs that can be understood, and what was wrong with the others, which list nothing.
    pub fn compile(globs: &[String]) -> (Self, Vec<String>) {
        let (places, errors) = collect(globs.iter().map(|glob| Place::compile(glob)), "a glob in bundleRegistries");
        (BundleRegistries { places }, errors)
    }

    /// The glob that lists the place of a bundle, if one does.
    pub fn listing(&self, reference: &BundleReference) -> Option<&str> {
        let lists =
            |place: &&Place| place.host == reference.host() && place.repositories.is_match(reference.repository());
        self.places.iter().find(lists).map(|place| place.glob.as_str())
    }
}

impl Place {
    fn compile(glob: &str) -> Result<Self, String> {
        let parts = glob.split_once('/').filter(|(host, repositories)| is_host(host) && !repositories.is_empty());
        let (host, repositories) = parts.ok_or("it does not begin with a host that is written out, and /")?;
        Ok(Place { glob: glob.to_owned(), host: host.to_owned(), repositories: matcher(repositories)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(place: &str) -> BundleReference {
        BundleReference::parse(&format!("{place}@sha256:{}", "0".repeat(64))).unwrap()
    }

    #[test]
    fn what_globs_list() {
        for (glob, place, listed) in [
            ("registry.example.com/acme/**", "registry.example.com/acme/signatures", true),
            ("registry.example.com/acme/**", "registry.example.com/acme/a/b", true),
            ("registry.example.com/acme/**", "registry.example.com/other/a", false),
            ("registry.example.com/acme/**", "registry.example.com:5000/acme/a", false),
            ("registry.example.com/acme/*", "registry.example.com/acme/a", true),
            ("registry.example.com/acme/*", "registry.example.com/acme/a/b", false),
            ("registry.example.com/**", "registry.example.com/a", true),
            ("registry.example.com/**", "registry.example.com.evil.example/a", false),
            ("registry.example.com/**", "evil.example/registry.example.com/a", false),
            ("registry.example.com/{a,b}", "registry.example.com/b", true),
            ("198.18.0.1:5000/a", "198.18.0.1:5000/a", true),
            ("198.18.0.1:5000/a", "198.18.0.1:5000/b", false),
        ] {
            let (registries, errors) = BundleRegistries::compile(&[glob.to_owned()]);
            assert_eq!(errors, [""; 0], "{glob}");
            assert_eq!(registries.listing(&reference(place)), listed.then_some(glob), "{glob} {place}");
        }
    }

    #[test]
    fn a_host_is_written_out() {
        for glob in
            ["**", "*/a", "*.example.com/a", "example.com", "example.com/", "{a,b}.com/x", "a.com/[", "a.com/{x"]
        {
            let (registries, errors) = BundleRegistries::compile(&[glob.to_owned()]);
            assert_eq!(errors.len(), 1, "{glob}");
            assert_eq!(registries.listing(&reference("example.com/a")), None, "{glob}");
        }
    }
}
