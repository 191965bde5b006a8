use runledger::{Cleanup, Status};

use super::cleanup::clean;
use crate::args::days;
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Drop old runs of one status, and say which stay and why
///
/// A segment goes as a whole, once no run in it is in another status and none is younger than
/// --days by its own times: as those do of a class `runs.STATUS` in runledger.toml. Of the others
/// it is said how many such runs they hold. With --dry-run the exit code is 1 when something would
/// go.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The status: pending, running, success, failed, skipped, cancelled or abandoned
    #[arg(value_name = "STATUS")]
    status: Status,
    /// Drop what is older than this many days
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
