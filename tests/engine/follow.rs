//! Readers beside a live writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use runledger::{
    Body, Class, Cleanup, Compaction, Cursor, Durability, ErrorRecord, Event, Kind, Ledger, Limits,
    Options, Order, Reader, Run, Severity, Status, Timestamp,
};

use super::hooked::Hooked;
use super::{DIR, at_once, options, within_a_minute};
use torture::disk::{Fault, OpKind, SimDisk};

const EVENTS: usize = 12_000;

/// Appends events that are numbered, and states of a run that overtake each other.
fn write(dir: &std::path::Path) {
    let options = Options::new().segment_bytes(runledger::limits::MIN_SEGMENT_BYTES);
    let ledger = options.interval(Duration::from_millis(5)).open(dir).unwrap();
    for number in 0..EVENTS {
        let event = Event::new("t").message(format!("{number:0>200}"));
        let event = event.created_at(Timestamp::from_nanos(1));
        ledger.append_with(event, Durability::Os).unwrap();
        let attempt = u32::try_from(number + 1).unwrap();
        let run = Run::new("r", "t", Status::Running).unwrap().attempt(attempt);
        ledger.append_with(run, Durability::Interval).unwrap();
        if number % 1500 == 1499 {
            let cleanup = Cleanup::older_than(Duration::from_secs(3600)).kind(Kind::Event);
            ledger.cleanup(&cleanup, false).unwrap();
        }
    }
    ledger.close().unwrap();
}

/// The numbers of the events that a reader sees: they follow one another, whatever is appended,
/// sealed and dropped meanwhile. Gives the last.
fn read(reader: &Reader) -> Option<usize> {
    reader.refresh().unwrap();
    let events = reader.query().kind(Kind::Event).order(Order::Seq).limit(usize::MAX / 2);
    let page = events.fetch().unwrap();
    let mut last = None;
    for record in page.records() {
        let Body::Event(event) = record.unwrap().body else { panic!("an event") };
        let number: usize = event.message.unwrap().parse().unwrap();
        assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
        last = Some(number);
    }
    let runs = reader.query().kind(Kind::Run);
    assert!(runs.clone().fetch().unwrap().records().all(|run| run.is_ok()));
    last
}

/// Of segments that were dropped between the listing of the directory and their opening the last
/// were missing, and those that came since were, too: a reader saw the past.
#[test]
fn a_reader_sees_a_gap_free_range_and_never_an_error() {
    within_a_minute(|| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ledger");
        Options::new().open(&dir).unwrap().close().unwrap();
        let done = AtomicBool::new(false);
        at_once(4, |thread| {
            if thread == 0 {
                write(&dir);
                done.store(true, Ordering::SeqCst);
                return;
            }
            let mut reader = Reader::open(&dir).unwrap();
            let mut newest = None;
            while !done.load(Ordering::SeqCst) {
                let last = read(&reader);
                assert!(last.is_none() || last >= newest, "{last:?} after {newest:?}");
                newest = last.or(newest);
                if thread == 1 {
                    reader = Reader::open(&dir).unwrap();
                }
            }
            let last = read(&reader);
            assert!(last.is_none_or(|last| last == EVENTS - 1), "{last:?} at the end");
        });
    });
}

/// Records of one kind may go to several streams, and a record there may be seen before another
/// with a lower number here. Who goes on from the highest that was seen misses that one; who goes
/// no further than what is settled misses none.
#[test]
fn nothing_is_missed_up_to_what_is_settled() {
    const EACH: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let critical = Class::severity(Kind::Error, Severity::Critical).unwrap();
    let options = Options::new().class(critical, Limits::new().forever());
    let ledger = options.open(dir.path().join("ledger")).unwrap();
    let written = AtomicUsize::new(0);
    at_once(4, |thread| {
        if thread > 0 {
            for _ in 0..EACH {
                let severity = if thread == 1 { Severity::Critical } else { Severity::Error };
                ledger.append(ErrorRecord::new("E", "m").severity(severity)).unwrap();
            }
            written.fetch_add(EACH, Ordering::SeqCst);
            return;
        }
        let (mut place, mut seen) = (0, 0);
        while seen < 3 * EACH {
            let all_written = written.load(Ordering::SeqCst) == 3 * EACH;
            let settled = ledger.settled();
            let later = ledger.query().order(Order::Seq).after(Cursor::after_seq(place));
            let page = later.limit(usize::MAX).fetch().unwrap();
            seen += page.seqs().filter(|seq| *seq <= settled).count();
            assert!(!all_written || seen == 3 * EACH, "{seen} were seen");
            place = settled;
        }
    });
}

/// A ledger of runs that begin in one segment and end in others. `between` is called before they
/// end, and before those others are sealed.
fn over_two_segments<R>(disk: &SimDisk, between: impl FnOnce() -> R) -> (Ledger, R) {
    let run = |id: &'static str, status| Run::new(id, "t", status).unwrap();
    let failed = Class::status(Status::Failed);
    let ledger = options(disk).class(failed, Limits::new().forever()).open(DIR).unwrap();
    let seal = || {
        disk.advance(Duration::from_secs(48 * 3600));
        ledger.maintain().unwrap();
    };
    ledger.append(run("r", Status::Running)).unwrap();
    ledger.append(run("s", Status::Running)).unwrap();
    seal();
    ledger.append(run("t", Status::Running)).unwrap();
    ledger.append(run("t", Status::Failed)).unwrap();
    ledger.append(Event::new("e")).unwrap();
    let given = between();
    ledger.append(run("r", Status::Success)).unwrap();
    ledger.append(run("s", Status::Failed)).unwrap();
    ledger.append(Event::new("e")).unwrap();
    seal();
    (ledger, given)
}

