//! A listing of one kind of record: page by page, or counted.

use std::io::{self, BufWriter, Write};

use runledger::{Cursor, Field, Kind, Order, Query, Reader};

use super::{Filter, Pages, answer, open, shown, whole};
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::counts::{self, Count};
use crate::output::{Format, Printer, Screen};

/// The flags of a listing.
#[derive(clap::Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    part: Part,
    /// Print how many match, and no records
    #[arg(long, conflicts_with_all = ["count_by", "cursor", "offset"])]
    count: bool,
    /// Print how many match for each value of a field: type, status, severity, trace, run,
    /// project, user, subject or fingerprint
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["cursor", "offset"])]
    count_by: Option<Field>,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Which part of the records that match.
#[derive(clap::Args)]
#[command(next_help_heading = "Which part of them")]
struct Part {
    /// At most this many; `all` for no bound [default: 50, and all values of --count-by]
    #[arg(short = 'n', long, value_name = "N", value_parser = limit)]
    limit: Option<usize>,
    /// Leave out this many first; of no account beside --cursor
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    /// Go on where a listing in the same order ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<Cursor>,
    /// The oldest first
    #[arg(short = 'r', long)]
    reverse: bool,
    /// What to go by: the time of creation or the sequence number
    #[arg(long, value_enum, default_value_t = By::Time)]
    order: By,
}

/// Records that a listing shows when nothing is said of it.
const USUAL: usize = 50;

/// What the order goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The time of creation
    Time,
    /// The sequence number: the order of the appends
    Seq,
}

impl Part {
    const fn order(&self) -> Order {
        match (self.order, self.reverse) {
            (By::Time, false) => Order::Newest,
            (By::Time, true) => Order::Oldest,
            (By::Seq, false) => Order::SeqDescending,
            (By::Seq, true) => Order::Seq,
        }
    }
}

/// Reads a limit: a number or `all`.
fn limit(text: &str) -> Result<usize, String> {
    match text {
        "all" => Ok(usize::MAX),
        text => text
            .parse()
            .ok()
            .filter(|&limit| limit > 0)
            .ok_or_else(|| "expected a number from 1 or `all`".to_owned()),
    }
}

/// Lists records of a kind, or counts them. `from` says in what to look for them.
///
/// # Errors
/// When the ledger cannot be read, or the output cannot be written.
pub(crate) fn list(
    kind: Kind,
    from: impl FnOnce(&Reader) -> Query,
    args: &Listing,
    ctx: &Context,
) -> Result<Outcome, Failure> {
    args.filter.check(kind)?;
    let reader = open(ctx)?;
    let query = args.filter.apply(from(&reader).kind(kind), ctx)?;
    let screen = Screen::stdout(ctx);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.count {
        let (count, outcome) = answer(query, Query::count, |count| *count > 0)?;
        counts::total(count, args.output, &mut out)?;
        return whole(&reader, outcome);
    }
    if let Some(field) = args.count_by {
        let (counts, outcome) =
            answer(query, |query| query.count_by(field), |counts| !counts.is_empty())?;
        let total = counts.len();
        let shown = counts.into_iter().take(args.part.limit.unwrap_or(usize::MAX));
        let shown: Vec<_> = shown.map(Count::from).collect();
        counts::by_value(field, &shown, args.output, &screen, out)?;
        if shown.len() < total {
            say(&format!("{} of {total} values shown; for all: -n all", shown.len()));
        }
        return whole(&reader, outcome);
    }
    shown(&reader, records(kind, query.or_damaged(), args, ctx, out))
}

fn records(
    kind: Kind,
    query: Query,
    args: &Listing,
    ctx: &Context,
    out: impl Write,
) -> Result<Outcome, Failure> {
    let screen = Screen::stdout(ctx);
    let mut printer = Printer::new(args.output, kind, &screen, out)?;
    let limit = args.part.limit.unwrap_or(USUAL);
    // A cursor goes on behind a page that left them out.
    let offset = args.part.cursor.map_or(args.part.offset, |_| 0);
    let mut pages =
        Pages::new(query.order(args.part.order()), limit).offset(offset).after(args.part.cursor);
    let seen = pages.each(|record| Ok(printer.record(record)?))?;
    if seen.any() {
        printer.flush()?;
    }
    if let Some(cursor) = pages.rest() {
        if ctx.hints() {
            say(&format!("more with --cursor {cursor}"));
        }
    } else if !seen.any() {
        say(&format!("no {kind} matches"));
    }
    Ok(seen.outcome())
}

/// Done when something was found.
pub(crate) const fn found(any: bool) -> Outcome {
    if any { Outcome::Done } else { Outcome::Notable }
}
