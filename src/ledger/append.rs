//! From records to a frame in each stream that they belong to.

use std::cell::RefCell;

use hashbrown::HashTable;

use crate::error::{Error, Result};
use crate::format::codec::{self, NextRun, Prior, RunState};
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, RUNS, STREAM_KINDS, StreamSet, tag_of};
use crate::ledger::part::{OnReject, Part, Refused};
use crate::ledger::runs::{Newest, States, Wanted, merge};
use crate::limits::{MAX_BATCH_RECORDS, MAX_RECORD_BYTES, ROOM_AFTER_END, ROOM_AFTER_OPEN};
use crate::model::{Body, Event, Fingerprint, Id, Kind, Run, Status, Timestamp};
use crate::segment::NewState;

/// Buffers that grew beyond this are given back after use.
const KEEP_BYTES: usize = 4 << 20;

/// The frames of one batch, encoded but for what is known only under the lock. Reused by its
/// thread, so that an append allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) parts: [Part; STREAM_KINDS.len()],
    /// The parts that hold records.
    pub(super) used: StreamSet,
    /// The streams that are split off their kinds.
    split: StreamSet,
    /// How many of the runs in the batch were looked at.
    runs: usize,
    /// How many sequence numbers the batch takes.
    pub(super) records: u32,
    /// The newest states of runs, when the batch has several.
    newest: HashTable<StateAt>,
    /// The hashes of the keys of those of which a state was refused as the one before it could not
    /// be read: what comes later in the batch would take its place.
    unread: Vec<u64>,
    /// A copy of such a state: the bytes that it stands in move while the next one is encoded.
    state: Vec<u8>,
    /// The attempt that the last of its runs is in.
    attempt: u32,
    /// What an error's fingerprint is made from.
    text: Vec<u8>,
    /// True when a record was refused only because its frame has no room for more.
    is_full: bool,
    /// True when it may have the space that is held back for a full disk.
    pub(super) is_urgent: bool,
    /// True when no caller is its author, but the engine, this one or that of a ledger which it is
    /// taken over from: runs in it may be abandoned, and take the room in a record that is left to
    /// the engine.
    pub(super) is_engines: bool,
}

/// A state of a run in a batch: the stream of its part, and its number among the states there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StateAt {
    stream: usize,
    number: usize,
}

/// A state of a run in the ledger or the batch: how the one that follows it names it, and the
/// stream that it lies in.
type PriorAt = (Prior, usize);

/// What was encoded.
#[derive(Debug)]
pub(super) struct Encoded {
    /// In the place of each record that was left out, why; it may end before the records do.
    pub(super) rejected: Vec<Option<Error>>,
    /// How many of the records were looked at.
    pub(super) taken: u32,
    /// The attempt that the last of the runs is in.
    pub(super) attempt: u32,
}

impl Encoded {
    /// Of what the engine appends of its own accord.
    pub(super) const ENGINES: Self = Self { rejected: Vec::new(), taken: 1, attempt: 0 };
}

thread_local! {
    static BATCH: RefCell<Option<Box<Batch>>> = const { RefCell::new(None) };
}

/// Lends the thread's batch to `work`. A thread that ends, and appends yet, has one for each.
pub(super) fn with_batch<R>(work: impl FnOnce(&mut Batch) -> R) -> R {
    let mut batch = BATCH.try_with(RefCell::take).ok().flatten().unwrap_or_default();
    let result = work(&mut batch);
    if batch.used.of(&batch.parts).all(|part| part.bytes.capacity() <= KEEP_BYTES) {
        let _ = BATCH.try_with(|kept| kept.replace(Some(batch)));
    }
    result
}

impl Batch {
    /// Empties it.
    fn reset(&mut self) {
        if std::mem::take(&mut self.runs) > 0 {
            self.newest.clear();
            self.unread.clear();
        }
        self.records = 0;
        self.is_full = false;
        self.is_urgent = false;
        for stream in std::mem::take(&mut self.used) {
            if let Some(part) = self.parts.get_mut(stream) {
                part.clear();
            }
        }
    }

