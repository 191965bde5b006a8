//! What the engine itself puts on record: what was cut, covered or dropped.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ledger::classes::Class;
use crate::ledger::ends::MissingEnd;
use crate::ledger::handle::Inner;
use crate::ledger::passed_over::PassedOver;
use crate::ledger::policy::{Limits, Retention, Term};
use crate::ledger::repair::RepairAction;
use crate::ledger::reserve::Refused;
use crate::model::{ActorType, Body, Event, Id, Json, Severity, Timestamp};
use crate::segment::{Loss, LossKind, Segment};
use crate::sync::atomic::Ordering;

/// The type of the note on a segment that was dropped.
pub(super) const SEGMENT_DROPPED: &str = "segment.dropped";
/// The type of the note on a segment that a repair replaced.
pub(super) const SEGMENT_REPAIRED: &str = "segment.repaired";
/// The type of the note on segments that compaction or an erasure wrote anew.
pub(super) const SEGMENT_COMPACTED: &str = "segment.compacted";
/// The type of the note on records that were erased.
pub(super) const RECORDS_ERASED: &str = "records.erased";
/// The type of the note on a segment that is not there, and of which no note tells why.
pub(super) const SEGMENT_MISSING: &str = "segment.missing";
/// The type of the note on a segment whose link could not be read when the next one was sealed.
pub(super) const SEGMENT_PASSED_OVER: &str = "segment.passed_over";
/// The type of the note on copies that were removed.
pub(super) const COPIES_DROPPED: &str = "copies.dropped";
/// The type of the note on a run that was too damaged to be carried forward.
pub(super) const RUN_LOST: &str = "run.lost";
/// The type of the note on records that had expired in segments that stay.
pub(super) const RECORDS_EXPIRED: &str = "records.expired";
/// The type of the note on a tail that was cut.
pub(super) const TAIL_CUT: &str = "recovery.tail_cut";
/// The type of the note on an end of a stream that is gone.
pub(super) const END_MISSING: &str = "recovery.end_missing";
/// The type of the note on a clock that has jumped.
pub(super) const CLOCK_JUMPED: &str = "clock.jumped";
/// The type of the note on appends that were refused.
pub(super) const APPENDS_REFUSED: &str = "appends.refused";
/// The type of the note on appends that found no space.
pub(super) const DISK_FULL: &str = "disk.full";
/// The type of the note on a policy of retention that holds from now on.
pub(super) const POLICY_CHANGED: &str = "retention.changed";
/// The type of the note on a file `runledger.toml` that cannot be taken.
pub(super) const POLICY_REFUSED: &str = "retention.refused";
/// The type of the note on a hole that was covered.
pub(super) const HOLE_COVERED: &str = "recovery.hole_covered";

/// The type of the note on what runs are expected.
pub(super) const RUN_EXPECTED: &str = "run.expected";
/// The type of the note on a run that was expected and never came.
pub(super) const RUN_MISSED: &str = "run.missed";

/// The type of the note on another ledger that was merged.
pub(super) const LEDGER_MERGED: &str = "ledger.merged";

/// A note on a segment. Its trace names the segment, as in `runs/00000000000000000001.seg`, so that
/// all notes on it can be asked for.
pub(super) fn note(
    kind: &'static str,
    segment: &Segment,
    detail: &impl Serialize,
) -> Event<'static> {
    note_on(kind, segment_name(segment), detail)
}

/// As [`note`], by the path of the segment in its ledger.
fn note_on(kind: &'static str, name: String, detail: &impl Serialize) -> Event<'static> {
    let mut event = system(kind, detail);
    event.trace_id = Id::new(name).ok();
    event
}

/// A note: an event of the system.
pub(super) fn system(kind: &'static str, detail: &impl Serialize) -> Event<'static> {
    let mut event = Event::new(kind).severity(Severity::Info);
    event.payload = Json::from_value(detail).ok();
    event.actor_type = Some(ActorType::System);
    event
}

#[derive(Serialize)]
struct ClassDetail {
    class: &'static str,
    /// Seconds; none for ever.
    age: Option<u64>,
    max_bytes: Option<u64>,
    max_records: Option<u64>,
}

#[derive(Serialize)]
struct PolicyDetail {
    max_bytes: Option<u64>,
    classes: Vec<ClassDetail>,
}

/// The note on how long records are kept from now on.
pub(super) fn policy_changed(retention: &Retention) -> Event<'static> {
    let class = |class: Class| {
        let Limits { term, max_bytes, max_records } = retention.limits(class);
        let age = term.and_then(Term::duration).map(|age| age.as_secs());
        ClassDetail { class: class.name(), age, max_bytes, max_records }
    };
    let classes = retention.classes().map(class).collect();
    let detail = PolicyDetail { max_bytes: retention.cap(), classes };
    system(POLICY_CHANGED, &detail).message("records are kept by another policy from now on")
}

#[derive(Serialize)]
struct RefusedPolicy<'a> {
    reason: &'a str,
}