/// The status of each run, as one query tells it.
fn statuses(reader: &Reader) -> Vec<(String, Status)> {
    let page = reader.query().kind(Kind::Run).fetch().unwrap();
    assert_eq!(reader.query().kind(Kind::Run).count().unwrap(), page.len() as u64);
    let state = |body: Body<'_>| match body {
        Body::Run(run) => (run.run_id.to_string(), run.status),
        _ => unreachable!(),
    };
    let mut states: Vec<_> = page.records().map(|run| state(run.unwrap().body)).collect();
    states.sort_by(|one, other| one.0.cmp(&other.0));
    states
}

fn states(of: [Status; 3]) -> Vec<(String, Status)> {
    ["r", "s", "t"].map(String::from).into_iter().zip(of).collect()
}

const BEFORE: [Status; 3] = [Status::Running, Status::Running, Status::Failed];
const AFTER: [Status; 3] = [Status::Success, Status::Failed, Status::Failed];

/// A refresh that met an error had taken over the footers of segments that were sealed since, and
/// no later one went through the states in them: runs were there twice, in an earlier state
/// besides, until the reader was opened anew.
#[test]
fn a_refresh_that_fails_leaves_all_as_it_was() {
    let mut failed = 0;
    for number in 0.. {
        // What a reader knows is no part of the disk: each begins where this one was.
        let disk = SimDisk::new(1);
        let (_ledger, reader) =
            over_two_segments(&disk, || Reader::with_storage(DIR, disk.storage()).unwrap());
        let first = disk.operations();
        disk.set_faults(move |op| (op.number == first + number).then_some(Fault::Io));
        let outcome = reader.refresh();
        let is_over = disk.operations() <= first + number;
        disk.clear_hooks();
        let label = format!("operation {number}: {outcome:?}");
        if outcome.is_err() {
            failed += 1;
            assert_eq!(statuses(&reader), states(BEFORE), "{label}");
        }
        reader.refresh().unwrap();
        assert_eq!(statuses(&reader), states(AFTER), "{label}");
        if is_over {
            break;
        }
    }
    assert!(failed > 10, "{failed}");
}

/// A query beside a refresh saw all of a segment that was sealed since, when the refresh had taken
/// over its footer and not yet marked what its states took the place of.
#[test]
fn a_query_beside_a_refresh_shows_each_run_once() {
    let disk = SimDisk::new(2);
    let storage = Hooked::new(disk.storage());
    let open = || Reader::with_storage(DIR, Arc::new(storage.clone())).unwrap();
    let (_ledger, reader) = over_two_segments(&disk, open);
    let asked = Arc::new(AtomicUsize::new(0));
    let (other, count) = (reader.clone(), Arc::clone(&asked));
    storage.set(move |operation, _| {
        if operation == "list" {
            assert_eq!(statuses(&other), states(BEFORE));
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    reader.refresh().unwrap();
    storage.set(|_, _| {});
    assert_eq!(statuses(&reader), states(AFTER));
    assert!(asked.load(Ordering::SeqCst) > 5);
}

/// A read that failed once, behind others that went well, left their frames in the index and not
/// noted as such: the next look took them for frames out of their order. `stats` told of damage
/// until a restart, and the segment could be neither compacted nor erased from.
#[test]
fn a_read_that_fails_once_is_no_damage() {
    let mut failures = [0; 2];
    for failing in 1..10 {
        let disk = SimDisk::new(failing);
        let fail_once = || {
            let mut reads = 0;
            disk.set_faults(move |op| {
                let is_its = op.kind == OpKind::Read && op.path.parent()?.ends_with("events");
                reads += u64::from(is_its);
                (is_its && reads == failing).then_some(Fault::Io)
            });
        };
        let ledger = options(&disk).open(DIR).unwrap();
        let append = |count| {
            for _ in 0..count {
                let event = Event::new("t").message("x".repeat(20_000));
                ledger.append_with(event, Durability::Os).unwrap();
            }
        };
        append(1);
        let beside = Reader::with_storage(DIR, disk.storage()).unwrap();
        append(49);
        for (reader, failures) in [&beside, ledger.reader()].into_iter().zip(&mut failures) {
            let count = || reader.refresh().and_then(|()| reader.query().count());
            fail_once();
            *failures += u64::from(count().is_err());
            assert_eq!(count().unwrap(), 50, "read {failing}");
            let losses = reader.stats().unwrap().losses;
            assert!(!losses.is_damaged(), "read {failing}: {losses:?}");
        }
    }
    assert!(failures.iter().all(|&failures| failures > 3), "{failures:?}");
}

/// What came after a segment was compacted is not marked in it any more. A query that was kept ends
/// before that; a refresh that had found nothing new made it forget to, and it showed runs twice.
#[test]
fn a_query_that_is_kept_over_several_refreshes_shows_each_run_once() {
    let disk = SimDisk::new(4);
    let ledger = options(&disk).open(DIR).unwrap();
    let run = |id: &'static str, status| Run::new(id, "t", status).unwrap();
    ledger.append(run("r", Status::Pending)).unwrap();
    disk.advance(Duration::from_secs(48 * 3600));
    ledger.maintain().unwrap();
    ledger.append(run("t", Status::Running)).unwrap();
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    let kept = reader.query();
    reader.refresh().unwrap();
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    ledger.append(run("r", Status::Running)).unwrap();
    reader.refresh().unwrap();
    assert_eq!(kept.count().unwrap(), 2);
    assert_eq!(reader.query().count().unwrap(), 2);
}
