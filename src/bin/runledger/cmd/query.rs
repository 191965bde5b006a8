//! What `runs`, `events`, `errors` and `tail` share: filters, paging, and the listing itself.

mod filter;
mod list;
mod pages;

pub(super) use filter::Filter;
pub(super) use list::{Listing, found, list};
pub(super) use pages::Pages;

use runledger::Reader;

use crate::context::Context;
use crate::exit::Failure;

/// Opens the ledger to read it, beside a writer if there is one.
///
/// # Errors
/// When there is no ledger, or it cannot be read.
pub(super) fn open(ctx: &Context) -> Result<Reader, Failure> {
    Ok(Reader::open(ctx.dir())?)
}
