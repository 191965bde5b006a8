use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use runledger::{Body, ExpectedRun, Field, Kind, Losses, Reader, Status, StreamStats};
use serde::Serialize;

use super::query::{self, Pages};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::counts::{self, Count};
use crate::output::durations::Durations;
use crate::output::{Cell, Column, Format, Screen, Shape, Table, colour, escape, human, json};

/// Show how large the ledger is, how its runs fare, and what it has lost
///
/// The error rate is the share of failed and abandoned runs in those that have ended; p50 and p95
/// are what half and 95% of the ended runs took at the most, within 0.2%. Exits with 3 when data is
/// damaged.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// At most this many types of runs in the table, the most frequent first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Shape of the output; JSON is one object with all types
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// What is shown, and its form in JSON.
#[derive(Serialize)]
struct Report {
    dir: String,
    allocated_bytes: u64,
    streams: Vec<Stream>,
    runs_by_status: Vec<Count>,
    run_types: Vec<RunType>,
    missed_runs: Vec<Missed>,
    lost: Lost,
    kept: Kept,
    /// What is wrong with runledger.toml.
    policy_problem: Option<String>,
}

/// A type of run that was expected and did not come.
#[derive(Serialize)]
struct Missed {
    #[serde(rename = "type")]
    name: String,
    due: String,
    last_created_at: Option<String>,
}

/// What is kept of what was cut or replaced.
#[derive(Serialize)]
struct Kept {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Stream {
    stream: &'static str,
    records: u64,
    segments: u64,
    sealed: u64,
    packed: u64,
    record_bytes: u64,
    disk_bytes: u64,
    footer_bytes: u64,
    index_memory_bytes: u64,
    index_bytes_per_record: Option<u64>,
    first: Option<String>,
    last: Option<String>,
    #[serde(skip)]
    range: Option<(runledger::Timestamp, runledger::Timestamp)>,
}

/// How the runs of a type fared.
#[derive(Default, Serialize)]
struct RunType {
    #[serde(rename = "type")]
    name: String,
    runs: u64,
    ended: u64,
    failed: u64,
    error_rate: Option<f64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    #[serde(skip)]
    durations: Durations,
}

#[derive(Serialize)]
struct Lost {
    torn_tails: u64,
    covered_holes: u64,
    dropped_segments: u64,
    repaired_segments: u64,
    clock_jumps: u64,
    refused_appends: u64,
    refused_for_space: u64,
    lost_ends: u64,
    missing_ends: u64,
    damaged_ranges: u64,
    damaged_footers: u64,
    unreadable_segments: u64,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let stats = reader.stats()?;
    let (run_types, seen) = run_types(&reader)?;
    let by_status = reader.query().kind(Kind::Run).count_by(Field::Status)?;
    let expected = reader.expected_runs()?;
    let report = Report {
        dir: ctx.dir().display().to_string(),
        allocated_bytes: stats.allocated_bytes,
        streams: stats.streams.iter().map(Stream::of).collect(),
        runs_by_status: by_status.into_iter().map(Count::from).collect(),
        run_types,
        missed_runs: expected.iter().filter(|run| run.is_missed).map(Missed::of).collect(),
        lost: Lost::of(&stats.losses),
        kept: Kept { files: stats.copies.files, bytes: stats.copies.bytes },
        policy_problem: stats.policy_problem,
    };
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => json::line(&report, &screen, &mut out)?,
        Shape::Table => report.write(args.limit, &screen, &mut out)?,
    }
    out.flush()?;
    let damaged = stats.losses.is_damaged() || seen == Outcome::Damaged;
    Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
}

