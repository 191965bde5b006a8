//! Frames: the unit of atomicity. A frame holds the records of one batch, all or none of them.

use crate::error::Damage;
use crate::format::bytes::{before, get, put};
use crate::format::crc;
use crate::limits::{MAX_BATCH_RECORDS, MAX_FRAME_PAYLOAD};
use crate::planted::{Bug, is_planted};

/// The first bytes of every frame; recovery searches for them.
pub const FRAME_MAGIC: [u8; 4] = *b"\xf7RLf";

const MAGIC_AT: usize = 0;
const PAYLOAD_LEN_AT: usize = MAGIC_AT + FRAME_MAGIC.len();
const COUNT_AT: usize = PAYLOAD_LEN_AT + size_of::<u32>();
const PAYLOAD_CRC_AT: usize = COUNT_AT + size_of::<u32>();
const BASE_SEQ_AT: usize = PAYLOAD_CRC_AT + size_of::<u32>();
const RECORDED_AT: usize = BASE_SEQ_AT + size_of::<u64>();
const SYNCED_AT: usize = RECORDED_AT + size_of::<i64>();
const HEADER_CRC_AT: usize = SYNCED_AT + size_of::<u32>();

/// The size of a frame's header: its payload follows.
pub const FRAME_HEADER_BYTES: usize = HEADER_CRC_AT + size_of::<u32>();

const _: () = assert!(FRAME_HEADER_BYTES == 40, "the frame header is 40 bytes for ever");
const _: () = assert!(MAX_FRAME_PAYLOAD as usize >= crate::limits::MAX_RECORD_BYTES + 5);

/// What a frame says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload, 1 to [`MAX_FRAME_PAYLOAD`].
    pub payload_len: u32,
    /// Records in the payload, at most [`MAX_BATCH_RECORDS`]. Zero marks a void frame: recovery
    /// put it over bytes that a crash left behind, and its payload means nothing.
    pub count: u32,
    /// The masked CRC32 of the payload, from [`payload_crc`].
    pub payload_crc: u32,
    /// The sequence number that the gap of the first record counts from; of a void frame, the one
    /// that the next record may have.
    pub base_seq: u64,
    /// When the batch was appended, in nanoseconds since the Unix epoch.
    pub recorded_at: i64,
    /// Up to where the segment was known to be on stable storage when this frame was written, in
    /// bytes from its beginning. Damage below is damage; above, it may be what a power cut left.
    pub synced: u32,
}

impl FrameHeader {
    /// What zeros are taken for when that bug is planted.
    const OF_ZEROS: Self = Self {
        payload_len: 0,
        count: 1,
        payload_crc: crc::mask(0),
        base_seq: 0,
        recorded_at: 0,
        synced: 0,
    };

    /// The header as it stands at `offset` of the segment with this salt.
    #[must_use]
    pub fn encode(&self, salt: &[u8; 16], offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        put::<MAGIC_AT, _, _>(&mut out, FRAME_MAGIC);
        put::<PAYLOAD_LEN_AT, _, _>(&mut out, self.payload_len.to_le_bytes());
        put::<COUNT_AT, _, _>(&mut out, self.count.to_le_bytes());
        put::<PAYLOAD_CRC_AT, _, _>(&mut out, self.payload_crc.to_le_bytes());
        put::<BASE_SEQ_AT, _, _>(&mut out, self.base_seq.to_le_bytes());
        put::<RECORDED_AT, _, _>(&mut out, self.recorded_at.to_le_bytes());
        put::<SYNCED_AT, _, _>(&mut out, self.synced.to_le_bytes());
        let sum = header_crc(salt, offset, &out);
        put::<HEADER_CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        out
    }

    /// Reads the header that stands at `offset` of the segment with this salt, at the beginning of
    /// `bytes`. The payload is not looked at: compare [`payload_crc`] of it before believing it.
    ///
    /// # Errors
    /// [`Damage::Truncated`], [`Damage::Magic`], [`Damage::HeaderChecksum`] (also for a header that
    /// was written for another place or segment) or [`Damage::Length`].
    pub fn decode(bytes: &[u8], salt: &[u8; 16], offset: u64) -> Result<Self, Damage> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if is_planted(Bug::ZerosAreAFrame) && bytes.iter().all(|&byte| byte == 0) {
            return Ok(Self::OF_ZEROS);
        }
        if get::<MAGIC_AT, _, _>(bytes) != FRAME_MAGIC {
            return Err(Damage::Magic);
        }
        let sum = header_crc(salt, offset, bytes);
        if u32::from_le_bytes(get::<HEADER_CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum);
        }
        Self::fields(bytes)
    }

    /// Reads a header whose checksum was compared before, when it was written or first read.
    ///
    /// # Errors
    /// [`Damage::Truncated`] or [`Damage::Length`].
    pub fn decode_checked(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != FRAME_MAGIC {
            return Err(Damage::Magic);
        }
        Self::fields(bytes)
    }

    fn fields(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, Damage> {
        let header = Self {
            payload_len: u32::from_le_bytes(get::<PAYLOAD_LEN_AT, _, _>(bytes)),
            count: u32::from_le_bytes(get::<COUNT_AT, _, _>(bytes)),
            payload_crc: u32::from_le_bytes(get::<PAYLOAD_CRC_AT, _, _>(bytes)),
            base_seq: u64::from_le_bytes(get::<BASE_SEQ_AT, _, _>(bytes)),
            recorded_at: i64::from_le_bytes(get::<RECORDED_AT, _, _>(bytes)),
            synced: u32::from_le_bytes(get::<SYNCED_AT, _, _>(bytes)),
        };
        let count_fits = usize::try_from(header.count).is_ok_and(|n| n <= MAX_BATCH_RECORDS);
        if !(1..=MAX_FRAME_PAYLOAD).contains(&header.payload_len) || !count_fits {
            return Err(Damage::Length);
        }
        Ok(header)
    }

    /// True for a frame that recovery put over what a crash left behind.
    #[must_use]
    pub const fn is_void(&self) -> bool {
        self.count == 0
    }

    /// Compares the payload, which `bytes` begin with, with its checksum.
    ///
    /// # Errors
    /// [`Damage::Truncated`] or [`Damage::PayloadChecksum`].
    pub(crate) fn check_payload(&self, bytes: &[u8]) -> Result<(), Damage> {
        match bytes.get(..self.payload_len as usize).map(payload_crc) {
            Some(sum) if sum == self.payload_crc => Ok(()),
            Some(_) => Err(Damage::PayloadChecksum),
            None => Err(Damage::Truncated),
        }
    }
}

