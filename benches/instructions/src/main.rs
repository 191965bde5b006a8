//! What the hot paths cost in instructions, against a limit each.
//!
//! A count of instructions is the same on a noisy machine as on a quiet one, so a change that makes
//! a path dearer by a few percent is seen, which no clock on a shared machine can see. It says
//! nothing of cache misses, system calls or waiting: those are for `cargo bench`.
//!
//! ```text
//! cargo run --release                  measures all, and fails when one is above its limit
//! cargo run --release -- trace seal    only those with such a word in their name
//! cargo run --release -- --update      writes limits.toml anew, after a change that is meant
//! ```
//!
//! Needs valgrind. Each benchmark runs in a process of its own under callgrind, which counts only
//! between the entry of [`counted_region`] and its return: making records and filling ledgers is
//! free. Records, clock and random bytes are the same each time. valgrind shows every machine with
//! AVX2 the same processor, so that the routines that are chosen by its features (memory copies,
//! CRC32, BLAKE3, searches) are the same, too. What is left is the seeds of hash tables in the
//! standard library, far below a percent; another compiler or C library may differ by more, so
//! limits.toml names those that it holds for.

mod callgrind;
mod cases;
mod limits;
mod report;
mod steady;
#[expect(dead_code, reason = "it is shared with the benches, which use all of it")]
#[path = "../../suite/workload.rs"]
mod workload;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{Bench, CASES, Case};
use limits::Limits;

/// What a step gives, and what stops it.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [callgrind::CHILD, name] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let case = CASES.iter().find(|case| case.name == name).ok_or("no such benchmark")?;
        println!("{}", (case.run)(&Bench::new()?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (options, words): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with('-'));
    let update = options.iter().any(|option| *option == "--update");
    if let Some(unknown) = options.iter().find(|option| **option != "--update") {
        return Err(format!("unknown option {unknown}; there is only --update").into());
    }
    let wanted = |case: &&Case| {
        words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()))
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let mut limits = Limits::read()?;
    let measured = measure(&cases)?;
    if update {
        limits.set(&measured, words.is_empty())?;
    }
    report::print(&limits, &measured);
    let holds = report::verdict(&limits, &measured);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What one benchmark takes: instructions for each of its units.
pub(crate) struct Measured {
    pub(crate) case: &'static Case,
    pub(crate) instructions: u64,
}

/// Measures, as many at a time as there are processors: a count does not mind company.
fn measure(cases: &[&'static Case]) -> Outcome<Vec<Measured>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let measured = callgrind::measure(case);
                    results.lock().unwrap_or_else(|err| err.into_inner()).push(measured);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(|err| err.into_inner());
    let mut measured = results.into_iter().collect::<Outcome<Vec<Measured>>>()?;
    measured.sort_by_key(|one| CASES.iter().position(|case| std::ptr::eq(case, one.case)));
    Ok(measured)
}

/// Does the work that is counted. callgrind finds it by its name.
#[inline(never)]
pub(crate) fn counted_region<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}
