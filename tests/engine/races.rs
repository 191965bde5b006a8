//! What two threads must not do to each other. The second thread acts from within the first one's
//! work, by a hook in the storage, so that the one bad order comes about each time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{
    Class, Cleanup, Compaction, Durability, Erasure, Error, Event, Field, Id, Kind, Ledger, Limits,
    Options, Reader, Run, Severity, Status, verify_against,
};

use super::hooked::Hooked;
use super::{DIR, is_draft, within_a_minute};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

const NOTHING: Cut = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 1 };

/// Long enough for another thread that does not have to wait.
const A_WHILE: Duration = Duration::from_millis(300);

fn open(storage: &Hooked) -> Ledger {
    let options = Options::new().storage(Arc::new(storage.clone())).background(false);
    options.segment_bytes(runledger::limits::MIN_SEGMENT_BYTES).open(DIR).unwrap()
}

/// Has this called before the next such operation, and not again.
fn once(storage: &Hooked, operation: &'static str, act: impl FnOnce() + Send + 'static) {
    once_on(storage, operation, |_| true, act);
}

/// As [`once`], before the next one on such a file.
fn once_on(
    storage: &Hooked,
    operation: &'static str,
    is_it: impl Fn(&Path) -> bool + Send + Sync + 'static,
    act: impl FnOnce() + Send + 'static,
) {
    let act = Mutex::new(Some(act));
    storage.set(move |name, path| {
        let act = (name == operation && is_it(path)).then(|| act.lock().take()).flatten();
        act.into_iter().for_each(|act| act());
    });
}

/// Has another thread close the ledger and then do this, before the next such operation, which
/// waits a while for it. What comes of it is received.
fn closed_meanwhile<T: Send + 'static>(
    (storage, ledger): (&Hooked, &Ledger),
    operation: &'static str,
    is_it: impl Fn(&Path) -> bool + Send + Sync + 'static,
    then: impl FnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (tell, told) = mpsc::channel();
    let closed = ledger.clone();
    once_on(storage, operation, is_it, move || {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            closed.close().unwrap();
            tell.send(then()).unwrap();
            let _ = done.send(());
        });
        let _ = is_done.recv_timeout(A_WHILE);
    });
    told
}

const fn any(_: &Path) -> bool {
    true
}

fn append_to_second(storage: &Hooked) -> Ledger {
    let second = open(storage);
    second.append_with(Event::new("of the second"), Durability::Sync).unwrap();
    second
}

fn assert_untouched(disk: &SimDisk, since: &SimDisk) {
    assert_eq!(disk.files(), since.files());
    for path in disk.files() {
        assert_eq!(disk.peek(&path), since.peek(&path), "{} has changed", path.display());
    }
}

/// An append that had begun before the close took its numbers after it: it reserved some in the
/// file that was another writer's by then, from a bound and a generation of its own. After a crash
/// that could give numbers out twice.
#[test]
fn an_append_that_a_close_overtakes_reserves_no_numbers() {
    let disk = SimDisk::new(1);
    let storage = Hooked::new(disk.storage());
    let ledger = open(&storage);
    let (told, changed_hands) = mpsc::channel();
    let (closed, storage_of_second, of_disk) = (ledger.clone(), storage.clone(), disk.clone());
    once(&storage, "now", move || {
        closed.close().unwrap();
        // Twice, so that the file of the numbers is ahead of what the first one knows of it.
        drop(append_to_second(&storage_of_second));
        told.send((append_to_second(&storage_of_second), of_disk.fork())).unwrap();
    });
    let refused = ledger.append_with(Event::new("late"), Durability::Os);
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    let (second, left) = changed_hands.recv().unwrap();
    assert_untouched(&disk, &left);
    assert_eq!(second.query().count().unwrap(), 2);
}

