//! The trailer: the last bytes of a sealed segment. It says where the footer's sections are, sums
//! up the segment so that a query can pass it by, and holds its links of the hash chain.

use crate::error::Damage;
use crate::format::bytes::{before, get, put};
use crate::format::crc;
use crate::model::{SUPERSEDED, Status};

/// The first bytes of a trailer.
pub const TRAILER_MAGIC: [u8; 8] = *b"RUNLEND\xb1";

/// The version of footer and trailer that this program writes. One of another version is passed
/// over: all that a footer says can be had from the frames.
pub const FOOTER_VERSION: u16 = 1;

/// Codes that are counted apart.
pub const CODES: usize = 32;

const COUNTS_BYTES: usize = CODES * size_of::<u32>();
const HASH_BYTES: usize = 32;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + TRAILER_MAGIC.len();
const RESERVED_AT: usize = VERSION_AT + size_of::<u16>();
const FRAMES_END_AT: usize = RESERVED_AT + 2;
const ROWS_AT: usize = FRAMES_END_AT + size_of::<u32>();
const RECORDS_AT: usize = ROWS_AT + size_of::<u32>();
const TABLE_OFFSET_AT: usize = RECORDS_AT + size_of::<u32>();
const TABLE_CRC_AT: usize = TABLE_OFFSET_AT + size_of::<u32>();
const FIRST_SEQ_AT: usize = TABLE_CRC_AT + size_of::<u32>();
const LAST_SEQ_AT: usize = FIRST_SEQ_AT + size_of::<u64>();
const CREATED_MIN_AT: usize = LAST_SEQ_AT + size_of::<u64>();
const CREATED_MAX_AT: usize = CREATED_MIN_AT + size_of::<i64>();
const NEWEST_MAX_AT: usize = CREATED_MAX_AT + size_of::<i64>();
const RECORDED_FIRST_AT: usize = NEWEST_MAX_AT + size_of::<i64>();
const RECORDED_LAST_AT: usize = RECORDED_FIRST_AT + size_of::<i64>();
const HASH_AT: usize = RECORDED_LAST_AT + size_of::<i64>();
const PREVIOUS_AT: usize = HASH_AT + HASH_BYTES;
const CURRENT_AT: usize = PREVIOUS_AT + HASH_BYTES;
const SUPERSEDED_AT: usize = CURRENT_AT + COUNTS_BYTES;
const CRC_AT: usize = SUPERSEDED_AT + COUNTS_BYTES;

/// The size of a trailer.
pub const TRAILER_BYTES: usize = CRC_AT + size_of::<u32>();

const _: () = assert!(TRAILER_BYTES == 412, "a trailer of version 1 is 412 bytes");

/// How many records have each tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagCounts {
    /// By code, of records that no later record of the segment supersedes.
    pub current: [u32; CODES],
    /// By code, of the others.
    pub superseded: [u32; CODES],
}

impl TagCounts {
    /// How many of a run's records that nothing here supersedes are of an open status.
    #[must_use]
    pub fn open_runs(&self) -> u64 {
        let open = Status::ALL.iter().filter(|status| !status.is_terminal());
        let counts = open.filter_map(|status| self.current.get(usize::from(status.code())));
        counts.map(|&count| u64::from(count)).sum()
    }

    /// Counts one record. A code from 32 on, of which there is none, is not counted.
    pub fn add(&mut self, tag: u8) {
        let counts = if tag & SUPERSEDED == 0 { &mut self.current } else { &mut self.superseded };
        if let Some(count) = counts.get_mut(usize::from(tag & !SUPERSEDED)) {
            *count += 1;
        }
    }
}

/// What a sealed segment says of itself at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Where the frames end and the footer begins, in bytes from the beginning of the file.
    pub frames_end: u32,
    /// Rows of the footer: one a record.
    pub rows: u32,
    /// Records in the frames.
    pub records: u32,
    /// Where the section table begins; it ends where the trailer begins.
    pub table_offset: u32,
    /// The masked CRC32 of the section table.
    pub table_crc: u32,
    /// The lowest sequence number; 0 when there is no record.
    pub first_seq: u64,
    /// The highest sequence number; 0 when there is no record.
    pub last_seq: u64,
    /// The earliest `created_at` in nanoseconds since the Unix epoch, as all times here.
    pub created_min: i64,
    /// The latest `created_at`.
    pub created_max: i64,
    /// The latest of any record's own times: of a run, also when it began and ended.
    pub newest_max: i64,
    /// When the first frame was appended.
    pub recorded_first: i64,
    /// When the last frame was appended; earlier than the first if the clock was set back.
    pub recorded_last: i64,
    /// BLAKE3 of the file up to `frames_end`.
    pub hash: [u8; HASH_BYTES],
    /// The [`link`](Trailer::link) of the segment that was sealed before this one in the stream;
    /// zeros for the first.
    pub previous: [u8; HASH_BYTES],
    /// How many records have each tag.
    pub tags: TagCounts,
}

