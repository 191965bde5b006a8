//! Looking at the segments and deciding which go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::ledger::arrivals::arrivals;
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, Class, STREAM_KINDS};
use crate::ledger::cleanup::results::find_last_results;
use crate::ledger::cleanup::status::{judge_by_status, keep_others};
use crate::ledger::cleanup::supersede::keep_what_supersedes;
use crate::ledger::cleanup::unread::Unread;
use crate::ledger::cleanup::{Cleanup, Keep, SegmentPlan};
use crate::ledger::displaced::held;
use crate::ledger::leftovers::{Copies, going};
use crate::ledger::pins::{Pin, holds_run};
use crate::ledger::policy::{Limits, Retention, Term};
use crate::ledger::reader::Reader;
use crate::model::{Kind, Timestamp, nanos};
use crate::planted::{Bug, is_planted};
use crate::segment::{OpenState, Overview, Segment};

/// A segment that is looked at.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) segment: Arc<Segment>,
    pub(super) stream: usize,
    pub(super) overview: Overview,
    arrived: i64,
    pub(super) plan: SegmentPlan,
    /// The newest results of their types, which are carried forward when it goes.
    pub(super) results: Vec<(u64, u32)>,
}

impl Candidate {
    /// Takes it off those that are dropped.
    pub(super) fn keep(&mut self, why: Keep) {
        self.plan.dropped_for = None;
        self.plan.kept_for = Some(why);
    }

    /// Puts it among those that are dropped.
    pub(super) fn drop_for(&mut self, why: String) {
        self.plan.dropped_for = Some(why);
        self.plan.kept_for = None;
    }

    /// True when it is kept, and may be dropped for want of space.
    fn may_go(&self) -> bool {
        self.plan.dropped_for.is_none() && self.overview.rows > 0 && !self.is_unreadable()
    }

