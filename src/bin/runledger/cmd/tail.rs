use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runledger::{Cursor, Error, Kind, Order, Query, Reader};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::query::{self, Filter};
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::{Printer, Screen, Shape};

/// How often a ledger that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Records of a stream that are taken in at a time.
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
    let narrow = |query: Query| -> Result<Query, Failure> {
        let query = args.filter.apply(query.history(true), ctx)?.or_damaged();
        Ok(args.kind.iter().fold(query, |query, kind| query.kind(*kind)))
    };
    let seen = show_last(narrow(reader.query())?, args.limit, &mut printer)?;
    if !args.follow {
        return query::whole(&reader, seen);
    }
    let outcome = query::whole(&reader, Outcome::Done)?;
    follow(&reader, narrow, &mut printer)?;
    Ok(outcome)
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

/// Up to where each stream was seen. Of two, also of one kind, the record with the higher number
/// may be there before the one with the lower.
type Places = HashMap<&'static str, u64>;

/// Writes what comes, until a signal says to stop.
fn follow<W: Write>(
    reader: &Reader,
    narrow: impl Fn(Query) -> Result<Query, Failure>,
    printer: &mut Printer<'_, W>,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| Failure::Io { what: "wait for signals".to_owned(), source })?;
    }
    let mut places = Places::new();
    for (stream, query) in reader.by_stream() {
        places.insert(stream, last_seq(query)?);
    }
    printer.flush()?;
    let mut more = false;
    while !stop.load(Ordering::Relaxed) {
        if !more {
            std::thread::sleep(POLL);
        }
        reader.refresh()?;
        more = show_fresh(reader, &narrow, &mut places, printer)?;
    }
    Ok(())
}

/// Writes what came to all streams in the order of its numbers, and says whether there is more.
///
/// Where one stream has more than is taken at a time, the others wait: nothing of them is written
/// that came after the last of that stream.
fn show_fresh<W: Write>(
    reader: &Reader,
    narrow: impl Fn(Query) -> Result<Query, Failure>,
    places: &mut Places,
    printer: &mut Printer<'_, W>,
) -> Result<bool, Failure> {
    let mut looks = Vec::new();
    let mut horizon = u64::MAX;
    for (stream, query) in reader.by_stream() {
        let last = last_seq(query.clone())?;
        let place = places.get(stream).copied().unwrap_or(0);
        if last > place {
            let wanted = narrow(query)?.order(Order::Seq).after(Cursor::after_seq(place));
            let page = wanted.limit(AT_ONCE).fetch()?;
            if page.next().is_some() {
                horizon = page.seqs().last().map_or(horizon, |seq| seq.min(horizon));
            }
            looks.push((stream, last, page));
        }
    }
    let mut fresh = Vec::new();
    for (stream, last, page) in &looks {
        let place = places.entry(stream).or_default();
        *place = horizon.min(*last).max(*place);
        let seqs = page.seqs().take_while(|seq| *seq <= horizon);
        fresh.extend(seqs.enumerate().map(|(at, seq)| (seq, page, at)));
    }
    fresh.sort_unstable_by_key(|(seq, ..)| *seq);
    for stored in fresh.iter().filter_map(|(_, page, at)| page.get(*at)) {
        match stored.record() {
            Ok(record) => printer.record(&record)?,
            Err(err @ Error::Damaged { .. }) => say(&err.to_string()),
            Err(err) => return Err(err.into()),
        }
    }
    if !fresh.is_empty() {
        printer.flush()?;
    }
    Ok(horizon < u64::MAX)
}

/// The highest sequence number of a stream, 0 when there is none.
fn last_seq(stream: Query) -> Result<u64, Failure> {
    let newest = stream.order(Order::SeqDescending).limit(1);
    Ok(newest.fetch()?.seqs().next().unwrap_or(0))
}
