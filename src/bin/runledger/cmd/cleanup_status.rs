use runledger::{Cleanup, Status};

use super::cleanup::clean;
use crate::args::days;
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Take old runs of one status out of the ledger, and say how
///
/// A segment is dropped when no run in it is in another status and none is younger than --days by
/// its own times: as those are of a class `runs.STATUS` in runledger.toml. Others are written anew
/// without the runs that go, in all of their states. What is open or pinned stays, and so do the
/// newest success and the newest failure of each type. Events and errors of the runs go by their
/// own retention. With --dry-run the exit code is 1 when something would go.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The status: pending, running, success, failed, skipped, cancelled or abandoned
    #[arg(value_name = "STATUS")]
    status: Status,
    /// Take what is older than this many days
    #[arg(long, value_name = "N")]
    days: u32,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let cleanup = Cleanup::older_than(days(args.days)).status(args.status);
    clean(&cleanup, args.dry_run, ctx)
}
