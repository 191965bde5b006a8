//! Orders of threads (row 17), each tool as a build of its own below the target directory. By hand,
//! at the root of the source:
//!
//! ```text
//! RUSTFLAGS='--cfg loom' cargo test --no-default-features --lib exhausted -- --nocapture
//! RUSTFLAGS='--cfg shuttle' SCHEDULES=100000 SEED=1 cargo test -p torture --lib schedules -- \
//!     --nocapture
//! RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' cargo +nightly test \
//!     -Zbuild-std --target x86_64-unknown-linux-gnu --test integration -- engine::
//! ```
//!
//! Each in a `CARGO_TARGET_DIR` of its own, or they build each other anew.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runledger::Result;

use crate::ground::{Ground, Size};

/// The target that the sanitizer is there for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the compiler takes; a library that is not built with it may stand beside.
const SANITIZED: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";

/// The tests with several threads.
const THREADED: [&str; 5] = [
    "engine::side_by_side",
    "engine::background",
    "engine::races",
    "scorecard::a_sync_fails_once",
    "scorecard::two_writers",
];

/// A program with a race, which a sanitizer that works must find.
const RACE: &str = "
    static mut COUNT: u64 = 0;
    fn main() {
        let count = || for _ in 0..1000 { unsafe { COUNT += 1 } };
        let other = std::thread::spawn(count);
        count();
        other.join().unwrap();
    }
";

/// What the sanitizer's runtime exits with when it has found a race.
const RACED: i32 = 66;

/// Where builds are made, and of what.
struct Workshop {
    root: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// `None` when the parts were skipped, as there is nothing to build here or no time for it.
    fn new(ground: &Ground, name: &str, count: u64) -> Option<Self> {
        let skip = |reason: &str| {
            ground.skip(count, reason);
            None
        };
        if ground.size == Size::Fast {
            return skip("a build of minutes, made at full size");
        }
        let Some(program) = &ground.program else { return skip("other processes are not run") };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.to_owned();
        if !root.join("Cargo.lock").exists() {
            return skip("the source is not there");
        }
        if !answers("cargo", &["--version"]) {
            return skip("there is no cargo");
        }
        let target = program.ancestors().nth(2)?.join("threads").join(name);
        Some(Self { root, target })
    }

    /// A run of cargo with these flags for the compiler.
    fn cargo(&self, flags: &str) -> Command {
        self.within(Command::new("cargo"), flags)
    }

    fn nightly(&self, program: &str, flags: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", program]);
        self.within(command, flags)
    }

    fn within(&self, mut command: Command, flags: &str) -> Command {
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command.env("RUSTFLAGS", flags).env("RUST_BACKTRACE", "0").env_remove("RUSTDOCFLAGS");
        // Minutes of running, with all assertions, to seconds more of building.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "3");
        command
    }
}

fn answers(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// What a command said, when it succeeded. Else that is a failure, or a skip when it could not get
/// what it builds.
fn said(ground: &Ground, count: u64, output: io::Result<Output>) -> Option<String> {
    let output = match output {
        Ok(output) => output,
        Err(err) => {
            ground.skip(count, format!("the tool cannot be run: {err}"));
            return None;
        }
    };
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        return Some(text);
    }
    let is_offline = ["failed to download", "failed to get `", "Unable to update registry"];
    match is_offline.iter().any(|words| text.contains(words)) {
        true => ground.skip(count, "a crate that it needs cannot be had"),
        false => {
            let lines: Vec<_> = text.lines().filter(|line| is_telling(line)).take(12).collect();
            ground.fail(format!("{}: {}", output.status, lines.join(" | ")));
        }
    }
    None
}

fn is_telling(line: &str) -> bool {
    ["panicked", "case ", "error", "WARNING: ThreadSanitizer", "SUMMARY", "deadlock"]
        .iter()
        .any(|words| line.contains(words))
}

/// What stands behind these words, in each line that has them.
fn told<'a>(text: &'a str, words: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| Some(line.split_once(words)?.1))
}

