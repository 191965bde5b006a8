//! The header of a segment: what kind of records it holds, and the salt that its checksums are
//! bound to.
//!
//! The first [`SEGMENT_HEADER_BYTES`] of a segment and the place of their checksum are the same in
//! every version of the format, so that "damaged" and "newer" can be told apart.

use crate::error::{Damage, Error, Result};
use crate::format::bytes::{before, get, put};
use crate::format::{
    COMPATIBLE, HeaderError, KNOWN_INCOMPATIBLE, PACKED, VERSION, check_version, crc,
};
use crate::model::Kind;

/// The first bytes of every segment. The last one is not ASCII, so that no text file begins so.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RUNLSEG\xb1";

/// Longest name of a stream in bytes.
pub const MAX_STREAM_BYTES: usize = 64;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + SEGMENT_MAGIC.len();
const KIND_AT: usize = VERSION_AT + size_of::<u16>();
const STREAM_LEN_AT: usize = KIND_AT + size_of::<u8>();
const COMPATIBLE_AT: usize = STREAM_LEN_AT + size_of::<u8>();
const INCOMPATIBLE_AT: usize = COMPATIBLE_AT + size_of::<u32>();
const COVERS_AT: usize = INCOMPATIBLE_AT + size_of::<u32>();
const FIRST_SEQ_AT: usize = COVERS_AT + size_of::<u64>();
const CREATED_AT: usize = FIRST_SEQ_AT + size_of::<u64>();
const SALT_AT: usize = CREATED_AT + size_of::<i64>();
const STREAM_AT: usize = SALT_AT + 16;
const CRC_AT: usize = STREAM_AT + MAX_STREAM_BYTES;
const LEN: usize = CRC_AT + size_of::<u32>();

/// The size of a segment's header: where its first frame stands.
pub const SEGMENT_HEADER_BYTES: u32 = 128;

const _: () = assert!(LEN == SEGMENT_HEADER_BYTES as usize, "the header is 128 bytes for ever");

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The kind of all its records.
    pub kind: Kind,
    /// The stream that it is of: 1 to 64 bytes of `a-z`, `0-9`, `.`, `_` and `-`, and no dot first.
    pub stream: String,
    /// No record in it has a lower sequence number; the file is named by this.
    pub first_seq: u64,
    /// In a segment that compaction made, the first sequence number of the last segment whose place
    /// it takes; 0 in any other.
    pub covers: u64,
    /// True when its frames lie in compressed blocks.
    pub packed: bool,
    /// When it was made, or the first of those whose place it takes, in nanoseconds since the Unix
    /// epoch.
    pub created_at: i64,
    /// Random bytes that all checksums in the segment are bound to.
    pub salt: [u8; 16],
}

impl SegmentHeader {
    /// The header as it stands at the beginning of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name of the stream is not one.
    pub fn encode(&self) -> Result<[u8; LEN]> {
        if !is_stream_name(self.stream.as_bytes()) {
            return Err(Error::invalid(
                "stream",
                &self.stream,
                "1 to 64 of a-z 0-9 . _ - and no dot first",
            ));
        }
        let mut name = [0; MAX_STREAM_BYTES];
        for (to, from) in name.iter_mut().zip(self.stream.bytes()) {
            *to = from;
        }
        let mut out = [0; LEN];
        put::<MAGIC_AT, _, _>(&mut out, SEGMENT_MAGIC);
        put::<VERSION_AT, _, _>(&mut out, VERSION.to_le_bytes());
        put::<KIND_AT, _, _>(&mut out, [self.kind.code()]);
        put::<STREAM_LEN_AT, _, _>(&mut out, [u8::try_from(self.stream.len()).unwrap_or_default()]);
        put::<COMPATIBLE_AT, _, _>(&mut out, COMPATIBLE.to_le_bytes());
        let incompatible = if self.packed { PACKED } else { 0 };
        put::<INCOMPATIBLE_AT, _, _>(&mut out, incompatible.to_le_bytes());
        put::<COVERS_AT, _, _>(&mut out, self.covers.to_le_bytes());
        put::<FIRST_SEQ_AT, _, _>(&mut out, self.first_seq.to_le_bytes());
        put::<CREATED_AT, _, _>(&mut out, self.created_at.to_le_bytes());
        put::<SALT_AT, _, _>(&mut out, self.salt);
        put::<STREAM_AT, _, _>(&mut out, name);
        let sum = crc::masked(before::<CRC_AT, _>(&out));
        put::<CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        Ok(out)
    }

