//! Records that come faster than they are written.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use runledger::embed::{Append, Recorder, WhenFull};
use runledger::{
    Body, Compaction, Durability, Error, ErrorRecord, Event, Json, Kind, Ledger, Options, Run,
    RunError, Status,
};
use serde::Deserialize;
use torture::disk::{Fault, OpKind, SimDisk};

use super::{events, ledger};
use crate::engine::hooked::Hooked;
use crate::engine::within_a_minute;

pub(super) fn event(number: usize) -> Event<'static> {
    Event::new("t").message(number.to_string())
}

/// Holds up whoever writes a frame until the sender is dropped, and says so.
pub(super) fn hold_up(storage: &Hooked) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = parking_lot::Mutex::new(released);
    storage.set(move |operation, path| {
        if operation == "write" && path.extension().is_some_and(|ext| ext == "seg") {
            let _ = begun.send(());
            let _ = released.lock().recv();
        }
    });
    (has_begun, release)
}

#[test]
fn the_guard_writes_all_that_waits_in_the_order_in_which_it_came() {
    let (ledger, _, _dir) = ledger();
    let (recorder, guard) = Recorder::queue().durability(Durability::Os).start(&ledger).unwrap();
    assert!((0..5000).all(|number| recorder.record(event(number))));
    drop(guard);
    let numbers: Vec<_> = events(&ledger).into_iter().map(|it| it.message.unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(at, number)| **number == at.to_string()));
    assert_eq!(numbers.len(), 5000);
    assert!(!recorder.record(event(0)), "there is no writer any more");
    assert_eq!(recorder.stats().failed, 1);
    recorder.flush();
}

#[test]
fn a_flush_waits_for_what_came_before_it() {
    let (ledger, _, _dir) = ledger();
    let (recorder, _guard) = Recorder::queue().start(&ledger).unwrap();
    for number in 0..100 {
        recorder.record(event(number));
        recorder.flush();
        assert_eq!(ledger.query().count().unwrap(), number as u64 + 1);
    }
}

#[test]
fn who_finds_the_queue_full_waits_and_nothing_is_lost() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (has_begun, release) = hold_up(&storage);
        let (recorder, guard) = Recorder::queue().records(4).start(&ledger).unwrap();
        recorder.record(event(0));
        has_begun.recv().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (recorder, done) = (recorder.clone(), Arc::clone(&done));
                thread::spawn(move || {
                    assert!((1..50).all(|number| recorder.record(event(number))));
                    done.store(true, Ordering::SeqCst);
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(30));
        assert!(recorder.stats().waiting <= 4 && !done.load(Ordering::SeqCst));
        drop(release);
        storage.set(|_, _| {});
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(guard);
        assert_eq!(events(&ledger).len(), 4 * 49 + 1);
    });
}

#[derive(Deserialize)]
struct Dropped {
    count: u64,
    queue_full: u64,
    not_appended: u64,
}

#[test]
fn what_is_dropped_is_counted_and_told_and_states_of_runs_go_before() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (has_begun, release) = hold_up(&storage);
        let queue = Recorder::queue().records(8).when_full(WhenFull::Drop);
        let (recorder, guard) = queue.start(&ledger).unwrap();
        recorder.record(event(0));
        has_begun.recv().unwrap();
        let taken = (1..100).filter(|number| recorder.record(event(*number))).count();
        assert_eq!(taken, 7);
        let run = |number: usize| Run::new(format!("r-{number}"), "t", Status::Running).unwrap();
        let runs = (0..5).filter(|number| recorder.record(run(*number))).count();
        assert_eq!(runs, 2);
        drop(release);
        storage.set(|_, _| {});
        drop(guard);
        let stats = recorder.stats();
        assert_eq!((stats.dropped, stats.failed, stats.waiting), (95, 0, 0));
        let told: Vec<Dropped> = events(&ledger)
            .iter()
            .filter(|event| event.event_type == "recorder.dropped")
            .map(|event| event.payload.as_ref().unwrap().to_value().unwrap())
            .collect();
        assert!(told.iter().all(|it| it.count == it.queue_full && it.not_appended == 0));
        assert_eq!(told.iter().map(|it| it.count).sum::<u64>(), 95);
        assert_eq!(ledger.query().kind(Kind::Event).record_type("t").count().unwrap(), 8);
    });
}

