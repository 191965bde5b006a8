use runledger::Kind;

use super::query::{Listing, list};
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// List events, the newest first
///
/// For the events of a run, for instance: runledger events --run RUN_ID
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    list(Kind::Event, &args.listing, ctx)
}
