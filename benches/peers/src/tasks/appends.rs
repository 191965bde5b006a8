//! Appends one at a time, by one thread and by many.

use std::sync::Barrier;
use std::time::Duration;

use super::setup;
use crate::Outcome;
use crate::child::{Findings, Order};
use crate::engine::{Level, Log, Setup};
use crate::engines::Name;
use crate::measure::{Samples, now, timed};
use crate::workload::{Pool, Workload};

/// Threads that append at the same time.
const THREADS: usize = 16;
/// Durable appends whose time is taken, at the most.
const TIMED: usize = 2000;
/// Records that are made ahead of appends to the kernel.
const AHEAD: usize = 1000;

pub(super) fn durable(order: &Order, name: Name) -> Outcome<Findings> {
    let pool = Pool::new()?;
    let mut findings = Findings::default();
    let log = name.open_log(setup(order, Level::Sync))?;
    // By turns with the floor, so that both meet the same disk.
    let floor_dir = order.dir.join("bare");
    std::fs::create_dir_all(&floor_dir)?;
    let bare = Setup { dir: &floor_dir, level: Level::Sync, segment_bytes: None };
    let bare = Name::Floor.open_log(bare)?;
    let (mut floor, mut one) = (Samples::default(), Samples::default());
    let begun = now();
    for body in Workload::in_full_swing(&pool, order.seed).take(TIMED) {
        let (done, seconds) = timed(|| bare.append(body.borrowed()));
        done?;
        floor.push(seconds);
        let (done, seconds) = timed(|| log.append(body));
        done?;
        one.push(seconds);
        if (now() - begun).as_secs_f64() > 2.0 * order.seconds {
            break;
        }
    }
    for (samples, figures) in [(&mut one, &mut findings.figures), (&mut floor, &mut findings.floor)]
    {
        figures.insert("durable.p50".into(), samples.median() * 1e6);
        figures.insert("durable.p99".into(), samples.percentile(99.0) * 1e6);
        figures.insert("durable.one".into(), 1.0 / samples.mean());
    }
    findings.set("durable.beside", one.median() / floor.median());
    findings.set("durable.many", rate(&*log, &pool, order)?);
    findings.floor.insert("durable.many".into(), rate(&*bare, &pool, order)?);
    log.close()?;
    Ok(findings)
}

pub(super) fn single(order: &Order, name: Name) -> Outcome<Findings> {
    let pool = Pool::new()?;
    let mut findings = Findings::default();
    let log = name.open_log(setup(order, Level::Os))?;
    let mut workload = Workload::in_full_swing(&pool, order.seed);
    let (mut appended, mut total) = (0, 0.0);
    let mut batch = Vec::new();
    while total < order.seconds {
        workload.fill(&mut batch, AHEAD);
        appended += batch.len();
        let (done, seconds) = timed(|| batch.drain(..).try_for_each(|body| log.append(body)));
        done?;
        total += seconds;
    }
    findings.set("single.one", appended as f64 / total);
    findings.set("single.many", rate(&*log, &pool, order)?);
    log.close()?;
    Ok(findings)
}

/// Records a second of many threads, each of which appends one by one until the time is over.
fn rate(log: &dyn Log, pool: &Pool, order: &Order) -> Outcome<f64> {
    let start = Barrier::new(THREADS + 1);
    let time = Duration::from_secs_f64(order.seconds);
    let append = |thread: usize| -> Outcome<usize> {
        let seed = 1000 + order.seed * THREADS as u64 + thread as u64;
        let workload = Workload::in_full_swing(pool, seed);
        start.wait();
        let end = now() + time;
        let mut appended = 0;
        for body in workload {
            log.append(body)?;
            appended += 1;
            if now() >= end {
                break;
            }
        }
        Ok(appended)
    };
    std::thread::scope(|scope| {
        let append = &append;
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || append(thread))).collect();
        start.wait();
        let begun = now();
        let mut appended = 0;
        for thread in threads {
            appended += thread.join().map_err(|_| "a thread that appends has panicked")??;
        }
        Ok(appended as f64 / (now() - begun).as_secs_f64())
    })
}
