//! The ledger as a stream: what is appended, as it is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use crate::embed::pending::weight;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::model::Record;
use crate::query::{Cursor, ENOUGH, Order, Query};
use crate::sync::thread;
use crate::sync::{Condvar, Mutex};

/// How soon after one look at the ledger the next one is taken.
const PAUSE: Duration = Duration::from_millis(50);

/// How many records are read ahead of the one who takes them.
const AHEAD: usize = 500;

/// The records of a ledger from a place on, in the order of their numbers, and then those that are
/// appended, within a twentieth of a second. It ends behind the last of them once the
/// ledger is closed by [`Ledger::close`]. All states of runs are in it.
///
/// Who comes back goes on behind the last record that it saw, by its number: none is left out and
/// none comes twice. A thread of its own reads, and no further ahead than 500 records or 8 MiB of
/// them, so that a slow taker costs little memory. After an error that is not
/// [`Error::Damaged`] there is nothing more.
///
/// ```
/// use runledger::embed::Follow;
/// use runledger::{Event, Ledger};
/// use smol::stream::StreamExt;
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let mut follow = Follow::new(&ledger, 0, |query| query.record_type("booked"))?;
/// let seq = ledger.append(Event::new("booked"))?;
/// # smol::block_on(async {
/// let record = follow.next().await.expect("the ledger is open")?;
/// assert_eq!(record.seq, seq);
/// # Ok::<(), runledger::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Follow(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Records were taken, or nobody takes them any more.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Result<Record<'static>>>,
    waker: Option<Waker>,
    /// Nobody takes records any more.
    is_dropped: bool,
    /// No more records come.
    has_ended: bool,
}

impl Follow {
    /// Follows the ledger behind the record with this number (0 for all): those records that the
    /// narrowed query asks for. One that is damaged, and might be one of them, is an error in its
    /// place. It keeps the ledger open.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system has no thread to give.
    pub fn new(
        ledger: &Ledger,
        after: u64,
        narrow: impl Fn(Query) -> Query + Send + 'static,
    ) -> Result<Self> {
        let ledger = ledger.clone();
        let shared = Arc::new(Shared::default());
        let dir = ledger.dir().to_owned();
        let work = {
            let (shared, ledger) = (Arc::clone(&shared), ledger.clone());
            move || {
                // However it ends, the one who takes is told.
                let ends = Ends(&shared);
                if let Err(err) = shared.follow(&ledger, after, narrow) {
                    shared.put(vec![Err(err)]);
                }
                drop(ends);
            }
        };
        let started = thread::Builder::new().name("runledger-follow".to_owned()).spawn(work);
        started.map_err(|source| Error::Io {
            operation: "start the thread of a stream for",
            path: dir,
            source,
        })?;
        Ok(Self(shared))
    }
}

impl Shared {
    /// Reads until nobody takes what is read, or there is nothing more to come.
    fn follow(&self, ledger: &Ledger, after: u64, narrow: impl Fn(Query) -> Query) -> Result<()> {
        let mut place = after;
        loop {
            // First the bound, so that the query sees all up to it.
            let is_last = ledger.is_settled_for_good();
            let settled = ledger.settled();
            let query = narrow(ledger.query().history(true)).or_damaged();
            let query = query.order(Order::Seq).limit(AHEAD);
            let mut more = false;
            if settled > place {
                let page = query.after(Cursor::after_seq(place)).fetch()?;
                let (mut records, mut bytes, mut last) = (Vec::new(), 0, place);
                for (seq, record) in page.seqs().zip(page.records()) {
                    more = seq <= settled && bytes >= ENOUGH;
                    if more || seq > settled {
                        break;
                    }
                    bytes += record.as_ref().map_or(0, |record| weight(&record.body));
                    records.push(record.map(Record::into_owned));
                    last = seq;
                }
                more |= page.next().is_some() && last < settled;
                // What the query leaves out need not be looked at again.
                place = if more { last } else { settled };
                self.put(records);
            }
            if is_last && !more || !self.wait(more) {
                return Ok(());
            }
        }
    }

    fn put(&self, records: Vec<Result<Record<'static>>>) {
        if records.is_empty() {
            return;
        }
        let waker = {
            let mut state = self.state.lock();
            state.records.extend(records);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it is time for another look: what was read is taken, and where there is no more
    /// to be read now, a while has passed. False when nobody takes records any more.
    fn wait(&self, more: bool) -> bool {
        let mut state = self.state.lock();
        if !more && !state.is_dropped {
            state = self.taken.wait_for(state, PAUSE);
        }
        while !state.is_dropped && !state.records.is_empty() {
            state = self.taken.wait(state);
        }
        !state.is_dropped
    }
}

struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.state.lock();
            state.has_ended = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Stream for Follow {
    type Item = Result<Record<'static>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state.lock();
        if let Some(record) = state.records.pop_front() {
            if state.records.is_empty() {
                self.0.taken.notify_one();
            }
            return Poll::Ready(Some(record));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Follow {
    /// The thread ends with its next step, and lets go of the ledger.
    fn drop(&mut self) {
        self.0.state.lock().is_dropped = true;
        self.0.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use smol::stream::StreamExt;

    use super::*;
    use crate::Event;

    /// A look held 500 records of whatever length.
    #[test]
    fn large_records_are_read_a_few_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        for _ in 0..20 {
            ledger.append(Event::new("x").message("x".repeat(1 << 20))).unwrap();
        }
        let follow = Follow::new(&ledger, 0, |query| query).unwrap();
        // Those of one look come at once, and no others before they are taken.
        let held = loop {
            match follow.0.state.lock().records.len() {
                0 => thread::yield_now(),
                held => break held,
            }
        };
        assert_eq!(held, 8);
        let seqs = follow.take(20).map(|record| record.unwrap().seq).collect::<Vec<_>>();
        assert_eq!(smol::block_on(seqs), (1..=20).collect::<Vec<_>>());
    }
}
