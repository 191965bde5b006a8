use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use runledger::wire::{self, ParseOptions};
use runledger::{Body, Durability, Ledger, Timestamp};

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::typed;

/// Make a ledger of real records and look around in it
///
/// The records are a minute of a train ticket shop of microservices in which one service was made
/// to fail; their times are shifted so that they end now.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to make it, also as --dir; must not be there [default: ./runledger-demo, or the next
    /// free name]
    directory: Option<PathBuf>,
}

/// The sample; `NOTICE` beside it says whose it is.
const SAMPLE: &str = include_str!("../demo/nezha-slice.jsonl");

/// A search for trains that failed because a service that it needs had no instance left.
const INCIDENT: &str = "d3ba35f77109462adbc25f3a0d7b152d";

/// The name of the folder, and how many more are tried when it is taken.
const FOLDER: &str = "runledger-demo";
const NAMES: u32 = 1_000;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let directory = match (args.directory.as_deref(), ctx.typed_dir()) {
        (Some(_), Some(_)) => {
            let text = "the directory was named twice: name it without --dir, or with it alone";
            return Err(Failure::Usage(text.to_owned()));
        }
        (Some(directory), None) | (None, Some(directory)) => given(directory)?,
        (None, None) => free_name()?,
    };
    let records = sample(ctx.now())?;
    let ledger = Ledger::open(&directory)?;
    for (record, result) in records.iter().zip(ledger.append_each(&records, Durability::Os)?) {
        result.map_err(|source| Failure::Stopped {
            place: format!("a {} of the sample was refused", record.kind()),
            source,
        })?;
    }
    ledger.close()?;

    let ctx = ctx.for_tour(&directory);
    let mut out = io::stdout();
    writeln!(out, "{} records are in {}.", records.len(), directory.display())?;
    let sections: [(&str, &[&str]); 3] = [
        ("The last runs:", &["runs", "--limit", "8"]),
        ("The last failures:", &["errors", "--severity", "error,critical", "--limit", "5"]),
        ("One incident, all kinds of record in order:", &["trace", INCIDENT]),
    ];
    for (title, command) in sections {
        writeln!(out, "\n{title}\n$ {} {}\n", invocation(&directory), command.join(" "))?;
        crate::run_again(&ctx, command)?;
    }
    next_steps(&mut out, &directory)?;
    Ok(Outcome::Done)
}

/// The records, moved in time as one so that the last of them is now.
fn sample(now: Timestamp) -> Result<Vec<Body<'static>>, Failure> {
    let mut records = Vec::new();
    for (number, line) in (1_u32..).zip(SAMPLE.lines()) {
        let record = wire::parse_line(line, &ParseOptions::new())
            .map_err(|reason| Failure::Usage(format!("line {number} of the sample: {reason}")))?;
        records.push(record);
    }
    let last = records.iter_mut().filter_map(|record| time_of(record).copied()).max();
    let shift = now.nanos_since(last.unwrap_or(now));
    for record in &mut records {
        if let Some(time) = time_of(record) {
            *time = Timestamp::from_nanos(time.as_nanos().saturating_add(shift));
        }
    }
    Ok(records)
}

/// The one time that each line of the sample has.
fn time_of<'a>(record: &'a mut Body<'_>) -> Option<&'a mut Timestamp> {
    match record {
        Body::Run(run) => run.at.as_mut(),
        Body::Event(event) => event.created_at.as_mut(),
        Body::Error(error) => error.created_at.as_mut(),
        _ => None,
    }
}

/// The directory that was asked for, when nothing is in the way.
fn given(directory: &Path) -> Result<PathBuf, Failure> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(directory.to_owned()),
        Ok(false) => Err(Failure::Usage(format!(
            "{} is there and not empty: name another directory, or remove it",
            directory.display()
        ))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(directory.to_owned()),
        Err(err) => Err(Failure::io("look into", directory, err)),
    }
}

/// The first of the default names that is free.
fn free_name() -> Result<PathBuf, Failure> {
    let names = (1..=NAMES).map(|number| match number {
        1 => PathBuf::from(format!("./{FOLDER}")),
        number => PathBuf::from(format!("./{FOLDER}-{number}")),
    });
    for name in names {
        if !name.try_exists().map_err(|err| Failure::io("look for", &name, err))? {
            return Ok(name);
        }
    }
    Err(Failure::Usage(format!("all names from ./{FOLDER} on are taken: name a directory")))
}

/// The start of a command as it can be typed, whether or not the program is in the path.
fn invocation(directory: &Path) -> String {
    let program = env::args_os().next().unwrap_or_else(|| "runledger".into());
    let quoted = |text: &OsStr| typed::quoted(&text.to_string_lossy());
    format!("{} --dir {}", quoted(&program), quoted(directory.as_os_str()))
}

fn next_steps(out: &mut impl Write, directory: &Path) -> io::Result<()> {
    let start = invocation(directory);
    writeln!(out, "\nWhat to type next:")?;
    for (why, command) in [
        ("the runs that failed", "runs --status failed"),
        ("one run, with all that is known of it", &format!("show {INCIDENT}")),
        ("search in messages and JSON", "errors --since -10m --grep 'no instances'"),
        ("what fails how often", "errors --count-by type"),
        ("sizes, times and error rates", "stats"),
        ("check every byte", "verify"),
        ("log a command of your own", "exec --type hello -- echo hi"),
    ] {
        writeln!(out, "  # {why}\n  {start} {command}")?;
    }
    writeln!(out, "\nThe sample is of the Nezha data set (MIT licence, (c) 2023 IntelligentDDS).")
}
