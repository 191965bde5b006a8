//! Compaction in the background: a thread of its own, so that syncs and seals never wait for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::compact::Compaction;
use crate::ledger::handle::Inner;
use crate::ledger::worker::Worker;
use crate::sync::{Condvar, Mutex};

/// How often it is looked for segments to compact.
const ROUND: Duration = Duration::from_secs(60);

/// After so many bytes it is waited for as long as they may take.
const SLICE_BYTES: u64 = 1 << 20;

/// The thread that compacts, and what is under way.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Compactor {
    state: Mutex<State>,
    wake: Condvar,
    /// Held while a segment is written anew: two at once would write one draft.
    pub(super) rewriting: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
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
        while self.pause(ROUND) {
            let Some(inner) = inner.upgrade() else { return };
            let mut owed = 0;
            let mut pace = |bytes: u64| {
                owed += bytes;
                if owed < SLICE_BYTES {
                    return Ok(());
                }
                let nanos = u128::from(owed) * 1_000_000_000 / u128::from(bytes_per_second);
                let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                owed = 0;
                if self.pause(wait) { Ok(()) } else { Err(Error::Closed) }
            };
            // What cannot be compacted now, for want of space for instance, is tried again in the
            // next round; what is damaged is for `verify` to say.
            let _ = inner.compact(compaction, &mut pace);
        }
    }

    /// Waits; false when it is to stop.
    fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stop {
            state = self.wake.wait_for(state, time);
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
        worker.into_iter().for_each(Worker::join);
        drop(self.rewriting.lock());
    }
}
