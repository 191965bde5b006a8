//! The program as it is used: arguments in, text and exit codes out.

mod append;
mod checkpoint;
mod compaction;
mod exec;
mod export;
mod general;
mod history;
mod import;
mod incident;
mod keeping;
mod lifecycle;
mod queries;
mod upkeep;
mod views;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a ledger in it, or without one yet.
struct Bench {
    folder: TempDir,
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// One with the sample of the demo in its ledger, times as they were.
    fn with_sample() -> Self {
        let bench = Self::new();
        let said = bench.run(["import", sample().to_str().unwrap()]);
        assert_eq!(said.code, 0, "{said:?}");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ledger(&self) -> PathBuf {
        self.path("ledger")
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The program in the folder, without what the environment of the tests would change.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for name in ["RUNLEDGER_DIR", "RUNLEDGER_RUN_ID", "RUNLEDGER_TRACE_ID", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("TZ", "UTC").current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn program(&self) -> Command {
        self.command(PROGRAM)
    }

    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        said(self.program().args(args).output().unwrap())
    }

    fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Said {
        let mut child = self.start(self.program().args(args).stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input).unwrap();
        said(child.wait_with_output().unwrap())
    }

    fn start(&self, command: &mut Command) -> Child {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a line of shell in which `$runledger` is the program.
    fn shell(&self, line: &str) -> Said {
        let mut shell = self.command("sh");
        said(shell.env("runledger", PROGRAM).args(["-c", line]).output().unwrap())
    }

    /// Every record, as `export` writes it.
    fn records(&self) -> Vec<Value> {
        let said = self.run(["export"]);
        assert!(said.code <= 1, "{said:?}");
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_runledger");

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The sample of the demo, which is always there.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/runledger/demo/nezha-slice.jsonl")
}

/// A file of the larger sets beside the repository; where they are not, says so.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// The record without what the ledger it lies in says of it.
fn content(record: &Value) -> Value {
    let mut record = record.clone();
    for key in ["seq", "recorded_at", "supersedes"] {
        record.as_object_mut().unwrap().remove(key);
    }
    record
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}
