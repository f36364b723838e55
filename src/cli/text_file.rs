//! Reading text that a person named a file of: keys, roots, policies.

use std::io::{self, Read};

/// All of an open file, or of standard input; one that is longer than so many bytes is an error, never cut.
pub(super) fn read(file: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_long_file_is_an_error_and_never_cut() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"12345").unwrap();
        assert_eq!(read(file.reopen().unwrap(), 5).unwrap(), "12345");
        assert!(read(file.reopen().unwrap(), 4).unwrap_err().to_string().contains("larger than 4 bytes"));
    }
}