/// The note on a policy that cannot be taken.
pub(super) fn policy_refused(reason: &str) -> Event<'static> {
    system(POLICY_REFUSED, &RefusedPolicy { reason })
        .severity(Severity::Error)
        .message(format!("the policy of retention cannot be taken: {reason}"))
}

/// The note on a wall clock that jumped by so many nanoseconds.
pub(super) fn clock_jumped(nanos: i64) -> Event<'static> {
    let seconds = nanos / 1_000_000_000;
    let way = if nanos < 0 { "back" } else { "ahead" };
    system(CLOCK_JUMPED, &ClockDetail { seconds }).severity(Severity::Warning).message(format!(
        "the clock was set {way} by {} s; the order of records is not affected",
        seconds.unsigned_abs()
    ))
}

#[derive(Serialize)]
struct ClockDetail {
    seconds: i64,
}

/// The path of a segment in its ledger.
pub(super) fn segment_name(segment: &Segment) -> String {
    file_in_ledger(segment.path())
}

/// The path in its ledger of a file among the segments.
pub(super) fn file_in_ledger(path: &Path) -> String {
    let stream = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{stream}/{file}")
}

#[derive(Serialize)]
struct LossDetail<'a> {
    start: u64,
    end: u64,
    records: Option<u32>,
    damage: String,
    copy: Option<&'a Path>,
}

/// The note on bytes that a crash took.
pub(super) fn lost(segment: &Segment, loss: &Loss) -> Event<'static> {
    let (kind, what) = match loss.kind {
        LossKind::TornTail => (TAIL_CUT, "cut at the end of"),
        LossKind::Hole => (HOLE_COVERED, "never synced, and covered, in"),
    };
    let range = loss.range;
    let detail = LossDetail {
        start: range.start,
        end: range.end,
        records: range.records,
        damage: range.damage.to_string(),
        copy: loss.copy.as_deref(),
    };
    note(kind, segment, &detail).severity(Severity::Warning).message(format!(
        "{} bytes {what} {}",
        range.end - range.start,
        segment_name(segment)
    ))
}

/// The note on an end of a stream that was on stable storage, and is gone.
pub(super) fn end_missing(missing: &MissingEnd) -> Event<'static> {
    let MissingEnd { start, end, .. } = *missing;
    let range = missing.range();
    let damage = range.damage.to_string();
    let detail = LossDetail { start, end, records: None, damage, copy: None };
    let what = match missing.is_gone {
        true => "is missing".to_owned(),
        false => format!("ends at offset {start}, and ended at {end}"),
    };
    let name = file_in_ledger(&missing.path);
    let message = format!("{name} {what}");
    note_on(END_MISSING, name, &detail).severity(Severity::Error).message(message)
}

/// How many appends were refused, as the note on them holds it.
#[derive(Default, Serialize, Deserialize)]
struct RefusedDetail {
    count: u64,
}

/// How many refused appends a note tells of.
pub(super) fn refused(note: &Body<'_>) -> u64 {
    let Body::Event(Event { payload: Some(payload), .. }) = note else { return 0 };
    payload.to_value::<RefusedDetail>().unwrap_or_default().count
}

#[derive(Serialize)]
struct FullDetail {
    count: u64,
    from: String,
    to: String,
}

/// The note on appends that a full disk has refused.
pub(super) fn disk_full(refused: &Refused) -> Event<'static> {
    let time = |nanos| Timestamp::from_nanos(nanos).to_string();
    let (count, from, to) = (refused.count, time(refused.first), time(refused.last));
    let message = format!("the disk was full: {count} appends were refused from {from} to {to}");
    system(DISK_FULL, &FullDetail { count, from, to }).severity(Severity::Error).message(message)
}

#[derive(Serialize)]
struct AsideDetail<'a> {
    bytes: u64,
    copy: &'a Path,
}

/// The note on a file without a whole header that was given another name.
pub(super) fn set_aside(path: &Path, aside: &Path, bytes: u64) -> Event<'static> {
    let name = file_in_ledger(path);
    let message = format!("{name}, of {bytes} bytes, has no whole header and was set aside");
    note_on(TAIL_CUT, name, &AsideDetail { bytes, copy: aside })
        .severity(Severity::Warning)
        .message(message)
}

