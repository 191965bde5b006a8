//! Queries of a warm ledger: as it was written, and of sealed segments after it was reopened.

use std::hint::black_box;

use runledger::{Compaction, Field, Kind, Order, Query, Reader, Status, Timestamp};

use super::{Bench, DAY, LEDGER, SEED};
use crate::workload::{Rng, START_NANOS, Workload, run_id, trace_id};
use crate::{Outcome, counted_region};

/// How many queries are counted, each about something else.
const QUERIES: usize = 20;
/// Segments so small that there are many of them.
const TINY_SEGMENT: u32 = 64 << 10;

/// What a query is about.
pub(super) struct Pick {
    trace: String,
    run: String,
    name: String,
    /// A tenth of the time.
    window: (Timestamp, Timestamp),
}

/// A question; gives how many records it has seen or counted.
pub(super) type Ask = fn(&Reader, &Pick) -> runledger::Result<u64>;

/// Asks a ledger that is being written.
pub(super) fn open(bench: &Bench, ask: Ask) -> Outcome<usize> {
    let (ledger, workload) = bench.filled(bench.options())?;
    count(ledger.reader(), &picks(bench, &workload), ask)
}

/// Asks a ledger of one sealed segment per stream.
pub(super) fn sealed(bench: &Bench, ask: Ask) -> Outcome<usize> {
    let (ledger, workload) = bench.filled(bench.options())?;
    bench.storage.pass(DAY);
    ledger.maintain()?;
    ledger.close()?;
    drop(ledger);
    let ledger = bench.open(LEDGER)?;
    count(ledger.reader(), &picks(bench, &workload), ask)
}

/// Asks a ledger of one compacted segment per stream, from which blocks are unpacked by each query.
pub(super) fn packed(bench: &Bench, ask: Ask) -> Outcome<usize> {
    let (ledger, workload) = bench.filled(bench.options())?;
    bench.storage.pass(DAY);
    ledger.maintain()?;
    ledger.compact(&Compaction::new().keep_states())?;
    count(ledger.reader(), &picks(bench, &workload), ask)
}

/// Asks a ledger of many segments.
pub(super) fn many(bench: &Bench, ask: Ask) -> Outcome<usize> {
    let (ledger, workload) = bench.filled(bench.options().segment_bytes(TINY_SEGMENT))?;
    ledger.close()?;
    drop(ledger);
    let ledger = bench.open(LEDGER)?;
    count(ledger.reader(), &picks(bench, &workload), ask)
}

/// Asks everything once, so that each checksum was compared, and then counts.
fn count(reader: &Reader, picks: &[Pick], ask: Ask) -> Outcome<usize> {
    for pick in picks {
        if ask(reader, pick)? == 0 {
            return Err(format!("nothing was found of {}", pick.name).into());
        }
    }
    counted_region(|| picks.iter().try_for_each(|pick| ask(reader, pick).map(drop)))?;
    Ok(picks.len())
}

fn picks(bench: &Bench, workload: &Workload<'_>) -> Vec<Pick> {
    let mut rng = Rng::new(3);
    let nanos = u64::try_from(workload.now() - START_NANOS).unwrap_or_default();
    let time = |after: u64| Timestamp::from_nanos(START_NANOS.saturating_add_unsigned(after));
    let pick = |_| {
        // The last runs that were begun may have no record yet.
        let run = rng.below(workload.runs() * 3 / 4);
        let from = rng.below(nanos * 9 / 10);
        Pick {
            trace: trace_id(SEED, run).to_string(),
            run: run_id(SEED, run).to_string(),
            name: rng.pick(&bench.pool.types).to_owned(),
            window: (time(from), time(from + nanos / 10)),
        }
    };
    (0..QUERIES).map(pick).collect()
}

/// Fetches, and reads every record.
fn read(query: &Query) -> runledger::Result<u64> {
    let mut seen = 0;
    for record in query.fetch()?.records() {
        black_box(&record?);
        seen += 1;
    }
    Ok(seen)
}

/// All of a trace.
pub(super) fn trace(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    read(&reader.query().trace(&pick.trace))
}

/// The events of a run, newest 100.
pub(super) fn run(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    read(&reader.query().kind(Kind::Event).run(&pick.run).limit(100))
}

/// The last 50 failed runs of a type.
pub(super) fn failed(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let failed = reader.query().kind(Kind::Run).status(Status::Failed);
    read(&failed.record_type(&pick.name).limit(50))
}

/// Runs by status in a tenth of the time.
pub(super) fn count_by_status(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let (since, until) = pick.window;
    let runs = reader.query().kind(Kind::Run).since(since).until(until);
    Ok(runs.count_by(Field::Status)?.iter().map(|(_, count)| count).sum())
}

/// The events of a type in a tenth of the time.
pub(super) fn scan(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let (since, until) = pick.window;
    let events = reader.query().kind(Kind::Event).record_type(&pick.name);
    read(&events.since(since).until(until).order(Order::Oldest).limit(1_000_000))
}
