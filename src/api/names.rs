//! Names of objects: which ones Kubernetes takes, and how one is made from longer names.

use crate::model::Hasher;

/// Longest label (RFC 1123), as namespaces are named.
pub const MAX_LABEL_BYTES: usize = 63;
/// Longest subdomain (RFC 1123), as most objects are named.
pub const MAX_SUBDOMAIN_BYTES: usize = 253;

/// Whether Kubernetes takes it as a label (RFC 1123), as namespaces are named.
pub fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && is_part(text)
}

/// Whether Kubernetes takes it as a subdomain (RFC 1123), as claims and ConfigMaps are named. It does not ask how long a
/// part is.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN_BYTES && text.split('.').all(is_part)
}

/// Lower-case letters, digits and dashes, with no dash at either end.
fn is_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// `<at most so many characters of head>-<so many hexadecimal digits of SHA-256 over whole>`: fit for an object's name,
/// which must not have a dot or dash before the dash, and bound to all of `whole` however much of `head` is cut.
pub fn with_hash(head: &str, chars: usize, whole: &str, digits: usize) -> String {
    let head: String = head.chars().take(chars).collect();
    format!("{}-{}", head.trim_end_matches(['.', '-']), &Hasher::sha256(whole.as_bytes()).to_hex()[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_names_kubernetes_takes() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        for (text, label, subdomain) in [
            ("llama", true, true),
            ("0-a", true, true),
            ("llama.8b", false, true),
            (&long, true, true),
            (&longer, false, true),
            (&"a".repeat(254), false, false),
            ("", false, false),
            ("Llama", false, false),
            ("a_b", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
            ("a.", false, false),
            ("a/b", false, false),
            ("é", false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text}");
        }
    }
}
