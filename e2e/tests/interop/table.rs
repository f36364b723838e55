//! The table: what is combined with what.

use std::collections::BTreeSet;
use std::fmt;

use crate::trees::{TREES, Tree};

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// A key on a curve.
    Key(&'static str),
    /// A certificate with an intermediate above it, checked by one of our profiles.
    Certificate { leaf: &'static str, profile: &'static str },
}

const SIGNERS: [Signer; 5] = [
    Signer::Key("p256"),
    Signer::Key("p384"),
    Signer::Key("p521"),
    Signer::Certificate { leaf: "strict", profile: "strict" },
    Signer::Certificate { leaf: "lax", profile: "reference" },
];

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Files,
    /// Stretches of so many bytes.
    Shards(u64),
}

/// Far below a file's length, near it, exactly a part of it, and above every file.
const METHODS: [Method; 5] =
    [Method::Files, Method::Shards(16), Method::Shards(500), Method::Shards(999), Method::Shards(1_000_000)];

pub(crate) const HASHES: [&str; 3] = ["sha256", "blake2b", "blake3"];

/// Where the bundle lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside of the model.
    Elsewhere,
    /// In the model's folder, or beside the single file.
    Default,
}

const PLACES: [Place; 2] = [Place::Elsewhere, Place::Default];

/// A combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) signer: Signer,
    pub(crate) method: Method,
    pub(crate) hash: &'static str,
    pub(crate) tree: &'static Tree,
    pub(crate) place: Place,
    /// The place in each column, by which pairs are told apart.
    columns: [usize; 5],
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { signer, method, hash, tree, place, columns: _ } = self;
        write!(f, "{signer:?}, {method:?}, {hash}, {}, {place:?}", tree.name)
    }
}

impl Case {
    /// Files hashed with SHA-256.
    pub(crate) fn plain(signer: Signer, place: Place) -> Self {
        Case { signer, method: Method::Files, hash: "sha256", tree: &TREES[1], place, columns: [0; 5] }
    }

    /// Why a combination means nothing.
    fn meaningless(&self) -> Option<&'static str> {
        // `stricter` has a test of its own for our side of it.
        let shards_of_blake3 = self.hash == "blake3" && self.method != Method::Files;
        shards_of_blake3.then_some("asked for shards of BLAKE3, the reference writes whole files")
    }

    /// Each pair of values of different columns.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let columns = self.columns;
        (0..columns.len()).flat_map(move |a| (a + 1..columns.len()).map(move |b| (a, columns[a], b, columns[b])))
    }
}

/// What is run: everything, or as few combinations as a greedy choice finds in which all pairs meet.
pub(crate) fn cases() -> Vec<Case> {
    let all: Vec<Case> = product().into_iter().filter(|case| case.meaningless().is_none()).collect();
    if std::env::var_os("WEIGHBRIDGE_E2E_FULL").is_some() {
        return all;
    }
    let mut missing: BTreeSet<_> = all.iter().flat_map(Case::pairs).collect();
    let mut chosen = Vec::new();
    while let Some(best) = all.iter().max_by_key(|case| case.pairs().filter(|pair| missing.contains(pair)).count())
        && !missing.is_empty()
    {
        missing.retain(|pair| !best.pairs().any(|met| met == *pair));
        chosen.push(*best);
    }
    chosen
}

fn product() -> Vec<Case> {
    let mut all = Vec::new();
    for (a, signer) in SIGNERS.into_iter().enumerate() {
        for (b, method) in METHODS.into_iter().enumerate() {
            for (c, hash) in HASHES.into_iter().enumerate() {
                for (d, tree) in TREES.iter().enumerate() {
                    for (e, place) in PLACES.into_iter().enumerate() {
                        all.push(Case { signer, method, hash, tree, place, columns: [a, b, c, d, e] });
                    }
                }
            }
        }
    }
    all
}

#[test]
fn the_small_table_has_every_pair() {
    let pairs = |cases: &[Case]| cases.iter().flat_map(Case::pairs).collect::<BTreeSet<_>>();
    let all: Vec<Case> = product().into_iter().filter(|case| case.meaningless().is_none()).collect();
    let chosen = cases();
    assert_eq!(pairs(&chosen), pairs(&all));
    assert!(chosen.len() <= all.len());
}