    /// Encodes the records. With [`OnReject::Skip`] those that cannot be taken are left out, and
    /// those that a frame has no room for are left for another batch. Streams that are `split` off
    /// get the records of their classes.
    ///
    /// # Errors
    /// With [`OnReject::FailAll`] the first record's that cannot be taken; else only those that no
    /// record can be blamed for.
    pub(super) fn encode(
        &mut self,
        catalog: &Catalog,
        split: StreamSet,
        records: &[Body<'_>],
        now: Timestamp,
        on_reject: OnReject,
    ) -> Result<Encoded> {
        self.reset();
        self.split = split;
        let records = match on_reject {
            OnReject::FailAll => records,
            OnReject::Skip => records.get(..MAX_BATCH_RECORDS).unwrap_or(records),
        };
        if records.len() > MAX_BATCH_RECORDS {
            let (size, limit) = (records.len() as u64, MAX_BATCH_RECORDS as u64);
            return Err(Error::TooLarge { what: "a batch in records", size, limit });
        }
        let states = States::new(catalog, records.iter().filter_map(run_of), on_reject)?;
        let mut rejected = Vec::new();
        let mut taken = records.len();
        for (at, body) in records.iter().enumerate() {
            match (self.push(&states, body, now), on_reject) {
                (Ok(()), _) => {}
                (Err(_), OnReject::Skip) if self.is_full => {
                    taken = at;
                    break;
                }
                (Err(err), OnReject::Skip) if err.is_of_record() || err.is_unread() => {
                    rejected.resize_with(at, || None);
                    rejected.push(Some(err));
                }
                (Err(err), _) => return Err(err),
            }
        }
        self.finish();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        Ok(Encoded { rejected, taken, attempt: self.attempt })
    }

    fn finish(&mut self) {
        for stream in self.used {
            if let Some(part) = self.parts.get_mut(stream) {
                part.finish();
            }
        }
    }

    fn push(&mut self, states: &States<'_>, body: &Body<'_>, now: Timestamp) -> Result<()> {
        let stream = self.split.route(body.kind(), tag_of(body));
        match body {
            Body::Run(run) => self.push_run(states, run, now),
            Body::Event(event) if event.created_at.is_none() => {
                let mut event = event.borrowed();
                event.created_at = Some(now);
                self.put(stream, &Body::Event(event))
            }
            Body::Event(_) => self.put(stream, body),
            Body::Error(error) => {
                let mut error = error.borrowed();
                error.created_at.get_or_insert(now);
                error.fingerprint = Some(Fingerprint::of_in(
                    &mut self.text,
                    &error.error_type,
                    &error.message,
                    error.stack.as_deref(),
                ));
                self.put(stream, &Body::Error(error))
            }
        }
    }

    fn push_run(&mut self, states: &States<'_>, run: &Run<'_>, now: Timestamp) -> Result<()> {
        let wanted = states.wanted(self.runs, &run.run_id);
        self.runs += 1;
        if run.status == Status::Abandoned && !self.is_engines {
            let expected = "a status that its owner can tell: the ledger abandons runs by itself";
            return Err(Error::invalid("status", run.status.name(), expected));
        }
        if !states.are_several() {
            return self.put_run(states, run, now, wanted).map(drop);
        }
        let hash = wanted.hash;
        if self.unread.contains(&hash) {
            let cause = std::io::Error::other("the state before it in the batch was refused");
            return Err(Error::io("read a state in", states.catalog.layout.dir(), cause));
        }
        let parts = &self.parts;
        let is_of = |at: &StateAt| {
            parts.get(at.stream).is_some_and(|part| part.is_state_of(at.number, hash, &run.run_id))
        };
        match self.newest.find(hash, is_of).copied() {
            Some(earlier) => {
                let next = self.put_state_after(states.catalog, run, now, earlier)?;
                if let Some(at) = self.newest.find_mut(hash, |&at| at == earlier) {
                    *at = next;
                }
            }
            None => {
                let put = self.put_run(states, run, now, wanted);
                if put.as_ref().is_err_and(|err| err.is_unread()) {
                    self.unread.push(hash);
                }
                let next = put?;
                let parts = &self.parts;
                let hash_of = |at: &StateAt| {
                    let states = parts.get(at.stream).map(|part| &part.states);
                    states.and_then(|states| states.get(at.number)).map_or(0, |state| state.hash)
                };
                self.newest.insert_unique(hash, next, hash_of);
            }
        }
        Ok(())
    }

    /// Encodes a run as it is after its newest record in the ledger.
    fn put_run(
        &mut self,
        states: &States<'_>,
        run: &Run<'_>,
        now: Timestamp,
        wanted: Wanted<'_>,
    ) -> Result<StateAt> {
        let hash = wanted.hash;
        let Some(likely) = states.newest(&wanted)? else {
            return self.put_after(None, None, run, now, hash);
        };
        let state = likely.state()?;
        if state.as_ref().is_none_or(|state| state.run_id == run.run_id) {
            return self.put_after(Some(&likely), state.as_ref(), run, now, hash);
        }
        let found = states.newest(&wanted.surely())?;
        let state = found.as_ref().map(Newest::state).transpose()?.flatten();
        self.put_after(found.as_ref(), state.as_ref(), run, now, hash)
    }

    /// Encodes a run as it is after this record. When what it was cannot be read, what it becomes
    /// is taken as it is given.
    fn put_after(
        &mut self,
        prior: Option<&Newest<'_>>,
        state: Option<&RunState<'_>>,
        run: &Run<'_>,
        now: Timestamp,
        hash: u64,
    ) -> Result<StateAt> {
        let prior = prior.map_or((Prior::None, RUNS), |it| (Prior::Seq(it.seq), it.stream));
        self.put_state(prior, &merge(run, state, now)?, hash)
    }

    /// Encodes a run as it is after a state earlier in this batch.
    fn put_state_after(
        &mut self,
        catalog: &Catalog,
        run: &Run<'_>,
        now: Timestamp,
        earlier: StateAt,
    ) -> Result<StateAt> {
        let Some(part) = self.parts.get(earlier.stream) else { return Err(Error::Closed) };
        let Some(state) = part.states.get(earlier.number) else { return Err(Error::Closed) };
        let place = part.first + state.relative_seq;
        let hash = state.hash;
        let mut copy = std::mem::take(&mut self.state);
        copy.clear();
        copy.extend_from_slice(part.state(earlier.number));
        let prior = (Prior::Back(self.records - place), earlier.stream);
        let outcome = codec::decode_state(&copy)
            .map_err(|damage| Error::damaged(catalog.layout.dir(), 0, damage))
            .and_then(|(state, _)| self.put_state(prior, &merge(run, Some(&state), now)?, hash));
        self.state = copy;
        outcome
    }

    /// Encodes a state of a run.
    fn put_state(&mut self, prior: PriorAt, next: &NextRun<'_>, hash: u64) -> Result<StateAt> {
        let (prior, prior_stream) = prior;
        self.attempt = next.attempt;
        let stream = self.split.route(Kind::Run, next.run.status.code());
        let place = self.records;
        let limit = match next.run.status.is_terminal() {
            _ if self.is_engines => usize::MAX,
            true => MAX_RECORD_BYTES - ROOM_AFTER_END,
            false => MAX_RECORD_BYTES - ROOM_AFTER_OPEN,
        };
        let Some(part) = self.parts.get_mut(stream) else { return Err(Error::Closed) };
        let offset = part.payload_len();
        let pushed = part.push(place, |bytes, gap| {
            let start = bytes.len();
            codec::encode_next(bytes, gap, prior, next)?;
            check_size(bytes.len() - start, limit)
        });
        let number = part.states.len();
        if pushed.is_ok() {
            let relative_seq = place - part.first;
            part.states.push(NewState { hash, relative_seq, offset, prior });
            part.priors.push(prior_stream);
        }
        self.note_pushed(stream, pushed)?;
        Ok(StateAt { stream, number })
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
        self.note_pushed(stream, pushed)
    }

    fn note_pushed(&mut self, stream: usize, pushed: Result<(), Refused>) -> Result<()> {
        if let Err(err) = pushed {
            self.is_full = matches!(err, Refused::Full(_));
            return Err(err.into());
        }
        self.used.insert(stream);
        self.records += 1;
        Ok(())
    }

    /// Encodes the state of a run that lies at `seq` once more, as it is. False when that is not
    /// the run's newest any more.
    pub(super) fn encode_result(
        &mut self,
        catalog: &Catalog,
        split: StreamSet,
        seq: u64,
        run: &Run<'_>,
    ) -> Result<bool> {
        self.reset();
        self.split = split;
        self.is_engines = true;
        let states = States::new(catalog, std::iter::once(&run.run_id), OnReject::FailAll)?;
        let wanted = states.wanted(0, &run.run_id).surely();
        let found = states.newest(&wanted)?;
        let Some(found) = found.filter(|found| found.seq == seq) else { return Ok(false) };
        self.put_state((Prior::Seq(seq), found.stream), &NextRun::of(run)?, wanted.hash)?;
        self.finish();
        Ok(true)
    }

    /// Encodes notes of the engine's own.
    pub(super) fn encode_notes<'e>(
        &mut self,
        notes: impl Iterator<Item = &'e Event<'static>>,
    ) -> Result<()> {
        self.reset();
        for note in notes {
            self.put(AUDIT_STREAM, &Body::Event(note.borrowed()))?;
        }
        self.finish();
        Ok(())
    }
}

fn check_size(size: usize, limit: usize) -> Result<()> {
    match size <= limit {
        true => Ok(()),
        false => {
            let (size, limit) = (size as u64, limit as u64);
            Err(Error::TooLarge { what: "a state of a run in bytes", size, limit })
        }
    }
}

fn run_of<'r>(body: &'r Body<'_>) -> Option<&'r Id<'r>> {
    match body {
        Body::Run(run) => Some(&run.run_id),
        Body::Event(_) | Body::Error(_) => None,
    }
}
