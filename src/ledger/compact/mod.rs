//! Compaction: sealed segments are written anew, fewer and smaller, and take the place of the old.

mod background;
mod doomed;
mod erase;
mod expiry;
mod fold;
mod notes;
mod plan;
mod rewrite;
mod weed;

use std::time::Duration;

pub(super) use background::Compactor;
pub use erase::{Erasure, ErasureReport};
pub(super) use expiry::Expiry;
pub(super) use notes::Replaced;
pub(super) use weed::Weeding;

use crate::error::Result;
use crate::ledger::handle::Ledger;
use crate::ledger::options::Options;
use crate::ledger::reader::Reader;
use crate::model::Kind;

/// What a compaction is about.
///
/// Only sealed segments are compacted; what is still written stays as it is. Neighbours that are
/// small are merged, states of runs whose place was taken by later ones are left out, and the rest
/// is compressed. Of what a query gives nothing changes: sequence numbers, times and content stay.
///
/// But for what has expired: where a [class](crate::Class) was split off when some of its records
/// were there already, these lie among others. They go when the term of their class is over, and
/// are kept as long as that says, whatever becomes of the others.
///
/// ```
/// use std::time::Duration;
/// use runledger::{Compaction, Kind};
/// let events_of_yesterday =
///     Compaction::new().kind(Kind::Event).older_than(Duration::from_secs(24 * 60 * 60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "it does nothing until a ledger compacts by it"]
pub struct Compaction {
    older_than: Duration,
    kind: Option<Kind>,
    keeps_states: bool,
}

impl Compaction {
    /// Of all sealed segments.
    pub const fn new() -> Self {
        Self { older_than: Duration::ZERO, kind: None, keeps_states: false }
    }

    /// Only of segments whose newest record arrived longer ago than this.
    pub const fn older_than(mut self, age: Duration) -> Self {
        self.older_than = age;
        self
    }

    /// Only of the streams of this kind.
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Keeps the states of runs whose place was taken by later ones, so that
    /// [`Query::history`](crate::Query::history) gives all that it gave before.
    pub const fn keep_states(mut self) -> Self {
        self.keeps_states = true;
        self
    }
}

/// What a compaction did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// What took whose place, the oldest of each stream first.
    pub rewrites: Vec<Rewrite>,
    /// Segments that were left as they are because they are damaged, as paths in the ledger's
    /// directory, with what is wrong: `repair` is for those.
    pub damaged: Vec<(String, String)>,
}

/// Segments that were written anew, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewrite {
    /// The segments, as in `runs/00000000000000000001.seg`.
    pub from: Vec<String>,
    /// The one in their place; `None` when no record was left, and in a dry run.
    pub to: Option<String>,
    /// How many records they held.
    pub records: u64,
    /// How many of those were left out: states of runs whose place was taken by later ones, and
    /// records that had expired or were erased. Of a dry run, how many may be.
    pub left_out: u64,
    /// How many bytes of disk the segments took.
    pub bytes: u64,
    /// How many the one in their place takes; `None` in a dry run.
    pub bytes_after: Option<u64>,
}

impl CompactionReport {
    /// How many bytes of disk were freed.
    #[must_use]
    pub fn freed(&self) -> u64 {
        let freed = |it: &Rewrite| it.bytes.saturating_sub(it.bytes_after.unwrap_or(it.bytes));
        self.rewrites.iter().map(freed).sum()
    }
}

impl Ledger {
    /// Compacts the ledger. Queries and appends go on meanwhile; a crash at any moment leaves each
    /// segment as it was or as it is to be.
    ///
    /// The new segment is written and synced beside the old ones before these are removed, so that
    /// the disk has to have room for one more segment.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) when there is no room for a new segment: what was
    /// compacted before stays so; [`Error::Damaged`](crate::Error::Damaged) when records have
    /// expired, and a pin on them may lie in a segment of notes that cannot be read;
    /// [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Poisoned`](crate::Error::Poisoned) or [`Error::Io`](crate::Error::Io).
    pub fn compact(&self, compaction: &Compaction) -> Result<CompactionReport> {
        self.inner.compact(compaction, &mut |_| self.inner.check_writable())
    }
}

impl Reader {
    /// What a compaction by a writer with these options would do, without doing it.
    ///
    /// # Errors
    /// [`Error::Policy`](crate::Error::Policy) when the file `runledger.toml` says what cannot be
    /// taken; [`Error::Io`](crate::Error::Io) when it, a directory or a segment cannot be read.
    pub fn plan_compaction(
        &self,
        compaction: &Compaction,
        options: &Options,
    ) -> Result<CompactionReport> {
        let retention = options.retention.clone().over(&self.policy()?);
        let now = self.catalog().storage.now();
        let expiry = Expiry::of_classes(self, &retention, now)?;
        let over = expiry.as_ref();
        let groups = plan::plan(self, compaction, options, &retention, over, true)?;
        let rewrites = groups.iter().map(|group| group.describe(self.catalog()));
        Ok(CompactionReport { rewrites: rewrites.collect::<Result<_>>()?, damaged: Vec::new() })
    }
}
