use runledger::{Kind, Reader};

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
    /// List the ledger's own notes instead: what was cut, dropped or found damaged, clock jumps
    #[arg(long, help_heading = "Which records")]
    audit: bool,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let from = if args.audit { Reader::audit } else { Reader::query };
    list(Kind::Event, from, &args.listing, ctx)
}
