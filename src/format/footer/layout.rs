//! Reading a footer: where its sections are, and whether their checksums hold.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::Damage;
use crate::format::bytes::get;
use crate::format::crc;
use crate::format::packed::{Head, Packed};
use crate::format::rollup::Rollup;
use crate::format::trailer::{TRAILER_BYTES, Trailer};
use crate::model::Field;
use crate::planted::{Bug, is_planted};

use super::{
    COUNT_AT, Entry, FieldView, LATER, PER_FIELD, SEED_AT, SINGLE, Section, TABLE_HEAD_BYTES,
    TABLE_MAGIC, Tags, whole_hash,
};

const OF_FIELDS: usize = PER_FIELD * Field::KEYED;
const SLOTS: usize = SINGLE + OF_FIELDS + LATER;

/// Where the sections of a footer are. It is small and owns nothing of the file: each access is
/// given the file's bytes, and compares a section's checksum the first time that it is used.
///
/// Threads may share it; two that use a section for the first time at once both check it.
#[derive(Debug)]
#[repr(C)]
pub struct FooterLayout {
    // In this order, beside what its owner has before it, a query reads the fewest cache lines.
    rows: usize,
    seed: u64,
    slots: [Slot; SLOTS],
}

/// Where a section lies; at the beginning of the file, where none can, when it is absent.
#[derive(Debug, Default)]
struct Slot {
    crc: u32,
    range: Range<u32>,
    /// What it begins with, once it was used and its checksum has held; `None` when it has not. A
    /// column is opened by that: in many small footers to wait for where each of the columns begins
    /// is a tenth of a look-up.
    seen: OnceLock<Option<Head>>,
}

impl Slot {
    fn place(section: u8, field: u8) -> Option<usize> {
        let at = usize::from(section).checked_sub(1)?;
        match (at.checked_sub(SINGLE), usize::from(field)) {
            (None, 0) => Some(at),
            (Some(part), field @ 1..=Field::KEYED) if part < PER_FIELD => {
                Some(SINGLE + (field - 1) * PER_FIELD + part)
            }
            (Some(part), 0) => {
                let part = part.checked_sub(PER_FIELD).filter(|part| *part < LATER)?;
                Some(SINGLE + OF_FIELDS + part)
            }
            _ => None,
        }
    }

    fn is_present(&self) -> bool {
        self.range.end > 0
    }

    fn content<'b>(&self, file: &'b [u8]) -> Option<&'b [u8]> {
        file.get(self.range.start as usize..self.range.end as usize)
    }

    /// The bytes of the section and what they begin with, once its checksum and `check` have held.
    #[inline]
    fn open<'b>(
        &self,
        file: &'b [u8],
        check: impl FnOnce(&'b [u8]) -> bool,
    ) -> Result<(&'b [u8], &Head), Damage> {
        let bytes = self.content(file).filter(|_| self.is_present()).ok_or(Damage::Footer)?;
        let seen = match self.seen.get() {
            Some(seen) => seen,
            None => self.look(bytes, check),
        };
        seen.as_ref().map(|head| (bytes, head)).ok_or(Damage::Footer)
    }

    /// Compares the section with its checksum, and notes what was seen.
    #[cold]
    fn look<'b>(&self, bytes: &'b [u8], check: impl FnOnce(&'b [u8]) -> bool) -> &Option<Head> {
        let crc_holds = crc::masked(bytes) == self.crc || is_planted(Bug::SkipFooterChecksum);
        let is_whole = crc_holds && check(bytes);
        // A section that is no column may be shorter.
        let head = is_whole.then(|| bytes.first_chunk().copied().unwrap_or_default());
        self.seen.get_or_init(|| head)
    }
}

