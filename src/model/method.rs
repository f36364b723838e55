//! How files are cut into what is hashed: not at all, or into shards of one size.
//!
//! Receives lengths, gives ranges. OMS calls this the serialization method (specification, section "Serialization").

use std::fmt;
use std::num::NonZeroU64;

use super::HashAlgorithm;

/// How a signer made a list of digests of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One digest for each file.
    Files,
    /// One digest for each stretch of a file. A file without any byte has none, and so cannot be listed.
    Shards {
        /// The length of each stretch but the last of a file, in bytes.
        bytes: NonZeroU64,
    },
}

impl Method {
    /// The name as OMS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Files => "files",
            Method::Shards { .. } => "shards",
        }
    }

    /// What OMS writes as the algorithm of each digest: `sha256`, or `sha256-sharded-1000000` under shards of a
    /// million bytes.
    pub fn algorithm_name(self, algorithm: HashAlgorithm) -> String {
        match self {
            Method::Files => algorithm.to_string(),
            Method::Shards { bytes } => format!("{algorithm}-sharded-{bytes}"),
        }
    }

    /// How many digests a file of that many bytes has.
    pub(super) fn digests(self, bytes: u64) -> u64 {
        match self {
            Method::Files => 1,
            Method::Shards { bytes: size } => bytes.div_ceil(size.get()),
        }
    }
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Where it begins, in bytes from the start of the file.
    pub start: u64,
    /// Where it has ended: the first byte that no longer belongs to it.
    pub end: u64,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(bytes: u64) -> Method {
        Method::Shards { bytes: NonZeroU64::new(bytes).unwrap() }
    }

    #[test]
    fn algorithms_are_named_as_the_reference_names_them() {
        assert_eq!(Method::Files.algorithm_name(HashAlgorithm::Blake2b), "blake2b");
        assert_eq!(shards(1_000_000).algorithm_name(HashAlgorithm::Sha256), "sha256-sharded-1000000");
    }

    #[test]
    fn the_last_shard_may_be_shorter_and_no_shard_is_empty() {
        for (bytes, digests) in [(0, 0), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (u64::MAX, u64::MAX / 10 + 1)] {
            assert_eq!(shards(10).digests(bytes), digests, "{bytes}");
            assert_eq!(Method::Files.digests(bytes), 1);
        }
    }
}
