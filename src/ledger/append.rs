//! From records to a frame in each stream that they belong to.

use std::cell::RefCell;

use hashbrown::HashTable;

use crate::error::{Damage, Error, Result};
use crate::format::codec::{self, Prior};
use crate::format::frame::{FRAME_HEADER_BYTES, payload_crc};
use crate::format::key;
use crate::ledger::catalog::Catalog;
use crate::ledger::layout::{STREAM_KINDS, stream_of};
use crate::ledger::runs::{Newest, merge, newest};
use crate::limits::{MAX_BATCH_RECORDS, MAX_FRAME_PAYLOAD};
use crate::model::{Body, Fingerprint, Id, Kind, Run, Status, Timestamp};
use crate::segment::NewState;

/// Buffers that grew beyond this are given back after use.
const KEEP_BYTES: usize = 4 << 20;

/// The frames of one batch, encoded but for what is known only under the lock. Reused by its
/// thread, so that an append allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) parts: [Part; STREAM_KINDS.len()],
    /// How many sequence numbers the batch takes.
    pub(super) records: u32,
    /// The newest states of runs, when the batch has several: their numbers among its states.
    newest: HashTable<usize>,
    /// A copy of such a state: the bytes that it stands in move while the next one is encoded.
    state: Vec<u8>,
    /// What an error's fingerprint is made from.
    text: Vec<u8>,
    /// True when a record was refused only because its frame has no room for more.
    is_full: bool,
    /// True when it may have the space that is held back for a full disk.
    pub(super) is_urgent: bool,
    /// True when runs in it may be given as abandoned.
    pub(super) may_abandon: bool,
}

/// The frame of one stream.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Room for the header, then the payload.
    pub(super) bytes: Vec<u8>,
    /// How many records the payload holds.
    pub(super) count: u32,
    /// The states of runs among them.
    pub(super) states: Vec<NewState>,
    /// The place in the batch of its first record, and of the last one so far.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) payload_crc: u32,
}

/// What was encoded.
#[derive(Debug)]
pub(super) struct Encoded {
    /// In the place of each record that was left out, why; it may end before the records do.
    pub(super) rejected: Vec<Option<Error>>,
    /// How many of the records were looked at.
    pub(super) taken: usize,
}

/// What becomes of a batch with a record that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnReject {
    /// Nothing of it is appended.
    FailAll,
    /// The others are appended.
    Skip,
}

thread_local! {
    static BATCH: RefCell<Option<Box<Batch>>> = const { RefCell::new(None) };
}

/// Lends the thread's batch to `work`.
pub(super) fn with_batch<R>(work: impl FnOnce(&mut Batch) -> R) -> R {
    let mut batch = BATCH.take().unwrap_or_default();
    let result = work(&mut batch);
    if batch.parts.iter().all(|part| part.bytes.capacity() <= KEEP_BYTES) {
        BATCH.set(Some(batch));
    }
    result
}

impl Batch {
    /// Empties it.
    fn reset(&mut self) {
        self.records = 0;
        self.is_full = false;
        self.is_urgent = false;
        self.newest.clear();
        for part in &mut self.parts {
            part.bytes.clear();
            part.count = 0;
            part.states.clear();
        }
    }

