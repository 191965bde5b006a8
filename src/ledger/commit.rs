//! Appending: from encoded batches to frames in the files, and the wait for their durability.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::header::SegmentHeader;
use crate::ledger::Durability;
use crate::ledger::append::{Batch, Encoded, with_batch};
use crate::ledger::classes::{RUN_STREAMS, RUNS};
use crate::ledger::clock::is_set_back;
use crate::ledger::handle::{Inner, Ledger};
use crate::ledger::lifecycle::Author;
use crate::ledger::maintain::is_old;
use crate::ledger::overtaken::Lost;
use crate::ledger::part::{OnReject, Part};
use crate::ledger::stopped::Stopped;
use crate::ledger::stream::{Active, Stream};
use crate::model::{Body, Kind, Timestamp};
use crate::planted::{Bug, is_planted};
use crate::segment::{NewFrame, Segment, new_index};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

/// How often runs are prepared outside of the lock before it is taken for the preparing, too.
const OPTIMISTIC_TRIES: usize = 3;

/// What was appended.
pub(super) struct Appended {
    pub(super) first_seq: u64,
    pub(super) encoded: Encoded,
}

/// How many streams a batch goes to without an allocation: records of each kind, and some that are
/// split off.
const FEW: usize = 4;

/// The positions that streams have to be synced to, each after the number of its stream.
pub(super) type Positions = SmallVec<[(usize, u64); FEW]>;

/// The streams that a batch goes to, in the order of their numbers.
pub(super) type Targets<'a> = SmallVec<[Target<'a>; FEW]>;

/// A stream that a batch goes to.
pub(super) struct Target<'a> {
    pub(super) number: usize,
    pub(super) stream: &'a Stream,
    pub(super) active: MutexGuard<'a, Active>,
    /// The segment that its part of the batch goes into, once there is space for it; none where
    /// only the lock is needed.
    pub(super) segment: Option<Arc<Segment>>,
}

impl Ledger {
    /// Appends a run's state, an event or an error at the ledger's default durability, and gives
    /// its sequence number.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value out of bounds, [`Error::TooLarge`] for a record over 16 MiB,
    /// of which an open run leaves 1 KiB and one that has ended 32 bytes to the ledger itself;
    /// [`Error::RunTransition`] for a run that cannot go where it is sent; [`Error::NoSpace`] when
    /// the disk is full; [`Error::Poisoned`] after an I/O error, [`Error::Io`] when it is this
    /// one's; [`Error::Closed`] after [`Ledger::close`]. After any of them nothing of the record is
    /// in the ledger, but for a failed sync: then it may be.
    pub fn append<'a>(&self, record: impl Into<Body<'a>>) -> Result<u64> {
        self.append_with(record, self.inner.options.durability)
    }

    /// As [`Ledger::append`], at this durability.
    ///
    /// # Errors
    /// As for [`Ledger::append`].
    pub fn append_with<'a>(
        &self,
        record: impl Into<Body<'a>>,
        durability: Durability,
    ) -> Result<u64> {
        let record = record.into();
        let records = std::slice::from_ref(&record);
        Ok(self.inner.append(records, durability, OnReject::FailAll)?.first_seq)
    }

    /// Appends records as one batch: of each kind all or none are kept, after any crash. Gives
    /// their sequence numbers, which follow one another.
    ///
    /// # Errors
    /// As for [`Ledger::append`], and [`Error::TooLarge`] for more than 65,536 records or 64 MiB
    /// of one kind. No record is appended when one cannot be; only [`Error::Io`] can leave those of
    /// one kind appended and those of another not.
    pub fn append_batch(&self, records: &[Body<'_>], durability: Durability) -> Result<Vec<u64>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let appended = self.inner.append(records, durability, OnReject::FailAll)?;
        Ok((appended.first_seq..).take(records.len()).collect())
    }

    /// Returns once everything that was appended before the call is on stable storage.
    ///
    /// # Errors
    /// [`Error::Io`] when the sync fails, [`Error::Poisoned`] when one failed before.
    pub fn sync(&self) -> Result<()> {
        self.inner.sync()
    }
}

