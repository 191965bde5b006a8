//! Appends that wait for the disk.

use std::sync::Barrier;

use runledger::{Body, Durability, Ledger, Options};

use super::floor::Bare;
use super::measure::{Samples, now, timed};
use super::report::{Goal, Report, Row};
use super::workload::{Pool, Workload};
use super::{Bench, Outcome};

/// Threads that append at the same time.
pub(super) const THREADS: usize = 16;

/// One at a time by one thread, and by many.
pub(super) fn run(bench: &Bench, pool: &Pool, report: &mut Report) -> Outcome {
    let times = (bench.ops / 2500).clamp(20, 400);
    let dir = bench.fresh("durable")?;
    let ledger = Options::new().open(dir.join("ledger"))?;
    let mut bare = Bare::new(&dir)?;
    let mut workload = Workload::in_full_swing(pool, 7);
    let (mut floors, mut ones) = (Rounds::default(), Rounds::default());
    let (mut single, mut many) = (Samples::default(), Samples::default());
    for round in 0..bench.rounds {
        let (mut floor, mut one) = (Samples::default(), Samples::default());
        // By turns, so that both meet the same disk.
        for body in workload.by_ref().take(times) {
            floor.push(bare.durable()?);
            let (done, seconds) = timed(|| ledger.append_with(body, Durability::Sync));
            done?;
            one.push(seconds * 1e6);
        }
        single.push(1e6 / one.mean());
        floors.add(floor);
        ones.add(one);
        many.push(rate(&ledger, pool, round, times / 2, Durability::Sync)?);
    }
    let floor = Row::new("bare write and fdatasync of 170 bytes, p50", "µs", floors.p50);
    let p50 = Row::new("append at Sync, 1 thread, p50", "µs", ones.p50);
    let p99 = Row::new("append at Sync, 1 thread, p99", "µs", ones.p99);
    let floor_p99 = Row::new("bare write and fdatasync of 170 bytes, p99", "µs", floors.p99);
    let single = Row::new("append at Sync, 1 thread", "/s", single);
    let many = Row::new(format!("append at Sync, {THREADS} threads (against 1)"), "/s", many);
    report.add(p50.beside(floor.median()).goal(Goal::TimesAtMost(1.1)));
    report.add(p99.beside(floor_p99.median()));
    report.add(many.beside(single.median()).goal(Goal::TimesAtLeast(8.0)));
    report.add(single);
    report.add(floor);
    report.add(floor_p99);
    ledger.close()?;
    Ok(())
}

/// The percentiles of rounds.
#[derive(Default)]
struct Rounds {
    p50: Samples,
    p99: Samples,
}

impl Rounds {
    fn add(&mut self, mut samples: Samples) {
        self.p50.push(samples.median());
        self.p99.push(samples.percentile(99.0));
    }
}

/// Records a second of many threads, each of which appends so many one by one.
pub(super) fn rate(
    ledger: &Ledger,
    pool: &Pool,
    round: usize,
    times: usize,
    durability: Durability,
) -> Outcome<f64> {
    let seed = |thread: usize| (1000 + round * THREADS + thread) as u64;
    let batches: Vec<Vec<Body<'_>>> = (0..THREADS)
        .map(|thread| Workload::in_full_swing(pool, seed(thread)).take(times).collect())
        .collect();
    let start = Barrier::new(THREADS + 1);
    let append = |batch: Vec<Body<'_>>| {
        start.wait();
        batch.into_iter().try_for_each(|body| ledger.append_with(body, durability).map(drop))
    };
    let seconds = std::thread::scope(|scope| {
        let threads: Vec<_> =
            batches.into_iter().map(|batch| scope.spawn(|| append(batch))).collect();
        start.wait();
        let begun = now();
        for thread in threads {
            thread.join().map_err(|_| "a thread that appends has panicked")??;
        }
        Outcome::Ok((now() - begun).as_secs_f64())
    })?;
    Ok((times * THREADS) as f64 / seconds)
}
