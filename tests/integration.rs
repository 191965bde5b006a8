//! The integration tests: one program, so that the library is linked once. What is in it:
//!
//! - `cli`: the program as it is used: what it says and its exit codes.
//! - `format`: the worked examples of FORMAT.md, against the codec.
//! - `layers`: the source keeps to its layers, its bounds of length and its bans.
//! - `repair`: damage as an operator meets it: verify and repair.
//! - `support`: a modelled disk that loses power, fills up and fails, with the tests of the model.

#![cfg(test)]

mod cli;
mod format;
mod layers;
mod repair;
#[expect(dead_code, reason = "the crash tests that use the rest follow")]
mod support;
