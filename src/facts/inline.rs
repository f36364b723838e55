//! Bundles that come as text: base64, around gzip or not. Inflating is bounded, and happens in verifiers alone.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;

use crate::signature::MAX_BUNDLE_BYTES;

/// How gzip begins (RFC 1952, 2.3.1). JSON never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bundle in base64. What is no base64, or breaks off, is nothing that could be verified: it is given as it is, and
/// refused as any other malformed bundle is. An error says that it is longer than any bundle that is read.
pub fn decode(text: &str) -> io::Result<Vec<u8>> {
    let Ok(bytes) = STANDARD.decode(text) else { return Ok(text.as_bytes().to_vec()) };
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    match read_at_most(GzDecoder::new(bytes.as_slice()), MAX_BUNDLE_BYTES) {
        Ok(inflated) => Ok(inflated),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(error),
        Err(_) => Ok(bytes),
    }
}

/// Everything, if it is at most so long.
pub fn read_at_most(from: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let message = format!("it is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bundle_comes_plain_or_zipped() {
        for bytes in [b"{}".to_vec(), zipped(b"{}")] {
            assert_eq!(decode(&STANDARD.encode(bytes)).unwrap(), b"{}");
        }
    }

    #[test]
    fn what_is_no_bundle_stays_what_it_is() {
        assert_eq!(decode("====").unwrap(), b"====");
        let broken = zipped(b"{}")[..12].to_vec();
        assert_eq!(decode(&STANDARD.encode(&broken)).unwrap(), broken);
    }

    #[test]
    fn inflating_ends_at_the_largest_bundle() {
        let bomb = zipped(&vec![b' '; 1 << 20]);
        assert_eq!(
            read_at_most(GzDecoder::new(bomb.as_slice()), 1000).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(read_at_most(&b"abc"[..], 3).unwrap(), b"abc");
        assert!(read_at_most(&b"abcd"[..], 3).is_err());
    }
}
