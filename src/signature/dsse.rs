//! The envelope: which bytes a signature is made over (DSSE v1, "pre-authentication encoding").

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let digest = signed_digest(&digest::SHA256, "http://example.com/HelloWorld", b"hello world");
        let expected = digest::digest(&digest::SHA256, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(digest.as_ref(), expected.as_ref());
    }
}
