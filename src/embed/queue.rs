//! The bounded queue between those who record and the thread that writes.
//!
//! That nobody waits for ever and nothing is lost or doubled is tried in every order of a few
//! threads, under loom: `RUSTFLAGS="--cfg loom" cargo test --no-default-features --lib exhausted`.

#[cfg(all(test, loom))]
mod exhausted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::embed::append::Outcome;
use crate::embed::losses::{Losses, PAUSE};
use crate::embed::pending::{self, Bounds, Pending};
use crate::embed::spill::{Spill, Spilled};
use crate::error::Error;
use crate::model::{Body, Timestamp};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// For how long the writer lets records come together before it writes them, so that not each of
/// them wakes it. Who waits for a record, or for room, is not kept waiting by it.
const GATHER: Duration = Duration::from_millis(1);

/// What becomes of a record that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for room, and the thread with it.
    #[default]
    Block,
    /// It is left out and counted, and an event of the type `recorder.dropped` in the ledger tells
    /// of it. For states of runs, of which none is to be missing, a quarter of the bound is kept
    /// besides.
    Drop,
    /// An event or an error is written into a file in the ledger's directory, and so are all that
    /// come after it until the thread that writes has caught up; there it is safe from a kill of
    /// the process, which the queue is not. The files may take 64 MiB, or what
    /// [`QueueOptions::spill_bytes`](crate::embed::QueueOptions::spill_bytes) says: more is left
    /// out and counted, as by [`WhenFull::Drop`], and so is what cannot be written there.
    ///
    /// What is spilled is appended in its order. States of runs are not spilled, nor is what is
    /// awaited: they wait for room, for which a quarter of the bound is kept for states besides,
    /// and may so come into the ledger before what was recorded earlier.
    ///
    /// What is left after a kill, a crash or a disk that was full is appended by the next recorder
    /// that spills over the ledger, before anything that it spills itself. Nothing is appended
    /// twice: a file's name tells where in the ledger its records may be. (Only those of which
    /// retention has dropped the first copy in the meantime are appended once more, and those
    /// whose first copy cannot be read.) A file that cannot be read holds up none that come after
    /// it: it is counted as failed, and left for the next recorder. Of the file that a crash has
    /// met, the errors may come behind the events. A power cut may take what was spilled and not
    /// appended.
    Spill,
}

#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    when_full: WhenFull,
    state: Mutex<State>,
    /// There is something to write.
    to_write: Condvar,
    /// Something was written, or never will be.
    written: Condvar,
    /// The process whose thread writes.
    pid: u32,
}

#[derive(Debug, Default)]
struct State {
    pending: Pending,
    /// How many records wait, and what they cost, those that are just written included.
    records: usize,
    bytes: usize,
    /// How many came, and how many of them are done with.
    taken: u64,
    done: u64,
    writer: Writer,
    /// True when somebody waits for what is pending.
    hurry: bool,
    /// No more is to come.
    ends: bool,
    /// There is no writer any more.
    ended: bool,
    losses: Losses,
    /// Threads that wait for room.
    blocked: usize,
    /// Futures that do, each in a place of its own, and how many places were given.
    asleep: BTreeMap<u64, Waker>,
    places: u64,
    /// Where records wait that found no room.
    spill: Option<Spill>,
    /// How many were written there, and how many of them are done with.
    spilled: u64,
    drained: u64,
    /// True when what was spilled could not be appended just now.
    stalls: bool,
    /// True once it was tried again at the end.
    tried_again: bool,
}

/// What the writer is to do, in this order.
#[derive(Debug)]
pub(super) struct Work {
    /// It is empty where only losses are to be told, or a file is to be drained.
    pub(super) batch: Pending,
    pub(super) spilled: Option<Spilled>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Writer {
    #[default]
    Busy,
    /// It waits for the first record.
    Idle,
    /// It waits for more of them.
    Gathers,
}

impl Queue {
    pub(super) fn new(bounds: Bounds, when_full: WhenFull, spill: Option<Spill>) -> Self {
        Self {
            bounds,
            when_full,
            state: Mutex::new(State { spill, ..State::default() }),
            to_write: Condvar::default(),
            written: Condvar::default(),
            pid: std::process::id(),
        }
    }

    /// True in a fork of the process: there nobody writes, and the files are not to be touched.
    pub(super) fn is_of_fork(&self) -> bool {
        std::process::id() != self.pid
    }

    /// Takes a record, or does with it what was said for a full queue. False when it is lost, as
    /// are all that come after the end.
    pub(super) fn push(&self, body: Body<'_>, now: Timestamp) -> bool {
        let weight = pending::weight(&body);
        let is_run = matches!(body, Body::Run(_));
        let mut state = self.state.lock();
        // Who waits for room by then may come in yet. Of others the writer might see no end.
        let is_late = state.ends;
        while !(is_late || state.ended)
            && !(state.has_room(&self.bounds, weight, is_run) && (is_run || !state.spills()))
        {
            state.ended = self.is_of_fork();
            match self.when_full {
                _ if state.ended => {}
                WhenFull::Spill if !is_run => return state.spill(&body, now),
                WhenFull::Block | WhenFull::Spill => {
                    self.hurry(&mut state);
                    state.blocked += 1;
                    state = self.written.wait(state);
                    state.blocked -= 1;
                }
                WhenFull::Drop => {
                    state.losses.note_full(now);
                    return false;
                }
            }
        }
        if is_late || state.ended {
            state.losses.note_failed(1, &Error::Closed, now);
            return false;
        }
        state.take(weight).push(body, weight);
        self.wake(&mut state);
        true
    }

