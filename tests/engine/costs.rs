//! What an append must not cost: a wait for what others wait for, a call of the operating system
//! for each record, an allocation. And what who goes through a packed segment must not: its memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use parking_lot::Mutex;
use runledger::limits::MIN_SEGMENT_BYTES;
use runledger::storage::Disk;
use runledger::{
    Body, Compaction, Durability, Erasure, ErrorRecord, Event, Field, Id, Ledger, Options, Run,
    Status,
};
use tempfile::TempDir;

use super::hooked::Hooked;
use super::within_a_minute;

/// A ledger on the real disk, whose operations a test can watch or hold up.
fn watched(options: Options) -> (Ledger, Hooked, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Hooked::new(Arc::new(Disk));
    let ledger = options.storage(Arc::new(storage.clone())).open(dir.path().join("ledger"));
    (ledger.unwrap(), storage, dir)
}

fn event() -> Event<'static> {
    Event::new("table.dumped").message("bookings: 12,004 rows").run_id(Id::new("r-1").unwrap())
}

/// Records of all kinds, with a run's state that follows another of the batch.
fn mixed(runs: Range<usize>) -> Vec<Body<'static>> {
    let of_run = |number: usize| {
        let run = |status| Run::new(format!("r-{number}"), "backup", status).unwrap();
        [
            Body::Run(run(Status::Running)),
            Body::Event(event()),
            Body::Error(ErrorRecord::new("Timeout", format!("no answer after {number} s"))),
            Body::Run(run(Status::Failed)),
        ]
    };
    runs.flat_map(of_run).collect()
}

/// Blocks whoever syncs a file of this stream until the receiver is dropped, and says so.
fn hold_up_syncs(storage: &Hooked, stream: &'static str) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    storage.set(move |operation, path| {
        if operation == "sync" && path.parent().is_some_and(|dir| dir.ends_with(stream)) {
            let _ = begun.send(());
            // Ends when the test lets go of its side.
            let _ = released.lock().recv();
        }
    });
    (has_begun, release)
}

#[test]
fn no_append_waits_for_a_sync_that_it_did_not_ask_for() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = watched(Options::new());
        let (syncing, release) = hold_up_syncs(&storage, "events");
        let durable = {
            let ledger = ledger.clone();
            thread::spawn(move || ledger.append_with(event(), Durability::Sync))
        };
        syncing.recv().unwrap();
        for run in 0..100 {
            ledger.append_with(event(), Durability::Os).unwrap();
            ledger.append_batch(&mixed(run..run + 1), Durability::Os).unwrap();
        }
        assert!(!durable.is_finished(), "the sync was not held up");
        drop(release);
        durable.join().unwrap().unwrap();
    });
}

#[test]
fn no_append_waits_for_a_segment_to_be_sealed() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = watched(Options::new().segment_bytes(MIN_SEGMENT_BYTES));
        // The first thing that sealing does is to sync the frames.
        let (sealing, release) = hold_up_syncs(&storage, "events");
        let large = || event().message("x".repeat(MIN_SEGMENT_BYTES as usize / 4));
        let segments = || ledger.reader().stats().unwrap().streams[1].segments;
        while segments() < 4 {
            ledger.append_with(large(), Durability::Os).unwrap();
        }
        sealing.recv().unwrap();
        assert_eq!(ledger.reader().stats().unwrap().streams[1].sealed, 0);
        drop(release);
    });
}

#[test]
fn a_batch_is_one_write_for_each_stream() {
    let (ledger, storage, _dir) = watched(Options::new());
    ledger.append_batch(&mixed(0..1), Durability::Os).unwrap();
    let calls: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let counted = Arc::clone(&calls);
    storage.set(move |operation, path| {
        let stream = path.parent().and_then(|dir| dir.file_name()).unwrap_or_default();
        let call = format!("{operation} {}", stream.to_string_lossy());
        *counted.lock().entry(call).or_default() += 1;
    });
    ledger.append_batch(&mixed(1..250), Durability::Os).unwrap();
    let calls = calls.lock().clone();
    for stream in ["runs", "events", "errors"] {
        assert_eq!(calls.get(&format!("write {stream}")), Some(&1), "{calls:?}");
    }
}

#[test]
fn an_append_allocates_nothing() {
    let (ledger, _storage, _dir) = watched(Options::new().background(false));
    let append = |count: usize| {
        for _ in 0..count {
            ledger.append_with(event(), Durability::Os).unwrap();
        }
    };
    append(100);
    let events: Vec<_> = (0..1000).map(|_| event()).collect();
    let allocations = allocation_counter::measure(|| {
        for event in &events {
            ledger.append_with(event.borrowed(), Durability::Os).unwrap();
        }
    });
    // The file is preallocated now and then, and its name goes along.
    assert!(allocations.count_total < 10, "{allocations:?}");
}

fn with_large_segments() -> (Ledger, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Options::new().background(false).segment_bytes(48 << 20).open(dir.path()).unwrap();
    (ledger, dir)
}

/// Appends 52 MB of events and has a segment of them packed.
fn append_and_pack(ledger: &Ledger) {
    let event = Event::new("t").message("hay ".repeat(25_000)).user_id(Id::new("u").unwrap());
    for _ in 0..520 {
        ledger.append_with(event.borrowed(), Durability::Os).unwrap();
    }
    let report = ledger.compact(&Compaction::new()).unwrap();
    assert_eq!(report.rewrites.len(), 1, "{report:?}");
}

/// A merge held 4,096 records at a time of a packed segment, however long they are, and as many of
/// its own ledger where it looks for what is there already.
#[test]
fn a_merge_of_packed_segments_holds_little_of_them() {
    let ((edge, _edge_dir), (central, _dir)) = (with_large_segments(), with_large_segments());
    let merge = || drop(central.merge_from(edge.reader()).unwrap());
    // From here on there is something to look for.
    merge();
    append_and_pack(&central);
    let held = allocation_counter::measure(merge).bytes_max;
    assert!(held < 24 << 20, "its own: {held} bytes");
    append_and_pack(&edge);
    let held = allocation_counter::measure(merge).bytes_max;
    assert!(held < 48 << 20, "the other's: {held} bytes");
    assert_eq!(central.query().count().unwrap(), 1040);
}

/// A count of the records with a text held all of a packed segment unpacked, which may be of 1 GiB,
/// and so did what a compaction and an erasure look for.
#[test]
fn what_goes_through_a_packed_segment_holds_little_of_it() {
    let (ledger, _dir) = with_large_segments();
    append_and_pack(&ledger);
    let query = ledger.query().text("hay");
    let erasure = Erasure::of(Field::User, Id::new("u").unwrap()).unwrap();
    let count = || assert_eq!(query.count().unwrap(), 520);
    let plan = || assert_eq!(ledger.reader().plan_erasure(&erasure).unwrap().total(), 520);
    for (what, work) in [("a count", &count as &dyn Fn()), ("an erasure", &plan)] {
        let held = allocation_counter::measure(work).bytes_max;
        assert!(held < 24 << 20, "{what} held {held} bytes");
    }
}
