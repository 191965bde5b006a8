//! Which segments are worth being written anew, and which of them together.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, Class, STREAM_KINDS};
use crate::ledger::clock::is_set_back;
use crate::ledger::compact::expiry::Expiry;
use crate::ledger::compact::fold::Fold;
use crate::ledger::compact::weed::Weeding;
use crate::ledger::compact::{Compaction, Rewrite};
use crate::ledger::options::Options;
use crate::ledger::policy::{Retention, Term, rolls};
use crate::ledger::reader::Reader;
use crate::model::{Kind, nanos};
use crate::segment::{Name, Overview, Segment};

/// A segment that is packed already is written anew alone when one of so many of its records is a
/// state of a run whose place was taken.
const STALE_OF: u64 = 4;

/// Neighbours.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) stream: usize,
    pub(super) segments: Vec<Arc<Segment>>,
    records: u64,
    /// How many of those are states of runs whose place was taken.
    stale: u64,
    /// How many of them have expired, though the segments stay, as far as they were counted.
    expired: u64,
    bytes: u64,
    /// When the first and the last record arrived.
    arrived: Option<(i64, i64)>,
}

impl Group {
    fn new(stream: usize) -> Self {
        Self { stream, ..Self::default() }
    }

    /// One segment by itself, of whose records none counts as stale.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub(super) fn of_one(stream: usize, segment: &Arc<Segment>) -> Result<Self> {
        let mut group = Self::new(stream);
        group.push(Arc::clone(segment), &segment.overview()?, false);
        Ok(group)
    }

    /// Adds a segment; with `folds`, overtaken states of runs count as stale.
    fn push(&mut self, segment: Arc<Segment>, overview: &Overview, folds: bool) {
        let (first, last) = overview.summary.recorded;
        self.arrived = Some(match self.arrived {
            None => (first, last),
            Some((min, max)) => (min.min(first), max.max(last)),
        });
        self.bytes += u64::from(segment.end());
        self.records += u64::from(overview.rows);
        self.stale += if folds { stale(&segment) } else { 0 };
        self.segments.push(segment);
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.segments.iter().map(|segment| segment.name()).collect()
    }

    /// What a rewrite of them is about.
    ///
    /// # Errors
    /// When their directory cannot be listed.
    pub(super) fn describe(&self, catalog: &Catalog) -> Result<Rewrite> {
        let mut bytes = 0;
        if let Some((name, _)) = STREAM_KINDS.get(self.stream) {
            let entries = catalog.storage.list(&catalog.layout.stream(name))?;
            let is_of = |file: &str| self.segments.iter().any(|it| it.path().ends_with(file));
            let of_group = entries.iter().filter(|entry| is_of(&entry.name));
            bytes = of_group.map(|entry| entry.allocated).sum();
        }
        Ok(Rewrite {
            from: self.segments.iter().map(|it| audit::segment_name(it)).collect(),
            to: None,
            records: self.records,
            left_out: self.stale + self.expired,
            bytes,
            bytes_after: None,
        })
    }

    /// True when another segment can be merged with these: the whole is no larger than a segment
    /// is to be, and its records arrived within `span`, so that none waits long for another one to
    /// expire, and in their order, so that none expires with one that came before it.
    fn has_room(&self, segment: &Segment, overview: &Overview, most: u64, span: Duration) -> bool {
        let Some((min, max)) = self.arrived else { return true };
        let (first, last) = overview.summary.recorded;
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.bytes + u64::from(segment.end()) <= most
            && min.min(first).abs_diff(max.max(last)) <= span
            && !is_set_back(max, first)
    }

    /// True when none of the segments that cannot be read, which begin with these sequence numbers,
    /// lies between these and another one.
    fn is_next_to(&self, segment: &Segment, unreadable: &[u64]) -> bool {
        let Some(last) = self.segments.last() else { return true };
        let between = last.first_seq()..segment.first_seq();
        !unreadable.iter().any(|first_seq| between.contains(first_seq))
    }

    fn is_worth_it(&self, catalog: &Catalog) -> Result<bool> {
        if self.segments.len() > 1
            || self.segments.iter().any(|segment| !segment.header().packed)
            || self.expired > 0
        {
            return Ok(true);
        }
        let least = self.records.div_ceil(STALE_OF).max(1);
        match self.segments.first() {
            // Those that cannot go yet would have it written anew in each round, for nothing.
            Some(segment) if self.stale >= least => {
                match Fold::new(catalog).count_in(segment, least) {
                    // The rewrite names it.
                    Err(Error::Damaged { .. }) => Ok(true),
                    count => Ok(count? >= least),
                }
            }
            _ => Ok(false),
        }
    }
}

/// How many records of a sealed segment are states of runs whose place was taken.
fn stale(segment: &Segment) -> u64 {
    if segment.kind() != Kind::Run {
        return 0;
    }
    let here = segment
        .trailer()
        .map_or(0, |trailer| trailer.tags.superseded.iter().map(|&count| u64::from(count)).sum());
    here + segment.superseded().len() as u64
}

/// The groups of neighbours that this compaction is to write anew, the oldest of each stream first.
/// What has expired in a segment is counted for a guess, and else only looked for.
///
/// # Errors
/// When a segment cannot be read.
pub(super) fn plan(
    reader: &Reader,
    compaction: &Compaction,
    options: &Options,
    retention: &Retention,
    expiry: Option<&Expiry>,
    is_guess: bool,
) -> Result<Vec<Group>> {
    let catalog = reader.catalog();
    let before = catalog.storage.now().saturating_sub(nanos(compaction.older_than));
    let rolls = rolls(retention, options.segment_bytes);
    let mut groups = Vec::new();
    for stream in catalog.in_use().without(AUDIT_STREAM) {
        let (Some(class), Some(roll)) = (Class::at(stream), rolls.get(stream)) else { continue };
        if compaction.kind.is_some_and(|wanted| wanted != class.kind()) {
            continue;
        }
        let most = u64::from(roll.bytes);
        let span = merged_span(options, retention, class);
        let unreadable = catalog.unreadable_of(stream);
        let mut group = Group::new(stream);
        for segment in catalog.stream(stream) {
            let overview = segment.overview()?;
            let is_due = overview.summary.recorded.1 <= before || compaction.older_than.is_zero();
            if !can_be_rewritten(&segment) || !is_due {
                groups.push(std::mem::replace(&mut group, Group::new(stream)));
                continue;
            }
            if !group.has_room(&segment, &overview, most, span)
                || !group.is_next_to(&segment, &unreadable)
            {
                groups.push(std::mem::replace(&mut group, Group::new(stream)));
            }
            group.expired += match is_guess {
                true => Weeding::guessing(reader, expiry).count_in(&segment, u64::MAX)?,
                false => Weeding::new(reader, false, expiry).count_in(&segment, 1)?,
            };
            group.push(segment, &overview, !compaction.keeps_states);
        }
        groups.push(group);
    }
    let worth = groups.into_iter().map(|group| Ok(group.is_worth_it(catalog)?.then_some(group)));
    worth.filter_map(Result::transpose).collect()
}

/// How long the records of a merged segment may have taken to arrive: a small part of what they are
/// kept for.
fn merged_span(options: &Options, retention: &Retention, class: Class) -> Duration {
    let kept = retention.limits(class).term.and_then(Term::duration);
    kept.map_or(Duration::MAX, |kept| (kept / 16).max(options.segment_age))
}

/// True for a segment that is sealed and of which no damage is known.
pub(super) fn can_be_rewritten(segment: &Segment) -> bool {
    segment.is_sealed() && !segment.is_damaged()
}
