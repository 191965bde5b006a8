//! What a child measures.

#![expect(clippy::print_stdout, reason = "a child tells its parent what it found")]

mod appends;
mod asks;
mod steady;

use std::io::Read;

use runledger::Timestamp;

use crate::Outcome;
use crate::child::{Findings, Order, Task};
use crate::engine::{Engine, Level, Setup};
use crate::engines::Name;
use crate::measure::{cpu, memory, now, timed};
use crate::question::{Pick, Question, picks};
use crate::workload::{Pool, START_NANOS, STEP_NANOS, Workload};
use asks::{ask_all, time};

/// Records in a batch.
pub(crate) const BATCH: usize = 1000;
const MIB: f64 = 1_048_576.0;

/// Does what the order says, and prints what was found.
pub(crate) fn run(order: &Order) -> Outcome {
    let name = Name::parse(&order.engine)?;
    match order.task {
        Task::Load => tell(&load(order, name)?),
        Task::Read => tell(&read(order, name, true)?),
        Task::ReadAfterKill => tell(&read(order, name, false)?),
        Task::Write => write(order, name),
        Task::Durable => tell(&appends::durable(order, name)?),
        Task::Single => tell(&appends::single(order, name)?),
        Task::Latency => tell(&steady::latency(order, name)?),
        Task::Tuned => tell(&tuned(order, name)?),
        Task::Drop => tell(&drop_half(order, name)?),
        Task::Pack => tell(&pack(order, name)?),
    }
}

fn tell(findings: &Findings) -> Outcome {
    println!("{}", serde_json::to_string(findings)?);
    Ok(())
}

fn setup(order: &Order, level: Level) -> Setup<'_> {
    Setup { dir: &order.dir, level, segment_bytes: order.segment_bytes }
}

/// The seconds that appends took, and those of CPU that all threads used meanwhile.
#[derive(Debug, Default)]
struct Took {
    calls: f64,
    cpu: f64,
    /// Of the CPU, what other threads used while the next records were made: work that went on
    /// in the background in time that is not counted.
    aside: f64,
}

