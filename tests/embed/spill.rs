//! Records that find the queue full and go into files: kept in their order, appended once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use runledger::embed::{Guard, QueueOptions, Recorder, RecorderStats, WhenFull};
use runledger::storage::Disk;
use runledger::{
    Durability, Error, ErrorRecord, Event, Kind, Ledger, Options, Order, Run, Status, verify,
};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

use super::queue::{event, hold_up};
use crate::engine::hooked::Hooked;
use crate::engine::within_a_minute;

const DIR: &str = "/ledger";

fn spilling(records: usize) -> QueueOptions {
    Recorder::queue().records(records).when_full(WhenFull::Spill).durability(Durability::Os)
}

fn open(disk: &SimDisk) -> Ledger {
    let options = Options::new().storage(disk.storage()).background(false);
    options.segment_bytes(1 << 20).open(DIR).unwrap()
}

/// The texts of the events and errors, in the order of the ledger.
fn texts(ledger: &Ledger) -> Vec<String> {
    let all = ledger.query().order(Order::Seq).limit(100_000);
    let page = all.kind(Kind::Event).kind(Kind::Error).fetch().unwrap();
    let text = |body| match body {
        runledger::Body::Event(event) => event.message.map(|it| it.into_owned()),
        runledger::Body::Error(error) => Some(error.message.into_owned()),
        other => panic!("{other:?}"),
    };
    let bodies = page.records().map(|record| record.unwrap().into_owned().body);
    bodies.filter_map(text).filter(|text| !text.contains("were not appended")).collect()
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// The files with spilled records.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let is_spill = |path: &PathBuf| path.extension().is_some_and(|it| it == "ndjson");
    disk.files()
        .into_iter()
        .filter(|path| is_spill(path) && path.starts_with("/ledger/spill"))
        .collect()
}

/// A ledger on the modelled disk whose writer is held up, with a queue of which all but the first
/// records are spilled: 0 waits in memory or is just written.
struct Held {
    disk: SimDisk,
    hooked: Hooked,
    ledger: Ledger,
    recorder: Recorder,
    guard: Guard,
    release: mpsc::Sender<()>,
}

impl Held {
    fn new(options: QueueOptions) -> Self {
        let disk = SimDisk::new(7);
        let hooked = Hooked::new(disk.storage());
        let of_ledger = Options::new().storage(Arc::new(hooked.clone())).background(false);
        let ledger = of_ledger.segment_bytes(1 << 20).open(DIR).unwrap();
        let (has_begun, release) = hold_up(&hooked);
        let (recorder, guard) = options.start(&ledger).unwrap();
        assert!(recorder.record(event(0)));
        has_begun.recv().unwrap();
        Self { disk, hooked, ledger, recorder, guard, release }
    }

    fn release(&self) {
        // First nothing is held up any more: what is let go may come to its next write at once.
        self.hooked.set(|_, _| {});
        let _ = self.release.send(());
    }

    /// Writes what waits, and gives what became of it.
    fn end(self) -> (Ledger, RecorderStats) {
        self.release();
        drop(self.release);
        drop(self.guard);
        (self.ledger, self.recorder.stats())
    }
}

#[test]
fn what_finds_no_room_is_spilled_and_appended_in_its_order() {
    within_a_minute(|| {
        let held = Held::new(spilling(4));
        assert!((1..100).all(|number| held.recorder.record(event(number))));
        let stats = held.recorder.stats();
        assert_eq!((stats.waiting, stats.spilled), (100, 96));
        assert_eq!(files(&held.disk), [Path::new("/ledger/spill/00000000000000000001.ndjson")]);
        held.release();
        held.recorder.flush();
        assert_eq!(held.ledger.query().count().unwrap(), 100);
        // Who has caught up needs no files any more.
        assert!(held.recorder.record(event(100)));
        let disk = held.disk.clone();
        let (ledger, stats) = held.end();
        assert_eq!(texts(&ledger), numbers(0..101));
        assert_eq!((stats.spilled, stats.waiting, stats.last_error), (96, 0, None));
        assert_eq!(files(&disk), [] as [&Path; 0]);
        ledger.close().unwrap();
        assert!(!verify(DIR, disk.storage()).unwrap().is_damaged());
    });
}

