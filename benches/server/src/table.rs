//! The table of what was measured, in Markdown, line by line as it comes.

use std::path::Path;

use runledger::Timestamp;
use runledger::storage::{Disk, Storage};

use crate::Outcome;
use crate::machine::Machine;
use crate::number::number;

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Nothing: it is told for comparison.
    Told,
    /// At least so many times what it is held against.
    AtLeast(f64),
    /// At most so many times what it is held against.
    AtMost(f64),
    /// Less than this by itself.
    Below(f64),
}

/// What was measured on, with the file system of this directory, and the head of the table.
pub(crate) fn head(dir: impl AsRef<Path>) -> Outcome {
    let Machine { cpu, cores, memory_gib, kernel, file_system, load } = Machine::of(dir.as_ref())?;
    let now = Timestamp::from_nanos(Disk.now()).to_string();
    let (date, _) = now.split_once('T').unwrap_or_default();
    println!(
        "{date}: {cores} cores of {cpu}, {memory_gib} GiB, {kernel}, {file_system}, load {load} at \
         the start.\n"
    );
    println!("| over HTTP; beside it | measured | beside | reached | goal | |");
    println!("|---|---:|---:|---:|---:|---|");
    Ok(())
}

/// A figure, and what it is held against.
pub(crate) fn row(figure: &str, measured: f64, beside: f64, goal: Goal) {
    let ratio = measured / beside;
    let times = |bound: f64, sign: &str| format!("{sign} {bound} ×");
    let (reached, goal, is_met) = match goal {
        Goal::Told => (format!("{ratio:.2} ×"), String::new(), None),
        Goal::AtLeast(bound) => (format!("{ratio:.2} ×"), times(bound, "≥"), Some(ratio >= bound)),
        Goal::AtMost(bound) => (format!("{ratio:.2} ×"), times(bound, "≤"), Some(ratio <= bound)),
        Goal::Below(bound) => {
            (number(measured), format!("< {}", number(bound)), Some(measured < bound))
        }
    };
    let met = is_met.map_or("", |is_met| if is_met { "met" } else { "missed" });
    let (measured, beside) = (number(measured), number(beside));
    println!("| {figure} | {measured} | {beside} | {reached} | {goal} | {met} |");
}
