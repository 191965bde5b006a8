//! The `SEQ` file: up to where sequence numbers are reserved, whether the writer closed, and where
//! the streams end.
//!
//! It has two slots, written in turn, each in a page of its own: a write that a power cut tears
//! leaves the other slot whole.

use crate::error::Damage;
use crate::format::bytes::{before, get, put};
use crate::format::crc;

const MAGIC: [u8; 4] = *b"\xf7RLs";

const MAGIC_AT: usize = 0;
const CLEAN_AT: usize = MAGIC_AT + MAGIC.len();
const GENERATION_AT: usize = CLEAN_AT + size_of::<u32>();
const BOUND_AT: usize = GENERATION_AT + size_of::<u64>();
const SPARE_AT: usize = BOUND_AT + size_of::<u64>();
const HEADS_AT: usize = SPARE_AT + 40;
const CRC_AT: usize = HEADS_AT + MAX_HEADS * HEAD_BYTES;

const HEAD_CODE_AT: usize = 0;
const HEAD_FLAGS_AT: usize = HEAD_CODE_AT + size_of::<u16>();
const HEAD_END_AT: usize = HEAD_FLAGS_AT + size_of::<u16>();
const HEAD_FIRST_AT: usize = HEAD_END_AT + size_of::<u32>();
const HEAD_BYTES: usize = HEAD_FIRST_AT + size_of::<u64>();

const SEALED: u16 = 1;

/// How many heads a slot has room for.
pub const MAX_HEADS: usize = 100;

/// The size of a slot.
pub const SLOT_BYTES: usize = CRC_AT + size_of::<u32>();

/// How far the slots stand apart: a page, so that no device writes both at once.
pub const SLOT_STRIDE: u64 = 4096;

/// The size of the `SEQ` file.
pub const SEQ_FILE_BYTES: u64 = SLOT_STRIDE + SLOT_BYTES as u64;

const _: () = assert!(HEADS_AT == 64 && HEAD_BYTES == 16, "as FORMAT.md has it");
const _: () = assert!(SLOT_BYTES as u64 <= SLOT_STRIDE, "a slot lies within its page");

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which stream, from 1; FORMAT.md lists the codes.
    pub stream: u16,
    /// True when the segment has its footer.
    pub sealed: bool,
    /// Up to where the segment's frames are on stable storage, in bytes.
    pub end: u32,
    /// The first sequence number of the stream's last segment.
    pub first_seq: u64,
}

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeqState {
    /// Counts the writes of the file, from 1. The slot with the higher one counts.
    pub generation: u64,
    /// No record has this sequence number or a higher one.
    pub bound: u64,
    /// The writer closed: `bound` is the next sequence number, and every stream ends where `heads`
    /// say. Otherwise numbers below `bound` may have been given to records that a crash took, and
    /// are skipped.
    pub clean: bool,
    /// Where the streams ended when the writer closed; while it is at work, up to where they were
    /// on stable storage when it began. A stream without a segment has none. Those beyond
    /// [`MAX_HEADS`] are left out.
    pub heads: Vec<Head>,
}