    /// True when it is kept as it cannot be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.plan.kept_for == Some(Keep::Unreadable)
    }

    /// True when it is to go, with runs in it.
    pub(super) fn loses_runs(&self) -> bool {
        self.plan.dropped_for.is_some() && self.segment.kind() == Kind::Run
    }

    /// True when nothing but its term keeps it.
    pub(super) fn is_free(&self) -> bool {
        matches!(
            self.plan.kept_for,
            Some(Keep::Until(_) | Keep::Younger(_) | Keep::Forever | Keep::Class(..))
        )
    }

    /// True when it holds a record of a run that is pinned.
    pub(super) fn is_pinned_by(&self, pins: &[Pin]) -> Result<bool> {
        for pin in pins {
            if holds_run(&self.segment, &pin.run_id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True when it holds a later state of a run than one in these ranges of sequence numbers.
    pub(super) fn supersedes_any_of(&self, ranges: &[(u64, u64)]) -> Result<bool> {
        if ranges.is_empty() || self.segment.kind() != Kind::Run {
            return Ok(false);
        }
        let is_in = |seq: u64| ranges.iter().any(|&(first, last)| (first..=last).contains(&seq));
        Ok(self.segment.supersedes()?.into_iter().any(|(seq, _)| is_in(seq)))
    }
}

/// Looks at all segments that the clean-up is about. `now` is what their age is counted to. One
/// that cannot be read is noted, and kept.
pub(super) fn plan(
    reader: &Reader,
    cleanup: &Cleanup,
    retention: &Retention,
    now: i64,
    unread: &mut Unread,
) -> Result<Vec<Candidate>> {
    loop {
        match plan_without(reader, cleanup, retention, now, unread) {
            Err(err) => unread.note(reader.catalog(), err)?,
            planned => return planned,
        }
    }
}

/// As [`plan`], keeping what is known to be unreadable.
fn plan_without(
    reader: &Reader,
    cleanup: &Cleanup,
    retention: &Retention,
    now: i64,
    unread: &Unread,
) -> Result<Vec<Candidate>> {
    let catalog = reader.catalog();
    let (by_retention, split) = (cleanup.older_than.is_none(), retention.split());
    let mut candidates = Vec::new();
    for stream in catalog.in_use().without(AUDIT_STREAM) {
        let (Some((name, kind)), Some(class)) = (STREAM_KINDS.get(stream), Class::at(stream))
        else {
            continue;
        };
        if cleanup.kind.is_some_and(|wanted| wanted != *kind) {
            continue;
        }
        let limits = retention.limits(class);
        let mut of_stream = look_at(catalog, stream, name, now, unread)?;
        for candidate in &mut of_stream {
            if unread.has(&candidate.segment) {
                candidate.keep(Keep::Unreadable);
                continue;
            }
            if candidate.overview.rows == 0 {
                candidate.keep(Keep::Empty);
                continue;
            }
            match cleanup.status {
                Some(status) => judge_by_status(candidate, cleanup, status, now)?,
                None => judge(candidate, cleanup, &limits, now),
            }
            if by_retention && candidate.plan.dropped_for.is_some() && split.is_split(stream) {
                keep_displaced(candidate, retention, now)?;
            }
        }
        if by_retention {
            apply_limits(&mut of_stream, class, &limits);
        }
        candidates.extend(of_stream);
    }
    if let Some(status) = cleanup.status {
        keep_others(reader, &mut candidates, cleanup, status, now)?;
    }
    let mut settling = Settling { reader, pins: None };
    match retention.cap().filter(|_| by_retention) {
        Some(cap) => {
            // Copies of what was cut go before any record does.
            let copies = Copies::of(&going(catalog, retention, now)?);
            let before = allocated(catalog, catalog.layout.dir())?.saturating_sub(copies.bytes);
            settling.apply_cap(&mut candidates, before, cap)?;
        }
        None => settling.settle(&mut candidates)?,
    }
    find_last_results(catalog, &mut candidates, now, unread)?;
    keep_what_is_carried(&mut candidates)?;
    Ok(candidates)
}

/// Looks at the segments of a stream, and decides nothing yet.
pub(super) fn look_at(
    catalog: &Catalog,
    stream: usize,
    name: &'static str,
    now: i64,
    unread: &Unread,
) -> Result<Vec<Candidate>> {
    let segments = catalog.stream(stream);
    let overviews: Vec<_> =
        segments.iter().map(|segment| unread.overview(segment)).collect::<Result<_>>()?;
    let recorded: Vec<_> = overviews.iter().map(|overview| overview.summary.recorded).collect();
    let sizes = catalog.storage.list(&catalog.layout.stream(name))?;
    let candidate = |((segment, overview), arrived): ((Arc<Segment>, Overview), i64)| {
        let file = segment.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry =
            sizes.binary_search_by(|entry| entry.name.cmp(&file)).ok().and_then(|at| sizes.get(at));
        let bytes = entry.map_or(0, |entry| entry.allocated);
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
            rewritten_for: None,
            left_out: 0,
            kept_for: None,
        };
        Candidate { segment, stream, overview, arrived, plan, results: Vec::new() }
    };
    let arrived = arrivals(&recorded, now);
    Ok(segments.into_iter().zip(overviews).zip(arrived).map(candidate).collect())
}

/// Decides by age.
fn judge(candidate: &mut Candidate, cleanup: &Cleanup, limits: &Limits, now: i64) {
    let newest = candidate.overview.summary.newest;
    let plan = &mut candidate.plan;
    if let Some(age) = cleanup.older_than {
        match newest < cleanup.before(now) {
            true => plan.dropped_for = Some(format!("all records older than {}", words(age))),
            false => plan.kept_for = Some(Keep::Younger(Timestamp::from_nanos(newest))),
        }
        return;
    }
    let Some(age) = limits.term.and_then(Term::duration) else {
        plan.kept_for = Some(Keep::Forever);
        return;
    };
    let expires = candidate.arrived.saturating_add(nanos(age));
    match expires <= now {
        true => plan.dropped_for = Some(format!("arrived more than {} ago", words(age))),
        false => plan.kept_for = Some(Keep::Until(Timestamp::from_nanos(expires))),
    }
}

/// Keeps a segment that holds records of a class which is kept for longer than its own, as it was
/// split off after they had come.
fn keep_displaced(candidate: &mut Candidate, retention: &Retention, now: i64) -> Result<()> {
    let held = held(&candidate.segment, candidate.stream, retention.split())?;
    // None is for ever, and later than any time.
    let mut latest: Option<(Class, Option<i64>)> = None;
    for (_, class) in held.displaced {
        let age = retention.limits(class).term.and_then(Term::duration);
        let until = age.map(|age| candidate.arrived.saturating_add(nanos(age)));
        let is_later = latest.is_none_or(|(_, other)| {
            other.is_some_and(|other| until.is_none_or(|until| until > other))
        });
        if until.is_none_or(|until| until > now) && is_later {
            latest = Some((class, until));
        }
    }
    if let Some((class, until)) = latest {
        candidate.keep(Keep::Class(class, until.map(Timestamp::from_nanos)));
    }
    Ok(())
}

/// An age in words.
pub(super) fn words(age: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match age.as_secs() {
        secs if secs >= DAY && secs % DAY == 0 => match secs / DAY {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
        secs => format!("{secs} s"),
    }
}

/// Drops the oldest segments of a class until it keeps to its limits.
fn apply_limits(candidates: &mut [Candidate], class: Class, limits: &Limits) {
    let kept = || candidates.iter().filter(|candidate| candidate.plan.dropped_for.is_none());
    let mut bytes: u64 = kept().map(|candidate| candidate.plan.bytes).sum();
    let mut records: u64 = kept().map(|candidate| candidate.plan.records).sum();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.may_go()) {
        let why = match (limits.max_bytes, limits.max_records) {
            (Some(most), _) if bytes > most => format!("{class} takes more than {most} bytes"),
            (_, Some(most)) if records > most => format!("{class} has more than {most} records"),
            _ => return,
        };
        bytes = bytes.saturating_sub(candidate.plan.bytes);
        records = records.saturating_sub(candidate.plan.records);
        candidate.drop_for(why);
    }
}

/// What settles which of the segments that are due may go.
struct Settling<'r> {
    reader: &'r Reader,
    /// What is pinned, once something was due.
    pins: Option<Vec<Pin>>,
}