impl Inner {
    pub(super) fn append(
        &self,
        records: &[Body<'_>],
        durability: Durability,
        on_reject: OnReject,
    ) -> Result<Appended> {
        Ok(self.append_as(Author::Caller, records, durability, on_reject)?)
    }

    /// Appends what this author has to say.
    pub(super) fn append_as(
        &self,
        author: Author,
        records: &[Body<'_>],
        durability: Durability,
        on_reject: OnReject,
    ) -> Result<Appended, Stopped> {
        let write = |batch: &mut Batch| {
            batch.is_engines = author != Author::Caller || self.options.restores;
            self.write(batch, author, records, on_reject)
        };
        let (appended, positions) =
            with_batch(write).inspect_err(|stopped| match stopped.error {
                Error::NoSpace { .. } => self.reserve.note_refused(self.options.storage.now()),
                _ => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
            })?;
        let rejected = &appended.encoded.rejected;
        if !rejected.is_empty() {
            let rejected = rejected.iter().flatten().count();
            self.refused.fetch_add(rejected as u64, Ordering::Relaxed);
        }
        match durability {
            Durability::Sync if is_planted(Bug::AcknowledgeBeforeSync) => {}
            Durability::Sync => self.wait_synced(&positions).map_err(Stopped::by_sync)?,
            Durability::Interval => self.maintenance.note_dirty(),
            Durability::Os => {}
        }
        Ok(appended)
    }

    /// Encodes and writes a batch. What a run's state is made from is looked up before the lock is
    /// taken; when another append to the runs came between, it is made anew.
    fn write(
        &self,
        batch: &mut Batch,
        author: Author,
        records: &[Body<'_>],
        on_reject: OnReject,
    ) -> Result<(Appended, Positions), Stopped> {
        self.check_writable()?;
        let has_runs = records.iter().any(|body| body.kind() == Kind::Run);
        let ends_a_run =
            |body: &Body<'_>| matches!(body, Body::Run(run) if run.status.is_terminal());
        let is_urgent = author == Author::Engine || has_runs && records.iter().any(ends_a_run);
        let now = self.options.storage.now();
        let time = Timestamp::from_nanos(now);
        let split = self.policy.split();
        let runs = self.streams.get(RUNS).filter(|_| has_runs);
        for _ in 0..OPTIMISTIC_TRIES {
            let version = runs.map(Stream::version);
            let encoded = batch.encode(&self.catalog, split, records, time, on_reject)?;
            batch.is_urgent = is_urgent;
            let targets = self.lock_parts(batch, None);
            if runs.map(Stream::version) == version {
                self.check_open()?;
                return self.write_frames(batch, encoded, targets, now);
            }
        }
        let runs_lock = runs.map(Stream::lock);
        let encoded = batch.encode(&self.catalog, split, records, time, on_reject)?;
        batch.is_urgent = is_urgent;
        let targets = self.lock_parts(batch, runs_lock);
        self.check_open()?;
        self.write_frames(batch, encoded, targets, now)
    }

    /// Takes the locks of the streams that a batch goes to, but for that of `runs` where it is
    /// held.
    ///
    /// Everyone takes them in one order, and that of `runs` is the first: who appends a state of a
    /// run takes it whichever stream the state goes to, so that the states of a run are in order.
    pub(super) fn lock_parts<'a>(
        &'a self,
        batch: &Batch,
        runs: Option<MutexGuard<'a, Active>>,
    ) -> Targets<'a> {
        let mut numbers = batch.used;
        let has_runs = !numbers.and(RUN_STREAMS).is_empty();
        if has_runs {
            numbers.insert(RUNS);
        }
        let mut first = runs.filter(|_| has_runs);
        let lock = |number: usize| {
            let stream = self.streams.get(number)?;
            let active = first.take().unwrap_or_else(|| stream.lock());
            Some(Target { number, stream, active, segment: None })
        };
        numbers.filter_map(lock).collect()
    }

    /// Writes the frames of a batch, whose streams are locked. Under the locks it was looked
    /// whether that may be: a close takes them before it gives up the numbers and the files.
    pub(super) fn write_frames(
        &self,
        batch: &mut Batch,
        encoded: Encoded,
        mut targets: Targets<'_>,
        now: i64,
    ) -> Result<(Appended, Positions), Stopped> {
        let first_seq = self.take_seqs(u64::from(batch.records))?;
        // All space is found before anything is written, so that a full disk takes no part of a
        // batch and leaves out another.
        self.find_space(batch, &mut targets, first_seq, now)?;
        let mut positions = Positions::new();
        let mut outcome = Ok(());
        for target in &mut targets {
            let (Some(segment), Some(part)) = (&target.segment, batch.parts.get_mut(target.number))
            else {
                continue;
            };
            if let Err(err) = self.write_part(&mut target.active, segment, part, first_seq, now) {
                outcome = Err(Stopped::by_write(err, !positions.is_empty()));
                break;
            }
            positions.push((target.number, target.active.written));
        }
        let is_written = |target: &&Target<'_>| positions.iter().any(|it| it.0 == target.number);
        self.publish(batch, targets.iter().filter(is_written), first_seq);
        if outcome.is_err() && !positions.is_empty() {
            drop(targets);
            self.settle_half();
        }
        outcome.map(|()| (Appended { first_seq, encoded }, positions))
    }

    /// Of a batch that was written by half a state may be missing that came between two of its run.
    /// The one before both is put on record as overtaken; where that fails, an opening does it.
    fn settle_half(&self) {
        if let Err(err) = self.note_overtaken(&Lost::Nothing) {
            self.poison(&err);
        }
    }

    /// Lets queries see the parts that were written: first the records whose place is taken are
    /// marked, in whichever stream they lie, so that a run is seen once, in one state.
    fn publish<'t>(
        &self,
        batch: &Batch,
        written: impl Iterator<Item = &'t Target<'t>> + Clone,
        first_seq: u64,
    ) {
        let parts = written.filter_map(|target| {
            Some((target.number, batch.parts.get(target.number)?, target.segment.as_ref()?))
        });
        let mut states = parts.clone().filter(|(_, part, _)| !part.states.is_empty()).peekable();
        if let (Some(_), Some(runs)) = (states.peek(), self.streams.get(RUNS)) {
            runs.note_version();
        }
        for (stream, part, segment) in states {
            let base_seq = first_seq + u64::from(part.first);
            for (state, &prior_stream) in part.states.iter().zip(&part.priors) {
                let by = base_seq + u64::from(state.relative_seq);
                let Some(seq) = state.prior.resolve(by) else { continue };
                // Those in the segment itself are marked in its index.
                if prior_stream != stream || seq < segment.first_seq() {
                    self.catalog.mark_superseded(prior_stream, seq, by);
                }
            }
        }
        for (_, part, segment) in parts {
            segment.publish(first_seq + u64::from(part.last));
        }
    }

