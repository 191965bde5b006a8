//! The run: which child measures what, in which order.

#![expect(clippy::print_stderr, reason = "a run of many minutes tells how far it is")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::answers::Answers;
use crate::args::Options;
use crate::child::{Findings, Order, Task};
use crate::engines::Name;
use crate::measure::{disk_bytes, now};
use crate::number::count;
use crate::results::{Rounds, Size};

/// From so many operations on figures are taken in full.
const FULL: usize = 1_000_000;
/// Segments of the steady rate that fill, and are sealed, several a second.
const SEALED_OFTEN: u32 = 4 << 20;
/// Segments of which there are so many in a million records that about half of them can go.
const DROPPED_SEGMENT: u32 = 8 << 20;
/// The default of runledger, and the largest.
const SEGMENTS: (u32, u32) = (64 << 20, 1 << 30);
/// Into how many small segments the records go, and bytes of a record with its index.
const SMALL_SEGMENTS: usize = 1000;
const RECORD_BYTES: usize = 160;
/// Records that are written before a kill.
const WRITTEN: usize = 100_000;
/// Records after a kill of a ledger of which nothing is sealed.
const UNSEALED: usize = 1_000_000;
/// How often appends one by one are measured.
const APPEND_ROUNDS: usize = 3;
const SEED: u64 = 1;

/// Measures at one size. `first` is true for the first of a run: what does not depend on the size
/// of the ledger is measured then. What was measured is given also when something has failed.
pub(crate) fn measure(
    options: &Options,
    ops: usize,
    first: bool,
    begun: Duration,
) -> (Size, Outcome) {
    let mut run = Run {
        options,
        ops,
        begun,
        seconds: if ops >= FULL { 1.0 } else { 0.05 },
        rounds: Rounds::default(),
        answers: Answers::default(),
    };
    let outcome = run.all(first);
    let mut size = Size {
        operations: ops,
        rounds: rounds(Name::Runledger, ops),
        answers: match &outcome {
            Ok(()) => run.answers.verdict(),
            Err(err) => format!("not all compared: {err}"),
        },
        figures: run.rounds.measured(),
        goals: Vec::new(),
    };
    size.goals = crate::goals::verdicts(&size);
    (size, outcome)
}

/// How often a figure is taken. A peer takes minutes to write ten million records: it does so once.
const fn rounds(name: Name, ops: usize) -> usize {
    if ops == FULL || (ops > FULL && is_quick(name)) { 3 } else { 1 }
}

/// True of those that write a million records in less than a second.
const fn is_quick(name: Name) -> bool {
    matches!(name, Name::Floor | Name::Runledger)
}

/// How often those are filled by turns.
const fn turns(ops: usize) -> usize {
    match ops {
        ..FULL => 1,
        FULL => 9,
        _ => 3,
    }
}

struct Run<'a> {
    options: &'a Options,
    ops: usize,
    begun: Duration,
    seconds: f64,
    rounds: Rounds,
    answers: Answers,
}

