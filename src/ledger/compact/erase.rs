//! Taking all records of a person, a project, a run or a trace out of the ledger.

use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::codec::Decoded;
use crate::ledger::Ledger;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, StreamSet};
use crate::ledger::compact::Rewrite;
use crate::ledger::compact::doomed::{Doomed, Part, if_there};
use crate::ledger::compact::notes;
use crate::ledger::compact::plan::{Group, can_be_rewritten};
use crate::ledger::compact::rewrite::Selection;
use crate::ledger::handle::Inner;
use crate::ledger::leftovers::leftovers;
use crate::ledger::reader::Reader;
use crate::model::{Field, Id, Kind};
use crate::segment::Segment;

/// So often it is looked for what came, or was moved, while the rest was erased.
const MOST_ROUNDS: usize = 16;

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
    /// How many notes of the engine were erased that name those runs: on their pins, and on runs
    /// that were missed after them.
    pub notes: u64,
    /// The segments that were written anew without them.
    pub rewrites: Vec<Rewrite>,
    /// How many files recovery and repair have put aside: copies of damaged bytes in the directory
    /// `lost`, and segments that are none any more, among the others. They are not searched, and
    /// may hold what was erased.
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
    /// does, and removed; so are the notes on [pins](Ledger::pin) of those runs, and on runs that
    /// were [missed](Ledger::expect_run) after them. What was erased is put on record by number,
    /// kind and the BLAKE3 hash of the id, without its content, also when an error comes between.
    ///
    /// The file system gives the blocks of removed files to others in its time and does not
    /// overwrite them; copies of the directory that were made before are not reached. Nor are
    /// records that wait to be appended, in the queue of a [`Recorder`](crate::embed::Recorder) or
    /// in the files that it spills into, which the next one appends: erase when it has stopped, or
    /// erase again.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a segment that holds such records is not whole, or one cannot be
    /// looked into: repair the ledger first. What was erased before stays so, and the next try goes
    /// on, as after each error; [`Error::Io`] when such records are written faster than they are
    /// erased; [`Error::NoSpace`], [`Error::Closed`], [`Error::Poisoned`] or another
    /// [`Error::Io`].
    pub fn erase(&self, erasure: &Erasure) -> Result<ErasureReport> {
        let _is_waited_for = self.inner.begin_job()?;
        let mut report = ErasureReport::default();
        let erased = self.inner.erase(erasure, &mut report);
        let mut noted = Ok(());
        // What was taken before an error is gone, too.
        if erased.is_ok() || !report.rewrites.is_empty() {
            let (field, id) = (erasure.field, &erasure.id);
            let (reason, by) = (erasure.reason.as_deref(), erasure.by.as_deref());
            let note = notes::erased(field, id, report.records, reason, by);
            noted = self.inner.note(&note).and_then(|()| self.inner.sync());
        }
        erased.and(noted)?;
        report.copies = leftovers(&self.inner.catalog)?.len() as u64;
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
        let mut report = ErasureReport::default();
        let mut doomed = Doomed::by(erasure.field, &erasure.id, Part::All);
        doomed.look_for_runs(catalog)?;
        walk(catalog, &doomed, &mut report, &mut |stream, segment, found| {
            let rewrite = Group::of_one(stream, segment)?.describe(catalog)?;
            Ok(Some((found, Rewrite { left_out: found, ..rewrite })))
        })?;
        report.copies = leftovers(catalog)?.len() as u64;
        Ok(report)
    }
}

/// Does something about a segment of a stream that holds so many of the doomed records, and gives
/// how many it was done to; `None` when the segment is no longer there.
type Visit<'v> = dyn FnMut(usize, &Arc<Segment>, u64) -> Result<Option<(u64, Rewrite)>> + 'v;

