use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use runledger::{MergeReport, Options, Reader};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::{Screen, Shape, escape, human, json};
use crate::writer;

/// Add the records of other ledgers to one, such as those of edge machines
///
/// Each record keeps where it is from: `show` and `export` tell the ledger and the number that it
/// had there. It can be done again and again, also after a crash in its midst: nothing is added
/// twice. Where a run's id is taken by a run of another ledger, it is called ID@ and the first
/// digits of its ledger's id. The exit code is 1 when records were refused; stderr names them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Directories of the ledgers to read, beside their writers if they have any
    #[arg(value_name = "LEDGER", required = true)]
    from: Vec<PathBuf>,
    /// Directory of the ledger to write to; made when it is missing [default: --dir]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Shape of the output; JSON is one object for each ledger
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

const EXAMPLE: &str = "Example: runledger merge edge-1 edge-2 --into central";

/// What came of one ledger, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    from: String,
    runs: u64,
    events: u64,
    errors: u64,
    renamed: &'a [(String, String)],
    refused: u64,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let others: Vec<Reader> = args.from.iter().map(Reader::open).collect::<Result<_, _>>()?;
    let ledger = Options::new().open(args.into.as_deref().unwrap_or(ctx.dir()))?;
    writer::tell(&ledger);
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut is_all = true;
    let mut shown = Ok(());
    for (other, path) in others.iter().zip(&args.from) {
        let report = ledger.merge_from(other)?;
        report.reasons.iter().for_each(|reason| say(&format!("{}: {reason}", path.display())));
        is_all &= report.reasons.is_empty();
        // Where nobody reads, the others are merged all the same.
        shown = shown.and_then(|()| match args.output {
            Shape::Json => json::line(&Line::of(path, &report), &screen, &mut out),
            Shape::Table => print(path, &report, &mut out),
        });
    }
    ledger.close()?;
    if !is_all {
        return Ok(Outcome::Notable);
    }
    shown.and_then(|()| out.flush())?;
    Ok(Outcome::Done)
}

impl<'a> Line<'a> {
    fn of(path: &Path, report: &'a MergeReport) -> Self {
        let MergeReport { runs, events, errors, refused, .. } = *report;
        let (from, renamed) = (path.display().to_string(), &report.renamed[..]);
        Self { from, runs, events, errors, renamed, refused }
    }
}

fn print(path: &Path, report: &MergeReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: added {}, {} and {}",
        path.display(),
        human::plural(report.runs, "run state"),
        human::plural(report.events, "event"),
        human::plural(report.errors, "error"),
    )?;
    for (there, here) in &report.renamed {
        writeln!(out, "  run {} is {} here", escape::line(there), escape::line(here))?;
    }
    Ok(())
}