/// Reads the newest state of every run, and sums them up by type, the most frequent first.
fn run_types(reader: &Reader) -> Result<(Vec<RunType>, Outcome), Failure> {
    let mut types: HashMap<String, RunType> = HashMap::new();
    let seen = Pages::all(reader.query().kind(Kind::Run)).each(|record| {
        let Body::Run(run) = &record.body else { return Ok(()) };
        if !types.contains_key(&*run.run_type) {
            let name = run.run_type.to_string();
            types.insert(name.clone(), RunType { name, ..RunType::default() });
        }
        let Some(of_type) = types.get_mut(&*run.run_type) else { return Ok(()) };
        of_type.runs += 1;
        of_type.ended += u64::from(run.status.is_terminal());
        of_type.failed += u64::from(matches!(run.status, Status::Failed | Status::Abandoned));
        if let Some(nanos) = run.duration_nanos() {
            of_type.durations.add(nanos);
        }
        Ok(())
    })?;
    let mut types: Vec<_> = types.into_values().map(RunType::finish).collect();
    types.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.name.cmp(&b.name)));
    Ok((types, seen.outcome()))
}

impl RunType {
    fn finish(mut self) -> Self {
        let millis = |percent| self.durations.percentile(percent).map(|nanos| nanos as f64 / 1e6);
        (self.p50_ms, self.p95_ms) = (millis(50), millis(95));
        self.error_rate = (self.ended > 0).then(|| self.failed as f64 / self.ended as f64);
        self
    }
}

impl Missed {
    fn of(run: &ExpectedRun) -> Self {
        let last_created_at = run.last.as_ref().map(|last| last.created_at.to_string());
        Self { name: run.run_type.clone(), due: run.due.to_string(), last_created_at }
    }
}

impl Stream {
    fn of(stream: &StreamStats) -> Self {
        let index_bytes = stream.footer_bytes + stream.index_memory;
        Self {
            stream: stream.name,
            records: stream.records,
            segments: stream.segments,
            sealed: stream.sealed,
            packed: stream.packed,
            record_bytes: stream.frame_bytes,
            disk_bytes: stream.disk_bytes,
            footer_bytes: stream.footer_bytes,
            index_memory_bytes: stream.index_memory,
            index_bytes_per_record: index_bytes.checked_div(stream.records),
            first: stream.created.map(|(first, _)| first.to_string()),
            last: stream.created.map(|(_, last)| last.to_string()),
            range: stream.created,
        }
    }
}

impl Lost {
    const fn of(losses: &Losses) -> Self {
        Self {
            torn_tails: losses.torn_tails,
            covered_holes: losses.covered_holes,
            dropped_segments: losses.dropped_segments,
            repaired_segments: losses.repaired_segments,
            clock_jumps: losses.clock_jumps,
            refused_appends: losses.refused_appends,
            refused_for_space: losses.refused_for_space,
            lost_ends: losses.lost_ends,
            missing_ends: losses.missing_ends,
            damaged_ranges: losses.damaged_ranges,
            damaged_footers: losses.damaged_footers,
            unreadable_segments: losses.unreadable_segments,
        }
    }

    /// A line for each loss that there was.
    fn lines(&self) -> Vec<String> {
        let of_their_own = self.refused_appends.saturating_sub(self.refused_for_space);
        let losses = [
            (self.torn_tails, "torn tail", "cut after a crash; copies are in lost/"),
            (self.covered_holes, "hole", "left by a crash, covered; it held nothing acknowledged"),
            (self.dropped_segments, "segment", "dropped by retention or clean-up"),
            (self.repaired_segments, "segment", "put in order by a repair"),
            (self.clock_jumps, "clock jump", "noticed; no record was hidden or dropped by it"),
            (of_their_own, "append", "refused for what it held"),
            (self.refused_for_space, "append", "refused for want of space"),
            (self.lost_ends, "stream end", "found missing by an opening, and on record"),
            (self.missing_ends, "stream end", "missing: run `runledger verify`"),
            (self.damaged_ranges, "damaged range", "skipped: run `runledger verify`"),
            (self.damaged_footers, "damaged footer", "made anew in memory: `runledger repair`"),
            (self.unreadable_segments, "unreadable segment", "left out: run `runledger verify`"),
        ];
        let there = losses.iter().filter(|(count, ..)| *count > 0);
        there.map(|(count, noun, fate)| format!("{} {fate}", human::plural(*count, noun))).collect()
    }
}