    /// Encodes the records. With [`OnReject::Skip`] those that cannot be taken are left out, and
    /// those that a frame has no room for are left for another batch.
    ///
    /// # Errors
    /// With [`OnReject::FailAll`] the first record's that cannot be taken; else only those that no
    /// record can be blamed for.
    pub(super) fn encode(
        &mut self,
        catalog: &Catalog,
        records: &[Body<'_>],
        now: Timestamp,
        on_reject: OnReject,
    ) -> Result<Encoded> {
        self.reset();
        let records = match on_reject {
            OnReject::FailAll => records,
            OnReject::Skip => records.get(..MAX_BATCH_RECORDS).unwrap_or(records),
        };
        if records.len() > MAX_BATCH_RECORDS {
            let (size, limit) = (records.len() as u64, MAX_BATCH_RECORDS as u64);
            return Err(Error::TooLarge { what: "a batch in records", size, limit });
        }
        let several = records.iter().filter(|body| body.kind() == Kind::Run).nth(1).is_some();
        let mut rejected = Vec::new();
        let mut taken = records.len();
        for (at, body) in records.iter().enumerate() {
            match (self.push(catalog, body, now, several), on_reject) {
                (Ok(()), _) => {}
                (Err(_), OnReject::Skip) if self.is_full => {
                    taken = at;
                    break;
                }
                (Err(err), OnReject::Skip) if is_of_record(&err) => {
                    rejected.resize_with(at, || None);
                    rejected.push(Some(err));
                }
                (Err(err), _) => return Err(err),
            }
        }
        self.parts.iter_mut().for_each(Part::finish);
        Ok(Encoded { rejected, taken })
    }

    fn push(
        &mut self,
        catalog: &Catalog,
        body: &Body<'_>,
        now: Timestamp,
        several: bool,
    ) -> Result<()> {
        match body {
            Body::Run(run) => self.push_run(catalog, run, now, several),
            Body::Event(event) if event.created_at.is_none() => {
                let mut event = event.borrowed();
                event.created_at = Some(now);
                self.put(stream_of(Kind::Event), &Body::Event(event))
            }
            Body::Event(_) => self.put(stream_of(Kind::Event), body),
            Body::Error(error) => {
                let mut error = error.borrowed();
                error.created_at.get_or_insert(now);
                error.fingerprint = Some(Fingerprint::of_in(
                    &mut self.text,
                    &error.error_type,
                    &error.message,
                    error.stack.as_deref(),
                ));
                self.put(stream_of(Kind::Error), &Body::Error(error))
            }
        }
    }

    fn push_run(
        &mut self,
        catalog: &Catalog,
        run: &Run<'_>,
        now: Timestamp,
        several: bool,
    ) -> Result<()> {
        if run.status == Status::Abandoned && !self.may_abandon {
            let expected = "a status that its owner can tell: the ledger abandons runs by itself";
            return Err(Error::invalid("status", run.status.name(), expected));
        }
        let hash = key::hash(catalog.seed, key::id_key(&run.run_id).as_slice());
        let Some(part) = self.parts.get(stream_of(Kind::Run)).filter(|_| several) else {
            return self.put_run(catalog, run, now, hash);
        };
        let next = part.states.len();
        let is_of = |&number: &usize| part.is_state_of(number, hash, &run.run_id);
        match self.newest.find(hash, is_of).copied() {
            Some(earlier) => {
                self.put_state_after(catalog, run, now, earlier)?;
                if let Some(number) = self.newest.find_mut(hash, |&number| number == earlier) {
                    *number = next;
                }
            }
            None => {
                self.put_run(catalog, run, now, hash)?;
                let states = self.parts.get(stream_of(Kind::Run)).map(|part| &part.states);
                let hash_of =
                    |&number: &usize| states.and_then(|s| s.get(number)).map_or(0, |s| s.hash);
                self.newest.insert_unique(hash, next, hash_of);
            }
        }
        Ok(())
    }

    /// Encodes a run as it is after its newest record in the ledger.
    fn put_run(
        &mut self,
        catalog: &Catalog,
        run: &Run<'_>,
        now: Timestamp,
        hash: u64,
    ) -> Result<()> {
        let likely = newest(catalog, &run.run_id, hash, false)?;
        let state = likely.as_ref().map(Newest::state).transpose()?.flatten();
        if state.as_ref().is_none_or(|state| state.run_id == run.run_id) {
            return self.put_after(likely.as_ref(), state.as_ref(), run, now, hash);
        }
        let found = newest(catalog, &run.run_id, hash, true)?;
        let state = found.as_ref().map(Newest::state).transpose()?.flatten();
        self.put_after(found.as_ref(), state.as_ref(), run, now, hash)
    }

    /// Encodes a run as it is after this record. When what it was cannot be read, what it becomes
    /// is taken as it is given.
    fn put_after(
        &mut self,
        prior: Option<&Newest>,
        state: Option<&Run<'_>>,
        run: &Run<'_>,
        now: Timestamp,
        hash: u64,
    ) -> Result<()> {
        let prior = prior.map_or(Prior::None, |prior| Prior::Seq(prior.seq));
        self.put_state(prior, merge(run, state, now)?, hash)
    }

    /// Encodes a run as it is after a state earlier in this batch.
    fn put_state_after(
        &mut self,
        catalog: &Catalog,
        run: &Run<'_>,
        now: Timestamp,
        earlier: usize,
    ) -> Result<()> {
        let Some(part) = self.parts.get(stream_of(Kind::Run)) else { return Err(Error::Closed) };
        let Some(state) = part.states.get(earlier) else { return Err(Error::Closed) };
        let place = part.first + state.relative_seq;
        let hash = state.hash;
        let mut copy = std::mem::take(&mut self.state);
        copy.clear();
        copy.extend_from_slice(part.state(earlier));
        let damaged = |damage| Error::damaged(catalog.layout.dir(), 0, damage);
        let outcome = match codec::decode(Kind::Run, &copy).map_err(damaged).map(|it| it.body) {
            Ok(Body::Run(state)) => merge(run, Some(&state), now)
                .and_then(|merged| self.put_state(Prior::Back(self.records - place), merged, hash)),
            Ok(Body::Event(_) | Body::Error(_)) => Err(damaged(Damage::Record)),
            Err(err) => Err(err),
        };
        self.state = copy;
        outcome
    }

    /// Encodes a state of a run.
    fn put_state(&mut self, prior: Prior, run: Run<'_>, hash: u64) -> Result<()> {
        let place = self.records;
        let Some(part) = self.parts.get_mut(stream_of(Kind::Run)) else {
            return Err(Error::Closed);
        };
        let offset = part.payload_len();
        let pushed = part.push(place, |bytes, gap| codec::encode_run(bytes, gap, prior, &run));
        self.note_pushed(pushed)?;
        if let Some(part) = self.parts.get_mut(stream_of(Kind::Run)) {
            let relative_seq = place - part.first;
            part.states.push(NewState { hash, relative_seq, offset, prior });
        }
        Ok(())
    }

    /// Encodes an event or an error whose time is settled.
    fn put(&mut self, stream: usize, body: &Body<'_>) -> Result<()> {
        let place = self.records;
        let Some(part) = self.parts.get_mut(stream) else { return Err(Error::Closed) };
        let pushed = part.push(place, |bytes, gap| match body {
            Body::Run(run) => codec::encode_run(bytes, gap, Prior::None, run),
            Body::Event(event) => codec::encode_event(bytes, gap, event),
            Body::Error(error) => codec::encode_error(bytes, gap, error),
        });
        self.note_pushed(pushed)
    }

    fn note_pushed(&mut self, pushed: Result<(), Refused>) -> Result<()> {
        if let Err(err) = pushed {
            self.is_full = matches!(err, Refused::Full(_));
            return Err(err.into());
        }
        self.records += 1;
        Ok(())
    }

    /// Encodes one of the engine's own notes.
    pub(super) fn encode_note(&mut self, stream: usize, body: &Body<'_>) -> Result<()> {
        self.reset();
        self.put(stream, body)?;
        self.parts.iter_mut().for_each(Part::finish);
        Ok(())
    }
}

impl Part {
    fn push(
        &mut self,
        place: u32,
        encode: impl FnOnce(&mut Vec<u8>, u32) -> Result<()>,
    ) -> Result<(), Refused> {
        let is_first = self.is_empty();
        if is_first {
            self.bytes.resize(FRAME_HEADER_BYTES, 0);
            self.first = place;
        }
        let before = self.bytes.len();
        let gap = if is_first { 0 } else { place - self.last - 1 };
        let encoded = encode(&mut self.bytes, gap);
        let size = self.bytes.len() - FRAME_HEADER_BYTES;
        if encoded.is_err() || size > MAX_FRAME_PAYLOAD as usize {
            self.bytes.truncate(if is_first { 0 } else { before });
            encoded.map_err(Refused::Record)?;
            let (size, limit) = (size as u64, u64::from(MAX_FRAME_PAYLOAD));
            return Err(Refused::Full(Error::TooLarge { what: "a batch in bytes", size, limit }));
        }
        self.count += 1;
        self.last = place;
        Ok(())
    }

