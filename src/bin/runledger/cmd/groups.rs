use std::io::{self, BufWriter, Write};

use runledger::{Body, ErrorGroup, Kind, Query};
use serde::Serialize;

use super::query::{self, Filter};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Shape, Table, json};

/// List the errors in groups of those that are alike, the largest first
///
/// Alike are errors of one type, with the same message but for numbers, ids and quoted words, that
/// were raised in the same place. Shown are how many there are and in how many runs, when the first
/// and the last happened, and what the last one says. For all of a group:
/// runledger errors --fingerprint FINGERPRINT
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// At most this many groups
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// A group as JSON.
#[derive(Serialize)]
struct Line {
    fingerprint: String,
    count: u64,
    runs: u64,
    first_seen: String,
    last_seen: String,
    #[serde(rename = "type")]
    type_name: String,
    severity: &'static str,
    message: String,
    newest_seq: u64,
    newest_run_id: Option<String>,
}

impl Line {
    fn of(group: &ErrorGroup) -> Result<Self, Failure> {
        let record = group.newest.record()?;
        let (severity, message) = match &record.body {
            Body::Error(error) => (error.severity.name(), error.message.to_string()),
            _ => ("", String::new()),
        };
        Ok(Self {
            fingerprint: group.fingerprint.to_string(),
            count: group.count,
            runs: group.runs,
            first_seen: group.first_seen.to_string(),
            last_seen: group.last_seen.to_string(),
            type_name: record.body.type_name().to_owned(),
            severity,
            message,
            newest_seq: record.seq,
            newest_run_id: record.body.run_id().map(ToString::to_string),
        })
    }
}

const COLUMNS: &[Column] = &[
    Column::number("COUNT"),
    Column::number("RUNS"),
    Column::new("FIRST").optional(),
    Column::new("LAST"),
    Column::text("TYPE", 10),
    Column::text("NEWEST MESSAGE", 14),
    Column::new("FINGERPRINT"),
];

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    args.filter.check(Kind::Error)?;
    let reader = query::open(ctx)?;
    let query = args.filter.apply(reader.query(), ctx)?.limit(args.limit);
    let (groups, outcome) =
        query::answer(query, Query::error_groups, |groups| !groups.is_empty())?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => {
            groups.iter().try_for_each(|group| {
                Ok::<_, Failure>(json::line(&Line::of(group)?, &screen, &mut out)?)
            })?;
        }
        Shape::Table if groups.is_empty() => {}
        Shape::Table => {
            let mut table = Table::new(&screen, COLUMNS, &mut out);
            for group in &groups {
                table.row(row(group, &Line::of(group)?, &screen))?;
            }
            table.flush()?;
        }
    }
    out.flush()?;
    query::whole(&reader, outcome)
}

fn row(group: &ErrorGroup, line: &Line, screen: &Screen) -> Vec<Cell> {
    vec![
        Cell::new(&screen.count(line.count)),
        Cell::new(&screen.count(line.runs)),
        Cell::new(&screen.date(group.first_seen)),
        Cell::new(&screen.time(group.last_seen)),
        Cell::new(&line.type_name),
        Cell::new(line.message.lines().next().unwrap_or_default()),
        Cell::new(&line.fingerprint),
    ]
}
