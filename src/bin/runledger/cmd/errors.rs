use runledger::{Kind, Reader};

use super::query::{Listing, list};
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// List errors, the newest first
///
/// For which are the most frequent, see `runledger groups`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    list(Kind::Error, Reader::query, &args.listing, ctx)
}
