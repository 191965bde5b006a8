//! How many lines of the engine `cargo test` runs (row 20).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runledger::Result;

use crate::ground::{Ground, Size};

/// What is to be run by the tests, and how much of it.
const LAYERS: [&str; 4] = ["format", "storage", "segment", "ledger"];
const PERCENT: u64 = 95;

/// How many lines there are, and how many of them ran.
#[derive(Debug, Default, Clone, Copy)]
struct Lines {
    all: u64,
    run: u64,
}

/// Of the lines of the engine's layers, tests left out, 95% are run by the tests.
pub(crate) fn lines(ground: &Ground) -> Result<()> {
    if ground.size == Size::Fast || ground.program.is_none() {
        ground.skip(1, "lines are counted at the full size");
        return Ok(());
    }
    let report = match measure() {
        Ok(report) => report,
        Err(reason) => {
            ground.skip(1, reason);
            return Ok(());
        }
    };
    let layers = count(&report);
    let sum = |of: fn(&Lines) -> u64| LAYERS.iter().filter_map(|it| layers.get(*it)).map(of).sum();
    let all = Lines { all: sum(|lines| lines.all), run: sum(|lines| lines.run) };
    for (layer, Lines { all, run }) in &layers {
        ground.note(format!("{layer}: {run} of {all} lines"));
    }
    ground.tried(all.all);
    if all.all == 0 || all.run * 100 < all.all * PERCENT {
        ground.fail(format!("{} of {} lines are run, {PERCENT}% are to be", all.run, all.all));
    }
    Ok(())
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the tests and gives the tool's report, or why there is none.
fn measure() -> std::result::Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    let report = scratch.path().join("lines");
    let mut cargo = Command::new("cargo");
    // What a killed process has half written counts for nothing.
    cargo.args(["llvm-cov", "test", "--failure-mode", "all", "--lcov", "--output-path"]);
    cargo.arg(&report).current_dir(project()).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let done = cargo.stdin(Stdio::null()).output();
    let done = done.map_err(|err| format!("there is no cargo here: {err}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    match fs::read_to_string(report) {
        Ok(report) if done.status.success() => Ok(report),
        _ if said.contains("no such command") => Err("this needs cargo-llvm-cov".to_owned()),
        _ => panic!("the tests failed: {}", said.lines().rev().take(5).collect::<String>()),
    }
}

/// The lines of each layer, by the report: `SF:` and a file, then `DA:` and a line with how often
/// it ran. The tests at the end of a file do not count.
fn count(report: &str) -> BTreeMap<String, Lines> {
    let source = project().join("src").canonicalize().unwrap();
    let mut layers: BTreeMap<String, Lines> = BTreeMap::new();
    let mut at: Option<(String, u64)> = None;
    for line in report.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            let layer = Path::new(file).strip_prefix(&source).ok().and_then(|it| it.iter().next());
            let layer = layer.map(|layer| layer.to_string_lossy().into_owned());
            at = layer.map(|layer| (layer, tests_begin(Path::new(file))));
        } else if let (Some((layer, end)), Some(ran)) = (&at, line.strip_prefix("DA:")) {
            let (number, times) = ran.split_once(',').unwrap();
            if number.parse::<u64>().unwrap() < *end {
                let lines = layers.entry(layer.clone()).or_default();
                lines.all += 1;
                lines.run += u64::from(times != "0");
            }
        }
    }
    layers
}

/// The line at which the tests of a file begin.
fn tests_begin(file: &Path) -> u64 {
    let is_test_file = file.ends_with("tests.rs");
    let text = fs::read_to_string(file).unwrap_or_default();
    let before = text.lines().take_while(|line| !is_test_file && *line != "#[cfg(test)]");
    before.count() as u64 + 1
}
