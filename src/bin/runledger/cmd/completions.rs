use std::io::{self, Write};

use clap_complete::Shell;

use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Print a completion script for a shell
///
/// For bash, for instance:
/// runledger completions bash > ~/.local/share/bash-completion/completions/runledger
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, _ctx: &Context) -> Result<Outcome, Failure> {
    // Rendered in memory first, because clap panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::parser(), "runledger", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Outcome::Done)
}
