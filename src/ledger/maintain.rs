//! What happens beside the appends: syncing at intervals, sealing, retention, and a look after runs
//! whose owners are gone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::Result;
use crate::ledger::cleanup::{Cleanup, Unread};
use crate::ledger::ends::heads;
use crate::ledger::handle::{Inner, Ledger};
use crate::ledger::sealing::Full;
use crate::ledger::worker::Worker;
use crate::segment::Segment;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

/// How often retention is applied, and how long a quiet ledger sleeps at the most.
const ROUND: Duration = Duration::from_secs(60);

/// How long the thread sleeps after work, again and again, before it has itself woken by appends:
/// waking a thread takes an append as long as ten others.
const NAP: Duration = Duration::from_millis(5);

/// After so many naps in which no index lagged, keys are linked and memory is given back: a bulk
/// load is sealed before anyone asks, and goes on in the memory of the segments before.
const QUIET_NAPS: u32 = 4;

/// After so many naps without work a ledger is quiet.
const MOST_NAPS: u32 = 40;

/// Work for the background, and the thread that does it.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    dirty: AtomicBool,
    /// True when appends made work that spares those to come a wait: the index of a segment lags,
    /// or few sequence numbers are reserved.
    due: AtomicBool,
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    /// Told when a segment was sealed, or could not be.
    pub(super) sealed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    stop: bool,
    /// True while the thread sleeps for a short time, and then looks for itself what is due.
    naps: bool,
    pub(super) full: Full,
    /// Segments whose files were removed: the disk gets their space when they are let go.
    removed: Vec<Arc<Segment>>,
    worker: Option<Worker>,
}

impl State {
    /// True when there is nothing to be done at once. What waits is tried again once a
    /// round.
    fn is_idle(&self) -> bool {
        !self.stop && self.removed.is_empty() && !self.full.is_due()
    }
}

impl Maintenance {
    /// Notes an append that is to be synced at the next interval.
    pub(super) fn note_dirty(&self) {
        if !self.dirty.load(Ordering::Relaxed) && !self.dirty.swap(true, Ordering::AcqRel) {
            // As in `note_due`.
            let _state = self.state.lock();
            self.wake.notify_one();
        }
    }

    /// Notes that an index lags, or that few sequence numbers are left.
    pub(super) fn note_due(&self) {
        if !self.due.load(Ordering::Relaxed) && !self.due.swap(true, Ordering::AcqRel) {
            // With the lock, the thread is not between its look at the flag and its sleep.
            let state = self.state.lock();
            if !state.naps {
                self.wake.notify_one();
            }
        }
    }

    /// True when an index lags, or few sequence numbers are left.
    fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// True when a segment is to be sealed at once.
    fn has_full(&self) -> bool {
        self.state.lock().full.is_due()
    }

    /// Changes the list of full segments, for those who wait for it.
    pub(super) fn change_full<R>(&self, change: impl FnOnce(&mut Full) -> R) -> R {
        let result = change(&mut self.state.lock().full);
        self.sealed.notify_all();
        result
    }

    /// Lets go of segments whose files were removed. A file system may take its time to free their
    /// space, so the thread does it, if there is one.
    pub(super) fn let_go(&self, segments: Vec<Arc<Segment>>) {
        let mut state = self.state.lock();
        if state.worker.is_some() && !state.stop {
            state.removed.extend(segments);
            self.wake.notify_one();
        }
    }

    /// Starts the thread, which ends with the ledger.
    pub(super) fn start(self: &Arc<Self>, inner: &Weak<Inner>, interval: Duration) -> Result<()> {
        let (maintenance, of) = (Arc::clone(self), Weak::clone(inner));
        let work = move || maintenance.run(&of, interval);
        self.state.lock().worker = Some(Worker::start("runledger", inner, work)?);
        Ok(())
    }