impl SeqState {
    /// Where the slot of this generation stands in the file, in bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        (self.generation % 2) * SLOT_STRIDE
    }

    /// The slot, to be written at [`SeqState::offset`] in the ledger with this identity.
    #[must_use]
    pub fn encode(&self, ledger: &[u8; 16]) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        put::<MAGIC_AT, _, _>(&mut out, MAGIC);
        put::<CLEAN_AT, _, _>(&mut out, u32::from(self.clean).to_le_bytes());
        put::<GENERATION_AT, _, _>(&mut out, self.generation.to_le_bytes());
        put::<BOUND_AT, _, _>(&mut out, self.bound.to_le_bytes());
        let places = out.get_mut(HEADS_AT..CRC_AT).unwrap_or_default();
        for (head, place) in self.heads.iter().zip(places.as_chunks_mut().0) {
            *place = head.encode();
        }
        let sum = crc::bound(ledger, self.offset(), before::<CRC_AT, _>(&out));
        put::<CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        out
    }

    /// The newest whole slot of the file with this content.
    ///
    /// `None` when neither is whole: the file is missing, damaged or of another ledger, and the
    /// next sequence number is to be had from the segments alone.
    #[must_use]
    pub fn decode(file: &[u8], ledger: &[u8; 16]) -> Option<Self> {
        [0, SLOT_STRIDE]
            .into_iter()
            .filter_map(|offset| Self::decode_slot(file, ledger, offset).ok())
            .max_by_key(|state| state.generation)
    }

    /// What is wrong with a slot of the file with this content, and where that is: with the first
    /// of both.
    pub(crate) fn damage(file: &[u8], ledger: &[u8; 16]) -> Option<(u64, Damage)> {
        let whole = Self::decode(file, ledger);
        // The first generation is written while the other slot is blank.
        let is_new = whole.is_some_and(|state| state.generation == 1);
        let is_blank = file.starts_with(&[0; SLOT_BYTES]);
        let damaged = |at| Some((at, Self::decode_slot(file, ledger, at).err()?));
        [0, SLOT_STRIDE].into_iter().find_map(damaged).filter(|_| !(is_new && is_blank))
    }

    fn decode_slot(file: &[u8], ledger: &[u8; 16], offset: u64) -> Result<Self, Damage> {
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..));
        let bytes: &[u8; SLOT_BYTES] =
            rest.and_then(|rest| rest.first_chunk()).ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != MAGIC {
            return Err(Damage::Magic);
        }
        let sum = crc::bound(ledger, offset, before::<CRC_AT, _>(bytes));
        if u32::from_le_bytes(get::<CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum);
        }
        Ok(Self {
            generation: u64::from_le_bytes(get::<GENERATION_AT, _, _>(bytes)),
            bound: u64::from_le_bytes(get::<BOUND_AT, _, _>(bytes)),
            clean: u32::from_le_bytes(get::<CLEAN_AT, _, _>(bytes)) == 1,
            heads: {
                let places = bytes.get(HEADS_AT..CRC_AT).unwrap_or_default();
                places.as_chunks().0.iter().filter_map(Head::decode).collect()
            },
        })
    }
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        put::<HEAD_CODE_AT, _, _>(&mut out, self.stream.to_le_bytes());
        let flags = if self.sealed { SEALED } else { 0 };
        put::<HEAD_FLAGS_AT, _, _>(&mut out, flags.to_le_bytes());
        put::<HEAD_END_AT, _, _>(&mut out, self.end.to_le_bytes());
        put::<HEAD_FIRST_AT, _, _>(&mut out, self.first_seq.to_le_bytes());
        out
    }

    /// `None` for a place without a head.
    fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let stream = u16::from_le_bytes(get::<HEAD_CODE_AT, _, _>(bytes));
        (stream != 0).then(|| Self {
            stream,
            sealed: u16::from_le_bytes(get::<HEAD_FLAGS_AT, _, _>(bytes)) & SEALED != 0,
            end: u32::from_le_bytes(get::<HEAD_END_AT, _, _>(bytes)),
            first_seq: u64::from_le_bytes(get::<HEAD_FIRST_AT, _, _>(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: [u8; 16] = [9; 16];

    fn head(stream: u16, first_seq: u64) -> Head {
        Head { stream, sealed: stream == 2, end: 4_000, first_seq }
    }

    fn old() -> SeqState {
        SeqState { generation: 6, bound: 1_000, clean: true, heads: vec![head(1, 9), head(2, 4)] }
    }

    fn new() -> SeqState {
        SeqState { generation: 7, bound: 2_000, clean: false, heads: vec![head(2, 700)] }
    }

    fn file(states: &[SeqState]) -> Vec<u8> {
        let mut file = vec![0; usize::try_from(SEQ_FILE_BYTES).unwrap()];
        for state in states {
            let at = usize::try_from(state.offset()).unwrap();
            file[at..at + SLOT_BYTES].copy_from_slice(&state.encode(&LEDGER));
        }
        file
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        assert_eq!(SeqState::decode(&[], &LEDGER), None);
        assert_eq!(SeqState::decode(&file(&[]), &LEDGER), None);
        assert_eq!(SeqState::decode(&file(&[old()]), &LEDGER), Some(old()));
        assert_eq!(SeqState::decode(&file(&[new()]), &LEDGER), Some(new()));
        assert_eq!(SeqState::decode(&file(&[old(), new()]), &LEDGER), Some(new()));
        assert_eq!(SeqState::decode(&file(&[old(), new()]), &[8; 16]), None, "of another ledger");
        assert_eq!(SeqState::decode(&file(&[old(), new()])[..SLOT_BYTES], &LEDGER), Some(old()));
    }

    #[test]
    fn every_bit_flip_of_a_slot_leaves_the_other() {
        let at = usize::try_from(new().offset()).unwrap();
        for bit in 0..SLOT_BYTES * 8 {
            let mut torn = file(&[old(), new()]);
            torn[at + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SeqState::decode(&torn, &LEDGER), Some(old()), "bit {bit}");
        }
    }

    #[test]
    fn damage_is_told_of_each_slot_that_was_written() {
        let at = usize::try_from(SLOT_STRIDE).unwrap();
        let first = SeqState { generation: 1, ..new() };
        for whole in [vec![first.clone()], vec![old(), new()]] {
            assert_eq!(SeqState::damage(&file(&whole), &LEDGER), None);
        }
        let mut both = file(&[old(), new()]);
        both[at + 20] ^= 1;
        let found = SeqState::damage(&both, &LEDGER);
        assert_eq!(found, Some((SLOT_STRIDE, Damage::HeaderChecksum)));
        both[0] ^= 1;
        assert_eq!(SeqState::damage(&both, &LEDGER), Some((0, Damage::Magic)));
        // A slot that reads as zeros was written when there is a later one, or none.
        for zeroed in [vec![new()], Vec::new()] {
            assert_eq!(SeqState::damage(&file(&zeroed), &LEDGER), Some((0, Damage::Magic)));
        }
        let cut = &file(&[old(), new()])[..at];
        assert_eq!(SeqState::damage(cut, &LEDGER), Some((SLOT_STRIDE, Damage::Truncated)));
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let heads = (1..200).map(|stream| head(stream, 1)).collect();
        let found = SeqState::decode(&file(&[SeqState { heads, ..old() }]), &LEDGER).unwrap();
        assert_eq!(found.heads.len(), MAX_HEADS);
        assert_eq!(found.heads.last().unwrap().stream, 100);
    }

    #[test]
    fn a_slot_in_the_place_of_the_other_fails() {
        let mut moved = file(&[old()]);
        moved.copy_within(0..SLOT_BYTES, usize::try_from(SLOT_STRIDE).unwrap());
        moved[..SLOT_BYTES].fill(0);
        assert_eq!(SeqState::decode(&moved, &LEDGER), None);
    }
}