/// Appends so many records in batches. Making them is not counted.
fn append_batches(
    append: impl Fn(&[runledger::Body<'_>]) -> Outcome,
    workload: &mut Workload<'_>,
    ops: usize,
) -> Outcome<Took> {
    let mut took = Took::default();
    let mut batch = Vec::new();
    let mut left = ops;
    let begun = cpu();
    let mut making = 0.0;
    while left > 0 {
        let before = cpu();
        workload.fill(&mut batch, BATCH.min(left));
        let after = cpu();
        making += after.1 - before.1;
        took.aside += (after.0 - before.0) - (after.1 - before.1);
        left -= batch.len();
        let (done, seconds) = timed(|| append(&batch));
        done?;
        took.calls += seconds;
    }
    took.cpu = cpu().0 - begun.0 - making;
    Ok(took)
}

fn load(order: &Order, name: Name) -> Outcome<Findings> {
    let pool = Pool::new()?;
    let mut workload = Workload::new(&pool, order.seed);
    let mut findings = Findings::default();
    let ops = order.ops as f64;
    let took;
    let closed;
    let cpu_closing;
    if name == Name::Floor {
        let log = name.open_log(setup(order, Level::Os))?;
        took = append_batches(|batch| log.append_batch(batch), &mut workload, order.ops)?;
        let before = cpu().0;
        let (done, seconds) = timed(|| log.close());
        done?;
        (closed, cpu_closing) = (seconds, cpu().0 - before);
    } else {
        let engine = name.open(setup(order, Level::Os))?;
        took = append_batches(|batch| engine.append_batch(batch), &mut workload, order.ops)?;
        let before = cpu().0;
        let begun = now();
        let picks = first_pick(&pool, order.seed);
        let (asked, seconds) = timed(|| ask_once(&*engine, &picks));
        asked?;
        findings.set("bulk.first_query", seconds * 1e6);
        engine.settle()?;
        engine.close()?;
        (closed, cpu_closing) = ((now() - begun).as_secs_f64(), cpu().0 - before);
    }
    findings.set("bulk.appended", ops / took.calls);
    findings.set("bulk.closed", ops / (took.calls + took.aside.max(0.0) + closed));
    findings.set("bulk.cpu", (took.cpu + cpu_closing) * 1e6 / ops);
    Ok(findings)
}

/// What the first question after an opening is about: a run of the first records.
fn first_pick(pool: &Pool, seed: u64) -> Pick {
    picks(pool, seed, &Workload::in_full_swing(pool, seed)).swap_remove(0)
}

fn ask_once(engine: &dyn Engine, pick: &Pick) -> Outcome {
    let mut parts = 0;
    engine.ask(Question::Trace, pick, &mut |_| parts += 1)?;
    crate::question::found(parts, Question::Trace)
}

fn read(order: &Order, name: Name, clean: bool) -> Outcome<Findings> {
    let pool = Pool::new()?;
    let mut workload = Workload::new(&pool, order.seed);
    workload.by_ref().take(order.ops).for_each(drop);
    let picks = picks(&pool, order.seed, &workload);
    let first = first_pick(&pool, order.seed);
    let state = if clean { "clean" } else { "kill" };
    let mut findings = Findings::default();
    let before = memory();
    let mib = |now: f64, before: f64| (now - before).max(0.0) / MIB;
    let (engine, seconds) = timed(|| name.open(setup(order, Level::Os)));
    let engine = engine?;
    findings.set(format!("{state}.open"), seconds * 1e3);
    let (asked, seconds) = timed(|| ask_once(&*engine, &first));
    asked?;
    findings.set(format!("{state}.first_query"), seconds * 1e6);
    let opened = memory();
    findings.set(format!("{state}.anon"), mib(opened.0, before.0));
    findings.set(format!("{state}.file"), mib(opened.1, before.1));
    ask_all(&*engine, &picks, order, if clean { "query" } else { "kill.query" }, &mut findings)?;
    let asked = memory();
    findings.set(format!("{state}.anon_asked"), mib(asked.0, before.0));
    findings.set(format!("{state}.file_asked"), mib(asked.1, before.1));
    let insight = engine.insight()?;
    if insight.records > 0 {
        let records = insight.records as f64;
        findings.set(format!("{state}.index_memory"), insight.index_memory as f64 / records);
        findings.set(format!("{state}.footer"), insight.footer_bytes as f64 / records);
        findings.set(format!("{state}.frames"), insight.frame_bytes as f64);
        findings.set(format!("{state}.frame"), insight.frame_bytes as f64 / records);
        findings.set(format!("{state}.segments"), insight.segments as f64);
    }
    engine.close()?;
    Ok(findings)
}

fn write(order: &Order, name: Name) -> Outcome {
    let pool = Pool::new()?;
    let mut workload = Workload::new(&pool, order.seed);
    workload.by_ref().take(order.ops).for_each(drop);
    let engine = name.open(setup(order, Level::Os))?;
    append_batches(|batch| engine.append_batch(batch), &mut workload, order.more)?;
    engine.settle()?;
    let mut findings = Findings::default();
    let picks = picks(&pool, order.seed, &workload);
    ask_all(&*engine, &picks, order, "written", &mut findings)?;
    tell(&findings)?;
    // The parent kills this process now, with everything open.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// What an index of its own would give the question that the common ones serve worst.
fn tuned(order: &Order, name: Name) -> Outcome<Findings> {
    let question = Question::LastFailed;
    let pool = Pool::new()?;
    let mut workload = Workload::new(&pool, order.seed);
    workload.by_ref().take(order.ops).for_each(drop);
    let picks = picks(&pool, order.seed, &workload);
    let engine = name.open(setup(order, Level::Os))?;
    let mut findings = Findings::default();
    if engine.tune(question)? {
        findings.set("tuned.last_failed", time(&*engine, question, &picks, order)?);
    }
    engine.close()?;
    Ok(findings)
}

fn pack(order: &Order, name: Name) -> Outcome<Findings> {
    let engine = name.open(setup(order, Level::Os))?;
    let bytes = engine.insight()?.frame_bytes as f64;
    let (packed, seconds) = timed(|| engine.pack());
    packed?;
    engine.close()?;
    let mut findings = Findings::default();
    findings.set("packed.rate", bytes / seconds / 1e6);
    Ok(findings)
}

fn drop_half(order: &Order, name: Name) -> Outcome<Findings> {
    let middle = START_NANOS + STEP_NANOS * i64::try_from(order.ops / 2)?;
    let engine = name.open(setup(order, Level::Os))?;
    let (dropped, seconds) = timed(|| {
        let dropped = engine.drop_before(Timestamp::from_nanos(middle));
        engine.settle().and(dropped)
    });
    let mut findings = Findings::default();
    findings.set("drop.time", seconds * 1e3);
    findings.set("drop.share", 100.0 * dropped? as f64 / order.ops as f64);
    engine.close()?;
    Ok(findings)
}
