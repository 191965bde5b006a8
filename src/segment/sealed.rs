use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::error::Damage;
use crate::format::footer::{FieldView, FooterLayout, Postings, Tags};
use crate::format::header::SegmentHeader;
use crate::format::key;
use crate::format::packed::{Packed, to_time};
use crate::format::rollup::Rollup;
use crate::format::trailer::Trailer;
use crate::index::{Code, NoColumn, Row, Table, partition};
use crate::model::{Field, FieldSet};
use crate::segment::ahead::Found;
use crate::storage::Map;

/// The index of a sealed segment: its footer, where it lies.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SealedIndex {
    // In this order what a query reads lies in as few lines of the processor's cache as it can.
    pub(crate) map: Map,
    /// The last bytes of the file, by which it is seen that it still ends there.
    pub(super) end: [u8; 8],
    pub(crate) layout: FooterLayout,
    pub(crate) trailer: Trailer,
}

impl SealedIndex {
    /// The index in this map of the whole file.
    pub(super) fn new(trailer: Trailer, layout: FooterLayout, map: Map) -> Arc<Self> {
        let end = map.as_slice().last_chunk().copied().unwrap_or_default();
        Arc::new(Self { trailer, layout, map, end })
    }

    /// The footer as a table, with the keys of these fields; of the others it knows nothing. Each
    /// section that this takes is compared with its checksum the first time.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub(crate) fn table(&self, with: FieldSet) -> Result<SealedTable<'_>, Damage> {
        let bytes = self.map.as_slice();
        let (mut field, mut others) = (None, Vec::new());
        for &of in Field::ALL.iter().filter(|&&of| with.contains(of)) {
            let view = self.layout.field(bytes, of)?.map(|view| (of, view));
            match &field {
                None => field = view,
                Some(_) => others.extend(view),
            }
        }
        Ok(SealedTable {
            footer: self,
            times: self.layout.times(bytes)?,
            seqs: self.layout.seqs(bytes)?,
            offsets: self.layout.offsets(bytes)?,
            tags: self.layout.tags(bytes)?,
            seq_order: self.layout.seq_order(bytes)?,
            with,
            field,
            others,
            found: None,
        })
    }

    /// The highest 32 bits of the hash of each key of a field.
    pub(crate) fn key_heads(&self, field: Field) -> Result<Vec<u32>, Damage> {
        self.layout.key_heads(self.map.as_slice(), field)
    }

    /// Where the frames begin.
    pub(crate) fn frames(&self) -> Result<Packed<'_>, Damage> {
        self.layout.frames(self.map.as_slice())
    }

    /// Where the frames end; of a packed segment, in the one that is not packed.
    pub(super) fn frames_end(&self, header: &SegmentHeader) -> u32 {
        let of_blocks = || {
            let (blocks, starts) = self.blocks().ok()?;
            u32::try_from(starts.get(blocks.len())?).ok()
        };
        let packed_end = header.packed.then(of_blocks).flatten();
        packed_end.unwrap_or(self.trailer.frames_end)
    }

    /// Where the blocks of a packed segment are, and where the frames of each begin.
    pub(super) fn blocks(&self) -> Result<(Packed<'_>, Packed<'_>), Damage> {
        self.layout.blocks(self.map.as_slice())
    }

    /// The sums of the records.
    pub(super) fn rollup(&self) -> Result<Rollup, Damage> {
        self.layout.rollup(self.map.as_slice())
    }

    /// The newest states of the runs that are open: sequence numbers, and where they lie.
    pub(super) fn open_runs(&self) -> Result<Vec<(u64, u32)>, Damage> {
        let expected = self.trailer.tags.open_runs();
        if expected == 0 {
            return Ok(Vec::new());
        }
        let (seqs, offsets) = self.layout.open_runs(self.map.as_slice())?;
        let open = (0..seqs.len()).filter_map(|at| Some((seqs.get(at)?, narrow(offsets.get(at)))));
        let open: Vec<_> = open.collect();
        if open.len() as u64 == expected { Ok(open) } else { Err(Damage::Footer) }
    }

    /// The records of earlier segments whose place was taken by one here.
    pub(crate) fn supersedes(&self) -> Result<Vec<u64>, Damage> {
        let column = self.layout.supersedes(self.map.as_slice())?;
        Ok((0..column.len()).filter_map(|at| column.get(at)).collect())
    }
}