/// Those who waited for room when the guard was dropped found no writer any more, where that was
/// quicker than they were.
#[test]
fn the_end_of_the_queue_leaves_nobody_waiting() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (has_begun, release) = hold_up(&storage);
        let (recorder, guard) = Recorder::queue().records(1).start(&ledger).unwrap();
        recorder.record(event(0));
        has_begun.recv().unwrap();
        let threads: Vec<_> = (1..4)
            .map(|number| {
                let recorder = recorder.clone();
                thread::spawn(move || recorder.record(event(number)))
            })
            .collect();
        thread::sleep(Duration::from_millis(30));
        let end = thread::spawn(move || drop(guard));
        thread::sleep(Duration::from_millis(30));
        drop(release);
        storage.set(|_, _| {});
        end.join().unwrap();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()), "a record is lost");
        assert_eq!(events(&ledger).len(), 4);
    });
}

/// A writer that panicked left those who waited for room, for a flush or for their record waiting
/// for ever.
#[test]
fn a_writer_that_panics_leaves_nobody_waiting() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (recorder, guard) = Recorder::queue().records(2).start(&ledger).unwrap();
        storage.set(|operation, path| {
            let is_segment = path.extension().is_some_and(|ext| ext == "seg");
            assert!(!(operation == "write" && is_segment), "as planned");
        });
        let awaited = recorder.append(event(0), Durability::Sync);
        let awaited = thread::spawn(move || smol::block_on(awaited));
        assert!(awaited.join().unwrap().is_err());
        while recorder.record(event(1)) {}
        recorder.flush();
        storage.set(|_, _| {});
        drop(guard);
        let stats = recorder.stats();
        assert!(stats.failed >= 2 && stats.waiting == 0, "what is lost does not wait: {stats:?}");
    });
}

