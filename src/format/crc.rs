//! Checksums: CRC32 (IEEE), masked.
//!
//! The plain CRC32 of nothing is zero, so a run of zero bytes can pass for a length of zero and its
//! checksum. Masking (rotate right by 15, add a constant) makes zeros fail.

use crc32fast::Hasher;

const MASK_DELTA: u32 = 0xa282_ead8;

/// The stored form of a CRC32.
#[must_use]
pub const fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// The masked CRC32 of these bytes.
#[must_use]
pub fn masked(bytes: &[u8]) -> u32 {
    mask(crc32fast::hash(bytes))
}

/// The masked CRC32 of these bytes as they stand at `offset` of the file whose salt is `salt`.
///
/// A structure that is moved, or comes from another file, or was left by an earlier use of the
/// disk's blocks, fails this check though its bytes are whole.
#[must_use]
pub fn bound(salt: &[u8; 16], offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    mask(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_zeros_do_not_check_as_zero() {
        assert_eq!(crc32fast::hash(&[]), 0, "which is why the mask is there");
        assert_ne!(masked(&[]), 0);
        for len in 1..64 {
            assert_ne!(masked(&vec![0; len]), 0);
            assert_ne!(bound(&[0; 16], 0, &vec![0; len]), 0);
        }
    }

    #[test]
    fn known_value() {
        // The check value of CRC-32/ISO-HDLC, masked by hand.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(
            masked(b"123456789"),
            0xcbf4_3926_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }

    #[test]
    fn salt_and_offset_bind() {
        let here = bound(&[7; 16], 128, b"frame");
        assert_ne!(here, bound(&[7; 16], 129, b"frame"));
        assert_ne!(here, bound(&[8; 16], 128, b"frame"));
        assert_ne!(here, bound(&[7; 16], 128, b"framf"));
    }
}