    fn run(&self, inner: &Weak<Inner>, interval: Duration) {
        let storage = inner.upgrade().map(|inner| Arc::clone(&inner.options.storage));
        let Some(storage) = storage else { return };
        let interval = interval.min(ROUND);
        let mut round_began = storage.monotonic();
        let (mut synced, mut naps) = (round_began, MOST_NAPS);
        let left =
            |began: Duration| ROUND.saturating_sub(storage.monotonic().saturating_sub(began));
        while self.pause(left(round_began), naps < MOST_NAPS)
            && self.gather(interval.min(left(round_began)))
        {
            let Some(inner) = inner.upgrade() else { return };
            let removed = std::mem::take(&mut self.state.lock().removed);
            drop(removed);
            let is_due = self.due.swap(false, Ordering::AcqRel);
            if is_due && let Err(err) = inner.sequence.reserve_ahead() {
                inner.poison_by_sequence(&err);
            }
            let now = storage.monotonic();
            let is_round = now.saturating_sub(round_began) >= ROUND;
            if is_round {
                self.change_full(Full::try_again);
            }
            if is_due || self.has_full() {
                inner.seal_one();
            }
            naps = if is_due { 0 } else { MOST_NAPS.min(naps + 1) };
            if is_due {
                inner.catch_up();
            }
            if naps == QUIET_NAPS {
                inner.link();
            }
            if naps >= QUIET_NAPS {
                inner.catalog.spares.clear();
            }
            // Between two seals, too: segments may fill as fast as they are sealed.
            let now = storage.monotonic();
            let is_late = now.saturating_sub(synced) >= interval;
            if (is_late || !self.has_full()) && self.dirty.swap(false, Ordering::AcqRel) {
                synced = now;
                if inner.sync().is_err() {
                    // The writer is poisoned now, and the next append says so.
                    continue;
                }
            }
            if is_round {
                round_began = now;
                // What cannot be cleaned up now is tried again in the next round.
                let _ = inner.retain();
            }
        }
        // A close seals what was written to, all streams at once: this is its second pair of hands.
        if let Some(inner) = inner.upgrade() {
            inner.seal_full();
        }
    }

    /// Waits for work, for so long at the most, or takes a nap; false when it is to stop.
    fn pause(&self, most: Duration, naps: bool) -> bool {
        let mut state = self.state.lock();
        if state.is_idle() && !self.is_due() && !self.dirty.load(Ordering::Acquire) {
            state.naps = naps;
            state = match naps {
                true => self.wake.nap(state, NAP),
                false => self.wake.wait_for(state, most),
            };
            state.naps = false;
        }
        !state.stop
    }

    /// Waits for so long when an append was made, which is synced then with those that follow;
    /// false when it is to stop.
    fn gather(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if state.is_idle() && !self.is_due() && self.dirty.load(Ordering::Acquire) {
            state = self.wake.wait_for(state, time);
        }
        !state.stop
    }

    /// Has the thread seal what is full, and end.
    pub(super) fn begin_stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    /// Stops the thread and waits for it, unless it is the one that calls.
    pub(super) fn stop(&self) {
        self.begin_stop();
        let worker = self.state.lock().worker.take();
        worker.into_iter().for_each(Worker::join);
        let removed = std::mem::take(&mut self.state.lock().removed);
        drop(removed);
    }
}

impl Ledger {
    /// Does now what the background thread does in its time: seals full segments, syncs what was
    /// appended, abandons runs whose owners are gone, notes runs that are missed, begins new
    /// segments where the old are old enough, and applies retention.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::Poisoned`](crate::Error::Poisoned) when a sync
    /// fails, [`Error::NoSpace`](crate::Error::NoSpace) when a run that is still open cannot be
    /// carried forward; [`Error::Damaged`](crate::Error::Damaged) as for [`Ledger::cleanup`]. Where
    /// segments cannot be read, all else is done before the first error of them is the result.
    pub fn maintain(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.sync()?;
        self.inner.retain()
    }

    /// Seals or trims the segments, syncs everything and gives up the writer's lock. Other handles
    /// of this ledger can read on, but no longer append; as long as there are any, the space of
    /// what another writer drops is not free.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::NoSpace`](crate::Error::NoSpace) when the end of
    /// a segment, or an owed note, cannot be written; [`Error::Poisoned`](crate::Error::Poisoned)
    /// when that happened before. The ledger is closed all the same: the next opening recovers it.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    /// Brings the indexes of the segments that are written up to date, unless there is one to seal
    /// first.
    fn catch_up(&self) {
        let go_on = || {
            let state = self.maintenance.state.lock();
            !state.stop && !state.full.is_due()
        };
        for stream in &self.streams {
            let segment = stream.lock().segment.clone();
            // What cannot be read now is said to who asks for it.
            let _ = segment.map_or(Ok(()), |segment| segment.catch_up(&go_on));
        }
    }

    /// Has queries find by its keys what is in the indexes, before one has to do so.
    fn link(&self) {
        for stream in &self.streams {
            let segment = stream.lock().segment.clone();
            segment.into_iter().for_each(|segment| segment.link());
        }
    }

    /// Begins new segments where the old are old enough, then drops what has expired. Runs whose
    /// owners are gone are abandoned before that.
    fn retain(&self) -> Result<()> {
        let _is_waited_for = self.begin_job()?;
        self.note_full_disk(false)?;
        self.write_owed_notes()?;
        self.note_refused()?;
        let mut unread = self.look_after_runs()?;
        self.follow_policy()?;
        let now = self.believed_now()?;
        let doubted = self.doubted_now();
        let cleaning = self.begin_cleaning()?;
        self.retire_old(now);
        self.seal_and_note()?;
        if !self.policy.is_unknown() {
            let mut kept = Unread::default();
            self.clean(&cleaning, &Cleanup::retention(), now.min(doubted), &mut kept)?;
            unread.extend(kept.into_errors());
        }
        unread.into_iter().next().map_or(Ok(()), Err)
    }