/// Visits the segments that hold what is to be erased. False when there is none.
fn walk(
    catalog: &Catalog,
    doomed: &Doomed,
    report: &mut ErasureReport,
    visit: &mut Visit<'_>,
) -> Result<bool> {
    catalog.check_readable(StreamSet::ALL.without(AUDIT_STREAM))?;
    let mut is_any = false;
    // The notes behind what they are about, but for the states that tell which runs go.
    let streams = catalog.in_use().without(AUDIT_STREAM);
    let streams = streams.chain(std::iter::once(AUDIT_STREAM));
    for stream in streams.filter(|&stream| doomed.part.has_any_of(stream)) {
        for segment in catalog.stream(stream) {
            let found = doomed.count_in(&segment, stream);
            let Some(found) = if_there(catalog, stream, &segment, found)? else {
                is_any = true;
                continue;
            };
            if found == 0 {
                continue;
            }
            is_any = true;
            let Some((erased, rewrite)) = visit(stream, &segment, found)? else { continue };
            report.rewrites.push(rewrite);
            let [runs, events, errors] = &mut report.records;
            *match segment.kind() {
                _ if stream == AUDIT_STREAM => &mut report.notes,
                Kind::Run => runs,
                Kind::Event => events,
                Kind::Error => errors,
            } += erased;
        }
    }
    Ok(is_any)
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
    /// Erases what there is, also of what comes or is moved meanwhile: retention carries open runs
    /// forward, and a compaction writes segments anew.
    fn erase(&self, erasure: &Erasure, report: &mut ErasureReport) -> Result<()> {
        self.seal_all(StreamSet::ALL.without(AUDIT_STREAM))?;
        let mut doomed = Doomed::by(erasure.field, &erasure.id, Part::First);
        for _ in 0..MOST_ROUNDS {
            let mut is_done = doomed.look_for_runs(&self.catalog)?;
            // What tells which runs go is the last to go: an erasure that broke off is gone on with
            // by it.
            for part in [Part::First, Part::Last] {
                doomed.part = part;
                if is_done {
                    is_done = !walk(&self.catalog, &doomed, report, &mut |stream, segment, _| {
                        self.erase_in(stream, segment, &doomed)
                    })?;
                }
            }
            if is_done {
                return Ok(());
            }
        }
        let cause = "such records are still being written; stop what writes them, and erase again";
        let busy = std::io::Error::new(std::io::ErrorKind::ResourceBusy, cause);
        Err(Error::io("erase all records of one id in", self.catalog.layout.dir(), busy))
    }

    /// Writes a segment anew without the doomed records, and gives how many they were; `None` when
    /// it is no longer there.
    fn erase_in(
        &self,
        stream: usize,
        segment: &Arc<Segment>,
        doomed: &Doomed,
    ) -> Result<Option<(u64, Rewrite)>> {
        if !segment.is_sealed() {
            self.seal_all(StreamSet::of_one(stream))?;
        }
        if !can_be_rewritten(segment) {
            let damaged = Err(Error::damaged(segment.path(), 0, Damage::Footer));
            return if_there(&self.catalog, stream, segment, damaged);
        }
        let group = Group::of_one(stream, segment);
        let Some(group) = if_there(&self.catalog, stream, segment, group)? else {
            return Ok(None);
        };
        let mut erasing = Erasing { doomed, stream, erased: 0 };
        let rewrite = self.rewrite(&group, &mut erasing, &mut |_| self.check_writable())?;
        Ok(rewrite.map(|rewrite| (erasing.erased, rewrite)))
    }

    /// Ends and seals all segments of these streams that hold anything.
    pub(super) fn seal_all(&self, streams: StreamSet) -> Result<()> {
        // A close has to wait for it, as for the end of a clean-up, and nothing is dropped here.
        let _one_at_a_time = self.begin_cleaning()?;
        self.sync()?;
        let now = self.sequence.peek();
        for (number, stream) in streams.filter_map(|it| Some((it, self.streams.get(it)?))) {
            let mut active = stream.lock();
            if active.segment.as_ref().is_some_and(|segment| !segment.is_empty())
                && let Some(full) = active.retire()
            {
                self.maintenance.note_full(number, full);
            }
        }
        self.seal_and_note()?;
        self.check_poisoned()?;
        match self.maintenance.change_full(|full| full.has_before(now, streams)) {
            false => Ok(()),
            true => {
                let full = std::io::ErrorKind::StorageFull.into();
                Err(Error::io("seal the segments of", self.catalog.layout.dir(), full))
            }
        }
    }
}
