use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use runledger::Id;
use runledger::server::{Minted, Scope, Tokens, mint};

use crate::args;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::time;

/// Make a token for `runledger serve`, signed with its secret
///
/// The token counts until it expires: it cannot be taken back but by another secret.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The user whose records it sees and writes
    #[arg(value_name = "USER", value_parser = args::id)]
    user: Id<'static>,
    /// What it may do: read, write, cleanup, admin
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', value_parser = scope)]
    #[arg(default_value = "read,write")]
    scope: Vec<Scope>,
    /// A project that it sees and writes besides; may be given several times
    #[arg(long, value_name = "PROJECT", value_parser = args::id)]
    project: Vec<Id<'static>>,
    /// For how long it counts, such as 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = time::length)]
    valid_for: Duration,
    /// The file with the secret of the server
    #[arg(long, value_name = "FILE", env = "RUNLEDGER_SECRET_FILE")]
    secret_file: PathBuf,
    /// The issuer that the server asks for
    #[arg(long, value_name = "ISS", env = "RUNLEDGER_ISSUER")]
    issuer: Option<String>,
    /// The audience that the server asks for
    #[arg(long, value_name = "AUD", env = "RUNLEDGER_AUDIENCE")]
    audience: Option<String>,
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::from_name(name).ok_or_else(|| "expected read, write, cleanup or admin".to_owned())
}

pub(crate) fn run(args: &Args, _: &Context) -> Result<Outcome, Failure> {
    let mut minted = Minted::new(&args.user);
    minted.scopes = &args.scope;
    minted.projects = &args.project;
    minted.valid_for = args.valid_for;
    minted.tokens = Tokens { issuer: args.issuer.clone(), audience: args.audience.clone() };
    let token =
        mint(&args.secret_file, &minted).map_err(|err| Failure::Usage(err.to_string()))?;
    writeln!(io::stdout(), "{token}")?;
    Ok(Outcome::Done)
}
