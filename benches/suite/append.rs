//! Appends that go to the kernel: in bulk, one by one, and at a steady rate.

use std::time::Duration;

use runledger::{Body, Durability, Ledger, Options};

use super::durable::{self, THREADS};
use super::floor::{self, BATCH};
use super::measure::{Samples, now, timed};
use super::report::{Goal, Report, Row};
use super::workload::{Pool, Workload};
use super::{Bench, Outcome};

/// How far apart the appends of the steady rate are: 100,000 a second.
const INTERVAL: Duration = Duration::from_micros(10);
/// Segments so small that the steady rate fills and seals several a second.
const SMALL_SEGMENT: u32 = 4 << 20;

pub(super) fn run(bench: &Bench, report: &mut Report) -> Outcome {
    let pool = Pool::new()?;
    if bench.wants("bulk") {
        bulk(bench, &pool, report)?;
    }
    if bench.wants("single") {
        one_by_one(bench, &pool, report)?;
    }
    if bench.wants("latency") {
        let small = Options::new().segment_bytes(SMALL_SEGMENT);
        steady(bench, &pool, report, "64 MiB segments", Options::new())?;
        steady(bench, &pool, report, "across seals", small)?;
    }
    if bench.wants("durable") {
        durable::run(bench, &pool, report)?;
    }
    Ok(())
}

fn bulk(bench: &Bench, pool: &Pool, report: &mut Report) -> Outcome {
    let mut floors = Samples::default();
    let (mut appended, mut closed, mut bytes) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 0..bench.rounds {
        let ops = bench.ops as f64;
        let seed = round as u64;
        let floor = floor::bulk(&bench.fresh("bulk")?, pool, seed, bench.ops)?;
        floors.push(ops / floor.seconds);
        bytes.push(floor.bytes as f64 / ops);
        let ledger = Ledger::open(bench.fresh("bulk")?.join("ledger"))?;
        let seconds = append_batches(&ledger, &mut Workload::new(pool, seed), bench.ops)?;
        appended.push(ops / seconds);
        let (close, closing) = timed(|| ledger.close());
        close?;
        closed.push(ops / (seconds + closing));
    }
    let floor = Row::new("floor: encode, checksum, one write per 1,000", "/s", floors);
    let batches = Row::new("append_batch of 1,000 at Os, 1 thread", "/s", appended);
    let closed = Row::new("the same, sealed, synced and closed", "/s", closed);
    report.add(batches.beside(floor.median()).goal(Goal::TimesAtLeast(0.6)));
    report.add(closed.beside(floor.median()));
    report.add(floor);
    report.add(Row::new("encoded record", "bytes", bytes));
    Ok(())
}

/// Appends so many records in batches, and gives the seconds that the appends took.
pub(super) fn append_batches(
    ledger: &Ledger,
    workload: &mut Workload<'_>,
    ops: usize,
) -> Outcome<f64> {
    let mut batch = Vec::new();
    let mut total = 0.0;
    for _ in 0..ops / BATCH {
        workload.fill(&mut batch, BATCH);
        let (done, seconds) = timed(|| ledger.append_batch(&batch, Durability::Os));
        done?;
        total += seconds;
    }
    Ok(total)
}

fn one_by_one(bench: &Bench, pool: &Pool, report: &mut Report) -> Outcome {
    let (mut single, mut many) = (Samples::default(), Samples::default());
    let ops = bench.ops / 5;
    for round in 0..bench.rounds {
        let ledger = Ledger::open(bench.fresh("single")?.join("ledger"))?;
        let mut workload = Workload::in_full_swing(pool, 99);
        let mut batch: Vec<Body<'_>> = Vec::new();
        let mut total = 0.0;
        for _ in 0..ops / BATCH {
            workload.fill(&mut batch, BATCH);
            let append = |body: Body<'_>| ledger.append_with(body, Durability::Os).map(drop);
            let (done, seconds) = timed(|| batch.drain(..).try_for_each(append));
            done?;
            total += seconds;
        }
        single.push(ops as f64 / total);
        many.push(durable::rate(&ledger, pool, round, ops / THREADS, Durability::Os)?);
        ledger.close()?;
    }
    report.add(Row::new("append at Os, 1 thread", "/s", single));
    report.add(Row::new(format!("append at Os, {THREADS} threads"), "/s", many));
    Ok(())
}

/// One thread appends at a steady rate. An append's latency counts from when it was due: one that
/// is late delays those behind it, and all of them say so.
fn steady(
    bench: &Bench,
    pool: &Pool,
    report: &mut Report,
    what: &str,
    options: Options,
) -> Outcome {
    let percents = [50.0, 99.0, 99.9, 100.0];
    let mut rounds = percents.map(|_| Samples::default());
    let mut calls = percents.map(|_| Samples::default());
    for round in 0..bench.rounds {
        let ledger = options.clone().open(bench.fresh("steady")?.join("ledger"))?;
        let mut workload = Workload::in_full_swing(pool, round as u64);
        let (mut latencies, mut alone) = (Samples::default(), Samples::default());
        let start = now();
        for number in 0..u32::try_from(bench.ops * 3 / 10)? {
            let Some(body) = workload.next() else { break };
            let due = start + INTERVAL * number;
            while now() < due {
                std::hint::spin_loop();
            }
            let (done, seconds) = timed(|| ledger.append_with(body, Durability::Os));
            done?;
            alone.push(seconds * 1e6);
            latencies.push((now() - due).as_secs_f64() * 1e6);
        }
        for (samples, percent) in calls.iter_mut().zip(percents) {
            samples.push(alone.percentile(percent));
        }
        for (samples, percent) in rounds.iter_mut().zip(percents) {
            samples.push(latencies.percentile(percent));
        }
        ledger.close()?;
    }
    for (percent, (latency, call)) in percents.into_iter().zip(rounds.into_iter().zip(calls)) {
        let name = match percent {
            100.0 => "max".to_owned(),
            _ => format!("p{percent}"),
        };
        let latency = Row::new(format!("latency at 100,000/s, {what}, {name}"), "µs", latency);
        report.add(if percent == 99.0 { latency.goal(Goal::AtMost(10.0)) } else { latency });
        report.add(Row::new(format!("the call alone, {what}, {name}"), "µs", call));
    }
    Ok(())
}
