//! Writing a footer.

use crate::error::{Error, Result};
use crate::format::rollup::Rollup;
use crate::format::{crc, packed};
use crate::model::Field;

use super::{Entry, MAX_CODED_KEYS, Section, TABLE_MAGIC, Tags, stored_hash};

/// The code of a row that has no key in a field.
pub const NO_CODE: u32 = u32::MAX;

/// What a footer is built from: one row a record, sorted by `created_at` and then by sequence
/// number.
#[derive(Debug, Clone, Default)]
pub struct FooterInput<'a> {
    /// `created_at` of each row, in nanoseconds since the Unix epoch.
    pub times: &'a [i64],
    /// The sequence number of each row.
    pub seqs: &'a [u64],
    /// The rows in the order of their sequence numbers, where that is not their own.
    pub seq_order: Option<&'a [u32]>,
    /// Where each row's record (its length) stands in the file.
    pub offsets: &'a [u32],
    /// The tag of each row.
    pub tags: &'a [u8],
    /// Where each frame stands in the file, rising.
    pub frames: &'a [u32],
    /// The sequence numbers in earlier segments that records of this one supersede, rising.
    pub supersedes: &'a [u64],
    /// The newest states of the runs that are open: their sequence numbers, rising, and where they
    /// stand in the file.
    pub open_runs: &'a [(u64, u32)],
    /// Of a packed segment, where its blocks are.
    pub blocks: Option<BlockInput<'a>>,
    /// What the segment tells of its records in sum; `None` leaves it out, and a reader takes the
    /// footer for damaged where it asks for it.
    pub rollup: Option<&'a Rollup>,
    /// The seed under which all keys of each field have different hashes.
    pub seed: u64,
    /// The keys of each field; `None` when no record has one.
    pub fields: [Option<FieldInput<'a>>; Field::KEYED],
}

/// The keys of one field.
#[derive(Debug, Clone, Copy, Default)]
pub struct FieldInput<'a> {
    /// The hashes of the keys, rising; no two may be the same in what is stored of them. The place
    /// of a key is its rank, and each has a row.
    pub hashes: &'a [u64],
    /// For each row the rank of its key, or [`NO_CODE`].
    pub codes: &'a [u32],
}

/// Where the blocks of a packed segment are.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockInput<'a> {
    /// Where each stands in the file, rising.
    pub places: &'a [u32],
    /// Where the frames of each begin in the segment that is not packed, rising, and where the last
    /// ones end.
    pub starts: &'a [u32],
}

/// A footer, ready to be written after the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The sections and, at the end, the section table.
    pub bytes: Vec<u8>,
    /// Where the section table stands in the file, for the trailer.
    pub table_offset: u32,
    /// The checksum of the section table, for the trailer.
    pub table_crc: u32,
}

/// Builds the footer that is to stand at `base_offset` of the file.
///
/// # Errors
/// [`Error::TooLarge`] when it would reach beyond 4 GiB of the file, [`Error::Invalid`] when the
/// columns do not fit together.
pub fn build(input: &FooterInput<'_>, base_offset: u32) -> Result<Built> {
    check(input)?;
    let mut builder = Builder { base: base_offset, bytes: Vec::new(), entries: Vec::new() };
    let wide = |value: &u32| u64::from(*value);
    builder.column(Section::Times, 0, input.times.iter().map(|time| packed::from_time(*time)))?;
    builder.column(Section::Seqs, 0, input.seqs.iter().copied())?;
    builder.column(Section::Offsets, 0, input.offsets.iter().map(wide))?;
    builder.section(Section::Tags, 0, |out| {
        out.extend_from_slice(Tags::stored(input.tags));
        Ok(())
    })?;
    builder.column(Section::Frames, 0, input.frames.iter().map(wide))?;
    if let Some(order) = input.seq_order {
        builder.column(Section::SeqOrder, 0, order.iter().map(wide))?;
    }
    builder.column(Section::Supersedes, 0, input.supersedes.iter().copied())?;
    if let Some(blocks) = input.blocks {
        builder.column(Section::Blocks, 0, blocks.places.iter().map(wide))?;
        builder.column(Section::BlockStarts, 0, blocks.starts.iter().map(wide))?;
    }
    if let Some(rollup) = input.rollup {
        builder.section(Section::Rollup, 0, |out| {
            rollup.encode(out);
            Ok(())
        })?;
    }
    if !input.open_runs.is_empty() {
        let (seqs, offsets) = (input.open_runs.iter(), input.open_runs.iter());
        builder.column(Section::OpenSeqs, 0, seqs.map(|(seq, _)| *seq))?;
        builder.column(Section::OpenOffsets, 0, offsets.map(|(_, offset)| wide(offset)))?;
    }
    for (field, number) in input.fields.iter().zip(1..) {
        if let Some(field) = field.filter(|field| !field.hashes.is_empty()) {
            builder.field(number, &field)?;
        }
    }
    builder.finish(input.seed)
}