    fn take_seqs(&self, count: u64) -> Result<u64> {
        let first = self.sequence.take(count).inspect_err(|err| self.poison_by_sequence(err))?;
        if self.sequence.is_low() {
            self.maintenance.note_due();
        }
        Ok(first)
    }

    /// After a failed sync nothing is known of the bound on the disk.
    pub(super) fn poison_by_sequence(&self, err: &Error) {
        if matches!(err, Error::Io { .. }) {
            self.poison(err);
        }
    }

    fn write_part(
        &self,
        active: &mut Active,
        segment: &Arc<Segment>,
        part: &mut Part,
        first_seq: u64,
        now: i64,
    ) -> Result<()> {
        let (base_seq, at) = (first_seq + u64::from(part.first), segment.end());
        let frame = NewFrame {
            base_seq,
            recorded_at: now,
            count: part.count,
            payload_crc: part.payload_crc,
            synced: active.synced_to,
        };
        segment.append(&mut part.bytes, frame, &part.states).inspect_err(|err| {
            if matches!(err, Error::Poisoned { .. }) {
                self.poison(err);
            }
        })?;
        active.appended(segment, part.bytes.len(), part.count, now);
        if Segment::is_slice_full(at, segment.end()) {
            self.maintenance.note_due();
        }
        Ok(())
    }

    /// The segment that a frame of this length goes into: the active one, or a new one when that
    /// is full or old.
    pub(super) fn segment_for(
        &self,
        number: usize,
        stream: &Stream,
        active: &mut Active,
        len: usize,
        base_seq: u64,
        now: i64,
    ) -> Result<Arc<Segment>> {
        if let Some(segment) =
            active.segment.as_ref().filter(|s| self.has_room(active, s, len, now))
        {
            return Ok(Arc::clone(segment));
        }
        let header = SegmentHeader {
            kind: stream.kind,
            stream: stream.name.to_owned(),
            first_seq: base_seq,
            covers: 0,
            packed: false,
            created_at: now,
            salt: self.options.storage.random()?,
        };
        let index = self.catalog.spares.take(number);
        let index = index.unwrap_or_else(|| new_index(self.catalog.seed));
        let segment = Arc::new(Segment::create(&self.options.storage, &stream.dir, header, index)?);
        self.catalog.add(number, Arc::clone(&segment));
        if let Some(full) = active.replace(Arc::clone(&segment)) {
            self.maintenance.note_full(number, full);
            match self.options.background {
                true => self.seal_surplus(),
                false => self.seal_full(),
            }
            self.check_poisoned()?;
        }
        Ok(segment)
    }

    /// True when the active segment takes a frame of this length yet.
    pub(super) fn has_room(
        &self,
        active: &Active,
        segment: &Segment,
        len: usize,
        now: i64,
    ) -> bool {
        let end = u64::from(segment.end()) + len as u64;
        segment.is_empty()
            || end <= u64::from(active.roll.bytes)
                && active.records < active.roll.records
                && !is_old(segment, now, self.options.segment_age)
                // Of the times in a segment the last one alone is known later.
                && !is_set_back(active.newest_at, now)
    }
}
