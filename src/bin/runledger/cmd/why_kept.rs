use std::io::{self, BufWriter, Write};

use runledger::{Kept, Retention, Term};
use serde::Serialize;

use super::cleanup::why;
use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, Shape, human, json};

/// Say why a run or a record is still there, and when it goes
///
/// The segments that hold the run's states, events and errors are named, or the one that holds the
/// record: each with its class, the rule that holds for it, and what keeps it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run's id, or a record's sequence number
    #[arg(value_name = "RUN|SEQ")]
    what: String,
    /// Take it for a run's id although it is a number
    #[arg(long)]
    run: bool,
    /// Shape of the output; JSON is one object a segment
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// A segment as JSON.
#[derive(Serialize)]
struct Place<'a> {
    segment: &'a str,
    class: &'static str,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    records: u64,
    of_them: u64,
    carried: u64,
    bytes: u64,
    age_seconds: Option<u64>,
    arrived: Option<String>,
    goes: bool,
    why: String,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let given = Retention::new();
    let kept = match args.what.parse().ok().filter(|_| !args.run) {
        Some(seq) => reader.why_kept(seq, &given),
        None => reader.why_run_kept(&args.what, &given),
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(err) => return query::missing(&reader, err.into()),
    };
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    for kept in &kept {
        match args.output {
            Shape::Json => json::line(&Place::of(kept), &screen, &mut out)?,
            Shape::Table => print(kept, &screen, &mut out)?,
        }
    }
    if kept.is_empty() && args.output == Shape::Table {
        writeln!(out, "a note of the ledger itself: those are kept for ever")?;
    }
    out.flush()?;
    query::whole(&reader, Outcome::Done)
}

impl<'a> Place<'a> {
    fn of(kept: &'a Kept) -> Self {
        let plan = &kept.segment;
        let keep = plan.kept_for.map(|keep| keep.to_string());
        Self {
            segment: &plan.segment,
            class: kept.class.name(),
            first_seq: plan.seqs.map(|(first, _)| first),
            last_seq: plan.seqs.map(|(_, last)| last),
            records: plan.records,
            of_them: kept.records,
            carried: kept.carried,
            bytes: plan.bytes,
            age_seconds: kept.limits.term.and_then(Term::duration).map(|age| age.as_secs()),
            arrived: plan.arrived.map(|time| time.to_string()),
            goes: plan.dropped_for.is_some(),
            why: plan.dropped_for.clone().or(keep).unwrap_or_default(),
        }
    }
}

fn print(kept: &Kept, screen: &Screen, out: &mut impl Write) -> io::Result<()> {
    let plan = &kept.segment;
    let term = match kept.limits.term.and_then(Term::duration) {
        None => "kept for ever".to_owned(),
        Some(age) => format!("kept for {} after it arrived", human::length(age)),
    };
    writeln!(
        out,
        "{}: {} of {}, {}",
        plan.segment,
        screen.count(kept.records),
        human::plural(plan.records, "record"),
        human::bytes(plan.bytes),
    )?;
    writeln!(out, "  class {}, {term}", kept.class)?;
    if let Some(arrived) = plan.arrived {
        writeln!(out, "  its newest record arrived {}", screen.full_time(arrived))?;
    }
    let verdict = if plan.dropped_for.is_some() { "goes with the next clean-up" } else { "stays" };
    writeln!(out, "  {verdict}: {}", why(plan, screen))?;
    if kept.carried > 0 {
        let what = "as a run that is open, or the newest success or failure of its type";
        writeln!(out, "  but is carried forward, {what}")?;
    }
    Ok(())
}
