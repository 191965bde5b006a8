use runledger::{Kind, Reader};

use super::query::{Listing, list};
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// List runs, the newest first
///
/// Each run is shown once, in its newest state. For what failed last night, for instance:
/// runledger runs --status failed --since yesterday
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    list(Kind::Run, Reader::query, &args.listing, ctx)
}