impl FooterLayout {
    /// Reads the section table of a sealed segment; `file` is all of it, trailer included.
    ///
    /// # Errors
    /// [`Damage::Footer`] when the table is damaged, names a section twice or one that lies outside
    /// of the footer, or lacks one that every footer has.
    pub fn parse(file: &[u8], trailer: &Trailer) -> Result<Self, Damage> {
        let start = usize::try_from(trailer.table_offset).map_err(|_| Damage::Footer)?;
        let end = file.len().checked_sub(TRAILER_BYTES).ok_or(Damage::Footer)?;
        let table = file.get(start..end).ok_or(Damage::Footer)?;
        if crc::masked(table) != trailer.table_crc {
            return Err(Damage::Footer);
        }
        let (head, entries) =
            table.split_first_chunk::<TABLE_HEAD_BYTES>().ok_or(Damage::Footer)?;
        let (entries, rest) = entries.as_chunks();
        let count = u32::from_le_bytes(get::<COUNT_AT, _, _>(head));
        if get::<0, 4, _>(head) != TABLE_MAGIC
            || usize::try_from(count) != Ok(entries.len())
            || !rest.is_empty()
        {
            return Err(Damage::Footer);
        }
        let mut slots: [Slot; SLOTS] = std::array::from_fn(|_| Slot::default());
        for entry in entries {
            take(&mut slots, &Entry::decode(entry), trailer)?;
        }
        let rows = usize::try_from(trailer.rows).map_err(|_| Damage::Footer)?;
        let seed = u64::from_le_bytes(get::<SEED_AT, _, _>(head));
        let layout = Self { rows, seed, slots };
        for section in Section::SINGLE {
            if section != Section::SeqOrder && !layout.slot(section, 0)?.is_present() {
                return Err(Damage::Footer);
            }
        }
        Ok(layout)
    }

