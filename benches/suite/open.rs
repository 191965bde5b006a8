//! Opening, after a clean close and after a kill; memory and disk; dropping half of the ledger.
//!
//! What is opened is opened by a child process, so that neither the cost nor the memory of what
//! came before counts. A child that writes is killed in the midst of it.

#![expect(clippy::print_stdout, reason = "a child tells its parent what it measured")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runledger::storage::{Disk, Storage};
use runledger::{Cleanup, Ledger, Options, Stats, StreamStats};

use super::append::append_batches;
use super::measure::{Samples, timed};
use super::report::{Goal, Report, Row};
use super::workload::{Pool, START_NANOS, STEP_NANOS, Workload};
use super::{Bench, Outcome, floor};

/// What a child is to do, and the directory of its ledger; how many records it is to write, and
/// into segments of what size.
const TASK: &str = "RUNLEDGER_BENCH_TASK";
const DIR: &str = "RUNLEDGER_BENCH_LEDGER";
const RECORDS: &str = "RUNLEDGER_BENCH_RECORDS";
const SEGMENT: &str = "RUNLEDGER_BENCH_SEGMENT";

/// The default, and one that nothing fills: all of it is read again after a kill.
const SEGMENTS: (u32, u32) = (64 << 20, 1 << 30);
/// Segments of which there are so many that about half of the ledger can go.
const SEGMENT_TO_DROP: u32 = 8 << 20;
const MIB: f64 = 1048576.0;

pub(super) fn run(bench: &Bench, report: &mut Report) -> Outcome {
    if bench.wants("clean") {
        clean(bench, report)?;
    }
    if bench.wants("kill") {
        killed(bench, report, SEGMENTS.0)?;
        killed(bench, report, SEGMENTS.1)?;
    }
    if bench.wants("drop") {
        drop_half(bench, report)?;
    }
    Ok(())
}

fn clean(bench: &Bench, report: &mut Report) -> Outcome {
    let dir = bench.fresh("clean")?.join("ledger");
    write(&dir, bench.ops, SEGMENTS.0)?.close()?;
    let (mut millis, mut anonymous) = (Samples::default(), Samples::default());
    for _ in 0..bench.rounds {
        let opened = open_in_child(&dir)?;
        millis.push(opened.seconds * 1e3);
        anonymous.push(opened.anonymous / MIB);
    }
    let open = Row::new("open after a clean close", "ms", millis);
    let memory = Row::new("anonymous memory after it", "MiB", anonymous);
    report.add(open.goal(Goal::AtMost(20.0)));
    report.add(memory.goal(Goal::AtMost(64.0)));
    disk(bench, report, &Ledger::open(&dir)?.reader().stats()?)
}

fn disk(bench: &Bench, report: &mut Report, stats: &Stats) -> Outcome {
    let floor = floor::bulk(&bench.fresh("floor")?, &Pool::new()?, 0, bench.ops)?;
    let floor = floor.bytes as f64 / bench.ops as f64;
    let records: u64 = stats.streams.iter().map(|stream| stream.records).sum();
    let frames: u64 = stats.streams.iter().map(|stream| stream.frame_bytes).sum();
    let each = |bytes: u64| bytes as f64 / records as f64;
    let footers: u64 = stats.streams.iter().map(|stream| stream.footer_bytes).sum();
    let raw = Row::new("bytes of frames per record", "bytes", each(frames));
    let all = Row::new("bytes of disk per record, sealed", "bytes", each(stats.allocated_bytes));
    report.add(raw.beside(floor).goal(Goal::TimesAtMost(1.15)));
    report.add(all.beside(floor));
    report.add(Row::new("bytes of footer per record", "bytes", each(footers)));
    Ok(())
}

fn killed(bench: &Bench, report: &mut Report, segment: u32) -> Outcome {
    let dir = bench.fresh("killed")?.join("ledger");
    let mut writer = spawn("write", &dir, bench.ops, segment)?;
    let mut line = String::new();
    BufReader::new(writer.stdout.take().ok_or("the child has no output")?).read_line(&mut line)?;
    writer.kill()?;
    writer.wait()?;
    let what = format!("after kill -9, segments of {} MiB", segment >> 20);
    let mut opened = Vec::new();
    for _ in 0..bench.rounds {
        let copy = bench.fresh("copy")?.join("ledger");
        copy_dir(&dir, &copy)?;
        opened.push(open_in_child(&copy)?);
    }
    let figure = |name: &str, unit, of: fn(&Opened) -> f64| {
        Row::new(format!("{name} {what}"), unit, opened.iter().map(of).collect::<Samples>())
    };
    report.add(figure("open", "ms", |opened| opened.seconds * 1e3));
    report.add(figure("anonymous memory", "MiB", |opened| opened.anonymous / MIB));
    if segment == SEGMENTS.1 {
        let rate =
            figure("frames read again", "GB/s", |opened| opened.frames / opened.seconds / 1e9);
        report.add(rate.goal(Goal::AtLeast(1.0)));
        report.add(figure("index per record", "bytes", |opened| opened.index / opened.records));
    }
    Ok(())
}

