//! What a rewrite leaves out of the segments that stay: overtaken states of runs, and records that
//! have expired.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::codec::Decoded;
use crate::format::rollup::Rollup;
use crate::ledger::classes::{RUN_STREAMS, StreamSet};
use crate::ledger::compact::expiry::Expiry;
use crate::ledger::compact::fold::Fold;
use crate::ledger::compact::notes;
use crate::ledger::compact::plan::Group;
use crate::ledger::compact::rewrite::Selection;
use crate::ledger::handle::Inner;
use crate::ledger::reader::Reader;
use crate::model::{Body, Status};
use crate::segment::{Near, Pinned, Segment, Tally};

/// Leaves out of one rewrite what is overtaken, and what has expired.
pub(in crate::ledger) struct Weeding<'a> {
    reader: &'a Reader,
    fold: Fold<'a>,
    /// True when overtaken states are left out.
    folds: bool,
    expiry: Option<&'a Expiry>,
    segment: Option<Arc<Segment>>,
    expired: u64,
    /// What of each segment has expired, in sum.
    sums: Vec<Tally>,
    /// True when it is taken that every earlier state of a run can go, too.
    guesses: bool,
}

/// What has expired in segments that stay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expired {
    pub(super) records: u64,
    pub(super) segments: u64,
}

impl Expired {
    /// Adds so many records of one more segment.
    pub(super) fn add(&mut self, records: u64) {
        self.records += records;
        self.segments += u64::from(records > 0);
    }
}

impl<'a> Weeding<'a> {
    pub(super) fn new(reader: &'a Reader, folds: bool, expiry: Option<&'a Expiry>) -> Self {
        let fold = Fold::new(reader.catalog());
        let (segment, expired, sums) = (None, 0, Vec::new());
        Self { reader, fold, folds, expiry, segment, expired, sums, guesses: false }
    }

    /// What only counts, of many segments, and takes it that all that has expired will go.
    pub(in crate::ledger) fn guessing(reader: &'a Reader, expiry: Option<&'a Expiry>) -> Self {
        Self { guesses: true, ..Self::new(reader, false, expiry) }
    }

    /// How many records were left out as they have expired.
    pub(super) const fn expired(&self) -> u64 {
        self.expired
    }

    fn has_expired(&mut self, seq: u64, body: &Body<'_>) -> Result<bool> {
        let (Some(expiry), Some(segment)) = (self.expiry, &self.segment) else {
            return Ok(false);
        };
        match body {
            Body::Run(run) if self.fold.is_stale(seq) => {
                expiry.takes_state_of(self.reader.catalog(), &run.run_id)
            }
            Body::Run(run) => {
                let at_end = (run.status, run.newest_time());
                Ok(expiry.takes_run(segment, seq, &run.run_id, at_end))
            }
            Body::Event(_) | Body::Error(_) => Ok(expiry.takes_other(segment, body)),
        }
    }

    /// True when this record is left out.
    fn leaves_out(&mut self, seq: u64, prior: Option<u64>, body: &Body<'_>) -> Result<bool> {
        let is_stale = self.folds && self.fold.is_stale(seq);
        let goes = is_stale || self.has_expired(seq, body)?;
        let is_bound = matches!(body, Body::Run(_)) && !self.guesses;
        if !goes || is_bound && !self.fold.may_go(seq, prior)? {
            return Ok(false);
        }
        self.expired += u64::from(!is_stale);
        Ok(true)
    }

    /// How many records of this segment have expired and can be left out, counted up to `most`.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub(in crate::ledger) fn count_in(&mut self, segment: &Arc<Segment>, most: u64) -> Result<u64> {
        let Some(expiry) = self.expiry else { return Ok(0) };
        let suspects = expiry.suspects(segment)?;
        if suspects.is_empty() {
            return Ok(0);
        }
        self.begin(segment)?;
        let mut pinned = Pinned::new(segment)?;
        let (mut near, before) = (Near::default(), self.expired);
        for (seq, offset) in suspects {
            pinned.let_go();
            let record = pinned.record_near(&mut near, seq, offset)?;
            self.leaves_out(seq, record.supersedes, &record.body)?;
            if self.expired - before >= most {
                break;
            }
        }
        Ok(self.expired - before)
    }
}

impl Selection for Weeding<'_> {
    fn begin(&mut self, segment: &Arc<Segment>) -> Result<()> {
        self.segment = Some(Arc::clone(segment));
        self.sums.push(Tally::default());
        self.fold.begin(segment)
    }

    fn keeps(&mut self, seq: u64, record: &Decoded<'_>) -> Result<bool> {
        let goes = self.leaves_out(seq, record.prior.resolve(seq), &record.body)?;
        // A run counts once: where its newest state is.
        if goes && !self.fold.is_stale(seq) {
            self.sums.last_mut().into_iter().for_each(|sums| sums.count(seq, &record.body));
        }
        Ok(!goes)
    }

    fn still_holds(&mut self) -> Result<bool> {
        self.expiry.map_or(Ok(true), |expiry| expiry.knows_all_pins(self.reader))
    }

    fn sums(&mut self) -> Vec<Rollup> {
        std::mem::take(&mut self.sums).into_iter().map(Tally::finish).collect()
    }
}

/// How many records were taken out of segments that stay, by the stream and the first sequence
/// number of each.
pub(in crate::ledger) type Taken = BTreeMap<(usize, u64), u64>;

impl Inner {
    /// Takes the runs in this status, whose own times all lie before `before`, out of all segments.
    ///
    /// A run's states go from the oldest on, or an earlier one would be the newest again. Where
    /// they lie in several streams by turns, that takes more than one rewrite of a segment.
    ///
    /// # Errors
    /// As for a compaction. Segments that are not whole stay as they are.
    pub(in crate::ledger) fn weed(&self, status: Status, before: i64) -> Result<Taken> {
        let mut taken = Taken::new();
        loop {
            let expiry = Expiry::of_status(&self.reader, status, before)?;
            let done = taken.values().sum::<u64>();
            for stream in self.catalog.in_use().and(RUN_STREAMS) {
                let segments = self.catalog.stream(stream);
                for segment in segments.into_iter().filter(|it| !it.is_damaged()) {
                    let mut looking = Weeding::new(&self.reader, false, Some(&expiry));
                    if looking.count_in(&segment, 1)? > 0 {
                        self.weed_segment(stream, &segment, &expiry, &mut taken)?;
                    }
                }
            }
            if taken.values().sum::<u64>() == done {
                break;
            }
        }
        let expired =
            Expired { records: taken.values().sum::<u64>(), segments: taken.len() as u64 };
        if expired.records > 0 {
            self.note(&notes::expired(&format!("a clean-up of runs {status}"), expired))?;
            self.sync()?;
        }
        Ok(taken)
    }

    fn weed_segment(
        &self,
        stream: usize,
        segment: &Arc<Segment>,
        expiry: &Expiry,
        taken: &mut Taken,
    ) -> Result<()> {
        if !segment.is_sealed() {
            self.seal_all(StreamSet::of_one(stream))?;
        }
        let mut weeding = Weeding::new(&self.reader, false, Some(expiry));
        let group = Group::of_one(stream, segment)?;
        match self.rewrite(&group, &mut weeding, &mut |_| self.check_writable()) {
            Ok(Some(_)) => {
                let records = taken.entry((stream, segment.first_seq())).or_default();
                *records += weeding.expired();
                Ok(())
            }
            // What is damaged stays as it is, and is for `verify` to say.
            Ok(None) | Err(Error::Damaged { .. }) => Ok(()),
            Err(err) => Err(err),
        }
    }
}
