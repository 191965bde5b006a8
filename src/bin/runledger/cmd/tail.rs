use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runledger::{Cursor, Kind, Order, Query, Reader, Record};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::query::{self, Filter, Pages};
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::{Printer, Screen, Shape};

/// How often a ledger that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Records of a kind that are taken in at a time.
const AT_ONCE: usize = 4096;

/// Show the last records, in the order in which they came, and go on with those that follow
///
/// Each change of a run's status is a line of its own.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only records of these kinds: run, event, error
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Go on until Ctrl-C
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many of the last records to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    if let [kind] = args.kind.as_slice() {
        args.filter.check(*kind)?;
    }
    let reader = query::open(ctx)?;
    let screen = Screen::stdout(ctx);
    let out = BufWriter::new(io::stdout().lock());
    let mut printer = Printer::mixed(args.output == Shape::Json, &screen, out);
    let wanted = || args.filter.apply(reader.query().history(true), ctx);
    let last = args.kind.iter().fold(wanted()?, |query, kind| query.kind(*kind));
    let seen = show_last(last, args.limit, &mut printer)?;
    if args.follow {
        let all = |kind: &Kind| args.kind.is_empty() || args.kind.contains(kind);
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(all).collect();
        follow(&reader, &kinds, wanted, &mut printer)?;
        return Ok(Outcome::Done);
    }
    query::whole(&reader, seen)
}

/// Writes the last records of a query.
fn show_last<W: Write>(
    query: Query,
    limit: usize,
    printer: &mut Printer<'_, W>,
) -> Result<Outcome, Failure> {
    let page = query.order(Order::SeqDescending).limit(limit).fetch()?;
    let mut outcome = query::found(!page.is_empty());
    for at in (0..page.len()).rev() {
        let Some(stored) = page.get(at) else { continue };
        match stored.record() {
            Ok(record) => printer.record(&record)?,
            Err(err) => {
                outcome = Outcome::Damaged;
                say(&err.to_string());
            }
        }
    }
    if !page.is_empty() {
        printer.flush()?;
    }
    Ok(outcome)
}

/// Writes what comes, until a signal says to stop.
fn follow<W: Write>(
    reader: &Reader,
    kinds: &[Kind],
    wanted: impl Fn() -> Result<Query, Failure>,
    printer: &mut Printer<'_, W>,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| Failure::Io { what: "wait for signals".to_owned(), source })?;
    }
    // Each kind has its own place: of two kinds the record with the higher number may be there
    // before the one with the lower.
    let mut places = Vec::new();
    for kind in if kinds.is_empty() { Kind::ALL } else { kinds } {
        places.push((*kind, last_seq(reader, *kind)?));
    }
    printer.flush()?;
    let mut more = false;
    while !stop.load(Ordering::Relaxed) {
        if !more {
            std::thread::sleep(POLL);
        }
        reader.refresh()?;
        let (fresh, rest) = take_all(reader, &wanted, &mut places)?;
        more = rest && !fresh.is_empty();
        fresh.iter().try_for_each(|record| printer.record(record))?;
        if !fresh.is_empty() {
            printer.flush()?;
        }
    }
    Ok(())
}

/// Takes what came of all kinds in the order of its numbers, and says whether there is more.
///
/// Where one kind has more than is taken at a time, the others wait: nothing of them is taken that
/// came after the last of that kind.
fn take_all(
    reader: &Reader,
    wanted: impl Fn() -> Result<Query, Failure>,
    places: &mut [(Kind, u64)],
) -> Result<(Vec<Record<'static>>, bool), Failure> {
    let mut fresh = Vec::new();
    let mut seen = Vec::new();
    let mut horizon = u64::MAX;
    for (kind, place) in places.iter() {
        let (upto, rest) = take(reader, wanted()?.kind(*kind), (*kind, *place), &mut fresh)?;
        seen.push(upto);
        if rest {
            horizon = horizon.min(upto);
        }
    }
    for ((_, place), upto) in places.iter_mut().zip(seen) {
        *place = upto.min(horizon).max(*place);
    }
    fresh.retain(|record| record.seq <= horizon);
    fresh.sort_by_key(|record| record.seq);
    Ok((fresh, horizon < u64::MAX))
}

/// Takes the records of a kind behind a place, and gives the place up to which all were seen and
/// whether there are more.
fn take(
    reader: &Reader,
    wanted: Query,
    (kind, place): (Kind, u64),
    fresh: &mut Vec<Record<'static>>,
) -> Result<(u64, bool), Failure> {
    let last = last_seq(reader, kind)?;
    if last <= place {
        return Ok((place, false));
    }
    let mut pages =
        Pages::new(wanted.order(Order::Seq), AT_ONCE).after(Some(Cursor::after_seq(place)));
    let mut seen = place;
    pages.each(|record| {
        seen = record.seq;
        fresh.push(record.clone().into_owned());
        Ok(())
    })?;
    Ok(if pages.rest().is_some() { (seen, true) } else { (last, false) })
}

/// The highest sequence number of a kind, 0 when there is none.
fn last_seq(reader: &Reader, kind: Kind) -> Result<u64, Failure> {
    let newest = reader.query().kind(kind).history(true).order(Order::SeqDescending).limit(1);
    Ok(newest.fetch()?.seqs().next().unwrap_or(0))
}
