use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{RepairAction, RepairReport, repair};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, Shape, human, json};
use crate::progress;

/// Put a damaged ledger in order
///
/// Indexes are made anew from the records. What is whole in a damaged segment goes into a new one;
/// the damaged file is kept in the ledger's folder `lost`. With --dry-run the exit code is 1 when
/// something would be done; it is 3 when a file cannot be read, which no repair can mend.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Shape of the output; JSON is one object with all files
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let repair = || repair(ctx.dir(), Arc::new(Disk), args.dry_run);
    let report = progress::during("repairing", repair)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        Shape::Json => {
            let actions = report.actions.iter().map(Action::of).collect();
            let report = Report { dry_run: args.dry_run, damaged: report.is_damaged(), actions };
            json::line(&report, &Screen::stdout(ctx), &mut out)?;
        }
        Shape::Table => print(&report, args.dry_run, &mut out)?,
    }
    out.flush()?;
    if report.is_damaged() {
        return Ok(Outcome::Damaged);
    }
    let would_change = args.dry_run && !report.actions.is_empty();
    Ok(if would_change { Outcome::Notable } else { Outcome::Done })
}

fn print(report: &RepairReport, dry_run: bool, out: &mut impl Write) -> io::Result<()> {
    for action in &report.actions {
        let Action { path, what, copy, .. } = Action::of(action);
        writeln!(out, "{path}:\n  {what}")?;
        if let Some(copy) = copy {
            let keeps = if dry_run { "the old file would be" } else { "the old file is" };
            writeln!(out, "  {keeps} {copy}")?;
        }
    }
    let left = |action: &&RepairAction| matches!(action, RepairAction::Left { .. });
    let left = report.actions.iter().filter(left).count();
    let done = human::plural((report.actions.len() - left) as u64, "file");
    match dry_run {
        true => write!(out, "would put {done} in order")?,
        false => write!(out, "put {done} in order")?,
    }
    match left {
        0 => writeln!(out),
        left => writeln!(out, ", {} left as they are", human::plural(left as u64, "file")),
    }
}

/// The report as JSON.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    damaged: bool,
    actions: Vec<Action>,
}

/// What becomes of a file, in words and in figures.
#[derive(Serialize)]
struct Action {
    path: String,
    action: &'static str,
    what: String,
    copy: Option<String>,
    records: Option<u64>,
    records_lost: Option<u64>,
    bytes_lost: Option<u64>,
}

impl Action {
    fn of(action: &RepairAction) -> Self {
        let words = |path, action, what| Self {
            path: shown(path),
            action,
            what,
            copy: None,
            records: None,
            records_lost: None,
            bytes_lost: None,
        };
        match action {
            RepairAction::Rebuilt { path, records, copy } => {
                let whole = human::plural(*records, "record");
                let what = match path.ends_with("LEDGER") {
                    true => "made anew; it holds no records".to_owned(),
                    false => format!("index made anew, {whole} whole"),
                };
                let (copy, records) = (Some(shown(copy)), Some(*records));
                Self { copy, records, records_lost: Some(0), ..words(path, "rebuilt", what) }
            }
            RepairAction::Salvaged { path, records, lost_bytes, lost_records, copy } => {
                let lost = match lost_records {
                    Some(records) => human::plural(*records, "record"),
                    None => "an unknown number of records".to_owned(),
                };
                let (saved, bytes) = (human::plural(*records, "record"), human::count(*lost_bytes));
                let what = format!("{saved} saved, {lost} lost in {bytes} bytes");
                Self {
                    copy: Some(shown(copy)),
                    records: Some(*records),
                    records_lost: *lost_records,
                    bytes_lost: Some(*lost_bytes),
                    ..words(path, "salvaged", what)
                }
            }
            RepairAction::SetAside { path, copy } => {
                let what = "its header is gone: taken out of the ledger".to_owned();
                Self { copy: Some(shown(copy)), ..words(path, "set aside", what) }
            }
            RepairAction::Noted { path, offset, lost_bytes } => {
                let what = match offset {
                    0 => "the file is gone; that is put on record".to_owned(),
                    _ => {
                        let gone = human::plural(*lost_bytes, "byte");
                        format!("{gone} behind offset {offset} are gone; that is put on record")
                    }
                };
                Self { bytes_lost: Some(*lost_bytes), ..words(path, "noted", what) }
            }
            RepairAction::Left { path, reason } => {
                words(path, "left", format!("left as it is: {reason}"))
            }
            other => words(Path::new(""), "other", format!("{other:?}")),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
