//! The `runledger` program: the ledger at a terminal, in scripts and in cron.
//!
//! One file a subcommand under `cmd`, all of one shape: an `Args` that clap fills in and
//! `run(&Args, &Context)`. They use the library's public API alone.

mod args;
mod child;
mod cmd;
mod context;
mod exit;
mod input;
mod output;
mod planted;
mod progress;
mod signature;
mod writer;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use runledger::text::time;

use crate::context::{Context, Global};
use crate::exit::{Failure, Outcome};

/// An append-only ledger of automation runs, their events and their errors.
///
/// It lives in a directory of files: --dir, else RUNLEDGER_DIR, else ./ledger. Reading works beside
/// a live writer. New here? Try `runledger demo`.
#[derive(Parser)]
#[command(name = "runledger", version, disable_help_subcommand = true)]
#[command(max_term_width = 80, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: cmd::Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 nothing matched, something would change, or lines \
                          were rejected; 2 wrong usage or an I/O error; 3 damaged data.";

/// The parser, for what is made from it: completions and man pages.
pub(crate) fn parser() -> clap::Command {
    Cli::command()
}

/// Runs a subcommand as if it had been typed, on the ledger of this context.
pub(crate) fn run_again(ctx: &Context, arguments: &[&str]) -> Result<Outcome, Failure> {
    let typed = std::iter::once("runledger").chain(arguments.iter().copied());
    let cli = Cli::try_parse_from(typed).map_err(|err| Failure::Usage(err.to_string()))?;
    cli.command.run(ctx)
}

fn main() -> ExitCode {
    if let Err(failure) = planted::plant() {
        return exit::code(Err(failure));
    }
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|err| err.exit());
    let is_dir_typed = matches.value_source("dir") == Some(ValueSource::CommandLine);
    let outcome = cli.command.run(&Context::new(cli.global, is_dir_typed));
    exit::code(outcome)
}
