//! The fuzz targets (row 10): the kept corpus in every build, and, where the tools for it are,
//! inputs that are led by what they reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runledger::Result;

use crate::fuzz::TARGETS;
use crate::ground::{Ground, Size};

/// How many inputs a target is given, at most, and within how many seconds.
struct Goal {
    target: &'static str,
    inputs: u64,
    seconds: u64,
    /// True for inputs that are lists of what to do: no word in them is to be guessed, and to note
    /// each comparison would take half of the time.
    is_plain: bool,
}

const fn decoder(target: &'static str, inputs: u64) -> Goal {
    Goal { target, inputs, seconds: 300, is_plain: false }
}

const fn list(target: &'static str, inputs: u64) -> Goal {
    Goal { target, inputs, seconds: 1500, is_plain: true }
}

/// The decoders come to more than ten millions, the operations to one: in two halves, each with a
/// chance of its own, which keep two processors at work.
const GOALS: &[Goal] = &[
    list("model", 500_000),
    list("model", 500_000),
    list("segment", 200_000),
    list("packed", 50_000),
    decoder("frame", 4_000_000),
    decoder("codec", 2_000_000),
    decoder("headers", 2_000_000),
    decoder("line", 1_500_000),
    decoder("footer", 600_000),
    decoder("query", 200_000),
    decoder("otlp", 200_000),
    decoder("token", 200_000),
    decoder("words", 200_000),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// No input that was kept breaks anything.
pub(crate) fn kept_corpus(ground: &Ground) -> Result<()> {
    ground.skip(3, "the kept corpus of the server's targets runs under `cargo test`");
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
    let all: u64 = GOALS.iter().map(|goal| goal.inputs).sum();
    if ground.size == Size::Fast || ground.program.is_none() {
        ground.skip(all, "inputs led by coverage are for the full size");
        return Ok(());
    }
    let (comparing, plain) = match build(false).and_then(|first| Ok((first, build(true)?))) {
        Ok(programs) => programs,
        Err(reason) => {
            ground.skip(all, reason);
            return Ok(());
        }
    };
    ground.numbered_cases(GOALS.len() as u64, |number, seed| {
        let goal = &GOALS[usize::try_from(number).unwrap()];
        let Goal { target, inputs, seconds, is_plain } = *goal;
        let done = fuzz(goal, if is_plain { &plain } else { &comparing }, seed);
        ground.note(format!("{target}: {done} inputs"));
        if done < inputs {
            let reason = format!("inputs of {target}, which takes more than {seconds} s for them");
            ground.skip(inputs - done, reason);
        }
        Ok(done)
    });
    Ok(())
}

/// Builds the targets; when `is_plain`, without what notes each comparison. The directory that they
/// are in, or why there are none.
fn build(is_plain: bool) -> std::result::Result<PathBuf, String> {
    let target = project().join(if is_plain { "target/plain" } else { "target" });
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "fuzz", "build", "--sanitizer", "none"]);
    cargo.args(is_plain.then_some("--no-trace-compares")).arg("--target-dir");
    let built = cargo.arg(&target).current_dir(project().join("..")).output();
    let built = built.map_err(|err| format!("there is no cargo here: {err}"))?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let why = said.lines().find(|line| line.contains("error")).unwrap_or_default();
        return Err(format!("this needs a nightly toolchain and cargo-fuzz: {why}"));
    }
    let host = fs::read_dir(&target).into_iter().flatten().filter_map(std::result::Result::ok);
    let mut places = host.map(|entry| entry.path().join("release"));
    let place = places.find(|place| GOALS.iter().all(|goal| place.join(goal.target).exists()));
    place.ok_or_else(|| format!("no targets were built in {}", target.display()))
}

/// Runs one target on a copy of its corpus. How many inputs it was given.
fn fuzz(goal: &Goal, programs: &Path, seed: u64) -> u64 {
    let Goal { target: name, inputs, seconds, .. } = *goal;
    let new = tempfile::tempdir().unwrap();
    let artifacts = project().join("artifacts").join(name);
    fs::create_dir_all(&artifacts).unwrap();
    let mut command = Command::new(programs.join(name));
    command.arg(format!("-runs={inputs}")).arg(format!("-max_total_time={seconds}"));
    // Zero would be a chance of the fuzzer's own.
    command.arg(format!("-seed={}", (seed >> 33) + 1));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=2048", "-timeout=30"]);
    command.arg(new.path()).arg(project().join("corpus").join(name));
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let told = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let done = told.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    if !ended.status.success() {
        let why = said.lines().find(|line| line.contains("panicked") || line.contains("ERROR"));
        panic!("{name}: {}; the input is in fuzz/artifacts/{name}", why.unwrap_or_default());
    }
    done
}
