//! Random words that bind an answer to its question.

use aws_lc_rs::rand;

use crate::model::hex;

/// 128 random bits in hexadecimal digits; nothing where the kernel gives no randomness at all.
pub(super) fn fresh() -> Option<String> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).ok().map(|()| hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_differ() {
        assert_ne!(fresh().unwrap(), fresh().unwrap());
        assert_eq!(fresh().unwrap().len(), 32);
    }
}
