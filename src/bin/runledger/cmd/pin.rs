use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::writer::{self, PATIENCE};

/// Hold a run past retention, with its events and errors
///
/// The segments that hold them are kept, whole, whatever the policy and the caps say, until
/// `runledger unpin`. A run that is pinned already gets the new reason.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: String,
    /// Why it is held
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let ledger = writer::open_if_there(ctx, PATIENCE)?;
    ledger.pin(&args.run, &args.reason)?;
    ledger.close()?;
    Ok(Outcome::Done)
}
