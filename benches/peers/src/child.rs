//! Each measurement has a process of its own, so that neither the time nor the memory of what came
//! before it counts. A child prints what it found as one line of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::engines::Name;

/// The word on the command line that makes a process a child.
pub(crate) const CHILD: &str = "child";

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) engine: String,
    /// Where the engine has its files.
    pub(crate) dir: std::path::PathBuf,
    /// Records that are there, or are to be.
    pub(crate) ops: usize,
    /// Records that are to be appended to them.
    pub(crate) more: usize,
    pub(crate) seed: u64,
    pub(crate) segment_bytes: Option<u32>,
    /// The time that a measurement may take, where its amount is not given.
    pub(crate) seconds: f64,
}

/// The measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Fills an empty ledger in bulk, asks one question, and closes it.
    Load,
    /// Opens a ledger and asks.
    Read,
    /// The same without holding sequence numbers against those of others.
    ReadAfterKill,
    /// Opens a ledger, appends to it, asks, and waits to be killed.
    Write,
    /// Appends one by one, each of them durable.
    Durable,
    /// Appends one by one to the kernel.
    Single,
    /// Appends at a steady rate.
    Latency,
    /// Asks one question again, with an index that is made for it.
    Tuned,
    /// Drops the older half.
    Drop,
    /// Opens a ledger and compacts it.
    Pack,
}

/// What a child found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// What was measured, by the key of its figure.
    pub(crate) figures: BTreeMap<String, f64>,
    /// The same of the floor, where it was measured by turns with the engine.
    pub(crate) floor: BTreeMap<String, f64>,
    /// Digests of answers, by question.
    pub(crate) answers: BTreeMap<String, String>,
}

impl Findings {
    pub(crate) fn set(&mut self, key: impl Into<String>, value: f64) {
        self.figures.insert(key.into(), value);
    }
}

impl Order {
    /// A task for an engine in this directory.
    pub(crate) fn new(task: Task, engine: Name, dir: &Path) -> Self {
        Self {
            task,
            engine: engine.text().to_owned(),
            dir: dir.to_owned(),
            ops: 0,
            more: 0,
            seed: 0,
            segment_bytes: None,
            seconds: 1.0,
        }
    }

    /// Has a child do it.
    pub(crate) fn run(&self) -> Outcome<Findings> {
        let (mut child, findings) = self.start()?;
        drop(child.stdin.take());
        if !child.wait()?.success() {
            return Err(self.failed());
        }
        Ok(findings)
    }

    /// Has a child do it, and kills it then, with all that it has open.
    pub(crate) fn run_and_kill(&self) -> Outcome<Findings> {
        let (mut child, findings) = self.start()?;
        child.kill()?;
        child.wait()?;
        Ok(findings)
    }

    fn start(&self) -> Outcome<(Child, Findings)> {
        // What was written before is not to be written back now.
        rustix::fs::sync();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD).arg(serde_json::to_string(self)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the child has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            child.wait()?;
            return Err(self.failed());
        }
        Ok((child, serde_json::from_str(&line)?))
    }

    fn failed(&self) -> Box<dyn std::error::Error + Send + Sync> {
        format!("{:?} of {} has failed", self.task, self.engine).into()
    }
}
