use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};

use runledger::{Body, Cursor, Error, Kind, Order, Query, Reader, Record, Run, Timestamp};
use serde::Serialize;

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::{Cell, Column, Screen, Shape, Table, colour, human, json, records};

/// Compare two runs: where they part, then side by side
///
/// Their events and errors are compared one by one in the order in which they were appended, by
/// type, message and payload (of an error the detail). Shown are the last that are alike, and from
/// there on both, with their distances in time from the start of their run. The exit code is 1 when
/// the runs part.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A run id, such as that of the last success
    #[arg(value_name = "RUN_A")]
    left: String,
    /// Another run id
    #[arg(value_name = "RUN_B")]
    right: String,
    /// How many pairs are shown from where they part on
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Compare the types alone
    #[arg(long)]
    types: bool,
    /// Shape of the output; JSON is one object
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// Records fetched at a time.
const PAGE: usize = 1000;

/// Pairs that are shown before the runs part.
const BEFORE: usize = 3;

/// One run, read from its first event on.
struct Side {
    run: Run<'static>,
    events: Query,
    read: VecDeque<Record<'static>>,
    after: Option<Cursor>,
    is_over: bool,
    damaged: u64,
}

/// Two events that stand side by side.
#[derive(Serialize)]
struct Pair {
    number: u64,
    same: bool,
    a: Option<Said>,
    b: Option<Said>,
}

/// What an event or error says, and when.
#[derive(Serialize)]
struct Said {
    seq: u64,
    kind: &'static str,
    offset_ms: f64,
    #[serde(rename = "type")]
    type_name: String,
    says: String,
    #[serde(skip)]
    offset: i64,
}

/// What came of the comparison, as JSON.
#[derive(Serialize)]
struct Report {
    run_a: String,
    run_b: String,
    alike: u64,
    /// The number of the first pair that is not, from 1.
    parts_at: Option<u64>,
    pairs: Vec<Pair>,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let side = |id| Side::of(&reader, id);
    let sides = side(&args.left).and_then(|left| Ok([left, side(&args.right)?]));
    let mut sides = match sides {
        Ok(sides) => sides,
        Err(err) => return query::missing(&reader, err),
    };
    let report = compare(&mut sides, args)?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => json::line(&report, &screen, &mut out)?,
        Shape::Table => print(&report, &sides, &screen, &mut out)?,
    }
    out.flush()?;
    let outcome = match report.parts_at {
        _ if sides.iter().any(|side| side.damaged > 0) => Outcome::Damaged,
        Some(_) => Outcome::Notable,
        None => Outcome::Done,
    };
    query::whole(&reader, outcome)
}

/// Walks both runs to where they part, and as far beyond as is to be shown.
fn compare(sides: &mut [Side; 2], args: &Args) -> Result<Report, Failure> {
    let [left, right] = sides;
    let mut report = Report {
        run_a: left.run.run_id.to_string(),
        run_b: right.run.run_id.to_string(),
        alike: 0,
        parts_at: None,
        pairs: Vec::new(),
    };
    let mut number = 0;
    let mut shown = 0;
    while report.parts_at.is_none() || shown < args.limit {
        let pair = (left.next()?, right.next()?);
        let same = match &pair {
            (None, None) => break,
            (Some(a), Some(b)) => is_same(&a.body, &b.body, args.types),
            _ => false,
        };
        number += 1;
        if report.parts_at.is_none() && same {
            report.alike += 1;
            if report.pairs.len() == BEFORE {
                report.pairs.remove(0);
            }
        } else {
            report.parts_at.get_or_insert(number);
            if shown == args.limit {
                break;
            }
            shown += 1;
        }
        let a = pair.0.map(|record| left.said(&record));
        let b = pair.1.map(|record| right.said(&record));
        report.pairs.push(Pair { number, same, a, b });
    }
    if report.parts_at.is_none() {
        report.pairs.clear();
    }
    Ok(report)
}

fn is_same(a: &Body<'_>, b: &Body<'_>, types: bool) -> bool {
    let is_alike = a.kind() == b.kind() && a.type_name() == b.type_name();
    is_alike
        && (types
            || match (a, b) {
                (Body::Event(a), Body::Event(b)) => {
                    a.message == b.message && a.payload == b.payload
                }
                (Body::Error(a), Body::Error(b)) => a.message == b.message && a.detail == b.detail,
                _ => true,
            })
}

