//! Clean-up: which segments go, what keeps the others, and the dropping itself.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::index::{Row, SUPERSEDED, Table};
use crate::ledger::Durability;
use crate::ledger::audit::{self, SEGMENT_DROPPED};
use crate::ledger::catalog::Catalog;
use crate::ledger::handle::{Inner, Ledger};
use crate::ledger::layout::{AUDIT_STREAM, STREAM_KINDS};
use crate::ledger::options::Retention;
use crate::ledger::reader::Reader;
use crate::ledger::retention::arrivals;
use crate::model::{Kind, Status, Timestamp};
use crate::segment::{Overview, Pinned, Segment, TableRef};

/// What a clean-up is to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// Records whose own times are all older than this; `None` for the ledger's retention.
    older_than: Option<Duration>,
    kind: Option<Kind>,
}

impl Cleanup {
    /// What has expired by the ledger's retention: by age since the records arrived, and by the cap
    /// on the disk.
    #[must_use]
    pub const fn retention() -> Self {
        Self { older_than: None, kind: None }
    }

    /// Segments in which every record's own times lie further back than `age`.
    #[must_use]
    pub const fn older_than(age: Duration) -> Self {
        Self { older_than: Some(age), kind: None }
    }

    /// Only the stream of this kind.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
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
    /// Why it is dropped, in words; `None` when it is kept.
    pub dropped_for: Option<String>,
    /// What keeps it; `None` when it is dropped.
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
    /// It is empty.
    Empty,
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Until(time) => write!(f, "kept until {time}"),
            Self::Younger(time) => write!(f, "holds a record of {time}, which is younger"),
            Self::Forever => f.write_str("kept for ever"),
            Self::Supersedes => f.write_str("holds later states of runs in a segment that is kept"),
            Self::OpenRuns => f.write_str("holds only runs that are still open"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

impl CleanupReport {
    /// The segments that go.
    pub fn dropped(&self) -> impl Iterator<Item = &SegmentPlan> {
        self.segments.iter().filter(|plan| plan.dropped_for.is_some())
    }

    /// How many bytes of disk go with them.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped().map(|plan| plan.bytes).sum()
    }

    /// How many records go with them.
    #[must_use]
    pub fn dropped_records(&self) -> u64 {
        self.dropped().map(|plan| plan.records).sum()
    }
}

/// A segment that is looked at.
struct Candidate {
    segment: Arc<Segment>,
    stream: usize,
    overview: Overview,
    arrived: i64,
    plan: SegmentPlan,
}

impl Reader {
    /// What a clean-up would do under this retention, without doing it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when a directory or a segment cannot be read.
    pub fn plan_cleanup(&self, cleanup: &Cleanup, retention: &Retention) -> Result<CleanupReport> {
        let candidates = plan(self.catalog(), cleanup, retention)?;
        let mut report = CleanupReport::default();
        for candidate in candidates {
            if candidate.plan.dropped_for.is_some() {
                report.carried += open_runs(&candidate.segment)?.len() as u64;
            }
            report.segments.push(candidate.plan);
        }
        Ok(report)
    }
}

impl Ledger {
    /// Drops the segments that this clean-up takes, whole. Runs in them that are still open are
    /// carried forward first. With `dry_run` nothing is done, and the report tells what would be.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) when a run cannot be carried forward: its segment
    /// and those after it are kept then, and the space of those before it is free already;
    /// [`Error::Io`](crate::Error::Io) or [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn cleanup(&self, cleanup: &Cleanup, dry_run: bool) -> Result<CleanupReport> {
        self.inner.check_writable()?;
        self.inner.clean(cleanup, dry_run)
    }
}