impl Trailer {
    /// What the next segment's `previous` is: BLAKE3 of this one's `previous` and `hash`. A change
    /// to any segment changes the links of all that follow it.
    #[must_use]
    pub fn link(&self) -> [u8; HASH_BYTES] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.previous);
        hasher.update(&self.hash);
        *hasher.finalize().as_bytes()
    }

    /// The trailer as it stands at `offset` of the segment with this salt.
    #[must_use]
    pub fn encode(&self, salt: &[u8; 16], offset: u64) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        put::<MAGIC_AT, _, _>(&mut out, TRAILER_MAGIC);
        put::<VERSION_AT, _, _>(&mut out, FOOTER_VERSION.to_le_bytes());
        put::<FRAMES_END_AT, _, _>(&mut out, self.frames_end.to_le_bytes());
        put::<ROWS_AT, _, _>(&mut out, self.rows.to_le_bytes());
        put::<RECORDS_AT, _, _>(&mut out, self.records.to_le_bytes());
        put::<TABLE_OFFSET_AT, _, _>(&mut out, self.table_offset.to_le_bytes());
        put::<TABLE_CRC_AT, _, _>(&mut out, self.table_crc.to_le_bytes());
        put::<FIRST_SEQ_AT, _, _>(&mut out, self.first_seq.to_le_bytes());
        put::<LAST_SEQ_AT, _, _>(&mut out, self.last_seq.to_le_bytes());
        put::<CREATED_MIN_AT, _, _>(&mut out, self.created_min.to_le_bytes());
        put::<CREATED_MAX_AT, _, _>(&mut out, self.created_max.to_le_bytes());
        put::<NEWEST_MAX_AT, _, _>(&mut out, self.newest_max.to_le_bytes());
        put::<RECORDED_FIRST_AT, _, _>(&mut out, self.recorded_first.to_le_bytes());
        put::<RECORDED_LAST_AT, _, _>(&mut out, self.recorded_last.to_le_bytes());
        put::<HASH_AT, _, _>(&mut out, self.hash);
        put::<PREVIOUS_AT, _, _>(&mut out, self.previous);
        put::<CURRENT_AT, _, _>(&mut out, counts_to_bytes(&self.tags.current));
        put::<SUPERSEDED_AT, _, _>(&mut out, counts_to_bytes(&self.tags.superseded));
        let sum = crc::bound(salt, offset, before::<CRC_AT, _>(&out));
        put::<CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        out
    }

    /// Reads the trailer that stands at `offset` of the segment with this salt, at the beginning of
    /// `bytes`.
    ///
    /// # Errors
    /// [`Damage::Truncated`], [`Damage::Magic`], [`Damage::HeaderChecksum`], or [`Damage::Footer`]
    /// for a footer of another version. None of these loses a record.
    pub fn decode(bytes: &[u8], salt: &[u8; 16], offset: u64) -> Result<Self, Damage> {
        let bytes: &[u8; TRAILER_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != TRAILER_MAGIC {
            return Err(Damage::Magic);
        }
        let sum = crc::bound(salt, offset, before::<CRC_AT, _>(bytes));
        if u32::from_le_bytes(get::<CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum);
        }
        if u16::from_le_bytes(get::<VERSION_AT, _, _>(bytes)) != FOOTER_VERSION {
            return Err(Damage::Footer);
        }
        let trailer = Self {
            frames_end: u32::from_le_bytes(get::<FRAMES_END_AT, _, _>(bytes)),
            rows: u32::from_le_bytes(get::<ROWS_AT, _, _>(bytes)),
            records: u32::from_le_bytes(get::<RECORDS_AT, _, _>(bytes)),
            table_offset: u32::from_le_bytes(get::<TABLE_OFFSET_AT, _, _>(bytes)),
            table_crc: u32::from_le_bytes(get::<TABLE_CRC_AT, _, _>(bytes)),
            first_seq: u64::from_le_bytes(get::<FIRST_SEQ_AT, _, _>(bytes)),
            last_seq: u64::from_le_bytes(get::<LAST_SEQ_AT, _, _>(bytes)),
            created_min: i64::from_le_bytes(get::<CREATED_MIN_AT, _, _>(bytes)),
            created_max: i64::from_le_bytes(get::<CREATED_MAX_AT, _, _>(bytes)),
            newest_max: i64::from_le_bytes(get::<NEWEST_MAX_AT, _, _>(bytes)),
            recorded_first: i64::from_le_bytes(get::<RECORDED_FIRST_AT, _, _>(bytes)),
            recorded_last: i64::from_le_bytes(get::<RECORDED_LAST_AT, _, _>(bytes)),
            hash: get::<HASH_AT, _, _>(bytes),
            previous: get::<PREVIOUS_AT, _, _>(bytes),
            tags: TagCounts {
                current: counts_from_bytes(&get::<CURRENT_AT, COUNTS_BYTES, _>(bytes)),
                superseded: counts_from_bytes(&get::<SUPERSEDED_AT, COUNTS_BYTES, _>(bytes)),
            },
        };
        let table = u64::from(trailer.table_offset);
        if u64::from(trailer.frames_end) > table || table > offset {
            return Err(Damage::Footer);
        }
        Ok(trailer)
    }
}

