//! Names of objects that are made from longer names.

use crate::model::Hasher;

/// `<at most so many characters of head>-<so many hexadecimal digits of SHA-256 over whole>`: fit for an object's name,
/// which must not have a dot or dash before the dash, and bound to all of `whole` however much of `head` is cut.
pub fn with_hash(head: &str, chars: usize, whole: &str, digits: usize) -> String {
    let head: String = head.chars().take(chars).collect();
    format!("{}-{}", head.trim_end_matches(['.', '-']), &Hasher::sha256(whole.as_bytes()).to_hex()[..digits])
}
