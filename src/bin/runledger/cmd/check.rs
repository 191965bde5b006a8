use std::io::{self, BufWriter, Write};

use runledger::{ExpectedRun, Kind, Status};
use serde::Serialize;

use super::expect::{Line, table};
use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, Shape, human, json, typed};

/// Say whether the runs are as they should be, for cron and monitoring
///
/// A problem is a run that was expected and never came (`runledger expect`), a type that is
/// expected and whose last run has failed or was abandoned, and any run that was abandoned of those
/// created of late. The exit code is 1 then, 3 when data is damaged, else 0.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Count abandoned runs that were created at this time or later
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    #[arg(default_value = "-1d")]
    since: String,
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
    /// Shape of the output; JSON is one object
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// What was found, and its form in JSON.
#[derive(Serialize)]
struct Report {
    ok: bool,
    missed: u64,
    failed: u64,
    abandoned: u64,
    since: String,
    expected: Vec<Line>,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let since = ctx.time(&args.since)?;
    let expected = reader.expected_runs()?;
    let abandoned = reader.query().kind(Kind::Run).status(Status::Abandoned).since(since);
    let report = Report::of(&expected, abandoned.count()?, since.to_string());
    let screen = Screen::stdout(ctx);
    if !report.ok || !args.quiet {
        let mut out = BufWriter::new(io::stdout().lock());
        match args.output {
            Shape::Json => json::line(&report, &screen, &mut out)?,
            Shape::Table => {
                let since = screen.time(since);
                writeln!(out, "{}", report.sum(&since))?;
                if !expected.is_empty() {
                    table(&expected, &screen, &mut out)?;
                }
                if report.abandoned > 0 {
                    let (at, since) = (typed::at(ctx), typed::quoted(&args.since));
                    let filter = format!("--status abandoned -S {since}");
                    writeln!(out, "For the abandoned: runledger {at}runs {filter}")?;
                }
            }
        }
        out.flush()?;
    }
    query::whole(&reader, if report.ok { Outcome::Done } else { Outcome::Notable })
}

impl Report {
    fn of(expected: &[ExpectedRun], abandoned: u64, since: String) -> Self {
        let has_failed = |run: &&ExpectedRun| {
            let last = run.last.as_ref().map(|last| last.status);
            matches!(last, Some(Status::Failed | Status::Abandoned))
        };
        let missed = expected.iter().filter(|run| run.is_missed).count() as u64;
        let failed = expected.iter().filter(has_failed).count() as u64;
        let ok = missed + failed + abandoned == 0;
        let expected = expected.iter().map(Line::of).collect();
        Self { ok, missed, failed, abandoned, since, expected }
    }

    /// The verdict in a line, as monitoring shows it.
    fn sum(&self, since: &str) -> String {
        let expected = human::plural(self.expected.len() as u64, "type");
        if self.ok {
            return format!("OK: {expected} expected, none missed or failed, none abandoned");
        }
        let Self { missed, failed, abandoned, .. } = self;
        let expected = format!("{missed} missed and {failed} last failed, of {expected} expected");
        format!("PROBLEM: {expected}; {abandoned} abandoned since {since}")
    }
}