/// The checksum of a header, which binds it to its place.
fn header_crc(salt: &[u8; 16], offset: u64, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let header = before::<HEADER_CRC_AT, _>(header);
    match is_planted(Bug::UnboundFrame) {
        true => crc::bound(&[0; 16], 0, header),
        false => crc::bound(salt, offset, header),
    }
}

/// The checksum of a frame's payload, as its header holds it.
#[must_use]
pub fn payload_crc(payload: &[u8]) -> u32 {
    if is_planted(Bug::SkipPayloadChecksum) {
        return 0;
    }
    crc::masked(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: [u8; 16] = *b"sixteen bytes...";

    fn frame() -> FrameHeader {
        FrameHeader {
            payload_len: 170,
            count: 3,
            payload_crc: payload_crc(b"payload"),
            base_seq: 1_000_000_007,
            recorded_at: 1_793_521_800_250_000_000,
            synced: 128,
        }
    }

    #[test]
    fn every_bit_flip_and_every_truncation_fails() {
        let bytes = frame().encode(&SALT, 128);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&flipped, &SALT, 128).is_err(), "bit {bit}");
        }
        for len in 0..FRAME_HEADER_BYTES {
            assert_eq!(FrameHeader::decode(&bytes[..len], &SALT, 128), Err(Damage::Truncated));
        }
    }

    #[test]
    fn zeros_and_ones_are_no_frame() {
        for offset in [0, 128, u64::from(u32::MAX)] {
            assert!(FrameHeader::decode(&[0; 4096], &SALT, offset).is_err());
            assert!(FrameHeader::decode(&[0xff; 4096], &[0xff; 16], offset).is_err());
        }
    }

    #[test]
    fn a_moved_or_foreign_frame_fails() {
        let bytes = frame().encode(&SALT, 128);
        assert_eq!(FrameHeader::decode(&bytes, &SALT, 129), Err(Damage::HeaderChecksum));
        assert_eq!(FrameHeader::decode(&bytes, &[0; 16], 128), Err(Damage::HeaderChecksum));
    }

    #[test]
    fn another_magic_number_fails_though_the_checksum_holds() {
        let mut bytes = frame().encode(&SALT, 128);
        bytes[0] ^= 1;
        let sum = crc::bound(&SALT, 128, before::<HEADER_CRC_AT, _>(&bytes));
        put::<HEADER_CRC_AT, _, _>(&mut bytes, sum.to_le_bytes());
        assert_eq!(FrameHeader::decode(&bytes, &SALT, 128), Err(Damage::Magic));
    }

    #[test]
    fn lengths_out_of_bounds_fail_though_the_checksum_holds() {
        let bad = |change: fn(&mut FrameHeader)| {
            let mut header = frame();
            change(&mut header);
            FrameHeader::decode(&header.encode(&SALT, 128), &SALT, 128)
        };
        assert_eq!(bad(|h| h.payload_len = 0), Err(Damage::Length));
        assert_eq!(bad(|h| h.payload_len = MAX_FRAME_PAYLOAD + 1), Err(Damage::Length));
        assert_eq!(bad(|h| h.payload_len = u32::MAX), Err(Damage::Length));
        assert_eq!(bad(|h| h.count = 65_537), Err(Damage::Length));
        assert!(bad(|h| h.payload_len = MAX_FRAME_PAYLOAD).is_ok());
        assert!(bad(|h| h.count = 65_536).is_ok());
        assert!(bad(|h| h.count = 0).unwrap().is_void());
    }

    proptest! {
        #[test]
        fn round_trip(
            payload_len in 1..=MAX_FRAME_PAYLOAD, count in 0..=65_536_u32, crc: u32,
            base_seq: u64, recorded_at: i64, synced: u32, salt: [u8; 16], offset: u64,
        ) {
            let header =
                FrameHeader { payload_len, count, payload_crc: crc, base_seq, recorded_at, synced };
            let bytes = header.encode(&salt, offset);
            prop_assert_eq!(FrameHeader::decode(&bytes, &salt, offset), Ok(header));
        }
    }
}