/// Only some of the texts of a record were counted: errors with long endpoints took many times the
/// bytes that the queue was told to take.
#[test]
fn every_text_of_a_record_counts_among_the_bytes() {
    within_a_minute(|| {
        let long = || "x".repeat(5000);
        let run = || Run::new("r", "t", Status::Failed).unwrap();
        let records: [(&str, Body<'static>); 9] = [
            ("type", Event::new(long()).into()),
            ("message", event(1).message(long()).into()),
            ("type", ErrorRecord::new(long(), "m").into()),
            ("message", ErrorRecord::new("t", long()).into()),
            ("stack", ErrorRecord::new("t", "m").stack(long()).into()),
            ("endpoint", ErrorRecord::new("t", "m").endpoint(long()).into()),
            ("type", Run::new("r", long(), Status::Failed).unwrap().into()),
            ("error", run().error(RunError::new(long())).into()),
            ("error type", run().error(RunError::new("m").error_type(long())).into()),
        ];
        for (text, body) in records {
            let (ledger, storage, _dir) = ledger();
            let (has_begun, release) = hold_up(&storage);
            let queue = Recorder::queue().bytes(12_000).when_full(WhenFull::Drop);
            let (recorder, guard) = queue.start(&ledger).unwrap();
            recorder.record(event(0));
            has_begun.recv().unwrap();
            let taken = (0..20).filter(|_| recorder.record(body.borrowed())).count();
            storage.set(|_, _| {});
            drop(release);
            drop(guard);
            assert_eq!(taken, 2, "{text} of {}", body.kind());
        }
    });
}

/// Where somebody recorded without a pause the queue never was empty, and its guard waited for
/// that for ever.
#[test]
fn the_end_of_the_queue_waits_for_nobody_who_goes_on() {
    within_a_minute(|| {
        for when_full in [WhenFull::Block, WhenFull::Drop, WhenFull::Spill] {
            let (ledger, storage, _dir) = ledger();
            let (has_begun, release) = hold_up(&storage);
            let records = if when_full == WhenFull::Block { 1 << 24 } else { 4 };
            let queue = Recorder::queue().records(records).bytes(256 << 20).when_full(when_full);
            let (recorder, guard) = queue.start(&ledger).unwrap();
            recorder.record(event(0));
            has_begun.recv().unwrap();
            let end = thread::spawn(move || drop(guard));
            // The writer is held up: only the end of the queue refuses one.
            let mut taken = 1;
            while recorder.stats().failed == 0 {
                taken += u64::from(recorder.record(event(1)));
                thread::yield_now();
            }
            let spilled = recorder.stats().spilled;
            assert!(!recorder.record(event(2)), "{when_full:?}");
            let awaited = smol::block_on(recorder.append(event(3), Durability::Os));
            assert!(matches!(awaited, Err(Error::Closed)), "{awaited:?}");
            assert_eq!((recorder.stats().failed, recorder.stats().spilled), (2, spilled));
            storage.set(|_, _| {});
            drop(release);
            end.join().unwrap();
            assert_eq!(ledger.query().record_type("t").count().unwrap(), taken, "{when_full:?}");
        }
    });
}

/// What is kept for states of runs besides was more than a number can say, and a panic.
#[test]
fn a_queue_without_a_bound_takes_states_of_runs() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (has_begun, release) = hold_up(&storage);
        let options = Recorder::queue().records(usize::MAX).bytes(usize::MAX);
        let (recorder, guard) = options.start(&ledger).unwrap();
        recorder.record(event(0));
        has_begun.recv().unwrap();
        let run = || Run::new("r", "t", Status::Running).unwrap();
        let is_taken = thread::scope(|scope| scope.spawn(|| recorder.record(run())).join());
        drop(release);
        drop(guard);
        assert!(is_taken.unwrap());
        assert_eq!(ledger.query().count().unwrap(), 2);
    });
}

#[test]
fn a_record_over_the_bound_goes_alone() {
    let (ledger, _, _dir) = ledger();
    let (recorder, guard) = Recorder::queue().bytes(1000).start(&ledger).unwrap();
    for number in 0..3 {
        assert!(recorder.record(event(number).message("x".repeat(5000))));
    }
    drop(guard);
    assert_eq!(events(&ledger).len(), 3);
    assert!(Recorder::queue().records(0).start(&ledger).is_err());
}

#[test]
fn what_the_ledger_cannot_take_is_counted_and_told_when_it_can() {
    let (ledger, _, dir) = ledger();
    let in_place = Recorder::in_place(&ledger, Durability::Os);
    assert!(!in_place.record(Event::new("")));
    assert!(in_place.record(event(1)));
    let stats = in_place.stats();
    assert_eq!((stats.refused, stats.failed), (1, 0));
    assert!(stats.last_error.unwrap().contains("is not valid"));
    let (recorder, guard) = Recorder::queue().start(&ledger).unwrap();
    recorder.record(Event::new(""));
    recorder.record(event(2));
    recorder.flush();
    assert_eq!(recorder.stats().refused, 1);
    ledger.close().unwrap();
    assert!(!in_place.record(event(3)));
    assert!(recorder.record(event(3)), "it waits");
    drop(guard);
    assert_eq!((in_place.stats().failed, recorder.stats().failed), (1, 1));
    drop(dir);
}

