//! Which states of runs can be left out, as later ones have taken their place.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::index::SUPERSEDED;
use crate::ledger::catalog::Catalog;
use crate::model::FieldSet;
use crate::segment::{Near, Pinned, Segment};

/// What is left out so far.
///
/// A state whose place was taken keeps the one before it from being taken for the newest, for a
/// state names the one before it and no other. So it is left out only when that one is gone: a
/// run's states go from the oldest on.
#[derive(Debug)]
pub(super) struct Fold<'a> {
    catalog: &'a Catalog,
    gone: HashSet<u64>,
    /// The states of the segment at hand whose place was taken.
    stale: HashSet<u64>,
}

impl<'a> Fold<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, gone: HashSet::new(), stale: HashSet::new() }
    }

    /// Turns to the next segment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn begin(&mut self, segment: &Arc<Segment>) -> Result<()> {
        self.stale = segment.with_rows(FieldSet::NONE, |table| {
            let rows = (0..table.rows()).filter(|&row| table.tag(row) & SUPERSEDED != 0);
            rows.map(|row| table.seq(row)).collect()
        })?;
        self.stale.extend(segment.superseded());
        Ok(())
    }

    /// True when the place of this state of the segment at hand was taken.
    pub(super) fn is_stale(&self, seq: u64) -> bool {
        self.stale.contains(&seq)
    }

    /// True when nothing comes back once this state, which took the place of the one with the
    /// number `prior`, is left out. It then counts as gone.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(super) fn may_go(&mut self, seq: u64, prior: Option<u64>) -> Result<bool> {
        let is_first = match prior {
            None => true,
            Some(prior) => self.gone.contains(&prior) || !self.catalog.may_hold_state(prior)?,
        };
        if is_first {
            self.gone.insert(seq);
        }
        Ok(is_first)
    }

    /// How many states of this segment can be left out, counted up to `most`: those whose place was
    /// taken, and that no earlier one needs.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(super) fn count_in(&mut self, segment: &Arc<Segment>, most: u64) -> Result<u64> {
        self.begin(segment)?;
        let places: Vec<_> = segment.with_rows(FieldSet::NONE, |table| {
            let rows = (0..table.rows()).map(|position| table.seq_row(position));
            let rows = rows.filter(|&row| self.stale.contains(&table.seq(row)));
            rows.map(|row| (table.seq(row), table.offset(row))).collect()
        })?;
        let mut pinned = Pinned::new(segment)?;
        let (mut near, mut count) = (Near::default(), 0);
        for (seq, offset) in places {
            pinned.let_go();
            let prior = pinned.record_near(&mut near, seq, offset)?.supersedes;
            count += u64::from(self.may_go(seq, prior)?);
            if count >= most {
                break;
            }
        }
        Ok(count)
    }
}
