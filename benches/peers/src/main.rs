//! The same work through runledger, SQLite, LMDB, redb and fjall, each with the same indexes,
//! beside the floor of what any log must do: one command that anyone can repeat.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- all --ops 1M,10M
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- all --engines lmdb --only query
//! cargo run --release --manifest-path benches/peers/Cargo.toml --no-default-features -- all
//! ```
//!
//! The second measures one engine, the third builds no peer. The workload is seeded and the same
//! for all: a tenth of the records are starts of runs, a tenth their ends, seven tenths events, a
//! tenth errors. Every engine answers every question by index, and the run fails when two answers
//! differ. Each measurement has a process of its own; a figure is the median of rounds, and the
//! file of results tells the least and the most of them.
//!
//! A peer keeps a run as one row, its newest state, as the tables do that runledger takes the place
//! of; runledger keeps every state. That is less work for the peers, and less disk.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod answers;
mod args;
mod child;
mod director;
mod engine;
mod engines;
mod figures;
mod goals;
mod machine;
mod measure;
mod number;
mod question;
mod readme;
mod results;
mod table;
mod tasks;
#[path = "../../suite/workload.rs"]
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};

use runledger::Timestamp;
use runledger::storage::{Disk, Storage};

use args::{Options, USAGE};
use engines::Name;
use machine::Machine;
use results::{EngineFacts, Results};

/// What a measurement gives, and what stops it.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The versions of the peers are those of the lock file.
const LOCK: &str = include_str!("../Cargo.lock");

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = here.join("../../README.md");
    let read = |files: &[&str]| -> Outcome<Vec<Results>> {
        let committed = ["figures", "ten-million"].map(|name| format!("results/{name}.json"));
        let files: Vec<PathBuf> = match files {
            [] => committed.iter().map(|file| here.join(file)).collect(),
            given => given.iter().map(PathBuf::from).collect(),
        };
        files.iter().map(|file| Results::read(file)).collect()
    };
    match words.as_slice() {
        [child::CHILD, order] => tasks::run(&serde_json::from_str(order)?),
        ["all", ..] => all(&Options::parse(args.get(1..).unwrap_or_default())?),
        ["show", file] => {
            print!("{}", table::table(&Results::read(Path::new(file))?));
            Ok(())
        }
        ["readme", "--check", files @ ..] => readme::check(&read(files)?, &readme),
        ["readme", files @ ..] => readme::write(&read(files)?, &readme),
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}

fn all(options: &Options) -> Outcome {
    std::fs::create_dir_all(&options.dir)?;
    let begun = measure::now();
    let date = Timestamp::from_nanos(Disk.now()).to_string();
    let mut results = Results {
        about: "runledger beside its peers: medians, and the least and the most of the rounds"
            .to_owned(),
        date: date.chars().take(10).collect(),
        machine: Machine::of(&options.dir)?,
        engines: options.engines.iter().map(|name| facts(*name)).collect(),
        sizes: Vec::new(),
    };
    let mut outcome = Ok(());
    for (number, ops) in options.sizes.iter().enumerate() {
        let (size, done) = director::measure(options, *ops, number == 0, begun);
        results.sizes.push(size);
        results.write(&options.out)?;
        outcome = done;
        if outcome.is_err() {
            break;
        }
    }
    std::fs::remove_dir_all(&options.dir)?;
    print!("{}", table::table(&results));
    println!("\nwritten to {}", options.out.display());
    outcome
}

fn facts(name: Name) -> EngineFacts {
    let (package, own) = name.origin();
    let version = match own {
        Some(own) => format!("{own} ({package} {})", version(package)),
        None => version(package),
    };
    EngineFacts { name: name.text().to_owned(), version, settings: name.settings().to_owned() }
}

/// The version of a package in the lock file; nothing for one that is not there.
fn version(package: &str) -> String {
    let name = format!("name = \"{package}\"\nversion = \"");
    let rest = LOCK.split_once(&name).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}
