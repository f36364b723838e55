//! Blocks of PEM (RFC 7468) in text that people put together: comments around them, any line breaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A block: its label, and its bytes unless it is malformed.
pub(super) type Block<'a> = (&'a str, Option<Vec<u8>>);

/// The blocks in a text. What lies outside of them is skipped.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let decode = |body: &str| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok();
    bodies(text).map(move |(label, body)| (label, body.and_then(decode)))
}

/// The blocks in a text as they are written: the label, and what stands between beginning and end, if it has an end.
pub(super) fn bodies(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        Some((label, rest.split_once(&format!("-----END {label}-----")).map(|(body, _)| body)))
    })
}
