//! The measurements behind the figures in the README, beside the floor of what any log must do.
//!
//! `cargo bench` runs all of it at a million operations. `RUNLEDGER_BENCH_OPS` sets another number,
//! `RUNLEDGER_BENCH_DIR` another disk. Without the argument `--bench`, as under `cargo test`, a few
//! operations show that it runs. Each group prints a table and writes it to
//! `target/bench/<group>.json`.
//!
//! `cargo bench --bench append -- bulk` runs only what has the word in its name.
//!
//! The machine is never quiet, so a figure is the median of several rounds, and the table tells the
//! fastest and the slowest of them.

mod append;
mod durable;
mod floor;
mod measure;
mod open;
mod query;
mod report;
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};

use report::Report;

/// What a measurement gives, and what stops it.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Operations in a full run.
const FULL: usize = 1_000_000;
/// Operations that show that the measurements run.
const SMOKE: usize = 20_000;

/// One run: how much is measured, and where files are put.
struct Bench {
    ops: usize,
    rounds: usize,
    dir: PathBuf,
    /// Words of which one is to be in the name of what is measured; none for all.
    words: Vec<String>,
}

/// Runs one group of measurements.
pub(crate) fn main(group: &str) -> Outcome {
    if open::is_child() {
        return open::be_child();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let words = args.into_iter().filter(|arg| !arg.starts_with('-')).collect();
    let ops = match std::env::var("RUNLEDGER_BENCH_OPS") {
        Ok(ops) => ops.parse()?,
        Err(_) if is_bench => FULL,
        Err(_) => SMOKE,
    };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = std::env::var_os("RUNLEDGER_BENCH_DIR").map_or(target.to_owned(), PathBuf::from);
    let dir = dir.join(format!("bench-{group}-{}", std::process::id()));
    let bench = Bench { ops, rounds: if ops < FULL { 3 } else { 5 }, dir, words };
    let mut report = Report::new(group, ops);
    let outcome = match group {
        "append" => append::run(&bench, &mut report),
        "query" => query::run(&bench, &mut report),
        _ => open::run(&bench, &mut report),
    };
    // What was measured is told also when a later measurement failed.
    report.print();
    report.write(target)?;
    std::fs::remove_dir_all(&bench.dir)?;
    outcome
}

impl Bench {
    /// True when a measurement of this name is asked for.
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// An empty place for the files of one measurement.
    fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}
