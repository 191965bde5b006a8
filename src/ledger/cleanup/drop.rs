//! Doing what was planned: carrying open runs forward, and dropping the files.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::seqfile::Head;
use crate::format::trailer::Trailer;
use crate::ledger::Durability;
use crate::ledger::audit::{self, SEGMENT_DROPPED};
use crate::ledger::catalog::Catalog;
use crate::ledger::chain::named_by_the_next;
use crate::ledger::classes::{StreamSet, stream_code};
use crate::ledger::cleanup::plan::{Candidate, allocated, open_runs, plan};
use crate::ledger::cleanup::supersede::keep_what_supersedes;
use crate::ledger::cleanup::{Cleanup, CleanupReport, Keep, Unread};
use crate::ledger::handle::Inner;
use crate::ledger::history::Sums;
use crate::ledger::leftovers::going;
use crate::ledger::lifecycle::Author;
use crate::ledger::part::OnReject;
use crate::ledger::policy::Retention;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event, Record, Run};
use crate::planted::{Bug, is_planted};
use crate::segment::{OpenState, Pinned, Segment};
use crate::sync::MutexGuard;

/// So often a clean-up looks whether the cap on the disk is met. What is appended meanwhile is for
/// the next one.
const MOST_ROUNDS: usize = 16;

impl Inner {
    /// The right to end and to drop segments: one at a time, and none when a close has begun.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`], or [`Error::Locked`] in a fork.
    pub(in crate::ledger) fn begin_cleaning(&self) -> Result<MutexGuard<'_, ()>> {
        // A fork may have the lock as it was taken by a thread that it does not have.
        self.check_process()?;
        let cleaning = self.cleaning.lock();
        self.check_open()?;
        Ok(cleaning)
    }

    /// Drops what goes by `now`. With a cap on the disk it is done again until that is met, as
    /// carrying runs forward and taking notes needs space itself. A segment that cannot be read is
    /// noted, and kept.
    pub(in crate::ledger) fn clean(
        &self,
        _one_at_a_time: &MutexGuard<'_, ()>,
        cleanup: &Cleanup,
        now: i64,
        unread: &mut Unread,
    ) -> Result<CleanupReport> {
        let mut report = CleanupReport::default();
        let before = allocated(&self.catalog, self.catalog.layout.dir())?;
        let retention = self.policy.current();
        if cleanup.older_than.is_none() {
            report.copies = self.remove_copies(&going(&self.catalog, &retention, now)?)?;
        }
        let mut rounds = 0;
        while rounds < MOST_ROUNDS {
            let dropped = report.dropped().count();
            report.segments.retain(|plan| plan.dropped_for.is_some());
            match self.clean_once(cleanup, &retention, now, unread, &mut report) {
                // What was done is done; the rest is looked at anew.
                Err(err) if self.check_poisoned().is_ok() => unread.note(&self.catalog, err)?,
                cleaned => {
                    cleaned?;
                    rounds += 1;
                    if report.dropped().count() == dropped || retention.cap().is_none() {
                        break;
                    }
                }
            }
        }
        report.segments.sort_by_key(|plan| (plan.stream, plan.seqs));
        let after = allocated(&self.catalog, self.catalog.layout.dir())?;
        report.freed_bytes = before.saturating_sub(after);
        Ok(report)
    }

    fn clean_once(
        &self,
        cleanup: &Cleanup,
        retention: &Retention,
        now: i64,
        unread: &mut Unread,
        report: &mut CleanupReport,
    ) -> Result<()> {
        let (mut easy, mut hard) = (Vec::new(), Vec::new());
        let mut candidates = plan(&self.reader, cleanup, retention, now, unread)?;
        while self.keep_what_was_appended_to(&mut candidates) {
            // Later states of runs in what stays now were to go along with it.
            keep_what_supersedes(&self.catalog, &mut candidates, &self.reader.pins()?)?;
        }
        for candidate in candidates {
            if candidate.plan.dropped_for.is_none() {
                report.segments.push(candidate.plan);
                continue;
            }
            let runs = open_runs(&candidate.segment)?;
            if runs.is_empty() && candidate.results.is_empty() {
                easy.push(candidate)
            } else {
                hard.push((candidate, runs))
            }
        }
        // What needs no carrying goes first, so that a full disk has room for what does; but not
        // before what it supersedes, which would be the newest again for as long as it is there.
        while let Some(at) = waits_for_any(&easy, &hard)? {
            hard.push((easy.remove(at), Vec::new()));
        }
        self.drop_segments(easy, report)?;
        hard.sort_by_key(|(candidate, _)| candidate.segment.first_seq());
        let mut streams = StreamSet::NONE;
        hard.iter().for_each(|(candidate, _)| streams.insert(candidate.stream));
        // Segments of one stream supersede earlier ones alone; those of several, one another.
        let together = if streams.len() > 1 { hard.len() } else { 1 };
        while !hard.is_empty() {
            let group: Vec<_> = hard.drain(..together.min(hard.len())).collect();
            for (candidate, runs) in &group {
                report.carried += self.carry_forward(&candidate.segment, runs)?;
                report.results += self.carry_results(&candidate.segment, &candidate.results)?;
            }
            self.drop_segments(group.into_iter().map(|(it, _)| it).collect(), report)?;
        }
        Ok(())
    }

    /// Ends the segments that are to go, and keeps those to which something was appended since they
    /// were looked at. True when there were any.
    fn keep_what_was_appended_to(&self, candidates: &mut [Candidate]) -> bool {
        let going = candidates.iter_mut().filter(|it| it.plan.dropped_for.is_some());
        let late = going.filter(|candidate| !self.retire(candidate));
        late.map(|candidate| candidate.keep(Keep::Appended)).count() > 0
    }

    /// Ends the segment, if it is the one that is written. False when something was appended to it
    /// since it was looked at: then it has to be looked at anew.
    fn retire(&self, candidate: &Candidate) -> bool {
        let Some(stream) = self.streams.get(candidate.stream) else { return false };
        let mut active = stream.lock();
        if candidate.segment.end() != candidate.overview.end {
            return false;
        }
        if active.segment.as_ref().is_some_and(|s| Arc::ptr_eq(s, &candidate.segment))
            && let Some(segment) = active.retire()
        {
            // Should the dropping fail, it is still to be sealed.
            self.maintenance.note_full(candidate.stream, segment);
        }
        true
    }

    /// Appends the newest states of open runs anew, and syncs them.
    fn carry_forward(&self, segment: &Arc<Segment>, runs: &[OpenState]) -> Result<u64> {
        let pinned = Pinned::new(segment)?;
        let mut carried = 0;
        for &OpenState { seq, frame, offset } in runs {
            let body = match pinned.record_at(frame, seq, offset) {
                Ok(record) => record.body,
                // What cannot be read cannot be carried, and must not keep the others for ever.
                Err(err @ Error::Damaged { .. }) => {
                    let what = "the newest of a run that is still open";
                    self.note(&audit::lost_run(segment, seq, what, &err))?;
                    continue;
                }
                Err(err) => return Err(err),
            };
            let Body::Run(run) = body else { continue };
            // Only what makes it the run's next state: all else is taken from its newest record,
            // which may have come since this one was looked at. A run that ended since, or is at
            // another attempt, needs no carrying: that lies elsewhere.
            let mut next = Run::with_id(run.run_id, run.run_type, run.status);
            (next.attempt, next.origin) = (run.attempt, run.origin);
            let next = [Body::Run(next)];
            let carry = self.append_as(Author::Engine, &next, Durability::Os, OnReject::FailAll);
            match carry.map_err(Error::from) {
                Ok(_) => carried += 1,
                Err(Error::RunTransition { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        self.sync()?;
        Ok(carried)
    }

    /// Drops segments: first the notes, on stable storage, then the files, then the directory. A
    /// file that comes back after a crash is found by its note and removed again.
    fn drop_segments(&self, candidates: Vec<Candidate>, report: &mut CleanupReport) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let mut touched = StreamSet::NONE;
        candidates.iter().for_each(|candidate| touched.insert(candidate.stream));
        // One that was sealed after its note was made would have a hash that the note does not
        // tell, and that the next segment names.
        let _none_is_sealed = self.maintenance.hold(touched);
        let notes = candidates.iter().map(|it| dropped_note(&self.catalog, it));
        let notes: Vec<_> = notes.collect::<Result<_>>()?;
        let (notes, late) = match is_planted(Bug::RemoveBeforeTheNote) {
            true => (Vec::new(), notes),
            false => (notes, Vec::new()),
        };
        // Together: where segments hold later states of each other's runs, the next opening after a
        // crash would remove those that are noted, and an earlier state would be the newest again.
        self.note_all(notes)?;
        self.sync()?;
        // A segment that the file `SEQ` tells of would be missed.
        for candidate in &candidates {
            self.forget_head(candidate.stream, &candidate.segment)?;
        }
        let mut removed = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            self.maintenance.forget(&candidate.segment);
            self.catalog.forget(candidate.stream, candidate.segment.first_seq());
            // After the notes, it counts as gone: a file that cannot be removed is removed by the
            // next opening, which must not follow a clean close.
            let gone = self.options.storage.remove(candidate.segment.path());
            gone.inspect_err(|err| self.poison(err))?;
            report.segments.push(candidate.plan);
            removed.push(candidate.segment);
        }
        for stream in touched.of(&self.streams) {
            // The names of segments that were made may hang on this sync, too.
            if !is_planted(Bug::SkipDirectorySyncAfterRemove) {
                let synced = self.options.storage.sync_dir(&stream.dir);
                synced.inspect_err(|err| self.poison(err))?;
            }
        }
        if !late.is_empty() {
            self.note_all(late)?;
        }
        self.maintenance.let_go(removed);
        let is_owed = !self.owed_notes.lock().is_empty();
        self.write_owed_notes()?;
        // The files are gone for good, and so the word of them has to be there.
        if is_owed { self.sync() } else { Ok(()) }
    }

    /// Has the file `SEQ` tell nothing of a segment that goes.
    fn forget_head(&self, stream: usize, segment: &Segment) -> Result<()> {
        let is_its = |head: &Head| {
            head.stream == stream_code(stream) && head.first_seq == segment.first_seq()
        };
        let noted = self.sequence.note_heads(|heads| heads.retain(|head| !is_its(head)));
        noted.inspect_err(|err| self.poison_by_sequence(err))
    }

    /// Removes again the files of dropped segments that a crash brought back.
    pub(in crate::ledger) fn remove_what_came_back(&self) -> Result<()> {
        let dropped = dropped(&self.reader)?;
        if dropped.is_empty() {
            return Ok(());
        }
        let mut is_synced = false;
        for (number, stream) in self.streams.iter().enumerate() {
            for segment in self.catalog.stream(number) {
                if dropped.contains(&audit::segment_name(&segment)) {
                    if !std::mem::replace(&mut is_synced, true) {
                        // Whoever noted it may have died before the sync: the note, and what has
                        // taken the place of states in it, may be nowhere but in the kernel.
                        self.sync()?;
                    }
                    let mut active = stream.lock();
                    if active.segment.as_ref().is_some_and(|s| Arc::ptr_eq(s, &segment)) {
                        active.retire();
                    }
                    drop(active);
                    self.forget_head(number, &segment)?;
                    self.maintenance.forget(&segment);
                    self.catalog.forget(number, segment.first_seq());
                    self.options.storage.remove(segment.path())?;
                    self.options.storage.sync_dir(&stream.dir)?;
                }
            }
        }
        Ok(())
    }
}

/// The paths of the segments that were dropped, by the notes of that.
///
/// # Errors
/// When the notes cannot be read.
pub(in crate::ledger) fn dropped(reader: &Reader) -> Result<HashSet<String>> {
    let notes = reader.audit().record_type(SEGMENT_DROPPED);
    let page = notes.limit(usize::MAX).fetch()?;
    // A note that is damaged tells nothing; it must not keep the ledger from opening.
    let trace = |note: Record<'_>| Some(note.body.trace_id()?.to_string());
    Ok(page.records().filter_map(Result::ok).filter_map(trace).collect())
}

/// The place of a candidate that holds later states of runs than one of those that are dropped
/// after it.
fn waits_for_any(
    candidates: &[Candidate],
    later: &[(Candidate, Vec<OpenState>)],
) -> Result<Option<usize>> {
    let ranges: Vec<_> = later.iter().filter_map(|(other, _)| other.plan.seqs).collect();
    for (at, candidate) in candidates.iter().enumerate() {
        if candidate.supersedes_any_of(&ranges)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[derive(serde::Serialize)]
struct DroppedDetail {
    first_seq: u64,
    last_seq: Option<u64>,
    records: u64,
    bytes: u64,
    hash: Option<String>,
    previous: Option<String>,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollup: Option<Sums>,
}

/// The note on a segment that goes, with what outlives it: its sums.
fn dropped_note(catalog: &Catalog, candidate: &Candidate) -> Result<Event<'static>> {
    // Behind a damaged footer the trailer may be whole, and the next segment names its link.
    let (stream, segment) = (candidate.stream, &candidate.segment);
    let trailer = segment.was_sealed_with()?;
    let link = trailer.as_ref().map(Trailer::link);
    let link = link.or_else(|| named_by_the_next(catalog, stream, segment.first_seq()));
    // Records go by their term, also where nobody can sum them up.
    let (rollup, unread) = Sums::of_segment(segment)?;
    let detail = DroppedDetail {
        first_seq: segment.first_seq(),
        last_seq: candidate.overview.last_seq,
        records: candidate.plan.records,
        bytes: candidate.plan.bytes,
        hash: link.map(audit::hex),
        previous: trailer.map(|trailer| audit::hex(trailer.previous)),
        reason: candidate.plan.dropped_for.clone(),
        rollup,
    };
    let reason = candidate.plan.dropped_for.as_deref().unwrap_or_default();
    let unsummed = unread.map(|err| format!("; its records are in no sum: {err}"));
    let unsummed = unsummed.unwrap_or_default();
    let note = audit::note(SEGMENT_DROPPED, segment, &detail);
    Ok(note.message(format!("{} dropped: {reason}{unsummed}", candidate.plan.segment)))
}
