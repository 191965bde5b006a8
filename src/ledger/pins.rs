//! Runs that are held past retention. Which ones, the ledger's own notes say, which are kept for
//! ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::key;
use crate::ledger::classes::{AUDIT_STREAM, StreamSet};
use crate::ledger::handle::Ledger;
use crate::ledger::reader::Reader;
use crate::model::{ActorType, Body, Event, Field, FieldSet, Id, Severity, Timestamp};
use crate::query::{Order, confirm};
use crate::segment::{Pinned, Segment};

/// The type of the note on a run that is held past retention.
const RUN_PINNED: &str = "run.pinned";
/// The type of the note on a run that is no longer held.
const RUN_UNPINNED: &str = "run.unpinned";

/// A run that is held past retention, with its events and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// Which run.
    pub run_id: Id<'static>,
    /// Why, in the words of who pinned it.
    pub reason: String,
    /// When.
    pub pinned_at: Timestamp,
    /// The sequence number of the note that says so.
    pub seq: u64,
}

impl Reader {
    /// The runs that are pinned, by their ids. A note that is damaged tells of none:
    /// [`verify`](crate::verify) names it.
    ///
    /// # Errors
    /// [`Error::Io`] when a segment of the notes cannot be read, and [`Error::Damaged`] when it had
    /// to be left out for that: a pin may lie in it.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let notes = self.audit().record_type(RUN_PINNED).record_type(RUN_UNPINNED);
        let page = notes.order(Order::Seq).limit(usize::MAX).fetch()?;
        self.catalog().check_readable(StreamSet::of_one(AUDIT_STREAM))?;
        let mut pins = BTreeMap::new();
        for note in page.records().filter_map(Result::ok) {
            let seq = note.seq;
            let Body::Event(event) = note.body else { continue };
            let Some(id) = event.run_id.as_ref().map(ToString::to_string) else { continue };
            match &*event.event_type {
                RUN_PINNED => drop(pins.insert(id, pin(event, seq))),
                _ => drop(pins.remove(&id)),
            }
        }
        Ok(pins.into_values().flatten().collect())
    }
}

/// True for a note on a pin: it names a run, and why that is held.
pub(super) fn is_note_on_pin(body: &Body<'_>) -> bool {
    matches!(body, Body::Event(note) if [RUN_PINNED, RUN_UNPINNED].contains(&&*note.event_type))
}

fn note(kind: &'static str, run_id: Id<'static>, reason: &str) -> Event<'static> {
    let event = Event::new(kind).severity(Severity::Info).message(reason.to_owned());
    event.run_id(run_id).actor_type(ActorType::User)
}

fn pin(event: Event<'_>, seq: u64) -> Option<Pin> {
    let reason = event.message.map(|text| text.into_owned()).unwrap_or_default();
    let (run_id, pinned_at) = (event.run_id?.into_owned(), event.created_at?);
    Some(Pin { run_id, reason, pinned_at, seq })
}

impl Ledger {
    /// Holds a run past retention, clean-up and caps, with its events and errors: the segments that
    /// hold any of them are kept, whole. A run that is pinned already gets the new reason. Returns
    /// once that is on stable storage.
    ///
    /// ```
    /// use runledger::{Ledger, Run, Status};
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// ledger.append(Run::new("r1", "backup", Status::Failed)?)?;
    /// ledger.pin("r1", "evidence for the incident of November")?;
    /// assert_eq!(ledger.reader().pins()?.len(), 1);
    /// ledger.unpin("r1", "the incident is closed")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such run, [`Error::Invalid`] for an id that is none or
    /// a reason that is empty, [`Error::NoSpace`] when the disk is full; else as for
    /// [`Ledger::append`].
    pub fn pin(&self, run_id: &str, reason: &str) -> Result<()> {
        let id = Id::new(run_id.to_owned())?;
        if reason.trim().is_empty() {
            return Err(Error::invalid("reason", reason, "a text that says why the run is held"));
        }
        // A clean-up that has begun may be dropping the run this moment.
        let _one_at_a_time = self.inner.begin_cleaning()?;
        self.reader().run(run_id)?;
        self.put_on_record(note(RUN_PINNED, id, reason))
    }

    /// Lets go of a run that was pinned: what is due of it goes with the next clean-up.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not pinned; else as for [`Ledger::append`].
    pub fn unpin(&self, run_id: &str, reason: &str) -> Result<()> {
        let _one_at_a_time = self.inner.begin_cleaning()?;
        let pins = self.reader().pins()?;
        let pin = pins.into_iter().find(|pin| pin.run_id.to_string() == run_id);
        let pin = pin.ok_or_else(|| Error::NotFound { what: "pin of run", id: run_id.into() })?;
        self.put_on_record(note(RUN_UNPINNED, pin.run_id, reason))
    }
}

/// True when a record of this run lies in the segment.
pub(super) fn holds_run(segment: &Arc<Segment>, run_id: &Id<'_>) -> Result<bool> {
    let key = key::id_key(run_id);
    let pinned = Pinned::new(segment)?;
    segment.with_rows(FieldSet::NONE.with(Field::Run), |table| {
        let code = table.find(Field::Run, key.as_slice());
        code.is_some_and(|code| confirm(&pinned, table, Field::Run, code, key.as_slice()))
    })
}
