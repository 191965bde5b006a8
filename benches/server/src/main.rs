//! What the server adds to the ledger, and what it takes from it: one command that anyone can
//! repeat.
//!
//! ```text
//! cargo run --release --manifest-path benches/server/Cargo.toml
//! cargo run --release --manifest-path benches/server/Cargo.toml -- --records 100k --soak 600
//! ```
//!
//! The server has a process of its own on loopback, without limits of rate and without tokens; the
//! clients are threads of this one, with a connection each that is kept open, and ask again as soon
//! as they are answered. Rates that are compared are taken by turns, second by second, so that what
//! else the machine does falls on both; a figure is the median of the turns. Everything reaches the
//! kernel before it is answered, and no further. SQLite is served by the same HTTP, reads the same
//! lines with the same code and answers as many, from the tables and indexes of `benches/peers`.
//! What is printed is the table in the README.

mod client;
#[path = "../../peers/src/machine.rs"]
mod machine;
#[path = "../../peers/src/number.rs"]
mod number;
mod server;
mod sqlite;
mod table;
mod tasks;
#[path = "../../suite/workload.rs"]
#[expect(dead_code, reason = "other benchmarks ask it for more")]
mod workload;

use std::error::Error;

/// What a measurement gives, and what stops it.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "usage: runledger-server-bench [--records N[k|M]] [--seconds S] [--soak S]\n\
    records of the bulks and runs of the list [1M], seconds of each rate [10], of the soak [30]";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) records: usize,
    pub(crate) seconds: u64,
    pub(crate) soak: u64,
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [server::CHILD, what, dir] => server::serve(what, dir.as_ref()),
        words => match amounts(words) {
            Some(amounts) => tasks::all(amounts),
            None => Err(USAGE.into()),
        },
    }
}

fn amounts(words: &[&str]) -> Option<Amounts> {
    let mut amounts = Amounts { records: 1_000_000, seconds: 10, soak: 30 };
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        match *name {
            "--records" => amounts.records = number(value)?,
            "--seconds" => amounts.seconds = value.parse().ok()?,
            "--soak" => amounts.soak = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(amounts)
}

fn number(text: &str) -> Option<usize> {
    let (digits, unit) = match text.strip_suffix(['k', 'M']) {
        Some(digits) if text.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
