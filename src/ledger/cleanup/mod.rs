//! Clean-up: which segments go, what keeps the others, and the dropping itself.

mod drop;
mod kept;
mod plan;
mod results;
mod status;
mod supersede;
mod unread;
mod usage;

use std::time::Duration;

use crate::error::Result;
use crate::ledger::classes::{Class, STREAM_KINDS};
use crate::ledger::handle::Ledger;
use crate::ledger::leftovers::{Copies, going};
use crate::ledger::policy::{self, Retention};
use crate::ledger::reader::Reader;
use crate::model::{Kind, Status, Timestamp};

pub(super) use drop::dropped;
pub use kept::Kept;
pub(super) use plan::{allocated, open_runs};
pub(super) use results::last_results;
pub(super) use unread::Unread;
pub use usage::{ClassUsage, Forecast, RetentionReport};

/// What a clean-up is to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// Records whose own times are all older than this; `None` for the ledger's retention.
    older_than: Option<Duration>,
    kind: Option<Kind>,
    status: Option<Status>,
}

impl Cleanup {
    /// What has expired by the ledger's retention: by age since the records arrived, and by the cap
    /// on the disk.
    #[must_use]
    pub const fn retention() -> Self {
        Self { older_than: None, kind: None, status: None }
    }

    /// Segments in which every record's own times lie further back than `age`.
    #[must_use]
    pub const fn older_than(age: Duration) -> Self {
        Self { older_than: Some(age), kind: None, status: None }
    }

    /// Only the stream of this kind.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only runs in this status that are that old, with all of their states. Segments of which no
    /// run is in another, as are those of the class [`Class::status`](crate::Class::status), are
    /// dropped; of the others those that hold such a run are written anew without it. Runs that
    /// are open or [pinned](crate::Ledger::pin) stay, and so does the newest success and the
    /// newest failure of each type. Events and errors of the runs are not concerned: they go by
    /// the term of their own class. It needs an age.
    #[must_use]
    pub const fn status(mut self, status: Status) -> Self {
        self.kind = Some(Kind::Run);
        self.status = Some(status);
        self
    }
}

/// What a clean-up did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Every segment that was looked at, the oldest of each stream first.
    pub segments: Vec<SegmentPlan>,
    /// How many runs that are still open were, or would be, carried forward.
    pub carried: u64,
    /// How many runs were, or would be, carried forward as the newest success or failure of their
    /// type: when a thing last worked can so be told for ever.
    pub results: u64,
    /// Copies of what recovery and repair have cut that were removed or would be: they were kept
    /// for longer than any record is, or the directory takes more than its cap.
    pub copies: Copies,
    /// How many bytes of disk the directory took less afterwards, by the blocks that are allocated
    /// to its files; 0 for a plan.
    pub freed_bytes: u64,
}

/// One segment, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentPlan {
    /// Its path in the ledger's directory, as in `runs/00000000000000000001.seg`.
    pub segment: String,
    /// The stream that it is of.
    pub stream: &'static str,
    /// Its first and last sequence number; `None` when it is empty.
    pub seqs: Option<(u64, u64)>,
    /// How many records it holds.
    pub records: u64,
    /// How many bytes of disk it takes.
    pub bytes: u64,
    /// The earliest creation, and the newest of the records' own times.
    pub times: Option<(Timestamp, Timestamp)>,
    /// When its newest record arrived.
    pub arrived: Option<Timestamp>,
    /// Why it is dropped, in words; `None` when it is not.
    pub dropped_for: Option<String>,
    /// Why it is written anew without some of its records, in words; `None` when it is not.
    pub rewritten_for: Option<String>,
    /// How many records are left out when it is written anew.
    pub left_out: u64,
    /// What keeps it as it is; `None` when it is dropped or written anew.
    pub kept_for: Option<Keep>,
}

/// What keeps a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// It has not expired; it will at this time, unless more is appended to it.
    Until(Timestamp),
    /// It holds a record whose own time is this, which is too young.
    Younger(Timestamp),
    /// Records of its stream are kept for ever.
    Forever,
    /// It holds later states of runs whose earlier states lie in a segment that is kept: dropping
    /// it would bring those back.
    Supersedes,
    /// It holds nothing but runs that are still open.
    OpenRuns,
    /// It holds nothing but the newest success or failure of types, and perhaps open runs.
    LastResults,
    /// It holds a record of a run that is [pinned](crate::Ledger::pin).
    Pinned,
    /// It holds records of this class among others, which are kept until this time, or for ever. A
    /// compaction takes out what has expired beside them.
    Class(Class, Option<Timestamp>),
    /// It holds no run in the status that is to go.
    OtherStatus,
    /// Something was appended to it while it was looked at.
    Appended,
    /// It is empty.
    Empty,
    /// It cannot be read now, so that what of it has to stay is not known.
    Unreadable,
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told(|time| time.to_string()))
    }
}

impl Keep {
    /// In words, with times as the reader has them.
    pub(crate) fn told(&self, at: impl Fn(Timestamp) -> String) -> String {
        match self {
            Self::Until(time) => format!("kept until {}", at(*time)),
            Self::Younger(time) => format!("holds a record of {}, which is younger", at(*time)),
            Self::Forever => "kept for ever".to_owned(),
            Self::Supersedes => "holds later states of runs in a segment that is kept".to_owned(),
            Self::OpenRuns => "holds only runs that are still open".to_owned(),
            Self::LastResults => "holds only the last results of types".to_owned(),
            Self::Pinned => "holds a record of a run that is pinned".to_owned(),
            Self::Class(class, None) => format!("holds records of {class}, kept for ever"),
            Self::Class(class, Some(time)) => {
                format!("holds records of {class}, kept until {}", at(*time))
            }
            Self::OtherStatus => "holds no such run".to_owned(),
            Self::Appended => "was appended to meanwhile".to_owned(),
            Self::Empty => "empty".to_owned(),
            Self::Unreadable => "cannot be read: `runledger verify` says why".to_owned(),
        }
    }
}

