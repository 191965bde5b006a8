//! States of runs that seem to be the newest although they are not: the state that came between
//! them and a later one is lost, and a state names the one before it and no other.

use std::collections::HashSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::audit::{self, HOLE_COVERED, SEGMENT_MISSING, TAIL_CUT};
use crate::ledger::catalog::{Catalog, is_of_one_file};
use crate::ledger::classes::{AUDIT_STREAM, RUN_STREAMS, STREAM_KINDS};
use crate::ledger::handle::Inner;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event, Id, Kind, Severity};
use crate::query::{Cursor, Order};
use crate::segment::{Name, Segment};

/// How many states are looked at at a time.
const PAGE: usize = 4096;

/// The type of the note on a state of a run that a later one has overtaken, without naming it.
const RUN_OVERTAKEN: &str = "run.overtaken";

#[derive(Serialize, Deserialize)]
struct Overtaken {
    seq: u64,
    by: u64,
}

/// The note on a state of a run that is not the newest, although none that is there supersedes it.
fn run_overtaken(seq: u64, by: u64) -> Event<'static> {
    let message = format!("record {seq} is not the newest of its run: record {by} is");
    audit::system(RUN_OVERTAKEN, &Overtaken { seq, by })
        .severity(Severity::Warning)
        .message(message)
}

/// Which record a note calls overtaken, and by which one.
fn overtaken(note: &Body<'_>) -> Option<(u64, u64)> {
    let Body::Event(Event { payload: Some(payload), .. }) = note else { return None };
    payload.to_value::<Overtaken>().ok().map(|it| (it.seq, it.by))
}

impl Catalog {
    /// True when the states of a run may lie in several streams.
    fn has_several_of_runs(&self) -> bool {
        self.in_use().and(RUN_STREAMS).len() > 1
    }

    /// Marks a record of a run as overtaken, in whichever stream it lies.
    fn mark_in_any_stream(&self, seq: u64, by: u64) {
        RUN_STREAMS.for_each(|stream| self.mark_superseded(stream, seq, by));
    }

    /// The states that later ones in this segment name as the ones before them, and that are lost;
    /// with the later ones as far as these are known, which they are without a footer.
    ///
    /// A state that is nowhere was mostly left out by a compaction, and nothing before it is there.
    fn lost_priors(&self, segment: &Segment, lost: &Lost) -> Result<Vec<(u64, Option<u64>)>> {
        let is_sealed = segment.is_sealed();
        if is_sealed && !matches!(lost, Lost::Synced(_)) {
            return Ok(Vec::new());
        }
        let mut priors = Vec::new();
        for (seq, by) in readable(segment.supersedes())?.unwrap_or_default() {
            let may_be_lost = !is_sealed || lost.takes(seq);
            if may_be_lost && readable(self.holds_state(seq))? == Some(false) {
                priors.push((seq, by));
            }
        }
        Ok(priors)
    }
}

/// Nothing when a segment cannot be read: `verify` names it, and it keeps no ledger from opening.
fn readable<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(err) if is_of_one_file(&err) => Ok(None),
        found => found.map(Some),
    }
}

/// What is lost of the ledger, as far as an opening knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing. In streams of their own, states come onto stable storage in any order.
    Nothing,
    /// Something that was not synced. What is in a sealed segment was, after all that it follows.
    Unsynced,
    /// What was synced, too, of these sequence numbers.
    Synced(Vec<Range<u64>>),
}

impl Lost {
    /// What these notes of an opening tell, and whether there was more that none tells yet.
    pub(super) fn by(catalog: &Catalog, notes: &[Event<'_>], is_unsaid: bool) -> Self {
        let is_synced = |note: &&Event<'_>| ![TAIL_CUT, HOLE_COVERED].contains(&&*note.event_type);
        let ranges = notes.iter().filter(is_synced).filter_map(|note| lost_range(catalog, note));
        let ranges: Vec<_> = ranges.collect();
        match ranges.is_empty() {
            false => Self::Synced(ranges),
            true if notes.is_empty() && !is_unsaid => Self::Nothing,
            true => Self::Unsynced,
        }
    }

    fn takes(&self, seq: u64) -> bool {
        matches!(self, Self::Synced(ranges) if ranges.iter().any(|range| range.contains(&seq)))
    }
}

/// The numbers of the states that may be lost with the segment that a note is about; `None` when it
/// is none of runs.
fn lost_range(catalog: &Catalog, note: &Event<'_>) -> Option<Range<u64>> {
    let name = note.trace_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let (stream, file) = name.split_once('/').unwrap_or_default();
    let stream = STREAM_KINDS.iter().position(|(name, _)| *name == stream);
    let (Some(stream), Some(name)) = (stream, Name::parse(file)) else { return Some(0..u64::MAX) };
    if stream == AUDIT_STREAM {
        // It may have told of any state that it is overtaken.
        return Some(0..u64::MAX);
    }
    if !RUN_STREAMS.contains(stream) {
        return None;
    }
    let starts: Vec<_> = catalog.stream(stream).iter().map(|it| it.first_seq()).collect();
    let (before, behind) = starts.split_at(starts.partition_point(|&it| it < name.first_seq));
    let previous = before.last().copied().unwrap_or(0);
    if note.event_type == SEGMENT_MISSING {
        // The one before it may have been another, too.
        return Some(previous..name.first_seq);
    }
    let next = behind.iter().find(|&&it| it > name.first_seq).copied().unwrap_or(u64::MAX);
    // With one that is gone those before it may be, of which nothing tells but the next one.
    Some(if starts.contains(&name.first_seq) { name.first_seq } else { previous }..next)
}

impl Reader {
    /// Marks the states that are on record as overtaken. True when there are any.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub(super) fn mark_noted(&self) -> Result<bool> {
        let mut is_any = false;
        let notes = self.audit().record_type(RUN_OVERTAKEN).limit(usize::MAX).fetch();
        let notes = readable(notes)?.unwrap_or_default();
        for note in notes.records().filter_map(Result::ok) {
            if let Some((seq, by)) = overtaken(&note.body) {
                self.catalog().mark_in_any_stream(seq, by);
                is_any = true;
            }
        }
        Ok(is_any)
    }
}

