//! The footer of a sealed segment: its indexes, in the form that they are searched in.
//!
//! A footer is derived from the frames and never trusted over them. It is a table of columns, one
//! row a record, sorted by `created_at` and then by sequence number, and for each keyed field the
//! hashes of its keys and the rows that have them. Each column is a section with its own checksum,
//! which is compared when the section is first used; a query that touches two columns reads two.

mod build;
mod field;
mod layout;
mod tags;

pub use build::{BlockInput, Built, FieldInput, FooterInput, NO_CODE, build, is_distinct};
pub use field::{FieldView, Postings};
pub use layout::{FooterLayout, head};
pub use tags::Tags;

use crate::format::bytes::{get, put};

/// The first bytes of the section table.
const TABLE_MAGIC: [u8; 4] = *b"\xf7RLt";

const COUNT_AT: usize = TABLE_MAGIC.len();
const SEED_AT: usize = COUNT_AT + size_of::<u32>();
const TABLE_HEAD_BYTES: usize = SEED_AT + size_of::<u64>();

const SECTION_AT: usize = 0;
const FIELD_AT: usize = SECTION_AT + size_of::<u8>();
const RESERVED_AT: usize = FIELD_AT + size_of::<u8>();
const CRC_AT: usize = RESERVED_AT + 2;
const OFFSET_AT: usize = CRC_AT + size_of::<u32>();
const LEN_AT: usize = OFFSET_AT + size_of::<u32>();
const ENTRY_BYTES: usize = LEN_AT + size_of::<u32>();

const _: () = assert!(TABLE_HEAD_BYTES == 16 && ENTRY_BYTES == 16);

/// Bits of a stored hash beyond those that tell as many keys apart as there are pairs of keys.
const SPARE_BITS: u32 = 7;
/// Fewer bits of a hash are never stored.
const LEAST_BITS: u32 = 40;

/// Fields of at most this many keys have a column of codes: a look from a row to its key.
pub const MAX_CODED_KEYS: usize = 4096;

/// What of a hash is stored when a field has so many keys: its highest bits, so many that the
/// hashes of all keys are most likely different, and that a key that is not there is seldom taken
/// for one that is.
#[must_use]
pub fn stored_hash(hash: u64, keys: usize) -> u64 {
    hash >> (u64::BITS - stored_bits(keys))
}

/// A hash of which this is stored; the other bits are zeros.
const fn whole_hash(stored: u64, keys: usize) -> u64 {
    stored << (u64::BITS - stored_bits(keys))
}

/// Among as many values as there are pairs of keys times 2^8, two keys are the same once in 256
/// times.
const fn stored_bits(keys: usize) -> u32 {
    match 2 * (usize::BITS - keys.leading_zeros()) + SPARE_BITS {
        bits if bits < LEAST_BITS => LEAST_BITS,
        bits if bits > u64::BITS => u64::BITS,
        bits => bits,
    }
}

/// What a section holds. The numbers are those on disk, from 1 without a gap; a reader ignores
/// those it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// `created_at` of each row, in its unsigned form.
    Times = 1,
    /// The sequence number of each row.
    Seqs = 2,
    /// Where each row's record stands in the file.
    Offsets = 3,
    /// The tag of each row, a byte each.
    Tags = 4,
    /// Where each frame stands in the file, rising.
    Frames = 5,
    /// The rows in the order of their sequence numbers, when that is another order.
    SeqOrder = 6,
    /// The sequence numbers in earlier segments that records of this one supersede, rising.
    Supersedes = 7,
    /// The highest bits of the hashes of a field's keys, rising. Their places are the keys' ranks.
    Keys = 8,
    /// The first row that has the key, of each key.
    Firsts = 9,
    /// Where the postings of each key begin, and where the last ones end.
    Starts = 10,
    /// How far each later row with a key lies behind the first, rising, one key after the other.
    Postings = 11,
    /// For each row the rank of its key plus 1, or 0 when it has none.
    Codes = 12,
    /// Of a packed segment, where each block stands in the file, rising.
    Blocks = 13,
    /// Of a packed segment, where the frames of each block begin in the segment that is not packed,
    /// rising, and where the last ones end.
    BlockStarts = 14,
    /// What the segment tells of its records in sum.
    Rollup = 15,
    /// The sequence numbers of the newest states of runs that are open, rising.
    OpenSeqs = 16,
    /// Where those states stand in the file.
    OpenOffsets = 17,
}

/// Sections that stand once and that every footer has, or may have.
const SINGLE: usize = 7;
/// Sections that stand once for each field.
const PER_FIELD: usize = 5;
/// Sections that stand once, numbered after those of fields: two of a packed segment, one that
/// every footer has, and two of a segment with runs that are open.
const LATER: usize = 5;

impl Section {
    const SINGLE: [Self; SINGLE] = [
        Self::Times,
        Self::Seqs,
        Self::Offsets,
        Self::Tags,
        Self::Frames,
        Self::SeqOrder,
        Self::Supersedes,
    ];
}

const _: () = assert!(Section::Supersedes as usize == SINGLE);
const _: () = assert!(Section::Codes as usize == SINGLE + PER_FIELD);
const _: () = assert!(Section::OpenOffsets as usize == SINGLE + PER_FIELD + LATER);

/// An entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    section: u8,
    /// The place of the field among the keyed ones plus 1; 0 for a section that stands once.
    field: u8,
    crc: u32,
    offset: u32,
    len: u32,
}

impl Entry {
    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        put::<SECTION_AT, _, _>(&mut out, [self.section]);
        put::<FIELD_AT, _, _>(&mut out, [self.field]);
        put::<CRC_AT, _, _>(&mut out, self.crc.to_le_bytes());
        put::<OFFSET_AT, _, _>(&mut out, self.offset.to_le_bytes());
        put::<LEN_AT, _, _>(&mut out, self.len.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [section] = get::<SECTION_AT, 1, _>(bytes);
        let [field] = get::<FIELD_AT, 1, _>(bytes);
        Self {
            section,
            field,
            crc: u32::from_le_bytes(get::<CRC_AT, _, _>(bytes)),
            offset: u32::from_le_bytes(get::<OFFSET_AT, _, _>(bytes)),
            len: u32::from_le_bytes(get::<LEN_AT, _, _>(bytes)),
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod stored {
    use super::*;

    /// Writer and reader share one function for this, so that no footer that is read back can tell
    /// whether it is the one of FORMAT.md: 2b + 7 bits of a hash, at least 40 and at most 64, where
    /// b is the number of binary digits of the count of keys.
    #[test]
    fn so_many_bits_of_a_hash_are_stored() {
        let cases = [
            (0, 40),
            (1, 40),
            (65_535, 40),
            (65_536, 41),
            (131_072, 43),
            (1 << 20, 49),
            (1 << 27, 63),
            (1 << 28, 64),
            (usize::MAX, 64),
        ];
        for (keys, bits) in cases {
            assert_eq!(stored_bits(keys), bits, "{keys} keys");
            assert_eq!(stored_hash(u64::MAX, keys), u64::MAX >> (64 - bits), "{keys} keys");
            assert_eq!(whole_hash(stored_hash(u64::MAX, keys), keys), u64::MAX << (64 - bits));
        }
    }
}
