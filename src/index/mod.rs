//! The index over the records of one segment, as a table of rows.
//!
//! A row stands for a record: when it was created, its sequence number, where it lies, its tag
//! (status or severity) and the keys that it carries. [`MemIndex`] is the table of a segment that
//! is still written; the footer of a sealed segment is one too. Queries are written once, against
//! [`Table`]. Nothing here knows files or bytes on disk.

mod keys;
mod mem;
mod newest;
mod sliced;
mod summary;

use std::ops::{ControlFlow, Range};

pub(crate) use mem::{MemIndex, NewRow};
pub(crate) use newest::{NewestStates, StatePlace, UnderHash};
pub(crate) use sliced::{Lanes, SlicedFilter};
pub(crate) use summary::Summary;

use crate::model::Field;

/// The number of a row in its table.
pub(crate) type Row = u32;

/// The number of a key among the keys of one field of one table.
pub(crate) type Code = u32;

pub(crate) use crate::model::SUPERSEDED;

/// Read access to the rows of one segment.
///
/// Rows are numbered from 0. Their order is the table's own; `time_row` and `seq_row` give the
/// orders that queries need. Accessors take any number: a row that is not there reads as zero.
pub(crate) trait Table {
    /// How many rows there are.
    fn rows(&self) -> u32;
    /// When the record was created, in nanoseconds since the Unix epoch.
    fn created_at(&self, row: Row) -> i64;
    /// The record's sequence number.
    fn seq(&self, row: Row) -> u64;
    /// Where the record lies in its segment, in bytes.
    fn offset(&self, row: Row) -> u32;
    /// The record's tag, with [`SUPERSEDED`].
    fn tag(&self, row: Row) -> u8;

    /// The row at a position in the order of (created_at, seq).
    fn time_row(&self, position: u32) -> Row;
    /// The row at a position in the order of seq.
    fn seq_row(&self, position: u32) -> Row;
    /// True when a table's rows are numbered in the order of (created_at, seq).
    fn rows_follow_time(&self) -> bool;
    /// A time that no row up to this one was created after.
    fn latest_up_to(&self, row: Row) -> i64;
    /// True when a table's rows are numbered in the order of seq.
    fn rows_follow_seq(&self) -> bool;

    /// How many keys the field has here.
    fn key_count(&self, field: Field) -> u32;
    /// The code of a key. In a footer another key may have the same hash, so the caller has to
    /// compare a record of it.
    fn find(&self, field: Field, key: &[u8]) -> Option<Code>;
    /// How many rows carry the key.
    fn posting_count(&self, field: Field, code: Code) -> u32;
    /// Visits the rows that carry the key, from the highest row number down.
    fn for_each_posting(
        &self,
        field: Field,
        code: Code,
        visit: &mut dyn FnMut(Row) -> ControlFlow<()>,
    );
    /// Has the processor fetch what is known of the rows that carry the key, which are looked at
    /// soon.
    fn prefetch_postings(&self, _field: Field, _code: Code) {}
    /// True when the row carries the key.
    fn has_key(&self, field: Field, code: Code, row: Row) -> bool;
    /// The key that the row carries: `Err` when this table can tell only by its postings.
    fn code(&self, field: Field, row: Row) -> Result<Option<Code>, NoColumn>;
    /// Visits the rows at these positions in the order of (created_at, seq), in no order, with the
    /// key that each carries: `Err` when this table can tell only by its postings.
    fn for_each_code(
        &self,
        field: Field,
        positions: Range<u32>,
        visit: &mut dyn FnMut(Row, Option<Code>),
    ) -> Result<(), NoColumn> {
        for row in positions.map(|position| self.time_row(position)) {
            visit(row, self.code(field, row)?);
        }
        Ok(())
    }

    /// How many rows come before (created_at, seq) in that order.
    fn time_position(&self, created_at: i64, seq: u64) -> u32 {
        partition(self.rows(), |position| {
            let row = self.time_row(position);
            (self.created_at(row), self.seq(row)) < (created_at, seq)
        })
    }

    /// How many rows have a sequence number below `seq`.
    fn seq_position(&self, seq: u64) -> u32 {
        partition(self.rows(), |position| self.seq(self.seq_row(position)) < seq)
    }

    /// The row of the record with this sequence number, if it is here.
    fn row_of(&self, seq: u64) -> Option<Row> {
        let position = self.seq_position(seq);
        let row = self.seq_row(position);
        (position < self.rows() && self.seq(row) == seq).then_some(row)
    }
}

/// A table keeps no column of codes for a field with so many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoColumn;

/// The first of `0..len` for which `before` is false; `before` must be true, then false.
pub(crate) fn partition(len: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
