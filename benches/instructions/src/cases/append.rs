//! Appends to a ledger that has records, at `Os`.

use runledger::{Body, Durability, Ledger, Run, Status};

use super::{BATCH, Bench, batches};
use crate::workload::{run_id, trace_id};
use crate::{Outcome, counted_region};

/// Batches that are counted.
const BATCHES: usize = 5;
/// Appends of one record that are counted.
const SINGLES: usize = 1000;
/// The seed of runs that are not in the ledger.
const OTHER_SEED: u64 = 2;

/// Batches of mixed records.
pub(super) fn batch(bench: &Bench) -> Outcome<usize> {
    let (ledger, mut workload) = bench.filled(bench.options())?;
    let batches = batches(&mut workload, BATCHES);
    counted_region(|| append_all(&ledger, &batches))?;
    Ok(BATCHES * BATCH)
}

fn append_all(ledger: &Ledger, batches: &[Vec<Body<'_>>]) -> runledger::Result<()> {
    batches.iter().try_for_each(|batch| ledger.append_batch(batch, Durability::Os).map(drop))
}

/// Events, one at a time.
pub(super) fn event(bench: &Bench) -> Outcome<usize> {
    let (ledger, workload) = bench.filled(bench.options())?;
    // Their texts are the pool's: giving a record away frees nothing.
    let is_event = |body: &Body<'_>| matches!(body, Body::Event(_));
    let events: Vec<Body<'_>> = workload.filter(is_event).take(SINGLES).collect();
    counted_region(|| events.into_iter().try_for_each(|event| ledger.append(event).map(drop)))?;
    Ok(SINGLES)
}

/// Runs that start and finish, by the handle.
pub(super) fn run(bench: &Bench) -> Outcome<usize> {
    let (ledger, _) = bench.filled(bench.options())?;
    let run = |number| {
        let run = Run::with_id(run_id(OTHER_SEED, number), "billing.check", Status::Running);
        run.trace_id(trace_id(OTHER_SEED, number))
    };
    let runs: Vec<Run<'static>> = (0..SINGLES as u64 / 2).map(run).collect();
    let count = runs.len();
    counted_region(|| {
        runs.into_iter().try_for_each(|run| {
            let handle = ledger.start_run(run)?;
            handle.finish(Status::Success).map(drop)
        })
    })?;
    Ok(count)
}

/// Batches with a query after each, which has to see them.
pub(super) fn then_query(bench: &Bench) -> Outcome<usize> {
    let (ledger, mut workload) = bench.filled(bench.options())?;
    // All was seen before the count begins.
    let seen = ledger.query().history(true).count()?;
    let batches = batches(&mut workload, BATCHES);
    let last = counted_region(|| count_after_each(&ledger, &batches))?;
    if last != seen + (BATCHES * BATCH) as u64 {
        return Err(format!("the last query saw {last} records; before it were {seen}").into());
    }
    Ok(BATCHES * BATCH)
}

fn count_after_each(ledger: &Ledger, batches: &[Vec<Body<'_>>]) -> runledger::Result<u64> {
    let mut last = 0;
    for batch in batches {
        ledger.append_batch(batch, Durability::Os)?;
        last = ledger.query().history(true).count()?;
    }
    Ok(last)
}