fn drop_half(bench: &Bench, report: &mut Report) -> Outcome {
    let (mut millis, mut share) = (Samples::default(), Samples::default());
    let middle = START_NANOS + STEP_NANOS * i64::try_from(bench.ops / 2)?;
    for _ in 0..bench.rounds {
        let dir = bench.fresh("drop")?.join("ledger");
        write(&dir, bench.ops, SEGMENT_TO_DROP)?.close()?;
        let ledger = Ledger::open(&dir)?;
        let age = Duration::from_nanos(u64::try_from(Disk.now() - middle)?);
        let (dropped, seconds) = timed(|| ledger.cleanup(&Cleanup::older_than(age), false));
        share.push(100.0 * dropped?.dropped_records() as f64 / bench.ops as f64);
        millis.push(seconds * 1e3);
        ledger.close()?;
    }
    let row = Row::new("clean-up of the older half, segments of 8 MiB", "ms", millis);
    report.add(row.goal(Goal::AtMost(10.0)));
    report.add(Row::new("records that it drops, in whole segments", "%", share));
    Ok(())
}

fn write(dir: &Path, ops: usize, segment: u32) -> Outcome<Ledger> {
    let pool = Pool::new()?;
    let ledger = Options::new().segment_bytes(segment).open(dir)?;
    append_batches(&ledger, &mut Workload::new(&pool, 0), ops)?;
    Ok(ledger)
}

/// Copies a ledger, and puts the copy on stable storage, so that recovery finds no more to sync
/// than a crash leaves.
fn copy_dir(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), &copy)?;
            std::fs::OpenOptions::new().write(true).open(&copy)?.sync_all()?;
        }
    }
    Ok(())
}

/// True in a process that [`run`] has started.
pub(super) fn is_child() -> bool {
    std::env::var_os(TASK).is_some()
}

/// What such a process does.
pub(super) fn be_child() -> Outcome {
    let dir = PathBuf::from(std::env::var(DIR)?);
    if std::env::var(TASK)? == "write" {
        let segment = std::env::var(SEGMENT)?.parse()?;
        let ledger = write(&dir, std::env::var(RECORDS)?.parse()?, segment)?;
        println!("written");
        // The parent kills this process now, with the ledger open.
        std::io::stdin().read_to_end(&mut Vec::new())?;
        drop(ledger);
        return Ok(());
    }
    let (ledger, seconds) = timed(|| Ledger::open(&dir));
    let ledger = ledger?;
    let anonymous = anonymous_bytes()?;
    let stats = ledger.reader().stats()?;
    let sum = |of: fn(&StreamStats) -> u64| stats.streams.iter().map(of).sum::<u64>();
    let (frames, index) = (sum(|of| of.frame_bytes), sum(|of| of.index_memory));
    println!("{seconds} {anonymous} {frames} {index} {}", sum(|of| of.records));
    Ok(())
}

fn spawn(task: &str, dir: &Path, records: usize, segment: u32) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(TASK, task).env(DIR, dir);
    command.env(RECORDS, records.to_string()).env(SEGMENT, segment.to_string());
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

/// What a child measured.
struct Opened {
    seconds: f64,
    /// Bytes of memory that no file stands behind.
    anonymous: f64,
    /// Bytes of frames in the ledger, of memory that its indexes take, and its records.
    frames: f64,
    index: f64,
    records: f64,
}

fn open_in_child(dir: &Path) -> Outcome<Opened> {
    let output = spawn("open", dir, 0, SEGMENTS.0)?.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match *numbers.as_slice() {
        [seconds, anonymous, frames, index, records] => {
            Ok(Opened { seconds, anonymous, frames, index, records })
        }
        _ => Err("the child that opens the ledger has failed".into()),
    }
}

/// Bytes of anonymous memory that this process holds; nothing is known of it outside of Linux.
fn anonymous_bytes() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("NaN");
    Ok(line.trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
}
