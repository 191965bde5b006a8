use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Shape, Table, json};

/// List the runs that are held past retention, and why
///
/// The exit code is 1 when there are none.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shape of the output; JSON is one object a run
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// A pin as JSON.
#[derive(Serialize)]
struct Pin<'a> {
    run_id: String,
    reason: &'a str,
    pinned_at: String,
    seq: u64,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let pins = reader.pins()?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => {
            for pin in &pins {
                let (run_id, pinned_at) = (pin.run_id.to_string(), pin.pinned_at.to_string());
                let pin = Pin { run_id, reason: &pin.reason, pinned_at, seq: pin.seq };
                json::line(&pin, &screen, &mut out)?;
            }
        }
        Shape::Table => table(&pins, &screen, &mut out)?,
    }
    out.flush()?;
    query::whole(&reader, query::found(!pins.is_empty()))
}

fn table(pins: &[runledger::Pin], screen: &Screen, out: &mut impl Write) -> io::Result<()> {
    let columns = [Column::text("RUN", 16), Column::new("SINCE"), Column::text("REASON", 16)];
    let mut table = Table::new(screen, &columns, out);
    for pin in pins {
        table.row(vec![
            Cell::new(&pin.run_id.to_string()),
            Cell::new(&screen.time(pin.pinned_at)),
            Cell::new(&pin.reason),
        ])?;
    }
    table.flush()
}