/// A task, of which this counts how many there are.
struct Task(#[expect(dead_code, reason = "counted")] Arc<()>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// While the writer hung, each append that was given up before it found room left its waker, and
/// the task with it, in the queue, past all its bounds.
#[test]
fn an_append_that_is_given_up_leaves_nothing_in_the_queue() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let (has_begun, release) = hold_up(&storage);
        let (recorder, guard) = Recorder::queue().records(1).start(&ledger).unwrap();
        recorder.record(event(0));
        has_begun.recv().unwrap();
        let tasks = Arc::new(());
        let poll_in_a_task = |append: &mut Append| {
            let waker = Waker::from(Arc::new(Task(Arc::clone(&tasks))));
            let polled = Pin::new(append).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        };
        let mut patient = recorder.append(event(1), Durability::Os);
        (0..3).for_each(|_| poll_in_a_task(&mut patient));
        for _ in 0..100 {
            poll_in_a_task(&mut recorder.append(event(2), Durability::Os));
        }
        let held = Arc::strong_count(&tasks) - 1;
        drop(release);
        storage.set(|_, _| {});
        assert_eq!(held, 1, "tasks, of which one waits");
        smol::block_on(patient).unwrap();
        drop(guard);
        assert_eq!(Arc::strong_count(&tasks) - 1, 0);
        assert_eq!(events(&ledger).len(), 2);
    });
}

/// Ends a run as it is dropped, and tells whether that panicked.
struct Last(Recorder, mpsc::Sender<thread::Result<bool>>);

