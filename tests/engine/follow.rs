//! Readers beside a live writer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use runledger::{
    Body, Class, Cleanup, Cursor, Durability, ErrorRecord, Event, Kind, Limits, Options, Order,
    Reader, Run, Severity, Status, Timestamp,
};

use super::{at_once, within_a_minute};

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
            let page = later.limit(usize::MAX - 1).fetch().unwrap();
            seen += page.seqs().filter(|seq| *seq <= settled).count();
            assert!(!all_written || seen == 3 * EACH, "{seen} were seen");
            place = settled;
        }
    });
}