#[test]
fn states_of_runs_wait_for_room_and_what_is_awaited_does() {
    within_a_minute(|| {
        let held = Held::new(spilling(8));
        assert!((1..50).all(|number| held.recorder.record(event(number))));
        let run = |number: usize| Run::new(format!("r-{number}"), "t", Status::Running).unwrap();
        assert!((0..2).all(|number| held.recorder.record(run(number))));
        let recorder = held.recorder.clone();
        let third = thread::spawn(move || recorder.record(run(2)));
        let awaited = held.recorder.append(Event::new("awaited"), Durability::Sync);
        let awaited = thread::spawn(move || smol::block_on(awaited));
        held.release();
        assert!(third.join().unwrap());
        assert!(awaited.join().unwrap().unwrap() > 0);
        let (ledger, stats) = held.end();
        assert_eq!((stats.spilled, stats.waiting), (42, 0));
        assert_eq!(texts(&ledger), numbers(0..50));
        assert_eq!(ledger.query().kind(Kind::Run).count().unwrap(), 3);
    });
}

#[test]
fn the_files_have_a_bound_and_what_is_over_it_is_counted() {
    within_a_minute(|| {
        let held = Held::new(spilling(1).spill_bytes(1000));
        let taken = (1..100).filter(|number| held.recorder.record(event(*number))).count();
        assert!((5..20).contains(&taken), "{taken} lines in 1,000 bytes");
        let (ledger, stats) = held.end();
        assert_eq!(stats.dropped, 99 - taken as u64);
        assert_eq!(texts(&ledger), numbers(0..=taken));
        assert_eq!(ledger.query().record_type("recorder.dropped").count().unwrap(), 1);
    });
}

/// Files that fill up: each line is appended, those of the next file after those of this one.
#[test]
fn many_files_are_drained_one_after_the_other() {
    within_a_minute(|| {
        let held = Held::new(spilling(1));
        let long = "x".repeat(100_000);
        let text = |number: usize| format!("{number} {long}");
        assert!((1..30).all(|at| held.recorder.record(event(at).message(text(at)))));
        assert_eq!(files(&held.disk).len(), 3);
        let (ledger, _) = held.end();
        let found = texts(&ledger);
        let first = |text: &String| text.split(' ').next().unwrap().to_owned();
        assert_eq!(found.iter().map(first).collect::<Vec<_>>(), numbers(0..30));
    });
}

