//! Queries and appends at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use runledger::limits::MIN_SEGMENT_BYTES;
use runledger::{Body, Durability, Event, Json, Kind, Ledger, Options, Order, Run, Status};

use super::{DIR, at_once, options, within_a_minute};
use torture::disk::SimDisk;

/// A query for text held the lock of the segment's index and took it once more for each record that
/// it read; with an appender waiting in between, both waited for ever.
#[test]
fn a_search_for_text_does_not_lock_out_appends() {
    within_a_minute(|| {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        let appending = AtomicUsize::new(2);
        at_once(4, |thread| {
            if thread % 2 == 0 {
                for n in 0..10_000 {
                    let event = Event::new("t").message(format!("{thread} {n}"));
                    ledger.append_with(event, Durability::Os).unwrap();
                }
                appending.fetch_sub(1, Ordering::SeqCst);
            }
            while thread % 2 == 1 && appending.load(Ordering::SeqCst) > 0 {
                ledger.query().text("7 7").limit(3).fetch().unwrap();
                ledger.query().count_by(runledger::Field::Type).unwrap();
            }
        });
        assert_eq!(ledger.query().count().unwrap(), 20_000);
    });
}

/// A query held the file as it was when it began, and then found rows in the index whose bytes came
/// later: "the file ends too early", for a ledger in which nothing was wrong. The look-up of a
/// run's newest state failed appends in the same way.
#[test]
fn what_is_appended_during_a_query_breaks_neither() {
    within_a_minute(|| {
        let disk = SimDisk::new(1);
        let ledger = options(&disk).open(DIR).unwrap();
        let event = |text: &str| Event::new("t").message(text.to_owned());
        let old = vec![Body::Event(event("hay")); 3000];
        ledger.append_batch(&old, Durability::Os).unwrap();
        disk.advance(std::time::Duration::from_secs(48 * 3600));
        ledger.maintain().unwrap();
        let asking = AtomicUsize::new(2);
        at_once(4, |thread| {
            for _ in 0..30 {
                if thread < 2 {
                    // The old segment is searched first, and takes a while.
                    let query = ledger.query().order(Order::Oldest).limit(usize::MAX);
                    let page = query.text("needle").fetch().unwrap();
                    assert!(page.records().all(|record| record.is_ok()));
                    let seq = page.seqs().max().unwrap_or(0) + 1;
                    ledger.reader().get(seq).map(|stored| drop(stored.record().unwrap())).ok();
                }
            }
            asking.fetch_sub(usize::from(thread < 2), Ordering::SeqCst);
            while thread >= 2 && asking.load(Ordering::SeqCst) > 0 {
                ledger.append(event("a needle")).unwrap();
                let run = Run::new("r", "t", Status::Running).unwrap();
                ledger.append(run).unwrap();
            }
        });
    });
}

/// A query looked at a run's state after a later one had taken its place, and did not see the later
/// one, which came after the query had begun: a run that was there all the time was in no answer,
/// and `Reader::run` said that there was none. Or it saw both.
#[test]
fn a_run_is_in_every_answer_once_while_it_is_updated() {
    within_a_minute(|| {
        for segment_bytes in [MIN_SEGMENT_BYTES, 64 << 20] {
            let dir = tempfile::tempdir().unwrap();
            let options = Options::new().segment_bytes(segment_bytes);
            let ledger = options.open(dir.path().join("ledger")).unwrap();
            let update = |n: usize| {
                let text = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(200));
                let run = Run::new("r", "backup", Status::Running).unwrap();
                let run = run.metadata(Json::parse(text).unwrap());
                ledger.append_with(run, Durability::Os).unwrap();
            };
            update(0);
            let updating = AtomicUsize::new(1);
            at_once(3, |thread| {
                if thread == 0 {
                    (1..3000).for_each(update);
                    updating.fetch_sub(1, Ordering::SeqCst);
                }
                while updating.load(Ordering::SeqCst) > 0 {
                    let runs = ledger.query().kind(Kind::Run);
                    for order in [Order::Newest, Order::Oldest] {
                        assert_eq!(runs.clone().order(order).fetch().unwrap().len(), 1);
                    }
                    assert_eq!(runs.clone().run("r").status(Status::Running).count().unwrap(), 1);
                    assert_eq!(runs.count_by(runledger::Field::Status).unwrap()[0].1, 1);
                    ledger.reader().run("r").unwrap();
                }
            });
        }
    });
}

/// The order in which segments were searched was found by comparing what they held at that moment,
/// while appends changed it: the sort saw that its order was none, and panicked.
#[test]
fn queries_over_many_segments_beside_appends_do_not_panic() {
    within_a_minute(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().segment_bytes(MIN_SEGMENT_BYTES);
        let ledger = options.open(dir.path().join("ledger")).unwrap();
        let appending = AtomicUsize::new(1);
        at_once(3, |thread| {
            if thread == 0 {
                for n in 0..15_000 {
                    let event = Event::new("t").message(format!("{n} {}", "x".repeat(100)));
                    ledger.append_with(event, Durability::Os).unwrap();
                }
                appending.fetch_sub(1, Ordering::SeqCst);
            }
            while appending.load(Ordering::SeqCst) > 0 {
                for order in [Order::Newest, Order::Oldest, Order::SeqDescending] {
                    ledger.query().order(order).limit(5).fetch().unwrap();
                }
            }
        });
    });
}
