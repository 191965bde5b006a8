use std::io::{self, BufWriter, Write};
use std::time::Duration;

use runledger::ExpectedRun;

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Shape, Table, colour, human};
use crate::time;
use crate::writer;

/// Expect runs of a type at least so often
///
/// When none is created in time, `runledger check` and `stats` say so, and the ledger keeps a note
/// of it (`runledger events --audit --type run.missed`), one for each time. Without a type, what is
/// expected is listed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Type of run, such as nightly-backup
    #[arg(value_name = "TYPE", requires = "change")]
    type_name: Option<String>,
    /// How far apart two runs may be created, such as 5m or 1d
    #[arg(long, value_name = "LENGTH", value_parser = time::length)]
    #[arg(requires = "type_name", group = "change")]
    every: Option<Duration>,
    /// How late one may be before it is missed
    #[arg(long, value_name = "LENGTH", value_parser = time::length, requires = "every")]
    grace: Option<Duration>,
    /// Expect runs of the type no longer
    #[arg(long, requires = "type_name", group = "change", conflicts_with = "grace")]
    remove: bool,
    /// Shape of the list
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    #[arg(conflicts_with = "type_name")]
    output: Shape,
}

const EXAMPLE: &str = "Example: runledger expect nightly-backup --every 1d --grace 30m";

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let Some(type_name) = &args.type_name else { return list(args.output, ctx) };
    let (ledger, is_done) = match args.every {
        Some(every) => {
            let ledger = writer::open(ctx, writer::PATIENCE)?;
            ledger.expect_run(type_name, every, args.grace.unwrap_or_default())?;
            (ledger, true)
        }
        None => {
            let ledger = writer::open_if_there(ctx, writer::PATIENCE)?;
            let was_expected = ledger.expect_run_no_longer(type_name)?;
            (ledger, was_expected)
        }
    };
    ledger.close()?;
    Ok(query::found(is_done))
}

fn list(shape: Shape, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let expected = reader.expected_runs()?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match shape {
        Shape::Json => {
            for run in &expected {
                crate::output::json::line(&Line::of(run), &screen, &mut out)?;
            }
        }
        Shape::Table => table(&expected, &screen, &mut out)?,
    }
    out.flush()?;
    query::whole(&reader, query::found(!expected.is_empty()))
}

/// What is expected, as JSON.
#[derive(serde::Serialize)]
pub(super) struct Line {
    #[serde(rename = "type")]
    type_name: String,
    every_seconds: u64,
    grace_seconds: u64,
    since: String,
    due: String,
    missed: bool,
    last_run_id: Option<String>,
    last_status: Option<&'static str>,
    last_created_at: Option<String>,
}

impl Line {
    pub(super) fn of(run: &ExpectedRun) -> Self {
        let last = run.last.as_ref();
        Self {
            type_name: run.run_type.clone(),
            every_seconds: run.every.as_secs(),
            grace_seconds: run.grace.as_secs(),
            since: run.since.to_string(),
            due: run.due.to_string(),
            missed: run.is_missed,
            last_run_id: last.map(|last| last.run_id.to_string()),
            last_status: last.map(|last| last.status.name()),
            last_created_at: last.map(|last| last.created_at.to_string()),
        }
    }
}

/// The types that are expected, a row each.
pub(super) fn table(
    expected: &[ExpectedRun],
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = [
        Column::text("TYPE", 12),
        Column::new("EVERY"),
        Column::new("DUE"),
        Column::new("VERDICT"),
        Column::new("LAST RUN"),
        Column::new("STATUS"),
    ];
    let mut table = Table::new(screen, &columns, out);
    for run in expected {
        let verdict = match run.is_missed {
            true => Cell::new("missed").style(colour::status(runledger::Status::Failed)),
            false => Cell::new("in time"),
        };
        let last = run.last.as_ref();
        let status = Cell::maybe(last.map(|last| last.status));
        table.row(vec![
            Cell::new(&run.run_type),
            Cell::new(&human::length(run.every)),
            Cell::new(&screen.time(run.due)),
            verdict,
            Cell::maybe(last.map(|last| screen.time(last.created_at))).or("never"),
            last.map_or(status.clone(), |last| status.style(colour::status(last.status))),
        ])?;
    }
    table.flush()
}