#[test]
fn threads_that_spill_side_by_side_lose_nothing() {
    within_a_minute(|| {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        let (recorder, guard) = spilling(8).start(&ledger).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let recorder = recorder.clone();
                thread::spawn(move || {
                    for number in 0..1000 {
                        let text = format!("{thread} {number}");
                        assert!(recorder.record(Event::new("t").message(text)));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(guard);
        let stats = recorder.stats();
        assert_eq!((stats.waiting, stats.dropped, stats.failed), (0, 0, 0));
        let found = texts(&ledger);
        assert_eq!(found.len(), 4000);
        for thread in 0..4 {
            let of_thread =
                found.iter().filter_map(|text| text.strip_prefix(&format!("{thread} ")));
            let of_thread: Vec<_> = of_thread.map(str::to_owned).collect();
            assert_eq!(of_thread, numbers(0..1000), "thread {thread}");
        }
        let left = std::fs::read_dir(dir.path().join("ledger/spill")).unwrap().count();
        assert_eq!(left, 1, "the lock alone is left");
    });
}

/// What an image of the disk holds: in the ledger, and in the files behind it.
fn held_by(image: &SimDisk) -> Vec<String> {
    let mut found = texts(&open(&image.fork()));
    for path in files(image) {
        let text = String::from_utf8(image.peek(&path)).unwrap();
        // A line that a crash has cut is none.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let message = line.split_once("\"message\":\"").unwrap().1;
            found.push(message.split('"').next().unwrap().to_owned());
        }
    }
    found.sort_by_key(|text| text.parse::<usize>().unwrap());
    found.dedup();
    found
}

/// A new process finds the disk like this: the next recorder appends what waits.
fn recovered(image: &SimDisk) -> Vec<String> {
    let ledger = open(image);
    let (recorder, guard) = spilling(4).start(&ledger).unwrap();
    recorder.record(event(1000));
    drop(guard);
    assert_eq!(files(image), [] as [&Path; 0]);
    texts(&ledger)
}

/// The process is killed before each of the operations that spill and drain.
#[test]
fn a_kill_at_any_time_loses_nothing_that_was_spilled_and_doubles_nothing() {
    within_a_minute(|| {
        let images = Arc::new(Mutex::new(Vec::new()));
        let held = Held::new(spilling(4));
        let taken = Arc::clone(&images);
        held.disk.set_probe(move |moment| {
            taken.lock().unwrap().push((format!("{:?}", moment.op), moment.kill()));
        });
        for number in 1..20 {
            let of = held.recorder.clone();
            let error = ErrorRecord::new("E", number.to_string())
                .detail(runledger::Json::parse("{\"a\":\n[1.0, \"\\u00e9\"]}").unwrap());
            assert!(if number % 3 == 0 { of.record(error) } else { of.record(event(number)) });
        }
        let (ledger, disk) = (held.ledger.clone(), held.disk.clone());
        drop(held.end());
        disk.clear_hooks();
        assert_eq!(texts(&ledger), numbers(0..20));
        let images = std::mem::take(&mut *images.lock().unwrap());
        assert!(images.len() > 20, "{}", images.len());
        for (label, image) in images {
            let mut expected = held_by(&image);
            expected.push("1000".to_owned());
            let mut found = recovered(&image);
            // Of the file that was just appended, its errors may come behind its events only now.
            let number = |text: &String| text.parse::<usize>().unwrap();
            let (errors, events): (Vec<_>, Vec<_>) =
                found.iter().map(number).partition(|number| number % 3 == 0 && *number > 0);
            assert!(errors.is_sorted() && events.is_sorted(), "killed before {label}: {found:?}");
            found.sort_by_key(number);
            assert_eq!(found, expected, "killed before {label}");
        }
    });
}

/// The power is cut: what was spilled may be gone, and nothing comes twice.
#[test]
fn a_power_cut_at_any_time_doubles_nothing() {
    within_a_minute(|| {
        let images = Arc::new(Mutex::new(Vec::new()));
        let held = Held::new(spilling(4).durability(Durability::Sync));
        let taken = Arc::clone(&images);
        held.disk.set_probe(move |moment| {
            for (files, names) in [
                (Keep::Nothing, KeepNames::Nothing),
                (Keep::Prefix, KeepNames::All),
                (Keep::Garbage, KeepNames::All),
                (Keep::Zeros, KeepNames::Prefix),
            ] {
                let cut = Cut { files, names, seed: moment.op.number };
                let label = format!("before {:?}, {cut:?}", moment.op);
                taken.lock().unwrap().push((label, moment.cut(cut)));
            }
        });
        assert!((1..12).all(|number| held.recorder.record(event(number))));
        let disk = held.disk.clone();
        let (ledger, _) = held.end();
        disk.clear_hooks();
        assert_eq!(texts(&ledger), numbers(0..12));
        for (label, image) in std::mem::take(&mut *images.lock().unwrap()) {
            let found = recovered(&image);
            let mut once = found.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), found.len(), "{label}: {found:?}");
        }
    });
}

/// The process was killed when a file was appended, and not yet removed. The next one found all of
/// it in the ledger, where the kernel showed it, and removed the file without a sync: the power cut
/// took the records, although its recorder acknowledges what the disk has.
#[test]
fn what_the_kernel_alone_has_of_a_spill_is_synced_before_its_file_goes() {
    within_a_minute(|| {
        let held = Held::new(spilling(4));
        assert!((1..20).all(|number| held.recorder.record(event(number))));
        let image = Arc::new(Mutex::new(None));
        let taken = Arc::clone(&image);
        held.disk.set_probe(move |moment| {
            let is_drained = moment.op.kind == OpKind::Remove
                && moment.op.path.extension().is_some_and(|it| it == "ndjson");
            if is_drained {
                taken.lock().unwrap().get_or_insert_with(|| moment.kill());
            }
        });
        let disk = held.disk.clone();
        drop(held.end());
        disk.clear_hooks();
        let image = image.lock().unwrap().take().unwrap();
        let ledger = open(&image);
        let durable = spilling(4).durability(Durability::Sync);
        let (recorder, guard) = durable.start(&ledger).unwrap();
        drop((recorder, guard));
        assert_eq!(files(&image), [] as [&Path; 0]);
        let cut = Cut { files: Keep::Nothing, names: KeepNames::All, seed: 1 };
        let found = (open(&image.power_cut(cut)), ledger).0;
        assert!(texts(&found).ends_with(&numbers(4..20)), "{:?}", texts(&found));
    });
}