    fn payload_len(&self) -> u32 {
        u32::try_from(self.bytes.len().saturating_sub(FRAME_HEADER_BYTES)).unwrap_or(u32::MAX)
    }

    /// The bytes of a state, from its number among the states.
    fn state(&self, number: usize) -> &[u8] {
        let start = |number: usize| self.states.get(number).map(|state| state.offset as usize);
        let payload = self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let end = start(number + 1).unwrap_or(payload.len());
        start(number).and_then(|start| payload.get(start..end)).unwrap_or_default()
    }

    /// True when the state is one of this run, whose key has this hash.
    fn is_state_of(&self, number: usize, hash: u64, run_id: &Id<'_>) -> bool {
        self.states.get(number).is_some_and(|state| state.hash == hash)
            && codec::decode(Kind::Run, self.state(number)).is_ok_and(
                |decoded| matches!(decoded.body, Body::Run(run) if run.run_id == *run_id),
            )
    }

    fn finish(&mut self) {
        if let Some(payload) = self.bytes.get(FRAME_HEADER_BYTES..) {
            self.payload_crc = payload_crc(payload);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Why a record did not go into a frame.
#[derive(Debug)]
enum Refused {
    /// For what it is.
    Record(Error),
    /// The frame has no room for it.
    Full(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Record(err) | Refused::Full(err) => err,
        }
    }
}

/// True for an error that is one record's own fault.
fn is_of_record(err: &Error) -> bool {
    matches!(err, Error::Invalid { .. } | Error::RunTransition { .. } | Error::TooLarge { .. })
}