/// A round of upkeep that had begun before the close ended and sealed an old segment after it: over
/// the frames that another writer was appending there.
#[test]
fn a_close_waits_for_upkeep() {
    within_a_minute(|| {
        let disk = SimDisk::new(2);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        ledger.append_with(Event::new("old"), Durability::Os).unwrap();
        disk.advance(Duration::from_secs(2 * 24 * 3600));
        let (storage_of_second, of_disk) = (storage.clone(), disk.clone());
        let changed_hands = closed_meanwhile((&storage, &ledger), "now", any, move || {
            (append_to_second(&storage_of_second), of_disk.fork())
        });
        let refused = ledger.maintain();
        assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
        let (second, left) = changed_hands.recv().unwrap();
        assert_untouched(&disk, &left);
        assert_eq!(second.query().count().unwrap(), 2);
    });
}

/// A close did not wait for a clean-up: its files went after the lock was given up, and with them
/// what another writer had appended to one of them meanwhile.
#[test]
fn a_close_waits_for_a_clean_up() {
    within_a_minute(|| {
        let disk = SimDisk::new(3);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        ledger.append_with(Event::new("old"), Durability::Os).unwrap();
        let storage_of_second = storage.clone();
        let appended = closed_meanwhile((&storage, &ledger), "remove", any, move || {
            append_to_second(&storage_of_second)
        });
        ledger.cleanup(&Cleanup::older_than(Duration::ZERO), false).unwrap();
        drop(appended.recv().unwrap());
        let again = open(&Hooked::new(disk.power_cut(NOTHING).storage()));
        assert_eq!(again.query().record_type("of the second").count().unwrap(), 1);
    });
}

/// A ledger with a sealed segment of events.
fn open_with_sealed(storage: &Hooked, disk: &SimDisk) -> Ledger {
    let ledger = open(storage);
    ledger.append_with(Event::new("old"), Durability::Os).unwrap();
    disk.advance(Duration::from_secs(2 * 24 * 3600));
    ledger.maintain().unwrap();
    ledger
}

/// A compaction that had begun before the close took that back after it, in the file of the numbers
/// that was another writer's by then: those that this one had given out were given out again after
/// a crash.
#[test]
fn a_compaction_beside_a_close_takes_nothing_back() {
    within_a_minute(|| {
        let disk = SimDisk::new(6);
        let storage = Hooked::new(disk.storage());
        let ledger = open_with_sealed(&storage, &disk);
        let storage_of_second = storage.clone();
        let given_out = closed_meanwhile((&storage, &ledger), "now", any, move || {
            let second = open(&storage_of_second);
            let seq = second.append_with(Event::new("of the second"), Durability::Os).unwrap();
            (second, seq)
        });
        let refused = ledger.compact(&Compaction::new());
        assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
        let (_second, seq) = given_out.recv().unwrap();
        let again = open(&Hooked::new(disk.power_cut(NOTHING).storage()));
        let next = again.append(Event::new("after the crash")).unwrap();
        assert!(next > seq, "{next} is given out, and {seq} was before");
    });
}

/// A close did not wait for a compaction: the draft of that lay behind a clean close, after which
/// nobody looks for one, and was removed when the directory was another writer's.
#[test]
fn a_close_waits_for_a_compaction() {
    within_a_minute(|| {
        let disk = SimDisk::new(7);
        let storage = Hooked::new(disk.storage());
        let ledger = open_with_sealed(&storage, &disk);
        let of_disk = disk.clone();
        let left = closed_meanwhile((&storage, &ledger), "write", is_draft, move || of_disk.kill());
        let _ = ledger.compact(&Compaction::new());
        let left = left.recv().unwrap();
        drop(open(&Hooked::new(left.storage())));
        assert!(!left.files().iter().any(|path| is_draft(path)), "{:?}", left.files());
    });
}