/// A footer, read as a table. Rows lie in the order of (created_at, seq).
#[derive(Debug)]
pub(crate) struct SealedTable<'a> {
    pub(crate) footer: &'a SealedIndex,
    pub(super) times: Packed<'a>,
    pub(super) seqs: Packed<'a>,
    pub(super) offsets: Packed<'a>,
    pub(super) tags: Tags<'a>,
    /// The rows in the order of seq, when that is another order.
    seq_order: Option<Packed<'a>>,
    /// The fields whose keys were asked for.
    with: FieldSet,
    /// The first of them that is there: mostly it is the only one.
    field: Option<(Field, FieldView<'a>)>,
    others: Vec<(Field, FieldView<'a>)>,
    /// What was found before it is asked for.
    pub(super) found: Option<Found<'a>>,
}

impl<'a> SealedTable<'a> {
    pub(super) fn field(&self, field: Field) -> Option<&FieldView<'a>> {
        debug_assert!(self.with.contains(field), "{field} was not asked for");
        let fields = self.field.iter().chain(&self.others);
        fields.into_iter().find(|(of, _)| *of == field).map(|(_, view)| view)
    }

    pub(super) fn seed(&self) -> u64 {
        self.footer.layout.seed()
    }

    /// The rows that carry a key, if it was looked for before.
    fn found(&self, field: Field, code: Code) -> Option<&Postings<'a>> {
        self.found.as_ref()?.postings(field, code)
    }

    /// The rows that carry a key.
    fn postings(&self, field: Field, code: Code) -> Option<Postings<'a>> {
        let found = self.found(field, code).cloned();
        found.or_else(|| Some(self.field(field)?.postings(code)))
    }
}

/// A number from a column that holds no larger ones.
fn narrow(value: Option<u64>) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or_default()
}

/// A number of things of which a segment holds no more than 32 bits can count.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

impl Table for SealedTable<'_> {
    fn rows(&self) -> u32 {
        count(self.footer.layout.rows())
    }

    fn created_at(&self, row: Row) -> i64 {
        self.times.get(row as usize).map(to_time).unwrap_or_default()
    }

    fn seq(&self, row: Row) -> u64 {
        self.seqs.get(row as usize).unwrap_or_default()
    }

    fn offset(&self, row: Row) -> u32 {
        narrow(self.offsets.get(row as usize))
    }

    fn tag(&self, row: Row) -> u8 {
        self.tags.get(row as usize).unwrap_or_default()
    }

    fn time_row(&self, position: u32) -> Row {
        position
    }

    fn seq_row(&self, position: u32) -> Row {
        self.seq_order.as_ref().map_or(position, |order| narrow(order.get(position as usize)))
    }

    fn rows_follow_time(&self) -> bool {
        true
    }

    fn latest_up_to(&self, row: Row) -> i64 {
        self.created_at(row)
    }

    fn rows_follow_seq(&self) -> bool {
        self.seq_order.is_none()
    }

    fn key_count(&self, field: Field) -> u32 {
        count(self.field(field).map_or(0, FieldView::key_count))
    }

    fn find(&self, field: Field, key: &[u8]) -> Option<Code> {
        let hash = key::hash(self.seed(), key);
        let found = self.found.as_ref().and_then(|found| found.code(field, hash));
        found.unwrap_or_else(|| self.field(field)?.find(hash))
    }

    fn posting_count(&self, field: Field, code: Code) -> u32 {
        let in_view = || self.field(field).map_or(0, |field| field.count(code));
        count(self.found(field, code).map_or_else(in_view, Postings::len))
    }

    fn for_each_posting(
        &self,
        field: Field,
        code: Code,
        visit: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) {
        let Some(rows) = self.postings(field, code) else { return };
        let _ = rows.for_each_back(visit);
    }

    fn prefetch_postings(&self, field: Field, code: Code) {
        if self.found.is_none() {
            self.for_each_posting(field, code, &mut |row| {
                self.fetch_values(row);
                ControlFlow::Continue(())
            });
        }
    }

    fn has_key(&self, field: Field, code: Code, row: Row) -> bool {
        let Some(view) = self.field(field) else { return false };
        if view.has_codes() {
            return view.code(row as usize) == Some(code);
        }
        self.postings(field, code).is_some_and(|rows| rows.get(rows.before(row)) == Some(row))
    }

    fn code(&self, field: Field, row: Row) -> Result<Option<Code>, NoColumn> {
        match self.field(field) {
            None => Ok(None),
            Some(view) if view.has_codes() => Ok(view.code(row as usize)),
            Some(_) => Err(NoColumn),
        }
    }

    fn for_each_code(
        &self,
        field: Field,
        positions: Range<u32>,
        visit: &mut dyn FnMut(Row, Option<Code>),
    ) -> Result<(), NoColumn> {
        let Some(view) = self.field(field) else {
            positions.for_each(|row| visit(row, None));
            return Ok(());
        };
        let codes = view.codes().ok_or(NoColumn)?;
        let mut rows = positions.clone().rev();
        let _ = codes.for_each_back(positions.start as usize..positions.end as usize, |code| {
            if let Some(row) = rows.next() {
                visit(row, narrow(Some(code)).checked_sub(1));
            }
            ControlFlow::Continue(())
        });
        Ok(())
    }

    fn time_position(&self, created_at: i64, seq: u64) -> u32 {
        let start = count(self.times.partition_point(|time| to_time(time) < created_at));
        if seq == 0 {
            return start;
        }
        let end = count(self.times.partition_point(|time| to_time(time) <= created_at));
        // Rows of one time lie in the order of their sequence numbers.
        start + partition(end.saturating_sub(start), |at| self.seq(start + at) < seq)
    }

    fn seq_position(&self, seq: u64) -> u32 {
        match &self.seq_order {
            None => count(self.seqs.partition_point(|other| other < seq)),
            Some(_) => partition(self.rows(), |position| self.seq(self.seq_row(position)) < seq),
        }
    }
}
