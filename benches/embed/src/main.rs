//! What an event of five fields in a span costs, in one run of all ways on one disk:
//!
//! - `append`: the library's own append of an event whose payload is made already, at `Os`;
//! - `layer`: a `LedgerLayer` in place, at `Os`;
//! - `queue`: a `LedgerLayer` by a queue, at `Interval`;
//! - `json`: tracing-subscriber's JSON formatter into tracing-appender's non-blocking file writer.
//!
//! `cargo run --release --manifest-path benches/embed/Cargo.toml [EVENTS [DIR]]` prints for 1, 4
//! and 16 threads the CPU time of the whole process by event, that of the thread that records, and
//! the wall time, each until everything is written; each is the median of five rounds, in which the
//! ways take turns. Then the allocations of an event on its own thread.

use std::error::Error;
use std::path::Path;
use std::sync::Barrier;

use runledger::embed::{LedgerLayer, Recorder};
use runledger::{Durability, Event, Id, Json, Ledger, Severity};
use rustix::time::{ClockId, clock_gettime};
use tracing::Dispatch;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::layer::SubscriberExt;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 5;
const THREADS: [usize; 3] = [1, 4, 16];
const PAYLOAD: &str =
    r#"{"booking":1042,"host":"db1.example.org","rows":12004,"took":0.25,"retried":false}"#;

/// Nanoseconds by event.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    process: f64,
    thread: f64,
    wall: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Append,
    Layer,
    Queue,
    Json,
}

const WAYS: [(Way, &str); 4] =
    [(Way::Append, "append"), (Way::Layer, "layer"), (Way::Queue, "queue"), (Way::Json, "json")];

fn main() -> Outcome<()> {
    let events = std::env::args().nth(1).map_or(Ok(400_000), |text| text.parse::<usize>())?;
    let dir = std::env::args().nth(2).unwrap_or_else(|| ".".to_owned());
    let dir = Path::new(&dir);
    println!("{events} events a round, ns by event: process CPU | thread CPU | wall\n");
    for threads in THREADS {
        let mut costs = [[Cost::default(); ROUNDS]; WAYS.len()];
        for round in 0..ROUNDS {
            for (costs, (way, _)) in costs.iter_mut().zip(WAYS) {
                costs[round] = measure(way, threads, events / threads, dir)?;
            }
        }
        let median = |way: usize, of: fn(&Cost) -> f64| {
            let mut values = costs[way].each_ref().map(of);
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        for (at, (_, name)) in WAYS.iter().enumerate() {
            let (process, thread) = (median(at, |cost| cost.process), median(at, |c| c.thread));
            let wall = median(at, |cost| cost.wall);
            println!(
                "{threads:>2} threads  {name:<6}  {process:>6.0} | {thread:>6.0} | {wall:>6.0}   \
                 {:.2} x append, {:.2} x json",
                process / median(0, |cost| cost.process),
                process / median(3, |cost| cost.process),
            );
        }
    }
    println!();
    for (way, name) in WAYS {
        println!("allocations by event: {name:<6} {}", allocations(way, dir)?);
    }
    Ok(())
}

/// Has `work` done with this way of recording: it is given what records one event.
fn with_way<R: Send>(
    way: Way,
    dir: &Path,
    work: impl FnOnce(&(dyn Fn() + Sync), Option<&Dispatch>) -> R,
) -> Outcome<R> {
    let log = || {
        tracing::info!(name: "booking.saved",
        booking = 1042_u64, host = "db1.example.org", rows = 12_004_u64, took = 0.25,
        retried = false, "the booking is saved")
    };
    if way == Way::Json {
        let file = tracing_appender::rolling::never(dir, "events.jsonl");
        let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(file);
        let layer = tracing_subscriber::fmt::layer().json().with_writer(writer);
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let result = work(&log, Some(&dispatch));
        drop(guard);
        return Ok(result);
    }
    let ledger = Ledger::open(dir.join("ledger"))?;
    let result = match way {
        Way::Append => {
            let payload = Json::parse(PAYLOAD)?;
            let append = || {
                let event = Event::new("booking.saved").severity(Severity::Info);
                let event = event.message("the booking is saved").payload(payload.borrowed());
                let event = event.trace_id(Id::from_hex_bytes([7; 16]));
                let _ = ledger.append_with(event, Durability::Os);
            };
            work(&append, None)
        }
        Way::Layer => {
            let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
            work(&log, Some(&Dispatch::new(tracing_subscriber::registry().with(layer))))
        }
        _ => {
            let (recorder, guard) = Recorder::queue().start(&ledger)?;
            let layer = LedgerLayer::new(recorder.clone());
            let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
            let result = work(&log, Some(&dispatch));
            drop(guard);
            assert_eq!(recorder.stats(), Default::default(), "something was lost");
            result
        }
    };
    ledger.close()?;
    Ok(result)
}

/// Records so many events on each of so many threads.
fn measure(way: Way, threads: usize, each: usize, dir: &Path) -> Outcome<Cost> {
    let dir = tempfile::tempdir_in(dir)?;
    let events = (threads * each) as f64;
    let (begin, cpu) = (nanos(ClockId::Monotonic), nanos(ClockId::ProcessCPUTime));
    let of_threads = with_way(way, dir.path(), |record, dispatch| {
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            let thread = || {
                scope.spawn(|| {
                    let run = || {
                        let span = tracing::info_span!("request", path = "/bookings");
                        let _span = span.enter();
                        barrier.wait();
                        let begin = nanos(ClockId::ThreadCPUTime);
                        (0..each).for_each(|_| record());
                        nanos(ClockId::ThreadCPUTime) - begin
                    };
                    match dispatch {
                        Some(dispatch) => tracing::dispatcher::with_default(dispatch, run),
                        None => run(),
                    }
                })
            };
            let threads: Vec<_> = (0..threads).map(|_| thread()).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).sum::<f64>()
        })
    })?;
    Ok(Cost {
        process: (nanos(ClockId::ProcessCPUTime) - cpu) / events,
        thread: of_threads / events,
        wall: (nanos(ClockId::Monotonic) - begin) / events,
    })
}

fn nanos(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Allocations of one event on its thread, once its buffers are there.
fn allocations(way: Way, dir: &Path) -> Outcome<f64> {
    const EVENTS: u32 = 10_000;
    let dir = tempfile::tempdir_in(dir)?;
    with_way(way, dir.path(), |record, dispatch| {
        let run = || {
            let span = tracing::info_span!("request", path = "/bookings");
            let _span = span.enter();
            (0..EVENTS).for_each(|_| record());
            let counted = allocation_counter::measure(|| (0..EVENTS).for_each(|_| record()));
            counted.count_total as f64 / f64::from(EVENTS)
        };
        match dispatch {
            Some(dispatch) => tracing::dispatcher::with_default(dispatch, run),
            None => run(),
        }
    })
}