/// A disk as it was left with 19 records in a file.
fn left_behind() -> SimDisk {
    let held = Held::new(spilling(1));
    assert!((1..20).all(|number| held.recorder.record(event(number))));
    let image = held.disk.fork();
    drop(held.end());
    image
}

#[test]
fn lines_that_are_damaged_are_passed_over_counted_and_kept() {
    within_a_minute(|| {
        let image = left_behind();
        let [path] = &files(&image)[..] else { panic!("one file") };
        let mut bytes = image.peek(path);
        let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        // A bit of the third line, and half of the last one.
        bytes[lines[0] + lines[1] + 60] ^= 1;
        bytes.truncate(bytes.len() - 20);
        image.poke(path, bytes);
        let ledger = open(&image);
        let (recorder, guard) = spilling(4).start(&ledger).unwrap();
        drop(guard);
        let stats = recorder.stats();
        assert_eq!((stats.failed, stats.refused, stats.waiting), (2, 0, 0));
        assert!(stats.last_error.unwrap().contains("lost/spill-"), "it says where they are");
        assert_eq!(texts(&ledger), numbers((1..19).filter(|number| *number != 3)));
        let is_kept = |path: &PathBuf| path.starts_with("/ledger/lost");
        assert_eq!(image.files().into_iter().filter(is_kept).count(), 1);
        assert_eq!(ledger.query().record_type("recorder.dropped").count().unwrap(), 1);
    });
}

/// A file that somebody has removed would hold up all that come behind it.
#[test]
fn a_file_that_is_gone_is_told_of() {
    within_a_minute(|| {
        let held = Held::new(spilling(1));
        assert!((1..10).all(|number| held.recorder.record(event(number))));
        held.disk.storage().remove(&files(&held.disk)[0]).unwrap();
        let (ledger, stats) = held.end();
        assert_eq!((stats.failed, stats.waiting), (9, 0));
        assert!(stats.last_error.unwrap().contains("is gone"));
        assert_eq!(texts(&ledger), numbers(0..1));
    });
}

/// A file that could not be read was tried again for ever: what came later was spilled behind it
/// although the ledger took records, and lost once the files were full.
#[test]
fn a_file_that_cannot_be_read_holds_nothing_up() {
    within_a_minute(|| {
        for kind in [OpKind::Open, OpKind::Read] {
            let image = left_behind();
            let [path] = &files(&image)[..] else { panic!("one file") };
            let bad = path.clone();
            image.set_faults(move |op| (op.kind == kind && op.path == bad).then_some(Fault::Io));
            let ledger = open(&image);
            let (recorder, guard) = spilling(4).start(&ledger).unwrap();
            while recorder.stats().last_error.is_none() {
                thread::yield_now();
            }
            // What is awaited is taken up after that.
            smol::block_on(recorder.append(event(99), Durability::Os)).unwrap();
            assert!(recorder.record(event(100)));
            recorder.flush();
            let stats = recorder.stats();
            assert_eq!((stats.spilled, stats.waiting, stats.failed), (0, 0, 1), "{kind:?}");
            let reason = stats.last_error.unwrap();
            assert!(
                reason.contains("cannot be read") && reason.contains("0001.ndjson"),
                "{reason}"
            );
            drop(guard);
            assert_eq!(texts(&ledger), numbers(99..101), "{kind:?}");
            // It is there for the next recorder, which may be able to read it.
            assert_eq!(files(&image), [&**path]);
            image.clear_hooks();
            let (_, guard) = spilling(4).start(&ledger).unwrap();
            drop(guard);
            assert_eq!(texts(&ledger), numbers((99..101).chain(1..20)), "{kind:?}");
            assert_eq!(files(&image), [] as [&Path; 0]);
        }
    });
}

/// A process that had no file descriptor to spare, or was interrupted, took that for a fault of the
/// file: what was in it was counted as lost, and its bytes as free.
#[test]
fn a_want_of_the_process_is_no_fault_of_a_file() {
    within_a_minute(|| {
        for kind in [OpKind::Open, OpKind::Read] {
            let image = left_behind();
            let [path] = &files(&image)[..] else { panic!("one file") };
            let (path, fault) = (path.clone(), Fault::Interrupted);
            image.set_faults(move |op| (op.kind == kind && op.path == path).then_some(fault));
            let ledger = open(&image);
            let (recorder, guard) = spilling(4).start(&ledger).unwrap();
            while recorder.stats().last_error.is_none() {
                thread::yield_now();
            }
            image.clear_hooks();
            drop(guard);
            assert_eq!(recorder.stats().failed, 0, "{kind:?}");
            assert_eq!(texts(&ledger), numbers(1..20), "{kind:?}");
            assert_eq!(files(&image), [] as [&Path; 0]);
        }
    });
}

