//! States of runs that seem to be the newest although they are not: a power cut took the state that
//! came between them and a later one, each in a stream of its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::RUN_STREAMS;
use crate::ledger::handle::Inner;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event, Kind, Severity};
use crate::query::Order;

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

    /// The later states of runs, in segments without a footer, of which the state before is
    /// nowhere. What lies in a sealed segment was synced after all that it follows.
    fn without_prior(&self) -> Result<Vec<u64>> {
        let mut without = Vec::new();
        let is_open = |stream| self.stream(stream).into_iter().filter(|it| !it.is_sealed());
        for segment in self.in_use().and(RUN_STREAMS).flat_map(is_open) {
            for (seq, by) in segment.supersedes()? {
                if !self.holds(seq)? {
                    without.extend(by);
                }
            }
        }
        Ok(without)
    }
}

impl Reader {
    /// Marks the states that are on record as overtaken. True when there are any.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub(super) fn mark_noted(&self) -> Result<bool> {
        if !self.catalog().has_several_of_runs() {
            return Ok(false);
        }
        let mut is_any = false;
        let notes = self.audit().record_type(RUN_OVERTAKEN).limit(usize::MAX - 1).fetch()?;
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
    /// Finds the states that a crash has left as the newest beside later ones, and puts on record
    /// that they are not. True when there were any.
    ///
    /// # Errors
    /// As for a note, or when a segment cannot be read.
    pub(super) fn note_overtaken(&self) -> Result<bool> {
        if !self.catalog.has_several_of_runs() {
            return Ok(false);
        }
        let mut runs = BTreeSet::new();
        for seq in self.catalog.without_prior()? {
            // One that cannot be read is reported as damage.
            let stored = self.reader.get(seq).ok();
            let record = stored.as_ref().and_then(|stored| stored.record().ok());
            if let Some(Body::Run(run)) = record.map(|record| record.body) {
                runs.insert(run.run_id.to_string());
            }
        }
        let mut is_noted = false;
        for id in runs {
            let newest = self.reader.query().kind(Kind::Run).run(&id).order(Order::SeqDescending);
            let mut seqs = newest.limit(usize::MAX - 1).fetch()?.seqs().collect::<Vec<_>>();
            let Some(by) = seqs.first().copied() else { continue };
            for seq in seqs.drain(1..) {
                self.note(&run_overtaken(seq, by))?;
                self.catalog.mark_in_any_stream(seq, by);
                is_noted = true;
            }
        }
        Ok(is_noted)
    }
}