/// The sum of the numbers that stand before a word, behind the words that a line begins with.
fn sum(text: &str, begin: &str, word: &str) -> u64 {
    let lines = told(text, begin);
    let numbers = lines.filter_map(|line| {
        let (before, _) = line.split_once(word)?;
        before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
    });
    numbers.sum()
}

/// Every order of two and of three threads in a group commit.
pub(crate) fn group_commit(ground: &Ground) -> Result<()> {
    let Some(workshop) = Workshop::new(ground, "loom", 1) else { return Ok(()) };
    let mut command = workshop.cargo("--cfg loom");
    command.args(["test", "--no-default-features", "--lib", "exhausted", "--", "--nocapture"]);
    if let Some(text) = said(ground, 1, command.output()) {
        ground.tried(sum(&text, "loom: ", " orders"));
        told(&text, "loom: ").for_each(|orders| ground.note(orders));
    }
    Ok(())
}

/// Schedules of threads that append, ask, seal, clean up and close.
pub(crate) fn schedules(ground: &Ground) -> Result<()> {
    let count = ground.of(1000, 100_000);
    let Some(workshop) = Workshop::new(ground, "shuttle", count) else { return Ok(()) };
    let mut command = workshop.cargo("--cfg shuttle");
    command.env("SCHEDULES", count.to_string()).env("SEED", ground.seed.to_string());
    if let Some(case) = ground.only_case {
        command.env("CASE", case.to_string());
    }
    command.args(["test", "-p", "torture", "--lib", "schedules", "--", "--nocapture"]);
    if let Some(text) = said(ground, count, command.output()) {
        ground.tried(sum(&text, "shuttle: ", " schedules"));
    }
    Ok(())
}

/// The tests with threads under the thread sanitizer.
pub(crate) fn races(ground: &Ground) -> Result<()> {
    let count = THREADED.len() as u64;
    let Some(workshop) = Workshop::new(ground, "tsan", count) else { return Ok(()) };
    if !answers("rustup", &["run", "nightly", "rustc", "--version"]) {
        ground.skip(count, "there is no nightly");
        return Ok(());
    }
    if !has_source_of_std(&workshop) {
        let reason = "without rust-src the sanitizer calls what the standard library does a race";
        ground.skip(count, reason);
        return Ok(());
    }
    if !finds_a_race(&workshop) {
        ground.skip(count, "the sanitizer of this nightly does not find a race that is there");
        return Ok(());
    }
    let mut command = workshop.nightly("cargo", SANITIZED);
    command
        .args(["test", "-Zbuild-std", "--target", TARGET, "--test", "integration", "--"])
        .args(THREADED);
    if let Some(text) = said(ground, count, command.output()) {
        ground.tried(sum(&text, "test result: ok. ", " passed"));
    }
    Ok(())
}

/// True when the standard library can be built with the sanitizer, too.
fn has_source_of_std(workshop: &Workshop) -> bool {
    let sysroot = workshop.nightly("rustc", "").args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).into_owned();
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").exists()
    })
}

fn finds_a_race(workshop: &Workshop) -> bool {
    let (source, program) = (workshop.target.join("race.rs"), workshop.target.join("race"));
    let written =
        std::fs::create_dir_all(&workshop.target).and_then(|()| std::fs::write(&source, RACE));
    let mut rustc = workshop.nightly("rustc", "");
    rustc.args(SANITIZED.split(' ')).args(["--target", TARGET, "-Astatic_mut_refs", "-o"]);
    let is_built = written.is_ok()
        && rustc.arg(&program).arg(&source).output().is_ok_and(|output| output.status.success());
    is_built && Command::new(&program).output().is_ok_and(|it| it.status.code() == Some(RACED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_from_what_the_tools_say() {
        let text = "loom: each once, 3 threads, 30733 orders\nnoise 5 orders\n\
            loom: again, 2 threads, 7 orders\ntest result: ok. 4 passed; 0 failed\n";
        assert_eq!(sum(text, "loom: ", " orders"), 30740);
        assert_eq!(sum(text, "test result: ok. ", " passed"), 4);
        assert_eq!(sum(text, "shuttle: ", " schedules"), 0);
    }
}
