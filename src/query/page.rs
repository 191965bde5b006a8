use crate::error::{Error, Result};
use crate::model::Record;
use crate::query::cursor::Cursor;
use crate::query::select::Hit;
use crate::segment::{Frame, Pinned};

/// How many records ahead of the one that is read are fetched from memory, where each lies in a
/// place of its own.
const AHEAD: usize = 8;

/// Records that a query has found, in its order.
///
/// They are read when they are asked for, borrowed from the segments that they lie in; the page
/// holds those segments, so that neither retention nor compaction takes them away.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub(super) segments: Vec<Pinned>,
    pub(super) hits: Vec<Hit>,
    pub(super) next: Option<Cursor>,
}

impl Page {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// True when nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// The records. One that is damaged is an error in its place, and the others follow it.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Result<Record<'_>>> {
        // Records that were found together often lie in one frame.
        let mut last = None;
        self.hits.iter().take(AHEAD).for_each(|hit| self.prefetch(*hit));
        self.hits.iter().enumerate().map(move |(at, hit)| {
            self.hits.get(at + AHEAD).into_iter().for_each(|hit| self.prefetch(*hit));
            self.read(*hit, &mut last)
        })
    }

    /// The sequence numbers of the records.
    pub fn seqs(&self) -> impl ExactSizeIterator<Item = u64> {
        self.hits.iter().map(|hit| hit.seq)
    }

    /// Where the query goes on; `None` when this page holds its last record.
    #[must_use]
    pub const fn next(&self) -> Option<Cursor> {
        self.next
    }

    /// One record, kept readable by itself.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Stored> {
        let hit = self.hits.get(at)?;
        let segment = self.segments.get(hit.segment as usize)?.clone();
        Some(Stored { segment, seq: hit.seq, offset: hit.offset })
    }

    #[inline]
    fn prefetch(&self, hit: Hit) {
        if let Some(segment) = self.segments.get(hit.segment as usize) {
            segment.prefetch(hit.offset);
        }
    }

    #[inline]
    fn read(&self, hit: Hit, last: &mut Option<(u32, Frame)>) -> Result<Record<'_>> {
        let segment = self.segments.get(hit.segment as usize).ok_or(Error::Closed)?;
        let mut frame = last.filter(|(of, _)| *of == hit.segment).map(|(_, frame)| frame);
        let record = segment.record_near(&mut frame, hit.seq, hit.offset);
        *last = frame.map(|frame| (hit.segment, frame));
        record
    }
}

/// One record, with the segment that it lies in held open.
#[derive(Debug, Clone)]
pub struct Stored {
    segment: Pinned,
    seq: u64,
    offset: u32,
}

impl Stored {
    pub(crate) const fn new(segment: Pinned, seq: u64, offset: u32) -> Self {
        Self { segment, seq, offset }
    }

    /// Its sequence number.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The record, borrowed from the segment.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its bytes do not match their checksum.
    pub fn record(&self) -> Result<Record<'_>> {
        self.segment.record(self.seq, self.offset)
    }
}
