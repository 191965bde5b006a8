use std::io::{self, Write};
use std::path::PathBuf;

use super::query;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::signature;

/// Print the heads of the ledger, to be stored elsewhere
///
/// The text is small: the ledger's id and, for each stream, the end of its chain of hashes and a
/// hash of the segment that is written. Kept where whoever may change the ledger cannot, it lets
/// `runledger verify --against` find what was changed, cut, reordered, removed or made again. It
/// vouches for what is known to be on stable storage; beside a writer that may lack the newest.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Sign it with this Ed25519 key: PEM of `openssl genpkey -algorithm ed25519`, or a seed of 32
    /// bytes in hexadecimal
    #[arg(long, value_name = "KEYFILE")]
    sign: Option<PathBuf>,
}

const EXAMPLE: &str = "Example: runledger checkpoint --sign key.pem > /mnt/elsewhere/head";

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let text = signature::write(&reader.checkpoint()?, args.sign.as_deref())?;
    io::stdout().lock().write_all(text.as_bytes())?;
    query::whole(&reader, Outcome::Done)
}
