//! What runledger is to reach, and whether it did.

use serde::{Deserialize, Serialize};

use crate::number::number;
use crate::results::Size;

/// The operations from which on goals are held against what was measured.
const FULL: usize = 1_000_000;

/// A bound for a figure of runledger.
struct Goal {
    text: &'static str,
    key: &'static str,
    bound: Bound,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// At least so many times the best of these engines' rates.
    TimesAtLeast(f64, &'static [&'static str]),
    /// At most so many times the best of these engines' times.
    TimesAtMost(f64, &'static [&'static str]),
    /// At least so many times another of runledger's figures.
    OwnTimesAtLeast(f64, &'static str),
    /// At most so many times another of runledger's figures.
    OwnTimesAtMost(f64, &'static str),
}

use Bound::{AtLeast, AtMost, OwnTimesAtLeast, OwnTimesAtMost, TimesAtLeast, TimesAtMost};

const KEY_VALUE: &[&str] = &["lmdb", "redb", "fjall"];
const PEERS: &[&str] = &["sqlite", "lmdb", "redb", "fjall"];

const fn goal(text: &'static str, key: &'static str, bound: Bound) -> Goal {
    Goal { text, key, bound }
}

const GOALS: &[Goal] = &[
    goal("bulk append against the floor", "bulk.appended", TimesAtLeast(0.6, &["floor"])),
    goal("the same, indexed and closed", "bulk.closed", TimesAtLeast(0.6, &["floor"])),
    goal("bulk append against SQLite", "bulk.appended", TimesAtLeast(40.0, &["sqlite"])),
    goal("bulk append against the best other", "bulk.appended", TimesAtLeast(10.0, KEY_VALUE)),
    goal("durable append p50, bare by turns", "durable.beside", AtMost(1.1)),
    goal("16 durable threads, against one", "durable.many", OwnTimesAtLeast(8.0, "durable.one")),
    goal("16 durable threads, best peer", "durable.many", TimesAtLeast(8.0, PEERS)),
    goal("latency at 100,000/s, p99", "latency.p99", AtMost(10.0)),
    goal("records of a trace, LMDB", "query.trace", TimesAtMost(0.5, &["lmdb"])),
    goal("the same in small segments, LMDB", "segments.trace", TimesAtMost(0.5, &["lmdb"])),
    goal("events of a run, LMDB", "query.events_of_run", TimesAtMost(0.5, &["lmdb"])),
    goal("last 50 failed, SQLite", "query.last_failed", TimesAtMost(0.1, &["sqlite"])),
    goal("count by status, LMDB", "query.count_by_status", TimesAtMost(0.25, &["lmdb"])),
    goal("scan of a type, SQLite", "query.scan", TimesAtMost(0.25, &["sqlite"])),
    goal("open after a clean close, ms", "clean.open", AtMost(20.0)),
    goal("read again after kill -9, GB/s", "recover.rate", AtLeast(1.0)),
    goal("anonymous memory when open, MiB", "clean.anon", AtMost(64.0)),
    goal("bytes on disk against the floor", "disk.bytes", TimesAtMost(1.15, &["floor"])),
    goal("records in frames, the floor", "clean.frame", TimesAtMost(1.15, &["floor"])),
    goal("compacted, on disk, the floor", "packed.bytes", TimesAtMost(0.3, &["floor"])),
    goal("a trace, compacted and not", "packed.trace", OwnTimesAtMost(5.0, "query.trace")),
    goal("dropping half, ms", "drop.time", AtMost(10.0)),
];

/// A goal, and what was reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    pub(crate) bound: String,
    pub(crate) reached: String,
    pub(crate) met: bool,
}

/// What became of each goal, as far as it was measured. A small run says nothing of them.
pub(crate) fn verdicts(size: &Size) -> Vec<Verdict> {
    if size.operations < FULL {
        return Vec::new();
    }
    GOALS.iter().filter_map(|goal| goal.verdict(size)).collect()
}

impl Goal {
    fn verdict(&self, size: &Size) -> Option<Verdict> {
        let ours = size.get(self.key, "runledger")?;
        // What is beside a figure that only runledger has.
        let key = match self.key {
            "segments.trace" => "query.trace",
            "clean.frame" | "packed.bytes" => "disk.bytes",
            key => key,
        };
        let others = |names: &[&str]| -> Vec<f64> {
            names.iter().filter_map(|name| size.get(key, name)).collect()
        };
        let best_of = |names: &[&str], best: fn(f64, f64) -> f64| {
            others(names).into_iter().reduce(best).map(|other| ours / other)
        };
        let (bound, reached, met) = match &self.bound {
            AtLeast(bound) => (format!("≥ {}", number(*bound)), number(ours), ours >= *bound),
            AtMost(bound) => (format!("≤ {}", number(*bound)), number(ours), ours <= *bound),
            TimesAtLeast(bound, names) => {
                let times = best_of(names, f64::max)?;
                (format!("≥ {bound} ×"), format!("{times:.2} ×"), times >= *bound)
            }
            TimesAtMost(bound, names) => {
                let times = best_of(names, f64::min)?;
                (format!("≤ {bound} ×"), format!("{times:.2} ×"), times <= *bound)
            }
            OwnTimesAtLeast(bound, key) => {
                let times = ours / size.get(key, "runledger")?;
                (format!("≥ {bound} ×"), format!("{times:.2} ×"), times >= *bound)
            }
            OwnTimesAtMost(bound, key) => {
                let times = ours / size.get(key, "runledger")?;
                (format!("≤ {bound} ×"), format!("{times:.2} ×"), times <= *bound)
            }
        };
        Some(Verdict { goal: self.text.to_owned(), bound, reached, met })
    }
}
