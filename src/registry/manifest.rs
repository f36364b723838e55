//! Which layer of a manifest is the bundle.

use serde::Deserialize;

use crate::model::{Digest, HashAlgorithm, shown};

/// How the media types of Sigstore bundles begin, in all their versions and spellings.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// Why a manifest holds no bundle that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBundle {
    /// It is not the manifest of an artifact.
    #[error("it is no manifest of an artifact: {0}")]
    Malformed(String),
    /// It is a list of manifests.
    #[error("it is an index of several manifests, not one of them")]
    Index,
    /// It has no layers, or several of which none says that it is a bundle.
    #[error("it has {0} layers, and none of them is a bundle")]
    None(usize),
    /// Which of several is meant?
    #[error("it has {0} bundles, and one is taken")]
    Several(usize),
    /// Its layer is known by a digest that is not compared here.
    #[error("it knows its layer by {0}, which is no SHA-256")]
    Digest(String),
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// The SHA-256 of its bytes.
    pub(super) digest: Digest,
    /// How many they are.
    pub(super) size: u64,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Option<Vec<Descriptor>>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

/// The only layer that says that it is a bundle; where none does, the only layer. What the manifest says of itself proves
/// nothing (registries and tools write all sorts of artifact types), so that it is not asked.
pub(super) fn bundle_layer(json: &[u8]) -> Result<Layer, NoBundle> {
    let malformed = |error: serde_json::Error| NoBundle::Malformed(shown(&error.to_string()));
    let manifest: Manifest = serde_json::from_slice(json).map_err(malformed)?;
    if manifest.manifests.is_some() {
        return Err(NoBundle::Index);
    }
    let layers = manifest.layers.unwrap_or_default();
    let bundles: Vec<&Descriptor> = layers.iter().filter(|layer| layer.media_type.starts_with(BUNDLE_TYPE)).collect();
    let layer = match (bundles.as_slice(), layers.as_slice()) {
        ([one], _) => one,
        ([], [one]) => one,
        ([], layers) => return Err(NoBundle::None(layers.len())),
        (several, _) => return Err(NoBundle::Several(several.len())),
    };
    let digest = layer.digest.parse::<Digest>().ok().filter(|digest| digest.algorithm() == HashAlgorithm::Sha256);
    let digest = digest.ok_or_else(|| NoBundle::Digest(shown(&layer.digest)))?;
    Ok(Layer { digest, size: layer.size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn layer(media_type: &str, hex: char) -> Value {
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", hex.to_string().repeat(64)), "size": 7 })
    }

    #[test]
    fn which_layer_is_the_bundle() {
        let bundle = || layer("application/vnd.dev.sigstore.bundle.v0.3+json", 'b');
        let old = || layer("application/vnd.dev.sigstore.bundle+json;version=0.2", 'b');
        let other = || layer("application/vnd.oci.image.layer.v1.tar", 'a');
        let table = [
            ("a bundle", json!({ "layers": [bundle()] }), Ok('b')),
            ("an older one", json!({ "layers": [old()] }), Ok('b')),
            ("one among others", json!({ "layers": [other(), bundle(), other()] }), Ok('b')),
            ("the only layer", json!({ "layers": [layer("text/plain", 'a')] }), Ok('a')),
            ("a liar", json!({ "artifactType": "application/vnd.example", "layers": [bundle()] }), Ok('b')),
            ("two", json!({ "layers": [bundle(), bundle()] }), Err(NoBundle::Several(2))),
            ("none of two", json!({ "layers": [other(), other()] }), Err(NoBundle::None(2))),
            ("no layer", json!({ "layers": [] }), Err(NoBundle::None(0))),
            (
                "no layers",
                json!({ "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json" }),
                Err(NoBundle::None(0)),
            ),
            ("an index", json!({ "manifests": [{}], "layers": [bundle()] }), Err(NoBundle::Index)),
        ];
        for (name, manifest, expected) in table {
            let found = bundle_layer(manifest.to_string().as_bytes());
            let hex = found.as_ref().map(|layer| layer.digest.to_hex().chars().next().unwrap());
            assert_eq!(hex.map_err(Clone::clone), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_said() {
        let digest = |digest: &str| json!({ "layers": [{ "digest": digest, "size": 1 }] }).to_string();
        for (json, words) in [
            (String::new(), "is no manifest"),
            ("[]".to_owned(), "is no manifest"),
            ("{\"layers\":[{}]}".to_owned(), "is no manifest"),
            ("{\"layers\":[{\"digest\":\"\",\"size\":-1}]}".to_owned(), "is no manifest"),
            (digest(&format!("sha512:{}", "0".repeat(128))), "no SHA-256"),
            (digest(&format!("blake3:{}", "0".repeat(64))), "no SHA-256"),
            (digest("\u{1b}[2J"), "no SHA-256"),
        ] {
            let error = bundle_layer(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\u{1b}'), "{json}: {error}");
        }
    }
}
