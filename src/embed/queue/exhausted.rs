//! Every order in which those who record, the thread that writes and the end of the queue can meet,
//! up to a bound of how often a thread is interrupted where that is said. How many there were is
//! printed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::thread::{self, Thread};
use parking_lot::Mutex;

use super::{Bounds, Queue, WhenFull, Work};
use crate::embed::append::Append;
use crate::embed::pending::Pending;
use crate::error::{Error, Result};
use crate::model::{Body, Event, Timestamp};

const NOW: Timestamp = Timestamp::from_nanos(0);

/// What becomes of the first batch that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// The ledger cannot take it.
    Fails,
    /// The thread that writes panics over it.
    Panics,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    when_full: WhenFull,
    fate: Fate,
    /// Threads that record, besides one that awaits its record where that is said.
    threads: usize,
    each: usize,
    awaits: bool,
    /// How often threads are interrupted; `None` for no bound.
    preemptions: Option<usize>,
}

/// What the ledger has: the texts of the events.
type Written = Arc<Mutex<Vec<String>>>;

/// However the thread ends that writes, the queue is told.
struct Ends(Arc<Queue>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abandon(NOW);
    }
}

fn write(queue: &Arc<Queue>, written: &Written, mut fate: Fate) {
    let _ends = Ends(Arc::clone(queue));
    let mut spare = Pending::default();
    while let Some(Work { mut batch, .. }) = queue.next(spare) {
        if batch.len() > 0 {
            match std::mem::replace(&mut fate, Fate::Good) {
                // What the stack unwinds, this leaves: loom takes a panic for a failure.
                Fate::Panics => return,
                Fate::Fails => {
                    let records = batch.len() as u64;
                    queue.losses(|losses| losses.note_failed(records, &Error::Closed, NOW));
                    batch.replies().for_each(|(_, reply)| reply.set(Err(Error::Closed)));
                }
                Fate::Good => append(&batch, written),
            }
        }
        queue.losses(|losses| {
            if let Some((_, lost)) = losses.tell(Duration::ZERO, true) {
                losses.told(Some(lost), Duration::ZERO);
            }
        });
        queue.done(&batch);
        batch.clear();
        spare = batch;
    }
}

fn append(batch: &Pending, written: &Written) {
    let mut written = written.lock();
    for body in batch.bodies(|_| {}) {
        let Body::Event(event) = body else { panic!("an event") };
        written.push(event.event_type.into_owned());
    }
    let seq = written.len() as u64;
    batch.replies().for_each(|(_, reply)| reply.set(Ok(seq)));
}

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(append: Append) -> Result<u64> {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut append = pin!(append);
    loop {
        match append.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

fn exhaust(case: Case) {
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = case.preemptions;
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        one_order(case);
    });
    let threads = case.threads + usize::from(case.awaits);
    let orders = orders.load(Ordering::Relaxed);
    println!("loom: a queue, {}, {threads} threads, {orders} orders", case.name);
}

fn one_order(case: Case) {
    let queue = Arc::new(Queue::new(Bounds { records: 1, bytes: 1 << 20 }, case.when_full, None));
    let written = Written::default();
    let writer = {
        let (queue, written) = (Arc::clone(&queue), Arc::clone(&written));
        thread::spawn(move || write(&queue, &written, case.fate))
    };
    let record = move |queue: &Queue, thread: usize| -> Vec<String> {
        let texts = (0..case.each).map(|number| format!("{thread} {number}"));
        texts.filter(|text| queue.push(Event::new(text.as_str()).into(), NOW)).collect()
    };
    let others: Vec<_> = (1..case.threads)
        .map(|at| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || record(&queue, at))
        })
        .collect();
    let awaits = case.awaits.then(|| {
        let queue = Arc::clone(&queue);
        let append = Append::queued(Arc::clone(&queue), Event::new("awaited").into(), false);
        thread::spawn(move || wait(append))
    });
    let mut taken = record(&queue, 0);
    // The others are at it yet.
    queue.end();
    taken.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
    let awaited = awaits.map(|awaits| awaits.join().unwrap());
    writer.join().unwrap();
    check(case, &queue, &written.lock(), &taken, awaited);
}

fn check(
    case: Case,
    queue: &Queue,
    written: &[String],
    taken: &[String],
    awaited: Option<Result<u64>>,
) {
    let of = |thread: usize| {
        let texts = written.iter().filter_map(move |text| text.strip_prefix(&format!("{thread} ")));
        texts.map(|number| number.parse::<usize>().unwrap()).collect::<Vec<_>>()
    };
    for thread in 0..case.threads {
        assert!(of(thread).is_sorted_by(|a, b| a < b), "doubled, or out of order: {written:?}");
    }
    let awaited_in = written.iter().filter(|text| *text == "awaited").count();
    let is_acknowledged = matches!(awaited, Some(Ok(_)));
    assert_eq!(awaited_in, usize::from(is_acknowledged), "{awaited:?}, {written:?}");
    let (dropped, failed) = queue.losses(|losses| (losses.total.full, losses.total.failed));
    let recorded = case.threads * case.each;
    let of_awaited = u64::from(awaited.is_some());
    let lost = dropped + failed;
    let seen = written.len() as u64 + lost;
    // One that is awaited is refused without being counted, as its caller hears of it.
    let all = recorded as u64 + of_awaited;
    assert!(seen == all || seen + 1 == all && matches!(awaited, Some(Err(_))), "{seen} of {all}");
    if case.fate == Fate::Good {
        assert!(taken.iter().all(|text| written.contains(text)), "taken and not written");
    }
    assert_eq!(queue.waiting().0, 0, "somebody waits for ever");
}

const BLOCK: Case = Case {
    name: "who finds no room waits",
    when_full: WhenFull::Block,
    fate: Fate::Good,
    threads: 1,
    each: 2,
    awaits: false,
    preemptions: None,
};

#[test]
fn of_one_who_waits_for_room() {
    exhaust(BLOCK);
    exhaust(Case { name: "a batch fails", fate: Fate::Fails, ..BLOCK });
    exhaust(Case { name: "the writer panics", fate: Fate::Panics, ..BLOCK });
}

#[test]
fn of_one_who_drops() {
    let dropping = Case { when_full: WhenFull::Drop, each: 3, ..BLOCK };
    exhaust(Case { name: "what finds no room is dropped", ..dropping });
    exhaust(Case { name: "dropped, and the writer panics", fate: Fate::Panics, ..dropping });
}

#[test]
fn of_two_that_wait_for_room() {
    let two = Case { threads: 2, each: 1, preemptions: Some(3), ..BLOCK };
    exhaust(two);
    exhaust(Case { name: "two, and a batch fails", fate: Fate::Fails, ..two });
    exhaust(Case { name: "two, and the writer panics", fate: Fate::Panics, ..two });
}

#[test]
fn of_one_that_records_and_one_that_awaits() {
    let awaiting = Case { awaits: true, each: 1, preemptions: Some(3), ..BLOCK };
    exhaust(Case { name: "one is awaited", ..awaiting });
    exhaust(Case { name: "awaited, and a batch fails", fate: Fate::Fails, ..awaiting });
    exhaust(Case { name: "awaited, and the writer panics", fate: Fate::Panics, ..awaiting });
}