impl Report {
    fn write(&self, limit: usize, screen: &Screen, out: &mut impl Write) -> io::Result<()> {
        let heading = |text: &str| screen.paint(text, colour::heading());
        let disk = human::bytes(self.allocated_bytes);
        writeln!(out, "{}: {disk} on disk\n", heading(&self.dir))?;
        self.write_streams(screen, out)?;
        if !self.runs_by_status.is_empty() {
            writeln!(out, "\n{}", heading("Runs by status"))?;
            let counts = &self.runs_by_status;
            counts::by_value(Field::Status, counts, Format::Table, screen, &mut *out)?;
            writeln!(out, "\n{}", heading("Runs by type"))?;
            self.write_types(limit, screen, out)?;
        }
        if let Some(problem) = &self.policy_problem {
            writeln!(out, "\n{}\n{problem}", heading("Policy"))?;
        }
        if !self.missed_runs.is_empty() {
            writeln!(out, "\n{}", heading("Missed"))?;
            let names = self.missed_runs.iter().map(|run| escape::line(&run.name));
            writeln!(out, "{}", names.collect::<Vec<_>>().join(", "))?;
            writeln!(out, "For the particulars: runledger check")?;
        }
        writeln!(out, "\n{}", heading("Lost"))?;
        let mut lost = self.lost.lines();
        if self.kept.files > 0 {
            let files = human::plural(self.kept.files, "file");
            let bytes = human::bytes(self.kept.bytes);
            lost.push(format!("{files} ({bytes}) kept of what was cut or replaced"));
        }
        if lost.is_empty() {
            return writeln!(out, "nothing");
        }
        lost.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        writeln!(out, "For the particulars: runledger events --audit")
    }

    fn write_streams(&self, screen: &Screen, out: &mut impl Write) -> io::Result<()> {
        let columns = [
            Column::new("STREAM"),
            Column::number("RECORDS"),
            Column::number("FILES"),
            Column::number("BYTES"),
            Column::number("DISK"),
            Column::number("INDEX").optional(),
            Column::number("/RECORD").optional(),
            Column::new("FROM"),
            Column::new("TO"),
        ];
        let mut table = Table::new(screen, &columns, out);
        for stream in &self.streams {
            let index = stream.footer_bytes + stream.index_memory_bytes;
            let per_record = stream.index_bytes_per_record.map(|bytes| format!("{bytes} B"));
            table.row(vec![
                Cell::new(stream.stream),
                Cell::new(&screen.count(stream.records)),
                Cell::new(&screen.count(stream.segments)),
                Cell::new(&human::bytes(stream.record_bytes)),
                Cell::new(&human::bytes(stream.disk_bytes)),
                Cell::new(&human::bytes(index)),
                Cell::maybe(per_record),
                Cell::maybe(stream.range.map(|(first, _)| screen.date(first))),
                Cell::maybe(stream.range.map(|(_, last)| screen.date(last))),
            ])?;
        }
        table.flush()
    }

    fn write_types(&self, limit: usize, screen: &Screen, out: &mut impl Write) -> io::Result<()> {
        let columns = [
            Column::text("TYPE", 16),
            Column::number("RUNS"),
            Column::number("FAILED"),
            Column::number("ERROR RATE"),
            Column::number("P50"),
            Column::number("P95"),
        ];
        let mut table = Table::new(screen, &columns, &mut *out);
        for of_type in self.run_types.iter().take(limit) {
            let took = |percent| of_type.durations.percentile(percent).map(human::duration);
            let failed = Cell::new(&screen.count(of_type.failed));
            let any = of_type.failed > 0;
            table.row(vec![
                Cell::new(&of_type.name),
                Cell::new(&screen.count(of_type.runs)),
                if any { failed.style(colour::status(Status::Failed)) } else { failed },
                Cell::new(&human::percent(of_type.failed, of_type.ended)),
                Cell::maybe(took(50)),
                Cell::maybe(took(95)),
            ])?;
        }
        table.flush()?;
        match self.run_types.len().saturating_sub(limit) {
            0 => Ok(()),
            more => writeln!(out, "({more} more; -n {} shows all)", self.run_types.len()),
        }
    }
}