fn check(input: &FooterInput<'_>) -> Result<()> {
    let rows = input.times.len();
    let columns = [input.seqs.len(), input.offsets.len(), input.tags.len()];
    let fields = input.fields.iter().flatten();
    let whole = columns.iter().all(|len| *len == rows)
        && is_seq_order(input.seqs, input.seq_order)
        && fields.clone().all(|field| field.codes.len() == rows && is_distinct(field.hashes));
    if whole {
        Ok(())
    } else {
        Err(Error::invalid("footer", "", "columns of one length, an order and sorted hashes"))
    }
}

/// True when sequence numbers rise in this order, or without one.
fn is_seq_order(seqs: &[u64], order: Option<&[u32]>) -> bool {
    let Some(order) = order else { return seqs.is_sorted() };
    let mut last = None;
    let rises = |row: &u32| {
        let seq = seqs.get(*row as usize).copied();
        seq.is_some() && seq > std::mem::replace(&mut last, seq)
    };
    order.len() == seqs.len() && order.iter().all(rises)
}

/// True when hashes rise, and what is stored of them does so, too.
#[must_use]
pub fn is_distinct(hashes: &[u64]) -> bool {
    let stored = |hash: &u64| stored_hash(*hash, hashes.len());
    hashes.is_sorted_by(|one, next| stored(one) < stored(next))
}

struct Builder {
    base: u32,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Builder {
    /// Where the end of what was built stands in the file.
    fn end(&self) -> Result<u32> {
        u32::try_from(self.bytes.len()).ok().and_then(|len| self.base.checked_add(len)).ok_or_else(
            || Error::TooLarge {
                what: "a segment with its footer in bytes",
                size: u64::from(self.base) + u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
                limit: u64::from(u32::MAX),
            },
        )
    }

    fn section(
        &mut self,
        section: Section,
        field: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let offset = self.end()?;
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let crc = crc::masked(self.bytes.get(start..).unwrap_or_default());
        let len = self.end()? - offset;
        self.entries.push(Entry { section: section as u8, field, crc, offset, len });
        Ok(())
    }

    fn column(
        &mut self,
        section: Section,
        field: u8,
        values: impl ExactSizeIterator<Item = u64> + Clone,
    ) -> Result<()> {
        self.section(section, field, |out| packed::encode(values, out))
    }

    fn field(&mut self, number: u8, field: &FieldInput<'_>) -> Result<()> {
        let Inverted { firsts, starts, later } = invert(field)?;
        let wide = |value: &u32| u64::from(*value);
        let stored = |hash: &u64| stored_hash(*hash, field.hashes.len());
        self.column(Section::Keys, number, field.hashes.iter().map(stored))?;
        self.column(Section::Firsts, number, firsts.iter().map(wide))?;
        self.column(Section::Starts, number, starts.iter().map(wide))?;
        self.column(Section::Postings, number, later.iter().map(wide))?;
        if field.hashes.len() <= MAX_CODED_KEYS {
            // No code is the largest number: adding 1 makes it 0.
            let codes = field.codes.iter().map(|code| u64::from(code.wrapping_add(1)));
            self.column(Section::Codes, number, codes)?;
        }
        Ok(())
    }

    fn finish(mut self, seed: u64) -> Result<Built> {
        let table_offset = self.end()?;
        let start = self.bytes.len();
        self.bytes.extend(TABLE_MAGIC);
        self.bytes.extend(u32::try_from(self.entries.len()).unwrap_or_default().to_le_bytes());
        self.bytes.extend(seed.to_le_bytes());
        for entry in &self.entries {
            self.bytes.extend(entry.encode());
        }
        self.end()?;
        let table_crc = crc::masked(self.bytes.get(start..).unwrap_or_default());
        Ok(Built { bytes: self.bytes, table_offset, table_crc })
    }
}

/// The rows of each key.
struct Inverted {
    /// The first row of each.
    firsts: Vec<u32>,
    /// Where the later rows of each begin, and where the last ones end.
    starts: Vec<u32>,
    /// How far they lie behind the first.
    later: Vec<u32>,
}

/// From codes by row to rows by code.
fn invert(field: &FieldInput<'_>) -> Result<Inverted> {
    let unknown = || Error::invalid("footer", "", "codes that are ranks of the keys");
    let coded = || field.codes.iter().zip(0_u32..).filter(|(code, _)| **code != NO_CODE);
    let keys = field.hashes.len();
    // The first row of each key is not one of the later ones.
    let mut starts = vec![u32::MAX; keys];
    let mut total = 0_usize;
    for (&code, _) in coded() {
        let count = starts.get_mut(code as usize).ok_or_else(unknown)?;
        *count = count.wrapping_add(1);
        total += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        let count = *start;
        *start = sum;
        sum = sum.checked_add(count).ok_or_else(unknown)?;
    }
    starts.push(sum);
    let mut next = starts.clone();
    let mut firsts = vec![NO_CODE; keys];
    let mut later = vec![0_u32; total.checked_sub(keys).ok_or_else(unknown)?];
    for (&code, row) in coded() {
        let first = firsts.get_mut(code as usize).ok_or_else(unknown)?;
        if *first == NO_CODE {
            *first = row;
            continue;
        }
        let next = next.get_mut(code as usize).ok_or_else(unknown)?;
        *later.get_mut(*next as usize).ok_or_else(unknown)? = row - *first;
        *next += 1;
    }
    Ok(Inverted { firsts, starts, later })
}
