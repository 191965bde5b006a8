//! The table, for people and as JSON.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::Path;

use serde_json::{Value, json};

use super::measure::Samples;
use super::{FULL, Outcome};

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// No more than this, as a multiple of the figure beside it.
    TimesAtMost(f64),
    /// No less than this, as a multiple of the figure beside it.
    TimesAtLeast(f64),
}

/// One figure.
#[derive(Debug, Clone)]
pub(super) struct Row {
    figure: String,
    unit: &'static str,
    median: f64,
    range: (f64, f64),
    /// The floor, or what else it is compared with.
    beside: Option<f64>,
    goal: Option<Goal>,
}

impl Row {
    /// A figure that was measured more than once.
    pub(super) fn new(
        figure: impl Into<String>,
        unit: &'static str,
        samples: impl Into<Samples>,
    ) -> Self {
        let mut samples = samples.into();
        let range = (samples.percentile(0.0), samples.percentile(100.0));
        Self {
            figure: figure.into(),
            unit,
            median: samples.median(),
            range,
            beside: None,
            goal: None,
        }
    }

    /// Sets what it is compared with.
    pub(super) fn beside(mut self, other: f64) -> Self {
        self.beside = Some(other);
        self
    }

    pub(super) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(super) const fn median(&self) -> f64 {
        self.median
    }

    fn times(&self) -> Option<f64> {
        self.beside.map(|other| self.median / other)
    }

    fn is_met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtMost(bound) => self.median <= bound,
            Goal::AtLeast(bound) => self.median >= bound,
            Goal::TimesAtMost(bound) => self.times()? <= bound,
            Goal::TimesAtLeast(bound) => self.times()? >= bound,
        })
    }

    fn goal_text(&self) -> String {
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => return String::new(),
        };
        match self.goal {
            Some(Goal::AtMost(bound)) => format!("≤ {} {met}", number(bound)),
            Some(Goal::AtLeast(bound)) => format!("≥ {} {met}", number(bound)),
            Some(Goal::TimesAtMost(bound)) => format!("≤ {bound} × {met}"),
            Some(Goal::TimesAtLeast(bound)) => format!("≥ {bound} × {met}"),
            None => String::new(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        [
            self.figure.clone(),
            number(self.median),
            self.unit.to_owned(),
            format!("{} … {}", number(self.range.0), number(self.range.1)),
            optional(self.beside),
            self.times().map(|times| format!("{times:.2} ×")).unwrap_or_default(),
            self.goal_text(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.figure, "unit": self.unit, "median": self.median,
            "min": self.range.0, "max": self.range.1, "beside": self.beside,
            "times": self.times(), "goal": self.goal_text(), "met": self.is_met(),
        })
    }
}

/// The figures of one group.
#[derive(Debug)]
pub(super) struct Report {
    group: String,
    ops: usize,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(group: &str, ops: usize) -> Self {
        Self { group: group.to_owned(), ops, rows: Vec::new() }
    }

    /// Adds a figure. Its goal is that of a full run, and says nothing of a smaller one.
    pub(super) fn add(&mut self, mut row: Row) {
        row.goal = row.goal.filter(|_| self.ops >= FULL);
        self.rows.push(row);
    }

    /// Prints the table, in Markdown.
    pub(super) fn print(&self) {
        let head = ["figure", "median", "unit", "min … max", "floor", "× floor", "goal"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0; 7];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        println!("\n{} at {} operations\n", self.group, self.ops);
        for (at, line) in lines.iter().enumerate() {
            let cell = |(cell, width): (&String, &usize)| format!(" {cell:<width$} |");
            println!("|{}", line.iter().zip(&widths).map(cell).collect::<String>());
            if at == 0 {
                let rule = |width: &usize| format!("{}|", "-".repeat(width + 2));
                println!("|{}", widths.iter().map(rule).collect::<String>());
            }
        }
    }

    /// Writes the table to `bench/<group>.json` beside the build's directory for scratch files.
    pub(super) fn write(&self, scratch: &Path) -> Outcome {
        let dir = scratch.with_file_name("bench");
        std::fs::create_dir_all(&dir)?;
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "group": self.group, "operations": self.ops, "figures": rows });
        let path = dir.join(format!("{}.json", self.group));
        std::fs::write(&path, serde_json::to_vec_pretty(&all)?)?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }
}

/// Three digits or so, whatever the size.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
