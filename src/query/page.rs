use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::model::{Record, Timestamp};
use crate::query::cursor::{Cursor, Order};
use crate::query::select::Hit;
use crate::segment::{Near, Pinned};

/// How many records ahead of the one that is read are fetched from memory, where each lies in a
/// place of its own. Where no more are found in a segment, they are fetched at once.
pub(super) const AHEAD: usize = 8;

/// After how many bytes of its records no more are taken of a page, which holds what was unpacked
/// of it: each may be of 16 MiB.
pub(crate) const ENOUGH: usize = 8 << 20;

/// For so many segments it is remembered in place which frame was read last.
const FEW: usize = 4;

/// Records that a query has found, in its order.
///
/// They are read when they are asked for, borrowed from the segments that they lie in; the page
/// holds those segments, so that neither retention nor compaction takes them away.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub(super) segments: Vec<Searched>,
    pub(super) hits: Vec<Hit>,
    pub(super) order: Order,
    pub(super) next: Option<Cursor>,
}

/// A segment in which something was found.
#[derive(Debug, Clone)]
pub(super) struct Searched {
    pub(super) pinned: Pinned,
    /// What is known of its frames since then.
    pub(super) near: Near,
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
        // Records that were found together often lie in one frame of their segment, or near it.
        let near = self.segments.iter().map(|searched| searched.near);
        let mut near: SmallVec<[_; FEW]> = near.collect();
        self.hits.iter().take(AHEAD).for_each(|hit| self.prefetch(*hit));
        self.hits.iter().enumerate().map(move |(at, hit)| {
            self.hits.get(at + AHEAD).into_iter().for_each(|hit| self.prefetch(*hit));
            self.read(*hit, &mut near)
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

    /// Where the query goes on behind this one of the records, for who takes no more of them.
    /// `None` when the page has no such record.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use runledger::{Event, Ledger, Order};
    /// let ledger = Ledger::open(dir.path())?;
    /// for name in ["one", "two", "three"] {
    ///     ledger.append(Event::new(name))?;
    /// }
    /// let query = ledger.query().order(Order::Seq);
    /// let after = query.fetch()?.cursor_after(0).expect("there are three");
    /// assert_eq!(query.after(after).fetch()?.seqs().collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), runledger::Error>(())
    /// ```
    #[must_use]
    pub fn cursor_after(&self, at: usize) -> Option<Cursor> {
        let order = self.order;
        self.hits.get(at).map(|hit| Cursor { order, key: hit.key(order) })
    }

    /// One record, kept readable by itself.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Stored> {
        let hit = self.hits.get(at)?;
        let segment = self.segments.get(hit.segment as usize)?.pinned.clone();
        Some(Stored { segment, seq: hit.seq, offset: hit.offset })
    }

    /// When a record of the page was created, as the index has it.
    pub(super) fn created_at(&self, at: usize) -> Option<Timestamp> {
        self.hits.get(at).map(|hit| Timestamp::from_nanos(hit.created_at))
    }

    /// How many bytes were unpacked of the segments that it holds.
    #[cfg(test)]
    pub(crate) fn unpacked(&self) -> usize {
        self.segments.iter().map(|searched| searched.pinned.unpacked()).sum()
    }

    /// The stream that a record of the page lies in.
    pub(crate) fn stream(&self, at: usize) -> Option<&str> {
        let hit = self.hits.get(at)?;
        Some(self.segments.get(hit.segment as usize)?.pinned.stream())
    }

    #[inline]
    fn prefetch(&self, hit: Hit) {
        if let Some(searched) = self.segments.get(hit.segment as usize) {
            searched.pinned.prefetch(hit.offset);
        }
    }

    #[inline]
    fn read(&self, hit: Hit, near: &mut [Near]) -> Result<Record<'_>> {
        let at = hit.segment as usize;
        match (self.segments.get(at), near.get_mut(at)) {
            (Some(searched), Some(near)) => searched.pinned.record_near(near, hit.seq, hit.offset),
            _ => Err(Error::Closed),
        }
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
