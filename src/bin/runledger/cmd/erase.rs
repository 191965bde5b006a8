use std::io::{self, BufWriter, Write};

use runledger::{Erasure, ErasureReport, Field, Id};

use super::query;
use crate::cmd::compact::rewrites;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, human};
use crate::writer;

/// Erase all records of a user, a project, a run or a trace
///
/// Every segment that holds one is written anew without it, and removed. All that belongs to a run
/// of theirs goes with it: its states, events and errors. What was erased stays on record by number
/// and by a hash of the id, with the reason and who asked for it, but without its content
/// (`runledger events --audit --type records.erased`). Copies of the directory that were made
/// before, blocks of the disk that are not used again yet, and records that a service has put into
/// files of the directory spill/ until it appends them, are not reached. With --dry-run the exit
/// code is 1 when something would be erased.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true)))]
#[command(override_usage = "runledger erase [OPTIONS] <--user|--project|--run|--trace> <ID>")]
pub(crate) struct Args {
    /// The records of this user
    #[arg(long, value_name = "ID", group = "whose")]
    user: Option<String>,
    /// The records of this project
    #[arg(long, value_name = "ID", group = "whose")]
    project: Option<String>,
    /// This run
    #[arg(long, value_name = "ID", group = "whose")]
    run: Option<String>,
    /// The records of this trace
    #[arg(long, value_name = "ID", group = "whose")]
    trace: Option<String>,
    /// Why, to be put on record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// At whose request, to be put on record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
    /// Say what would be erased, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let given = [
        (Field::User, &args.user),
        (Field::Project, &args.project),
        (Field::Run, &args.run),
        (Field::Trace, &args.trace),
    ];
    let whose = given.into_iter().find_map(|(field, id)| Some((field, id.as_deref()?)));
    let (field, id) = whose.ok_or_else(|| Failure::Usage("name whose records go".to_owned()))?;
    let mut erasure = Erasure::of(field, Id::new(id)?)?;
    if let Some(reason) = &args.reason {
        erasure = erasure.reason(reason);
    }
    if let Some(by) = &args.by {
        erasure = erasure.by(by);
    }
    let screen = Screen::stdout(ctx);
    if args.dry_run {
        let reader = query::open(ctx)?;
        let report = reader.plan_erasure(&erasure)?;
        print(&report, true, &screen)?;
        return query::planned(&reader, report.total() + report.notes > 0);
    }
    let ledger = writer::open_existing(ctx)?;
    let report = ledger.erase(&erasure)?;
    ledger.close()?;
    print(&report, false, &screen)?;
    Ok(Outcome::Done)
}

fn print(report: &ErasureReport, dry_run: bool, screen: &Screen) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    rewrites(&report.rewrites, screen, &mut out)?;
    let [runs, events, errors] = report.records;
    writeln!(
        out,
        "{}{}, {} and {} in {}",
        if dry_run { "would erase " } else { "erased " },
        human::plural(runs, "run state"),
        human::plural(events, "event"),
        human::plural(errors, "error"),
        human::plural(report.rewrites.len() as u64, "segment"),
    )?;
    if report.notes > 0 {
        writeln!(
            out,
            "{}{} on pins of those runs, and on what was missed after them",
            if dry_run { "would erase " } else { "erased " },
            human::plural(report.notes, "note"),
        )?;
    }
    if report.copies > 0 {
        writeln!(
            out,
            "recovery and repair have put {} aside, in lost/ and beside the segments, that may \
             hold such records: look, and remove them",
            human::plural(report.copies, "file"),
        )?;
    }
    out.flush()
}
