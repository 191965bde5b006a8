//! What `runs`, `events`, `errors` and `tail` share: filters, paging, and the listing itself.

mod filter;
mod list;
mod pages;

pub(super) use filter::Filter;
pub(super) use list::{Listing, found, list};
pub(super) use pages::Pages;

use runledger::Reader;

use crate::context::Context;
use crate::exit::{Failure, Outcome, say};

/// Opens the ledger to read it, beside a writer if there is one.
///
/// # Errors
/// When there is no ledger, or it cannot be read.
pub(super) fn open(ctx: &Context) -> Result<Reader, Failure> {
    Ok(Reader::open(ctx.dir())?)
}

/// The outcome of a command that has read from the whole ledger: damage that may have hidden
/// records is said, and is never left to an exit code of 0.
///
/// # Errors
/// When the engine's notes cannot be read.
pub(super) fn whole(reader: &Reader, outcome: Outcome) -> Result<Outcome, Failure> {
    let losses = reader.losses()?;
    if losses.damaged_ranges + losses.unreadable_segments == 0 {
        return Ok(outcome);
    }
    say("part of the ledger is damaged and may be missing here; run `runledger verify`");
    Ok(Outcome::Damaged)
}
