use std::io::{self, BufWriter, Write};

use runledger::{Cleanup, CleanupReport, Keep, Retention, SegmentPlan};

use super::query;
use crate::args::{Stream, days};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Table, human};
use crate::writer;

/// Drop old segments, and say which stay and why
///
/// A segment is a file of many records, and goes as a whole: once all records in it are older than
/// --days by their own times, or, without --days, once the retention of its stream is over, counted
/// from their arrival; `runledger retention` shows it. Runs that are still open are appended anew
/// first, and those that are pinned stay. With --dry-run the exit code is 1 when something would
/// go.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Drop what is older than this many days
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Only this stream
    #[arg(long, value_enum)]
    stream: Option<Stream>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    // As long as the first number of a compacted one's name can be read.
    Column::text("SEGMENT", 36),
    Column::new("SEQ").optional(),
    Column::number("RECORDS"),
    Column::number("BYTES"),
    Column::new("FIRST"),
    Column::new("NEWEST"),
    Column::new("VERDICT").below(),
    Column::new("WHY").below(),
];

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let cleanup = match args.days {
        Some(number) => Cleanup::older_than(days(number)),
        None => Cleanup::retention(),
    };
    let cleanup = match args.stream {
        Some(stream) => cleanup.kind(stream.kind()),
        None => cleanup,
    };
    clean(&cleanup, args.dry_run, ctx)
}

/// Does the clean-up, or says what it would do.
///
/// # Errors
/// When there is no ledger, it has a writer, or a file cannot be read or removed.
pub(super) fn clean(cleanup: &Cleanup, dry_run: bool, ctx: &Context) -> Result<Outcome, Failure> {
    let screen = Screen::stdout(ctx);
    if !dry_run {
        let ledger = writer::open_existing(ctx)?;
        let report = ledger.cleanup(cleanup, false)?;
        ledger.close()?;
        print(&report, false, &screen)?;
        return Ok(Outcome::Done);
    }
    let reader = query::open(ctx)?;
    let report = reader.plan_cleanup(cleanup, &Retention::new())?;
    print(&report, true, &screen)?;
    let goes = report.dropped().chain(report.rewritten()).next().is_some();
    query::planned(&reader, goes || report.copies.files > 0)
}

fn print(report: &CleanupReport, dry_run: bool, screen: &Screen) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut table = Table::new(screen, COLUMNS, &mut out);
    for plan in &report.segments {
        table.row(row(plan, dry_run, screen))?;
    }
    table.flush()?;
    writeln!(
        out,
        "{}{} of {} with {}, {}",
        if dry_run { "would drop " } else { "dropped " },
        human::plural(report.dropped().count() as u64, "segment"),
        report.segments.len(),
        human::plural(report.dropped_records(), "record"),
        human::bytes(report.dropped_bytes()),
    )?;
    let rewritten = report.rewritten().count() as u64;
    if rewritten > 0 {
        let left_out = report.rewritten().map(|plan| plan.left_out).sum();
        writeln!(
            out,
            "{}{} anew, without {}",
            if dry_run { "would write " } else { "wrote " },
            human::plural(rewritten, "segment"),
            human::plural(left_out, "record"),
        )?;
    }
    if !dry_run && (rewritten > 0 || report.dropped().next().is_some()) {
        writeln!(out, "{} of disk freed", human::bytes(report.freed_bytes))?;
    }
    if report.copies.files > 0 {
        writeln!(
            out,
            "{}{} ({}) of what was cut or replaced",
            if dry_run { "would remove " } else { "removed " },
            human::plural(report.copies.files, "file"),
            human::bytes(report.copies.bytes),
        )?;
    }
    if report.carried > 0 {
        writeln!(out, "{} carried forward", human::plural(report.carried, "open run"))?;
    }
    if report.results > 0 {
        let runs = human::plural(report.results, "run");
        writeln!(out, "{runs} carried forward as the newest success or failure of a type")?;
    }
    out.flush()
}

/// What keeps a segment, or why it goes.
pub(super) fn why(plan: &SegmentPlan, screen: &Screen) -> String {
    match (plan.dropped_for.as_ref().or(plan.rewritten_for.as_ref()), plan.kept_for) {
        (Some(reason), _) => reason.clone(),
        (None, Some(Keep::Until(time))) => format!("kept until {}", screen.time(time)),
        (None, Some(Keep::Younger(time))) => {
            format!("holds a record of {}, which is younger", screen.time(time))
        }
        (None, Some(Keep::Class(class, Some(time)))) => {
            format!("holds records of {class}, kept until {}", screen.time(time))
        }
        (None, Some(keep)) => keep.to_string(),
        (None, None) => String::new(),
    }
}

fn row(plan: &SegmentPlan, dry_run: bool, screen: &Screen) -> Vec<Cell> {
    let verdict = match (&plan.dropped_for, &plan.rewritten_for, dry_run) {
        (None, None, _) => "keep",
        (Some(_), _, true) => "drop",
        (Some(_), _, false) => "dropped",
        (None, Some(_), true) => "rewrite",
        (None, Some(_), false) => "rewritten",
    };
    let why = why(plan, screen);
    vec![
        Cell::new(&plan.segment),
        Cell::maybe(plan.seqs.map(|(first, last)| format!("{first}-{last}"))),
        Cell::new(&screen.count(plan.records)),
        Cell::new(&human::bytes(plan.bytes)),
        Cell::maybe(plan.times.map(|(first, _)| screen.date(first))),
        Cell::maybe(plan.times.map(|(_, newest)| screen.date(newest))),
        Cell::new(verdict),
        Cell::new(&why),
    ]
}
