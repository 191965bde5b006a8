//! What this program does when it was started by itself: the part of another process.

use std::path::Path;
use std::process::ExitCode;

use crate::real::writer;

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
        _ => ExitCode::from(2),
    }
}
