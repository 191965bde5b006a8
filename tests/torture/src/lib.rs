//! The reliability scorecard: each way in which an append-only log is known to lose, duplicate or
//! invent records, as a row that tries it on the ledger and counts.
//!
//! `cargo run --release -p torture -- all` runs every row at full size and prints the card;
//! `cargo test` runs the rows that need no other process at a size for every day.
//!
//! - [`card`]: the rows, how they are run, and the table of what came of it.
//! - [`document`]: the card's place in a document.
//! - [`ground`]: what a row stands on: its size, its seed, its counts and its processors.
//! - `rows`: the rows, one subject a file.
//! - [`disk`]: a disk in memory that loses power, fills up and fails.
//! - `fuzz`: the fuzz targets.
//! - `oracle`: what was appended and what was promised of it, kept outside of the ledger.
//! - `workload`: a writer that appends what a seed says, and tells the oracle.
//! - `real`: real processes and file systems: writers that are killed, and disks that are cut off.
//! - `child`: what this program does when it was started by itself.
//! - `life`: what happens to a ledger from opening to opening, with cuts and failures between.
//! - `check`: whether a disk that a crash left holds what was promised.
//! - `segments`: ledgers to be damaged, and where things lie in their segments.

pub mod card;
mod check;
pub mod child;
pub mod disk;
pub mod document;
#[expect(unreachable_pub, reason = "the fuzz crate's library is taken in as it is")]
#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;
pub mod ground;
mod life;
mod oracle;
mod real;
pub mod rng;
mod rows;
#[cfg(all(test, shuttle))]
mod schedules;
mod segments;
mod workload;
