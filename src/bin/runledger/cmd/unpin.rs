use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::writer::{self, PATIENCE};

/// Let go of a run that was pinned
///
/// What is due of it goes with the next clean-up. The exit code is 1 when it is not pinned.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: String,
    /// Why it is no longer held
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let ledger = writer::open_if_there(ctx, PATIENCE)?;
    ledger.unpin(&args.run, &args.reason)?;
    ledger.close()?;
    Ok(Outcome::Done)
}
