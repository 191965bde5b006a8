use std::io::{self, BufWriter, Write};
use std::time::Duration;

use runledger::{ClassUsage, Forecast, RetentionReport, Term};
use serde::Serialize;

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Shape, Table, human, json};

/// Show how long records are kept, what that costs, and when a cap is hit
///
/// The policy is the file runledger.toml in the ledger's directory, and the defaults where it says
/// nothing: events 30 days, errors 90, runs 365. What a class grows by a day is told by its
/// segments that are full, once they span six hours.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shape of the output; JSON is one object with all classes
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

const DAY_SECS: u64 = 24 * 60 * 60;

/// What is shown, in JSON. Ages are seconds.
#[derive(Serialize)]
struct Report {
    max_bytes: Option<u64>,
    allocated_bytes: u64,
    days_until_full: Option<u64>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: &'static str,
    /// Missing where records are kept for ever.
    age_seconds: Option<u64>,
    max_bytes: Option<u64>,
    max_records: Option<u64>,
    segments: u64,
    records: u64,
    bytes: u64,
    since: Option<String>,
    bytes_per_day: Option<u64>,
    records_per_day: Option<u64>,
    days_until_full: Option<u64>,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let report = reader.retention(&runledger::Retention::new())?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => json::line(&Report::of(&report), &screen, &mut out)?,
        Shape::Table => print(&report, ctx, &screen, &mut out)?,
    }
    out.flush()?;
    query::whole(&reader, Outcome::Done)
}

impl Report {
    fn of(report: &RetentionReport) -> Self {
        Self {
            max_bytes: report.max_bytes,
            allocated_bytes: report.allocated_bytes,
            days_until_full: report.full.days(),
            classes: report.classes.iter().map(Class::of).collect(),
        }
    }
}

impl Class {
    fn of(usage: &ClassUsage) -> Self {
        Self {
            class: usage.class.name(),
            age_seconds: usage.limits.term.and_then(Term::duration).map(|age| age.as_secs()),
            max_bytes: usage.limits.max_bytes,
            max_records: usage.limits.max_records,
            segments: usage.segments,
            records: usage.records,
            bytes: usage.bytes,
            since: usage.since.map(|time| time.to_string()),
            bytes_per_day: usage.bytes_per_day,
            records_per_day: usage.records_per_day,
            days_until_full: usage.full.days(),
        }
    }
}

fn print(
    report: &RetentionReport,
    ctx: &Context,
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = [
        Column::text("CLASS", 8),
        Column::new("KEPT FOR"),
        Column::new("LIMITS").optional(),
        Column::number("SEGMENTS"),
        Column::number("RECORDS"),
        Column::number("BYTES"),
        Column::number("HELD"),
        Column::number("A DAY"),
        Column::number("FULL"),
    ];
    let mut table = Table::new(screen, &columns, &mut *out);
    for usage in &report.classes {
        let held = usage.since.map(|since| {
            human::duration(ctx.now().nanos_since(since).max(0))
        });
        table.row(vec![
            Cell::new(usage.class.name()),
            Cell::new(&kept_for(usage.limits.term)),
            Cell::maybe(limits(usage)),
            Cell::new(&screen.count(usage.segments)),
            Cell::new(&screen.count(usage.records)),
            Cell::new(&human::bytes(usage.bytes)),
            Cell::maybe(held),
            Cell::maybe(usage.bytes_per_day.map(human::bytes)),
            Cell::maybe(full(usage.full)),
        ])?;
    }
    table.flush()?;
    let disk = human::bytes(report.allocated_bytes);
    let Some(cap) = report.max_bytes else {
        return writeln!(out, "{disk} on disk, of which there may be any number");
    };
    let when = match report.full {
        Forecast::Days(0) => "which is reached: the oldest segments go".to_owned(),
        Forecast::Days(days) => format!("which is reached in {}", human::plural(days, "day")),
        Forecast::Unknown => "and too little was written to tell when that is reached".to_owned(),
        _ => "which is not reached as it grows now".to_owned(),
    };
    writeln!(out, "{disk} on disk of {}, {when}", human::bytes(cap))
}

fn kept_for(term: Option<Term>) -> String {
    match term.and_then(Term::duration) {
        None => "ever".to_owned(),
        Some(age) => age_in_words(age),
    }
}

fn age_in_words(age: Duration) -> String {
    match age.as_secs() {
        secs if secs >= DAY_SECS && secs % DAY_SECS == 0 => human::plural(secs / DAY_SECS, "day"),
        _ => human::length(age),
    }
}

fn limits(usage: &ClassUsage) -> Option<String> {
    let bytes = usage.limits.max_bytes.map(human::bytes);
    let records = usage.limits.max_records.map(|records| human::plural(records, "record"));
    let both: Vec<_> = bytes.into_iter().chain(records).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

fn full(forecast: Forecast) -> Option<String> {
    match forecast {
        Forecast::Days(0) => Some("now".to_owned()),
        Forecast::Days(days) => Some(format!("in {}", human::plural(days, "day"))),
        Forecast::Unknown => Some("unknown".to_owned()),
        Forecast::Never => Some("never".to_owned()),
        _ => None,
    }
}