/// What was put on record after the close had begun was refused, and counted as owed: the close
/// said that the disk is full, and was no clean one.
#[test]
fn what_has_begun_before_a_close_is_on_record_after_it() {
    within_a_minute(|| {
        let disk = SimDisk::new(9);
        let storage = Hooked::new(disk.storage());
        let ledger = open_with_sealed(&storage, &disk);
        let is_sealed = Arc::new(AtomicBool::new(false));
        let (told, closed) = mpsc::channel();
        let (closes, appends, of_draft) = (ledger.clone(), ledger.clone(), is_sealed.clone());
        let told = Mutex::new(Some(told));
        storage.set(move |operation, path| {
            if operation == "sync" && is_draft(path) {
                of_draft.store(true, SeqCst);
            }
            // It is looked at last, and then the word of the compaction is written.
            let is_last = operation == "list" && of_draft.load(SeqCst);
            let Some(told) = is_last.then(|| told.lock().take()).flatten() else { return };
            let closes = closes.clone();
            std::thread::spawn(move || told.send(closes.close()));
            while appends.append_with(Event::new("beside"), Durability::Os).is_ok() {
                std::thread::yield_now();
            }
        });
        let report = ledger.compact(&Compaction::new()).unwrap();
        assert!(is_sealed.load(SeqCst) && report.rewrites.len() == 1, "{report:?}");
        closed.recv().unwrap().unwrap();
        assert_eq!(notes(&disk, "segment.compacted"), 1);
    });
}

/// Whether an erasure that a close broke off is on record was a matter of chance: the records of
/// some segments were gone, and nothing told by whom, if the close came first.
#[test]
fn an_erasure_that_a_close_breaks_off_is_on_record() {
    within_a_minute(|| {
        let disk = SimDisk::new(10);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        let user = || Id::new("u").unwrap();
        for _ in 0..2 {
            ledger.append_with(Event::new("of u").user_id(user()), Durability::Os).unwrap();
            ledger.append_with(Event::new("of none"), Durability::Os).unwrap();
            disk.advance(Duration::from_secs(2 * 24 * 3600));
            ledger.maintain().unwrap();
        }
        let drafts = AtomicUsize::new(0);
        let is_second = move |path: &Path| is_draft(path) && drafts.fetch_add(1, SeqCst) > 0;
        let closed = closed_meanwhile((&storage, &ledger), "sync", is_second, || ());
        let erased = ledger.erase(&Erasure::of(Field::User, user()).unwrap());
        closed.recv().unwrap();
        assert_eq!(notes(&disk, "records.erased"), 1, "{erased:?}");
    });
}

/// How many notes of this type there are.
fn notes(disk: &SimDisk, note: &str) -> u64 {
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    reader.audit().record_type(note).count().unwrap()
}

/// A clean-up by status that had begun before the close sealed a short segment after it: over
/// records that another writer had appended there, and was told are on stable storage.
#[test]
fn a_clean_up_beside_a_close_seals_nothing_after_it() {
    within_a_minute(|| {
        let disk = SimDisk::new(8);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        let append = |ledger: &Ledger, run: &str, status| {
            ledger.append_with(Run::new(run, "t", status).unwrap(), Durability::Sync).unwrap();
        };
        append(&ledger, "skipped", Status::Skipped);
        append(&ledger, "done", Status::Success);
        disk.advance(Duration::from_secs(3600));
        let (storage_of_second, of_disk) = (storage.clone(), disk.clone());
        // What the directory takes is added up before segments are dropped and after that, and then
        // before runs are taken out of those that stay.
        let looks = AtomicUsize::new(0);
        let is_third = move |path: &Path| path == Path::new(DIR) && looks.fetch_add(1, SeqCst) == 2;
        let changed_hands = closed_meanwhile((&storage, &ledger), "list", is_third, move || {
            let second = open(&storage_of_second);
            append(&second, "of the second", Status::Success);
            (second, of_disk.fork())
        });
        let skipped = Cleanup::older_than(Duration::ZERO).status(Status::Skipped);
        let refused = ledger.cleanup(&skipped, false);
        assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
        let (_second, left) = changed_hands.recv().unwrap();
        assert_untouched(&disk, &left);
    });
}

