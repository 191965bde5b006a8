//! What `runs`, `events`, `errors` and `tail` share: filters, paging, and the listing itself.

mod filter;
mod list;
mod pages;

pub(super) use filter::Filter;
pub(super) use list::{Listing, found, list};
pub(super) use pages::{Pages, Taken};

use std::io::ErrorKind;

use runledger::{Error, Query, Reader};

use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::human;

/// Opens the ledger to read it, beside a writer if there is one.
///
/// # Errors
/// When there is no ledger, or it cannot be read.
pub(super) fn open(ctx: &Context) -> Result<Reader, Failure> {
    Ok(Reader::open(ctx.dir())?)
}

/// Says on stderr that part of the ledger may be missing from what is shown, if so. True then.
///
/// # Errors
/// When the engine's notes cannot be read.
pub(super) fn warn(reader: &Reader) -> Result<bool, Failure> {
    let losses = reader.losses()?;
    let parts = [
        (losses.unreadable_segments, "unreadable segment"),
        (losses.damaged_ranges, "damaged range"),
        (losses.missing_ends, "missing end"),
    ];
    let there = parts.iter().filter(|(count, _)| *count > 0);
    let there: Vec<_> = there.map(|(count, noun)| human::plural(*count, noun)).collect();
    if there.is_empty() {
        return Ok(false);
    }
    say(&format!(
        "{}: records may be missing here; `runledger verify` names the places",
        there.join(", ")
    ));
    Ok(true)
}

/// The outcome of a command that has read from the whole ledger: damage that may have hidden
/// records is said, and is never left to an exit code of 0.
///
/// # Errors
/// When the engine's notes cannot be read.
pub(super) fn whole(reader: &Reader, outcome: Outcome) -> Result<Outcome, Failure> {
    Ok(if warn(reader)? { Outcome::Damaged } else { outcome })
}

/// What a query answers, and how the command ends that asks it, when `any` says that there was
/// something. Damage in its way is named on stderr, and passed over.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) fn answer<T>(
    query: Query,
    ask: impl Fn(&Query) -> runledger::Result<T>,
    any: impl Fn(&T) -> bool,
) -> Result<(T, Outcome), Failure> {
    match ask(&query) {
        Err(err @ Error::Damaged { .. }) => {
            say(&err.to_string());
            Ok((ask(&query.or_damaged())?, Outcome::Damaged))
        }
        answer => {
            let answer = answer?;
            let outcome = found(any(&answer));
            Ok((answer, outcome))
        }
    }
}

/// As [`whole`], of a command that was showing what it read: who has read enough is told, too.
///
/// # Errors
/// Those of the command but for a closed pipe, and when the engine's notes cannot be read.
pub(super) fn shown(reader: &Reader, shown: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    match shown {
        Err(Failure::Output(err)) if err.kind() == ErrorKind::BrokenPipe => {
            whole(reader, Outcome::Done)
        }
        shown => whole(reader, shown?),
    }
}

/// The outcome of a dry run, by whether there is something that it would change.
///
/// # Errors
/// When the engine's notes cannot be read.
pub(super) fn planned(reader: &Reader, would_change: bool) -> Result<Outcome, Failure> {
    whole(reader, if would_change { Outcome::Notable } else { Outcome::Done })
}

/// The outcome of a command that did not find what it is about, which damage may have hidden.
///
/// # Errors
/// Any other than that, and when the engine's notes cannot be read.
pub(super) fn missing(reader: &Reader, err: Failure) -> Result<Outcome, Failure> {
    match err {
        Failure::Ledger(err @ Error::NotFound { .. }) => {
            say(&err.to_string());
            whole(reader, Outcome::Notable)
        }
        err => Err(err),
    }
}