impl Inner {
    pub(super) fn clean(&self, cleanup: &Cleanup, dry_run: bool) -> Result<CleanupReport> {
        if dry_run {
            return self.reader.plan_cleanup(cleanup, &self.options.retention);
        }
        let _one_at_a_time = self.cleaning.lock();
        let candidates = plan(&self.catalog, cleanup, &self.options.retention)?;
        let mut report = CleanupReport::default();
        // What needs no carrying goes first, so that a full disk has room for what does.
        let (mut easy, mut hard) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if candidate.plan.dropped_for.is_some() {
                self.retire(&candidate);
                let runs = open_runs(&candidate.segment)?;
                if runs.is_empty() {
                    easy.push(candidate);
                } else {
                    hard.push((candidate, runs));
                }
            } else {
                report.segments.push(candidate.plan);
            }
        }
        self.drop_segments(easy, &mut report)?;
        for (candidate, runs) in hard {
            report.carried += self.carry_forward(&candidate.segment, &runs)?;
            self.drop_segments(vec![candidate], &mut report)?;
        }
        report.segments.sort_by_key(|plan| (plan.stream, plan.seqs));
        Ok(report)
    }

    /// Ends the segment, if it is the one that is written.
    fn retire(&self, candidate: &Candidate) {
        let Some(stream) = self.streams.get(candidate.stream) else { return };
        let mut active = stream.lock();
        if active.segment.as_ref().is_some_and(|s| Arc::ptr_eq(s, &candidate.segment)) {
            active.retire();
        }
    }

    /// Appends the newest states of open runs anew, and syncs them.
    fn carry_forward(&self, segment: &Arc<Segment>, runs: &[(u64, u32)]) -> Result<u64> {
        let pinned = Pinned::new(segment)?;
        let mut carried = 0;
        for &(seq, offset) in runs {
            let record = pinned.record(seq, offset)?;
            // A run that ended since it was looked at needs no carrying: its end lies elsewhere.
            match self.append(&[record.body], Durability::Os, super::append::OnReject::FailAll) {
                Ok(_) => carried += 1,
                Err(crate::error::Error::RunTransition { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        self.sync()?;
        Ok(carried)
    }

    /// Drops segments: first the notes, on stable storage, then the files, then the directory. A
    /// file that comes back after a crash is found by its note and removed again.
    fn drop_segments(&self, candidates: Vec<Candidate>, report: &mut CleanupReport) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        for candidate in &candidates {
            self.note(&dropped_note(candidate))?;
        }
        self.sync()?;
        let mut touched = [false; STREAM_KINDS.len()];
        for candidate in candidates {
            self.maintenance.forget(&candidate.segment);
            self.catalog.forget(candidate.stream, candidate.segment.first_seq());
            self.options.storage.remove(candidate.segment.path())?;
            if let Some(touched) = touched.get_mut(candidate.stream) {
                *touched = true;
            }
            report.segments.push(candidate.plan);
        }
        for (stream, _) in self.streams.iter().zip(touched).filter(|(_, touched)| *touched) {
            self.options.storage.sync_dir(&stream.dir)?;
        }
        Ok(())
    }

    /// Removes again the files of dropped segments that a crash brought back.
    pub(super) fn remove_what_came_back(&self) -> Result<()> {
        let notes = self.reader.audit().record_type(SEGMENT_DROPPED);
        let dropped: std::collections::HashSet<String> =
            notes.count_by(crate::model::Field::Trace)?.into_iter().map(|(name, _)| name).collect();
        if dropped.is_empty() {
            return Ok(());
        }
        for (number, stream) in self.streams.iter().enumerate() {
            for segment in self.catalog.stream(number) {
                if dropped.contains(&audit::segment_name(&segment)) {
                    let mut active = stream.lock();
                    if active.segment.as_ref().is_some_and(|s| Arc::ptr_eq(s, &segment)) {
                        active.retire();
                    }
                    drop(active);
                    self.maintenance.forget(&segment);
                    self.catalog.forget(number, segment.first_seq());
                    self.options.storage.remove(segment.path())?;
                    self.options.storage.sync_dir(&stream.dir)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct DroppedDetail {
    first_seq: u64,
    last_seq: Option<u64>,
    records: u64,
    bytes: u64,
    hash: Option<String>,
    reason: Option<String>,
}

fn dropped_note(candidate: &Candidate) -> crate::model::Event<'static> {
    let trailer = candidate.segment.trailer();
    let detail = DroppedDetail {
        first_seq: candidate.segment.first_seq(),
        last_seq: candidate.overview.last_seq,
        records: candidate.plan.records,
        bytes: candidate.plan.bytes,
        hash: trailer.map(|trailer| audit::hex(trailer.link())),
        reason: candidate.plan.dropped_for.clone(),
    };
    let reason = candidate.plan.dropped_for.as_deref().unwrap_or_default();
    audit::note(SEGMENT_DROPPED, &candidate.segment, &detail)
        .message(format!("{} dropped: {reason}", candidate.plan.segment))
}

/// Looks at all segments that the clean-up is about.
fn plan(catalog: &Catalog, cleanup: &Cleanup, retention: &Retention) -> Result<Vec<Candidate>> {
    let now = catalog.storage.now();
    let mut candidates = Vec::new();
    for (stream, (name, kind)) in STREAM_KINDS.iter().enumerate() {
        if stream == AUDIT_STREAM || cleanup.kind.is_some_and(|wanted| wanted != *kind) {
            continue;
        }
        let mut of_stream = look_at(catalog, stream, name, now)?;
        for candidate in &mut of_stream {
            judge(candidate, cleanup, retention, *kind, now);
        }
        candidates.extend(of_stream);
    }
    if let (Some(cap), None) = (retention.max_bytes, cleanup.older_than) {
        apply_cap(catalog, &mut candidates, cap)?;
    }
    keep_what_supersedes(&mut candidates)?;
    keep_open_runs(&mut candidates)?;
    Ok(candidates)
}

fn look_at(
    catalog: &Catalog,
    stream: usize,
    name: &'static str,
    now: i64,
) -> Result<Vec<Candidate>> {
    let segments = catalog.stream(stream);
    let overviews: Vec<_> = segments.iter().map(|segment| segment.overview()).collect();
    let recorded: Vec<_> = overviews.iter().map(|overview| overview.summary.recorded).collect();
    let sizes = catalog.storage.list(&catalog.layout.stream(name))?;
    let candidate = |((segment, overview), arrived): ((Arc<Segment>, Overview), i64)| {
        let file = segment.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes =
            sizes.iter().find(|entry| entry.name == file).map_or(0, |entry| entry.allocated);
        let time = Timestamp::from_nanos;
        let has_rows = overview.rows > 0;
        let summary = overview.summary;
        let plan = SegmentPlan {
            segment: audit::segment_name(&segment),
            stream: name,
            seqs: overview.last_seq.map(|last| (segment.first_seq(), last)),
            records: u64::from(overview.rows),
            bytes,
            times: has_rows.then(|| (time(summary.created.0), time(summary.newest))),
            arrived: has_rows.then(|| time(arrived)),
            dropped_for: None,
            kept_for: None,
        };
        Candidate { segment, stream, overview, arrived, plan }
    };
    let arrived = arrivals(&recorded, now);
    Ok(segments.into_iter().zip(overviews).zip(arrived).map(candidate).collect())
}

/// Decides by age.
fn judge(
    candidate: &mut Candidate,
    cleanup: &Cleanup,
    retention: &Retention,
    kind: Kind,
    now: i64,
) {
    let nanos = |age: Duration| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
    let newest = candidate.overview.summary.newest;
    let plan = &mut candidate.plan;
    if candidate.overview.rows == 0 {
        plan.kept_for = Some(Keep::Empty);
        return;
    }
    if let Some(age) = cleanup.older_than {
        match newest < now.saturating_sub(nanos(age)) {
            true => plan.dropped_for = Some(format!("all records older than {}", words(age))),
            false => plan.kept_for = Some(Keep::Younger(Timestamp::from_nanos(newest))),
        }
        return;
    }
    let age = match kind {
        Kind::Run => retention.runs,
        Kind::Event => retention.events,
        Kind::Error => retention.errors,
    };
    let Some(age) = age else {
        plan.kept_for = Some(Keep::Forever);
        return;
    };
    let expires = candidate.arrived.saturating_add(nanos(age));
    match expires <= now {
        true => plan.dropped_for = Some(format!("arrived more than {} ago", words(age))),
        false => plan.kept_for = Some(Keep::Until(Timestamp::from_nanos(expires))),
    }
}

fn words(age: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match age.as_secs() {
        secs if secs >= DAY && secs % DAY == 0 => match secs / DAY {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
        secs => format!("{secs} s"),
    }
}

/// Drops the oldest segments until the whole directory takes no more than `cap` bytes.
fn apply_cap(catalog: &Catalog, candidates: &mut [Candidate], cap: u64) -> Result<()> {
    let mut total = allocated(catalog, catalog.layout.dir())?;
    for candidate in candidates.iter().filter(|candidate| candidate.plan.dropped_for.is_some()) {
        total = total.saturating_sub(candidate.plan.bytes);
    }
    let mut oldest: Vec<&mut Candidate> = candidates
        .iter_mut()
        .filter(|candidate| candidate.plan.dropped_for.is_none() && candidate.overview.rows > 0)
        .collect();
    oldest.sort_by_key(|candidate| (candidate.arrived, candidate.segment.first_seq()));
    for candidate in oldest {
        if total <= cap {
            break;
        }
        total = total.saturating_sub(candidate.plan.bytes);
        candidate.plan.kept_for = None;
        candidate.plan.dropped_for = Some(format!("the ledger takes more than {cap} bytes"));
    }
    Ok(())
}

/// The bytes of disk that a directory and all in it take.
pub(super) fn allocated(catalog: &Catalog, dir: &std::path::Path) -> Result<u64> {
    let mut total = 0;
    for entry in catalog.storage.list(dir)? {
        total += entry.allocated;
        if entry.is_dir {
            total += allocated(catalog, &dir.join(&entry.name))?;
        }
    }
    Ok(total)
}

/// A segment that holds later states of runs must not go before the one that holds the earlier
/// states: those would be the newest again.
fn keep_what_supersedes(candidates: &mut [Candidate]) -> Result<()> {
    let mut kept: Vec<(u64, u64)> = Vec::new();
    for candidate in candidates.iter_mut().filter(|c| c.segment.kind() == Kind::Run) {
        if candidate.plan.dropped_for.is_some() && !kept.is_empty() {
            let overtakes = candidate.segment.supersedes()?;
            let in_kept =
                |seq: &u64| kept.iter().any(|&(first, last)| (first..=last).contains(seq));
            if overtakes.iter().any(in_kept) {
                candidate.plan.dropped_for = None;
                candidate.plan.kept_for = Some(Keep::Supersedes);
            }
        }
        if let (None, Some(seqs)) = (&candidate.plan.dropped_for, candidate.plan.seqs) {
            kept.push(seqs);
        }
    }
    Ok(())
}

/// A segment of nothing but open runs would only be written anew.
fn keep_open_runs(candidates: &mut [Candidate]) -> Result<()> {
    for candidate in candidates.iter_mut().filter(|c| c.plan.dropped_for.is_some()) {
        let open = open_runs(&candidate.segment)?.len();
        if open > 0 && open as u64 == candidate.plan.records {
            candidate.plan.dropped_for = None;
            candidate.plan.kept_for = Some(Keep::OpenRuns);
        }
    }
    Ok(())
}

/// Where the newest states of runs lie that are open in this segment: sequence number and offset.
fn open_runs(segment: &Arc<Segment>) -> Result<Vec<(u64, u32)>> {
    fn collect<T: Table>(table: &T, overtaken: &dyn Fn(u64) -> bool) -> Vec<(u64, u32)> {
        let is_open = |row: &Row| {
            let tag = table.tag(*row);
            tag & SUPERSEDED == 0
                && Status::from_code(tag).is_some_and(|status| !status.is_terminal())
                && !overtaken(table.seq(*row))
        };
        (0..table.rows())
            .map(|position| table.seq_row(position))
            .filter(is_open)
            .map(|row| (table.seq(row), table.offset(row)))
            .collect()
    }
    if segment.kind() != Kind::Run || segment.trailer().is_some_and(|t| !t.tags.any_open_run()) {
        return Ok(Vec::new());
    }
    let superseded = segment.superseded().clone();
    let overtaken = |seq| superseded.contains(&seq);
    segment.with_table(|table| match table {
        TableRef::Memory(table) => collect(table, &overtaken),
        TableRef::Sealed(table) => collect(table, &overtaken),
    })
}
