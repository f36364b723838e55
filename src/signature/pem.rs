//! Blocks of PEM (RFC 7468) in text that people put together: comments around them, any line breaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A block: its label, and its bytes unless it is malformed.
pub(super) type Block<'a> = (&'a str, Option<Vec<u8>>);

/// The blocks in a text. What lies outside of them is skipped.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let content = rest.split_once(&format!("-----END {label}-----")).map(|(content, _)| content);
        let decode = |content: &str| STANDARD.decode(content.split_ascii_whitespace().collect::<String>()).ok();
        Some((label, content.and_then(decode)))
    })
}
