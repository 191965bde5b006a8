//! States of runs that seem to be the newest although they are not: the state that came between
//! them and a later one is lost, and a state names the one before it and no other.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::audit::{self, HOLE_COVERED, TAIL_CUT};
use crate::ledger::catalog::{Catalog, is_of_one_file};
use crate::ledger::classes::RUN_STREAMS;
use crate::ledger::handle::Inner;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event, Kind, Severity};
use crate::query::Order;

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

    /// The states that later ones name as the ones before them, and that are nowhere; with the
    /// later ones as far as these are known, which they are in segments without a footer.
    fn lost_priors(&self, lost: Lost) -> Result<Vec<(u64, Option<u64>)>> {
        let mut priors = Vec::new();
        for segment in self.in_use().and(RUN_STREAMS).flat_map(|stream| self.stream(stream)) {
            if segment.is_sealed() && lost != Lost::Any {
                continue;
            }
            for (seq, by) in readable(segment.supersedes())?.unwrap_or_default() {
                if readable(self.holds_state(seq))? == Some(false) {
                    priors.push((seq, by));
                }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing. In streams of their own, states come onto stable storage in any order.
    Nothing,
    /// Something that was not synced. What is in a sealed segment was, after all that it follows.
    Unsynced,
    /// What was synced, too.
    Any,
}

impl Lost {
    /// What these notes of an opening tell, and whether there was more that none tells yet.
    pub(super) fn by(notes: &[Event<'_>], is_unsaid: bool) -> Self {
        let is_unsynced = |note: &Event<'_>| [TAIL_CUT, HOLE_COVERED].contains(&&*note.event_type);
        match notes.iter().all(is_unsynced) {
            true if notes.is_empty() && !is_unsaid => Self::Nothing,
            true => Self::Unsynced,
            false => Self::Any,
        }
    }
}

impl Reader {
    /// Marks the states that are on record as overtaken. True when there are any.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub(super) fn mark_noted(&self) -> Result<bool> {
        let mut is_any = false;
        let notes = self.audit().record_type(RUN_OVERTAKEN).limit(usize::MAX - 1).fetch();
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
    pub(super) fn note_overtaken(&self, lost: Lost) -> Result<bool> {
        if lost == Lost::Nothing && !self.catalog.has_several_of_runs() {
            return Ok(false);
        }
        let mut is_noted = false;
        for id in self.runs_without_prior(lost)? {
            let newest = self.reader.query().kind(Kind::Run).run(&id).order(Order::SeqDescending);
            let newest = readable(newest.limit(usize::MAX - 1).fetch())?.unwrap_or_default();
            let mut seqs = newest.seqs();
            let Some(by) = seqs.next() else { continue };
            for seq in seqs {
                self.note(&run_overtaken(seq, by))?;
                self.catalog.mark_in_any_stream(seq, by);
                is_noted = true;
            }
        }
        Ok(is_noted)
    }

    /// The runs of which a state is there, and the one before that is nowhere.
    fn runs_without_prior(&self, lost: Lost) -> Result<BTreeSet<String>> {
        let mut runs = BTreeSet::new();
        let mut unnamed = HashSet::new();
        for (prior, by) in self.catalog.lost_priors(lost)? {
            let Some(by) = by else {
                unnamed.insert(prior);
                continue;
            };
            // One that cannot be read is reported as damage.
            let stored = self.reader.get(by).ok();
            let record = stored.as_ref().and_then(|stored| stored.record().ok());
            if let Some(Body::Run(run)) = record.map(|record| record.body) {
                runs.insert(run.run_id.to_string());
            }
        }
        if unnamed.is_empty() {
            return Ok(runs);
        }
        // A footer tells of the states that are named, and not by which ones.
        let states = self.reader.query().kind(Kind::Run).history(true).order(Order::Seq);
        let mut states = states.limit(PAGE);
        loop {
            let Some(page) = readable(states.fetch())? else { return Ok(runs) };
            for record in page.records().filter_map(Result::ok) {
                let is_without = record.supersedes.is_some_and(|prior| unnamed.contains(&prior));
                if let (true, Body::Run(run)) = (is_without, record.body) {
                    runs.insert(run.run_id.to_string());
                }
            }
            let Some(next) = page.next() else { return Ok(runs) };
            states = states.after(next);
        }
    }
}