    /// Takes a record of which somebody waits to hear. Where there is no room the waker is woken
    /// once there is; what comes then is its place, for [`Queue::leave`].
    pub(super) fn send(
        &self,
        body: &Body<'static>,
        sync: bool,
        outcome: &Arc<Outcome>,
        waker: &Waker,
    ) -> Option<u64> {
        let weight = pending::weight(body);
        let mut state = self.state.lock();
        if state.ends || state.ended || self.is_of_fork() {
            outcome.set(Err(Error::Closed));
            return None;
        }
        if !state.has_room(&self.bounds, weight, false) {
            state.places += 1;
            let place = state.places;
            state.asleep.insert(place, waker.clone());
            self.hurry(&mut state);
            return Some(place);
        }
        let pending = state.take(weight);
        pending.wants_sync |= sync;
        pending.push_with_reply(body.borrowed(), weight, outcome);
        state.hurry = true;
        self.wake(&mut state);
        None
    }

    /// For a future that no longer waits in this place.
    pub(super) fn leave(&self, place: u64) {
        // What a waker drops may be another such future: the lock is given back before.
        let waker = self.state.lock().asleep.remove(&place);
        drop(waker);
    }

    /// Returns once all that was taken before is written, or cannot be.
    pub(super) fn flush(&self) {
        let mut state = self.state.lock();
        state.ended |= self.is_of_fork();
        let (taken, spilled) = (state.taken, state.spilled);
        let is_done = |state: &State| {
            state.done >= taken && (state.drained >= spilled || state.stalls) || state.ended
        };
        while !is_done(&state) {
            self.hurry(&mut state);
            state = self.written.wait(state);
        }
    }

    /// Says that no more is to come: the writer ends when all is written.
    pub(super) fn end(&self) {
        self.state.lock().ends = true;
        self.to_write.notify_all();
    }

    fn hurry(&self, state: &mut State) {
        state.hurry = true;
        self.wake(state);
    }

    /// Wakes the writer where it would wait in vain.
    fn wake(&self, state: &mut State) {
        let is_due = match state.writer {
            Writer::Busy => false,
            Writer::Idle => !state.pending.is_empty(),
            Writer::Gathers => state.is_due(&self.bounds),
        };
        if is_due {
            state.writer = Writer::Busy;
            self.to_write.notify_one();
        }
    }

    /// For the writer: what there is to do, in exchange for an empty buffer. `None` at the end.
    pub(super) fn next(&self, spare: Pending) -> Option<Work> {
        let mut state = self.state.lock();
        let mut gathered = false;
        while !state.can_drain()
            && (state.pending.is_empty() || !(gathered || state.is_due(&self.bounds)))
        {
            if !state.pending.is_empty() {
                state.writer = Writer::Gathers;
                state = self.to_write.wait_for(state, GATHER);
                gathered = true;
            } else if state.ends && state.blocked == 0 {
                if !state.stalls || state.tried_again {
                    state.ended = true;
                    return None;
                }
                (state.stalls, state.tried_again) = (false, true);
            } else if state.losses.has_untold() || state.stalls {
                state.writer = Writer::Idle;
                state = self.to_write.wait_for(state, PAUSE);
                state.stalls = false;
                if state.pending.is_empty() {
                    break;
                }
            } else {
                state.writer = Writer::Idle;
                state = self.to_write.wait(state);
            }
        }
        (state.writer, state.hurry) = (Writer::Busy, false);
        let batch = std::mem::replace(&mut state.pending, spare);
        let can_drain = state.can_drain();
        let spilled = state.spill.as_mut().filter(|_| can_drain).and_then(Spill::take);
        Some(Work { batch, spilled })
    }

    /// For the writer: what was spilled is appended.
    pub(super) fn drained(&self, spilled: &Spilled) {
        let mut state = self.state.lock();
        state.drained += spilled.records;
        if let Some(spill) = &mut state.spill {
            spill.drained(spilled);
        }
        self.written.notify_all();
    }

    /// For the writer: what was spilled cannot be appended for now.
    pub(super) fn put_back(&self, spilled: Spilled) {
        let mut state = self.state.lock();
        state.stalls = true;
        if let Some(spill) = &mut state.spill {
            spill.put_back(spilled);
        }
        // Who waits for it would wait for too long.
        self.written.notify_all();
    }

    /// For the writer: these are done with.
    pub(super) fn done(&self, batch: &Pending) {
        let asleep = {
            let mut state = self.state.lock();
            state.done += batch.len() as u64;
            state.records = state.records.saturating_sub(batch.len());
            state.bytes = state.bytes.saturating_sub(batch.weight);
            self.written.notify_all();
            std::mem::take(&mut state.asleep)
        };
        asleep.into_values().for_each(Waker::wake);
    }