impl SegmentPlan {
    /// True when it is about the segment of this stream with this first sequence number.
    fn is_of(&self, stream: usize, first_seq: u64) -> bool {
        let name = STREAM_KINDS.get(stream).map(|(name, _)| *name);
        name == Some(self.stream) && self.seqs.is_some_and(|(first, _)| first == first_seq)
    }
}

impl CleanupReport {
    /// The segments that go.
    pub fn dropped(&self) -> impl Iterator<Item = &SegmentPlan> {
        self.segments.iter().filter(|plan| plan.dropped_for.is_some())
    }

    /// The segments that are written anew without some of their records.
    pub fn rewritten(&self) -> impl Iterator<Item = &SegmentPlan> {
        self.segments.iter().filter(|plan| plan.rewritten_for.is_some())
    }

    /// How many bytes of disk go with those that are dropped.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped().map(|plan| plan.bytes).sum()
    }

    /// How many records go with those that are dropped.
    #[must_use]
    pub fn dropped_records(&self) -> u64 {
        self.dropped().map(|plan| plan.records).sum()
    }
}

impl Reader {
    /// What a clean-up would do, without doing it, under this retention; where that says nothing,
    /// under what the ledger's file `runledger.toml` says, and then the defaults.
    ///
    /// # Errors
    /// [`Error::Policy`](crate::Error::Policy) when the file says what cannot be taken;
    /// [`Error::Io`](crate::Error::Io) when it or a directory cannot be read;
    /// [`Error::Damaged`](crate::Error::Damaged) when records are due, and a pin on them may lie in
    /// a segment of notes that cannot be read. Any other segment that cannot be read is
    /// [kept](Keep::Unreadable); but by status nothing is planned while the sums of one of runs
    /// cannot be read.
    pub fn plan_cleanup(&self, cleanup: &Cleanup, retention: &Retention) -> Result<CleanupReport> {
        let retention = retention.clone().over(&self.policy()?);
        self.plan_cleanup_at(cleanup, &retention, self.catalog().storage.now())
    }

    /// How long records are kept, and how much disk they may take, by the ledger's file
    /// `runledger.toml` and the defaults. A writer's [`Options`](crate::Options) may say otherwise.
    ///
    /// # Errors
    /// [`Error::Policy`](crate::Error::Policy) when the file says what cannot be taken, and
    /// [`Error::Io`](crate::Error::Io) when it cannot be read.
    pub fn policy(&self) -> Result<Retention> {
        let catalog = self.catalog();
        let said = policy::read(&*catalog.storage, &catalog.layout.policy())?;
        Ok(said.over(&Retention::standard()))
    }

    fn plan_cleanup_at(
        &self,
        cleanup: &Cleanup,
        retention: &Retention,
        now: i64,
    ) -> Result<CleanupReport> {
        let mut candidates = plan::plan(self, cleanup, retention, now, &mut Unread::default())?;
        if let Some(status) = cleanup.status {
            status::plan_rewrites(self, &mut candidates, cleanup, status, now)?;
        }
        let mut report = CleanupReport::default();
        for candidate in candidates {
            if candidate.plan.dropped_for.is_some() {
                report.carried += plan::open_runs(&candidate.segment)?.len() as u64;
                report.results += candidate.results.len() as u64;
            }
            report.segments.push(candidate.plan);
        }
        if cleanup.older_than.is_none() {
            report.copies = Copies::of(&going(self.catalog(), retention, now)?);
        }
        Ok(report)
    }
}

impl Ledger {
    /// Drops the segments that this clean-up takes, whole, and by [`Cleanup::status`] writes others
    /// anew without the runs that go. Runs in them that are still open are carried forward first.
    /// With `dry_run` nothing is done, and the report tells what would be.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) when a run cannot be carried forward: its segment
    /// and those after it are kept then, and the space of those before it is free already;
    /// [`Error::Policy`](crate::Error::Policy) when it goes by the retention, and nothing of the
    /// file `runledger.toml` was ever understood; [`Error::Damaged`](crate::Error::Damaged) when
    /// records are due, and a pin on them may lie in a segment of notes that cannot be read:
    /// nothing is dropped then; [`Error::Io`](crate::Error::Io) or
    /// [`Error::Poisoned`](crate::Error::Poisoned). Any other segment that cannot be read is
    /// [kept](Keep::Unreadable), and keeps none but those that hold later states of its runs; but
    /// by status nothing is done while the sums of one of runs cannot be read.
    pub fn cleanup(&self, cleanup: &Cleanup, dry_run: bool) -> Result<CleanupReport> {
        let _is_waited_for = self.inner.begin_job()?;
        if cleanup.older_than.is_none() {
            self.inner.check_policy()?;
        }
        let now = self.inner.believed_now()?;
        if dry_run {
            return self.reader().plan_cleanup_at(cleanup, &self.inner.policy.current(), now);
        }
        let cleaning = self.inner.begin_cleaning()?;
        let mut report = self.inner.clean(&cleaning, cleanup, now, &mut Unread::default())?;
        drop(cleaning);
        if let Some(status) = cleanup.status {
            self.inner.take_out(cleanup, status, now, &mut report)?;
        }
        Ok(report)
    }
}
