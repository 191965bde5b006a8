//! The limits, in limits.toml.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use crate::cases::CASES;
use crate::{Measured, Outcome};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/limits.toml");

/// How far above what is measured a limit is set, in percent: more than the counts vary, less than
/// a regression that matters.
const HEADROOM_PERCENT: u64 = 3;

const HEAD: &str = "\
# The most instructions that each benchmark may take, for each of its units: 3% above what was
# measured on x86-64 with AVX2 and glibc, by the compiler named here. After a change that is meant:
#   cargo run --release --manifest-path benches/instructions/Cargo.toml -- --update
";

/// The limits by the names of the benchmarks.
pub(crate) struct Limits {
    by_name: BTreeMap<String, u64>,
    /// The compiler that they were measured with.
    compiler: String,
}

impl Limits {
    /// Reads the file; no limits are known when it is missing.
    pub(crate) fn read() -> Outcome<Self> {
        let text = match std::fs::read_to_string(PATH) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Outcome<Self> {
        let mut limits = Self { by_name: BTreeMap::new(), compiler: String::new() };
        let is_entry = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
        for line in text.lines().map(str::trim).filter(is_entry) {
            let wrong = || format!("{PATH}: not `name = number`: {line}");
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), value.trim());
            if name == "compiler" {
                limits.compiler = value.trim_matches('"').to_owned();
            } else {
                let value = value.replace('_', "").parse().map_err(|_| wrong())?;
                limits.by_name.insert(name.to_owned(), value);
            }
        }
        Ok(limits)
    }

    pub(crate) fn of(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// Limits of benchmarks that are no more.
    pub(crate) fn left_over(&self) -> impl Iterator<Item = &str> {
        let known = |name: &str| CASES.iter().any(|case| case.name == name);
        self.by_name.keys().map(String::as_str).filter(move |name| !known(name))
    }

    /// What to know of the compiler, when it is another.
    pub(crate) fn other_compiler(&self) -> Option<String> {
        let mine = compiler();
        let note = || format!("limits are those of {}; this is {mine}", self.compiler);
        (mine != self.compiler).then(note)
    }

    /// Sets the limits by what was measured, and writes the file. With `all`, others go.
    pub(crate) fn set(&mut self, measured: &[Measured], all: bool) -> Outcome {
        if all {
            self.by_name.clear();
        }
        for one in measured {
            let limit = one.instructions + (one.instructions * HEADROOM_PERCENT).div_ceil(100);
            self.by_name.insert(one.case.name.to_owned(), limit);
        }
        self.compiler = compiler();
        let mut text = format!("{HEAD}compiler = \"{}\"\n\n[limits]\n", self.compiler);
        for case in CASES {
            if let Some(limit) = self.of(case.name) {
                writeln!(text, "{} = {limit}", case.name)?;
            }
        }
        Ok(std::fs::write(PATH, text)?)
    }
}

/// The compiler, by name and version.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_no_limit_is_refused() {
        let limits = Limits::parse("# c\ncompiler = \"rustc 1\"\n\n[limits]\nseal = 1_700\nx=2\n");
        let limits = limits.unwrap();
        assert_eq!((limits.of("seal"), limits.of("trace_open")), (Some(1700), None));
        assert_eq!(limits.left_over().collect::<Vec<_>>(), ["x"]);
        assert_eq!(limits.compiler, "rustc 1");
        for wrong in ["seal", "seal = many", "seal = -1", "seal = 1.5"] {
            assert!(Limits::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_benchmark_has_a_limit_and_every_limit_a_benchmark() {
        let limits = Limits::read().unwrap();
        assert_eq!(limits.left_over().next(), None);
        for case in CASES {
            assert!(limits.of(case.name).is_some_and(|limit| limit > 0), "{}", case.name);
        }
    }
}
