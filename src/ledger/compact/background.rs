//! Compaction in the background: a thread of its own, so that syncs and seals never wait for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::compact::Compaction;
use crate::ledger::handle::Inner;
use crate::ledger::worker::Worker;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How often it is looked for segments to compact.
const ROUND: Duration = Duration::from_secs(60);

/// After so many bytes it is waited for as long as they may take.
const SLICE_BYTES: u64 = 1 << 20;

/// The thread that compacts, and what is under way.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Compactor {
    state: Mutex<State>,
    wake: Condvar,
    /// Told when somebody waits for who keeps to a pace.
    hurry: Condvar,
    /// Held while a segment is written anew: two at once would write one draft.
    rewriting: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// How many wait to write a segment anew.
    waiting: usize,
    worker: Option<Worker>,
}

impl Compactor {
    /// Starts the thread, which ends with the ledger. It reads no more than so many bytes of frames
    /// a second.
    pub(in crate::ledger) fn start(
        self: &Arc<Self>,
        inner: &Weak<Inner>,
        compaction: Compaction,
        bytes_per_second: u64,
    ) -> Result<()> {
        let (compactor, of) = (Arc::clone(self), Weak::clone(inner));
        let work = move || compactor.run(&of, &compaction, bytes_per_second.max(1));
        self.state.lock().worker = Some(Worker::start("runledger-pack", inner, work)?);
        Ok(())
    }

    fn run(&self, inner: &Weak<Inner>, compaction: &Compaction, bytes_per_second: u64) {
        while self.pause(ROUND, &self.wake, |_| false) {
            let Some(inner) = inner.upgrade() else { return };
            // What cannot be compacted now, for want of space for instance, is tried again in the
            // next round; what is damaged is for `verify` to say.
            let _ = inner.compact(compaction, &mut self.pace(bytes_per_second));
        }
    }

    /// The right to write segments anew. Until it is there, who has it keeps to no pace.
    pub(super) fn begin_rewriting(&self) -> MutexGuard<'_, ()> {
        self.state.lock().waiting += 1;
        self.hurry.notify_all();
        let rewriting = self.rewriting.lock();
        self.state.lock().waiting -= 1;
        rewriting
    }

    /// Waits after each slice for as long as that may take, unless somebody waits for it.
    fn pace(&self, bytes_per_second: u64) -> impl FnMut(u64) -> Result<()> {
        let mut owed = 0;
        move |bytes| {
            owed += bytes;
            if owed < SLICE_BYTES {
                return Ok(());
            }
            let nanos = u128::from(owed) * 1_000_000_000 / u128::from(bytes_per_second);
            let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            owed = 0;
            match self.pause(wait, &self.hurry, |state| state.waiting > 0) {
                true => Ok(()),
                false => Err(Error::Closed),
            }
        }
    }

    /// Waits, unless there is none to be; false when it is to stop.
    fn pause(&self, time: Duration, told: &Condvar, is_none: fn(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        if !state.stop && !is_none(&state) {
            state = told.wait_for(state, time);
        }
        !state.stop
    }

    /// Stops the thread and waits for it, unless it is the one that calls, and for any other that
    /// writes a segment anew: they look after each frame whether the ledger is closed.
    pub(in crate::ledger) fn stop(&self) {
        let worker = {
            let mut state = self.state.lock();
            state.stop = true;
            state.worker.take()
        };
        self.wake.notify_all();
        self.hurry.notify_all();
        worker.into_iter().for_each(Worker::join);
        drop(self.rewriting.lock());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::ledger::classes::StreamSet;
    use crate::ledger::{Durability, Erasure, Options};
    use crate::model::{Event, Field, Id};

    /// Who asked for an erasure, a compaction or a clean-up by status waited until the background
    /// had come to the end of its segments at its pace: a quarter of an hour for each at 64 KiB a
    /// second.
    #[test]
    fn who_rewrites_does_not_wait_for_the_pace_of_the_background() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().background(false).open(dir.path()).unwrap();
        for _ in 0..4 {
            let event = Event::new("e").message("x".repeat(600_000));
            let event = event.user_id(Id::new("u").unwrap());
            ledger.append_with(event, Durability::Os).unwrap();
        }
        ledger.inner.seal_all(StreamSet::ALL).unwrap();
        let inner = Arc::clone(&ledger.inner);
        let background = std::thread::spawn(move || {
            let mut pace = inner.compactor.pace(1);
            inner.compact(&Compaction::new(), &mut pace)
        });
        let (storage, events) = (&ledger.inner.options.storage, dir.path().join("streams/events"));
        let is_draft = |name: &str| name.ends_with(".draft");
        while !storage.list(&events).unwrap().iter().any(|entry| is_draft(&entry.name)) {
            assert!(!background.is_finished(), "there was nothing to do");
            std::thread::yield_now();
        }
        let (erases, (told, erased)) = (ledger.clone(), mpsc::channel());
        std::thread::spawn(move || {
            let erasure = Erasure::of(Field::User, Id::new("u").unwrap()).unwrap();
            told.send(erases.erase(&erasure).unwrap().total()).unwrap();
        });
        assert_eq!(erased.recv_timeout(Duration::from_secs(20)), Ok(4));
        assert_eq!(background.join().unwrap().unwrap().rewrites.len(), 1);
    }
}
