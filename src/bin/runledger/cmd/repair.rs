use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{RepairAction, repair};

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::human;
use crate::progress;

/// Put a damaged ledger in order
///
/// Indexes are made anew from the records. What is whole in a damaged segment goes into a new one;
/// the damaged file is kept in the ledger's folder `lost`. With --dry-run the exit code is 1 when
/// something would be done.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let repair = || repair(ctx.dir(), Arc::new(Disk), args.dry_run);
    let report = progress::during("repairing", repair)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for action in &report.actions {
        writeln!(out, "{}", in_words(action))?;
    }
    let segments = human::plural(report.actions.len() as u64, "segment");
    match args.dry_run {
        true => writeln!(out, "would repair {segments}")?,
        false => writeln!(out, "repaired {segments}")?,
    }
    out.flush()?;
    let would_change = args.dry_run && !report.actions.is_empty();
    Ok(if would_change { Outcome::Notable } else { Outcome::Done })
}

fn in_words(action: &RepairAction) -> String {
    let (path, what, copy) = match action {
        RepairAction::Rebuilt { path, records, copy } => {
            (path, format!("index made anew, {} whole", human::plural(*records, "record")), copy)
        }
        RepairAction::Salvaged { path, records, lost_bytes, lost_records, copy } => {
            let lost = match lost_records {
                Some(records) => human::plural(*records, "record"),
                None => "an unknown number of records".to_owned(),
            };
            let saved = human::plural(*records, "record");
            (path, format!("{saved} saved, {lost} lost in {lost_bytes} bytes"), copy)
        }
        RepairAction::SetAside { path, copy } => {
            (path, "its header is gone: taken out of the ledger".to_owned(), copy)
        }
        RepairAction::Noted { path, offset: 0, .. } => {
            return format!("{}: the file is gone; that is put on record", shown(path));
        }
        RepairAction::Noted { path, offset, lost_bytes } => {
            let gone = human::plural(*lost_bytes, "byte");
            let path = shown(path);
            return format!("{path}: {gone} behind offset {offset} are gone; that is put on record");
        }
        other => return format!("{other:?}"),
    };
    format!("{}: {what}; the old file is {}", shown(path), shown(copy))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
