//! The thread that empties a queue into the ledger.

use std::sync::Arc;

use crate::embed::append::same;
use crate::embed::losses::Lost;
use crate::embed::pending::Pending;
use crate::embed::queue::{Queue, Work};
use crate::embed::recorder::own;
use crate::embed::spill::{Spilled, drain};
use crate::error::{Error, Result};
use crate::ledger::{Durability, Ledger};
use crate::model::Timestamp;
use crate::sync::thread::{self, JoinHandle};

/// The name of the thread.
const THREAD: &str = "runledger-queue";

/// Keeps a queue's thread. When it is dropped, all that waits is written, the thread ends and lets
/// go of the ledger. What is recorded later is counted as failed. A thread that waits for room by
/// then gets it yet; an append that is awaited ends with [`Error::Closed`], as nobody can tell
/// whether its future is ever polled again. To be held until the end of `main`: at
/// `std::process::exit` nothing is dropped. A fork of the process has no such thread: what it
/// records is lost, and it waits for nothing.
#[derive(Debug)]
#[must_use = "the queue ends when its guard is dropped"]
pub struct Guard {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.end();
        let Some(thread) = self.thread.take() else { return };
        let is_own = thread.thread().id() == thread::current().id();
        if !is_own && !self.queue.is_of_fork() {
            // A panic of the thread has been printed, and what it left is counted.
            let _ = thread.join();
        }
    }
}

impl Guard {
    /// Starts the thread that writes what the queue holds, at this durability.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system has none to give.
    pub(super) fn start(
        queue: &Arc<Queue>,
        ledger: &Ledger,
        durability: Durability,
    ) -> Result<Self> {
        let queue = Arc::clone(queue);
        let writer = Writer { ledger: ledger.clone(), durability, queue: Arc::clone(&queue) };
        let started = thread::Builder::new().name(THREAD.to_owned()).spawn(move || writer.run());
        let thread = started.map_err(|source| Error::Io {
            operation: "start the thread of a queue for",
            path: ledger.dir().to_owned(),
            source,
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }
}

/// The thread that writes.
struct Writer {
    ledger: Ledger,
    durability: Durability,
    queue: Arc<Queue>,
}

/// However the thread ends, those who wait are told.
struct Ends<'a>(&'a Writer);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.queue.abandon(self.0.now());
    }
}

impl Writer {
    fn run(self) {
        let ends = Ends(&self);
        let mut spare = Pending::default();
        while let Some(Work { mut batch, spilled }) = self.queue.next(spare) {
            self.write(&batch);
            self.tell(false);
            self.queue.done(&batch);
            if let Some(spilled) = spilled {
                self.drain(spilled);
            }
            batch.clear();
            spare = batch;
        }
        self.tell(true);
        drop(ends);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.ledger.storage().now())
    }

    fn write(&self, batch: &Pending) {
        if batch.is_empty() {
            return;
        }
        let durability = if batch.wants_sync { Durability::Sync } else { self.durability };
        let bodies = batch.bodies(|run| own(run, &self.ledger));
        let mut replies = batch.replies().peekable();
        let now = self.now();
        match self.ledger.append_each(&bodies, durability) {
            Ok(outcomes) => {
                for (at, outcome) in outcomes.into_iter().enumerate() {
                    if let Err(err) = &outcome {
                        self.queue.losses(|losses| losses.note_refused(err, now));
                    }
                    if let Some((_, reply)) = replies.next_if(|(of, _)| *of == at) {
                        reply.set(outcome);
                    }
                }
            }
            Err(err) => {
                self.queue.losses(|losses| losses.note_failed(batch.len() as u64, &err, now));
                replies.for_each(|(_, reply)| reply.set(Err(same(&err))));
            }
        }
    }

    /// Appends what was spilled. Where that cannot be, for a full disk for instance, it is tried
    /// again: what is in a file is not lost.
    fn drain(&self, mut spilled: Spilled) {
        let now = self.now();
        match drain(&self.ledger, self.durability, &mut spilled) {
            Ok(left_out) => {
                if left_out.damaged > 0 || left_out.refused > 0 {
                    self.queue.losses(|losses| losses.note_left_out(&left_out, now));
                }
                self.queue.drained(&spilled);
            }
            Err(err) => {
                self.queue.losses(|losses| losses.last_error = Some(err.to_string()));
                self.queue.put_back(spilled);
            }
        }
    }

    /// Tells the ledger of what was lost.
    fn tell(&self, is_end: bool) {
        let monotonic = self.ledger.storage().monotonic();
        let untold = self.queue.losses(|losses| losses.tell(monotonic, is_end));
        let Some((event, lost)): Option<(_, Lost)> = untold else { return };
        let told = self.ledger.append_with(event, self.durability).is_ok().then_some(lost);
        self.queue.losses(|losses| losses.told(told, monotonic));
    }
}