fn counts_to_bytes(counts: &[u32; CODES]) -> [u8; COUNTS_BYTES] {
    let mut out = [0; COUNTS_BYTES];
    for (place, count) in out.as_chunks_mut().0.iter_mut().zip(counts) {
        *place = count.to_le_bytes();
    }
    out
}

fn counts_from_bytes(bytes: &[u8; COUNTS_BYTES]) -> [u32; CODES] {
    let mut out = [0; CODES];
    for (count, place) in out.iter_mut().zip(bytes.as_chunks().0) {
        *count = u32::from_le_bytes(*place);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [3; 16];
    const AT: u64 = 70_000;

    fn trailer() -> Trailer {
        let mut tags = TagCounts::default();
        for tag in [0, 3, 3, 0x83, 21, 31, 0x9f, 32, 0xff] {
            tags.add(tag);
        }
        Trailer {
            frames_end: 60_000,
            rows: 900,
            records: 901,
            table_offset: 69_000,
            table_crc: 5,
            first_seq: 6,
            last_seq: u64::MAX,
            created_min: i64::MIN,
            created_max: 9,
            newest_max: 10,
            recorded_first: -11,
            recorded_last: i64::MAX,
            hash: [13; 32],
            previous: [14; 32],
            tags,
        }
    }

    #[test]
    fn round_trip() {
        let trailer = trailer();
        assert_eq!((trailer.tags.current[3], trailer.tags.superseded[3]), (2, 1));
        assert_eq!(trailer.tags.current.iter().chain(&trailer.tags.superseded).sum::<u32>(), 7);
        assert_eq!(Trailer::decode(&trailer.encode(&SALT, AT), &SALT, AT), Ok(trailer));
    }

    #[test]
    fn every_bit_flip_and_every_truncation_fails() {
        let bytes = trailer().encode(&SALT, AT);
        for bit in 0..TRAILER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::decode(&flipped, &SALT, AT).is_err(), "bit {bit}");
        }
        for len in 0..TRAILER_BYTES {
            assert!(Trailer::decode(&bytes[..len], &SALT, AT).is_err());
        }
        assert!(Trailer::decode(&[0; TRAILER_BYTES], &SALT, AT).is_err());
        assert!(Trailer::decode(&bytes, &SALT, AT + 1).is_err(), "moved");
        assert!(Trailer::decode(&bytes, &[0; 16], AT).is_err(), "foreign");
    }

    #[test]
    fn one_open_run_that_is_current_is_an_open_run() {
        for status in Status::ALL {
            let mut tags = TagCounts::default();
            tags.add(status.code() | SUPERSEDED);
            assert_eq!(tags.open_runs(), 0, "{status} was superseded");
            tags.add(status.code());
            assert_eq!(tags.open_runs(), u64::from(!status.is_terminal()), "{status}");
        }
    }

    #[test]
    fn a_link_stands_for_all_frames_before() {
        let whole = trailer();
        let earlier = Trailer { previous: [0; 32], ..trailer() };
        let changed = Trailer { hash: [0; 32], ..trailer() };
        assert_ne!(whole.link(), earlier.link());
        assert_ne!(whole.link(), changed.link());
        assert_ne!(changed.link(), earlier.link());
    }

    #[test]
    fn places_out_of_order_fail_though_the_checksum_holds() {
        for (frames_end, table_offset) in [(69_001, 69_000), (0, 70_001), (u32::MAX, u32::MAX)] {
            let bytes = Trailer { frames_end, table_offset, ..trailer() }.encode(&SALT, AT);
            assert_eq!(Trailer::decode(&bytes, &SALT, AT), Err(Damage::Footer));
        }
    }

    #[test]
    fn a_footer_of_another_version_is_passed_over() {
        let mut bytes = trailer().encode(&SALT, AT);
        put::<VERSION_AT, _, _>(&mut bytes, (FOOTER_VERSION + 1).to_le_bytes());
        let sum = crc::bound(&SALT, AT, before::<CRC_AT, _>(&bytes));
        put::<CRC_AT, _, _>(&mut bytes, sum.to_le_bytes());
        assert_eq!(Trailer::decode(&bytes, &SALT, AT), Err(Damage::Footer));
    }
}
