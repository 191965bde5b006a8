//! Merging: what other ledgers hold, in one.

mod mark;
mod pages;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Durability;
use crate::ledger::audit::{LEDGER_MERGED, system};
use crate::ledger::catalog::{Catalog, Unreadable};
use crate::ledger::classes::{AUDIT_STREAM, STREAM_KINDS, StreamSet};
use crate::ledger::handle::Ledger;
use crate::ledger::lifecycle::Author;
use crate::ledger::merge::mark::Merged;
use crate::ledger::merge::pages::each;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event, Id, Kind, Origin, Record, Run};
use crate::query::{Cursor, Order, Query};

/// How many records are read, and appended in a batch, at a time, unless those are enough before.
const PAGE: usize = 4096;

/// After how many pages it is on record how far a merge has come: what was added since is looked
/// for when it was broken off.
const PAGES_A_NOTE: u64 = 64;

/// How many reasons are told.
const MOST_REASONS: usize = 100;

/// How many names of runs are kept in memory.
const MOST_NAMES: usize = 1 << 16;

/// What a merge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// States of runs that were added.
    pub runs: u64,
    /// Events that were added.
    pub events: u64,
    /// Errors that were added.
    pub errors: u64,
    /// Runs that have another id here, as theirs was taken by a run of another ledger: their id
    /// there and here.
    pub renamed: Vec<(String, String)>,
    /// Records that were not added: damaged ones, and states of runs that this ledger refuses.
    pub refused: u64,
    /// Of the first hundred of those, why. Besides, segments of the other ledger that cannot be
    /// read: what they hold, and what came after them of its kind, is left to a later merge.
    pub reasons: Vec<String>,
}

/// Segments of the other ledger that cannot be read: of which kind, from which sequence number on,
/// and why. Records of the kind from there on wait, so that all are added in their order once they
/// can be read.
type Waiting = BTreeMap<PathBuf, (Kind, u64, Arc<Error>)>;

/// A merge under way.
struct Merge<'a> {
    into: &'a Ledger,
    /// This ledger's id.
    own: [u8; 16],
    /// The other ledger's id.
    ledger: [u8; 16],
    merged: Merged,
    /// Up to where its records were looked at.
    reached: Merged,
    /// Those above `merged` that are here.
    present: HashSet<u64>,
    /// What runs of the other ledger are called here.
    names: HashMap<Id<'static>, Id<'static>>,
    report: MergeReport,
}

impl Ledger {
    /// Adds the records that another ledger has now and that are not here yet, all states of runs
    /// among them, in their order. Each keeps where it is from ([`Body::origin`]), and is appended
    /// now: its `recorded_at` is of this ledger.
    ///
    /// It can be done again and again, also after a crash in its midst: nothing is added twice, and
    /// nothing that the other ledger has from this one. What it has from a third one counts as its
    /// own: merge that one by itself, or through one other alone. A copy of a ledger counts as that
    /// ledger. When a run's id is taken by a run of this ledger, or of a third one, it is called
    /// `ID@` and the first eight digits of its ledger's id here, and what belongs to it goes with
    /// it. Runs have no owners here: the ledger that they are from looks after them.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the other ledger is this one; [`Error::Damaged`] when a segment of
    /// this one cannot be read, as nobody can tell what of the other is in it; else as for
    /// [`Ledger::append`], and as for [`Query::fetch`] of the other. What was added before an error
    /// stays.
    pub fn merge_from(&self, other: &Reader) -> Result<MergeReport> {
        // One that shows no more from page to page: of streams that are seen further on, what came
        // late with a lower number would be passed by.
        let other = &Reader::with_storage(other.dir(), Arc::clone(&other.catalog().storage))?;
        let identity = |reader: &Reader| {
            let catalog = reader.catalog();
            catalog.layout.identity(&*catalog.storage).map(|identity| identity.uuid)
        };
        let (own, ledger) = (identity(self.reader())?, identity(other)?);
        if ledger == own {
            let name = other.dir().display().to_string();
            return Err(Error::invalid(
                "ledger to merge",
                &name,
                "another one, not a copy of this",
            ));
        }
        // A fork may have the lock as it was taken by a thread that it does not have.
        self.inner.check_process()?;
        let _one_at_a_time = self.inner.merging.lock();
        self.inner.catalog.check_readable(StreamSet::ALL)?;
        let (merged, present) = self.merged_to(ledger)?;
        let mut merge = Merge {
            into: self,
            own,
            ledger,
            reached: merged.clone(),
            merged,
            present,
            names: HashMap::new(),
            report: MergeReport::default(),
        };
        merge.all(other)?;
        if merge.reached != merge.merged {
            self.note_merged(ledger, &merge.reached)?;
        }
        Ok(merge.report)
    }