    /// Reads the header at the beginning of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`HeaderError::Damage`] when the bytes are not a whole header, [`HeaderError::Newer`] when
    /// they are, and a newer program wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; LEN] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != SEGMENT_MAGIC {
            return Err(Damage::Magic.into());
        }
        let sum = crc::masked(before::<CRC_AT, _>(bytes));
        if u32::from_le_bytes(get::<CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum.into());
        }
        let incompatible = u32::from_le_bytes(get::<INCOMPATIBLE_AT, _, _>(bytes));
        let version = u16::from_le_bytes(get::<VERSION_AT, _, _>(bytes));
        check_version(version, incompatible, KNOWN_INCOMPATIBLE)?;
        let [kind] = get::<KIND_AT, 1, _>(bytes);
        let [stream_len] = get::<STREAM_LEN_AT, 1, _>(bytes);
        let name = get::<STREAM_AT, MAX_STREAM_BYTES, _>(bytes);
        let stream = name
            .get(..usize::from(stream_len))
            .filter(|name| is_stream_name(name))
            .and_then(|name| str::from_utf8(name).ok())
            .ok_or(Damage::Length)?;
        Ok(Self {
            kind: Kind::from_code(kind).ok_or(Damage::Record)?,
            stream: stream.to_owned(),
            first_seq: u64::from_le_bytes(get::<FIRST_SEQ_AT, _, _>(bytes)),
            covers: u64::from_le_bytes(get::<COVERS_AT, _, _>(bytes)),
            packed: incompatible & PACKED != 0,
            created_at: i64::from_le_bytes(get::<CREATED_AT, _, _>(bytes)),
            salt: get::<SALT_AT, _, _>(bytes),
        })
    }
}

/// True for what a stream, which is also a directory, may be called.
///
/// No dot first: neither `.` nor `..` nor a hidden directory is a stream.
#[must_use]
pub fn is_stream_name(name: &[u8]) -> bool {
    (1..=MAX_STREAM_BYTES).contains(&name.len())
        && name.first() != Some(&b'.')
        && name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: Kind::Event,
            stream: "events.audit_2-x".to_owned(),
            first_seq: 42,
            covers: 0,
            packed: false,
            created_at: -7,
            salt: *b"0123456789abcdef",
        }
    }

    fn resealed(mut bytes: [u8; LEN]) -> [u8; LEN] {
        let sum = crc::masked(before::<CRC_AT, _>(&bytes));
        put::<CRC_AT, _, _>(&mut bytes, sum.to_le_bytes());
        bytes
    }

    #[test]
    fn round_trip_with_the_shortest_and_longest_name() {
        for stream in ["a".to_owned(), "z".repeat(MAX_STREAM_BYTES), header().stream] {
            let header = SegmentHeader { stream, ..header() };
            let mut bytes = header.encode().unwrap().to_vec();
            bytes.extend([0xff; 9]);
            assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header);
        }
    }

    #[test]
    fn names_that_are_no_directory_of_ours_are_refused() {
        for stream in ["", ".", "..", ".x", "a/b", "A", "é", "a b", "a\0", &"z".repeat(65)] {
            let header = SegmentHeader { stream: stream.to_owned(), ..header() };
            assert!(header.encode().is_err(), "{stream:?}");
        }
        let mut bytes = header().encode().unwrap();
        put::<STREAM_AT, _, _>(&mut bytes, *b"../../etc");
        assert_eq!(
            SegmentHeader::decode(&resealed(bytes)),
            Err(HeaderError::Damage(Damage::Length)),
            "a forged header does not lead out of the ledger",
        );
    }

    #[test]
    fn every_bit_flip_and_every_truncation_is_damage() {
        let bytes = header().encode().unwrap();
        for bit in 0..LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(SegmentHeader::decode(&flipped), Err(HeaderError::Damage(_))),
                "bit {bit}: and never mistaken for a newer version"
            );
        }
        for len in 0..LEN {
            assert!(SegmentHeader::decode(&bytes[..len]).is_err());
        }
        assert!(SegmentHeader::decode(&[0; LEN]).is_err());
    }

    #[test]
    fn newer_versions_and_unknown_features_are_told_from_damage() {
        let mut newer = header().encode().unwrap();
        put::<VERSION_AT, _, _>(&mut newer, (VERSION + 1).to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&resealed(newer)),
            Err(HeaderError::Newer { version: VERSION + 1, features: 0 })
        );
        let mut featured = header().encode().unwrap();
        put::<INCOMPATIBLE_AT, _, _>(&mut featured, 0x8000_0000_u32.to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&resealed(featured)),
            Err(HeaderError::Newer { version: VERSION, features: 0x8000_0000 })
        );
        let mut compatible = header().encode().unwrap();
        put::<COMPATIBLE_AT, _, _>(&mut compatible, u32::MAX.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&resealed(compatible)), Ok(header()));
        let mut zero = header().encode().unwrap();
        put::<VERSION_AT, _, _>(&mut zero, [0, 0]);
        assert!(matches!(SegmentHeader::decode(&resealed(zero)), Err(HeaderError::Damage(_))));
    }
}