/// Other files among them, of which one is longer than any that is written.
#[test]
fn what_is_no_spill_is_left_alone() {
    within_a_minute(|| {
        let image = left_behind();
        let [path] = &files(&image)[..] else { panic!("one file") };
        let dir = path.parent().unwrap();
        for name in ["notes.ndjson", "1.ndjson", "00000000000000000009.json"] {
            let mode = runledger::storage::OpenMode::CreateNew;
            image.storage().open(&dir.join(name), mode).unwrap().write_at(b"x", 0).unwrap();
        }
        let ledger = open(&image);
        let (_, guard) = spilling(4).start(&ledger).unwrap();
        drop(guard);
        assert_eq!(texts(&ledger), numbers(1..20));
        assert_eq!(files(&image).len(), 2);
    });
}

#[test]
fn a_full_disk_takes_no_spill_and_keeps_what_is_spilled() {
    within_a_minute(|| {
        let held = Held::new(spilling(1));
        assert!((1..10).all(|number| held.recorder.record(event(number))));
        let is_full = Arc::new(AtomicBool::new(true));
        let of_disk = Arc::clone(&is_full);
        held.disk.set_faults(move |op| {
            let grows = matches!(op.kind, OpKind::Write | OpKind::Allocate | OpKind::Create);
            (of_disk.load(Ordering::SeqCst) && grows).then_some(Fault::Short(3))
        });
        assert!(!held.recorder.record(event(100)), "it cannot be spilled");
        assert!(held.recorder.stats().last_error.unwrap().contains("no space left"));
        held.release();
        // What cannot be appended for now keeps nobody.
        held.recorder.flush();
        let stats = held.recorder.stats();
        assert_eq!(stats.waiting, 9);
        assert!(stats.failed >= 1);
        is_full.store(false, Ordering::SeqCst);
        assert!(held.recorder.record(event(10)));
        let (ledger, stats) = held.end();
        assert_eq!(stats.waiting, 0);
        let found = texts(&ledger);
        assert_eq!(found[found.len() - 10..], numbers(1..11));
    });
}

/// The disk stays full up to the end: the files are there for the next process.
#[test]
fn what_cannot_be_appended_at_the_end_is_left_for_the_next_recorder() {
    within_a_minute(|| {
        let held = Held::new(spilling(1));
        assert!((1..10).all(|number| held.recorder.record(event(number))));
        held.disk.set_faults(|op| {
            let is_segment = op.path.extension().is_some_and(|ending| ending == "seg");
            (op.kind.changes() && is_segment).then_some(Fault::NoSpace)
        });
        let disk = held.disk.clone();
        let (ledger, stats) = held.end();
        assert_eq!((stats.waiting, stats.spilled), (9, 9));
        disk.clear_hooks();
        let (recorder, guard) = spilling(1).start(&ledger).unwrap();
        recorder.record(event(10));
        drop(guard);
        let found = texts(&ledger);
        assert_eq!(found[found.len() - 10..], numbers(1..11));
    });
}

#[test]
fn one_recorder_at_a_time_spills() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().storage(Arc::new(Disk));
    let ledger = options.open(dir.path().join("ledger")).unwrap();
    let (_recorder, guard) = spilling(4).start(&ledger).unwrap();
    let refused = spilling(4).start(&ledger).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    assert!(Recorder::queue().start(&ledger).is_ok(), "others do not spill");
    drop(guard);
    assert!(spilling(4).start(&ledger).is_ok());
}

/// A ledger whose file `LEDGER` was lost was taken for something else, when recovery had kept
/// copies in `lost/` or a recorder had spilled.
#[test]
fn its_directories_are_no_foreign_files() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("ledger");
    Ledger::open(&place).unwrap().close().unwrap();
    std::fs::create_dir(place.join("lost")).unwrap();
    std::fs::create_dir(place.join("spill")).unwrap();
    std::fs::remove_file(place.join("LEDGER")).unwrap();
    assert!(Ledger::open(&place).unwrap().noticed().is_empty());
}