impl Drop for Last {
    fn drop(&mut self) {
        let run = || Run::new("r", "t", Status::Success).unwrap();
        let recorded = catch_unwind(AssertUnwindSafe(|| self.0.record(run())));
        self.1.send(recorded).unwrap();
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// What a thread keeps for its appends is gone before what it kept earlier: an append from there,
/// such as that of a run that ends with its thread, ended the process.
#[test]
fn a_thread_records_to_its_very_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_bytes(64 << 10).background(false);
    let ledger = options.open(dir.path().join("ledger")).unwrap();
    let metadata = Json::parse(format!(r#"{{"of":"{}"}}"#, "x".repeat(500))).unwrap();
    for number in 0..400 {
        let id = if number == 0 { "r".to_owned() } else { format!("r-{number}") };
        let run = Run::new(id, "t", Status::Running).unwrap().metadata(metadata.borrowed());
        ledger.append_with(run, Durability::Os).unwrap();
    }
    ledger.compact(&Compaction::new()).unwrap();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    let (told, recorded) = mpsc::channel();
    let in_thread = ledger.clone();
    let thread = thread::spawn(move || {
        LAST.set(Some(Last(recorder.clone(), told)));
        assert!(recorder.record(event(0)));
        let stored = in_thread.reader().run("r").unwrap();
        assert_eq!(stored.record().unwrap().body.type_name(), "t");
    });
    thread.join().unwrap();
    let recorded = recorded.recv().unwrap();
    assert!(matches!(recorded, Ok(true)), "{recorded:?}");
    assert_eq!(ledger.query().run("r").status(Status::Success).count().unwrap(), 1);
}

/// A ledger on a modelled disk, whose operations a test can watch besides.
fn modelled() -> (SimDisk, Hooked, Ledger) {
    let disk = SimDisk::new(7);
    let hooked = Hooked::new(disk.storage());
    let options = Options::new().storage(Arc::new(hooked.clone())).background(false);
    let ledger = options.open("/ledger").unwrap();
    (disk, hooked, ledger)
}

/// Nothing more goes into segments until the hooks are cleared.
fn fill(disk: &SimDisk) {
    disk.set_faults(|op| {
        let is_segment = op.path.extension().is_some_and(|ending| ending == "seg");
        (op.kind.changes() && is_segment).then_some(Fault::NoSpace)
    });
}

/// No state of a run can be read until the hooks are cleared.
fn leave_unread(disk: &SimDisk) {
    disk.set_faults(|op| {
        let is_of_runs = op.path.to_string_lossy().contains("/runs/");
        (op.kind == OpKind::Map && is_of_runs).then_some(Fault::Io)
    });
}

/// How many records the ledger was told are missing.
fn told(ledger: &Ledger) -> u64 {
    let told = events(ledger).into_iter().filter(|it| it.event_type == "recorder.dropped");
    told.map(|it| it.payload.unwrap().to_value::<Dropped>().unwrap().count).sum()
}

/// Each thread that found the disk in order again told the ledger of all that was lost, as long as
/// no other had come to the end of it.
#[test]
fn what_was_lost_in_place_is_told_once() {
    within_a_minute(|| {
        let (disk, hooked, ledger) = modelled();
        let recorder = Recorder::in_place(&ledger, Durability::Os);
        fill(&disk);
        assert!(!(0..3).any(|number| recorder.record(event(number))));
        disk.clear_hooks();
        // One who tells of it looks at both clocks, and meanwhile another one records.
        let (step, other) = (AtomicU32::new(0), recorder.clone());
        let goes_on = move |from, to| {
            step.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        hooked.set(move |operation, _| match operation {
            "monotonic" => drop(goes_on(0, 1)),
            "now" if goes_on(1, 2) => {
                let other = other.clone();
                let record = move || other.record(ErrorRecord::new("t", "m"));
                assert!(thread::spawn(record).join().unwrap());
            }
            _ => {}
        });
        assert!(recorder.record(event(3)));
        hooked.set(|_, _| {});
        assert_eq!(ledger.query().kind(Kind::Error).count().unwrap(), 1);
        assert_eq!((recorder.stats().failed, told(&ledger)), (3, 3));
    });
}

/// Where a storage panicked while the ledger was told of what was lost, it was never told of that,
/// nor of what was lost later.
#[test]
fn what_was_lost_in_place_is_told_after_a_panic() {
    let (disk, hooked, ledger) = modelled();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    fill(&disk);
    assert!(!(0..3).any(|number| recorder.record(event(number))));
    disk.clear_hooks();
    // One who tells of it looks at both clocks.
    let tells = AtomicBool::new(false);
    hooked.set(move |operation, _| match operation {
        "monotonic" => tells.store(true, Ordering::SeqCst),
        "now" => assert!(!tells.load(Ordering::SeqCst), "the storage is broken"),
        _ => {}
    });
    assert!(catch_unwind(AssertUnwindSafe(|| recorder.record(event(3)))).is_err());
    hooked.set(|_, _| {});
    assert!(recorder.record(event(4)));
    assert_eq!((recorder.stats().failed, told(&ledger)), (3, 3));
}

/// What was lost within a second of the last word of it was told by the next append, of which there
/// was none any more.
#[test]
fn what_was_lost_in_place_is_told_at_the_end() {
    let (disk, _, ledger) = modelled();
    ledger.append_with(Run::new("r", "t", Status::Running).unwrap(), Durability::Os).unwrap();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    let end = || recorder.record(Run::new("r", "t", Status::Success).unwrap());
    for number in 1..3 {
        leave_unread(&disk);
        assert!(!(0..number).any(|_| end()));
        disk.clear_hooks();
        assert!(recorder.record(event(3)));
        assert_eq!(told(&ledger), 1);
    }
    drop(recorder);
    assert_eq!(told(&ledger), 3);
}

/// A state that was not appended as the one before it could not be read passed for one that the
/// ledger refuses for what it holds, and no word of it came into the ledger.
#[test]
fn a_state_that_is_lost_unread_is_not_refused_for_what_it_holds() {
    let (disk, _, ledger) = modelled();
    ledger.append_with(Run::new("r", "t", Status::Running).unwrap(), Durability::Os).unwrap();
    let (recorder, guard) = Recorder::queue().start(&ledger).unwrap();
    leave_unread(&disk);
    assert!(recorder.record(Run::new("r", "t", Status::Success).unwrap()));
    recorder.flush();
    disk.clear_hooks();
    drop(guard);
    let stats = recorder.stats();
    assert_eq!((stats.refused, stats.failed, told(&ledger)), (0, 1, 1), "{stats:?}");
}

/// What a thread recorded whose name begins as those of the ledger's own was left out without a
/// word.
#[test]
fn a_thread_may_be_named_after_the_ledger() {
    let (ledger, _, _dir) = ledger();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    let named = thread::Builder::new().name("runledger-export".to_owned());
    assert!(named.spawn(move || recorder.record(event(0))).unwrap().join().unwrap());
    assert_eq!(ledger.query().count().unwrap(), 1);
}
