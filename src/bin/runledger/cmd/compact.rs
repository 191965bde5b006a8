use std::io::{self, BufWriter, Write};

use runledger::{Compaction, CompactionReport, Options, Rewrite};

use super::query;
use crate::args::{Stream, days};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Cell, Column, Screen, Table, human};
use crate::writer;

/// Merge small segments, leave out overtaken states of runs, and compress
///
/// Sealed segments are written anew and take the place of the old ones; what is still written
/// stays as it is. Of a run only the newest state is left, unless --keep-states says else; no
/// other answer changes. A crash at any moment leaves each segment as it was or as it is to be.
/// There has to be room on the disk for one more segment. While another process writes the ledger
/// this command is refused: that writer compacts by itself. With --dry-run the exit code is 1 when
/// something would be done.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only segments whose newest record arrived more than this many days ago
    #[arg(long, value_name = "N", default_value_t = 0)]
    days: u32,
    /// Keep all states of runs, not only the newest
    #[arg(long)]
    keep_states: bool,
    /// Only this stream
    #[arg(long, value_enum)]
    stream: Option<Stream>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("STREAM"),
    Column::number("SEGMENTS"),
    Column::number("RECORDS"),
    Column::number("LEFT OUT"),
    Column::number("BYTES"),
    Column::number("AFTER").optional(),
    Column::new("INTO").below(),
];

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let compaction = Compaction::new().older_than(days(args.days));
    let compaction = match args.stream {
        Some(stream) => compaction.kind(stream.kind()),
        None => compaction,
    };
    let compaction = if args.keep_states { compaction.keep_states() } else { compaction };
    let screen = Screen::stdout(ctx);
    if args.dry_run {
        let reader = query::open(ctx)?;
        let report = reader.plan_compaction(&compaction, &Options::new())?;
        print(&report, true, &screen)?;
        return query::planned(&reader, !report.rewrites.is_empty());
    }
    let ledger = writer::open_existing(ctx)?;
    let report = ledger.compact(&compaction)?;
    ledger.close()?;
    print(&report, false, &screen)?;
    Ok(if report.damaged.is_empty() { Outcome::Done } else { Outcome::Damaged })
}

fn print(report: &CompactionReport, dry_run: bool, screen: &Screen) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    rewrites(&report.rewrites, screen, &mut out)?;
    let segments: usize = report.rewrites.iter().map(|rewrite| rewrite.from.len()).sum();
    let segments = human::plural(segments as u64, "segment");
    match dry_run {
        true => writeln!(out, "would compact {segments}")?,
        false => writeln!(
            out,
            "compacted {segments} into {}, {} freed",
            report.rewrites.iter().filter(|rewrite| rewrite.to.is_some()).count(),
            human::bytes(report.freed()),
        )?,
    }
    for (segment, damage) in &report.damaged {
        writeln!(out, "{segment} is damaged and stays as it is: {damage}")?;
    }
    out.flush()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A table of what was, or would be, written anew.
pub(super) fn rewrites(
    rewrites: &[Rewrite],
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new(screen, COLUMNS, out);
    for rewrite in rewrites {
        let from = rewrite.from.first().map_or("", String::as_str);
        table.row(vec![
            Cell::new(from.split('/').next().unwrap_or_default()),
            Cell::new(&rewrite.from.len().to_string()),
            Cell::new(&screen.count(rewrite.records)),
            Cell::new(&screen.count(rewrite.left_out)),
            Cell::new(&human::bytes(rewrite.bytes)),
            Cell::maybe(rewrite.bytes_after.map(human::bytes)),
            Cell::maybe(rewrite.to.as_deref().map(file_name).map(str::to_owned)),
        ])?;
    }
    table.flush()
}