    /// Up to where the ledger of this id was merged by the last note of that, and which of its
    /// records were added since: a merge was broken off then. A power cut can have taken some of
    /// those and left later ones.
    fn merged_to(&self, ledger: [u8; 16]) -> Result<(Merged, HashSet<u64>)> {
        let notes = self.reader().audit().record_type(LEDGER_MERGED);
        let notes = notes.trace(&Id::from_uuid(ledger).to_string()).order(Order::SeqDescending);
        let Some(stored) = notes.limit(1).fetch()?.get(0) else {
            // So that what is added from here on is found, should this be broken off.
            self.note_merged(ledger, &Merged::default())?;
            return Ok((Merged::default(), HashSet::new()));
        };
        let note = stored.record()?;
        let merged = match &note.body {
            Body::Event(Event { payload: Some(payload), .. }) => payload.to_value::<Merged>()?,
            _ => Merged::default(),
        };
        let mut present = HashSet::new();
        for &kind in Kind::ALL {
            self.added_since(note.seq, kind, ledger, &mut present)?;
        }
        Ok((merged, present))
    }

    /// The numbers that records of this kind from that ledger had there, of those that were added
    /// after `since`.
    fn added_since(
        &self,
        since: u64,
        kind: Kind,
        ledger: [u8; 16],
        present: &mut HashSet<u64>,
    ) -> Result<()> {
        let query = self.query().kind(kind).history(true).order(Order::Seq);
        let mut query = query.after(Cursor::after_seq(since)).limit(PAGE);
        loop {
            let page = query.fetch()?;
            let next = each(&page, |_, record| {
                // What is damaged here is added again.
                let origin = record.ok().and_then(|record| record.body.origin());
                present.extend(origin.filter(|it| it.ledger == ledger).map(|it| it.seq));
                Ok(())
            })?;
            let Some(next) = next else { return Ok(()) };
            query = query.after(next);
        }
    }

    /// Puts on record, for good, up to where the ledger of this id was merged.
    fn note_merged(&self, ledger: [u8; 16], merged: &Merged) -> Result<()> {
        self.sync()?;
        self.inner.check_writable()?;
        let id = Id::from_uuid(ledger);
        let mut note = system(LEDGER_MERGED, merged).message(format!("ledger {id} was merged"));
        note.trace_id = Some(id);
        self.put_on_record(note)
    }
}

