//! The envelope: which bytes a signature is made over (DSSE v1, "pre-authentication encoding").

use std::borrow::Cow;

use aws_lc_rs::digest;

/// The payload type of an in-toto statement, the only one that OMS knows.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The digest of the bytes that are signed: `DSSEv1 <length of type> <type> <length of payload> <payload>`.
///
/// Hashed piece by piece, so that a payload of 200 MB is not copied to get a header in front of it.
pub(super) fn signed_digest(
    algorithm: &'static digest::Algorithm,
    payload_type: &str,
    payload: &[u8],
) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    context.update(format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes());
    context.update(payload);
    context.finish()
}

/// What release 0.2 of the reference hashed instead, by SHA-256 whatever the key. It meant to write the encoding above,
/// and wrote the payload as Python shows a string of bytes: `DSSEV1 28 application/vnd.in-toto+json 12 b'{"_type": 1}'`.
/// Nothing signs so any more; [`super::statement::is_of_release_02`] says for which statements it counts.
pub(super) fn signed_digest_of_release_02(payload: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    let quote = if payload.contains(&b'\'') && !payload.contains(&b'"') { '"' } else { '\'' };
    let (type_length, length) = (PAYLOAD_TYPE.len(), payload.len());
    context.update(format!("DSSEV1 {type_length} {PAYLOAD_TYPE} {length} b{quote}").as_bytes());
    // In pieces, because up to four characters stand for one byte.
    for piece in payload.chunks(64 << 10) {
        let shown: String = piece.iter().map(|byte| shown_by_python(*byte, quote)).collect();
        context.update(shown.as_bytes());
    }
    context.update(&[quote as u8]);
    context.finish()
}

/// A byte as `repr()` shows it inside of a string with those quotes.
fn shown_by_python(byte: u8, quote: char) -> Cow<'static, str> {
    match byte {
        b'\\' => "\\\\".into(),
        b'\t' => "\\t".into(),
        b'\n' => "\\n".into(),
        b'\r' => "\\r".into(),
        _ if char::from(byte) == quote => format!("\\{quote}").into(),
        b' '..=b'~' => char::from(byte).to_string().into(),
        _ => format!("\\x{byte:02x}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let digest = signed_digest(&digest::SHA256, "http://example.com/HelloWorld", b"hello world");
        let expected = digest::digest(&digest::SHA256, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(digest.as_ref(), expected.as_ref());
    }

    /// The right sides are what Python 3 prints.
    #[test]
    fn release_02_signed_what_python_shows() {
        for (payload, shown) in [
            (&b"{\"a\": 1}\n"[..], r#"b'{"a": 1}\n'"#),
            (b"it's", r#"b"it's""#),
            (b"it's \"so\"", r#"b'it\'s "so"'"#),
            (b"\\\t\r\0\x1f\x7f\xc3\xa9", r"b'\\\t\r\x00\x1f\x7f\xc3\xa9'"),
            (b"", "b''"),
        ] {
            let signed = format!("DSSEV1 28 application/vnd.in-toto+json {} {shown}", payload.len());
            let expected = digest::digest(&digest::SHA256, signed.as_bytes());
            assert_eq!(signed_digest_of_release_02(payload).as_ref(), expected.as_ref(), "{shown}");
        }
    }
}
