//! The reliability scorecard as a command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use torture::card::{Plan, ROWS, Row, foot, head, line, row, rows_table, run};
use torture::document;
use torture::ground::Size;

/// Tries on the ledger what breaks ledgers, counts, and prints the card.
///
/// Exit code 0 when every row that ran kept its promises, 1 when one did not.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Args {
    /// All rows, the same as naming none.
    #[arg(value_enum, conflicts_with = "row")]
    what: Option<All>,
    /// Only this row; can be given several times.
    #[arg(long, value_name = "N")]
    row: Vec<u8>,
    /// Where all chance comes from: the same seed tries the same.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Only this case of each part of a row, to repeat a failure.
    #[arg(long, value_name = "K", requires = "row")]
    case: Option<u64>,
    /// The sizes of an everyday run.
    #[arg(long)]
    fast: bool,
    /// Plant this bug first, and stop at the first failure: a row that fails has caught it.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "BUG", requires = "row", value_parser = bug)]
    plant: Option<runledger::planted::Bug>,
    /// What the rows met, below each line.
    #[arg(long)]
    notes: bool,
    /// Put the card into this document, in the place of the one that is in it.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum All {
    All,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("child") {
        return torture::child::main(&words.collect::<Vec<_>>());
    }
    let args = Args::parse();
    let mut rows: Vec<&'static Row> = Vec::new();
    for &number in &args.row {
        let Some(row) = row(number) else {
            eprintln!("torture: the card has no row {number}");
            return ExitCode::from(2);
        };
        rows.push(row);
    }
    if rows.is_empty() {
        rows.extend(ROWS);
    }
    let is_planted = plant(&args);
    let plan = Plan {
        size: if args.fast { Size::Fast } else { Size::Full },
        seed: args.seed,
        only_case: args.case,
        program: program().filter(|_| !is_planted),
        stops_at_once: is_planted,
    };
    // What fails is told once, by the card, with the words of the panic.
    std::panic::set_hook(Box::new(|_| {}));
    let begin = Instant::now();
    let mut card = String::new();
    let mut say = |text: &str| {
        print!("{text}");
        card.push_str(text);
    };
    say(&head());
    let mut is_failed = false;
    for row in rows {
        let outcome = run(row, &plan);
        say(&line(&outcome));
        if args.notes {
            outcome.tally.notes.iter().for_each(|note| say(&format!("     {note}\n")));
        }
        is_failed |= outcome.is_failed();
    }
    say(&foot(begin.elapsed()));
    if let Some(path) = args.into
        && let Err(err) = document::put(&path, &card, &rows_table())
    {
        eprintln!("torture: {}: {err}", path.display());
        return ExitCode::from(2);
    }
    if is_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The bug of this name.
#[cfg(feature = "planted")]
fn bug(name: &str) -> Result<runledger::planted::Bug, String> {
    let mut bugs = runledger::planted::Bug::ALL.iter().copied();
    bugs.find(|bug| format!("{bug:?}") == name).ok_or_else(|| {
        format!("there is no such bug; there are {:?}", runledger::planted::Bug::ALL)
    })
}

/// Plants the bug that was asked for. True when there was one.
#[cfg(feature = "planted")]
fn plant(args: &Args) -> bool {
    args.plant.inspect(|bug| runledger::planted::plant(*bug)).is_some()
}

#[cfg(not(feature = "planted"))]
fn plant(_: &Args) -> bool {
    false
}

fn program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}