    /// How many rows there are: one a record.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The seed of the keys' hashes.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// `created_at` of each row, rising, in its unsigned form:
    /// [`from_time`](crate::format::packed::from_time).
    ///
    /// # Errors
    /// [`Damage::Footer`] when the section is damaged, as all accesses here.
    pub fn times<'b>(&self, file: &'b [u8]) -> Result<Packed<'b>, Damage> {
        self.rows_column(file, Section::Times)
    }

    /// The sequence number of each row.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn seqs<'b>(&self, file: &'b [u8]) -> Result<Packed<'b>, Damage> {
        self.rows_column(file, Section::Seqs)
    }

    /// Where each row's record stands in the file.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn offsets<'b>(&self, file: &'b [u8]) -> Result<Packed<'b>, Damage> {
        self.rows_column(file, Section::Offsets)
    }

    /// The tag of each row.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn tags<'b>(&self, file: &'b [u8]) -> Result<Tags<'b>, Damage> {
        let of_all = |bytes| Tags::of(bytes, self.rows);
        let (bytes, _) =
            self.slot(Section::Tags, 0)?.open(file, |bytes| of_all(bytes).is_some())?;
        of_all(bytes).ok_or(Damage::Footer)
    }

    /// Where each frame stands in the file, rising.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn frames<'b>(&self, file: &'b [u8]) -> Result<Packed<'b>, Damage> {
        self.column(file, Section::Frames, 0, |_| true)
    }

    /// The rows in the order of their sequence numbers; `None` when the rows are in that order.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn seq_order<'b>(&self, file: &'b [u8]) -> Result<Option<Packed<'b>>, Damage> {
        if !self.slot(Section::SeqOrder, 0)?.is_present() {
            return Ok(None);
        }
        self.rows_column(file, Section::SeqOrder).map(Some)
    }

    /// The sequence numbers in earlier segments that records of this one supersede, rising.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn supersedes<'b>(&self, file: &'b [u8]) -> Result<Packed<'b>, Damage> {
        self.column(file, Section::Supersedes, 0, |_| true)
    }

    /// Of a packed segment, where each block stands in the file, and where the frames of each begin
    /// in the segment that is not packed; the latter are one more, for where the last ones end.
    ///
    /// # Errors
    /// [`Damage::Footer`], also for a segment that is not packed.
    pub fn blocks<'b>(&self, file: &'b [u8]) -> Result<(Packed<'b>, Packed<'b>), Damage> {
        let blocks = self.column(file, Section::Blocks, 0, |_| true)?;
        let starts =
            self.column(file, Section::BlockStarts, 0, |starts| starts.len() == blocks.len() + 1)?;
        Ok((blocks, starts))
    }

    /// The newest states of the runs that are open: their sequence numbers, rising, and where they
    /// stand in the file. No other segment was looked at for that.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn open_runs<'b>(&self, file: &'b [u8]) -> Result<(Packed<'b>, Packed<'b>), Damage> {
        if !self.slot(Section::OpenSeqs, 0)?.is_present() {
            return Ok(Default::default());
        }
        let seqs = self.column(file, Section::OpenSeqs, 0, |_| true)?;
        let is_whole = |offsets: &Packed<'_>| offsets.len() == seqs.len();
        Ok((seqs, self.column(file, Section::OpenOffsets, 0, is_whole)?))
    }

    /// What the segment tells of its records in sum.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn rollup(&self, file: &[u8]) -> Result<Rollup, Damage> {
        let (bytes, _) = self.slot(Section::Rollup, 0)?.open(file, |_| true)?;
        Rollup::decode(bytes)
    }

    /// The keys of a field; `None` when no record has one, and for status and severity, which are
    /// tags.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn field<'b>(&self, file: &'b [u8], field: Field) -> Result<Option<FieldView<'b>>, Damage> {
        let Some(number) = field.key_index().and_then(|at| u8::try_from(at + 1).ok()) else {
            return Ok(None);
        };
        if !self.slot(Section::Keys, number)?.is_present() {
            return Ok(None);
        }
        let keys = self.column(file, Section::Keys, number, |_| true)?;
        let firsts =
            self.column(file, Section::Firsts, number, |firsts| firsts.len() == keys.len())?;
        let starts =
            self.column(file, Section::Starts, number, |starts| starts.len() == keys.len() + 1)?;
        let postings = self.column(file, Section::Postings, number, |_| true)?;
        let codes = if self.slot(Section::Codes, number)?.is_present() {
            Some(self.column(file, Section::Codes, number, |codes| codes.len() == self.rows)?)
        } else {
            None
        };
        Ok(Some(FieldView { keys, firsts, starts, postings, codes }))
    }

    /// The highest 32 bits of the hash of each key of a field, from its keys alone; none when no
    /// record has one.
    ///
    /// # Errors
    /// [`Damage::Footer`].
    pub fn key_heads(&self, file: &[u8], field: Field) -> Result<Vec<u32>, Damage> {
        let number = field.key_index().and_then(|at| u8::try_from(at + 1).ok());
        let number = number.ok_or(Damage::Footer)?;
        if !self.slot(Section::Keys, number)?.is_present() {
            return Ok(Vec::new());
        }
        let keys = self.column(file, Section::Keys, number, |_| true)?;
        let hash = |rank| whole_hash(keys.get(rank).unwrap_or_default(), keys.len());
        Ok((0..keys.len()).map(|rank| head(hash(rank))).collect())
    }

    /// Compares the checksum of every section that is there.
    ///
    /// # Errors
    /// [`Damage::Footer`] when one does not hold.
    pub fn verify(&self, file: &[u8]) -> Result<(), Damage> {
        for slot in self.slots.iter().filter(|slot| slot.is_present()) {
            let bytes = slot.content(file).ok_or(Damage::Footer)?;
            if crc::masked(bytes) != slot.crc {
                return Err(Damage::Footer);
            }
        }
        Ok(())
    }

    fn slot(&self, section: Section, field: u8) -> Result<&Slot, Damage> {
        let at = Slot::place(section as u8, field).ok_or(Damage::Footer)?;
        self.slots.get(at).ok_or(Damage::Footer)
    }

    fn rows_column<'b>(&self, file: &'b [u8], section: Section) -> Result<Packed<'b>, Damage> {
        self.column(file, section, 0, |column| column.len() == self.rows)
    }

    fn column<'b>(
        &self,
        file: &'b [u8],
        section: Section,
        field: u8,
        check: impl FnOnce(&Packed<'b>) -> bool,
    ) -> Result<Packed<'b>, Damage> {
        let whole = |bytes| Packed::new(bytes).is_ok_and(|column| check(&column));
        let (bytes, head) = self.slot(section, field)?.open(file, whole)?;
        Packed::with_head(bytes, head)
    }
}

/// The highest 32 bits of a hash.
#[must_use]
pub fn head(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// Takes an entry of the table; one of a section that this version does not know is passed over.
fn take(slots: &mut [Slot; SLOTS], entry: &Entry, trailer: &Trailer) -> Result<(), Damage> {
    let Some(slot) = Slot::place(entry.section, entry.field).and_then(|at| slots.get_mut(at))
    else {
        return Ok(());
    };
    let end = entry.offset.checked_add(entry.len).ok_or(Damage::Footer)?;
    if slot.is_present() || entry.offset < trailer.frames_end || end > trailer.table_offset {
        return Err(Damage::Footer);
    }
    *slot = Slot { crc: entry.crc, range: entry.offset..end, seen: OnceLock::new() };
    Ok(())
}
