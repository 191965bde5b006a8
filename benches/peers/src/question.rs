//! The questions that every engine answers by index, and what they are about.

use std::hash::{DefaultHasher, Hash, Hasher};

use runledger::{Id, Timestamp};

use crate::Outcome;
use crate::workload::{Pool, Rng, START_NANOS, Workload, run_id, trace_id};

/// One of so many runs is asked about, most of them to warm what is to be warm: a larger ledger has
/// more of that.
const RUNS_A_PICK: u64 = 10;
/// There are so many picks at least.
const PICKS: u64 = 10_000;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// All records of a trace, newest first.
    Trace,
    /// The newest 100 events of a run.
    EventsOfRun,
    /// The newest 50 runs of a type that have failed.
    LastFailed,
    /// How many runs that were created in a tenth of the time are in each status.
    CountByStatus,
    /// All events of a type in a tenth of the time, oldest first.
    Scan,
    /// The newest 50 errors of a project.
    ErrorsOfProject,
    /// The newest 100 records.
    Newest,
    /// The newest state of a run.
    StateOfRun,
}

impl Question {
    pub(crate) const ALL: [Self; 8] = [
        Self::Trace,
        Self::EventsOfRun,
        Self::LastFailed,
        Self::CountByStatus,
        Self::Scan,
        Self::ErrorsOfProject,
        Self::Newest,
        Self::StateOfRun,
    ];

    /// What its figures are filed under.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::EventsOfRun => "events_of_run",
            Self::LastFailed => "last_failed",
            Self::CountByStatus => "count_by_status",
            Self::Scan => "scan",
            Self::ErrorsOfProject => "errors_of_project",
            Self::Newest => "newest",
            Self::StateOfRun => "state_of_run",
        }
    }

    /// How often it is asked in a round, unless time runs out.
    pub(crate) const fn times(self) -> usize {
        match self {
            Self::Trace | Self::EventsOfRun | Self::StateOfRun => 2000,
            Self::LastFailed | Self::ErrorsOfProject | Self::Newest => 1000,
            Self::CountByStatus => 300,
            Self::Scan => 200,
        }
    }

    /// How many answers are held against those of the other engines.
    pub(crate) const fn checks(self) -> usize {
        match self {
            Self::CountByStatus | Self::Scan => 20,
            _ => 200,
        }
    }
}

/// What a question is about: one of many, chosen at random.
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    pub(crate) trace: Id<'static>,
    pub(crate) run: Id<'static>,
    /// A type of records.
    pub(crate) name: String,
    pub(crate) project: String,
    /// A tenth of the time.
    pub(crate) window: (Timestamp, Timestamp),
}

/// What is asked about, of a ledger with so many records of this seed.
pub(crate) fn picks(pool: &Pool, seed: u64, workload: &Workload<'_>) -> Vec<Pick> {
    let mut rng = Rng::new(3);
    let nanos = u64::try_from(workload.now() - START_NANOS).unwrap_or_default();
    let time = |after: u64| Timestamp::from_nanos(START_NANOS.saturating_add_unsigned(after));
    let pick = |_| {
        // The last runs that were begun may have no record yet.
        let run = rng.below(workload.runs() * 9 / 10);
        let from = rng.below(nanos * 9 / 10);
        Pick {
            trace: trace_id(seed, run),
            run: run_id(seed, run),
            name: rng.pick(&pool.types).to_owned(),
            project: rng.pick(&pool.projects).to_owned(),
            window: (time(from), time(from + nanos / 10)),
        }
    };
    (0..PICKS.max(workload.runs() / RUNS_A_PICK)).map(pick).collect()
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seen<'a> {
    Record { seq: u64, created_at: i64, kind: u8, tag: u8, name: &'a str },
    Count { status: u8, count: u64 },
}

/// What is shown the parts of an answer.
pub(crate) type See<'a> = &'a mut dyn FnMut(Seen<'_>);

/// The answers to one question, in brief: how many parts, and a hash of all in their order.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    parts: u64,
    hash: DefaultHasher,
}

impl Digest {
    pub(crate) fn add(&mut self, seen: Seen<'_>) {
        self.parts += 1;
        seen.hash(&mut self.hash);
    }

    pub(crate) const fn parts(&self) -> u64 {
        self.parts
    }

    /// As text, to be compared.
    pub(crate) fn text(&self) -> String {
        format!("{} parts, hash {:016x}", self.parts, self.hash.finish())
    }
}

/// What one measurement gives when it must have found something.
pub(crate) fn found(parts: u64, question: Question) -> Outcome {
    if parts == 0 {
        return Err(format!("{question:?} found nothing: there is nothing to measure").into());
    }
    Ok(())
}
