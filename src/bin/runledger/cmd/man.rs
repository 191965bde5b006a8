use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap_mangen::Man;

use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Print the manual page, or write those of all subcommands
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the pages; made when it is missing
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, _ctx: &Context) -> Result<Outcome, Failure> {
    let parser = crate::parser();
    let Some(directory) = &args.directory else {
        // Rendered in memory first, so that a closed pipe is met in one place.
        let mut page = Vec::new();
        Man::new(parser).render(&mut page)?;
        io::stdout().lock().write_all(&page)?;
        return Ok(Outcome::Done);
    };
    fs::create_dir_all(directory).map_err(|err| Failure::io("create", directory, err))?;
    clap_mangen::generate_to(parser, directory)
        .map_err(|err| Failure::io("write the pages into", directory, err))?;
    Ok(Outcome::Done)
}