impl Merge<'_> {
    /// Adds what is not here yet.
    fn all(&mut self, other: &Reader) -> Result<()> {
        let waiting = self.waiting(other.catalog());
        let mut query: Query = other.query().history(true).order(Order::Seq).limit(PAGE);
        for (path, (_, _, reason)) in &waiting {
            let path = path.display();
            self.note_reason(format!("{path} and what came after it is left out: {reason}"));
        }
        let is_waiting = |record: &Record<'_>| {
            let kind = record.body.kind();
            waiting.values().any(|&(of, first_seq, _)| of == kind && first_seq <= record.seq)
        };
        let mut pages = 0;
        loop {
            let page = query.fetch()?;
            let mut bodies = Vec::with_capacity(page.len());
            let mut seqs = Vec::with_capacity(page.len());
            let next = each(&page, |at, record| {
                match record {
                    Ok(record) if is_waiting(&record) => {}
                    Ok(record) if self.is_here(&record, page.stream(at).unwrap_or_default()) => {}
                    Ok(record) => {
                        let seq = record.seq;
                        match self.renamed(record) {
                            Ok(body) if self.is_overtaken(&body)? => {}
                            Ok(body) => {
                                bodies.push(body);
                                seqs.push(seq);
                            }
                            Err(err @ Error::Invalid { .. }) => self.refuse(seq, &err),
                            Err(err) => return Err(err),
                        }
                    }
                    Err(err @ Error::Damaged { .. }) => {
                        self.report.refused += 1;
                        self.note_reason(err.to_string());
                    }
                    Err(err) => return Err(err),
                }
                Ok(())
            })?;
            self.add(&bodies, &seqs)?;
            pages += 1;
            if pages % PAGES_A_NOTE == 0 {
                self.into.note_merged(self.ledger, &self.reached)?;
            }
            let Some(next) = next else { return Ok(()) };
            query = query.after(next);
        }
    }

    /// The segments that cannot be read, of those that may hold what is not here yet.
    fn waiting(&self, other: &Catalog) -> Waiting {
        let mut waiting = Waiting::new();
        for Unreadable { path, stream, first_seq, reason } in other.unreadable() {
            let Some((name, kind)) = STREAM_KINDS.get(stream) else { continue };
            let firsts = other.stream(stream).into_iter().map(|segment| segment.first_seq());
            let next = firsts.filter(|next| *next > first_seq).min();
            let is_here =
                next.is_some_and(|next| next <= self.merged.of(name, *kind).saturating_add(1));
            if stream != AUDIT_STREAM && !is_here {
                waiting.insert(path, (*kind, first_seq, reason));
            }
        }
        waiting
    }

    /// True when the record was added before, or is from here. It counts as looked at from now on.
    fn is_here(&mut self, record: &Record<'_>, stream: &str) -> bool {
        let (kind, seq) = (record.body.kind(), record.seq);
        self.reached.reach(stream, kind, seq);
        let is_own = record.body.origin().is_some_and(|origin| origin.ledger == self.own);
        if let (true, Body::Run(run)) = (is_own, &record.body) {
            // What was added to the run there belongs to it here.
            self.call(run.run_id.clone().into_owned(), run.run_id.clone().into_owned());
        }
        is_own || seq <= self.merged.of(stream, kind) || self.present.contains(&seq)
    }

    fn add(&mut self, bodies: &[Body<'_>], seqs: &[u64]) -> Result<()> {
        let inner = &self.into.inner;
        let outcomes = inner.append_each_as(Author::Merge, bodies, Durability::Os)?;
        for ((body, seq), outcome) in bodies.iter().zip(seqs).zip(outcomes) {
            match (outcome, body.kind()) {
                (Err(Error::RunTransition { .. }), _) if self.is_known_end(body)? => {}
                // What cannot be read now may be merged when it can.
                (Err(err), _) if err.is_unread() => return Err(err),
                (Err(err), _) => self.refuse(*seq, &err),
                (Ok(_), Kind::Run) => self.report.runs += 1,
                (Ok(_), Kind::Event) => self.report.events += 1,
                (Ok(_), Kind::Error) => self.report.errors += 1,
            }
        }
        Ok(())
    }

    /// True when this is how a run ended that ended here like that, or has begun another attempt
    /// since: the other ledger has carried forward what was merged from it.
    fn is_known_end(&self, body: &Body<'_>) -> Result<bool> {
        let Body::Run(run) = body else { return Ok(false) };
        let Some(here) = self.run_here(&run.run_id)? else { return Ok(false) };
        let end = |run: &Run<'_>| (run.status, run.attempt, run.finished_at);
        let is_known = end(&here) == end(run) || here.attempt > run.attempt;
        Ok(run.status.is_terminal() && is_from_one(&here, run) && is_known)
    }

    /// True when a later state of the run is here. The one before it was here, too, and was left
    /// out as it was overtaken, or taken by a power cut: behind the later one it would be the run.
    fn is_overtaken(&self, body: &Body<'_>) -> Result<bool> {
        let (Body::Run(run), false) = (body, self.present.is_empty()) else { return Ok(false) };
        let number = |run: &Run<'_>| run.origin.map(|origin| origin.seq);
        let here = self.run_here(&run.run_id)?;
        Ok(here.is_some_and(|here| is_from_one(&here, run) && number(&here) > number(run)))
    }

    /// The newest state here of the run of this id.
    fn run_here(&self, id: &Id<'_>) -> Result<Option<Run<'static>>> {
        let stored = match self.into.reader().run(&id.to_string()) {
            Ok(stored) => stored,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(err) => return Err(err),
        };
        Ok(match stored.record()?.body {
            Body::Run(run) => Some(run.into_owned()),
            _ => None,
        })
    }

    fn refuse(&mut self, seq: u64, reason: &Error) {
        self.report.refused += 1;
        self.note_reason(format!("record {seq}: {reason}"));
    }

    fn note_reason(&mut self, reason: String) {
        if self.report.reasons.len() < MOST_REASONS {
            self.report.reasons.push(reason);
        }
    }

    /// The record as it is to be appended here.
    fn renamed<'r>(&mut self, record: Record<'r>) -> Result<Body<'r>> {
        let origin = Some(Origin::new(self.ledger, record.seq));
        Ok(match record.body {
            Body::Run(mut run) => {
                (run.origin, run.owner) = (origin, None);
                run.run_id = self.name(&run.run_id)?;
                run.parent_run_id = run.parent_run_id.map(|id| self.name(&id)).transpose()?;
                Body::Run(run)
            }
            Body::Event(mut event) => {
                event.origin = origin;
                event.run_id = event.run_id.map(|id| self.name(&id)).transpose()?;
                Body::Event(event)
            }
            Body::Error(mut error) => {
                error.origin = origin;
                error.run_id = error.run_id.map(|id| self.name(&id)).transpose()?;
                Body::Error(error)
            }
        })
    }

    /// What a run of the other ledger is called here.
    fn name(&mut self, id: &Id<'_>) -> Result<Id<'static>> {
        if let Some(name) = self.names.get(id) {
            return Ok(name.clone());
        }
        let own = id.clone().into_owned();
        let ledger = Id::from_uuid(self.ledger).to_string();
        let other = Id::new(format!("{id}@{}", ledger.get(..8).unwrap_or(&ledger)));
        let is_renamed = match &other {
            Ok(other) => self.origin_of(other)?.is_some(),
            Err(_) => false,
        };
        let is_taken = |origin: Option<Option<[u8; 16]>>| {
            origin.is_some_and(|origin| origin != Some(self.ledger))
        };
        let name = match is_renamed || is_taken(self.origin_of(&own)?) {
            true => other?,
            false => own.clone(),
        };
        if name != own && !is_renamed {
            self.report.renamed.push((own.to_string(), name.to_string()));
        }
        self.call(own, name.clone());
        Ok(name)
    }

    /// Keeps in mind what a run of the other ledger is called here.
    fn call(&mut self, there: Id<'static>, here: Id<'static>) {
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        self.names.insert(there, here);
    }

    /// The ledger that the run of this id is from, `Some(None)` for this one; `None` when there is
    /// no such run.
    fn origin_of(&self, id: &Id<'_>) -> Result<Option<Option<[u8; 16]>>> {
        Ok(self.run_here(id)?.map(|run| run.origin.map(|origin| origin.ledger)))
    }
}

/// True when both are states from one ledger.
fn is_from_one(here: &Run<'_>, other: &Run<'_>) -> bool {
    let ledger = |run: &Run<'_>| run.origin.map(|origin| origin.ledger);
    ledger(here) == ledger(other)
}
