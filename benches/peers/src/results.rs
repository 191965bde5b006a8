//! What a run found, as it is written to a file and read back.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::child::Findings;
use crate::figures::Figure;
use crate::goals::Verdict;
use crate::machine::Machine;
use crate::measure::Samples;

/// All of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// What the file is.
    pub(crate) about: String,
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// The engines, in the order of columns.
    pub(crate) engines: Vec<EngineFacts>,
    pub(crate) sizes: Vec<Size>,
}

/// An engine, and how it was set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EngineFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) settings: String,
}

/// What was found with so many operations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) operations: usize,
    pub(crate) rounds: usize,
    /// Whether all engines answered alike, and how many answers were compared.
    pub(crate) answers: String,
    /// By the key of the figure, then by engine.
    pub(crate) figures: BTreeMap<String, BTreeMap<String, Measured>>,
    pub(crate) goals: Vec<Verdict>,
}

/// The median of rounds and what they lie between.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) median: f64,
    /// How often it was measured.
    pub(crate) rounds: usize,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Size {
    /// What an engine reached.
    pub(crate) fn get(&self, key: &str, engine: &str) -> Option<f64> {
        Some(self.figures.get(key)?.get(engine)?.median)
    }

    pub(crate) fn has(&self, figure: &Figure) -> bool {
        self.figures.contains_key(figure.key)
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn write(&self, path: &Path) -> Outcome {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

/// Findings of many rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds(BTreeMap<String, BTreeMap<String, Samples>>);

impl Rounds {
    /// Adds those figures of a child of which the key begins so, under another beginning.
    pub(crate) fn add(&mut self, engine: &str, findings: &Findings, from: &str, to: &str) {
        let found = findings.figures.iter().map(|(key, value)| (engine, key, value));
        // What was measured by turns with runledger is what it is held against.
        let floor = findings.floor.iter().filter(|_| engine == "runledger");
        let floor = floor.map(|(key, value)| ("floor", key, value));
        for (engine, key, value) in found.chain(floor) {
            if let Some(rest) = key.strip_prefix(from) {
                self.push(engine, &format!("{to}{rest}"), *value);
            }
        }
    }

    pub(crate) fn push(&mut self, engine: &str, key: &str, value: f64) {
        let engines = self.0.entry(key.to_owned()).or_default();
        engines.entry(engine.to_owned()).or_default().push(value);
    }

    /// The medians.
    pub(crate) fn measured(self) -> BTreeMap<String, BTreeMap<String, Measured>> {
        let measure = |mut samples: Samples| Measured {
            median: samples.median(),
            rounds: samples.len(),
            min: samples.percentile(0.0),
            max: samples.percentile(100.0),
        };
        let engines = |engines: BTreeMap<String, Samples>| {
            engines.into_iter().map(|(engine, samples)| (engine, measure(samples))).collect()
        };
        self.0.into_iter().map(|(key, by_engine)| (key, engines(by_engine))).collect()
    }
}