impl Side {
    fn of(reader: &Reader, id: &str) -> Result<Self, Failure> {
        let stored = reader.run(id)?;
        let Body::Run(run) = stored.record()?.body else {
            return Err(Error::NotFound { what: "run", id: id.to_owned() }.into());
        };
        let events = reader.query().kind(Kind::Event).kind(Kind::Error).run(id).order(Order::Seq);
        Ok(Self {
            run: run.into_owned(),
            events: events.limit(PAGE),
            read: VecDeque::new(),
            after: None,
            is_over: false,
            damaged: 0,
        })
    }

    /// Its next event or error. One that is damaged is named on stderr, and the next follows.
    fn next(&mut self) -> Result<Option<Record<'static>>, Failure> {
        while self.read.is_empty() && !self.is_over {
            let query = self.events.clone();
            let page = self.after.map_or(query.clone(), |cursor| query.after(cursor)).fetch()?;
            for record in page.records() {
                match record {
                    Ok(record) => self.read.push_back(record.into_owned()),
                    Err(err @ Error::Damaged { .. }) => {
                        self.damaged += 1;
                        say(&err.to_string());
                    }
                    Err(err) => return Err(err.into()),
                }
            }
            self.after = page.next();
            self.is_over = self.after.is_none();
        }
        Ok(self.read.pop_front())
    }

    fn start(&self) -> Timestamp {
        self.run.started_at.or(self.run.created_at).unwrap_or_default()
    }

    fn said(&self, record: &Record<'_>) -> Said {
        let body = &record.body;
        let offset = body.created_at().unwrap_or_default().nanos_since(self.start());
        Said {
            seq: record.seq,
            kind: body.kind().name(),
            offset_ms: human::millis(offset).parse().unwrap_or_default(),
            type_name: body.type_name().to_owned(),
            says: records::says(body).to_owned(),
            offset,
        }
    }

    /// The run in a line.
    fn heading(&self, name: &str, screen: &Screen) -> String {
        let run = &self.run;
        let took = run.duration_nanos().map(human::duration).unwrap_or_default();
        let id = run.run_id.to_string();
        let text = format!("{name}  {id}  {}  {}", run.run_type, screen.time(self.start()));
        let status = screen.paint(run.status.name(), colour::status(run.status));
        format!("{}  {status} {took}", crate::output::escape::line(&text)).trim_end().to_owned()
    }
}

fn print(
    report: &Report,
    sides: &[Side; 2],
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    for (side, name) in sides.iter().zip(["A", "B"]) {
        writeln!(out, "{}", side.heading(name, screen))?;
    }
    let alike = human::plural(report.alike, "event");
    if report.parts_at.is_none() {
        return writeln!(out, "{alike}, all alike");
    }
    writeln!(out, "{alike} alike, then they part:")?;
    let columns = [
        Column::number("#"),
        Column::new(""),
        Column::number("+A"),
        Column::text("A", 16),
        Column::number("+B"),
        Column::text("B", 16),
    ];
    let mut table = Table::new(screen, &columns, &mut *out);
    for pair in &report.pairs {
        let mark = match (&pair.a, &pair.b) {
            _ if pair.same => "=",
            (Some(_), None) => "<",
            (None, Some(_)) => ">",
            _ => "|",
        };
        let offset = |said: &Option<Said>| {
            Cell::maybe(said.as_ref().map(|said| human::duration(said.offset)))
        };
        let text = |said: &Option<Said>| {
            let text = said.as_ref().map(|said| format!("{} {}", said.type_name, said.says));
            let is_error = said.as_ref().is_some_and(|said| said.kind == Kind::Error.name());
            let cell = Cell::maybe(text);
            if is_error { cell.style(colour::severity(runledger::Severity::Error)) } else { cell }
        };
        table.row(vec![
            Cell::new(&pair.number.to_string()),
            Cell::new(mark),
            offset(&pair.a),
            text(&pair.a),
            offset(&pair.b),
            text(&pair.b),
        ])?;
    }
    table.flush()
}
