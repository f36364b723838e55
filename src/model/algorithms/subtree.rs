//! Subtrees of a BLAKE3 hash: stretches of one file that several threads hash at once.
//!
//! BLAKE3 is a tree over chunks of 1 KiB (BLAKE3 specification, section 2.1). Whoever hashes a subtree gives its
//! chaining value, 32 bytes; whoever has all of them joins them to the digest of the file.

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use crate::model::Digest;

/// The length of every subtree but the last, in bytes: a power of two, as the tree demands. At 32 bytes for each, a
/// file of one TiB needs 4 MiB of memory; at some 4 GB/s, one takes a thread 2 ms, so that all of them end together.
pub(in crate::model) const SUBTREE_BYTES: u64 = 8 << 20;

/// The hash of a file that is longer than one subtree, or of a stretch of it.
#[derive(Clone)]
pub(in crate::model) struct Subtree(Box<blake3::Hasher>);

impl Subtree {
    /// Begins a subtree `at` so many bytes into its file, a multiple of [`SUBTREE_BYTES`].
    pub(in crate::model) fn new(at: u64) -> Self {
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.set_input_offset(at);
        Subtree(hasher)
    }

    /// Takes in more bytes, at most as many as a subtree has.
    pub(in crate::model) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// What is left of the subtree. At least one byte was taken in.
    pub(in crate::model) fn finish(self) -> ChainingValue {
        self.0.finalize_non_root()
    }
}

/// Joins the subtrees of a file of that many bytes, all of them in order and at least two, to its digest.
pub(in crate::model) fn join(subtrees: &[ChainingValue], bytes: u64) -> Digest {
    let (left, right) = split(subtrees, bytes);
    Digest::blake3(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

/// The two halves of a tree, each as one value. The left one is the largest that is complete.
fn split(subtrees: &[ChainingValue], bytes: u64) -> (ChainingValue, ChainingValue) {
    let left_bytes = hazmat::left_subtree_len(bytes);
    let (left, right) = subtrees.split_at((left_bytes / SUBTREE_BYTES) as usize);
    (value(left, left_bytes), value(right, bytes - left_bytes))
}

fn value(subtrees: &[ChainingValue], bytes: u64) -> ChainingValue {
    if let [one] = subtrees {
        return *one;
    }
    let (left, right) = split(subtrees, bytes);
    hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_subtrees_give_the_digest_of_the_whole() {
        for (subtrees, rest) in [(1, 1), (2, 0), (2, 1), (3, 1023), (5, 1024)] {
            let bytes = vec![7; subtrees * SUBTREE_BYTES as usize + rest];
            let values: Vec<ChainingValue> = (bytes.chunks(SUBTREE_BYTES as usize).zip(0..))
                .map(|(part, at)| {
                    let mut subtree = Subtree::new(at * SUBTREE_BYTES);
                    part.chunks(1 << 20).for_each(|piece| subtree.update(piece));
                    subtree.finish()
                })
                .collect();
            let whole = Digest::blake3(*blake3::hash(&bytes).as_bytes());
            assert_eq!(join(&values, bytes.len() as u64), whole, "{subtrees} and {rest}");
        }
    }
}
