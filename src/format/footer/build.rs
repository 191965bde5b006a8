//! Writing a footer.

use crate::error::{Error, Result};
use crate::format::{crc, packed};
use crate::model::Field;

use super::{Entry, MAX_CODED_KEYS, Section, TABLE_MAGIC};

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
    /// Where each row's record (its length) stands in the file.
    pub offsets: &'a [u32],
    /// The tag of each row.
    pub tags: &'a [u8],
    /// Where each frame stands in the file, rising.
    pub frames: &'a [u32],
    /// The sequence numbers in earlier segments that records of this one supersede, rising.
    pub supersedes: &'a [u64],
    /// The seed under which all keys of each field have different hashes.
    pub seed: u64,
    /// The keys of each field; `None` when no record has one.
    pub fields: [Option<FieldInput<'a>>; Field::KEYED],
}

/// The keys of one field.
#[derive(Debug, Clone, Copy, Default)]
pub struct FieldInput<'a> {
    /// The hashes of the keys, rising. The place of a key is its rank.
    pub hashes: &'a [u64],
    /// For each row the rank of its key, or [`NO_CODE`].
    pub codes: &'a [u32],
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
        out.extend_from_slice(input.tags);
        Ok(())
    })?;
    builder.column(Section::Frames, 0, input.frames.iter().map(wide))?;
    if !input.seqs.is_sorted() {
        builder.column(Section::SeqOrder, 0, seq_order(input.seqs).iter().map(wide))?;
    }
    builder.column(Section::Supersedes, 0, input.supersedes.iter().copied())?;
    for (field, number) in input.fields.iter().zip(1..) {
        if let Some(field) = field.filter(|field| !field.hashes.is_empty()) {
            builder.field(number, &field)?;
        }
    }
    builder.finish(input.seed)
}

/// The rows in the order of their sequence numbers.
fn seq_order(seqs: &[u64]) -> Vec<u32> {
    let mut order: Vec<(u64, u32)> = seqs.iter().copied().zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, row)| row).collect()
}

fn check(input: &FooterInput<'_>) -> Result<()> {
    let rows = input.times.len();
    let columns = [input.seqs.len(), input.offsets.len(), input.tags.len()];
    let fields = input.fields.iter().flatten();
    let whole = columns.iter().all(|len| *len == rows)
        && fields.clone().all(|field| field.codes.len() == rows && field.hashes.is_sorted());
    if whole {
        Ok(())
    } else {
        Err(Error::invalid("footer", "", "columns of one length and sorted hashes"))
    }
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
        values: impl ExactSizeIterator<Item = u64>,
    ) -> Result<()> {
        self.section(section, field, |out| packed::encode(values, out))
    }

    fn field(&mut self, number: u8, field: &FieldInput<'_>) -> Result<()> {
        let (starts, postings) = invert(field)?;
        let wide = |value: &u32| u64::from(*value);
        self.section(Section::Keys, number, |out| {
            out.extend(field.hashes.iter().flat_map(|hash| hash.to_le_bytes()));
            Ok(())
        })?;
        self.column(Section::Starts, number, starts.iter().map(wide))?;
        self.column(Section::Postings, number, postings.iter().map(wide))?;
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

/// From codes by row to rows by code: where the rows of each key start, and the rows.
fn invert(field: &FieldInput<'_>) -> Result<(Vec<u32>, Vec<u32>)> {
    let unknown = || Error::invalid("footer", "", "codes that are ranks of the keys");
    let place = |code: u32| usize::try_from(code).map_err(|_| unknown());
    let coded = || field.codes.iter().copied().zip(0_u32..).filter(|(code, _)| *code != NO_CODE);
    let mut starts = vec![0_u32; field.hashes.len() + 1];
    let mut total = 0;
    for (code, _) in coded() {
        *starts.get_mut(place(code)? + 1).ok_or_else(unknown)? += 1;
        total += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut next = starts.clone();
    let mut postings = vec![0_u32; total];
    for (code, row) in coded() {
        let next = next.get_mut(place(code)?).ok_or_else(unknown)?;
        *postings.get_mut(place(*next)?).ok_or_else(unknown)? = row;
        *next += 1;
    }
    Ok((starts, postings))
}
