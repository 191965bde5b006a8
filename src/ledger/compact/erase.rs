//! Taking all records of a person, a project, a run or a trace out of the ledger.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::codec::Decoded;
use crate::format::key;
use crate::index::Table;
use crate::ledger::Ledger;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, StreamSet};
use crate::ledger::compact::Rewrite;
use crate::ledger::compact::notes;
use crate::ledger::compact::plan::{Group, can_be_rewritten};
use crate::ledger::compact::rewrite::Selection;
use crate::ledger::handle::Inner;
use crate::ledger::pins::is_note_on_pin;
use crate::ledger::reader::Reader;
use crate::model::{Body, Field, FieldSet, Id, Kind};
use crate::segment::{Pinned, Segment, TableRef};

/// What is to be erased: the records that carry this id, and all that belongs to the runs that do,
/// their earlier states, events and errors included.
///
/// ```
/// use runledger::{Erasure, Field, Id};
/// let erasure = Erasure::of(Field::User, Id::new("u-17")?)?.reason("request 2026-114").by("ops");
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is erased until a ledger erases by it"]
pub struct Erasure {
    field: Field,
    id: Id<'static>,
    reason: Option<String>,
    by: Option<String>,
}

/// What an erasure did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasureReport {
    /// How many runs, events and errors were erased, in all of their records: of a run each state
    /// counts.
    pub records: [u64; 3],
    /// How many notes of the engine on pins of those runs were erased, which name them.
    pub notes: u64,
    /// The segments that were written anew without them.
    pub rewrites: Vec<Rewrite>,
    /// How many copies of damaged bytes lie in the directory `lost`. They are not searched, and may
    /// hold what was erased.
    pub copies: u64,
}

impl ErasureReport {
    /// How many records were erased, of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.iter().sum()
    }
}

impl Erasure {
    /// Of all that carries this id in this field: [`Field::User`], [`Field::Project`],
    /// [`Field::Run`] or [`Field::Trace`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for another field.
    pub fn of(field: Field, id: Id<'_>) -> Result<Self> {
        match field {
            Field::User | Field::Project | Field::Run | Field::Trace => {
                Ok(Self { field, id: id.into_owned(), reason: None, by: None })
            }
            _ => Err(Error::invalid("field", &field.to_string(), "user, project, run or trace")),
        }
    }

    /// Why, to be put on record.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// At whose request, to be put on record.
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.by = Some(by.into());
        self
    }
}

impl Ledger {
    /// Erases records: each segment that holds one is written anew without it, as a compaction
    /// does, and removed; so are the notes on [pins](Ledger::pin) of those runs. What was erased is
    /// put on record by number, kind and the BLAKE3 hash of the id, without its content.
    ///
    /// The file system gives the blocks of removed files to others in its time and does not
    /// overwrite them; copies of the directory that were made before are not reached.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a segment that holds such records is not whole, or one cannot be
    /// looked into: repair the ledger first. What was erased before stays so, and the next try goes
    /// on; [`Error::NoSpace`], [`Error::Closed`], [`Error::Poisoned`] or [`Error::Io`].
    pub fn erase(&self, erasure: &Erasure) -> Result<ErasureReport> {
        self.inner.check_writable()?;
        self.inner.seal_all(StreamSet::ALL.without(AUDIT_STREAM))?;
        let mut report = walk(&self.inner.catalog, erasure, &mut |group, doomed, _| {
            self.inner.erase_in(group, doomed)
        })?;
        report.copies = copies(&self.inner.catalog)?;
        let (field, id) = (erasure.field, &erasure.id);
        let (reason, by) = (erasure.reason.as_deref(), erasure.by.as_deref());
        self.inner.note(&notes::erased(field, id, report.records, reason, by))?;
        self.inner.sync()?;
        Ok(report)
    }
}

impl Reader {
    /// What an erasure would do, without doing it.
    ///
    /// # Errors
    /// As for [`Ledger::erase`].
    pub fn plan_erasure(&self, erasure: &Erasure) -> Result<ErasureReport> {
        let catalog = self.catalog();
        let mut report = walk(catalog, erasure, &mut |group, _, found| {
            let rewrite = group.describe(catalog)?;
            Ok((found, Some(Rewrite { left_out: found, ..rewrite })))
        })?;
        report.copies = copies(catalog)?;
        Ok(report)
    }
}

/// Does something about a segment that holds so many of the doomed records, and gives how many it
/// was done to.
type Visit<'v> = dyn FnMut(&Group, &Doomed, u64) -> Result<(u64, Option<Rewrite>)> + 'v;

/// Visits the segments that hold what is to be erased.
fn walk(catalog: &Catalog, erasure: &Erasure, visit: &mut Visit<'_>) -> Result<ErasureReport> {
    if let Some(unreadable) = catalog.unreadable().iter().find(|it| it.stream != AUDIT_STREAM) {
        return Err(Error::damaged(&unreadable.path, 0, Damage::Unreadable));
    }
    let doomed = Doomed::find(catalog, erasure)?;
    let mut report = ErasureReport::default();
    // The notes last: what was pinned is so until it is gone.
    let streams = catalog.in_use().without(AUDIT_STREAM);
    for stream in streams.chain(std::iter::once(AUDIT_STREAM)) {
        for segment in catalog.stream(stream) {
            let found = doomed.count_in(&segment, stream)?;
            if found == 0 {
                continue;
            }
            let mut group = Group::new(stream);
            group.push(Arc::clone(&segment), &segment.overview()?, false);
            let (erased, rewrite) = visit(&group, &doomed, found)?;
            report.rewrites.extend(rewrite);
            let [runs, events, errors] = &mut report.records;
            *match segment.kind() {
                _ if stream == AUDIT_STREAM => &mut report.notes,
                Kind::Run => runs,
                Kind::Event => events,
                Kind::Error => errors,
            } += erased;
        }
    }
    Ok(report)
}