/// Of two threads that closed the ledger, one was told that all was done while the other had not
/// yet synced anything.
#[test]
fn who_closes_too_waits_for_the_close() {
    within_a_minute(|| {
        let disk = SimDisk::new(4);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        ledger.append_with(Event::new("t"), Durability::Os).unwrap();
        let of_disk = disk.clone();
        let cut =
            closed_meanwhile((&storage, &ledger), "sync", any, move || of_disk.power_cut(NOTHING));
        let _ = ledger.close();
        let again = open(&Hooked::new(cut.recv().unwrap().storage()));
        assert_eq!(again.query().count().unwrap(), 1);
    });
}

/// The sync of a segment that was being sealed failed, and one for an append, which had begun
/// beside it, was told of nothing and succeeded: the append was acknowledged, and lost. The kernel
/// tells of an error once.
#[test]
fn of_two_syncs_at_once_neither_hides_the_error_of_the_other() {
    within_a_minute(|| {
        let disk = SimDisk::new(5);
        let storage = Hooked::new(disk.storage());
        let ledger = open(&storage);
        let event = || Event::new("t").message("x".repeat(40_000));
        let (failed, has_failed) = mpsc::channel();
        let mut left = 1;
        disk.set_faults(move |op| {
            let is_segment = op.path.extension() == Some(Path::new("seg").as_os_str());
            if op.kind != OpKind::Sync || !is_segment || left == 0 {
                return None;
            }
            left -= 1;
            let _ = failed.send(());
            Some(Fault::LostSync)
        });
        let second = ledger.clone();
        once(&storage, "sync", move || {
            // It fills the segment, and seals it.
            std::thread::spawn(move || second.append_with(event(), Durability::Os));
            let _ = has_failed.recv_timeout(A_WHILE);
        });
        let outcome = ledger.append_with(event(), Durability::Sync);
        assert!(outcome.is_err(), "acknowledged: {outcome:?}");
        let again = open(&Hooked::new(disk.power_cut(NOTHING).storage()));
        assert_eq!(again.query().count().unwrap(), 0);
    });
}

/// Beside a writer `verify` could see that a segment was gone and not the note of it: of a class it
/// was looked for after the notes were, and whatever went later had none. The next one was said not
/// to follow the one before it, and a checkpoint did not hold.
#[test]
fn what_is_dropped_beside_a_verify_breaks_no_chain() {
    let info = Class::severity(Kind::Event, Severity::Info).unwrap();
    let verified = |operation: &'static str, nth: usize, name: &'static str| {
        let disk = SimDisk::new(1);
        let options = super::options(&disk).segment_bytes(64 << 10).reserve_bytes(0);
        let ledger = options.class(info, Limits::new().forever()).open(DIR).unwrap();
        let append = |count: usize| {
            for _ in 0..count {
                let event = Event::new("e").severity(Severity::Info).message("x".repeat(20_000));
                ledger.append_with(event, Durability::Os).unwrap();
            }
        };
        append(4);
        disk.advance(Duration::from_secs(7200));
        append(6);
        ledger.maintain().unwrap();
        let checkpoint = ledger.checkpoint().unwrap();
        let storage = Hooked::new(disk.storage());
        let seen = AtomicUsize::new(0);
        let is_it = move |path: &Path| path.ends_with(name) && seen.fetch_add(1, SeqCst) == nth;
        once_on(&storage, operation, is_it, {
            let ledger = ledger.clone();
            move || {
                let old = Cleanup::older_than(Duration::from_secs(3600));
                assert_eq!(ledger.cleanup(&old, false).unwrap().dropped().count(), 1);
            }
        });
        let report = verify_against(DIR, Arc::new(storage), &checkpoint).unwrap();
        assert_eq!(report.verified.findings, [], "{operation} {name}");
        assert!(report.holds(), "{operation} {name}: {report:?}");
        assert_eq!(report.on_record.len(), 1, "{operation} {name}");
    };
    verified("list", 0, "events.info");
    verified("open", 1, "events.info/00000000000000000001.seg");
}
