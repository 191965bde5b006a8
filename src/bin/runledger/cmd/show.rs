use std::io::{self, BufWriter, Write};

use runledger::{Body, Error, Kind, Order, Reader, Stored};

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::records::write_json;
use crate::output::view::View;
use crate::output::{Printer, Screen, Shape, typed};

/// States of a run that are listed in its history.
const HISTORY: usize = 100;

/// Show one record in full, or a run in its newest state with its history
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A sequence number or a run id
    #[arg(value_name = "SEQ|RUN_ID")]
    id: String,
    /// Take a number as a run id
    #[arg(long)]
    run: bool,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let stored = match find(&reader, args) {
        Ok(stored) => stored,
        Err(err) => return query::missing(&reader, err),
    };
    let record = stored.record()?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut outcome = Outcome::Done;
    match args.output {
        Shape::Json => write_json(&record, &screen, &mut out)?,
        Shape::Table => {
            View::of(&record, &screen).write(&screen, &mut out)?;
            if let Body::Run(run) = &record.body {
                outcome = show_run(&reader, &run.run_id.to_string(), ctx, &screen, &mut out)?;
            }
        }
    }
    out.flush()?;
    query::whole(&reader, outcome)
}

/// The record of a sequence number, else the newest state of the run of that id.
fn find(reader: &Reader, args: &Args) -> Result<Stored, Failure> {
    if let (Ok(seq), false) = (args.id.parse(), args.run) {
        match reader.get(seq) {
            Err(Error::NotFound { .. }) => {}
            found => return Ok(found?),
        }
    }
    reader.run(&args.id).map_err(|err| match err {
        Error::NotFound { .. } => {
            Error::NotFound { what: "record or run", id: args.id.clone() }.into()
        }
        err => err.into(),
    })
}

/// What belongs to a run: its states, and how many events and errors.
fn show_run(
    reader: &Reader,
    id: &str,
    ctx: &Context,
    screen: &Screen,
    out: &mut impl Write,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Done;
    let states = reader.query().kind(Kind::Run).run(id).history(true).order(Order::Seq);
    let page = states.limit(HISTORY).fetch()?;
    if page.len() > 1 {
        writeln!(out, "\n{}", screen.paint("history", crate::output::colour::heading()))?;
        let mut printer = Printer::history(screen, &mut *out);
        for record in page.records() {
            match record {
                Ok(record) => printer.record(&record)?,
                Err(err) => {
                    outcome = Outcome::Damaged;
                    say(&err.to_string());
                }
            }
        }
        printer.flush()?;
    }
    if page.next().is_some() {
        writeln!(out, "(the first {HISTORY} states of more)")?;
    }
    let belongs = |kind| reader.query().kind(kind).run(id).count();
    let (events, errors) = (belongs(Kind::Event)?, belongs(Kind::Error)?);
    writeln!(out)?;
    for (count, noun) in [(events, "event"), (errors, "error")] {
        let total = crate::output::human::plural(count, noun);
        if count > 0 {
            let run = typed::flag("run", id);
            writeln!(out, "{total}: runledger {}{noun}s {run}", typed::at(ctx))?;
        } else {
            writeln!(out, "{total}")?;
        }
    }
    Ok(outcome)
}
