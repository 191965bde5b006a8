//! Which records an erasure takes.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::Result;
use crate::format::key;
use crate::ledger::audit::RUN_MISSED;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, RUN_STREAMS};
use crate::ledger::lifecycle::last_before_miss;
use crate::ledger::pins::is_note_on_pin;
use crate::model::{Body, Field, FieldSet, Id};
use crate::segment::{Pinned, Segment};

/// Which of the doomed records go in one walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// All but the states of runs that carry the id.
    First,
    /// Those states.
    Last,
}

impl Part {
    pub(super) fn has_any_of(self, stream: usize) -> bool {
        self != Self::Last || RUN_STREAMS.contains(stream)
    }
}

/// Which records go.
pub(super) struct Doomed {
    field: Field,
    key: Vec<u8>,
    /// The keys of the runs that carry the id.
    runs: HashSet<Vec<u8>>,
    pub(super) part: Part,
}

impl Doomed {
    pub(super) fn by(field: Field, id: &Id<'_>, part: Part) -> Self {
        let key = id_key(id);
        let own = (field == Field::Run).then(|| key.clone());
        Self { field, key, runs: own.into_iter().collect(), part }
    }

    /// Finds out which runs carry the id, in any of their states. Those that were found before stay
    /// doomed. False when a segment was gone before it was read.
    pub(super) fn look_for_runs(&mut self, catalog: &Catalog) -> Result<bool> {
        let mut is_all = true;
        let (field, key, runs) = (self.field, &self.key, &mut self.runs);
        for stream in catalog.in_use().and(RUN_STREAMS) {
            for segment in catalog.stream(stream) {
                let read = for_each_with(&segment, field, key, &mut |_, body| {
                    if has_key(body, &mut |of, bytes| of == field && bytes == key) {
                        runs.extend(body.run_id().map(id_key));
                    }
                });
                is_all &= if_there(catalog, stream, &segment, read)?.is_some();
            }
        }
        Ok(is_all)
    }

    /// True when this record of a stream goes. Of the engine's own notes only those do that name a
    /// run.
    pub(super) fn holds(&self, body: &Body<'_>, stream: usize) -> bool {
        let (mut is_named, mut is_of_run) = (false, false);
        key::keys_of(body, |field, bytes| {
            is_named |= field == self.field && bytes == self.key;
            is_of_run |= field == Field::Run && self.runs.contains(bytes);
        });
        if stream == AUDIT_STREAM {
            let is_of_run = match last_before_miss(body) {
                Some(last) => self.runs.contains(&id_key(&last)),
                None => is_of_run && is_note_on_pin(body),
            };
            return is_of_run && self.part != Part::Last;
        }
        let is_run = RUN_STREAMS.contains(stream);
        // A run that came since it was looked for them stays, for what belongs to it goes before.
        let goes = is_of_run || is_named && !is_run;
        goes && match self.part {
            Part::All => true,
            Part::First => !(is_named && is_run),
            Part::Last => is_named && is_run,
        }
    }

    /// How many records of this segment go.
    pub(super) fn count_in(&self, segment: &Arc<Segment>, stream: usize) -> Result<u64> {
        let mut seqs = HashSet::new();
        let own = [(self.field, &*self.key)];
        let of_runs = self.runs.iter().map(|key| (Field::Run, &**key));
        // Only what these notes say names the run.
        let missed = (stream == AUDIT_STREAM).then_some((Field::Type, RUN_MISSED.as_bytes()));
        for (field, key) in own.into_iter().chain(of_runs).chain(missed) {
            for_each_with(segment, field, key, &mut |seq, body| {
                if self.holds(body, stream) {
                    seqs.insert(seq);
                }
            })?;
        }
        Ok(seqs.len() as u64)
    }
}

/// What was read of a segment; `None` when that failed as the segment was dropped, or written anew,
/// since the list of its stream was made.
pub(super) fn if_there<T>(
    catalog: &Catalog,
    stream: usize,
    segment: &Arc<Segment>,
    read: Result<T>,
) -> Result<Option<T>> {
    match read {
        Err(_) if !is_listed(catalog, stream, segment) => Ok(None),
        read => read.map(Some),
    }
}

fn is_listed(catalog: &Catalog, stream: usize, segment: &Arc<Segment>) -> bool {
    catalog.list(stream).segments().any(|it| Arc::ptr_eq(it, segment))
}

fn id_key(id: &Id<'_>) -> Vec<u8> {
    key::id_key(id).as_slice().to_vec()
}

/// Visits the records of a segment that have a key, or one with the same hash, in a field.
fn for_each_with(
    segment: &Arc<Segment>,
    field: Field,
    key: &[u8],
    visit: &mut dyn FnMut(u64, &Body<'_>),
) -> Result<()> {
    let places = segment.with_rows(FieldSet::NONE.with(field), |table| {
        let mut places = Vec::new();
        if let Some(code) = table.find(field, key) {
            table.for_each_posting(field, code, &mut |row| {
                places.push((table.seq(row), table.offset(row)));
                ControlFlow::Continue(())
            });
        }
        places
    })?;
    let mut pinned = Pinned::new(segment)?;
    for (seq, offset) in places {
        pinned.let_go();
        visit(seq, &pinned.record(seq, offset)?.body);
    }
    Ok(())
}

/// True when one of the record's keys is one of these.
fn has_key(body: &Body<'_>, is_one: &mut dyn FnMut(Field, &[u8]) -> bool) -> bool {
    let mut found = false;
    key::keys_of(body, |field, bytes| found |= is_one(field, bytes));
    found
}
