//! The `LEDGER` file: what makes a directory a ledger, and which one it is.

use crate::error::Damage;
use crate::format::bytes::{before, get, put};
use crate::format::{COMPATIBLE, HeaderError, VERSION, check_version, crc};

/// The first bytes of the `LEDGER` file.
pub const IDENTITY_MAGIC: [u8; 8] = *b"RUNLEDG\xb1";

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + IDENTITY_MAGIC.len();
const RESERVED_AT: usize = VERSION_AT + size_of::<u16>();
const COMPATIBLE_AT: usize = RESERVED_AT + 2;
const INCOMPATIBLE_AT: usize = COMPATIBLE_AT + size_of::<u32>();
const UUID_AT: usize = INCOMPATIBLE_AT + size_of::<u32>();
const CREATED_AT: usize = UUID_AT + 16;
const SPARE_AT: usize = CREATED_AT + size_of::<i64>();
const CRC_AT: usize = SPARE_AT + 16;

/// The size of the `LEDGER` file.
pub const IDENTITY_BYTES: usize = CRC_AT + size_of::<u32>();

const _: () = assert!(IDENTITY_BYTES == 64, "the identity is 64 bytes for ever");

/// Which ledger a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Random bytes, given once; the `SEQ` file is bound to them.
    pub uuid: [u8; 16],
    /// When the ledger was made, in nanoseconds since the Unix epoch.
    pub created_at: i64,
}

impl Identity {
    /// The content of the `LEDGER` file.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut out = [0; IDENTITY_BYTES];
        put::<MAGIC_AT, _, _>(&mut out, IDENTITY_MAGIC);
        put::<VERSION_AT, _, _>(&mut out, VERSION.to_le_bytes());
        put::<COMPATIBLE_AT, _, _>(&mut out, COMPATIBLE.to_le_bytes());
        put::<UUID_AT, _, _>(&mut out, self.uuid);
        put::<CREATED_AT, _, _>(&mut out, self.created_at.to_le_bytes());
        let sum = crc::masked(before::<CRC_AT, _>(&out));
        put::<CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        out
    }

    /// Reads the content of the `LEDGER` file.
    ///
    /// # Errors
    /// [`HeaderError::Damage`] when the bytes are not a whole identity, [`HeaderError::Newer`] when
    /// they are, and a newer program wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; IDENTITY_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != IDENTITY_MAGIC {
            return Err(Damage::Magic.into());
        }
        let sum = crc::masked(before::<CRC_AT, _>(bytes));
        if u32::from_le_bytes(get::<CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum.into());
        }
        check_version(
            u16::from_le_bytes(get::<VERSION_AT, _, _>(bytes)),
            u32::from_le_bytes(get::<INCOMPATIBLE_AT, _, _>(bytes)),
            0,
        )?;
        Ok(Self {
            uuid: get::<UUID_AT, _, _>(bytes),
            created_at: i64::from_le_bytes(get::<CREATED_AT, _, _>(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { uuid: *b"an identity of..", created_at: -5 };

    #[test]
    fn round_trip_and_every_bit_flip_is_damage() {
        let bytes = IDENTITY.encode();
        assert_eq!(Identity::decode(&bytes), Ok(IDENTITY));
        for bit in 0..IDENTITY_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Identity::decode(&flipped), Err(HeaderError::Damage(_))), "{bit}");
        }
        for len in 0..IDENTITY_BYTES {
            assert!(Identity::decode(&bytes[..len]).is_err());
        }
        assert!(Identity::decode(&[0; IDENTITY_BYTES]).is_err());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = IDENTITY.encode();
        put::<VERSION_AT, _, _>(&mut bytes, 7_u16.to_le_bytes());
        put::<INCOMPATIBLE_AT, _, _>(&mut bytes, 2_u32.to_le_bytes());
        let sum = crc::masked(before::<CRC_AT, _>(&bytes));
        put::<CRC_AT, _, _>(&mut bytes, sum.to_le_bytes());
        let newer = HeaderError::Newer { version: 7, features: 2 };
        assert_eq!(Identity::decode(&bytes), Err(newer));
    }
}