impl Run<'_> {
    fn all(&mut self, first: bool) -> Outcome {
        self.bulk_by_turns()?;
        for name in self.options.engines.iter().copied() {
            self.ledger(name)?;
        }
        if first {
            self.appends()?;
        }
        if self.options.engines.contains(&Name::Runledger) {
            self.segments()?;
            self.packed()?;
        }
        Ok(())
    }

    /// Fills the quick ones by turns: each takes so little time that a machine which is busy with
    /// something else just then would have it measured, and not the ratio.
    fn bulk_by_turns(&mut self) -> Outcome {
        let turns = if self.options.wants("bulk") { turns(self.ops) } else { 0 };
        for turn in 0..turns {
            for name in self.options.engines.iter().copied().filter(|name| is_quick(*name)) {
                self.fill(name, &format!("bulk, turn {} of {turns}", turn + 1))?;
            }
        }
        Ok(())
    }

    /// Writes a ledger in bulk.
    fn fill(&mut self, name: Name, what: &str) -> Outcome<PathBuf> {
        self.say(name, what);
        let dir = self.fresh("ledger")?;
        let findings = self.order(Task::Load, name, &dir).run()?;
        self.rounds.add(name.text(), &findings, "", "");
        Ok(dir)
    }

    /// Writes a ledger in bulk, and does with it all that needs one that is full.
    fn ledger(&mut self, name: Name) -> Outcome {
        let wants = |what| self.options.wants(what);
        let reads = name != Name::Floor && (wants("query") || wants("open"));
        if !(wants("bulk") || reads || wants("drop")) {
            return Ok(());
        }
        let is_timed = wants("bulk") && !is_quick(name);
        let rounds = if is_timed { rounds(name, self.ops) } else { 1 };
        let mut dir = PathBuf::new();
        for round in 0..rounds {
            dir = self.fill(name, &format!("bulk, round {} of {rounds}", round + 1))?;
        }
        let bytes = disk_bytes(&dir)? as f64 / self.ops as f64;
        self.rounds.push(name.text(), "disk.bytes", bytes);
        if reads {
            self.reads(name, &dir)?;
        }
        if wants("drop") && name != Name::Floor {
            self.drops(name, &dir)?;
        }
        self.fresh("ledger").map(drop)
    }

    fn reads(&mut self, name: Name, dir: &Path) -> Outcome {
        let rounds = rounds(name, self.ops);
        for round in 0..rounds {
            self.say(name, &format!("open and queries, round {} of {rounds}", round + 1));
            let findings = self.order(Task::Read, name, dir).run()?;
            self.keep(name, "after a clean close", &findings)?;
        }
        let more = WRITTEN.min(self.ops / 10);
        for round in 0..rounds {
            self.say(name, &format!("kill -9, round {} of {rounds}", round + 1));
            let mut order = self.order(Task::Write, name, dir);
            order.ops += round * more;
            order.more = more;
            let findings = order.run_and_kill()?;
            self.keep(name, &format!("written, round {round}"), &findings)?;
            order.task = Task::ReadAfterKill;
            order.ops += more;
            let findings = order.run()?;
            self.keep(name, &format!("after kill -9, round {round}"), &findings)?;
        }
        let findings = self.order(Task::Tuned, name, dir).run()?;
        self.rounds.add(name.text(), &findings, "", "");
        Ok(())
    }

    /// runledger drops whole segments: it is given a ledger of which about half can go. Any other
    /// engine drops from the ledger that it has.
    fn drops(&mut self, name: Name, dir: &Path) -> Outcome {
        self.say(name, "drop");
        if name != Name::Runledger {
            let findings = self.order(Task::Drop, name, dir).run()?;
            self.rounds.add(name.text(), &findings, "", "");
            return Ok(());
        }
        for _ in 0..rounds(name, self.ops) {
            let dir = self.fresh("drop")?;
            let mut order = self.order(Task::Load, name, &dir);
            let share = u64::from(DROPPED_SEGMENT) * self.ops as u64 / FULL as u64;
            let bytes = u32::try_from(share)?.clamp(64 << 10, SEGMENTS.0);
            order.segment_bytes = Some(bytes);
            order.run()?;
            order.task = Task::Drop;
            let findings = order.run()?;
            self.rounds.add(name.text(), &findings, "", "");
        }
        self.fresh("drop").map(drop)
    }

    /// Appends one by one, to ledgers that are empty. The engines take turns in every round, as a
    /// disk can be forty times slower in one minute than in the next.
    fn appends(&mut self) -> Outcome {
        let tasks =
            [("durable", Task::Durable), ("single", Task::Single), ("latency", Task::Latency)];
        for (what, task) in tasks.into_iter().filter(|(what, _)| self.options.wants(what)) {
            let rounds = if self.ops < FULL { 1 } else { APPEND_ROUNDS };
            for round in 0..rounds {
                for name in self.options.engines.iter().copied() {
                    // The floor is measured by turns with each engine.
                    if task != Task::Durable || name != Name::Floor {
                        self.say(name, &format!("{what}, round {} of {rounds}", round + 1));
                        self.append_round(task, name, round)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn append_round(&mut self, task: Task, name: Name, round: usize) -> Outcome {
        let findings = self.append(task, name, round, None)?;
        self.rounds.add(name.text(), &findings, "", "");
        if name == Name::Runledger && task == Task::Latency {
            let findings = self.append(task, name, round, Some(SEALED_OFTEN))?;
            self.rounds.add(name.text(), &findings, "latency.", "seals.");
        }
        Ok(())
    }

    fn append(
        &self,
        task: Task,
        name: Name,
        round: usize,
        segment_bytes: Option<u32>,
    ) -> Outcome<Findings> {
        let dir = self.fresh("append")?;
        let mut order = self.order(task, name, &dir);
        order.seed = SEED + round as u64;
        order.segment_bytes = segment_bytes;
        let findings = order.run()?;
        self.fresh("append")?;
        Ok(findings)
    }

    /// What only runledger has: very many segments, and one that is not sealed and very large.
    fn segments(&mut self) -> Outcome {
        if !self.options.wants("segments") {
            return Ok(());
        }
        let name = Name::Runledger;
        self.say(name, "small segments");
        let dir = self.fresh("segments")?;
        let mut order = self.order(Task::Load, name, &dir);
        let bytes = u32::try_from(self.ops * RECORD_BYTES / SMALL_SEGMENTS)?;
        order.segment_bytes = Some(bytes.max(64 << 10));
        order.run()?;
        order.task = Task::Read;
        for _ in 0..rounds(name, self.ops) {
            let findings = order.run()?;
            self.answers.hold("after a clean close", name, &findings)?;
            self.rounds.add(name.text(), &findings, "query.trace", "segments.trace");
            self.rounds.add(name.text(), &findings, "clean.segments", "segments.count");
        }
        for _ in 0..rounds(name, self.ops) {
            self.say(name, "kill -9 with nothing sealed");
            let dir = self.fresh("segments")?;
            let mut order = self.order(Task::Write, name, &dir);
            order.segment_bytes = Some(SEGMENTS.1);
            (order.ops, order.more) = (0, self.ops.min(UNSEALED));
            order.run_and_kill()?;
            order.task = Task::ReadAfterKill;
            (order.ops, order.more) = (order.more, 0);
            let findings = order.run()?;
            self.rounds.add(name.text(), &findings, "kill.index_memory", "recover.index");
            let figure = |key| findings.figures.get(key).copied().unwrap_or(f64::NAN);
            let rate = figure("kill.frames") / figure("kill.open") / 1e6;
            self.rounds.push(name.text(), "recover.rate", rate);
        }
        self.fresh("segments").map(drop)
    }

    /// What compaction makes of a ledger, and what it costs those who ask afterwards.
    fn packed(&mut self) -> Outcome {
        if !self.options.wants("packed") {
            return Ok(());
        }
        let name = Name::Runledger;
        self.say(name, "compaction");
        let dir = self.fresh("packed")?;
        let mut order = self.order(Task::Load, name, &dir);
        order.run()?;
        order.task = Task::Pack;
        let findings = order.run()?;
        self.rounds.add(name.text(), &findings, "", "");
        let bytes = disk_bytes(&dir)? as f64 / self.ops as f64;
        self.rounds.push(name.text(), "packed.bytes", bytes);
        order.task = Task::Read;
        for _ in 0..rounds(name, self.ops) {
            let findings = order.run()?;
            self.answers.hold("compacted", name, &findings)?;
            for (from, to) in
                [("query.trace", "packed.trace"), ("query.events_of_run", "packed.events_of_run")]
            {
                self.rounds.add(name.text(), &findings, from, to);
            }
        }
        self.fresh("packed").map(drop)
    }

    fn keep(&mut self, name: Name, stage: &str, findings: &Findings) -> Outcome {
        self.rounds.add(name.text(), findings, "", "");
        self.answers.hold(stage, name, findings)
    }

    fn order(&self, task: Task, name: Name, dir: &Path) -> Order {
        let mut order = Order::new(task, name, dir);
        (order.ops, order.seed, order.seconds) = (self.ops, SEED, self.seconds);
        order
    }

    /// An empty directory.
    fn fresh(&self, what: &str) -> Outcome<PathBuf> {
        let dir = self.options.dir.join(what);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    fn say(&self, name: Name, what: &str) {
        let seconds = (now() - self.begun).as_secs();
        eprintln!("{seconds:>5} s  {} operations  {:<9}  {what}", count(self.ops), name.text());
    }
}