/// How many files lie in the directory for what was lost.
fn copies(catalog: &Catalog) -> Result<u64> {
    let lost = catalog.layout.lost();
    match catalog.storage.exists(&lost)? {
        true => Ok(catalog.storage.list(&lost)?.len() as u64),
        false => Ok(0),
    }
}

/// Which records go.
struct Doomed {
    field: Field,
    key: Vec<u8>,
    /// The keys of the runs that carry the id.
    runs: HashSet<Vec<u8>>,
}

/// Keeps all but those.
struct Erasing<'a> {
    doomed: &'a Doomed,
    stream: usize,
    erased: u64,
}

impl Selection for Erasing<'_> {
    fn keeps(&mut self, _: u64, record: &Decoded<'_>) -> Result<bool> {
        let goes = self.doomed.holds(&record.body, self.stream);
        self.erased += u64::from(goes);
        Ok(!goes)
    }
}

impl Inner {
    /// Writes a segment anew without the doomed records, and gives how many they were.
    fn erase_in(&self, group: &Group, doomed: &Doomed) -> Result<(u64, Option<Rewrite>)> {
        if group.stream == AUDIT_STREAM && group.segments.iter().any(|it| !it.is_sealed()) {
            self.seal_all(StreamSet::of_one(AUDIT_STREAM))?;
        }
        if let Some(damaged) = group.segments.iter().find(|it| !can_be_rewritten(it)) {
            return Err(Error::damaged(damaged.path(), 0, Damage::Footer));
        }
        let mut erasing = Erasing { doomed, stream: group.stream, erased: 0 };
        let rewrite = self.rewrite(group, &mut erasing, &mut |_| self.check_writable())?;
        Ok((erasing.erased, rewrite))
    }

    /// Ends and seals all segments of these streams that hold anything.
    pub(super) fn seal_all(&self, streams: StreamSet) -> Result<()> {
        self.sync()?;
        for (number, stream) in streams.filter_map(|it| Some((it, self.streams.get(it)?))) {
            let mut active = stream.lock();
            if active.segment.as_ref().is_some_and(|segment| !segment.is_empty())
                && let Some(full) = active.retire()
            {
                self.maintenance.note_full(number, full);
            }
        }
        self.seal_full();
        self.check_poisoned()?;
        match self.maintenance.is_sealed_up() {
            true => Ok(()),
            false => {
                let full = std::io::ErrorKind::StorageFull.into();
                Err(Error::io("seal the segments of", self.catalog.layout.dir(), full))
            }
        }
    }
}

impl Doomed {
    /// Finds out which runs carry the id, in any of their states.
    fn find(catalog: &Catalog, erasure: &Erasure) -> Result<Self> {
        let id_key = |id: &Id<'_>| key::id_key(id).as_slice().to_vec();
        let (field, key) = (erasure.field, id_key(&erasure.id));
        let mut runs = HashSet::new();
        let segments = catalog.in_use().without(AUDIT_STREAM);
        let segments = segments.flat_map(|stream| catalog.stream(stream));
        for segment in segments.filter(|it| it.kind() == Kind::Run && field != Field::Run) {
            for_each_with(&segment, field, &key, &mut |_, body| {
                if has_key(body, &mut |of, bytes| of == field && bytes == key) {
                    runs.extend(body.run_id().map(id_key));
                }
            })?;
        }
        Ok(Self { field, key, runs })
    }

    /// True when this record of a stream goes. Of the engine's own notes only those on pins do.
    fn holds(&self, body: &Body<'_>, stream: usize) -> bool {
        (stream != AUDIT_STREAM || is_note_on_pin(body))
            && has_key(body, &mut |field, bytes| {
                field == self.field && bytes == self.key
                    || field == Field::Run && self.runs.contains(bytes)
            })
    }

    /// How many records of this segment go.
    fn count_in(&self, segment: &Arc<Segment>, stream: usize) -> Result<u64> {
        let mut seqs = HashSet::new();
        let own = [(self.field, &self.key)];
        let of_runs = self.runs.iter().map(|key| (Field::Run, key));
        for (field, key) in own.into_iter().chain(of_runs) {
            for_each_with(segment, field, key, &mut |seq, body| {
                if self.holds(body, stream) {
                    seqs.insert(seq);
                }
            })?;
        }
        Ok(seqs.len() as u64)
    }
}

/// Visits the records of a segment that have a key, or one with the same hash, in a field.
fn for_each_with(
    segment: &Arc<Segment>,
    field: Field,
    key: &[u8],
    visit: &mut dyn FnMut(u64, &Body<'_>),
) -> Result<()> {
    fn places<T: Table>(table: &T, field: Field, key: &[u8]) -> Vec<(u64, u32)> {
        let mut places = Vec::new();
        if let Some(code) = table.find(field, key) {
            table.for_each_posting(field, code, &mut |row| {
                places.push((table.seq(row), table.offset(row)));
                ControlFlow::Continue(())
            });
        }
        places
    }
    let places = segment.with_table(FieldSet::NONE.with(field), |table| match table {
        TableRef::Memory(table) => places(table, field, key),
        TableRef::Sealed(table) => places(table, field, key),
    })?;
    let pinned = Pinned::new(segment)?;
    for (seq, offset) in places {
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