impl Settling<'_> {
    /// Keeps what may not go, whatever is due.
    fn settle(&mut self, candidates: &mut [Candidate]) -> Result<()> {
        if candidates.iter().all(|it| it.plan.dropped_for.is_none()) {
            // What is pinned need not be known, and while notes cannot be read it is not.
            return Ok(());
        }
        let pins = match &mut self.pins {
            Some(pins) => pins,
            unread => unread.insert(self.reader.pins()?),
        };
        for candidate in candidates.iter_mut().filter(|it| it.plan.dropped_for.is_some()) {
            if candidate.is_pinned_by(pins)? {
                candidate.keep(Keep::Pinned);
            }
        }
        keep_what_supersedes(self.reader.catalog(), candidates, pins)
    }

    /// Drops the oldest segments until the whole directory, which takes `before` bytes without the
    /// copies that go, takes no more than `cap`.
    fn apply_cap(&mut self, candidates: &mut [Candidate], before: u64, cap: u64) -> Result<()> {
        let mut planned = candidates.to_vec();
        if !self.drop_oldest(&mut planned, before, cap, &[])? {
            // What cannot go is over the cap alone: what came this minute is not dropped for that.
            let streams = candidates.chunk_by(|one, next| one.stream == next.stream);
            let newest = streams.filter_map(|it| it.iter().rfind(|it| it.overview.rows > 0));
            let spared: Vec<_> = newest.map(|it| it.segment.first_seq()).collect();
            planned = candidates.to_vec();
            self.drop_oldest(&mut planned, before, cap, &spared)?;
        }
        candidates.clone_from_slice(&planned);
        Ok(())
    }

    /// Drops the oldest of these segments, but for those that are spared, until of `before` bytes
    /// no more than `cap` are left. False when there are more in the end.
    fn drop_oldest(
        &mut self,
        candidates: &mut [Candidate],
        before: u64,
        cap: u64,
        spared: &[u64],
    ) -> Result<bool> {
        loop {
            let mut planned = candidates.to_vec();
            self.settle(&mut planned)?;
            let going = planned.iter().filter(|candidate| candidate.plan.dropped_for.is_some());
            let mut total =
                before.saturating_sub(going.map(|candidate| candidate.plan.bytes).sum());
            let may_go =
                |it: &&mut Candidate| it.may_go() && !spared.contains(&it.segment.first_seq());
            let mut oldest: Vec<_> = candidates.iter_mut().filter(may_go).collect();
            if total <= cap || oldest.is_empty() {
                candidates.clone_from_slice(&planned);
                return Ok(total <= cap);
            }
            oldest.sort_by_key(|candidate| (candidate.arrived, candidate.segment.first_seq()));
            for candidate in oldest {
                if total <= cap {
                    break;
                }
                total = total.saturating_sub(candidate.plan.bytes);
                candidate.drop_for(format!("the ledger takes more than {cap} bytes"));
            }
        }
    }
}

/// The bytes of disk that a directory and all in it take.
pub(in crate::ledger) fn allocated(catalog: &Catalog, dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in catalog.storage.list(dir)? {
        total += entry.allocated;
        if entry.is_dir {
            total += allocated(catalog, &dir.join(&entry.name))?;
        }
    }
    Ok(total)
}

/// A segment of nothing but what is carried forward would only be written anew.
fn keep_what_is_carried(candidates: &mut [Candidate]) -> Result<()> {
    for candidate in candidates.iter_mut().filter(|c| c.plan.dropped_for.is_some()) {
        let open = open_runs(&candidate.segment)?.len();
        let carried = open + candidate.results.len();
        // Else it holds more, and the runs may be others.
        let is_as_seen = candidate.segment.end() == candidate.overview.end;
        if carried > 0 && carried as u64 == candidate.plan.records && is_as_seen {
            let is_open = candidate.results.is_empty();
            candidate.keep(if is_open { Keep::OpenRuns } else { Keep::LastResults });
        }
    }
    Ok(())
}

/// Where the newest states of the open runs lie whose newest is in this segment.
pub(in crate::ledger) fn open_runs(segment: &Segment) -> Result<Vec<OpenState>> {
    if is_planted(Bug::DropOpenRuns) {
        return Ok(Vec::new());
    }
    let mut open = segment.open_runs()?;
    open.retain(|state| segment.superseded_by(state.seq).is_none());
    Ok(open)
}
