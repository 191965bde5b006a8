//! One benchmark in a process of its own, under callgrind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cases::Case;
use crate::{Measured, Outcome};

/// The argument of a process that does one benchmark; the name follows.
pub(crate) const CHILD: &str = "--measure";

/// Environment that a child keeps. All else could change what is counted.
const KEPT: [&str; 2] = ["PATH", "VALGRIND_LIB"];

/// Counts the instructions of a benchmark.
pub(crate) fn measure(case: &'static Case) -> Outcome<Measured> {
    let program = std::env::current_exe()?;
    let dir = Scratch::new(&program, case.name)?;
    let counts = dir.0.join("counts");
    // The child works in its own directory, so that no path that it handles depends on where the
    // repository lies.
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*counted_region*")
        .arg("--callgrind-out-file=counts")
        .arg(&program)
        .args([CHILD, case.name])
        .current_dir(&dir.0)
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .stdin(Stdio::null())
        .output()
        .map_err(|err| format!("valgrind does not start ({err}); install it to measure"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}\n{said}{errors}", case.name, output.status).into());
    }
    let units: u64 = said.trim().parse().map_err(|_| format!("{}: said {said:?}", case.name))?;
    let total = total(&counts)?;
    if total == 0 || units == 0 {
        // The symbol by which callgrind finds the region is gone, say.
        return Err(format!("{}: nothing was counted", case.name).into());
    }
    Ok(Measured { case, instructions: total.div_ceil(units) })
}

/// The sum that callgrind wrote.
fn total(counts: &Path) -> Outcome<u64> {
    let text = std::fs::read_to_string(counts)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    Ok(line.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(program: &Path, name: &str) -> Outcome<Self> {
        let parent = program.parent().ok_or("this program lies in no directory")?;
        let dir = parent.join(format!("instructions-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over lies in the build's directory, and does no harm there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
