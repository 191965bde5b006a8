//! The background thread, the close, and what is done without being asked.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use runledger::{Durability, Error, ErrorRecord, Event, Ledger, Options, Reader};

use super::hooked::Hooked;
use super::{DIR, options, within_a_minute};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

/// A ledger whose last handle was dropped while the background thread synced stayed open until that
/// was done: who opened it again at once was told that it had a writer.
#[test]
fn the_last_handle_closes_the_ledger() {
    within_a_minute(|| {
        let disk = SimDisk::new(1);
        let storage = Hooked::new(disk.storage());
        let open = || {
            let options = Options::new().storage(Arc::new(storage.clone()));
            options.interval(Duration::from_millis(1)).open(DIR)
        };
        let ledger = open().unwrap();
        let (syncing, is_syncing) = mpsc::channel();
        storage.set(move |operation, path| {
            if operation == "sync_dir" && path.ends_with("events") {
                let _ = syncing.send(());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        ledger.append_with(Event::new("t"), Durability::Interval).unwrap();
        is_syncing.recv().unwrap();
        drop(ledger);
        assert_eq!(open().unwrap().query().count().unwrap(), 1);
    });
}

/// With no space for a footer, the background thread tried again and again without a pause, and
/// never came to retention, which would have made space.
#[test]
fn a_full_disk_is_waited_for_and_cleaned_up() {
    within_a_minute(|| {
        let disk = SimDisk::new(2);
        let ledger = Options::new()
            .storage(disk.storage())
            .interval(Duration::from_millis(5))
            .segment_bytes(runledger::limits::MIN_SEGMENT_BYTES)
            .retention(runledger::Kind::Event, Some(Duration::from_secs(3600)));
        let ledger = ledger.open(DIR).unwrap();
        let event = || Event::new("t").message("x".repeat(40_000));
        ledger.append(event()).unwrap();
        // The frames of a segment begin behind its header; nothing but a footer is written at once
        // to a segment that is full.
        disk.set_faults(|op| {
            let is_first = op.path.ends_with("events/00000000000000000001.seg");
            (is_first && op.kind == OpKind::Write).then_some(Fault::NoSpace)
        });
        ledger.append(event()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let before = disk.operations();
        std::thread::sleep(Duration::from_millis(300));
        let operations = disk.operations() - before;
        assert!(operations < 50, "{operations} operations, with nothing to do");
        disk.advance(Duration::from_secs(2 * 3600));
        while ledger.query().record_type("t").count().unwrap() > 1 {
            ledger.append(Event::new("later")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// The file of sequence numbers could not be synced; the append failed, and the next one was taken
/// as if the sync had only to be tried again.
#[test]
fn a_failed_sync_of_the_sequence_stops_the_writer() {
    let disk = SimDisk::new(3);
    let ledger = options(&disk).open(DIR).unwrap();
    disk.set_faults(|op| {
        (op.kind == OpKind::Sync && op.path.ends_with("SEQ")).then_some(Fault::LostSync)
    });
    assert!(ledger.append(Event::new("t")).is_err());
    disk.clear_hooks();
    let second = ledger.append(Event::new("t")).unwrap_err();
    assert!(matches!(second, runledger::Error::Poisoned { .. }), "{second}");
}

/// After a clean close nothing can be torn, and what looks so is damage. A segment that was sealed
/// before anything was appended was not counted as a change: a power cut in the midst of its footer
/// left "damage".
#[test]
fn a_power_cut_while_sealing_is_no_damage() {
    let disk = SimDisk::new(4);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(Event::new("t")).unwrap();
    ledger.close().unwrap();
    let ledger = options(&disk).open(DIR).unwrap();
    disk.advance(Duration::from_secs(48 * 3600));
    let (found, cuts) = mpsc::channel();
    disk.set_probe(move |moment| {
        for (seed, files) in Keep::ALL.into_iter().enumerate() {
            let seed = seed as u64;
            let _ = found.send(moment.cut(Cut { files, names: KeepNames::All, seed }));
        }
    });
    ledger.maintain().unwrap();
    disk.clear_hooks();
    let mut images = 0;
    for image in cuts.try_iter() {
        images += 1;
        options(&image).open(DIR).unwrap().close().unwrap();
        let report = runledger::verify(DIR, image.storage()).unwrap();
        assert!(!report.is_damaged(), "{:?}", report.findings);
    }
    assert!(images > 10);
}

/// A reader that followed a writer kept the index of every segment in memory that was sealed under
/// its eyes, and read all of their footers anew at each look.
#[test]
fn a_follower_takes_over_footers() {
    let disk = SimDisk::new(5);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(Event::new("a")).unwrap();
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    ledger.append(Event::new("b")).unwrap();
    disk.advance(Duration::from_secs(48 * 3600));
    ledger.maintain().unwrap();
    reader.refresh().unwrap();
    let stats = reader.stats().unwrap();
    assert_eq!(stats.streams[1].sealed, 1);
    assert_eq!(reader.query().record_type("b").count().unwrap(), 1);
    let page = reader.query().fetch().unwrap();
    assert!(page.records().all(|record| record.is_ok()));
}

/// More records than one frame takes were refused as a whole, where each was to be taken on its own
/// merits.
#[test]
fn any_number_of_records_is_appended_each() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
    let event = runledger::Body::Event(Event::new("t"));
    let events = vec![event; runledger::limits::MAX_BATCH_RECORDS + 10];
    let outcomes = ledger.append_each(&events, Durability::Os).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), events.len());
}

/// Every sealed segment kept its file open: after some hundred segments, a year or two, the ledger
/// could not be opened for want of file descriptors.
#[cfg(target_os = "linux")]
#[test]
fn sealed_segments_hold_no_files_open() {
    let dir = tempfile::tempdir().unwrap();
    let open_files = || {
        let fds = std::path::Path::new("/proc/self/fd").read_dir().unwrap();
        let targets = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(dir.path())).count()
    };
    let options = || Options::new().background(false).segment_age(Duration::ZERO);
    let ledger = options().open(dir.path()).unwrap();
    for _ in 0..30 {
        ledger.append(Event::new("t")).unwrap();
    }
    assert!(open_files() < 10, "{} as they are written", open_files());
    let reader = Reader::open(dir.path()).unwrap();
    assert!(open_files() < 15, "{} with a reader", open_files());
    drop(reader);
    ledger.close().unwrap();
    drop(ledger);
    let ledger = options().open(dir.path()).unwrap();
    assert!(open_files() < 10, "{} after an opening", open_files());
    assert_eq!(ledger.query().fetch().unwrap().records().filter(|r| r.is_ok()).count(), 30);
}

/// The thread sealed until no segment was full, and synced only then: a bulk load that filled them
/// as fast kept an error from the disk for as long as it went on, which was to be there after 200
/// milliseconds.
#[test]
fn an_interval_ends_while_segments_fill_as_fast_as_they_are_sealed() {
    within_a_minute(|| {
        let disk = SimDisk::new(10);
        let storage = Hooked::new(disk.storage());
        let options = Options::new().storage(Arc::new(storage.clone())).segment_bytes(1 << 16);
        let ledger = options.interval(Duration::from_millis(1)).open(DIR).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let may_go_on = parking_lot::Mutex::new(may_go_on);
        storage.set(move |operation, path| {
            if is_upkeep() && operation == "sync" && !path.ends_with("SEQ") {
                let _ = begun.send(path.to_owned());
                let _ = may_go_on.lock().recv();
            }
        });
        let fill = || {
            let event = Event::new("t").message("x".repeat(40_000));
            ledger.append_with(event, Durability::Os).unwrap();
        };
        (0..3).for_each(|_| fill());
        let mut segments = BTreeSet::from([has_begun.recv().unwrap()]);
        ledger.append_with(ErrorRecord::new("t", "m"), Durability::Interval).unwrap();
        let is_synced = (0..100).any(|_| {
            go_on.send(()).unwrap();
            let path = has_begun.recv().unwrap();
            let is_error = path.parent().unwrap().ends_with("errors");
            // There is always one more to be sealed.
            if segments.insert(path) {
                fill();
            }
            is_error
        });
        assert!(is_synced, "{} segments were sealed before the error was synced", segments.len());
        drop(go_on);
    });
}

/// The sync of a full segment failed in an append, which stopped the writer; the thread then synced
/// the segment once more, which succeeded, and sealed it: its footer vouched for frames that the
/// disk never got.
#[test]
fn nothing_is_sealed_after_a_failed_sync() {
    within_a_minute(|| {
        let disk = SimDisk::new(6);
        let storage = Hooked::new(disk.storage());
        let ledger = Options::new().storage(Arc::new(storage.clone()));
        let ledger = ledger.segment_bytes(runledger::limits::MIN_SEGMENT_BYTES).open(DIR).unwrap();
        let failed = Arc::new(AtomicBool::new(false));
        let has_failed = Arc::clone(&failed);
        // The thread looks at the clock before it seals; it is held there until the append failed.
        storage.set(move |operation, _| {
            let is_thread = std::thread::current().name() == Some("runledger");
            while operation == "monotonic" && is_thread && !has_failed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let event = || Event::new("t").message("x".repeat(40_000));
        ledger.append_with(event(), Durability::Os).unwrap();
        let path = disk.files().into_iter().find(|path| path.to_string_lossy().contains("events"));
        let (path, mut is_first) = (path.unwrap(), true);
        let full = path.clone();
        disk.set_faults(move |op| {
            let is_its_sync = op.kind == OpKind::Sync && op.path == full;
            (is_its_sync && std::mem::take(&mut is_first)).then_some(Fault::LostSync)
        });
        ledger.append_with(event(), Durability::Sync).unwrap_err();
        failed.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        let trailer = disk.peek(&path).windows(7).any(|window| window == b"RUNLEND");
        assert!(!trailer, "sealed after the writer was stopped");
    });
}

/// Has an operation of a storage panic; what comes is true once it has.
fn panics_once(
    storage: &Hooked,
    is_it: impl Fn(&str, &Path) -> bool + Send + Sync + 'static,
) -> Arc<AtomicBool> {
    let has_panicked = Arc::new(AtomicBool::new(false));
    let panicked = Arc::clone(&has_panicked);
    storage.set(move |operation, path| {
        assert!(!is_it(operation, path) || panicked.swap(true, Ordering::SeqCst), "as planned");
    });
    has_panicked
}

fn is_upkeep() -> bool {
    std::thread::current().name() == Some("runledger")
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn assert_poisoned<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    let is_told = |cause: &str| cause.contains("panic");
    assert!(
        matches!(&outcome, Err(Error::Poisoned { cause, .. }) if is_told(cause)),
        "{outcome:?}"
    );
}

/// A panic in the background thread, of a storage of the caller's, ended it without a word: what
/// was appended at intervals was acknowledged and never synced, nothing expired any more, and the
/// close was a clean one.
#[test]
fn a_panic_in_the_background_stops_the_writer() {
    within_a_minute(|| {
        let disk = SimDisk::new(7);
        let storage = Hooked::new(disk.storage());
        let options = Options::new().storage(Arc::new(storage.clone()));
        let ledger = options.interval(Duration::from_millis(1)).open(DIR).unwrap();
        let panicked =
            panics_once(&storage, |operation, _| is_upkeep() && operation == "monotonic");
        let append = || ledger.append_with(Event::new("t"), Durability::Interval);
        let mut taken = u64::from(append().is_ok());
        wait_for(&panicked);
        // The thread has a few more lines to go from there to its end.
        let refused = (0..10_000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            taken += 1;
            append().err()
        });
        assert_poisoned(refused.map_or(Ok(()), Err));
        assert_poisoned(ledger.close());
        drop(ledger);
        let ledger = super::options(&disk).open(DIR).unwrap();
        assert_eq!(ledger.query().count().unwrap(), taken - 1);
    });
}

/// The panic came when the close had looked for the last time whether the writer was stopped.
#[test]
fn a_panic_in_the_background_during_the_close_is_told_of() {
    within_a_minute(|| {
        let disk = SimDisk::new(8);
        let storage = Hooked::new(disk.storage());
        let ledger = Options::new().storage(Arc::new(storage.clone())).open(DIR).unwrap();
        let (closes, (begun, has_begun)) = (AtomicBool::new(false), mpsc::channel());
        storage.set(move |operation, path| {
            if is_upkeep() && operation == "monotonic" {
                let _ = begun.send(());
                wait_for(&closes);
                panic!("as planned");
            }
            let is_segment = path.extension() == Some(Path::new("seg").as_os_str());
            if !is_upkeep() && operation == "sync" && is_segment {
                closes.store(true, Ordering::SeqCst);
            }
        });
        ledger.append_with(Event::new("t"), Durability::Interval).unwrap();
        has_begun.recv().unwrap();
        assert_poisoned(ledger.close());
    });
}

/// A panic while a segment was sealed, in whichever thread, took the segment off the list of those
/// that are full. It was not trimmed at the close, which was clean, and the half of a footer behind
/// its frames was damage from then on.
#[test]
fn a_panic_while_a_segment_is_sealed_is_no_damage() {
    for background in [true, false] {
        within_a_minute(move || {
            let disk = SimDisk::new(9);
            let storage = Hooked::new(disk.storage());
            let options = Options::new().storage(Arc::new(storage.clone())).background(background);
            let ledger = options.segment_bytes(1 << 16).open(DIR).unwrap();
            let event = || Event::new("t").message("x".repeat(40_000));
            ledger.append_with(event(), Durability::Os).unwrap();
            // First its footer is written, then its trailer.
            let has_footer = AtomicBool::new(false);
            let panicked = panics_once(&storage, move |operation, path| {
                let is_first = path.ends_with("events/00000000000000000001.seg");
                operation == "write" && is_first && has_footer.swap(true, Ordering::SeqCst)
            });
            let appended = AssertUnwindSafe(|| ledger.append_with(event(), Durability::Os));
            let appended = catch_unwind(appended);
            assert_eq!(appended.is_ok(), background);
            wait_for(&panicked);
            assert_poisoned(ledger.close());
            drop(ledger);
            let ledger = super::options(&disk).open(DIR).unwrap();
            assert_eq!(ledger.query().count().unwrap(), 1 + u64::from(background));
            ledger.close().unwrap();
            let report = runledger::verify(DIR, disk.storage()).unwrap();
            assert!(!report.is_damaged(), "{:?}", report.findings);
        });
    }
}

/// What is done once a minute waited for the end of a longer interval as soon as something was to
/// be synced at it: retention, and runs whose lease had ended. With a short one it came up to a
/// minute late, as the wait for it began anew with each append.
#[test]
fn what_is_done_each_minute_waits_for_no_append() {
    for interval in [Duration::from_secs(3600), Duration::from_millis(1)] {
        within_a_minute(move || {
            let disk = SimDisk::new(21);
            let storage = Hooked::new(disk.storage());
            let (looked, looks) = mpsc::channel();
            storage.set(move |operation, _| {
                let is_its = std::thread::current().name() == Some("runledger");
                if is_its && operation == "monotonic" {
                    let _ = looked.send(());
                }
            });
            let ledger = Options::new()
                .storage(Arc::new(storage))
                .interval(interval)
                .retention(runledger::Kind::Error, Some(Duration::from_secs(10)))
                .open(DIR)
                .unwrap();
            // It wakes the thread, for the index lags: the first look at the clock is done then.
            let error = ErrorRecord::new("t", "x".repeat(2 << 20));
            ledger.append_with(error, Durability::Os).unwrap();
            (0..3).for_each(|_| looks.recv().unwrap());
            disk.advance(Duration::from_secs(59));
            ledger.append_with(Event::new("t"), Durability::Interval).unwrap();
            while ledger.query().kind(runledger::Kind::Error).count().unwrap() > 0 {
                disk.advance(Duration::from_millis(10));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
}
