//! The fuzz targets (row 10): the kept corpus in every build, and, where the tools for it are,
//! inputs that are led by what they reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runledger::Result;

use crate::fuzz::TARGETS;
use crate::ground::{Ground, Size};

/// How many inputs each target is given, at most, and within how many seconds. The decoders come
/// to more than ten millions.
const GOALS: &[(&str, u64, u64)] = &[
    ("model", 1_000_000, 140),
    ("segment", 1_000_000, 100),
    ("frame", 4_000_000, 60),
    ("codec", 2_000_000, 60),
    ("headers", 2_000_000, 60),
    ("line", 1_500_000, 60),
    ("footer", 600_000, 60),
    ("query", 200_000, 60),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// No input that was kept breaks anything.
pub(crate) fn kept_corpus(ground: &Ground) -> Result<()> {
    for (name, run) in TARGETS {
        let Ok(files) = fs::read_dir(project().join("corpus").join(name)) else {
            ground.skip(1, format!("the corpus of {name} is not where this was built"));
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            ground.guarded(&format!("{}", path.display()), || {
                run(&input);
                Ok(1)
            });
        }
    }
    Ok(())
}

/// New inputs, led by what they reach.
pub(crate) fn led_by_coverage(ground: &Ground) -> Result<()> {
    let all: u64 = GOALS.iter().map(|(_, runs, _)| runs).sum();
    if ground.size == Size::Fast || ground.program.is_none() {
        ground.skip(all, "inputs led by coverage are for the full size");
        return Ok(());
    }
    let programs = match build() {
        Ok(programs) => programs,
        Err(reason) => {
            ground.skip(all, reason);
            return Ok(());
        }
    };
    ground.numbered_cases(GOALS.len() as u64, |number, _| {
        let (name, runs, seconds) = GOALS[usize::try_from(number).unwrap()];
        let done = fuzz(ground, &programs.join(name), name, runs, seconds);
        ground.note(format!("{name}: {done} inputs"));
        if done < runs {
            let reason = format!("inputs of {name}, which takes more than {seconds} s for them");
            ground.skip(runs - done, reason);
        }
        Ok(done)
    });
    ground.skip(2, "the targets of the HTTP query and of the JWT come with the server");
    Ok(())
}

/// Builds the targets. The directory that they are in, or why there are none.
fn build() -> std::result::Result<PathBuf, String> {
    let target = project().join("target");
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "fuzz", "build", "--sanitizer", "none", "--target-dir"]);
    let built = cargo.arg(&target).current_dir(project().join("..")).output();
    let built = built.map_err(|err| format!("there is no cargo here: {err}"))?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let why = said.lines().find(|line| line.contains("error")).unwrap_or_default();
        return Err(format!("this needs a nightly toolchain and cargo-fuzz: {why}"));
    }
    let host = fs::read_dir(&target).into_iter().flatten().filter_map(std::result::Result::ok);
    let mut places = host.map(|entry| entry.path().join("release"));
    let place = places.find(|place| GOALS.iter().all(|(name, ..)| place.join(name).exists()));
    place.ok_or_else(|| format!("no targets were built in {}", target.display()))
}

/// Runs one target on a copy of its corpus. How many inputs it was given.
fn fuzz(ground: &Ground, program: &Path, name: &str, runs: u64, seconds: u64) -> u64 {
    let new = tempfile::tempdir().unwrap();
    let artifacts = project().join("artifacts").join(name);
    fs::create_dir_all(&artifacts).unwrap();
    let mut command = Command::new(program);
    command.arg(format!("-runs={runs}")).arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-seed={}", u32::try_from(ground.seed).unwrap_or(1).max(1)));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=2048", "-timeout=30"]);
    command.arg(new.path()).arg(project().join("corpus").join(name));
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let told = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let done = told.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    if !ended.status.success() {
        let why = said.lines().find(|line| line.contains("panicked") || line.contains("ERROR"));
        panic!("{name}: {}; the input is in {}", why.unwrap_or_default(), artifacts.display());
    }
    done
}
