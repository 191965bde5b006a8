//! What the ledger keeps and what it refuses when the machine fails under it.
//!
//! Everything runs on the modelled disk of `support::disk`, and is judged by an oracle that knows
//! what was appended and what was promised of it, and nothing of how the ledger works.
//!
//! - `power`: power cuts at every operation, in opening, appending, rolling, sealing, recovering.
//! - `kill`: the death of the process at every operation.
//! - `faults`: an error of input or output at every operation; a sync that fails once; a full disk.
//! - `damage`: flipped bits and other damage in segments, apart from torn tails.
//! - `tails`: zeros, holes and hostile lengths where frames should be.
//! - `footers`: damaged, missing and stale footers.
//! - `retention`: power cuts and kills while segments are dropped.
//! - `clock`: clocks that jump, stand still and begin in 1970.
//! - `locks`: who else wants to write.
//!
//! Sizes fit a CI run. `RUNLEDGER_TEST_SCALE=100` makes each of them a hundred times larger, with
//! other seeds.

mod check;
mod clock;
mod damage;
mod faults;
mod footers;
mod locks;
mod oracle;
mod power;
mod retention;
mod segments;
mod tails;
mod workload;

/// How many of something to do, for `base` in a CI run.
fn scaled(base: u64) -> u64 {
    base * scale()
}

fn scale() -> u64 {
    let text = std::env::var("RUNLEDGER_TEST_SCALE").unwrap_or_else(|_| "1".to_owned());
    text.parse().expect("RUNLEDGER_TEST_SCALE is a whole number")
}