    /// For the writer, however it ends: what waits will not be written.
    pub(super) fn abandon(&self, now: Timestamp) {
        let (left, asleep) = {
            let mut state = self.state.lock();
            state.ended = true;
            // The files are the next recorder's.
            state.spill = None;
            let lost = state.taken - state.done;
            state.done = state.taken;
            if lost > 0 {
                state.losses.note_failed(lost, &Error::Closed, now);
            }
            self.written.notify_all();
            (std::mem::take(&mut state.pending), std::mem::take(&mut state.asleep))
        };
        drop(left);
        asleep.into_values().for_each(Waker::wake);
    }

    /// What was lost so far.
    pub(super) fn losses<R>(&self, look: impl FnOnce(&mut Losses) -> R) -> R {
        look(&mut self.state.lock().losses)
    }

    /// How many records wait, and how many were spilled so far.
    pub(super) fn waiting(&self) -> (u64, u64) {
        let state: MutexGuard<'_, State> = self.state.lock();
        (state.taken - state.done + state.spilled - state.drained, state.spilled)
    }
}

impl State {
    /// True when a record of this weight may come in. One that is heavier than the bound comes in
    /// when nothing else waits.
    fn has_room(&self, bounds: &Bounds, weight: usize, is_run: bool) -> bool {
        let kept = |bound: usize| if is_run { bound / 4 } else { 0 };
        self.records == 0
            || self.records < bounds.records.saturating_add(kept(bounds.records))
                && self.bytes + weight <= bounds.bytes.saturating_add(kept(bounds.bytes))
    }

    /// True while records wait in files: what comes now has to wait behind them.
    fn spills(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| !spill.is_empty())
    }

    /// True when a file is to be drained now.
    fn can_drain(&self) -> bool {
        !self.stalls && self.spill.as_ref().is_some_and(Spill::has_more)
    }

    /// Writes a record into a file. False when it is lost.
    fn spill(&mut self, body: &Body<'_>, now: Timestamp) -> bool {
        match self.spill.as_mut().map(|spill| spill.push(body)) {
            Some(Ok(true)) => {
                self.spilled += 1;
                return true;
            }
            Some(Err(err)) => self.losses.note_failed(1, &err, now),
            Some(Ok(false)) | None => self.losses.note_full(now),
        }
        false
    }

    /// Counts a record of this weight, and lends what it goes into.
    fn take(&mut self, weight: usize) -> &mut Pending {
        self.taken += 1;
        self.records += 1;
        self.bytes += weight;
        &mut self.pending
    }

    /// True when what is pending is to be written now.
    fn is_due(&self, bounds: &Bounds) -> bool {
        self.hurry
            || self.ends
            || self.pending.len() >= bounds.records / 2
            || self.pending.weight >= bounds.bytes / 2
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use crate::ledger::Options;
    use crate::model::Event;

    /// A drain that failed just when the recorder's guard was dropped was the last: what it had
    /// found no file descriptor for waited for the next recorder.
    #[test]
    fn a_drain_that_was_under_way_at_the_end_is_tried_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().background(false).open(dir.path()).unwrap();
        let mut spill = Spill::open(&ledger, 1 << 20).unwrap();
        spill.push(&Event::new("e").into()).unwrap();
        let bounds = Bounds { records: 1, bytes: 1 << 20 };
        let queue = Queue::new(bounds, WhenFull::Spill, Some(spill));
        let next = || queue.next(Pending::default()).map(|work| work.spilled.unwrap());
        let spilled = next().unwrap();
        queue.end();
        queue.put_back(spilled);
        let spilled = next().unwrap();
        queue.put_back(spilled);
        assert!(next().is_none());
    }

    const NOW: Timestamp = Timestamp::from_nanos(0);

    /// A fork of the process waited for room that nobody made and for a thread that it does not
    /// have, and what it spilled went into the files of the writer, over what that had spilled.
    #[test]
    fn a_fork_waits_for_nobody_and_spills_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().background(false).open(dir.path()).unwrap();
        for when_full in [WhenFull::Spill, WhenFull::Drop, WhenFull::Block] {
            let spills = when_full == WhenFull::Spill;
            let spill = spills.then(|| Spill::open(&ledger, 1 << 20).unwrap());
            let mut queue = Queue::new(Bounds { records: 1, bytes: 1 << 20 }, when_full, spill);
            queue.pid += 1;
            assert!(queue.push(Event::new("a").into(), NOW));
            assert!(!queue.push(Event::new("b").into(), NOW), "{when_full:?}");
            queue.flush();
            let outcome = Arc::new(Outcome::default());
            let sent = queue.send(&Event::new("c").into(), false, &outcome, Waker::noop());
            assert!(sent.is_none());
            assert_eq!(queue.losses(|losses| losses.total.failed), 1, "{when_full:?}");
        }
        let files = std::fs::read_dir(ledger.layout().spill()).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["LOCK"]);
    }
}