impl Inner {
    /// Finds the states that were left as the newest beside later ones, and puts on record that
    /// they are not. True when there were any.
    ///
    /// # Errors
    /// As for a note, or when a segment cannot be read.
    pub(super) fn note_overtaken(&self, lost: &Lost) -> Result<bool> {
        if *lost == Lost::Nothing && !self.catalog.has_several_of_runs() {
            return Ok(false);
        }
        let mut is_noted = false;
        for stream in self.catalog.in_use().and(RUN_STREAMS) {
            for segment in self.catalog.stream(stream) {
                is_noted |= self.note_overtaken_before(&segment, lost)?;
            }
        }
        Ok(is_noted)
    }

    /// The same for the runs of which a state is in this segment, and the one before it is lost.
    fn note_overtaken_before(&self, segment: &Segment, lost: &Lost) -> Result<bool> {
        let mut is_noted = false;
        let mut unnamed = HashSet::new();
        for (prior, by) in self.catalog.lost_priors(segment, lost)? {
            let Some(by) = by else {
                unnamed.insert(prior);
                continue;
            };
            // One that cannot be read is reported as damage.
            let stored = self.reader.get(by).ok();
            let record = stored.as_ref().and_then(|stored| stored.record().ok());
            if let Some(Body::Run(run)) = record.map(|record| record.body) {
                is_noted |= self.note_overtaken_of(&run.run_id)?;
            }
        }
        if unnamed.is_empty() {
            return Ok(is_noted);
        }
        // A footer tells of the states that are named, and not by which ones.
        let states = self.reader.query().kind(Kind::Run).history(true).order(Order::Seq);
        let states = states.up_to(Cursor::after_seq(segment.last_seq())).limit(PAGE);
        let mut at = Some(Cursor::after_seq(segment.first_seq().saturating_sub(1)));
        while let Some(cursor) = at {
            let Some(page) = readable(states.clone().after(cursor).fetch())? else { break };
            for record in page.records().filter_map(Result::ok) {
                let is_without = record.supersedes.is_some_and(|prior| unnamed.contains(&prior));
                if let (true, Body::Run(run)) = (is_without, record.body) {
                    is_noted |= self.note_overtaken_of(&run.run_id)?;
                }
            }
            at = page.next();
        }
        Ok(is_noted)
    }

    /// The same for one run.
    fn note_overtaken_of(&self, run: &Id<'_>) -> Result<bool> {
        let states = self.reader.query().kind(Kind::Run).run(&run.to_string());
        let newest = states.order(Order::SeqDescending).limit(usize::MAX).fetch();
        let newest = readable(newest)?.unwrap_or_default();
        let mut seqs = newest.seqs();
        let Some(by) = seqs.next() else { return Ok(false) };
        let mut is_noted = false;
        for seq in seqs {
            self.note(&run_overtaken(seq, by))?;
            self.catalog.mark_in_any_stream(seq, by);
            is_noted = true;
        }
        Ok(is_noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::SEGMENT_REPAIRED;
    use crate::ledger::classes::RUNS;
    use crate::ledger::{Compaction, Options};
    use crate::model::{Run, Status};

    /// After a loss of one segment each run was looked at of which a compaction had left out the
    /// first state, which is nearly every one: minutes, and a list of all of them in memory.
    #[test]
    fn what_a_compaction_has_left_out_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().background(false).segment_bytes(64 << 10);
        let ledger = options.open(dir.path()).unwrap();
        for status in [Status::Pending, Status::Running, Status::Success] {
            for run in 0..2000 {
                ledger.append(Run::new(format!("run-{run}"), "t", status).unwrap()).unwrap();
            }
        }
        ledger.compact(&Compaction::new()).unwrap();
        let catalog = &ledger.inner.catalog;
        let last = || catalog.stream(RUNS).last().unwrap().first_seq();
        let (before, mut other) = (last(), 0);
        while last() == before {
            let run = Run::new(format!("other-{other}"), "t", Status::Running).unwrap();
            ledger.append(run).unwrap();
            other += 1;
        }
        let segments = catalog.stream(RUNS);
        let priors = |note: Event<'static>| -> usize {
            let lost = Lost::by(catalog, &[note], false);
            segments.iter().map(|it| catalog.lost_priors(it, &lost).unwrap().len()).sum()
        };
        let repaired = |segment: &Segment| audit::note(SEGMENT_REPAIRED, segment, &());
        assert_eq!(priors(repaired(segments.last().unwrap())), 0);
        let of_no_segment = audit::system(SEGMENT_REPAIRED, &());
        assert!(priors(of_no_segment) > 1000, "none is left out");
    }
}
