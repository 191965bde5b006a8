//! What this program does when it was started by itself: the part of another process.

use std::path::Path;
use std::process::ExitCode;

use crate::real::partner::say;
use crate::real::{asker, contender, follower, writer};

/// Runs the part that the words name. Exit code 2 when there is none.
#[must_use]
pub fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", dir, first, seed] => {
            let (Ok(first), Ok(seed)) = (first.parse(), seed.parse()) else {
                return ExitCode::from(2);
            };
            writer::child(Path::new(dir), first, seed);
            ExitCode::SUCCESS
        }
        ["ask", dir, truth, role, seed] => {
            let Ok(seed) = seed.parse() else { return ExitCode::from(2) };
            asker::child(Path::new(dir), Path::new(truth), *role == "writer", seed);
            ExitCode::SUCCESS
        }
        ["number", dir, seed] => {
            let Ok(seed) = seed.parse() else { return ExitCode::from(2) };
            if let Err(err) = follower::write(Path::new(dir), seed) {
                say(&err.to_string());
            }
            ExitCode::FAILURE
        }
        ["follow", dir, seed] => {
            let Ok(seed) = seed.parse() else { return ExitCode::from(2) };
            follower::child(Path::new(dir), seed);
            ExitCode::SUCCESS
        }
        ["contend", dir] => {
            contender::child(Path::new(dir));
            ExitCode::SUCCESS
        }
        ["fork", dir] => {
            contender::forked(Path::new(dir));
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}
