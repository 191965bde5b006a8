//! The integration tests: one program, so that the library is linked once. What is in it:
//!
//! - `classes`: streams split by status and severity, and the policy that says so.
//! - `cli`: the program as it is used: what it says and its exit codes.
//! - `dated`: ledgers with a clock, for others of these.
//! - `embed`: the ledger in a service: spans, log lines, panics, queues and what is awaited.
//! - `engine`: the engine under strain: threads, clean-up, full disks, damage.
//! - `format`: the worked examples of FORMAT.md, against the codec.
//! - `fuzz_corpus`: the fuzz targets, on the kept corpus and on chance.
//! - `golden`: ledgers that earlier versions of this program wrote.
//! - `layers`: the source keeps to its layers, its bounds of length and its bans.
//! - `merge`: edge ledgers in one: nothing twice, after any crash.
//! - `oracle`: every answer against one that is computed from the JSON lines by other means.
//! - `proof`: what a checkpoint proves, against one who makes every checksum anew.
//! - `repair`: damage as an operator meets it: verify and repair.
//! - `retention`: what expires, what is kept and why, whatever the clock does.
//! - `scorecard`: power cuts, kills, failing operations and damage, as `tests/torture` tries them.
//! - `server`: the REST server: who sees what, what is refused, and how it starts and ends.

#![cfg(test)]

mod classes;
#[cfg(feature = "cli")]
mod cli;
mod dated;
mod embed;
mod engine;
mod format;
mod fuzz_corpus;
mod golden;
mod layers;
mod merge;
mod oracle;
mod proof;
mod repair;
mod retention;
mod scorecard;
#[cfg(feature = "server")]
mod server;