    /// Closes the segments that have reached their age, so that they can expire in a stream that
    /// is no longer written, too.
    fn retire_old(&self, now: i64) {
        for (number, stream) in self.streams.iter().enumerate() {
            let mut active = stream.lock();
            let is_old = active.segment.as_ref().is_some_and(|segment| {
                is_old(segment, now, self.options.segment_age) && !segment.is_empty()
            });
            if let Some(segment) = is_old.then(|| active.retire()).flatten() {
                self.maintenance.note_full(number, segment);
            }
        }
    }

    pub(super) fn close(&self) -> Result<()> {
        if self.check_process().is_err() {
            return Ok(());
        }
        // Held to the end: who closes at the same time is told of it when all of it is done.
        let mut lock = self.lock.0.lock();
        // A note that is still owed is tried once more, while appends are taken.
        let noted = self.check_writable().and_then(|()| {
            self.note_full_disk(true)?;
            self.write_owed_notes()?;
            self.note_refused()?;
            // Else no seal waits for a note, and what is full is sealed below.
            if self.catalog.unreadable().is_empty() { Ok(()) } else { self.seal_and_note() }
        });
        if self.closed.swap(true, Ordering::AcqRel) {
            return self.check_poisoned();
        }
        // What has begun to write segments anew, to end or to drop them comes to its end first, and
        // is put on record. All that comes now is refused, and touches no file.
        self.compactor.stop();
        drop(self.jobs.write());
        drop(self.cleaning.lock());
        self.ended.store(true, Ordering::Release);
        let sealed = self.seal_or_trim();
        self.maintenance.stop();
        let outcome = noted.and(sealed.and_then(|()| self.finish()));
        lock.take();
        outcome
    }

    /// Seals what was written, or trims it where it is little, and syncs it.
    fn seal_or_trim(&self) -> Result<()> {
        let mut short = Vec::new();
        for (number, stream) in self.streams.iter().enumerate() {
            let mut active = stream.lock();
            let Some(segment) = &active.segment else { continue };
            if segment.end() >= crate::limits::SEAL_ON_CLOSE_BYTES {
                let full = active.retire();
                full.into_iter().for_each(|full| self.maintenance.note_full(number, full));
            } else {
                short.push(Arc::clone(segment));
            }
        }
        self.maintenance.begin_stop();
        // Each is synced as it is sealed, so that one is while another is computed.
        self.seal_full();
        self.sync()?;
        short.iter().try_for_each(|segment| trim(segment))
    }

    fn finish(&self) -> Result<()> {
        self.catalog.spares.clear();
        // Those that were at work meanwhile have ended, and may have failed.
        self.check_poisoned()?;
        // What still waits is sealed by the next opening.
        let waiting = self.maintenance.change_full(Full::take_all);
        waiting.iter().try_for_each(|(_, segment)| trim(segment))?;
        self.check_noted()?;
        self.sequence.close(|known| heads(&self.catalog, known))
    }
}

/// Cuts what was preallocated for a segment, for good.
fn trim(segment: &Segment) -> Result<()> {
    segment.trim()?;
    segment.file().sync()
}

/// True when the segment was begun `age` ago, or is from as far in the future: then the clock was
/// wrong, and records from now on are not to wait for that time to expire.
pub(super) fn is_old(segment: &Segment, now: i64, age: Duration) -> bool {
    Duration::from_nanos(now.abs_diff(segment.header().created_at)) >= age
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ledger::{Durability, Options};
    use crate::model::Event;

    /// Who appends wakes the thread from its sleep and not from a nap, after which it looks itself.
    #[test]
    fn what_falls_due_is_done_after_a_nap_and_after_a_sleep() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().open(dir.path()).unwrap();
        let maintenance = &ledger.inner.maintenance;
        let asleep = NAP * (MOST_NAPS + 20);
        for pause in [Duration::ZERO, NAP / 2, NAP, asleep, Duration::ZERO, asleep] {
            thread::sleep(pause);
            let event = Event::new("e").message("x".repeat(1 << 20));
            ledger.append_with(event, Durability::Os).unwrap();
            let is_done = (0..20_000).any(|_| {
                thread::sleep(Duration::from_millis(1));
                !maintenance.is_due()
            });
            assert!(is_done, "it sleeps on after {pause:?}");
        }
    }
}