/// The note on a file that an earlier recovery put aside without a word, as a crash came between.
pub(super) fn put_aside(place: &str, path: &Path, bytes: u64) -> Event<'static> {
    system(TAIL_CUT, &AsideDetail { bytes, copy: path })
        .severity(Severity::Warning)
        .message(format!("{bytes} bytes lie in {place}, from a recovery that a crash cut short"))
}

#[derive(Serialize)]
struct CopiesDetail {
    files: u64,
    bytes: u64,
}

/// The note on copies of damaged or torn bytes that were removed to keep to the cap on the disk.
pub(super) fn copies_dropped(files: u64, bytes: u64) -> Event<'static> {
    system(COPIES_DROPPED, &CopiesDetail { files, bytes })
        .message(format!("{files} copies of what was cut, of {bytes} bytes, were removed"))
}

#[derive(Serialize)]
struct LostRun {
    seq: u64,
    damage: String,
}

/// The note on a state of a run that could not be carried forward; `what` it is.
pub(super) fn lost_run(segment: &Segment, seq: u64, what: &str, damage: &Error) -> Event<'static> {
    let detail = LostRun { seq, damage: damage.to_string() };
    note(RUN_LOST, segment, &detail).severity(Severity::Warning).message(format!(
        "record {seq}, {what}, cannot be read and goes with {}",
        segment_name(segment)
    ))
}

/// The link of a segment in its stream's hash chain, as notes hold it.
#[derive(Serialize)]
struct Links {
    /// The link of the segment that is gone.
    hash: Option<String>,
    /// The link of the one in its place.
    new_hash: Option<String>,
}

/// The note on a segment that a repair replaced, with the links of the old and the new file.
pub(super) fn repaired(
    segment: &Segment,
    old: Option<[u8; 32]>,
    new: Option<[u8; 32]>,
    action: &RepairAction,
) -> Event<'static> {
    let links = Links { hash: old.map(hex), new_hash: new.map(hex) };
    let what = match action {
        RepairAction::Salvaged { lost_records, lost_bytes, records, .. } => {
            let lost = lost_records.map_or("an unknown number of".to_owned(), |it| it.to_string());
            format!("salvaged: {records} records saved, {lost} lost in {lost_bytes} bytes")
        }
        _ => "given a new index: no record was lost".to_owned(),
    };
    let (severity, name) = (Severity::Warning, segment_name(segment));
    note(SEGMENT_REPAIRED, segment, &links).severity(severity).message(format!("{name} was {what}"))
}

/// The note on a segment before this one that is not there, with its link.
pub(super) fn segment_missing(after: &Segment, link: String) -> Event<'static> {
    let links = Links { hash: Some(link), new_hash: None };
    note(SEGMENT_MISSING, after, &links)
        .severity(Severity::Warning)
        .message(format!("the segment before {} is not there", segment_name(after)))
}

/// The note on a segment whose link cannot be read, when the next one is sealed: the link that that
/// one names, which is the link before the segment.
pub(super) fn passed_over(passed: &PassedOver) -> Event<'static> {
    let links = Links { hash: Some(hex(passed.link)), new_hash: None };
    let event = note_on(SEGMENT_PASSED_OVER, passed.name.clone(), &links);
    event.severity(Severity::Warning).message(format!(
        "the link of {} cannot be read: the chain of hashes goes on from the segment before it",
        passed.name
    ))
}

/// The note on a segment file that a repair set aside. Nothing in it can be read, so the link that
/// goes with it is told by the segment that follows.
pub(super) fn unreadable(path: &Path, link: Option<[u8; 32]>) -> Event<'static> {
    let links = Links { hash: link.map(hex), new_hash: None };
    note_on(SEGMENT_REPAIRED, file_in_ledger(path), &links)
        .severity(Severity::Warning)
        .message(format!("{} was set aside: its header is damaged", path.display()))
}

/// A hash as text.
pub(super) fn hex(hash: [u8; 32]) -> String {
    blake3::Hash::from(hash).to_hex().to_string()
}

impl Inner {
    /// Puts on record how many appends were refused since the last such note.
    pub(super) fn note_refused(&self) -> Result<()> {
        match self.refused.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            count => self.note(
                &system(APPENDS_REFUSED, &RefusedDetail { count })
                    .severity(Severity::Warning)
                    .message(format!("{count} appends were refused")),
            ),
        }
    }
}
